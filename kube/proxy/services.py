"""What the proxy needs of Services and Endpoints, and nothing else of them: pure data, and what makes it.

A *service port* is one port of one service; it is what is balanced, redirected and named in comments and logs
(`namespace/name:port`, or `namespace/name` when the port has no name, as Kubernetes prints a ServicePortName).
Its backends are the ready addresses of the Endpoints object of the same name whose port has the same name: a named
`targetPort` was resolved to numbers by the endpoints controller.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import NamedTuple

from kube.api import core

log = logging.getLogger(__name__)

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

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address that the service port is reached at, but for those of the nodes. Each once."""
        return tuple(dict.fromkeys((self.cluster_ip, *self.external_ips, *self.load_balancer_ips)))

    @property
    def external(self) -> bool:
        """Whether it may be reached from outside the cluster."""
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)


def service_ports(service: core.Service) -> list[ServicePort]:
    """The ports of a service that a node serves: none for a headless or an ExternalName service."""
    spec = service.spec
    if spec.type == "ExternalName" or spec.clusterIP in NO_CLUSTER_IP or not _is_ipv4(spec.clusterIP):
        return []
    balanced = spec.type == "LoadBalancer"
    ingress = service.status.loadBalancer.ingress if balanced else []
    is_external = spec.type in ("NodePort", "LoadBalancer") or bool(spec.externalIPs)
    found = []
    for port in spec.ports:
        protocol = port.protocol or "TCP"
        if protocol not in PROTOCOLS:
            log.warning("%s: port %d is not served: no %s here", service.key, port.port, protocol)
            continue
        found.append(
            ServicePort(
                name=ServicePortName(service.namespace, service.name, port.name),
                cluster_ip=spec.clusterIP,
                port=port.port,
                protocol=protocol,
                node_port=port.nodePort,
                external_ips=_ipv4(spec.externalIPs),
                load_balancer_ips=_ipv4(entry.ip for entry in ingress if entry.ipMode in (None, "VIP")),
                source_ranges=_networks(spec.loadBalancerSourceRanges) if balanced else (),
                affinity_seconds=_affinity_seconds(spec),
                external_local=is_external and spec.externalTrafficPolicy == "Local",
                internal_local=spec.internalTrafficPolicy == "Local",
                health_check_node_port=spec.healthCheckNodePort if balanced else 0,
            )
        )
    return found


def endpoints_of(endpoints: core.Endpoints) -> dict[str, list[Endpoint]]:
    """The endpoints by name of the port, in the order of the object, each once."""
    found: dict[str, dict[Backend, Endpoint]] = {}
    for subset in endpoints.subsets:
        for port in subset.ports:
            of_port = found.setdefault(port.name, {})
            for address in subset.addresses:
                if _is_ipv4(address.ip):
                    backend = Backend(address.ip, port.port)
                    of_port.setdefault(backend, Endpoint(backend, address.nodeName or ""))
    return {name: list(of_port.values()) for name, of_port in found.items()}


def named(ports: Iterable[ServicePort]) -> dict[ServicePortName, ServicePort]:
    """Service ports by name."""
    return {port.name: port for port in ports}


def _affinity_seconds(spec: core.ServiceSpec) -> int:
    if spec.sessionAffinity != "ClientIP":
        return 0
    config = spec.sessionAffinityConfig
    seconds = config.clientIP.timeoutSeconds if config and config.clientIP else None
    return seconds or DEFAULT_AFFINITY_SECONDS


def _ipv4(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(_is_ipv4, addresses)))


def _networks(ranges: Iterable[str]) -> tuple[str, ...]:
    """What can be understood of loadBalancerSourceRanges, as iptables writes it; all of it IPv6: nobody may."""
    found = []
    for text in ranges:
        with contextlib.suppress(ValueError):
            found.append(str(IPv4Network(text.strip(), strict=False)))
    return tuple(dict.fromkeys(found)) or (("0.0.0.0/32",) if ranges else ())


def _is_ipv4(address: str) -> bool:
    """Whether rules can be made of it: one object that is wrong must not keep the others from being served."""
    try:
        socket.inet_pton(socket.AF_INET, address)
    except OSError:
        return False
    return True
