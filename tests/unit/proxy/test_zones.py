"""Traffic that is to stay nearby: on the node, in its zone, or anywhere if nobody is near."""

from __future__ import annotations

import asyncio
import re
from ipaddress import IPv4Network

import pytest

from kube.api.core import EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Node
from kube.api.meta import ObjectMeta
from kube.client.informer import Informers
from kube.client.source import EtcdSources
from kube.proxy import lean
from kube.proxy.health import HealthChecks
from kube.proxy.iptables import Iptables
from kube.proxy.kernel import KernelMode
from kube.proxy.node import NodeNetwork
from kube.proxy.routes import route
from kube.proxy.rules import Settings
from kube.proxy.services import Backend, Endpoint, ServicePort, ServicePortName
from kube.proxy.state import Services
from kube.proxy.zones import Zones
from tests.memory_api import MemoryApi
from tests.objects import node, service

ZONES = {"here": "a", "near": "a", "far": "b"}
BACKENDS = {name: Backend(f"10.244.0.{number}", 80) for number, name in enumerate(("here", "near", "far", "", "gone"))}


@pytest.mark.parametrize(
    ("prefer", "nodes", "expected"),
    [
        pytest.param("", ["here", "near", "far"], ["here", "near", "far"], id="nothing said: all"),
        pytest.param("node", ["here", "near", "far"], ["here"], id="the node"),
        pytest.param("node", ["near", "far"], ["near"], id="nobody on the node: its zone"),
        pytest.param("node", ["far"], ["far"], id="nobody in its zone either: all"),
        pytest.param("node", ["here", ""], ["here"], id="the node, wherever the others may be"),
        pytest.param("zone", ["here", "near", "far"], ["here", "near"], id="the zone"),
        pytest.param("zone", ["far"], ["far"], id="nobody in the zone: all"),
        pytest.param("zone", ["here", "far", ""], ["here", "far", ""], id="one of which no node is known: all"),
        pytest.param("zone", ["here", "far", "gone"], ["here", "far", "gone"], id="one whose node is gone: all"),
    ],
)
def test_traffic_prefers(prefer: str, nodes: list[str], expected: list[str]) -> None:
    web = ServicePort(ServicePortName("default", "web"), "10.96.0.9", 80, prefer=prefer)
    found = route(web, [Endpoint(BACKENDS[name], name) for name in nodes], "here", lambda name: ZONES.get(name, ""))
    assert found.cluster == tuple(BACKENDS[name] for name in expected)
    unknown = route(web, [Endpoint(BACKENDS[name], name) for name in nodes], "here")
    if prefer == "zone":
        assert len(unknown.cluster) == len(nodes), "without zones there are no others to avoid"


@pytest.mark.looptime
async def test_nodes_are_followed_from_when_a_zone_is_asked_for() -> None:
    api = MemoryApi()
    await api.create(node("one", labels={lean.ZONE: "a"}))
    informers = Informers(EtcdSources(api.store))
    zones, changes = Zones(informers), []
    zones.on_change = lambda: changes.append(zones.of("one"))
    following = asyncio.ensure_future(informers.run())
    try:
        await asyncio.sleep(1)
        assert zones.of("one") == "", "not known yet"
        await asyncio.sleep(1)
        assert (zones.of("one"), zones.of("two")) == ("a", "")
        await api.patch(Node, "one", "", {"metadata": {"annotations": {"a": "b"}}})
        await asyncio.sleep(1)
        assert changes == ["a"], "what does not matter is not told"
        await api.patch(Node, "one", "", {"metadata": {"labels": {lean.ZONE: "b"}}})
        await asyncio.sleep(1)
        await api.delete(Node, "one")
        await asyncio.sleep(1)
        assert changes == ["a", "b", ""]
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@pytest.mark.looptime
async def test_a_nodes_new_zone_changes_the_ways_of_services_that_care() -> None:
    api = MemoryApi()
    for name in ("caring", "other"):
        made = service(name, cluster_ip=f"10.96.0.{len(name)}")
        made.spec.trafficDistribution = "PreferSameZone" if name == "caring" else None
        await api.create(made)
        addresses = [EndpointAddress(ip=BACKENDS[each].ip, nodeName=each) for each in ("near", "far")]
        subsets = [EndpointSubset(addresses=addresses, ports=[EndpointPort(port=80, protocol="TCP")])]
        await api.create(Endpoints(metadata=ObjectMeta(name=name, namespace="default"), subsets=subsets))
    informers = Informers(EtcdSources(api.store))
    services, endpoints = informers.of(lean.Service), informers.of(lean.Endpoints)
    settings = Settings(IPv4Network("10.96.0.0/16"))
    zones = dict(ZONES)
    mode = KernelMode(
        Services(services, endpoints), Iptables(), settings, node="here", health=HealthChecks(),
        network=NodeNetwork(settings), zone_of=lambda name: zones.get(name, ""),
    )  # fmt: skip
    following = asyncio.ensure_future(informers.run())
    try:
        await informers.synced()
        for each in services.list():
            mode.update(each.key)

        def served() -> dict[str, set[str]]:
            found: dict[str, set[str]] = {}
            for rule in (rule for rules in mode.tables()[1].chains.values() for rule in rules):
                if match := re.search(r'"default/(\w+) -> ([0-9.]+):', rule):
                    found.setdefault(match[1], set()).add(match[2])
            return found

        near, far = BACKENDS["near"].ip, BACKENDS["far"].ip
        assert served() == {"caring": {near}, "other": {near, far}}
        zones.update(near="b", far="a")
        mode.zones_changed()
        assert served() == {"caring": {far}, "other": {near, far}}
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
