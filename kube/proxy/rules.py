"""The iptables rules of the mode `iptables`: a pure function from services and their backends to complete tables.

nat: what a pod or the world sends (PREROUTING) and what the node itself sends (OUTPUT) goes through KUBE-SERVICES,
which finds the service port by address and port and jumps to its chain; KUBE-SVC-… picks a backend in turn and
rewrites the destination (DNAT). Connection tracking does the same to every further packet, both ways, without us.

Whoever must not answer the client past this node is marked (KUBE-MARK-MASQ) and given the node's address when it
leaves (KUBE-POSTROUTING): clients outside the cluster, and a pod that reaches itself. Nobody else: a backend sees its
client's address.

filter: what was not rewritten is refused, for packets come here after nat: services without backends, and all the rest
of the service range, which must never leave by the default route. KUBE-FORWARD lets pod traffic through, whatever
the policy of FORWARD (Docker makes it DROP).

Names and order of chains and rules are those of Kubernetes (pkg/proxy/iptables/proxier.go), but: the first chains are
trees (tree.py); a backend is picked exactly in turn (`statistic --mode nth`) and not at random; it has a chain of its
own, KUBE-SEP-…, only where client addresses have to be remembered; a pod that reaches itself is found in KUBE-HAIRPIN,
among the pods of this node, instead of in a rule for each of all backends. So a service with five backends takes 7
rules and not 17, which is what lets a large cluster's rules be written within seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network

from kube.proxy import chains, tree
from kube.proxy.chains import (
    CLUSTER,
    EXTERNAL,
    EXTERNAL_SERVICES,
    FIREWALL,
    FORWARD,
    HAIRPIN,
    LOCAL,
    MARK_MASQ,
    NODEPORTS,
    POSTROUTING,
    PROXY_FIREWALL,
    SERVICES,
    SOURCES,
)
from kube.proxy.routes import Route
from kube.proxy.services import Backend, ServicePort
from kube.proxy.tables import Rules, Table

TABLES = ("filter", "nat")
"""In the order in which they are written: an address is guarded before it is rewritten."""
MARK = "0x4000"
"""The packet mark of what is to be masqueraded (upstream's --iptables-masquerade-bit, 14)."""

_TO_NODE = "-m addrtype --dst-type LOCAL"
_NEW = "-m conntrack --ctstate NEW"
_REJECT = {"TCP": "-j REJECT --reject-with tcp-reset", "UDP": "-j REJECT --reject-with icmp-port-unreachable"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What of the flags the rules depend on."""

    service_range: IPv4Network
    cluster_cidr: IPv4Network | None = None
    """The range of all pods; None: not known, and then nobody who comes to a cluster IP is taken for an outsider."""
    masquerade_all: bool = False
    node_port_addresses: tuple[str, ...] = ()
    """Networks on whose addresses node ports are served; none: on all of the node's."""
    localhost_node_ports: bool = True
    """Whether node ports are served on 127.0.0.0/8."""
    node_ip: str = ""
    """The node's address: is it let in by source ranges, then so is the load balancer's own address."""

    @property
    def loopback_node_ports(self) -> bool:
        """Whether node ports are served on 127.0.0.0/8, all told."""
        return self.localhost_node_ports and (
            not self.node_port_addresses or any(map(_on_loopback, self.node_port_addresses))
        )


@dataclass(slots=True)
class ServiceRules:
    """The rules of one service port, by where they go. They depend on nothing but it: made once, used until it changes.

    Those with an address (or port) before them are to be found by it.
    """

    chains: dict[str, Rules] = field(default_factory=dict)
    """Table nat: its own chains, each after those it jumps to."""
    addresses: list[tuple[str, str]] = field(default_factory=list)
    """KUBE-SERVICES in nat."""
    node_ports: list[tuple[int, str]] = field(default_factory=list)
    """KUBE-NODEPORTS in nat."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """KUBE-SERVICES in filter."""
    refused_outside: list[tuple[str, str]] = field(default_factory=list)
    """KUBE-EXTERNAL-SERVICES in filter."""
    refused_ports: list[str] = field(default_factory=list)
    """The same, of node ports."""
    not_let_in: list[tuple[str, str]] = field(default_factory=list)
    """KUBE-PROXY-FIREWALL in filter."""
    health: list[str] = field(default_factory=list)
    """KUBE-NODEPORTS in filter."""


def of_route(route: Route, settings: Settings) -> ServiceRules:
    """The rules of one service port."""
    service = route.service
    rules = ServiceRules()
    internal = _policy_chain(service, local=service.internal_local)
    _add_chains(rules.chains, route, settings)
    if route.internal:
        rules.addresses.append((service.cluster_ip, _to(service, service.cluster_ip, "cluster IP", internal)))
    else:
        rules.refused.append((service.cluster_ip, _refuse(route, service.cluster_ip)))
    outside = (*service.external_ips, *service.load_balancer_ips)
    if route.has_backends and service.external:
        external = chains.of_service(EXTERNAL, service)
        balanced = chains.of_service(SOURCES, service) if service.source_ranges else external
        rules.addresses += [(ip, _to(service, ip, "external IP", external)) for ip in service.external_ips]
        rules.addresses += [(ip, _to(service, ip, "loadbalancer IP", balanced)) for ip in service.load_balancer_ips]
        if service.source_ranges:
            why = f"traffic not accepted by {balanced}"
            rules.not_let_in += [
                (ip, f"-d {ip}/32 {_match(service, service.port, why)}-j DROP") for ip in service.load_balancer_ips
            ]
        if service.node_port:
            rules.node_ports.append((service.node_port, f"{_match(service, service.node_port)}-j {external}"))
    if not route.external:
        rules.refused_outside += [(ip, _refuse(route, ip)) for ip in outside]
        if service.node_port:
            rules.refused_ports.append(_refuse(route, ""))
    if port := service.health_check_node_port:
        name = f"{service.name.namespace}/{service.name.name}"
        comment = f'-m comment --comment "{name} health check node port"'
        rules.health.append(f"-p tcp {comment} -m tcp --dport {port} -j ACCEPT")
    return rules


def iptables(services: Iterable[ServiceRules], settings: Settings, near: Iterable[str] = ()) -> tuple[Table, Table]:
    """The tables filter and nat of a node. `near`: addresses of backends that may be on it."""
    services = [*services]
    return _filter(services, settings), _nat(services, settings, near)


def nothing() -> tuple[Table, ...]:
    """The tables of a node without a proxy."""
    return tuple(Table(name) for name in TABLES)


# The chains of one service port


def _add_chains(found: dict[str, Rules], route: Route, settings: Settings) -> None:
    service = route.service
    for prefix, backends in ((CLUSTER, route.cluster), (LOCAL, route.local)):
        if not backends:
            continue
        is_internal = service.internal_local == (prefix == LOCAL)
        outsiders = _mark_outsiders(service, settings) if is_internal else []
        found.update(_remembering(service, backends))
        found[chains.of_service(prefix, service)] = (*outsiders, *_turns(service, backends))
    if not (route.has_backends and service.external):
        return
    external = chains.of_service(EXTERNAL, service)
    found[external] = tuple(_external(route, settings))
    if service.source_ranges and service.load_balancer_ips:
        found[chains.of_service(SOURCES, service)] = tuple(_let_in(service, external, settings))


def _mark_outsiders(service: ServicePort, settings: Settings) -> list[str]:
    """Who comes to the cluster IP from outside the cluster must get the answer through this node."""
    if settings.masquerade_all:
        source = ""
    elif settings.cluster_cidr is not None:
        source = f"! -s {_text(settings.cluster_cidr)} "
    else:
        return []
    to = f"-d {service.cluster_ip}/32 {_match(service, service.port, 'cluster IP')}"
    return [f"{source}{to}-j {MARK_MASQ}"]


def _turns(service: ServicePort, backends: Sequence[Backend]) -> Iterator[str]:
    """One backend after the other, each in its turn.

    The rule of the first takes every n-th packet that comes, that of the second every (n-1)-th of those left, and so
    on: each counts for itself, and together they deal exactly in turn.
    """
    if service.affinity_seconds:
        for backend in backends:
            chain = chains.of_backend(service, backend)
            seen = f"-m recent --rcheck --seconds {service.affinity_seconds} --reap --name {chain}"
            yield f"{_named(service, backend)}{seen} --mask 255.255.255.255 --rsource -j {chain}"
    for number, backend in enumerate(backends):
        left = len(backends) - number
        turn = f"-m statistic --mode nth --every {left} --packet 0 " if left > 1 else ""
        if service.affinity_seconds:
            yield f"{_named(service, backend)}{turn}-j {chains.of_backend(service, backend)}"
        else:
            yield f"-p {service.protocol.lower()} {_named(service, backend)}{turn}{_dnat(backend)}"


def _remembering(service: ServicePort, backends: Sequence[Backend]) -> Iterator[tuple[str, Rules]]:
    """For session affinity, a chain a backend: who was sent there is remembered under its name."""
    if not service.affinity_seconds:
        return
    protocol = service.protocol.lower()
    for backend in backends:
        chain = chains.of_backend(service, backend)
        remember = f"-m recent --set --name {chain} --mask 255.255.255.255 --rsource"
        yield chain, (f"-p {protocol} -m comment --comment {_quoted(str(service.name))} {remember} {_dnat(backend)}",)


def _dnat(backend: Backend) -> str:
    return f"-j DNAT --to-destination {backend}"


def _external(route: Route, settings: Settings) -> Iterator[str]:
    """What comes to an address that the outside may use."""
    service = route.service
    if not service.external_local:
        yield f"{_comment(service, 'masquerade traffic for', 'external destinations')}-j {MARK_MASQ}"
    else:
        # The policy is about traffic from outside: whoever is inside is served by any backend, as at the cluster IP.
        cluster = chains.of_service(CLUSTER, service)
        if settings.cluster_cidr is not None:
            comment = _comment(service, "pod traffic for", "external destinations")
            yield f"-s {settings.cluster_cidr} {comment}-j {cluster}"
        local = "-m addrtype --src-type LOCAL "
        yield f"{_comment(service, 'masquerade LOCAL traffic for', 'external destinations')}{local}-j {MARK_MASQ}"
        yield f"{_comment(service, 'route LOCAL traffic for', 'external destinations')}{local}-j {cluster}"
    if route.external:
        yield f"-j {_policy_chain(service, local=service.external_local)}"


def _let_in(service: ServicePort, external: str, settings: Settings) -> Iterator[str]:
    """What a load balancer's source ranges let in; what they do not is dropped in the table filter."""
    name = _comment(service, "", "loadbalancer IP")
    for network in service.source_ranges:
        source = "" if network == "0.0.0.0/0" else f"-s {network} "
        yield f"{source}{name}-j {external}"
    # A load balancer may make its address one of the node's: then the node comes from it.
    if settings.node_ip and any(IPv4Network(settings.node_ip).subnet_of(IPv4Network(n)) for n in service.source_ranges):
        for ip in service.load_balancer_ips:
            yield f"-s {ip}/32 {name}-j {external}"


def _policy_chain(service: ServicePort, *, local: bool) -> str:
    return chains.of_service(LOCAL if local else CLUSTER, service)


# The chains of all


def _nat(services: Sequence[ServiceRules], settings: Settings, near: Iterable[str]) -> Table:
    found: dict[str, Rules] = {MARK_MASQ: (f"-j MARK --set-xmark {MARK}/{MARK}",)}
    for service in services:
        found.update(service.chains)
    node_ports = [entry for service in services for entry in service.node_ports]
    at_ports: list[str] = []
    for protocol in ("tcp", "udp"):
        mine = [entry for entry in node_ports if entry[1].startswith(f"-p {protocol} ")]
        at_ports += tree.by_port(mine, protocol, f"{chains.PORT_BRANCH}{protocol.upper()}-", found)
    found[NODEPORTS] = tuple(at_ports)
    addresses = [entry for service in services for entry in service.addresses]
    found[SERVICES] = (
        *tree.by_address(addresses, chains.SERVICE_BRANCH, found),
        *_to_node_ports(settings),
    )
    itself = '-m comment --comment "a pod that reaches itself through a service"'
    pods = [(ip, f"-s {ip}/32 -d {ip}/32 {itself} -j {MARK_MASQ}") for ip in sorted(set(near))]
    found[HAIRPIN] = tuple(tree.by_address(pods, chains.HAIRPIN_BRANCH, found, "-s"))
    found[POSTROUTING] = (
        f"-j {HAIRPIN}",
        f"-m mark ! --mark {MARK}/{MARK} -j RETURN",
        f"-j MARK --set-xmark {MARK}/0x0",  # or it would be masqueraded again where it comes by encapsulated
        '-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
    )
    portals = f'-m comment --comment "kubernetes service portals" -j {SERVICES}'
    return Table(
        "nat",
        found,
        {
            "PREROUTING": (portals,),
            "OUTPUT": (portals,),
            "POSTROUTING": (f'-m comment --comment "kubernetes postrouting rules" -j {POSTROUTING}',),
        },
    )


def _to_node_ports(settings: Settings) -> Iterator[str]:
    note = '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain"'
    if not settings.node_port_addresses:
        outside = "" if settings.localhost_node_ports else "! -d 127.0.0.0/8 "
        yield f"{outside}{note} {_TO_NODE} -j {NODEPORTS}"
    for network in settings.node_port_addresses:
        if _on_loopback(network) and not settings.localhost_node_ports:
            continue
        # An address in such a network need not be one of the node's.
        yield f"-d {network} {note} {_TO_NODE} -j {NODEPORTS}"


def _on_loopback(network: str) -> bool:
    return IPv4Network(network).network_address.is_loopback


def _filter(services: Sequence[ServiceRules], settings: Settings) -> Table:
    found: dict[str, Rules] = {}
    no_service = f'-d {settings.service_range} {{}}-m comment --comment "no service has this address and port"'
    refused = tree.by_address(_all(s.refused for s in services), chains.SERVICE_BRANCH, found)
    found[SERVICES] = (
        *refused,
        f"{no_service.format('-p tcp ')} {_REJECT['TCP']}",
        f"{no_service.format('')} {_REJECT['UDP']}",
    )
    outside = tree.by_address(_all(s.refused_outside for s in services), chains.EXTERNAL_BRANCH, found)
    found[EXTERNAL_SERVICES] = (*outside, *(rule for s in services for rule in s.refused_ports))
    closed = tree.by_address(_all(s.not_let_in for s in services), chains.SOURCES_BRANCH, found)
    found[PROXY_FIREWALL] = tuple(closed)
    found[NODEPORTS] = tuple(dict.fromkeys(rule for s in services for rule in s.health))
    found[FORWARD] = tuple(_forward(settings))
    localnet = '! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections"'
    found[FIREWALL] = (f"{localnet} -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",)
    firewall = f'{_NEW} -m comment --comment "kubernetes load balancer firewall" -j {PROXY_FIREWALL}'
    # By destination, not by connection state: a packet that belongs to no connection must not leave either.
    guard = f'-d {settings.service_range} -m comment --comment "kubernetes service portals" -j {SERVICES}'
    external = f'{_NEW} -m comment --comment "kubernetes externally-visible service portals" -j {EXTERNAL_SERVICES}'
    health = f'-m comment --comment "kubernetes health check service ports" -j {NODEPORTS}'
    forward = f'-m comment --comment "kubernetes forwarding rules" -j {FORWARD}'
    return Table(
        "filter",
        found,
        {
            "INPUT": (firewall, health, external, f"-j {FIREWALL}"),
            "FORWARD": (firewall, guard, external, forward),
            "OUTPUT": (firewall, guard, external, f"-j {FIREWALL}"),
        },
    )


def _forward(settings: Settings) -> Iterator[str]:
    """What may pass the node, whatever the policy of FORWARD."""
    # A late answer that connection tracking cannot place would reach the client from an address it does not know.
    yield "-m conntrack --ctstate INVALID -j DROP"
    yield f'-m comment --comment "kubernetes forwarding rules" -m mark --mark {MARK}/{MARK} -j ACCEPT'
    comment = '-m comment --comment "kubernetes forwarding conntrack rule"'
    yield f"{comment} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    if settings.cluster_cidr is not None:
        pods = '-m comment --comment "kubernetes pod traffic"'
        yield f"-s {settings.cluster_cidr} {pods} -j ACCEPT"
        yield f"-d {settings.cluster_cidr} {pods} -j ACCEPT"


def _all(entries: Iterable[list[tuple[str, str]]]) -> list[tuple[str, str]]:
    return [entry for some in entries for entry in some]


# Parts of rules, in the form in which iptables-save prints them


def _to(service: ServicePort, ip: str, what: str, chain: str) -> str:
    return f"-d {ip}/32 {_match(service, service.port, what)}-j {chain}"


def _refuse(route: Route, ip: str) -> str:
    """Refuse what comes to an address (empty: the node port): nobody takes it. With a policy Local, drop it: others
    may, and a client that is refused would not try again (upstream's choice)."""
    service = route.service
    verdict = _REJECT[service.protocol] if not route.has_backends else "-j DROP"
    why = "has no local endpoints" if route.has_backends else "has no endpoints"
    if ip:
        return f"-d {ip}/32 {_match(service, service.port, why)}{verdict}"
    return f"{_match(service, service.node_port, why, f'{_TO_NODE} ')}{verdict}"


def _match(service: ServicePort, port: int, why: str = "", more: str = "") -> str:
    """The matches on protocol and port, with the service's name as a comment."""
    protocol = service.protocol.lower()
    return f"-p {protocol} {_comment(service, '', why)}{more}-m {protocol} --dport {port} "


def _comment(service: ServicePort, before: str, after: str) -> str:
    return f"-m comment --comment {_quoted(f'{before} {service.name} {after}'.strip())} "


_text = lru_cache(maxsize=16)(str)


def _named(service: ServicePort, backend: Backend) -> str:
    return f'-m comment --comment "{service.name} -> {backend}" '


def _quoted(text: str) -> str:
    """As iptables-save prints a comment: one word stands without quotes."""
    return f'"{text}"' if " " in text else text
