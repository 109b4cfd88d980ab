"""The rules of the mode `iptables`: golden texts, a packet walked through every case, what holds for any services."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kube import daemon
from kube.proxy import chains, rules, tables
from kube.proxy.options import Options
from kube.proxy.routes import Route, route
from kube.proxy.rules import Settings
from kube.proxy.server import settings_of
from kube.proxy.services import Backend, Endpoint, ServicePort, ServicePortName
from kube.proxy.tables import Table, target
from kube.proxy.walker import Outcome, Packet, walk

SERVICE_RANGE, PODS = IPv4Network("10.96.0.0/16"), IPv4Network("10.244.0.0/16")
SETTINGS = Settings(SERVICE_RANGE, PODS)
GOLDEN = Path(__file__).parent / "golden/iptables"

NODE_IP, HERE, THERE = "198.51.100.10", "here", "there"
A, B, C = Backend("10.244.0.11", 8080), Backend("10.244.0.12", 8080), Backend("10.244.1.13", 8080)
ENDPOINTS = (Endpoint(A, HERE), Endpoint(B, HERE), Endpoint(C, THERE))

WEB = ServicePort(ServicePortName("default", "web", "http"), "10.96.0.9", 80)
DNS = ServicePort(ServicePortName("kube-system", "kube-dns", "dns"), "10.96.0.10", 53, "UDP")
NODE_PORT = replace(WEB, node_port=30080)
STICKY = replace(WEB, affinity_seconds=60)
BALANCED = replace(
    WEB, node_port=30080, external_ips=("203.0.113.8",), load_balancer_ips=("203.0.113.7",),
    source_ranges=("192.0.2.0/24",),
)  # fmt: skip

POD, NODE, OUTSIDE = "10.244.0.99", "127.0.0.1", "192.0.2.1"
ELSEWHERE = "198.51.100.200"
"""Outside, and in no source range."""


def rendered(*routed: tuple[ServicePort, Sequence[Endpoint]], settings: Settings = SETTINGS) -> tuple[Table, Table]:
    routes = [route(service, endpoints, HERE) for service, endpoints in routed]
    return of(routes, settings)


def of(routes: Iterable[Route], settings: Settings = SETTINGS) -> tuple[Table, Table]:
    routes = [*routes]
    near = {ip for each in routes for ip in each.near}
    return rules.iptables([rules.of_route(each, settings) for each in routes], settings, near)


GOLDEN_CASES = {
    "no-services": rendered(),
    "backends": rendered((WEB, ENDPOINTS)),
    "no-backends": rendered((replace(BALANCED, source_ranges=()), ())),
    "udp": rendered((DNS, ENDPOINTS[:1])),
    "affinity": rendered((STICKY, ENDPOINTS)),
    "load-balancer": rendered((BALANCED, ENDPOINTS)),
    "policies-local": rendered(
        (replace(NODE_PORT, external_local=True, internal_local=True, health_check_node_port=30999), ENDPOINTS)
    ),
    "policies-local-and-no-local-backend": rendered(
        (replace(NODE_PORT, external_local=True, internal_local=True), ENDPOINTS[2:])
    ),
    "masquerade-all": rendered((WEB, ENDPOINTS), settings=replace(SETTINGS, masquerade_all=True)),
    "no-cluster-cidr": rendered((WEB, ENDPOINTS), settings=replace(SETTINGS, cluster_cidr=None)),
    "node-port-addresses": rendered(
        (NODE_PORT, ENDPOINTS), settings=replace(SETTINGS, node_port_addresses=("198.51.100.0/24",))
    ),
    "many-services": rendered(
        *((replace(WEB, name=ServicePortName("default", f"s{n}"), cluster_ip=f"10.96.{n % 3}.{n}"), ENDPOINTS[:1])
          for n in range(20))
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_the_text_is(case: str) -> None:
    text, path = tables.render(GOLDEN_CASES[case]), GOLDEN / f"{case}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def send(
    wanted: Iterable[Table], source: str, ip: str, port: int, protocol: str = "tcp", remembered: Iterable[str] = ()
) -> list[Outcome]:
    return walk(wanted, Packet(source, ip, port, protocol, frozenset({NODE_IP}), frozenset(remembered)))


def reached(outcomes: Iterable[Outcome]) -> dict[Backend, Fraction]:
    """Who takes how much of the traffic."""
    found: Counter[Backend] = Counter()
    for outcome in outcomes:
        assert outcome.packet.rewritten, outcome
        assert outcome.verdict in ("ACCEPT", "POLICY")
        found[Backend(outcome.packet.destination, outcome.packet.port)] += outcome.odds  # type: ignore[assignment]
    return dict(found)  # type: ignore[arg-type]


def even(backends: Collection[Backend]) -> dict[Backend, Fraction]:
    return {backend: Fraction(1, len(backends)) for backend in backends}


def verdict(outcomes: Iterable[Outcome]) -> str:
    (only,) = {outcome.verdict for outcome in outcomes}
    return only


ALL = (A, B, C)
LOCAL = replace(NODE_PORT, external_ips=("203.0.113.8",), external_local=True)


@pytest.mark.parametrize(
    ("service", "source", "ip", "port", "backends", "masqueraded"),
    [
        pytest.param(WEB, POD, "10.96.0.9", 80, ALL, False, id="pod to cluster IP"),
        pytest.param(WEB, NODE, "10.96.0.9", 80, ALL, True, id="node to cluster IP"),
        pytest.param(WEB, OUTSIDE, "10.96.0.9", 80, ALL, True, id="outside to cluster IP"),
        pytest.param(STICKY, POD, "10.96.0.9", 80, ALL, False, id="with affinity, a client that is not known"),
        pytest.param(NODE_PORT, OUTSIDE, NODE_IP, 30080, ALL, True, id="outside to node port"),
        pytest.param(NODE_PORT, POD, NODE_IP, 30080, ALL, True, id="pod to node port"),
        pytest.param(NODE_PORT, NODE, "127.0.0.1", 30080, ALL, True, id="node to node port on loopback"),
        pytest.param(LOCAL, OUTSIDE, NODE_IP, 30080, (A, B), False, id="external Local: outside to node port"),
        pytest.param(LOCAL, OUTSIDE, "203.0.113.8", 80, (A, B), False, id="external Local: outside to external IP"),
        pytest.param(LOCAL, POD, NODE_IP, 30080, ALL, False, id="external Local: pods are not outside"),
        pytest.param(LOCAL, NODE, NODE_IP, 30080, ALL, True, id="external Local: nor is the node"),
        pytest.param(LOCAL, OUTSIDE, "10.96.0.9", 80, ALL, True, id="external Local: cluster IP not concerned"),
        pytest.param(
            replace(WEB, internal_local=True), POD, "10.96.0.9", 80, (A, B), False, id="internal Local"
        ),
        pytest.param(
            replace(NODE_PORT, internal_local=True), OUTSIDE, NODE_IP, 30080, ALL, True,
            id="internal Local: the node port is not concerned",
        ),
        pytest.param(
            replace(NODE_PORT, prefer="node"), POD, "10.96.0.9", 80, (A, B), False,
            id="the same node is preferred: cluster IP",
        ),
        pytest.param(
            replace(NODE_PORT, prefer="node"), OUTSIDE, NODE_IP, 30080, (A, B), True,
            id="the same node is preferred: node port",
        ),
        pytest.param(BALANCED, OUTSIDE, "203.0.113.7", 80, ALL, True, id="load balancer, from a source range"),
        pytest.param(BALANCED, ELSEWHERE, "203.0.113.8", 80, ALL, True, id="source ranges: not for external IPs"),
        pytest.param(
            replace(BALANCED, source_ranges=()), ELSEWHERE, "203.0.113.7", 80, ALL, True, id="no source ranges"
        ),
    ],
)  # fmt: skip
def test_traffic_goes(
    service: ServicePort, source: str, ip: str, port: int, backends: Collection[Backend], masqueraded: bool
) -> None:
    outcomes = send(rendered((service, ENDPOINTS)), source, ip, port)
    assert reached(outcomes) == even(backends)
    assert {outcome.packet.masqueraded for outcome in outcomes} == {masqueraded}


@pytest.mark.parametrize(
    ("service", "endpoints", "source", "ip", "port", "expected"),
    [
        pytest.param(WEB, (), POD, "10.96.0.9", 80, "REJECT", id="no backends: pod to cluster IP"),
        pytest.param(WEB, (), NODE, "10.96.0.9", 80, "REJECT", id="no backends: node to cluster IP"),
        pytest.param(WEB, (), OUTSIDE, "10.96.0.9", 80, "REJECT", id="no backends: outside to cluster IP"),
        pytest.param(BALANCED, (), OUTSIDE, "203.0.113.7", 80, "REJECT", id="no backends: load balancer"),
        pytest.param(BALANCED, (), POD, "203.0.113.8", 80, "REJECT", id="no backends: external IP"),
        pytest.param(BALANCED, (), OUTSIDE, NODE_IP, 30080, "REJECT", id="no backends: outside to node port"),
        pytest.param(BALANCED, (), NODE, NODE_IP, 30080, "REJECT", id="no backends: node to node port"),
        pytest.param(LOCAL, ENDPOINTS[2:], OUTSIDE, NODE_IP, 30080, "DROP", id="external Local, backends elsewhere"),
        pytest.param(LOCAL, ENDPOINTS[2:], OUTSIDE, "203.0.113.8", 80, "DROP", id="likewise, external IP"),
        pytest.param(
            replace(WEB, internal_local=True), ENDPOINTS[2:], POD, "10.96.0.9", 80, "DROP",
            id="internal Local, backends elsewhere",
        ),
        pytest.param(BALANCED, ENDPOINTS, ELSEWHERE, "203.0.113.7", 80, "DROP", id="not in a source range"),
        pytest.param(WEB, ENDPOINTS, POD, "10.96.0.9", 81, "REJECT", id="another port of a cluster IP"),
        pytest.param(WEB, ENDPOINTS, POD, "10.96.77.77", 80, "REJECT", id="pod to an address nobody holds"),
        pytest.param(WEB, ENDPOINTS, NODE, "10.96.77.77", 80, "REJECT", id="node to an address nobody holds"),
        pytest.param(WEB, ENDPOINTS, POD, "192.0.2.7", 80, "ACCEPT", id="pod to the world: let through"),
        pytest.param(WEB, ENDPOINTS, POD, "10.244.1.13", 80, "ACCEPT", id="pod to pod: let through"),
        pytest.param(WEB, ENDPOINTS, OUTSIDE, ELSEWHERE, 80, "POLICY", id="the world's own: none of our business"),
        pytest.param(WEB, ENDPOINTS, OUTSIDE, NODE_IP, 22, "POLICY", id="to the node itself: none of our business"),
        pytest.param(WEB, ENDPOINTS, OUTSIDE, "127.0.0.1", 22, "DROP", id="from outside to loopback"),
    ],
)  # fmt: skip
def test_what_is_not_a_backends_is(
    service: ServicePort, endpoints: Sequence[Endpoint], source: str, ip: str, port: int, expected: str
) -> None:
    outcomes = send(rendered((service, endpoints)), source, ip, port)
    assert verdict(outcomes) == expected
    assert not any(outcome.packet.rewritten for outcome in outcomes)


def test_who_prefers_the_same_node_takes_others_where_it_has_none() -> None:
    wanted = rendered((replace(WEB, prefer="node"), ENDPOINTS[2:]))
    assert reached(send(wanted, POD, "10.96.0.9", 80)) == {C: 1}


def test_a_datagram_is_not_a_connection() -> None:
    wanted = rendered((DNS, ENDPOINTS))
    assert reached(send(wanted, POD, "10.96.0.10", 53, "udp")) == even(ALL)
    assert verdict(send(wanted, POD, "10.96.0.10", 53, "tcp")) == "REJECT"


def test_a_client_that_is_remembered_stays_with_its_backend() -> None:
    wanted = rendered((STICKY, ENDPOINTS))
    for backend in ALL:
        lists = [chains.of_backend(STICKY, backend)]
        outcomes = send(wanted, POD, "10.96.0.9", 80, remembered=lists)
        assert reached(outcomes) == {backend: 1}
        assert outcomes[0].packet.remembered == {*lists}
    for outcome in send(wanted, POD, "10.96.0.9", 80):
        backend = Backend(outcome.packet.destination, outcome.packet.port)
        assert outcome.packet.remembered == {chains.of_backend(STICKY, backend)}, "it is remembered where it went"


def test_a_pod_that_reaches_itself_is_masqueraded_and_no_other() -> None:
    for outcome in send(rendered((WEB, ENDPOINTS)), A.ip, "10.96.0.9", 80):
        assert outcome.packet.masqueraded == (outcome.packet.destination == A.ip)


def test_node_ports_are_served_where_they_are_to_be() -> None:
    for chosen, loopback, address in (
        (SETTINGS, True, True),
        (replace(SETTINGS, localhost_node_ports=False), False, True),
        (replace(SETTINGS, node_port_addresses=("127.0.0.0/8",)), True, False),
        (replace(SETTINGS, node_port_addresses=("198.51.100.0/24",)), False, True),
        (replace(SETTINGS, node_port_addresses=("127.0.0.1/32",), localhost_node_ports=False), False, False),
    ):
        assert chosen.loopback_node_ports == loopback
        wanted = rendered((NODE_PORT, ENDPOINTS), settings=chosen)
        for ip, served in (("127.0.0.1", loopback), (NODE_IP, address)):
            assert all(o.packet.rewritten == served for o in send(wanted, NODE, ip, 30080)), (chosen, ip)


@pytest.mark.parametrize(
    ("node_ip", "let_in"),
    [pytest.param("192.0.2.9", True, id="its own is in one"), pytest.param(NODE_IP, False, id="its own is in none")],
)
def test_a_node_that_comes_from_the_load_balancers_address_is_let_in_by_source_ranges_if(
    node_ip: str, let_in: bool
) -> None:
    (ip,) = BALANCED.load_balancer_ips
    wanted = rendered((BALANCED, ENDPOINTS), settings=replace(SETTINGS, node_ip=node_ip))
    outcomes = walk(wanted, Packet(ip, ip, 80, "tcp", frozenset({node_ip, ip})))
    if let_in:
        assert reached(outcomes) == even(ALL)
    else:
        assert verdict(outcomes) == "DROP"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param("198.51.100.7", "198.51.100.7", id="as said"),
        pytest.param("0.0.0.0", "198.51.100.1", id="found out"),
        pytest.param("127.0.0.1", "198.51.100.1", id="loopback is nobody's address"),
    ],
)
def test_the_rules_know_the_nodes_address(address: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "own_address", lambda: "198.51.100.1")
    assert settings_of(Options(bind_address=IPv4Address(address))).node_ip == expected


def test_all_is_masqueraded_if_asked_for_and_nobody_if_pods_cannot_be_told_from_others() -> None:
    for chosen, expected in (
        (replace(SETTINGS, masquerade_all=True), True),
        (replace(SETTINGS, cluster_cidr=None), False),
    ):
        wanted = rendered((WEB, ENDPOINTS), settings=chosen)
        for source in (POD, OUTSIDE):
            assert all(outcome.packet.masqueraded == expected for outcome in send(wanted, source, "10.96.0.9", 80))


def test_the_chains_have_kubernetes_names() -> None:
    # As TestServiceChainName of pkg/proxy/iptables would say: sha256 of name and protocol, base32, 16 letters.
    service = ServicePort(ServicePortName("testns", "testsvc", "testport"), "10.96.0.9", 80)
    assert chains.of_service(chains.CLUSTER, service).startswith("KUBE-SVC-")
    assert len(chains.of_service(chains.CLUSTER, service)) == len("KUBE-SVC-") + 16
    assert chains.of_service(chains.CLUSTER, service) != chains.of_service(
        chains.CLUSTER, replace(service, protocol="UDP")
    )


# Any services

NETWORKS = ("0.0.0.0/0", "192.0.2.0/24", "10.244.0.0/16")
Services = list[tuple[ServicePort, tuple[Endpoint, ...]]]


def services_of(seed: int) -> Services:
    """Service ports as the apiserver lets them be: no two with one address, protocol and port.

    From a seed, and not drawn one by one: that is many times faster, and a whole cluster does not shrink well anyway.
    """
    dice = random.Random(seed)
    taken: set[tuple[str, str, int]] = set()
    found = []
    for n in range(dice.choice((0, 1, 3, 10, 40))):
        key = (f"10.96.{dice.randrange(4)}.{dice.randrange(1, 255)}", dice.choice(("TCP", "UDP")),
               dice.choice((80, 443, 8080)))  # fmt: skip
        if key in taken:
            continue
        taken.add(key)
        ip, protocol, port = key
        service = ServicePort(
            ServicePortName("default", f"s{n}"), ip, port, protocol,
            node_port=dice.choice((0, 30000 + 67 * n)),
            external_ips=dice.choice(((), (f"203.0.113.{n}",))),
            load_balancer_ips=dice.choice(((), (f"198.51.100.{n + 100}",))),
            source_ranges=tuple(dice.sample(NETWORKS, dice.randrange(3))),
            affinity_seconds=dice.choice((0, 10800)),
            external_local=dice.random() < 0.5,
            internal_local=dice.random() < 0.5,
            prefer=dice.choice(("", "", "node", "zone")),
        )  # fmt: skip
        hosts = dice.sample(range(1, 21), dice.randrange(6))
        endpoints = (
            Endpoint(
                Backend(f"10.244.0.{host}", dice.choice((80, 8080))),
                dice.choice((HERE, THERE, "")),
            )
            for host in hosts
        )
        found.append((service, tuple(endpoints)))
    return found


UNTIMED = settings(deadline=None, max_examples=60)
clusters = st.integers(0, 2**32 - 1).map(services_of)


def expected(each: Route, source: str, what: str) -> dict[Backend, Fraction] | str:
    """What the documentation of Kubernetes promises, said once more and without chains."""
    service = each.service
    if what == "cluster IP":
        backends, is_local = each.internal, service.internal_local
    else:
        if what == "load balancer" and service.source_ranges:
            let_in = any(source_is_in(source, network) for network in service.source_ranges)
            if each.has_backends and not let_in:
                return "DROP"
        inside = source in (POD, NODE)
        is_local = service.external_local and not inside
        backends = each.cluster if service.external_local and inside else each.external
    if backends:
        return even(backends)
    return "DROP" if is_local and each.has_backends else "REJECT"


def source_is_in(source: str, network: str) -> bool:
    return network == "0.0.0.0/0" or source.rsplit(".", 2)[0] == network.rsplit(".", 2)[0]


@UNTIMED
@given(clusters, st.sampled_from([POD, NODE, OUTSIDE]))
def test_every_address_has_exactly_its_backends(cluster: Services, source: str) -> None:
    routes = [route(service, endpoints, HERE) for service, endpoints in cluster]
    wanted = of(routes)
    for each in routes:
        service = each.service
        asked = [("cluster IP", service.cluster_ip, service.port)]
        asked += [("external IP", ip, service.port) for ip in service.external_ips]
        asked += [("load balancer", ip, service.port) for ip in service.load_balancer_ips]
        asked += [("node port", NODE_IP, service.node_port)] if service.node_port else []
        for what, ip, port in asked:
            outcomes = send(wanted, source, ip, port, service.protocol.lower())
            assert sum(outcome.odds for outcome in outcomes) == 1
            promised = expected(each, source, what)
            assert (verdict(outcomes) if isinstance(promised, str) else reached(outcomes)) == promised, (what, service)


@UNTIMED
@given(clusters)
def test_no_chain_dangles_and_each_jumps_only_to_those_before_it(
    cluster: Services,
) -> None:
    for table in rendered(*cluster):
        jumped = {target(rule) for some in (*table.hooks.values(), *table.chains.values()) for rule in some}
        assert jumped >= {*table.chains} - {chains.MARK_MASQ}, "every chain is jumped to"
        before: set[str] = set()
        for chain, some in table.chains.items():
            assert {target(rule) for rule in some if chains.ours(target(rule))} <= before, chain
            before.add(chain)
        assert all(chains.ours(chain) for chain in table.chains), "or --cleanup would leave it"
        assert all(len(chain) <= 28 for chain in table.chains), "or the kernel would not take it"


@UNTIMED
@given(clusters, st.integers(0, 39))
def test_a_service_less_changes_few_chains(cluster: Services, which: int) -> None:
    for before, after in zip(rendered(*cluster), rendered(*cluster[:which], *cluster[which + 1 :]), strict=True):
        changed = [c for c in after.chains if c in before.chains and before.chains[c] != after.chains[c]]
        assert len(changed) <= 15, "a branch of each tree, and the chains they hang on"


def test_a_lookup_takes_few_steps_however_many_services_there_are() -> None:
    services = (
        replace(WEB, name=ServicePortName("default", f"s{n}"), cluster_ip=f"10.96.{n // 250}.{n % 250 + 1}")
        for n in range(5000)
    )
    wanted = rendered(*((service, ENDPOINTS[:1]) for service in services))
    nat = next(table for table in wanted if table.name == "nat")
    longest = max(len(some) for chain, some in nat.chains.items() if chain.startswith(("KUBE-SERVICES", "KUBE-IP-")))
    assert longest <= 21
    (outcome,) = send(wanted, POD, "10.96.19.249", 80)
    assert sum(step.chain.startswith(("KUBE-SERVICES", "KUBE-IP-")) for step in outcome.packet.steps) <= 5
