"""What the proxy needs of Services and Endpoints, and nothing else of them: pure data, and what makes it.

A *service port* is one port of one service; it is what is balanced, redirected and named in comments and logs
(`namespace/name:port`, or `namespace/name` when the port has no name, as Kubernetes prints a ServicePortName).
Its backends are the ready addresses of the Endpoints object of the same name whose port has the same name: a named
`targetPort` was resolved to numbers by the endpoints controller.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from kube.api import core

NO_CLUSTER_IP = ("", "None")
DEFAULT_AFFINITY_SECONDS = 10800
PROTOCOLS = ("TCP", "UDP")


class ServicePortName(NamedTuple):
    """Names one port of one service."""

    namespace: str
    name: str
    port: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}:{self.port}" if self.port else f"{self.namespace}/{self.name}"


class Backend(NamedTuple):
    """Where a pod listens."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one service, as the node has to serve it."""

    name: ServicePortName
    cluster_ip: str
    port: int
    protocol: str = "TCP"
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    """externalIPs, and the addresses that a load balancer hands traffic over with."""
    affinity_seconds: int = 0
    """How long a client address stays with its backend (sessionAffinity: ClientIP); 0: not at all."""


def service_ports(service: core.Service) -> list[ServicePort]:
    """The ports of a service that a node serves: none for a headless or an ExternalName service."""
    spec = service.spec
    if spec.type == "ExternalName" or spec.clusterIP in NO_CLUSTER_IP or not _is_ipv4(spec.clusterIP):
        return []
    ingress = service.status.loadBalancer.ingress if spec.type == "LoadBalancer" else []
    external = [*spec.externalIPs, *(entry.ip for entry in ingress)]
    return [
        ServicePort(
            name=ServicePortName(service.namespace, service.name, port.name),
            cluster_ip=spec.clusterIP,
            port=port.port,
            protocol=port.protocol or "TCP",
            node_port=port.nodePort,
            external_ips=tuple(dict.fromkeys(filter(_is_ipv4, external))),
            affinity_seconds=_affinity_seconds(spec),
        )
        for port in spec.ports
        if (port.protocol or "TCP") in PROTOCOLS
    ]


def backends(endpoints: core.Endpoints) -> dict[str, list[Backend]]:
    """The ready backends by name of the port, in the order of the object, each once."""
    found: dict[str, dict[Backend, None]] = {}
    for subset in endpoints.subsets:
        for port in subset.ports:
            of_port = found.setdefault(port.name, {})
            of_port.update(
                (Backend(address.ip, port.port), None) for address in subset.addresses if _is_ipv4(address.ip)
            )
    return {name: list(of_port) for name, of_port in found.items()}


def named(ports: Iterable[ServicePort]) -> dict[ServicePortName, ServicePort]:
    """Service ports by name."""
    return {port.name: port for port in ports}


def _affinity_seconds(spec: core.ServiceSpec) -> int:
    if spec.sessionAffinity != "ClientIP":
        return 0
    config = spec.sessionAffinityConfig
    seconds = config.clientIP.timeoutSeconds if config and config.clientIP else None
    return seconds or DEFAULT_AFFINITY_SECONDS


def _is_ipv4(address: str) -> bool:
    """Whether rules can be made of it: one object that is wrong must not keep the others from being served."""
    try:
        IPv4Address(address)
    except ValueError:
        return False
    return True
