"""Services and Endpoints as the proxy reads them: what it looks at, in the form in which it is used.

It holds all of a cluster's, and looks at little of each: most of an Endpoints object is which pods its addresses belong
to. What the types of the wire below do not name is passed over by the parser and never becomes an object (measured with
5,000 of each: a third of the time that the whole objects take, and a fourth of the memory).
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network
from typing import Any, ClassVar

from pydantic import ConfigDict, GetCoreSchemaHandler, with_config
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from kube.api.meta import Object, ObjectMeta
from kube.proxy.services import PROTOCOLS, Backend, Endpoint, ServicePort, ServicePortName

log = logging.getLogger(__name__)

LAST_CHANGE = "endpoints.kubernetes.io/last-change-trigger-time"
"""Annotation of Endpoints: when the pod or service changed that made them change."""
NO_CLUSTER_IP = ("", "None")
DEFAULT_AFFINITY_SECONDS = 10800
ZONE = "topology.kubernetes.io/zone"
"""Label of nodes."""
OTHER_PROXY = "service.kubernetes.io/service-proxy-name"
"""Label of services that another proxy is to serve; its value names that, whatever it is."""
_PREFERENCES = {"PreferSameNode": "node", "PreferSameZone": "zone", "PreferClose": "zone"}

_as_api = with_config(ConfigDict(strict=True, extra="ignore"))
_SET = {"metadata"}
"""Which fields a model was given: of no use here, and one set serves all."""


# On the wire: what is read of each object


@_as_api
class _Metadata(TypedDict, total=False):
    name: str
    namespace: str
    uid: str
    resourceVersion: str
    annotations: dict[str, str]
    labels: dict[str, str]


@_as_api
class _Port(TypedDict, total=False):
    name: str
    protocol: str
    port: int
    nodePort: int


@_as_api
class _ClientIP(TypedDict, total=False):
    timeoutSeconds: int


@_as_api
class _Affinity(TypedDict, total=False):
    clientIP: _ClientIP


@_as_api
class _ServiceSpec(TypedDict, total=False):
    type: str
    clusterIP: str
    externalIPs: list[str]
    ports: list[_Port]
    sessionAffinity: str
    sessionAffinityConfig: _Affinity
    externalTrafficPolicy: str
    internalTrafficPolicy: str
    trafficDistribution: str
    loadBalancerSourceRanges: list[str]
    healthCheckNodePort: int


@_as_api
class _Ingress(TypedDict, total=False):
    ip: str
    ipMode: str


@_as_api
class _LoadBalancer(TypedDict, total=False):
    ingress: list[_Ingress]


@_as_api
class _ServiceStatus(TypedDict, total=False):
    loadBalancer: _LoadBalancer


@_as_api
class _Service(TypedDict, total=False):
    metadata: _Metadata
    spec: _ServiceSpec
    status: _ServiceStatus


@_as_api
class _Address(TypedDict, total=False):
    ip: str
    nodeName: str


@_as_api
class _Subset(TypedDict, total=False):
    addresses: list[_Address]
    ports: list[_Port]


@_as_api
class _Endpoints(TypedDict, total=False):
    metadata: _Metadata
    subsets: list[_Subset]


@_as_api
class _Node(TypedDict, total=False):
    metadata: _Metadata


# What is kept of it


class _View(Object):
    """An object that the parser makes of what was read of it: `wire`, the type of that."""

    wire: ClassVar[type]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls.made_of, handler.generate_schema(cls.wire))

    @classmethod
    def made_of(cls, read: Any) -> Object:
        """The object, of what was read of it."""
        raise NotImplementedError


class Service(_View):
    """A service: the ports of it that a node serves."""

    kind = "Service"
    wire = _Service

    ports: tuple[ServicePort, ...] = ()

    @classmethod
    def made_of(cls, read: _Service) -> Service:
        """The service, of what was read of it."""
        return cls.model_construct(_SET, metadata=_metadata(read), ports=service_ports(read))


class Endpoints(_View):
    """A service's endpoints."""

    kind = "Endpoints"
    wire = _Endpoints

    by_port: Mapping[str, tuple[Endpoint, ...]] = {}
    """Those of each port, by its name, in the order of the object, each once."""

    @classmethod
    def made_of(cls, read: _Endpoints) -> Endpoints:
        """The endpoints, of what was read of them."""
        return cls.model_construct(_SET, metadata=_metadata(read), by_port=endpoints_of(read))


class Node(_View):
    """A node: the zone that it is in; empty: not known."""

    kind = "Node"
    wire = _Node

    zone: str = ""

    @classmethod
    def made_of(cls, read: _Node) -> Node:
        """The node, of what was read of it."""
        zone = read.get("metadata", {}).get("labels", {}).get(ZONE, "")
        return cls.model_construct(_SET, metadata=_metadata(read), zone=sys.intern(zone))


def service_ports(service: _Service) -> tuple[ServicePort, ...]:
    """The ports of a service that a node serves: none for a headless or an ExternalName service, or another proxy's."""
    spec = service.get("spec", {})
    type_, cluster_ip = spec.get("type", ""), spec.get("clusterIP", "")
    if type_ == "ExternalName" or cluster_ip in NO_CLUSTER_IP or not _is_ipv4(cluster_ip):
        return ()
    metadata = service.get("metadata", {})
    if OTHER_PROXY in metadata.get("labels", {}):
        return ()
    namespace, name = sys.intern(metadata.get("namespace", "")), metadata.get("name", "")
    balanced = type_ == "LoadBalancer"
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress", []) if balanced else []
    is_external = type_ in ("NodePort", "LoadBalancer") or bool(spec.get("externalIPs"))
    found = []
    for port in spec.get("ports", ()):
        protocol = port.get("protocol") or "TCP"
        if protocol not in PROTOCOLS:
            log.warning("%s/%s: port %d is not served: no %s here", namespace, name, port.get("port", 0), protocol)
            continue
        found.append(
            ServicePort(
                name=ServicePortName(namespace, name, sys.intern(port.get("name", ""))),
                cluster_ip=cluster_ip,
                port=port.get("port", 0),
                protocol=sys.intern(protocol),
                node_port=port.get("nodePort", 0),
                external_ips=_ipv4(spec.get("externalIPs", ())),
                load_balancer_ips=_ipv4(
                    entry.get("ip", "") for entry in ingress if (entry.get("ipMode") or "VIP") == "VIP"
                ),
                source_ranges=_networks(spec.get("loadBalancerSourceRanges", [])) if balanced else (),
                affinity_seconds=_affinity_seconds(spec),
                external_local=is_external and spec.get("externalTrafficPolicy") == "Local",
                internal_local=spec.get("internalTrafficPolicy") == "Local",
                health_check_node_port=spec.get("healthCheckNodePort", 0) if balanced else 0,
                prefer=_PREFERENCES.get(spec.get("trafficDistribution", ""), ""),
            )
        )
    return tuple(found)


def endpoints_of(endpoints: _Endpoints) -> dict[str, tuple[Endpoint, ...]]:
    """The endpoints by name of the port, in the order of the object, each once."""
    found: dict[str, dict[Backend, Endpoint]] = {}
    for subset in endpoints.get("subsets", ()):
        addresses = [
            (ip, sys.intern(address.get("nodeName", "")))
            for address in subset.get("addresses", ())
            if _is_ipv4(ip := address.get("ip", ""))
        ]
        for port in subset.get("ports", ()):
            of_port = found.setdefault(sys.intern(port.get("name", "")), {})
            number = port.get("port", 0)
            for ip, node in addresses:
                backend = Backend(ip, number)
                of_port.setdefault(backend, Endpoint(backend, node))
    return {name: tuple(of_port.values()) for name, of_port in found.items()}


def _metadata(read: _Service | _Endpoints | _Node) -> ObjectMeta:
    found = read.get("metadata", {})
    changed = found.get("annotations", {}).get(LAST_CHANGE)
    return ObjectMeta.model_construct(
        _SET,
        name=found.get("name", ""),
        namespace=sys.intern(found.get("namespace", "")),
        uid=found.get("uid", ""),
        resourceVersion=found.get("resourceVersion", ""),
        annotations={LAST_CHANGE: changed} if changed else {},
    )


def _affinity_seconds(spec: _ServiceSpec) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    seconds = spec.get("sessionAffinityConfig", {}).get("clientIP", {}).get("timeoutSeconds", 0)
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
