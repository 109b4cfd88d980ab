"""Both sources, against the real servers: they tell the same, and survive the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from kube.api import resources
from kube.api.core import Container, Node, NodeStatus, Pod, PodSpec
from kube.api.errors import AlreadyExists, ServiceUnavailable, Timeout
from kube.api.meta import ObjectMeta
from kube.client.informer import Informer
from kube.client.rest import Client
from kube.client.source import ApiSources, EtcdSources, Sources
from kube.store import codec, keys
from kube.store.etcd import EtcdStore
from kube.store.store import Put
from tests.integration.client.own_apiserver import OwnApiserver, eventually
from tests.own_etcd import OwnEtcd


def make_pod(name: str, namespace: str = "default") -> Pod:
    return Pod(
        metadata=ObjectMeta(name=name, namespace=namespace),
        spec=PodSpec(containers=[Container(name="main", image="kube/web")]),
    )


@pytest.fixture
async def store(own_etcd: OwnEtcd) -> AsyncIterator[EtcdStore]:
    store = EtcdStore([own_etcd.endpoint])
    yield store
    await store.close()


@contextlib.asynccontextmanager
async def reading(kind: str, apiserver: OwnApiserver) -> AsyncIterator[tuple[Client, Sources]]:
    """A client, and the sources of a kind."""
    store = EtcdStore([apiserver.etcd.endpoint])
    async with Client(apiserver.url) as client:
        yield client, (EtcdSources(store) if kind == "etcd" else ApiSources(client))
    await store.close()


both = pytest.mark.parametrize("kind", ["etcd", "api"])


class Following:
    """An informer that runs, and what it told."""

    def __init__(self, informer: Informer[Pod]) -> None:
        self.informer = informer
        self.told: list[str] = []
        informer.on_change(self._told)

    def _told(self, old: Pod | None, new: Pod | None) -> None:
        changed = new or old
        assert changed is not None
        self.told.append(("+" if old is None else "-" if new is None else "~") + changed.name)

    def names(self) -> set[str]:
        return {pod.name for pod in self.informer.list()}


@contextlib.asynccontextmanager
async def following(informer: Informer[Pod]) -> AsyncIterator[Following]:
    task = asyncio.ensure_future(informer.run())
    try:
        result = Following(informer)
        async with asyncio.timeout(15):
            await informer.synced()
        yield result
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@both
async def test_it_tells_what_is_there_and_what_changes(
    kind: str, shared_apiserver: OwnApiserver, namespace: str
) -> None:
    async with reading(kind, shared_apiserver) as (client, sources):
        await client.create(make_pod("a", namespace))
        await client.create(make_pod("elsewhere"))
        async with following(Informer(sources.of(Pod, namespace))) as seen:
            assert seen.told == ["+a"]
            await client.create(make_pod("b", namespace))
            changed = await client.patch(Pod, "a", namespace, {"metadata": {"labels": {"x": "y"}}})
            await client.delete(Pod, "b", namespace, grace_period=0)
            await eventually(lambda: len(seen.told) >= 4, "all changes arrived")
            assert seen.told == ["+a", "+b", "~a", "-b"]
            assert seen.informer.get(f"{namespace}/a") == changed == await client.get(Pod, "a", namespace)
        await client.delete(Pod, "elsewhere", "default", grace_period=0)


@both
async def test_one_object_is_followed_and_no_other(kind: str, shared_apiserver: OwnApiserver, namespace: str) -> None:
    async with reading(kind, shared_apiserver) as (client, sources):
        await client.create(make_pod("a-longer-name", namespace))
        async with following(Informer(sources.one(Pod, namespace, "a"))) as seen:
            await client.create(make_pod("a", namespace))
            await client.create(make_pod("ab", namespace))
            await client.delete(Pod, "a", namespace, grace_period=0)
            await client.create(make_pod("a", namespace))
            await eventually(lambda: len(seen.told) >= 3, "all changes arrived")
            assert seen.told == ["+a", "-a", "+a"]


@both
async def test_bound_pods_are_those_of_the_node(kind: str, shared_apiserver: OwnApiserver, namespace: str) -> None:
    one, ten = f"{namespace}-1", f"{namespace}-10"
    async with reading(kind, shared_apiserver) as (client, sources):
        for name in (one, ten):
            await client.create(Node(metadata=ObjectMeta(name=name), status=NodeStatus()))
        a, b = await client.create(make_pod("a", namespace)), await client.create(make_pod("b", namespace))
        async with following(Informer(sources.bound_pods(one))) as seen:
            await client.bind(b, ten)
            await client.bind(a, one)
            await eventually(lambda: seen.names() == {"a"}, "the node's pod is there")
            [pod] = seen.informer.list()
            assert pod.spec.nodeName == one
            await client.delete(Pod, "a", namespace, grace_period=0)
            await eventually(lambda: not seen.names(), "the deleted pod is gone")
        assert not any(name.endswith("b") for name in seen.told)


@both
async def test_etcd_dies_and_comes_back_and_then_the_apiserver(kind: str, own_apiserver: OwnApiserver) -> None:
    async with reading(kind, own_apiserver) as (client, sources):
        await client.create(make_pod("a"))
        async with following(Informer(sources.of(Pod))) as seen:
            own_apiserver.etcd.restart()
            await create_when_possible(client, make_pod("b"))
            await eventually(lambda: seen.names() == {"a", "b"}, "what came after etcd's restart arrived", 30)
            own_apiserver.kill()
            own_apiserver.start()
            await create_when_possible(client, make_pod("c"))
            await eventually(lambda: seen.names() == {"a", "b", "c"}, "what came after the apiserver's restart arrived")
            assert seen.told == ["+a", "+b", "+c"]


async def test_a_watch_that_was_compacted_away_is_listed_again(own_etcd: OwnEtcd, store: EtcdStore) -> None:
    async def put(name: str) -> None:
        key = keys.object_key(resources.PODS, "default", name)
        await store.txn([], [Put(key, codec.encode(make_pod(name)))])

    other = EtcdStore([own_etcd.endpoint])
    await put("old")
    source = EtcdSources(other).of(Pod)
    _, revision = await source.list()
    for n in range(10):
        await put(f"new-{n}")
    await store.compact(await store.revision())
    informer = Informer(source)
    informer._revision = revision  # as one that was cut off at that revision
    async with following(informer) as seen:
        assert len(seen.names()) == 11
    await other.close()


async def test_thousands_of_pods_are_listed_in_pages_and_watched(own_etcd: OwnEtcd, store: EtcdStore) -> None:
    async def put(numbers: range) -> None:
        for at in range(numbers.start, numbers.stop, 100):
            await store.txn(
                [],
                [
                    Put(keys.object_key(resources.PODS, "default", f"p{n}"), codec.encode(make_pod(f"p{n}")))
                    for n in range(at, at + 100)
                ],
            )

    await put(range(3000))
    async with following(Informer(EtcdSources(store).of(Pod))) as seen:
        assert len(seen.names()) == 3000
        await put(range(3000, 4000))
        await eventually(lambda: len(seen.names()) == 4000, "all arrived")
        assert len(seen.told) == 4000


async def test_a_value_that_cannot_be_read_is_left_out_and_its_deletion_is_no_trouble(
    store: EtcdStore, caplog: pytest.LogCaptureFixture
) -> None:
    key = keys.object_key(resources.PODS, "default", "bad")
    await store.txn([], [Put(key, b'{"kind":"Pod","spec":{"containers":7}}')])
    async with following(Informer(EtcdSources(store).of(Pod))) as seen:
        await store.txn([], [Put(keys.object_key(resources.PODS, "default", "a"), codec.encode(make_pod("a")))])
        await eventually(lambda: seen.names() == {"a"}, "the good one arrived")
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [getattr(record, "key", "") for record in errors] == [key]


async def create_when_possible(client: Client, pod: Pod) -> None:
    """While etcd comes back, writes fail; nobody but the caller may repeat them."""
    async with asyncio.timeout(30):
        while True:
            try:
                await client.create(pod)
                return
            except AlreadyExists:
                return
            except (ServiceUnavailable, Timeout):
                await asyncio.sleep(0.1)
