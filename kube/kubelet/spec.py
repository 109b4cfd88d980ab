"""From a Pod to what the engine is asked for: the configuration of its sandbox and of its containers.

The hash of a container covers its name and image, which is all that may change in a running pod's container
(Kubernetes since 1.31 hashes the same two): a container of another hash is another version and is replaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from kube.api.core import Container, Pod
from kube.kubelet.configuration import ConfigError
from kube.kubelet.environment import expand
from kube.kubelet.resources import container_resources
from kube.kubelet.runtime import (
    ContainerConfig,
    Mount,
    Pid,
    PodId,
    PortMapping,
    SandboxConfig,
    Security,
)

DEFAULT_GRACE = 30
MAX_HOSTNAME, MAX_FQDN = 63, 64
"""Characters of a name of the pod's kernel: of one label, and of a name with its domain."""


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


def names(pod: Pod, cluster_domain: str) -> tuple[str, str]:
    """The pod's host name, its own choice or its name, cut to what the kernel takes; and its domain, if it has one."""
    host = (pod.spec.hostname or pod.name)[:MAX_HOSTNAME].rstrip("-.")
    domain = f"{pod.spec.subdomain}.{pod.namespace}.svc.{cluster_domain}" if pod.spec.subdomain else ""
    return host, domain


def hostname(pod: Pod, cluster_domain: str) -> str:
    """What the pod's kernel calls itself. Raises ConfigError when it is to be longer than a kernel can say."""
    host, domain = names(pod, cluster_domain)
    if not pod.spec.setHostnameAsFQDN or not domain:
        return host
    full = f"{host}.{domain}"
    if len(full) > MAX_FQDN:
        raise ConfigError(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long "
            f"({MAX_FQDN} characters is the max, {len(full)} characters requested)"
        )
    return full


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


def sandbox_config(pod: Pod, attempt: int, image: str, cluster_domain: str) -> SandboxConfig:
    """The sandbox of a pod. Raises ConfigError."""
    return SandboxConfig(
        pod=pod_id(pod),
        attempt=attempt,
        hostname="" if pod.spec.hostNetwork else hostname(pod, cluster_domain),
        image=image,
        host_network=pod.spec.hostNetwork,
        host_pid=pod.spec.hostPID,
        host_ipc=pod.spec.hostIPC,
        ports=port_mappings(pod),
        sysctls=sysctls(pod),
    )


def sysctls(pod: Pod) -> dict[str, str]:
    """The kernel parameters of the pod's own namespaces; `/` in a name is the same as `.`."""
    rights = pod.spec.securityContext
    return {sysctl.name.replace("/", "."): sysctl.value for sysctl in rights.sysctls} if rights else {}


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
        pid=Pid.NODE if pod.spec.hostPID else Pid.POD if pod.spec.shareProcessNamespace else Pid.OWN,
        host_ipc=pod.spec.hostIPC,
        grace_period=DEFAULT_GRACE if grace is None else grace,
    )
