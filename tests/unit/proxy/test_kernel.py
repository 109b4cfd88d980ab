"""The mode `iptables`: what it writes when, which UDP flows it ends, what load balancers are told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from kube.proxy import rules, tables
from kube.proxy.chains import ours
from kube.proxy.explain import explain
from kube.proxy.health import Asked, HealthChecks
from kube.proxy.iptables import Flow
from kube.proxy.kernel import lacking, stale_flows
from kube.proxy.routes import Route, route
from kube.proxy.rules import Settings
from kube.proxy.services import Backend, Endpoint, ServicePort, ServicePortName
from kube.proxy.tables import Table, transactions

DNS = ServicePort(ServicePortName("kube-system", "dns"), "10.96.0.10", 53, "UDP", node_port=30053)
A, B = Backend("10.244.0.1", 53), Backend("10.244.0.2", 53)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param((A, B), (A,), {Flow("10.96.0.10", 53, B.ip), Flow("", 30053, B.ip)}, id="a backend went"),
        pytest.param((A,), (A, B), set(), id="a backend came"),
        pytest.param((), (A,), {Flow("10.96.0.10", 53), Flow("", 30053)}, id="the first backend came"),
        pytest.param((A,), None, {Flow("10.96.0.10", 53, A.ip), Flow("", 30053, A.ip)}, id="the service went"),
        pytest.param(None, (A,), {Flow("10.96.0.10", 53), Flow("", 30053)}, id="the service came"),
    ],
)
def test_udp_flows_that_go_astray_are_ended(
    before: tuple[Backend, ...] | None, now: tuple[Backend, ...] | None, expected: set[Flow]
) -> None:
    def routed(backends: tuple[Backend, ...] | None) -> Route | None:
        return None if backends is None else Route(DNS, backends, (), bool(backends))

    assert set(stale_flows(routed(before), routed(now))) == expected


@pytest.mark.parametrize(
    ("count", "healthy", "status"),
    [
        pytest.param(2, True, 200, id="backends here"),
        pytest.param(0, True, 503, id="no backends here"),
        pytest.param(2, False, 503, id="the proxy is not well"),
    ],
)
async def test_a_load_balancer_is_told(count: int, healthy: bool, status: int, unused_tcp_port: int) -> None:
    service = ServicePort(
        ServicePortName("default", "web", "http"), "10.96.0.9", 80, node_port=30080, external_local=True,
        health_check_node_port=unused_tcp_port,
    )  # fmt: skip
    local = tuple(Backend(f"10.244.0.{n}", 80) for n in range(count))
    checks = HealthChecks(lambda: healthy, "127.0.0.1")
    await checks.update([Route(service, local, local, bool(local))])
    try:
        answer = checks.answer(Asked("default", "web"))
        assert answer.status == status
        assert answer.headers["X-Load-Balancing-Endpoint-Weight"] == str(count)
        assert answer.text is not None
        assert json.loads(answer.text) == {
            "service": {"namespace": "default", "name": "web"},
            "localEndpoints": count,
            "serviceProxyHealthy": healthy,
        }
    finally:
        await checks.close()


def test_services_are_counted_that_lack_a_backend_here() -> None:
    def routed(name: str, node: str, **policies: bool) -> Route:
        web = ServicePort(ServicePortName("default", name, "http"), "10.96.0.9", 80, node_port=30080, **policies)  # type: ignore[arg-type]
        return route(web, [Endpoint(Backend("10.244.0.1", 80), node)] if node else [], "here")

    assert lacking(
        [
            routed("both", "there", internal_local=True, external_local=True),
            routed("external", "there", external_local=True),
            routed("here", "here", internal_local=True, external_local=True),
            routed("cluster", "there"),
            routed("empty", "", internal_local=True),
        ]
    ) == {"internal": {("default", "both")}, "external": {("default", "both"), ("default", "external")}}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param(
            DNS, replace(DNS, load_balancer_ips=("203.0.113.7",)), {Flow("203.0.113.7", 53)},
            id="an address came, where flows may go nowhere",
        ),
        pytest.param(
            replace(DNS, external_ips=("203.0.113.8",)), DNS, {Flow("203.0.113.8", 53, A.ip)}, id="an address went"
        ),
        pytest.param(
            DNS, replace(DNS, port=54), {Flow("10.96.0.10", 53, A.ip), Flow("10.96.0.10", 54)}, id="another port"
        ),
        pytest.param(
            DNS, replace(DNS, node_port=30054), {Flow("", 30053, A.ip), Flow("", 30054)}, id="another node port"
        ),
    ],
)  # fmt: skip
def test_udp_flows_to_an_address_that_came_or_went_are_ended_and_no_others(
    before: ServicePort, now: ServicePort, expected: set[Flow]
) -> None:
    assert set(stale_flows(Route(before, (A,), (), True), Route(now, (A,), (), True))) == expected


# Very many chains


def applied(table: Table, steps: Iterable[str]) -> Table:
    """What iptables-restore --noflush makes of a table; every jump must lead somewhere at every moment."""
    found, hooks = {chain: [*some] for chain, some in table.chains.items()}, dict(table.hooks)
    for step in steps:
        for line in step.splitlines():
            if line.startswith(":"):
                found[line[1:].split()[0]] = []
            elif line.startswith("-A "):
                _, chain, rule = line.split(" ", 2)
                found[chain].append(rule)
            elif line.startswith("-I "):
                _, hook, place, rule = line.split(" ", 3)
                hooks[hook] = (*hooks.get(hook, ())[: int(place) - 1], rule, *hooks.get(hook, ())[int(place) - 1 :])
            elif line.startswith("-D "):
                _, hook, rule = line.split(" ", 2)
                hooks[hook] = tuple(each for each in hooks[hook] if each != rule)
            elif line.startswith("-X "):
                chain = line[3:]
                assert not found[chain], "only an empty chain can be removed"
                assert not [c for c, rs in found.items() for r in rs if tables.target(r) == chain], "and an unused one"
                del found[chain]
        for rule in (rule for some in (*found.values(), *hooks.values()) for rule in some):
            assert tables.target(rule) in found or not ours(tables.target(rule)), f"dangling: {rule}"
    return Table(table.name, {chain: tuple(some) for chain, some in found.items()}, hooks)


def nat(services: Mapping[int, int]) -> Table:
    """The table nat for some services, by number: how many backends each has."""
    settings = Settings(IPv4Network("10.96.0.0/16"))
    routes = [
        route(
            ServicePort(ServicePortName("default", f"s{n}"), f"10.96.{n // 200}.{n % 200 + 1}", 80),
            [Endpoint(Backend(f"10.244.{n % 200}.{k + 1}", 80)) for k in range(count)],
            "here",
        )
        for n, count in services.items()
    ]
    return rules.iptables([rules.of_route(each, settings) for each in routes], settings)[1]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({}, dict.fromkeys(range(300), 2), id="from nothing"),
        pytest.param(dict.fromkeys(range(300), 2), {}, id="to nothing"),
        pytest.param(dict.fromkeys(range(300), 2), dict.fromkeys(range(100, 400), 3), id="from some to others"),
        pytest.param({1: 1}, {1: 1, 2: 2}, id="one more"),
    ],
)
def test_many_chains_are_written_in_small_transactions_and_none_dangles_meanwhile(
    before: Mapping[int, int], after: Mapping[int, int]
) -> None:
    found, wanted = applied(Table("nat"), transactions(Table("nat"), nat(before), ours, 20)), nat(after)
    steps = transactions(found, wanted, ours, 20)
    reached = applied(found, steps)
    assert reached.chains == dict(wanted.chains)
    assert reached.hooks == dict(wanted.hooks)
    assert not transactions(reached, wanted, ours, 20)
    if len(after) + len(before) > 10:
        assert len(steps) > 5
        assert max(sum(line.startswith((":", "-X")) for line in step.splitlines()) for step in steps) <= 20
    else:
        assert len(steps) == 1


def test_it_is_told_in_words() -> None:
    web = ServicePort(ServicePortName("default", "web", "http"), "10.96.0.9", 80)
    settings = Settings(IPv4Network("10.96.0.0/16"), IPv4Network("10.244.0.0/16"))
    routed = route(web, [Endpoint(Backend("10.244.0.1", 80)), Endpoint(Backend("10.244.1.2", 80))], "here")
    wanted = rules.iptables([rules.of_route(routed, settings)], settings, routed.near)
    assert explain(wanted, "10.96.0.9", 80, "tcp", pods=settings.cluster_cidr) == (
        """\
10.96.0.9:80/tcp

from a pod (10.244.0.0/16)
  default/web:http cluster IP: KUBE-SERVICES > KUBE-SVC-CDGGSHYLG3RE2FKL
    1 in 2   10.244.0.1:80         sees the client's own address
    1 in 2   10.244.1.2:80         sees the client's own address

from the node itself
from outside the cluster
  default/web:http cluster IP: KUBE-SERVICES > KUBE-SVC-CDGGSHYLG3RE2FKL > KUBE-MARK-MASQ
    1 in 2   10.244.0.1:80         sees the node's address (masqueraded)
    1 in 2   10.244.1.2:80         sees the node's address (masqueraded)
"""
    )
    assert "refused" in explain(wanted, "10.96.0.10", 80, "tcp")
    assert "left alone" in explain(wanted, "198.51.100.1", 80, "tcp")
