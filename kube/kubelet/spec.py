"""From a Pod to what the engine is asked for: the configuration of its sandbox and of its containers.

The hash of a container covers its name and image, which is all that may change in a running pod's container
(Kubernetes since 1.31 hashes the same two): a container of another hash is another version and is replaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kube.api.core import Container, Pod
from kube.kubelet.environment import expand
from kube.kubelet.resources import container_resources
from kube.kubelet.runtime import (
    ContainerConfig,
    Mount,
    PodId,
    PortMapping,
    SandboxConfig,
    Security,
)

DEFAULT_GRACE = 30
MAX_SEARCHES = 32


@dataclass(frozen=True, slots=True)
class Dns:
    """Where pods find names."""

    servers: Sequence[str] = ()
    """The cluster's DNS; none: pods use the node's."""
    domain: str = ""
    host_searches: Sequence[str] = ()


def pod_id(pod: Pod) -> PodId:
    """How the engine's labels name a pod."""
    return PodId(pod.namespace, pod.name, pod.metadata.uid)


def pod_format(pod: Pod) -> str:
    """`name_namespace(uid)`: how Kubernetes names a pod in messages of its kubelet."""
    return f"{pod.name}_{pod.namespace}({pod.metadata.uid})"


def container_hash(container: Container) -> str:
    """Changes when the container has to be replaced."""
    return hashlib.sha256(f"{container.name}\0{container.image}".encode()).hexdigest()[:16]


def container_named(pod: Pod, name: str) -> Container:
    """The container of a name. Raises KeyError."""
    if (container := find_container(pod, name)) is None:
        raise KeyError(name)
    return container


def find_container(pod: Pod, name: str) -> Container | None:
    """The container of a name, if the pod has one."""
    return next((c for c in (*pod.spec.initContainers, *pod.spec.containers) if c.name == name), None)


def is_sidecar(container: Container) -> bool:
    """Whether an init container runs on beside the pod's containers."""
    return container.restartPolicy == "Always"


def sidecars(pod: Pod) -> list[Container]:
    """The init containers that run on, in order."""
    return [container for container in pod.spec.initContainers if is_sidecar(container)]


def hostname(pod: Pod) -> str:
    """The pod's host name: its own choice or its name, cut to what the kernel takes."""
    return (pod.spec.hostname or pod.name)[:63].rstrip("-.")


def port_mappings(pod: Pod) -> list[PortMapping]:
    """The ports of the pod that are published on the host."""
    if pod.spec.hostNetwork:
        return []  # they are the host's own ports already
    return [
        PortMapping(port.containerPort, port.hostPort, port.protocol or "TCP", port.hostIP)
        for container in [*pod.spec.initContainers, *pod.spec.containers]
        for port in container.ports
        if port.hostPort
    ]


def sandbox_config(pod: Pod, attempt: int, image: str, dns: Dns) -> SandboxConfig:
    """The sandbox of a pod."""
    servers, searches, options = dns_of(pod, dns)
    return SandboxConfig(
        pod=pod_id(pod),
        attempt=attempt,
        hostname="" if pod.spec.hostNetwork else hostname(pod),
        image=image,
        host_network=pod.spec.hostNetwork,
        ports=port_mappings(pod),
        dns_servers=servers,
        dns_searches=searches,
        dns_options=options,
        sysctls={s.name.replace("/", "."): s.value for s in rights.sysctls}
        if (rights := pod.spec.securityContext)
        else {},
    )


def sysctls(pod: Pod) -> dict[str, str]:
    """The kernel parameters of the pod's own namespaces; `/` in a name is the same as `.`."""
    rights = pod.spec.securityContext
    return {sysctl.name.replace("/", "."): sysctl.value for sysctl in rights.sysctls} if rights else {}


def dns_of(pod: Pod, dns: Dns) -> tuple[list[str], list[str], list[str]]:
    """Servers, searches and options of a pod's resolver; all empty: the node's own."""
    policy = pod.spec.dnsPolicy or "ClusterFirst"
    if policy == "ClusterFirst" and pod.spec.hostNetwork:
        policy = "Default"
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet") and dns.servers:
        servers, options = list(dns.servers), ["ndots:5"]
        if dns.domain:
            searches = [f"{pod.namespace}.svc.{dns.domain}", f"svc.{dns.domain}", dns.domain]
        searches += dns.host_searches
    if (own := pod.spec.dnsConfig) is not None:
        servers += own.nameservers
        searches += own.searches
        chosen = {o.name for o in own.options}
        options = [o for o in options if o.partition(":")[0] not in chosen]
        options += [o.name if o.value is None else f"{o.name}:{o.value}" for o in own.options]
    return list(dict.fromkeys(servers)), list(dict.fromkeys(searches))[:MAX_SEARCHES], options


def container_config(
    pod: Pod,
    container: Container,
    attempt: int,
    env: Sequence[tuple[str, str]],
    mounts: Sequence[Mount],
    memory_capacity: int,
    security: Security,
) -> ContainerConfig:
    """A container of a pod, its command with the environment's variables filled in."""
    variables: Mapping[str, str] = dict(env)
    grace = pod.spec.terminationGracePeriodSeconds
    return ContainerConfig(
        pod=pod_id(pod),
        name=container.name,
        image=container.image,
        attempt=attempt,
        hash=container_hash(container),
        command=[expand(word, variables) for word in container.command] or None,
        args=[expand(word, variables) for word in container.args] or None,
        env=env,
        working_dir=container.workingDir,
        mounts=mounts,
        resources=container_resources(pod, container, memory_capacity),
        tty=container.tty,
        stdin=container.stdin,
        stdin_once=container.stdinOnce,
        security=security,
        grace_period=DEFAULT_GRACE if grace is None else grace,
    )


def search_domains(resolv_conf: Iterable[str]) -> list[str]:
    """The search list of a resolv.conf; the last `search` or `domain` line counts."""
    found: list[str] = []
    for line in resolv_conf:
        words = line.split()
        if words and words[0] in ("search", "domain"):
            found = words[1:]
    return found
