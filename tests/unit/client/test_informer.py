"""Informers on the store in memory, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kube.api import errors
from kube.api.core import Node, Pod
from kube.api.meta import ObjectMeta
from kube.client.informer import SILENCE, Informer, Informers
from kube.client.source import Batch, EtcdSources, Source, WatchEvent
from kube.store import keys
from tests.unit.client.cluster import Cluster, Told, cached, make_pod, settle

pytestmark = pytest.mark.looptime


@asynccontextmanager
async def running(informer: Informer[Pod] | Informers) -> AsyncIterator[None]:
    task = asyncio.ensure_future(informer.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def time() -> float:
    return asyncio.get_running_loop().time()


def pods_of(cluster: Cluster) -> Informer[Pod]:
    return Informer(EtcdSources(cluster.store).of(Pod), "pods")


async def test_what_is_there_is_told_as_added_before_it_has_synced(cluster: Cluster) -> None:
    await cluster.put("a")
    await cluster.put("b")
    informer = pods_of(cluster)
    told = Told(informer)
    assert not informer.has_synced
    async with running(informer):
        await informer.synced()
        assert told.lines == ["+a", "+b"]
        assert informer.has_synced


async def test_changes_are_told_in_their_order_with_old_and_new(cluster: Cluster) -> None:
    informer = pods_of(cluster)
    told = Told(informer)
    async with running(informer):
        await informer.synced()
        await cluster.put("a")
        await cluster.put("b")
        await cluster.put("a")
        await cluster.delete("b")
        await cluster.put("b")
        await settle()
    assert told.lines == ["+a", "+b", "~a", "-b", "+b"]
    assert told.replayed == cached(informer) == await cluster.pods()


async def test_an_object_s_resource_version_is_the_revision_of_its_key(cluster: Cluster) -> None:
    first = await cluster.put("a")
    informer = pods_of(cluster)
    async with running(informer):
        await informer.synced()
        assert cached(informer) == {"default/a": str(first)}
        second = await cluster.put("a")
        await settle()
        assert cached(informer) == {"default/a": str(second)}


async def test_handlers_are_called_in_the_order_of_their_registration(cluster: Cluster) -> None:
    informer = pods_of(cluster)
    order: list[str] = []
    informer.on_change(lambda old, new: order.append("first"))
    informer.on_change(lambda old, new: order.append("second"))
    async with running(informer):
        await cluster.put("a")
        await settle()
        await cluster.put("a")
        await settle()
    assert order == ["first", "second"] * 2


async def test_a_handler_that_comes_late_is_told_of_every_object_there_is(cluster: Cluster) -> None:
    await cluster.put("a")
    informer = pods_of(cluster)
    async with running(informer):
        await informer.synced()
        told = Told(informer)
        assert told.lines == ["+a"]


async def test_a_handler_that_raises_takes_the_informer_down(cluster: Cluster) -> None:
    await cluster.put("a")
    informers = Informers(EtcdSources(cluster.store))

    def handler(old: Pod | None, new: Pod | None) -> None:
        raise RuntimeError("a bug")

    informers.of(Pod).on_change(handler)
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="a bug")):
        await informers.run()


async def test_a_deletion_tells_the_last_known_object(cluster: Cluster) -> None:
    await cluster.put("a", node="n1")
    informer = pods_of(cluster)
    seen: list[tuple[Pod | None, Pod | None]] = []
    async with running(informer):
        await informer.synced()
        last = informer.get("default/a")
        informer.on_change(lambda old, new: seen.append((old, new)))
        seen.clear()
        await cluster.delete("a")
        await settle()
    assert last is not None
    assert last.spec.nodeName == "n1"
    assert seen == [(last, None)]
    assert seen[0][0] is last


class TestIndexes:
    @staticmethod
    def by_node(pod: Pod) -> list[str]:
        return [pod.spec.nodeName] if pod.spec.nodeName else []

    async def test_an_index_follows_its_objects(self, cluster: Cluster) -> None:
        await cluster.put("a", node="n1")
        await cluster.put("b", node="n1")
        await cluster.put("c")
        informer = pods_of(cluster)
        informer.add_index("node", self.by_node)
        async with running(informer):
            await informer.synced()
            assert {pod.name for pod in informer.indexed("node", "n1")} == {"a", "b"}
            await cluster.put("a", node="n2")
            await cluster.put("c", node="n1")
            await cluster.delete("b")
            await settle()
            assert {pod.name for pod in informer.indexed("node", "n1")} == {"c"}
            assert {pod.name for pod in informer.indexed("node", "n2")} == {"a"}
            assert informer.indexed("node", "unknown") == []

    async def test_it_is_up_to_date_when_a_handler_looks(self, cluster: Cluster) -> None:
        informer = pods_of(cluster)
        informer.add_index("node", self.by_node)
        seen: list[int] = []
        informer.on_change(lambda old, new: seen.append(len(informer.indexed("node", "n1"))))
        async with running(informer):
            await cluster.put("a", node="n1")
            await cluster.put("b", node="n1")
            await cluster.delete("a")
            await settle()
        assert seen[-1] == 1

    async def test_one_that_is_added_late_has_what_is_there(self, cluster: Cluster) -> None:
        await cluster.put("a", node="n1")
        informer = pods_of(cluster)
        async with running(informer):
            await informer.synced()
            informer.add_index("node", self.by_node)
            assert [pod.name for pod in informer.indexed("node", "n1")] == ["a"]

    async def test_namespaces_are_an_index_of_their_own(self, cluster: Cluster) -> None:
        await cluster.put("a", "one")
        await cluster.put("a", "two")
        informer = pods_of(cluster)
        async with running(informer):
            await informer.synced()
            await cluster.delete("a", "two")
            await settle()
            assert [pod.key for pod in informer.list("one")] == ["one/a"]
            assert informer.list("two") == []
            assert [pod.key for pod in informer.list()] == ["one/a"]


class TestTrouble:
    async def test_a_source_that_fails_is_tried_again_with_back_off(
        self, cluster: Cluster, caplog: pytest.LogCaptureFixture
    ) -> None:
        informer = pods_of(cluster)
        tries: list[float] = []
        source = informer._source
        listing = source.list

        async def counted() -> tuple[list[Pod], int]:
            tries.append(round(time(), 6))
            return await listing()

        source.list = counted  # type: ignore[method-assign]  # to see when it is called
        with cluster.down():
            async with running(informer):
                await asyncio.sleep(20)
        assert tries == [0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 11.3, 16.3]
        assert {record.levelname for record in caplog.records} == {"WARNING"}

    async def test_it_syncs_when_the_source_is_back(self, cluster: Cluster) -> None:
        await cluster.put("a")
        informer = pods_of(cluster)
        async with running(informer):
            with cluster.down():
                await asyncio.sleep(60)
                assert not informer.has_synced
            async with asyncio.timeout(6):
                await informer.synced()

    async def test_a_cut_watch_goes_on_where_it_was_without_a_list(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await cluster.put("a")
        informer = pods_of(cluster)
        told = Told(informer)
        async with running(informer):
            await informer.synced()
            await cluster.put("b")
            await settle()
            monkeypatch.delattr(cluster.store.__class__, "list")
            cluster.store.interrupt()
            await cluster.put("c")
            await cluster.delete("a")
            await asyncio.sleep(1)
        assert told.lines == ["+a", "+b", "+c", "-a"]

    async def test_after_each_success_the_back_off_is_the_shortest_again(self, cluster: Cluster) -> None:
        await cluster.put("a")
        informer = pods_of(cluster)
        async with running(informer):
            await informer.synced()
            for _ in range(5):
                with cluster.down():
                    await asyncio.sleep(0.05)
                begun = time()
                revision = await cluster.put("a")
                while cached(informer) != {"default/a": str(revision)}:
                    await asyncio.sleep(0.01)
                assert time() - begun < 0.2

    async def test_a_compacted_watch_is_listed_again_and_only_differences_are_told(self, cluster: Cluster) -> None:
        for name in ("kept", "changed", "deleted", "reborn"):
            await cluster.put(name)
        informer = pods_of(cluster)
        told = Told(informer)
        async with running(informer):
            await informer.synced()
            told.clear()
            # Nothing here gives the informer a turn between the cut and the compaction.
            informer._source = Unreachable()
            cluster.store.interrupt()
            await settle()
            await cluster.put("changed")
            await cluster.delete("deleted")
            await cluster.delete("reborn")
            await cluster.put("reborn", uid="another")
            await cluster.put("new")
            await cluster.store.compact(await cluster.store.revision())
            informer._source = EtcdSources(cluster.store).of(Pod)
            await asyncio.sleep(10)
        assert sorted(told.lines) == ["+new", "+reborn", "-deleted", "-reborn", "~changed"]
        assert told.lines.index("-reborn") < told.lines.index("+reborn")
        assert told.replayed == cached(informer) == await cluster.pods()

    async def test_a_store_that_was_put_back_to_an_earlier_state_is_listed_again(self, cluster: Cluster) -> None:
        for _ in range(10):
            await cluster.put("lost")
        informer = pods_of(cluster)
        told = Told(informer)
        async with running(informer):
            await informer.synced()
            await settle()
            restored = Cluster()
            await restored.put("restored")
            informer._source = EtcdSources(restored.store).of(Pod)
            cluster.store.interrupt()
            await asyncio.sleep(1)
        assert told.lines == ["+lost", "-lost", "+restored"]

    async def test_a_silent_watch_is_given_up_and_resumed(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        source = Scripted([[], [[WatchEvent("ADDED", versioned("a", 8), 8)]]])
        informer = Informer(source, "scripted")
        async with running(informer):
            await asyncio.sleep(SILENCE + 1)
        assert source.watched_from == [7, 7]
        assert cached(informer) == {"default/a": "8"}

    async def test_a_watch_that_ends_at_once_is_no_busy_loop(self) -> None:
        source = Scripted([None] * 1000)
        informer = Informer(source, "scripted")
        async with running(informer):
            await asyncio.sleep(60)
        assert len(source.watched_from) < 20

    async def test_a_watch_that_expires_at_once_again_and_again_is_no_busy_loop(self) -> None:
        source = Scripted([errors.Expired("too old")] * 1000)
        informer = Informer(source, "scripted")
        async with running(informer):
            await asyncio.sleep(60)
        assert len(source.watched_from) < 30

    async def test_progress_without_changes_is_where_the_next_watch_goes_on(self) -> None:
        source = Scripted([[[WatchEvent("BOOKMARK", None, 70)], errors.ServiceUnavailable("cut")], []])
        async with running(Informer(source, "scripted")):
            await asyncio.sleep(1)
        assert source.watched_from == [7, 70]

    @pytest.mark.parametrize(
        ("event", "cache"),
        [
            pytest.param(
                WatchEvent("MODIFIED", None, 5), {"default/x": "7"}, id="an event that the list has seen already"
            ),
            pytest.param(WatchEvent("DELETED", None, 5), {"default/x": "7"}, id="a deletion that it has seen"),
            pytest.param(WatchEvent("ADDED", None, 9), {"default/x": "9"}, id="an addition of what is there"),
            pytest.param(WatchEvent("DELETED", None, 7), {}, id="a deletion without a revision of its own"),
        ],
    )
    async def test_events_that_overlap_with_the_list(self, event: WatchEvent[Pod], cache: dict[str, str]) -> None:
        event = WatchEvent(event.type, versioned("x", event.revision), event.revision)
        source = Scripted([[[event]]], [versioned("x", 7)])
        informer = Informer(source, "scripted")
        told = Told(informer)
        async with running(informer):
            await asyncio.sleep(1)
        assert cached(informer) == told.replayed == cache


class TestInformers:
    async def test_one_informer_a_kind_is_shared(self, cluster: Cluster) -> None:
        informers = Informers(EtcdSources(cluster.store))
        assert informers.of(Pod) is informers.of(Pod)
        assert informers.bound_pods("n1") is informers.bound_pods("n1")

    async def test_synced_waits_for_all_and_late_ones_are_run_too(self, cluster: Cluster) -> None:
        await cluster.put("a")
        informers = Informers(EtcdSources(cluster.store))
        pods = informers.of(Pod)
        async with running(informers):
            await informers.synced()
            assert pods.has_synced
            nodes = informers.of(Node)
            await informers.synced()
            assert nodes.has_synced

    async def test_bound_pods_are_those_under_the_node(self, cluster: Cluster) -> None:
        from kube.store import codec
        from kube.store.store import Put

        for node in ("n1", "n10"):
            value = codec.encode(make_pod(f"on-{node}", node=node))
            await cluster.store.txn([], [Put(keys.bound_pod_key(node, "default", f"on-{node}"), value)])
        informers = Informers(EtcdSources(cluster.store))
        pods = informers.bound_pods("n1")
        async with running(informers):
            await informers.synced()
            assert [pod.key for pod in pods.list()] == ["default/on-n1"]


def versioned(name: str, revision: int) -> Pod:
    pod = make_pod(name, uid=f"uid-{name}")
    pod.metadata = ObjectMeta(name=name, namespace="default", uid=f"uid-{name}", resourceVersion=str(revision))
    return pod


class Unreachable(Source[Pod]):
    """A source that is not there."""

    async def list(self) -> tuple[list[Pod], int]:
        raise errors.ServiceUnavailable("not there")

    async def watch(self, revision: int) -> AsyncGenerator[Batch[Pod], None]:
        raise errors.ServiceUnavailable("not there")
        yield []


Stream = list[list[WatchEvent[Pod]] | Exception] | Exception | None


class Scripted(Source[Pod]):
    """A source at revision 7 whose streams are given.

    Each is what it sends or raises, and is silent then; an exception is raised at once, and None ends at once.
    """

    def __init__(self, streams: list[Stream], objects: list[Pod] | None = None) -> None:
        self._streams = streams
        self._objects = objects or []
        self.watched_from: list[int] = []

    async def list(self) -> tuple[list[Pod], int]:
        return self._objects, 7

    async def watch(self, revision: int) -> AsyncGenerator[Batch[Pod], None]:
        self.watched_from.append(revision)
        stream = self._streams.pop(0) if self._streams else []
        if isinstance(stream, Exception):
            raise stream
        if stream is None:
            return
        for each in stream:
            if isinstance(each, Exception):
                raise each
            yield each
        await asyncio.Event().wait()
