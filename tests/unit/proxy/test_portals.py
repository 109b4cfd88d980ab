"""The rules of the mode `userspace`: golden texts, and what holds for any set of services."""

from __future__ import annotations

import os
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.proxy import chains, portals, tables
from kube.proxy.portals import Portal
from kube.proxy.services import ServicePort, ServicePortName
from kube.proxy.tables import Table, target
from kube.proxy.walker import Packet, walk

RANGE = IPv4Network("10.96.0.0/16")
GOLDEN = Path(__file__).parent / "golden/userspace"

WEB = ServicePort(ServicePortName("default", "web"), "10.96.0.9", 80)
DNS = ServicePort(ServicePortName("kube-system", "kube-dns", "dns"), "10.96.0.10", 53, "UDP")
DNS_TCP = ServicePort(ServicePortName("kube-system", "kube-dns", "dns-tcp"), "10.96.0.10", 53)
SHOP = ServicePort(
    ServicePortName("default", "shop", "https"), "10.96.7.7", 443, node_port=30443, external_ips=("198.51.100.7",)
)

CASES = {
    "no-services": portals.userspace([], RANGE),
    "backends": portals.userspace([Portal(WEB, 40001, True)], RANGE),
    "no-backends": portals.userspace([Portal(WEB, 0, False)], RANGE),
    "no-backends-any-more": portals.userspace([Portal(WEB, 40001, False)], RANGE),
    "tcp-and-udp": portals.userspace([Portal(DNS_TCP, 40003, True), Portal(DNS, 40002, True)], RANGE),
    "node-port-and-external-address": portals.userspace([Portal(SHOP, 40004, True)], RANGE),
    "node-port-and-external-address-no-backends": portals.userspace([Portal(SHOP, 0, False)], RANGE),
    "cluster-ip-outside-the-range-no-backends": portals.userspace([Portal(WEB, 0, False)], IPv4Network("10.97.0.0/16")),
    "node-port-addresses": portals.userspace(
        [Portal(SHOP, 40004, True)], RANGE, node_port_addresses=("198.51.100.0/24", "127.0.0.0/8")
    ),
    "bind-address": portals.userspace([Portal(SHOP, 40004, True)], RANGE, IPv4Address("192.0.2.1")),
}


@pytest.mark.parametrize("case", CASES)
def test_the_text_is(case: str) -> None:
    text, path = tables.render(CASES[case]), GOLDEN / f"{case}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_a_restarted_proxy_finds_where_services_were_redirected_to() -> None:
    plan = [Portal(WEB, 40001, True), Portal(DNS, 40002, True), Portal(SHOP, 40004, True)]
    assert portals.redirects(portals.userspace(plan, RANGE)) == {
        ("10.96.0.9", "TCP", 80): 40001,
        ("10.96.0.10", "UDP", 53): 40002,
        ("10.96.7.7", "TCP", 443): 40004,
        ("198.51.100.7", "TCP", 443): 40004,
        ("", "TCP", 30443): 40004,
    }
    assert portals.redirects(CASES["bind-address"])["10.96.7.7", "TCP", 443] == 40004


NODE_IP, OTHER_NODE_IP = "198.51.100.10", "203.0.113.10"
POD, NODE, OUTSIDE = "10.244.0.99", "127.0.0.1", "192.0.2.1"
SERVED = portals.userspace([Portal(SHOP, 40004, True), Portal(DNS, 40002, True)], RANGE)
CHOSEN = portals.userspace([Portal(SHOP, 40004, True)], RANGE, node_port_addresses=("198.51.100.0/24",))


@pytest.mark.parametrize("source", [POD, NODE, OUTSIDE])
@pytest.mark.parametrize(
    ("wanted", "ip", "port", "protocol", "expected"),
    [
        pytest.param(SERVED, "10.96.7.7", 443, "tcp", 40004, id="cluster IP"),
        pytest.param(SERVED, "10.96.0.10", 53, "udp", 40002, id="UDP"),
        pytest.param(SERVED, "10.96.0.10", 53, "tcp", "REJECT", id="of another protocol"),
        pytest.param(SERVED, "198.51.100.7", 443, "tcp", 40004, id="external address"),
        pytest.param(SERVED, NODE_IP, 30443, "tcp", 40004, id="node port"),
        pytest.param(SERVED, OTHER_NODE_IP, 30443, "tcp", 40004, id="node port at another address of the node"),
        pytest.param(CHOSEN, NODE_IP, 30443, "tcp", 40004, id="node port at a chosen address"),
        pytest.param(CHOSEN, OTHER_NODE_IP, 30443, "tcp", "POLICY", id="node port at one that was not chosen"),
        pytest.param(SERVED, "10.96.7.7", 80, "tcp", "REJECT", id="another port"),
        pytest.param(SERVED, "10.96.77.77", 443, "tcp", "REJECT", id="an address that no service holds"),
        pytest.param(CASES["no-backends"], "10.96.0.9", 80, "tcp", "REJECT", id="no backends"),
        pytest.param(
            CASES["node-port-and-external-address-no-backends"], NODE_IP, 30443, "tcp", "REJECT",
            id="no backends: node port",
        ),
        pytest.param(
            CASES["node-port-and-external-address-no-backends"], "198.51.100.7", 443, "tcp", "REJECT",
            id="no backends: external address",
        ),
    ],
)  # fmt: skip
def test_traffic_goes(
    wanted: Sequence[Table], source: str, ip: str, port: int, protocol: str, expected: int | str
) -> None:
    (outcome,) = walk(wanted, Packet(source, ip, port, protocol, frozenset({NODE_IP, OTHER_NODE_IP})))
    if isinstance(expected, str):
        assert (outcome.verdict, outcome.packet.rewritten) == (expected, False)
    else:
        assert (outcome.verdict, outcome.packet.port, outcome.packet.rewritten) == ("POLICY", expected, True)


@st.composite
def plans(draw: st.DrawFn) -> list[Portal]:
    """Service ports as the apiserver lets them be: no two with one address, protocol and port."""
    addresses = st.tuples(st.integers(1, 40), st.sampled_from(["TCP", "UDP"]), st.sampled_from([80, 443, 8080]))
    plan = []
    for n, (host, protocol, port) in enumerate(draw(st.lists(addresses, unique=True, max_size=40))):
        service = ServicePort(
            ServicePortName("default", f"s{n}"),
            f"10.96.0.{host}",
            port,
            protocol,
            node_port=draw(st.sampled_from([0, 30000 + n])),
            external_ips=draw(st.sampled_from([(), (f"198.51.100.{n}",)])),
        )
        plan.append(Portal(service, draw(st.sampled_from([0, 40000 + n])), draw(st.booleans())))
    return plan


def matching(table: Table, chain: str, comment: str) -> list[str]:
    return [rule for rule in table.chains[chain] if f'"{comment}"' in rule]


@given(plans())
def test_every_service_port_is_either_redirected_or_refused(plan: list[Portal]) -> None:
    filter_, nat = portals.userspace(plan, RANGE)
    for portal in plan:
        service = portal.service
        served = portal.has_backends and portal.local_port != 0
        addresses, node_ports = 1 + len(service.external_ips), int(service.node_port != 0)
        for chain in (chains.PORTALS_CONTAINER, chains.PORTALS_HOST):
            found = matching(nat, chain, str(service.name))
            assert len(found) == (addresses if served else 0)
            assert all(rule.endswith(f"-j REDIRECT --to-ports {portal.local_port}") for rule in found)
        for chain in (chains.NODEPORT_CONTAINER, chains.NODEPORT_HOST):
            assert len(matching(nat, chain, str(service.name))) == (node_ports if served else 0)
        why = f"{service.name} has no endpoints"
        assert len(matching(filter_, chains.SERVICES, why)) == (0 if served else 1)
        assert len(matching(filter_, chains.EXTERNAL_SERVICES, why)) == (0 if served else addresses - 1 + node_ports)


@given(plans())
def test_no_chain_dangles(plan: list[Portal]) -> None:
    for table in portals.userspace(plan, RANGE):
        reached = {target(rule) for jumps in table.hooks.values() for rule in jumps}
        assert reached == set(table.chains), "every chain is jumped to, and every jump has its chain"
        assert all(chains.ours(chain) for chain in table.chains), "or --cleanup would leave it"


@given(plans())
def test_all_of_the_range_is_refused_last(plan: list[Portal]) -> None:
    filter_, _nat = portals.userspace(plan, RANGE)
    tcp, other = filter_.chains[chains.SERVICES][-2:]
    assert tcp.startswith(f"-d {RANGE} -p tcp ")
    assert tcp.endswith("-j REJECT --reject-with tcp-reset")
    assert other.startswith(f"-d {RANGE} -m comment ")
    assert other.endswith("-j REJECT --reject-with icmp-port-unreachable")


@given(plans())
def test_every_local_port_is_closed_to_those_who_were_not_redirected(plan: list[Portal]) -> None:
    filter_, _nat = portals.userspace(plan, RANGE)
    redirected, *refusals = filter_.chains[chains.PORTALS_INPUT]
    assert "--ctstate DNAT" in redirected
    assert redirected.endswith("-j RETURN")
    for protocol in ("TCP", "UDP"):
        mine = [
            rule.split()[rule.split().index("--dports") + 1] for rule in refusals if f"-p {protocol.lower()}" in rule
        ]
        lists = [[int(port) for port in ports.split(",")] for ports in mine]
        assert sorted(port for ports in lists for port in ports) == sorted(
            portal.local_port for portal in plan if portal.local_port and portal.service.protocol == protocol
        )
        assert all(len(ports) <= portals.MULTIPORT for ports in lists)
