"""The sync loop, in virtual time: what it writes, when, and in which order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

import pytest

from kube.api import resources
from kube.api.core import EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Service, ServicePort, ServiceSpec
from kube.api.meta import Object, ObjectMeta
from kube.client.informer import Informers
from kube.client.source import EtcdSources
from kube.proxy import lean, portals
from kube.proxy.iptables import Flow, Iptables, IptablesFailed
from kube.proxy.proxier import Proxier
from kube.proxy.state import Services
from kube.proxy.tables import Table
from kube.proxy.userspace import UserspaceMode
from kube.store import codec, keys
from kube.store.memory import MemoryStore
from kube.store.store import Delete, Put

pytestmark = pytest.mark.looptime

WEB = ("10.96.0.9", "TCP", 80)
SYNC_PERIOD, MIN_SYNC_PERIOD = 30.0, 1.0


class Kernel(Iptables):
    """Tables in memory, and a log of what was done to them."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: Sequence[Table] = ()
        self.broken = False
        self.reads: list[float] = []
        self.writes: list[float] = []
        self.tries: list[float] = []
        self.forgotten: list[Flow] = []

    async def read(self) -> Mapping[str, Table]:
        self.reads.append(time())
        return {table.name: table for table in self.tables}

    async def ensure(self, wanted: Sequence[Table]) -> bool:
        self.tries.append(time())
        await asyncio.sleep(0.01)
        for (_, protocol, _), port in portals.redirects(wanted).items():
            assert is_listening(protocol, port), "traffic is never redirected to a port before it is open"
        if self.broken:
            raise IptablesFailed("iptables-restore: permission denied")
        changed = list(wanted) != list(self.tables)
        if changed:
            self.writes.append(time())
            self.tables = wanted
        return changed

    async def forget_flows(self, flows: Iterable[Flow]) -> None:
        self.forgotten += flows

    @property
    def redirects(self) -> dict[portals.Address, int]:
        return portals.redirects(self.tables)

    @property
    def text(self) -> str:
        return "\n".join(rule for table in self.tables for chain in table.chains.values() for rule in chain)


def time() -> float:
    return asyncio.get_running_loop().time()


def is_listening(protocol: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if protocol == "UDP" else socket.SOCK_STREAM) as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


class Cluster:
    """The store, what the proxy reads from it, and the kernel it writes to."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.kernel = Kernel()

    async def put(self, obj: Object) -> None:
        obj.metadata.uid = obj.name
        key = keys.object_key(resources.of(type(obj)), "default", obj.name)
        await self.store.txn([], [Put(key, codec.encode(obj))])

    async def service(self, name: str = "web", ip: str = "10.96.0.9", protocol: str = "TCP", port: int = 80) -> None:
        spec = ServiceSpec(clusterIP=ip, ports=[ServicePort(port=port, protocol=protocol)])
        await self.put(Service(metadata=ObjectMeta(name=name, namespace="default"), spec=spec))

    async def endpoints(self, *ips: str, name: str = "web", annotations: dict[str, str] | None = None) -> None:
        subsets = [EndpointSubset(addresses=[EndpointAddress(ip=ip) for ip in ips], ports=[EndpointPort(port=80)])]
        metadata = ObjectMeta(name=name, namespace="default", annotations=annotations or {})
        await self.put(Endpoints(metadata=metadata, subsets=subsets if ips else []))

    async def remove(self, model: type[Object], name: str = "web") -> None:
        await self.store.txn([], [Delete(keys.object_key(resources.of(model), "default", name))])

    @contextlib.asynccontextmanager
    async def proxy(self) -> AsyncIterator[Proxier]:
        """Run a proxy; begins when it has synced."""
        informers = Informers(EtcdSources(self.store))
        services, endpoints = informers.of(lean.Service), informers.of(lean.Endpoints)
        mode = UserspaceMode(
            Services(services, endpoints),
            self.kernel,
            service_range=IPv4Network("10.96.0.0/16"),
            bind_address=IPv4Address("127.0.0.1"),
        )
        proxier = Proxier(
            mode,
            services,
            endpoints,
            sync_period=SYNC_PERIOD,
            min_sync_period=MIN_SYNC_PERIOD,
        )
        tasks = [asyncio.ensure_future(informers.run()), asyncio.ensure_future(proxier.run())]
        try:
            await asyncio.sleep(0.5)
            yield proxier
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def test_a_service_with_endpoints_is_redirected_and_one_without_refused(cluster: Cluster) -> None:
    await cluster.service()
    await cluster.service("empty", "10.96.0.10")
    await cluster.endpoints("10.244.0.1")
    async with cluster.proxy():
        assert WEB in cluster.kernel.redirects
        assert '"default/empty has no endpoints"' in cluster.kernel.text
        assert len(cluster.kernel.writes) == 1, "all that is known at the start is written at once"


async def test_a_single_change_takes_effect_at_once(cluster: Cluster) -> None:
    async with cluster.proxy():
        await asyncio.sleep(10)
        changed = time()
        await cluster.service()
        await asyncio.sleep(MIN_SYNC_PERIOD / 2)
        assert "default/web" in cluster.kernel.text
        assert cluster.kernel.writes[-1] - changed < 0.1


async def test_a_burst_of_changes_is_few_syncs(cluster: Cluster) -> None:
    async with cluster.proxy():
        await asyncio.sleep(10)
        before = len(cluster.kernel.tries)
        for n in range(100):
            await cluster.service(f"s{n}", f"10.96.1.{n}")
        await asyncio.sleep(5)
        assert "default/s99" in cluster.kernel.text
        assert len(cluster.kernel.tries) - before == 2, "the first at once, the rest together"


async def test_nothing_is_written_when_nothing_changes(cluster: Cluster) -> None:
    await cluster.service()
    async with cluster.proxy():
        await asyncio.sleep(5 * SYNC_PERIOD)
        assert len(cluster.kernel.writes) == 1
        assert len(cluster.kernel.reads) == 6, "but the kernel is looked at in every sync period"


async def test_the_local_port_stays_as_long_as_the_service(cluster: Cluster) -> None:
    await cluster.service()
    await cluster.endpoints("10.244.0.1")
    async with cluster.proxy():
        port = cluster.kernel.redirects[WEB]
        await cluster.endpoints()
        await asyncio.sleep(2)
        assert WEB not in cluster.kernel.redirects
        await cluster.endpoints("10.244.0.2")
        await asyncio.sleep(2)
        assert cluster.kernel.redirects[WEB] == port
        await cluster.remove(Service)
        await asyncio.sleep(2)
        assert "default/web" not in cluster.kernel.text
        assert not is_listening("TCP", port)


async def test_endpoints_may_come_before_their_service(cluster: Cluster) -> None:
    async with cluster.proxy():
        await cluster.endpoints("10.244.0.1")
        await asyncio.sleep(2)
        await cluster.service()
        await asyncio.sleep(2)
        assert WEB in cluster.kernel.redirects
        await cluster.remove(Endpoints)
        await asyncio.sleep(2)
        assert '"default/web has no endpoints"' in cluster.kernel.text


async def test_a_service_made_anew_with_another_address_is_followed(cluster: Cluster) -> None:
    await cluster.service()
    await cluster.endpoints("10.244.0.1")
    async with cluster.proxy():
        await cluster.service(ip="10.96.0.77", port=8080)
        await asyncio.sleep(2)
        assert [*cluster.kernel.redirects] == [("10.96.0.77", "TCP", 8080)]


async def test_a_restarted_proxy_takes_up_the_same_local_port(cluster: Cluster) -> None:
    await cluster.service()
    await cluster.endpoints("10.244.0.1")
    async with cluster.proxy():
        port = cluster.kernel.redirects[WEB]
    assert cluster.kernel.redirects[WEB] == port, "the rules stay when the proxy ends"
    async with cluster.proxy():
        assert cluster.kernel.redirects[WEB] == port
        assert len(cluster.kernel.writes) == 1, "and there is nothing to write"


async def test_a_failure_to_write_is_tried_again_ever_more_slowly(cluster: Cluster) -> None:
    cluster.kernel.broken = True
    async with cluster.proxy() as proxier:
        with pytest.raises(RuntimeError, match="permission denied"):
            proxier.check()
        await asyncio.sleep(30)
        waits = [round(b - a) for a, b in zip(cluster.kernel.tries, cluster.kernel.tries[1:], strict=False)]
        assert waits[:5] == [1, 2, 5, 10, 10]
        cluster.kernel.broken = False
        await cluster.service()
        await asyncio.sleep(10)
        assert "default/web" in cluster.kernel.text
        proxier.check()


async def test_it_is_unhealthy_when_the_rules_have_not_been_written_for_long(cluster: Cluster) -> None:
    async with cluster.proxy() as proxier:
        proxier.check()
        cluster.kernel.broken = True
        await cluster.service()
        await asyncio.sleep(SYNC_PERIOD)
        proxier.check()
        await asyncio.sleep(SYNC_PERIOD + 1)
        with pytest.raises(RuntimeError, match="permission denied"):
            proxier.check()


async def test_it_goes_on_with_what_it_knows_when_the_store_is_gone(cluster: Cluster) -> None:
    await cluster.service()
    await cluster.endpoints("10.244.0.1")
    async with cluster.proxy() as proxier:
        before = cluster.kernel.redirects
        cluster.store.down = True
        cluster.store.interrupt()
        cluster.kernel.tables = ()  # and somebody flushes the rules
        await asyncio.sleep(SYNC_PERIOD * 2)
        assert cluster.kernel.redirects == before
        proxier.check()


async def test_udp_flows_are_forgotten_when_their_redirection_changes(cluster: Cluster) -> None:
    await cluster.service(protocol="UDP")
    async with cluster.proxy():
        assert cluster.kernel.forgotten == []
        await cluster.endpoints("10.244.0.1")
        await asyncio.sleep(2)
        assert cluster.kernel.forgotten == [Flow("10.96.0.9", 80)]
        await cluster.endpoints("10.244.0.2")
        await asyncio.sleep(2)
        assert len(cluster.kernel.forgotten) == 1, "another backend is no other redirection"
        await cluster.remove(Service)
        await asyncio.sleep(2)
        assert len(cluster.kernel.forgotten) == 2
