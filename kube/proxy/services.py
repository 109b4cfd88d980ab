"""What the proxy balances, as pure data. What makes it of Services and Endpoints is lean.py.

A *service port* is one port of one service; it is what is balanced, redirected and named in comments and logs
(`namespace/name:port`, or `namespace/name` when the port has no name, as Kubernetes prints a ServicePortName).
Its backends are the ready addresses of the Endpoints object of the same name whose port has the same name: a named
`targetPort` was resolved to numbers by the endpoints controller.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

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


class Endpoint(NamedTuple):
    """A backend that takes traffic."""

    backend: Backend
    node: str = ""
    """Where it is; empty: not known."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one service, as the node has to serve it."""

    name: ServicePortName
    cluster_ip: str
    port: int
    protocol: str = "TCP"
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    """Its externalIPs."""
    load_balancer_ips: tuple[str, ...] = ()
    """The addresses with which a load balancer hands traffic over to the nodes (not those of ipMode Proxy)."""
    source_ranges: tuple[str, ...] = ()
    """The networks whose traffic may come through the load balancer; none: all."""
    affinity_seconds: int = 0
    """How long a client address stays with its backend (sessionAffinity: ClientIP); 0: not at all."""
    external_local: bool = False
    """externalTrafficPolicy Local: what comes from outside goes to backends on the node it came to."""
    internal_local: bool = False
    """internalTrafficPolicy Local: what comes to the cluster IP goes to backends on the node it came from."""
    health_check_node_port: int = 0
    """Where the node tells load balancers whether it has backends; 0: nowhere."""
    prefer: str = ""
    """trafficDistribution: `node` or `zone`, that of the node it came to: backends there take the traffic, if any."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address that the service port is reached at, but for those of the nodes. Each once."""
        return tuple(dict.fromkeys((self.cluster_ip, *self.external_ips, *self.load_balancer_ips)))

    @property
    def external(self) -> bool:
        """Whether it may be reached from outside the cluster."""
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)


def named(ports: Iterable[ServicePort]) -> dict[ServicePortName, ServicePort]:
    """Service ports by name."""
    return {port.name: port for port in ports}
