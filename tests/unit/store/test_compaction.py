"""Who compacts when, in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

import pytest

from kube.store.compaction import KEY, Compactor
from kube.store.memory import MemoryStore
from kube.store.store import Compacted, Put

pytestmark = pytest.mark.looptime

INTERVAL = 300.0


async def write(store: MemoryStore) -> int:
    """Write something; returns the revision."""
    return (await store.txn([], [Put("/registry/x", b"")])).revision


async def is_compacted(store: MemoryStore, revision: int) -> bool:
    """Whether what followed a revision is forgotten."""
    async with aclosing(store.watch("/registry/", revision)) as batches:
        try:
            await anext(batches)
        except Compacted:
            return True
    return False


async def test_history_is_kept_for_one_interval_and_forgotten_after_two() -> None:
    store = MemoryStore()
    task = asyncio.create_task(Compactor(store, INTERVAL).run())
    first = await write(store)
    await asyncio.sleep(INTERVAL + 1)
    second = await write(store)
    assert not await is_compacted(store, first), "the first turn does not know of any revision that is old enough"
    await asyncio.sleep(INTERVAL)
    await write(store)
    assert await is_compacted(store, first)
    assert not await is_compacted(store, second), "it is younger than an interval"
    await asyncio.sleep(INTERVAL)
    assert await is_compacted(store, second)
    await stop(task)


async def test_of_several_compactors_one_at_a_time_compacts_and_another_takes_over_when_it_is_gone() -> None:
    store = MemoryStore()
    one, other = Compactor(store, INTERVAL), Compactor(store, INTERVAL)
    for compactor in (one, other):
        assert await compactor.compact() == 0
    revision = await write(store)
    assert await one.compact() > 0
    assert await other.compact() == 0, "somebody has compacted since it looked"
    # The one is gone.
    assert await other.compact() > revision
    assert await is_compacted(store, revision)


async def test_the_key_holds_the_revision_that_was_compacted_up_to() -> None:
    """As kube-apiserver leaves it, which may take part."""
    store = MemoryStore()
    compactor = Compactor(store, INTERVAL)
    await compactor.compact()
    await write(store)
    compacted = await compactor.compact()
    found, _ = await store.get(KEY)
    assert found is not None
    assert found.value == str(compacted).encode()


async def test_a_store_that_is_away_is_tried_again_at_the_next_turn() -> None:
    store = MemoryStore()
    task = asyncio.create_task(Compactor(store, INTERVAL).run())
    first = await write(store)
    await asyncio.sleep(INTERVAL + 1)
    store.down = True
    await asyncio.sleep(INTERVAL)
    store.down = False
    await asyncio.sleep(INTERVAL)
    await write(store)
    assert await is_compacted(store, first)
    await stop(task)


async def test_an_interval_of_zero_means_never() -> None:
    await asyncio.wait_for(Compactor(MemoryStore(), 0).run(), 1)


async def stop(task: asyncio.Task[None]) -> None:
    """Cancel a task, and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
