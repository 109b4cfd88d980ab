"""The environment of a container: service variables, config maps and secrets, its own variables with `$(NAME)`.

Services are given as seven variables for each port, in the form that Docker's links had: for every service of the
pod's namespace that has a cluster IP when the container starts, and for the cluster's own (`kubernetes` in `default`)
in every namespace. A container's own variables come later, so they win and may refer to the services'.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING

from kube.api import quantity
from kube.api.binary import decoded
from kube.api.core import Container, EnvFromSource, EnvVarSource, Pod, ResourceFieldSelector, Service
from kube.kubelet.configuration import ConfigError, Configuration

MASTER_SERVICES = frozenset({"kubernetes"})
MASTER_NAMESPACE = "default"

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What a `fieldRef` may name that is not in the pod's spec."""

    pod_ip: str = ""
    host_ip: str = ""
    allocatable: Mapping[str, str] | None = None
    """Of the node: what stands in for a limit that the container does not set."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the variable's value; `$$` is one dollar; an unknown name stays as it is written."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "$"
        return variables.get(name, match[0])

    return _REFERENCE.sub(value, text)


def references(text: str) -> list[str]:
    """The names of the variables that a text stands on."""
    return [match[1] for match in _REFERENCE.finditer(text) if match[1] is not None]


def service_variables(services: Iterable[Service]) -> dict[str, str]:
    """The seven variables for each port of each service that has a cluster IP."""
    result: dict[str, str] = {}
    for service in services:
        ip, ports = service.spec.clusterIP, service.spec.ports
        if ip in ("", "None") or not ports:
            continue
        prefix = _variable_name(service.name)
        result[f"{prefix}_SERVICE_HOST"] = ip
        result[f"{prefix}_SERVICE_PORT"] = str(ports[0].port)
        for port in ports:
            if port.name:
                result[f"{prefix}_SERVICE_PORT_{_variable_name(port.name)}"] = str(port.port)
        for index, port in enumerate(ports):
            protocol = port.protocol or "TCP"
            url = f"{protocol.lower()}://{_bracketed(ip)}:{port.port}"
            if index == 0:
                result[f"{prefix}_PORT"] = url
            link = f"{prefix}_PORT_{port.port}_{protocol.upper()}"
            result[link] = url
            result[f"{link}_PROTO"] = protocol.lower()
            result[f"{link}_PORT"] = str(port.port)
            result[f"{link}_ADDR"] = ip
    return result


def visible_services(services: Iterable[Service], namespace: str, links: bool) -> list[Service]:
    """The services a pod of this namespace is told of; with `enableServiceLinks: false` only the master's."""
    chosen: dict[str, Service] = {}
    for service in sorted(services, key=lambda s: (s.namespace, s.name)):
        if service.namespace == MASTER_NAMESPACE and service.name in MASTER_SERVICES:
            chosen.setdefault(service.name, service)
        if links and service.namespace == namespace:
            chosen[service.name] = service
    return list(chosen.values())


def environment(
    pod: Pod, container: Container, services: Iterable[Service], facts: PodFacts, configuration: Configuration
) -> list[tuple[str, str]]:
    """All variables of a container. Raises ConfigError.

    The order of precedence is upstream's (kubelet_pods.go makeEnvironmentVariables): `env` over `envFrom` over
    services; a reference sees what was defined before it.
    """
    links = pod.spec.enableServiceLinks is not False
    from_services = service_variables(visible_services(services, pod.namespace, links))
    own: dict[str, str] = {}
    for many in container.envFrom:
        own |= _from_all_of(many, configuration)
    for variable in container.env:
        value: str | None = expand(variable.value, {**from_services, **own})
        if not variable.value and variable.valueFrom is not None:
            value = _from_source(pod, container, variable.valueFrom, facts, configuration)
        if value is not None:
            own[variable.name] = value
    return [*((name, value) for name, value in from_services.items() if name not in own), *own.items()]


def _from_all_of(source: EnvFromSource, configuration: Configuration) -> dict[str, str]:
    found: dict[str, str] = {}
    if (ref := source.configMapRef) is not None:
        config_map = configuration.config_map(ref.name, ref.optional)
        found = config_map.data if config_map is not None else {}
    elif (secret_ref := source.secretRef) is not None:
        secret = configuration.secret(secret_ref.name, secret_ref.optional)
        found = {key: _text(value) for key, value in secret.data.items()} if secret is not None else {}
    # Any key of a config map or secret is the name of a variable since Kubernetes 1.32 (before, some were left out).
    return {source.prefix + key: value for key, value in found.items()}


def _from_source(
    pod: Pod, container: Container, source: EnvVarSource, facts: PodFacts, configuration: Configuration
) -> str | None:
    """The value; None: it is missing, and may be."""
    if source.fieldRef is not None:
        return field(pod, source.fieldRef.fieldPath, facts)
    if source.resourceFieldRef is not None:
        return resource_field(pod, container, source.resourceFieldRef, facts.allocatable or {})
    if (ref := source.configMapKeyRef) is not None:
        config_map = configuration.config_map(ref.name, ref.optional)
        if config_map is not None and ref.key not in config_map.data and not ref.optional:
            raise ConfigError(f"couldn't find key {ref.key} in ConfigMap {pod.namespace}/{ref.name}")
        return config_map.data.get(ref.key) if config_map is not None else None
    if (secret_ref := source.secretKeyRef) is not None:
        secret = configuration.secret(secret_ref.name, secret_ref.optional)
        if secret is not None and secret_ref.key not in secret.data and not secret_ref.optional:
            raise ConfigError(f"couldn't find key {secret_ref.key} in Secret {pod.namespace}/{secret_ref.name}")
        value = secret.data.get(secret_ref.key) if secret is not None else None
        return None if value is None else _text(value)
    return ""


def _text(value: str) -> str:
    """A secret's value as a variable. What is no text is replaced, as Go does it on the way to the engine."""
    return decoded(value).decode(errors="replace")


def field(pod: Pod, path: str, facts: PodFacts) -> str:
    """The field of a pod that a `fieldRef` names. Raises ConfigError."""
    if match := _SUBSCRIPT.fullmatch(path):
        entries = pod.metadata.labels if match[1] == "labels" else pod.metadata.annotations
        return entries.get(match[2], "")
    plain = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.nodeName,
        "spec.serviceAccountName": pod.spec.serviceAccountName,
        "spec.restartPolicy": pod.spec.restartPolicy,
        "status.podIP": facts.pod_ip,
        "status.podIPs": facts.pod_ip,
        "status.hostIP": facts.host_ip,
        "status.hostIPs": facts.host_ip,
    }
    if path not in plain:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return plain[path]


def resource_field(
    pod: Pod, container: Container, selector: ResourceFieldSelector, allocatable: Mapping[str, str]
) -> str:
    """A request or limit in units of the divisor, rounded up. A limit that is not set is the node's allocatable."""
    if selector.containerName and selector.containerName != container.name:
        everything = [*pod.spec.initContainers, *pod.spec.containers]
        found = next((c for c in everything if c.name == selector.containerName), None)
        if found is None:
            raise ConfigError(f"container {selector.containerName} not found")
        container = found
    which, _, name = selector.resource.partition(".")
    limits, requests = container.resources.limits, container.resources.requests
    if which == "limits":
        amount = limits.get(name) or allocatable.get(name, "0")
    elif which == "requests":
        amount = requests.get(name) or limits.get(name) or "0"
    else:
        raise ConfigError(f"unsupported container resource : {selector.resource}")
    divisor = quantity.parse(selector.divisor) or 1
    return str(int((quantity.parse(amount) / divisor).to_integral_value(rounding=ROUND_CEILING)))


def _variable_name(name: str) -> str:
    """`my-service.x` as part of a variable's name: `MY_SERVICE_X`."""
    text = name.replace("-", "_").replace(".", "_").upper()
    return f"_{text}" if text[:1].isdigit() else text


def _bracketed(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip
