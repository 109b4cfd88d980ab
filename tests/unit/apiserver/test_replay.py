"""A watch from before the apiserver was started: out of the store's history, as long as that is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from kube.api import errors
from kube.api.resources import NODES, PODS
from kube.apiserver import replay
from kube.apiserver.cache import Cache, Lagging
from kube.apiserver.watch import watch
from kube.store import keys
from kube.store.memory import MemoryStore
from kube.store.store import Delete, Put

KEY = keys.object_key(PODS, "default", "a")


def value(number: int) -> bytes:
    return b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"default"},"spec":{"n":%d}}' % number


async def write(store: MemoryStore, number: int, key: str = KEY) -> int:
    return (await store.txn([], [Put(key, value(number))])).revision


@asynccontextmanager
async def started(store: MemoryStore, window: int = 10_000) -> AsyncIterator[Cache]:
    """An apiserver's cache that begins now."""
    cache = Cache(store, window=window)
    task = asyncio.create_task(cache.run())
    await cache.ready.wait()
    yield cache
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def seen(cache: Cache, since: int, count: int) -> list[tuple[str, int]]:
    """The first events of a watch from a revision: type and revision."""
    lines = await watch(cache, PODS, resource_version=str(since), stopping=asyncio.Event())
    events: list[tuple[str, int]] = []
    async with asyncio.timeout(5):
        while len(events) < count:
            for line in (await anext(lines)).splitlines():
                event = json.loads(line)
                events.append((event["type"], int(event["object"]["metadata"]["resourceVersion"])))
    await lines.aclose()
    return events


async def test_a_watch_from_before_the_start_sees_every_change_once() -> None:
    store = MemoryStore()
    first = await write(store, 0)
    revisions = [await write(store, number) for number in range(1, 4)]
    gone = (await store.txn([], [Delete(KEY)])).revision
    again = await write(store, 5)
    async with started(store) as cache:
        later = await write(store, 6)
        wanted = [*(("MODIFIED", revision) for revision in revisions), ("DELETED", gone), ("ADDED", again)]
        assert await seen(cache, first, 6) == [*wanted, ("MODIFIED", later)]
        assert await seen(cache, gone, 2) == [("ADDED", again), ("MODIFIED", later)], "from the window by now"


async def test_it_ends_though_the_last_change_was_of_something_else() -> None:
    store = MemoryStore()
    first = await write(store, 0)
    second = await write(store, 1)
    await store.txn([], [Put("/elsewhere", b"")])
    async with started(store) as cache:
        assert await seen(cache, first, 1) == [("MODIFIED", second)]


async def test_a_second_and_older_watch_reaches_back_further() -> None:
    store = MemoryStore()
    revisions = [await write(store, number) for number in range(6)]
    async with started(store) as cache:
        assert await seen(cache, revisions[3], 2) == [("MODIFIED", revision) for revision in revisions[4:]]
        assert await seen(cache, revisions[0], 5) == [("MODIFIED", revision) for revision in revisions[1:]]


async def test_many_watches_cost_one_replay() -> None:
    store = MemoryStore()
    revisions = [await write(store, number) for number in range(6)]
    async with started(store) as cache:
        watches = []
        real = store.watch

        def counted(*args: str | int, **how: bool) -> object:
            watches.append(args)
            return real(*args, **how)  # type: ignore[arg-type]

        store.watch = counted  # type: ignore[assignment,method-assign]
        found = await asyncio.gather(*(seen(cache, revisions[0], 5) for _ in range(50)))
        assert {tuple(events) for events in found} == {tuple(("MODIFIED", revision) for revision in revisions[1:])}
        assert len(watches) == 1


async def test_what_the_store_has_forgotten_is_expired() -> None:
    store = MemoryStore()
    first = await write(store, 0)
    for number in range(5):
        await write(store, number)
    await store.compact(await store.revision())
    async with started(store) as cache:
        with pytest.raises(errors.Expired, match=f"too old resource version: {first} "):
            await seen(cache, first, 1)


async def test_too_much_is_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MOST", 3)
    store = MemoryStore()
    first = await write(store, 0)
    for number in range(5):
        await write(store, number)
    async with started(store) as cache:
        with pytest.raises(errors.Expired):
            await seen(cache, first, 1)


async def test_no_more_than_the_window_holds_is_taken_over() -> None:
    store = MemoryStore()
    revisions = [await write(store, number) for number in range(30)]
    node = keys.object_key(NODES, "", "n")
    node_revision = await write(store, 0, node)
    async with started(store, window=10) as cache:
        with pytest.raises(errors.Expired):
            await seen(cache, revisions[0], 1)
        assert await seen(cache, revisions[-3], 2) == [("MODIFIED", revision) for revision in revisions[-2:]]
        nodes = cache.of(NODES)
        assert nodes.oldest == revisions[0], "of other kinds there was room for all"
        assert [change.revision for change in nodes.read(nodes.cursor(revisions[0]))] == [node_revision]


async def test_a_cursor_from_before_a_new_beginning_stays_cut_off() -> None:
    """It must not come to point into what is put before the new window."""
    store = MemoryStore()
    revisions = [await write(store, number) for number in range(20)]
    async with started(store) as cache:
        pods = cache.of(PODS)
        old = pods.end()
        cache.of(PODS).restart(cache.began)
        await seen(cache, revisions[0], 1)
        with pytest.raises(Lagging):
            pods.read(old)


async def test_what_was_no_object_of_ours_for_a_while_was_away_for_a_while() -> None:
    store = MemoryStore()
    first = await write(store, 0)
    spoiled = (await store.txn([], [Put(KEY, b"k8s\0 in protobuf")])).revision
    await store.txn([], [Put(KEY, b"nor is this")])
    mended = await write(store, 1)
    async with started(store) as cache:
        assert await seen(cache, first, 2) == [("DELETED", spoiled), ("ADDED", mended)]
