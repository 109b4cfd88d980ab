"""Rules for containers: names, images, ports, environment, probes, lifecycle."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cache

from kube.api import core, names
from kube.api.container import AnyContainer
from kube.api.errors import duplicate, field_forbidden, field_not_found, invalid, not_supported, required
from kube.api.meta import IntOrString, Model
from kube.api.validation import amounts, downward, security, volumes
from kube.api.validation.meta import Errors, each, non_negative, one_of

PROTOCOLS = ("SCTP", "TCP", "UDP")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules for a container need to know of its pod."""

    volumes: dict[str, core.Volume] = field(default_factory=dict)
    claims: Collection[str] = ()
    grace: int | None = None
    restart_policy: str = "Always"
    host_users: bool = True


def containers(path: str, wanted: Sequence[core.Container], around: Surroundings) -> Errors:
    """The containers of a pod: at least one."""
    if not wanted:
        yield required(path)
        return
    seen: set[str] = set()
    for i, container in enumerate(wanted):
        where = f"{path}[{i}]"
        yield from _container(where, container, around)
        if container.name in seen:
            yield duplicate(f"{where}.name", container.name)
        seen.add(container.name)
        yield from _life(where, container, around)
        if container.restartPolicy is not None:
            yield field_forbidden(f"{where}.restartPolicy", "may not be set for non-init containers")
    yield from _host_ports(path, wanted)


def init_containers(
    path: str, wanted: Sequence[core.Container], regular: Sequence[core.Container], around: Surroundings
) -> Errors:
    """The init containers of a pod; those that are restarted always are sidecars, and may have probes."""
    seen = {container.name for container in regular}
    for i, container in enumerate(wanted):
        where = f"{path}[{i}]"
        yield from _container(where, container, around)
        if container.restartPolicy not in (None, "Always"):
            yield not_supported(f"{where}.restartPolicy", container.restartPolicy, ("Always",))
        if container.name in seen:
            yield duplicate(f"{where}.name", container.name)
        elif container.name:
            seen.add(container.name)
        yield from _host_ports(path, [container])
        if container.restartPolicy == "Always":
            yield from _life(where, container, around)
            continue
        for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if getattr(container, name) is not None:
                detail = "may not be set for init containers without restartPolicy=Always"
                yield field_forbidden(f"{where}.{name}", detail)


_NOT_EPHEMERAL = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy")


def ephemeral_containers(
    path: str, wanted: Sequence[core.EphemeralContainer], others: Collection[str], around: Surroundings
) -> Errors:
    """The ephemeral containers of a pod."""
    seen = set(others)
    for i, container in enumerate(wanted):
        where = f"{path}[{i}]"
        yield from _container(where, container, around)
        yield from padded_image(where, container)
        if container.name in seen:
            yield duplicate(f"{where}.name", container.name)
        seen.add(container.name)
        if container.targetContainerName and container.targetContainerName not in others:
            yield field_not_found(f"{where}.targetContainerName", container.targetContainerName)
        given = [name for name in _NOT_EPHEMERAL if getattr(container, name)]
        if container.resources != core.ResourceRequirements():
            given.append("resources")
        for name in given:
            yield field_forbidden(f"{where}.{name}", "cannot be set for an Ephemeral Container")
        for j, mount in enumerate(container.volumeMounts):
            for name in ("subPath", "subPathExpr"):
                if getattr(mount, name):
                    detail = "cannot be set for an Ephemeral Container"
                    yield field_forbidden(f"{where}.volumeMounts[{j}].{name}", detail)


def padded_image(path: str, container: AnyContainer) -> Errors:
    """An image's name without space around it: a rule of pods, not of templates."""
    if container.image != container.image.strip():
        yield invalid(f"{path}.image", container.image, "must not have leading or trailing whitespace")


def _container(path: str, container: AnyContainer, around: Surroundings) -> Errors:
    if not container.name:
        yield required(f"{path}.name")
    else:
        yield from each(f"{path}.name", container.name, names.dns_label(container.name))
    if not container.image:
        yield required(f"{path}.image")
    policies = ("File", "FallbackToLogsOnError")
    yield from one_of(f"{path}.terminationMessagePolicy", container.terminationMessagePolicy, policies)
    yield from _ports(f"{path}.ports", container.ports)
    yield from _env(f"{path}.env", container.env)
    yield from _env_from(f"{path}.envFrom", container.envFrom)
    yield from volumes.mounts(f"{path}.volumeMounts", container, around.volumes)
    yield from volumes.devices(f"{path}.volumeDevices", container, around.volumes)
    yield from volumes.pull_policy(f"{path}.imagePullPolicy", container.imagePullPolicy)
    yield from amounts.requirements(f"{path}.resources", container.resources, around.claims)
    yield from _resize(f"{path}.resizePolicy", container.resizePolicy, around.restart_policy)
    yield from security.container(f"{path}.securityContext", container.securityContext, host_users=around.host_users)


def _ports(path: str, ports: Sequence[core.ContainerPort]) -> Errors:
    seen: set[str] = set()
    for i, port in enumerate(ports):
        where = f"{path}[{i}]"
        if port.name:
            problems = names.port_name(port.name)
            yield from each(f"{where}.name", port.name, problems)
            if not problems and port.name in seen:
                yield duplicate(f"{where}.name", port.name)
            seen.add(port.name)
        if not port.containerPort:
            yield required(f"{where}.containerPort")
        else:
            yield from each(f"{where}.containerPort", port.containerPort, names.port_number(port.containerPort))
        if port.hostPort:
            yield from each(f"{where}.hostPort", port.hostPort, names.port_number(port.hostPort))
        yield from one_of(f"{where}.protocol", port.protocol, PROTOCOLS)


def _host_ports(path: str, wanted: Sequence[core.Container]) -> Errors:
    seen: set[str] = set()
    for i, container in enumerate(wanted):
        for j, port in enumerate(container.ports):
            if not port.hostPort:
                continue
            claim = f"{port.protocol}/{port.hostIP}/{port.hostPort}"
            if claim in seen:
                yield duplicate(f"{path}[{i}].ports[{j}].hostPort", claim)
            seen.add(claim)


def _env(path: str, variables: Sequence[core.EnvVar]) -> Errors:
    for i, variable in enumerate(variables):
        where = f"{path}[{i}]"
        if not variable.name:
            yield required(f"{where}.name")
        else:
            yield from each(f"{where}.name", variable.name, names.env_var(variable.name))
        if variable.valueFrom is not None:
            yield from _value_from(f"{where}.valueFrom", variable.valueFrom, variable.value)


def _value_from(path: str, source: core.EnvVarSource, value: str) -> Errors:
    if source.fieldRef is not None:
        yield from downward.field_ref(f"{path}.fieldRef", source.fieldRef, downward.ENV_FIELDS)
    if source.resourceFieldRef is not None:
        yield from downward.resource_ref(f"{path}.resourceFieldRef", source.resourceFieldRef)
    keys: tuple[tuple[str, core.ConfigMapKeySelector | core.SecretKeySelector | None], ...] = (
        ("configMapKeyRef", source.configMapKeyRef),
        ("secretKeyRef", source.secretKeyRef),
    )
    for kind, key in keys:
        if key is None:
            continue
        yield from each(f"{path}.{kind}.name", key.name, names.dns_subdomain(key.name))
        if not key.key:
            yield required(f"{path}.{kind}.key")
        else:
            yield from each(f"{path}.{kind}.key", key.key, names.config_key(key.key))
    count = _given(source)
    if not count:
        detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        yield invalid(path, "", detail)
    elif value:
        yield invalid(path, "", "may not be specified when `value` is not empty")
    elif count > 1:
        yield invalid(path, "", "may not have more than one field specified at a time")


def _env_from(path: str, sources: Sequence[core.EnvFromSource]) -> Errors:
    for i, source in enumerate(sources):
        where = f"{path}[{i}]"
        if source.prefix:
            yield from each(f"{where}.prefix", source.prefix, names.env_var(source.prefix))
        count = 0
        for kind in ("configMapRef", "secretRef"):
            reference: core.LocalObjectReference | None = getattr(source, kind)
            if reference is None:
                continue
            count += 1
            if not reference.name:
                yield required(f"{where}.{kind}.name")
            else:
                yield from each(f"{where}.{kind}.name", reference.name, names.dns_subdomain(reference.name))
        if not count:
            yield invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
        elif count > 1:
            yield invalid(path, "", "may not have more than one field specified at a time")


def _given(union: Model) -> int:
    return sum(getattr(union, name) is not None for name in _fields(type(union)))


@cache
def _fields(model: type[Model]) -> tuple[str, ...]:
    """The names of a model's fields; the class itself takes 30 µs to say them."""
    return tuple(model.model_fields)


def _resize(path: str, policies: Sequence[core.ContainerResizePolicy], restart_policy: str) -> Errors:
    seen: set[str] = set()
    for i, policy in enumerate(policies):
        if policy.resourceName in seen:
            yield duplicate(f"{path}[{i}]", policy.resourceName)
        seen.add(policy.resourceName)
        yield from one_of(path, policy.resourceName, ("cpu", "memory"))
        yield from one_of(path, policy.restartPolicy, ("NotRequired", "RestartContainer"))
        if restart_policy == "Never" and policy.restartPolicy != "NotRequired":
            yield invalid(path, policy.restartPolicy, "must be 'NotRequired' when `restartPolicy` is 'Never'")


def _life(path: str, container: core.Container, around: Surroundings) -> Errors:
    if container.lifecycle is not None:
        for name in ("postStart", "preStop"):
            handler: core.LifecycleHandler | None = getattr(container.lifecycle, name)
            if handler is not None:
                yield from _handler(f"{path}.lifecycle.{name}", handler, around.grace)
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe: core.Probe | None = getattr(container, name)
        if probe is None:
            continue
        where = f"{path}.{name}"
        yield from _probe(where, probe, around.grace)
        if name == "readinessProbe":
            if probe.terminationGracePeriodSeconds is not None:
                field, seconds = f"{where}.terminationGracePeriodSeconds", probe.terminationGracePeriodSeconds
                yield invalid(field, seconds, "must not be set for readinessProbes")
        elif probe.successThreshold != 1:
            yield invalid(f"{where}.successThreshold", probe.successThreshold, "must be 1")


def _probe(path: str, probe: core.Probe, grace: int | None) -> Errors:
    yield from _handler(path, probe, grace)
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        yield from non_negative(f"{path}.{name}", getattr(probe, name))
    seconds = probe.terminationGracePeriodSeconds
    if seconds is not None and seconds <= 0:
        yield invalid(f"{path}.terminationGracePeriodSeconds", seconds, "must be greater than 0")


_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


def _handler(path: str, handler: core.ProbeHandler | core.LifecycleHandler, grace: int | None) -> Errors:
    given = [name for name in _HANDLERS if getattr(handler, name, None) is not None]
    if not given:
        yield required(path, "must specify a handler type")
        return
    for name in given[1:]:
        yield field_forbidden(f"{path}.{name}", "may not specify more than 1 handler type")
    where = f"{path}.{given[0]}"
    match getattr(handler, given[0]):
        case core.ExecAction(command=command):
            if not command:
                yield required(f"{where}.command")
        case core.HTTPGetAction() as action:
            if not action.path:
                yield required(f"{where}.path")
            yield from port(f"{where}.port", action.port)
            if action.scheme not in ("HTTP", "HTTPS"):
                yield not_supported(f"{where}.scheme", action.scheme, ("HTTP", "HTTPS"))
            for header in action.httpHeaders:
                yield from each(f"{where}.httpHeaders", header.name, names.http_header(header.name))
        case core.TCPSocketAction(port=number) | core.GRPCAction(port=number):
            yield from port(f"{where}.port", number)
        case core.SleepAction(seconds=seconds):
            if grace is not None and not 0 <= seconds <= grace:
                detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                yield invalid(where, seconds, detail)


def port(field: str, value: IntOrString) -> Errors:
    """The number of a port, or the name of one of the container's."""
    yield from each(field, value, names.port_number(value) if isinstance(value, int) else names.port_name(value))
