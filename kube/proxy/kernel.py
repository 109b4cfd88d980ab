"""The mode `iptables`: the kernel sends each connection to a backend, and the proxy only keeps the rules.

The rules of a service port are made when it or its backends change, and kept: a sync puts together what there is, and
writes what differs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from kube.proxy import chains, metrics, rules
from kube.proxy.health import HealthChecks
from kube.proxy.iptables import Flow, Iptables
from kube.proxy.node import NodeNetwork
from kube.proxy.routes import Route, route
from kube.proxy.rules import ServiceRules, Settings
from kube.proxy.services import Backend, ServicePortName
from kube.proxy.state import Services
from kube.proxy.tables import Table, target

log = logging.getLogger(__name__)

_DNAT = re.compile(r"-j DNAT --to-destination ([0-9.]+):(\d+)")


class KernelMode:
    """Keeps the rules as services and endpoints say."""

    def __init__(
        self,
        services: Services,
        iptables: Iptables,
        settings: Settings,
        *,
        node: str,
        health: HealthChecks,
        network: NodeNetwork,
        zone_of: Callable[[str], str] = lambda node: "",
    ) -> None:
        self.services = services
        self._iptables = iptables
        self._settings = settings
        self._node = node
        self._health = health
        self._network = network
        self._zone_of = zone_of
        self._changed: set[str] = set()
        """Services that are to be looked at again."""
        self._routes: dict[ServicePortName, Route] = {}
        self._rules: dict[ServicePortName, ServiceRules] = {}
        self._written: dict[ServicePortName, Route] | None = None
        """The UDP routes that the kernel has; None: not known yet."""
        self._seen_near: set[str] = set()

    def update(self, key: str) -> None:
        self._changed.add(key)  # a service and its endpoints often change together, and all of them at the start

    def zones_changed(self) -> None:
        self._changed |= {
            f"{name.namespace}/{name.name}" for name, route in self._routes.items() if route.service.prefer
        }

    def _follow(self) -> None:
        """Make the rules of what has changed."""
        changed, self._changed = self._changed, set()
        for key in changed:
            ports, gone = self.services.update(key)
            for name in gone:
                del self._routes[name], self._rules[name]
            for name, port in ports.items():
                now = route(port, self.services.endpoints(name), self._node, self._zone_of)
                if self._routes.get(name) != now:
                    self._routes[name] = now
                    self._rules[name] = rules.of_route(now, self._settings)

    def tables(self) -> tuple[Table, ...]:
        """What the kernel is to have."""
        self._follow()
        return rules.iptables((self._rules[name] for name in sorted(self._rules)), self._settings, self._near())

    def _near(self) -> set[str]:
        """Addresses of backends that may be on this node."""
        return {ip for route in self._routes.values() for ip in route.near}

    async def sync(self, *, resync: bool) -> None:
        self._follow()
        if resync:
            found = await self._iptables.read()
            if self._written is None:
                self._written = _found(found.get("nat", Table("nat")), self._routes)
        near = self._near()
        if resync or near != self._seen_near:
            self._network.ensure(near)
            self._seen_near = near
        udp = {name: route for name, route in self._routes.items() if route.service.protocol == "UDP"}
        count = len(self._routes)
        if await self._iptables.ensure(self.tables()):
            log.info("rules written: %d service ports", count)
        before = self._written or {}
        changed = [name for name in before.keys() | udp if before.get(name) != udp.get(name)]
        stale = {flow for name in changed for flow in stale_flows(before.get(name), udp.get(name))}
        await self._iptables.forget_flows(sorted(stale))
        self._written = udp
        for policy, without in lacking(self._routes.values()).items():
            metrics.NO_LOCAL_ENDPOINTS.labels(policy).set(len(without))
        await self._health.update(self._routes.values())

    def close(self) -> None:
        """The rules stay, and so does the traffic."""


def lacking(routed: Iterable[Route]) -> dict[str, set[tuple[str, str]]]:
    """The services with a traffic policy Local that have endpoints, but none on this node; by policy."""
    found: dict[str, set[tuple[str, str]]] = {"internal": set(), "external": set()}
    for each in routed:
        if each.local or not each.has_backends:
            continue
        name = each.service.name[:2]
        if each.service.internal_local:
            found["internal"].add(name)
        if each.service.external_local and each.service.external:
            found["external"].add(name)
    return found


def stale_flows(before: Route | None, now: Route | None) -> Iterator[Flow]:
    """The UDP flows that go on to where a service port's traffic must not go any more, or are stuck on the way.

    Connection tracking never asks the rules again about a flow that it knows, and a client that sends often enough
    keeps it alive for ever.
    """
    was, where = _places(before), _places(now)
    had = {*before.cluster, *before.local} if before is not None else set()
    has = {*now.cluster, *now.local} if now is not None else set()
    if has:
        # What came while nobody took it may have been tracked as going nowhere.
        yield from (Flow(*place) for place in where if not had or place not in was)
    for place in was:
        gone = had - has if place in where else had
        yield from (Flow(*place, backend.ip) for backend in gone)


def _places(route: Route | None) -> list[tuple[str, int]]:
    """The addresses and ports that a service port is reached at; without an address: at any of the node's."""
    if route is None:
        return []
    service = route.service
    places = [(ip, service.port) for ip in service.addresses]
    return places + ([("", service.node_port)] if service.node_port else [])


def _found(nat: Table, routes: Mapping[ServicePortName, Route]) -> dict[ServicePortName, Route]:
    """The UDP routes as a proxy before this one left them in the kernel, for the service ports that are still there."""
    found = {}
    for name, wanted in routes.items():
        if wanted.service.protocol != "UDP":
            continue
        names = [chains.of_service(prefix, wanted.service) for prefix in (chains.CLUSTER, chains.LOCAL)]
        texts = [rule for chain in names for rule in nat.chains.get(chain, ())]
        texts += [rule for jump in texts for rule in nat.chains.get(target(jump), ())]
        backends = dict.fromkeys(Backend(match[1], int(match[2])) for match in map(_DNAT.search, texts) if match)
        found[name] = replace(wanted, cluster=tuple(backends), local=())
    return found
