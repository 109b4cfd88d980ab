"""From services and endpoints to a node that serves them: one loop that keeps backends, listeners and rules as wanted.

News of a service or its endpoints reaches the balancer at once, in the informer's own turn: a backend that went gets
no further connection. Listeners and rules follow in `_sync`, which is level-triggered: it compares all that is wanted
with all that is there. Its order keeps the gap closed: first listen, then redirect there, then close what nothing is
redirected to any more.

The informers keep what they know when the apiserver or etcd dies, and so does the proxy.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network

from kube.api import core
from kube.client.informer import Informer
from kube.proxy import metrics, rules
from kube.proxy.iptables import Iptables, IptablesFailed
from kube.proxy.roundrobin import RoundRobin
from kube.proxy.rules import Portal
from kube.proxy.services import Backend, ServicePort, ServicePortName, backends, service_ports
from kube.proxy.userspace import Listeners

log = logging.getLogger(__name__)

RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0)
"""How long to wait after the first, second, ... failure in a row to write the rules."""

LAST_CHANGE = "endpoints.kubernetes.io/last-change-trigger-time"
"""Annotation of Endpoints: when the pod or service changed that made them change."""


class Services:
    """What is known of services and endpoints, joined. Keeps the balancer as they say."""

    def __init__(
        self, services: Informer[core.Service], endpoints: Informer[core.Endpoints], balancer: RoundRobin
    ) -> None:
        self._services = services
        self._endpoints = endpoints
        self._balancer = balancer
        self._ports: dict[str, list[ServicePort]] = {}

    def update(self, key: str) -> list[ServicePortName]:
        """Look again at the service and the endpoints of this key; the service ports that it concerns."""
        service, endpoints = self._services.get(key), self._endpoints.get(key)
        before = self._ports.pop(key, [])
        now = service_ports(service) if service else []
        if now:
            self._ports[key] = now
        found: dict[str, list[Backend]] = backends(endpoints) if endpoints else {}
        for port in now:
            self._balancer.set_affinity(port.name, port.affinity_seconds)
            self._balancer.set_backends(port.name, found.get(port.name.port, []))
        staying = {port.name for port in now}
        gone = [port.name for port in before if port.name not in staying]
        for name in gone:
            self._balancer.remove(name)
        return [*staying, *gone]

    def all(self) -> list[ServicePort]:
        """Every service port that a node has to serve."""
        return [port for ports in self._ports.values() for port in ports]

    def has_backends(self, port: ServicePort) -> bool:
        """Whether a service port has anyone to go to."""
        return bool(self._balancer.backends(port.name))


def portals(
    ports: Iterable[ServicePort], has_backends: Callable[[ServicePort], bool], local_port: Callable[[ServicePort], int]
) -> list[Portal]:
    """The plan that rules are made of."""
    return [Portal(port, local_port(port), has_backends(port)) for port in ports]


class Proxier:
    """Serves the services of the cluster on this node, in the mode `userspace`."""

    def __init__(
        self,
        services: Informer[core.Service],
        endpoints: Informer[core.Endpoints],
        iptables: Iptables,
        *,
        service_range: IPv4Network,
        bind_address: IPv4Address = rules.ANY_ADDRESS,
        port_range: range | None = None,
        udp_timeout: float = 0.25,
        sync_period: float = 30.0,
        min_sync_period: float = 0.1,
    ) -> None:
        self._informers = (services, endpoints)
        self._iptables = iptables
        self._balancer = RoundRobin()
        self._services = Services(services, endpoints, self._balancer)
        self._listeners = Listeners(
            self._balancer, bind_address=bind_address, port_range=port_range, udp_timeout=udp_timeout
        )
        self._service_range = service_range
        self._bind_address = bind_address
        self._sync_period = sync_period
        self._min_sync_period = min_sync_period
        self._wake = asyncio.Event()
        self._redirects: dict[rules.Address, int] = {}
        """What the kernel redirects where, as far as we know."""
        self._triggers: list[datetime] = []
        self._failure = "the rules have not been written yet"
        self._synced_at: float | None = None
        services.on_change(self._service_changed)
        endpoints.on_change(self._endpoints_changed)

    async def run(self) -> None:
        """Keep the node as wanted until cancelled. The rules stay when it ends, the connections do not."""
        loop = asyncio.get_running_loop()
        for informer in self._informers:
            await informer.synced()
        failures, resync_at = 0, loop.time()
        try:
            while True:
                started = loop.time()
                self._wake.clear()
                resync = failures > 0 or started >= resync_at
                try:
                    await self._sync(resync)
                except IptablesFailed as failure:
                    pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                    failures += 1
                    self._failure = str(failure)
                    log.warning("cannot write the rules, trying again in %g s: %s", pause, failure)
                    await asyncio.sleep(pause)
                    continue
                failures, self._failure, self._synced_at = 0, "", loop.time()
                if resync:
                    resync_at = started + self._sync_period
                await asyncio.sleep(self._min_sync_period)
                await _wait(self._wake, resync_at - loop.time())
        finally:
            self._listeners.close_others(())

    def check(self) -> None:
        """Raises if the rules have not been written for two sync periods."""
        now = asyncio.get_running_loop().time()
        if self._synced_at is None or now - self._synced_at > 2 * self._sync_period:
            raise RuntimeError(self._failure or "no sync of the rules has ended")

    def _service_changed(self, old: core.Service | None, new: core.Service | None) -> None:
        metrics.SERVICE_CHANGES.inc()
        self._changed(new or old)

    def _endpoints_changed(self, old: core.Endpoints | None, new: core.Endpoints | None) -> None:
        metrics.ENDPOINTS_CHANGES.inc()
        self._changed(new or old)
        if new is not None and self._synced_at is not None:
            self._triggers += _moment(new.metadata.annotations.get(LAST_CHANGE, ""))

    def _changed(self, changed: core.Service | core.Endpoints | None) -> None:
        assert changed is not None
        for name in self._services.update(changed.key):
            self._listeners.backends_changed(name)
        metrics.LAST_QUEUED.set_to_current_time()
        self._wake.set()

    async def _sync(self, resync: bool) -> None:
        """Make listeners and rules as wanted. Raises IptablesFailed."""
        with metrics.SYNC_SECONDS.time():
            if resync:
                self._redirects = rules.redirects((await self._iptables.read()).values())
            triggers, self._triggers = self._triggers, []
            wanted = self._services.all()
            self._listeners.open(filter(self._services.has_backends, wanted), self._redirects)
            plan = portals(wanted, self._services.has_backends, self._listeners.local_port)
            tables = rules.userspace(plan, self._service_range, self._bind_address)
            if await self._iptables.ensure(tables):
                log.info("rules written: %d service ports", len(plan))
            self._listeners.close_others(wanted)
            redirects = rules.redirects(tables)
            moved = {address for address, _ in self._redirects.items() ^ redirects.items() if address[1] == "UDP"}
            await self._iptables.forget_flows(sorted(moved))
            self._redirects = redirects
        metrics.LAST_SYNC.set_to_current_time()
        for trigger in triggers:
            metrics.NETWORK_PROGRAMMING_SECONDS.observe(max(0.0, time.time() - trigger.timestamp()))


async def _wait(event: asyncio.Event, timeout: float) -> None:
    """Until the event is set, or that many seconds have passed."""
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        pass


def _moment(text: str) -> list[datetime]:
    try:
        return [datetime.fromisoformat(text)] if text else []
    except ValueError:
        return []
