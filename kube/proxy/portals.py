"""The iptables rules of the mode `userspace`, Kubernetes 1.0's: a pure function from a plan to complete tables.

In the table nat, traffic to a service's addresses is redirected to the local
port on which the proxy listens for that service port: in KUBE-PORTALS-CONTAINER for what comes in from pods and other
machines (PREROUTING), in KUBE-PORTALS-HOST for what the node itself sends (OUTPUT); node ports have a pair of chains
of their own. Nothing is said there of a service without backends, so that its traffic reaches the table filter, which
sees packets after nat, and is refused there, as is all other traffic to the service range: an address that no service
holds must never leave by the default route. (Kubernetes refuses neither: v1.0 accepted and closed, later ones
let unclaimed addresses go.)

The proxy has to listen on all addresses, for REDIRECT sends to that of the interface the packet came in on.
KUBE-PORTALS-INPUT refuses what reaches these ports without having been redirected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from kube.proxy.chains import (
    EXTERNAL_SERVICES,
    NODEPORT_CONTAINER,
    NODEPORT_HOST,
    PORTALS_CONTAINER,
    PORTALS_HOST,
    PORTALS_INPUT,
    SERVICES,
)
from kube.proxy.services import ServicePort
from kube.proxy.tables import Rules, Table

ANY_ADDRESS = IPv4Address(0)

MULTIPORT = 15
"""How many ports one multiport match takes."""

_REJECT = {"TCP": "-j REJECT --reject-with tcp-reset", "UDP": "-j REJECT --reject-with icmp-port-unreachable"}
_NEW = "-m conntrack --ctstate NEW"
_LOCAL = "-m addrtype --dst-type LOCAL"


Address = tuple[str, str, int]
"""Address (empty: all of the node's), protocol and port of a service."""

_REDIRECT = re.compile(r"(?:-d (?P<ip>[\d.]+)/32 )?-p (?P<protocol>tcp|udp) .*--dport (?P<port>\d+) .*?(?P<local>\d+)$")


@dataclass(frozen=True, slots=True)
class Portal:
    """A service port, and where on this node the proxy serves it."""

    service: ServicePort
    local_port: int
    """Where the proxy listens; 0: it does not (there never were backends)."""
    has_backends: bool


def userspace(
    portals: Iterable[Portal],
    service_range: IPv4Network,
    bind_address: IPv4Address = ANY_ADDRESS,
    node_port_addresses: Sequence[str] = (),
) -> tuple[Table, ...]:
    """The tables of the mode `userspace`, in the order in which they are to be written.

    `node_port_addresses`: networks on whose addresses node ports are served; none: on all of the node's.
    """
    portals = sorted(portals, key=lambda portal: (portal.service.name, portal.service.port))
    return _filter(portals, service_range), _nat(portals, bind_address, node_port_addresses)


def redirects(tables: Iterable[Table]) -> dict[Address, int]:
    """To which local ports these tables send the traffic of services, so that a restarted proxy can listen there."""
    found: dict[Address, int] = {}
    for table in tables:
        for chain in (PORTALS_HOST, NODEPORT_HOST):
            for match in filter(None, map(_REDIRECT.search, table.chains.get(chain, ()))):
                found[match["ip"] or "", match["protocol"].upper(), int(match["port"])] = int(match["local"])
    return found


def _nat(portals: Sequence[Portal], bind_address: IPv4Address, node_port_addresses: Sequence[str]) -> Table:
    served = [portal for portal in portals if portal.has_backends and portal.local_port]
    portal_rules = tuple(rule for portal in served for rule in _redirects(portal, bind_address))
    node_port_rules = tuple(
        _match(portal.service, portal.service.node_port) + _to_proxy(portal, bind_address)
        for portal in served
        if portal.service.node_port
    )
    portals_comment = '-m comment --comment "kubernetes service portals"'
    node_ports_comment = f'-m comment --comment "kubernetes service node ports" {_LOCAL}'
    # An address in such a network need not be one of the node's.
    to_node = [f"-d {network} {node_ports_comment}" for network in node_port_addresses] or [node_ports_comment]
    return Table(
        "nat",
        {
            PORTALS_CONTAINER: portal_rules,
            PORTALS_HOST: portal_rules,
            NODEPORT_CONTAINER: node_port_rules,
            NODEPORT_HOST: node_port_rules,
        },
        {
            "PREROUTING": (
                f"{portals_comment} -j {PORTALS_CONTAINER}",
                *(f"{each} -j {NODEPORT_CONTAINER}" for each in to_node),
            ),
            "OUTPUT": (
                f"{portals_comment} -j {PORTALS_HOST}",
                *(f"{each} -j {NODEPORT_HOST}" for each in to_node),
            ),
        },
    )


def _filter(portals: Sequence[Portal], service_range: IPv4Network) -> Table:
    refused = [portal.service for portal in portals if not (portal.has_backends and portal.local_port)]
    inside: list[str] = []
    outside: list[str] = []
    for service in refused:
        reject, why = _REJECT[service.protocol], "has no endpoints"
        for address in service.addresses:
            chain = inside if IPv4Address(address) in service_range else outside
            chain.append(f"-d {address}/32 {_match(service, service.port, why)}{reject}")
        if service.node_port:
            outside.append(f"{_match(service, service.node_port, why, _LOCAL)}{reject}")
    no_service = '-m comment --comment "no service has this address and port"'
    inside.append(f"-d {service_range} -p tcp {no_service} {_REJECT['TCP']}")
    inside.append(f"-d {service_range} {no_service} {_REJECT['UDP']}")

    portals_comment = '-m comment --comment "kubernetes service portals"'
    external_comment = f'{_NEW} -m comment --comment "kubernetes externally-visible service portals"'
    # By destination, not by connection state: a packet that belongs to no connection must not leave either.
    guard = f"-d {service_range} {portals_comment} -j {SERVICES}"
    external = f"{external_comment} -j {EXTERNAL_SERVICES}"
    return Table(
        "filter",
        {SERVICES: tuple(inside), EXTERNAL_SERVICES: tuple(outside), PORTALS_INPUT: _input(portals)},
        {
            "INPUT": (
                external,
                f'{_NEW} -m comment --comment "kubernetes service proxy ports" -j {PORTALS_INPUT}',
            ),
            "FORWARD": (guard, external),
            "OUTPUT": (guard, external),
        },
    )


def _input(portals: Sequence[Portal]) -> Rules:
    """Refuse those who come to the proxy's own ports directly, past the services."""
    rules = ['-m conntrack --ctstate DNAT -m comment --comment "sent here by a service portal" -j RETURN']
    for protocol, reject in _REJECT.items():
        ports = sorted(p.local_port for p in portals if p.local_port and p.service.protocol == protocol)
        for start in range(0, len(ports), MULTIPORT):
            some = ",".join(map(str, ports[start : start + MULTIPORT]))
            rules.append(f"-p {protocol.lower()} -m multiport --dports {some} {reject}")
    return tuple(rules)


def _redirects(portal: Portal, bind_address: IPv4Address) -> Iterator[str]:
    service = portal.service
    for address in service.addresses:
        yield f"-d {address}/32 {_match(service, service.port)}{_to_proxy(portal, bind_address)}"


def _match(service: ServicePort, port: int, why: str = "", more: str = "") -> str:
    """The matches on protocol and port, with the service's name as a comment, in the order of iptables-save."""
    protocol = service.protocol.lower()
    comment = f"{service.name} {why}" if why else str(service.name)
    extra = f"{more} " if more else ""
    return f'-p {protocol} -m comment --comment "{comment}" {extra}-m {protocol} --dport {port} '


def _to_proxy(portal: Portal, bind_address: IPv4Address) -> str:
    if bind_address.is_unspecified or bind_address.is_loopback:
        return f"-j REDIRECT --to-ports {portal.local_port}"
    return f"-j DNAT --to-destination {bind_address}:{portal.local_port}"
