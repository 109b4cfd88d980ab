"""What a daemon sees of an etcd that dies, comes back, or falls silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from kube.store.etcd import EtcdStore
from kube.store.store import Change, Compare, Put, Store, Unavailable
from tests.own_etcd import OwnEtcd
from tests.store_contract import changes, put

ROOT = "/kube-test/"


@pytest.fixture
async def store(own_etcd: OwnEtcd) -> AsyncIterator[EtcdStore]:
    store = EtcdStore([own_etcd.endpoint], timeout=1.0)
    yield store
    await store.close()


async def test_every_call_is_unavailable_within_the_timeout_while_etcd_is_down(
    own_etcd: OwnEtcd, store: EtcdStore
) -> None:
    await put(store, ROOT + "a")
    own_etcd.kill()
    begun = time.monotonic()
    results = await asyncio.gather(
        store.get(ROOT + "a"),
        store.revision(),
        store.list(ROOT),
        store.txn([], [Put(ROOT + "a", b"")]),
        store.grant(10),
        store.compact(1),
        changes(store, ROOT, 1, 1),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [Unavailable] * 7
    assert time.monotonic() - begun < 2


async def test_a_store_that_was_never_reached_says_which_and_why(own_etcd: OwnEtcd) -> None:
    own_etcd.kill()
    store = EtcdStore([own_etcd.endpoint], timeout=0.5)
    with pytest.raises(Unavailable, match=f"{own_etcd.endpoint}: no connection for 0.5 s: .*Connection refused"):
        await store.get(ROOT)
    await store.close()


async def test_calls_work_again_soon_after_a_restart(own_etcd: OwnEtcd, store: EtcdStore) -> None:
    revision = await put(store, ROOT + "a", b"1")
    own_etcd.kill()
    # Long enough for the back-off to reach its maximum.
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        with pytest.raises(Unavailable):
            await store.revision()
    own_etcd.start()
    begun = time.monotonic()
    await _until_available(store)
    assert time.monotonic() - begun < 2
    found, _ = await store.get(ROOT + "a")
    assert found is not None
    assert (found.value, found.revision) == (b"1", revision)


async def test_a_call_made_during_a_restart_waits_for_its_end(own_etcd: OwnEtcd) -> None:
    store = EtcdStore([own_etcd.endpoint], timeout=20)
    await put(store, ROOT + "a")
    own_etcd.kill()
    reading = asyncio.create_task(store.get(ROOT + "a"))
    await asyncio.sleep(0.1)  # it has found the connection lost: a write before that could not be sent again
    writing = asyncio.create_task(put(store, ROOT + "b"))
    assert not reading.done()
    await asyncio.to_thread(own_etcd.start)
    found, _ = await reading
    assert found is not None
    assert await writing > found.revision
    await store.close()


async def test_a_watch_breaks_and_resumes_without_loss_or_doubles(own_etcd: OwnEtcd, store: EtcdStore) -> None:
    start = await store.revision() + 1
    written: dict[str, bytes] = {}
    seen: list[Change] = []
    breaks = 0

    async def write() -> None:
        """Write keys of ever new names; what is not answered may or may not have happened, and is tried again."""
        for n in range(300):
            key = f"{ROOT}{n:04}"
            while True:
                try:
                    await store.txn([Compare(key, 0)], [Put(key, b"%d" % n)])
                except Unavailable:
                    continue
                break
            written[key] = b"%d" % n
            await asyncio.sleep(0.005)

    async def watch() -> None:
        nonlocal breaks
        revision = start
        while len(seen) < 300:
            try:
                async with aclosing(store.watch(ROOT, revision)) as batches:
                    async for batch in batches:
                        seen.extend(batch.changes)
                        revision = batch.revision + 1
                        if len(seen) >= 300:
                            break
            except Unavailable:
                breaks += 1

    async def torment() -> None:
        for _ in range(3):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(own_etcd.restart)

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for work in (write(), watch(), torment()):
            tasks.create_task(work)
    assert breaks >= 3
    assert [change.key for change in seen] == sorted(written)
    assert {change.key: change.value for change in seen} == written
    assert all(change.previous is None for change in seen)
    assert [change.revision for change in seen] == sorted({change.revision for change in seen})


async def test_a_watch_on_an_etcd_that_fell_silent_breaks(own_etcd: OwnEtcd, store: EtcdStore) -> None:
    revision = await put(store, ROOT + "a")
    async with aclosing(store.watch(ROOT, revision)) as watch:
        await anext(watch)
        own_etcd.pause()
        try:
            begun = time.monotonic()
            with pytest.raises(Unavailable):
                await store.get(ROOT + "a")
            assert time.monotonic() - begun < 2
            with pytest.raises(Unavailable):
                await anext(watch)
            assert time.monotonic() - begun < 15
        finally:
            own_etcd.resume()
    await _until_available(store)


async def test_another_endpoint_takes_over(own_etcd: OwnEtcd, scratch_etcd: OwnEtcd) -> None:
    """Two etcds that do not belong together stand for two members: which one answered can be told."""
    store = EtcdStore([own_etcd.endpoint, scratch_etcd.endpoint], timeout=5)
    direct = EtcdStore([scratch_etcd.endpoint])
    await put(direct, ROOT + "which", b"second")
    own = EtcdStore([own_etcd.endpoint])
    await put(own, ROOT + "which", b"first")
    await own.close()

    own_etcd.kill()
    assert await _which(store) == b"second"
    watch = asyncio.create_task(changes(store, ROOT, await store.revision() + 1, 1))
    await put(direct, ROOT + "which", b"second")
    assert [change.value for change in await watch] == [b"second"]
    await store.close()

    own_etcd.start()
    store = EtcdStore([own_etcd.endpoint, "http://127.0.0.1:1"], timeout=5)
    assert await _which(store) == b"first"
    await store.close()
    await direct.close()


async def _which(store: Store) -> bytes:
    found, _ = await store.get(ROOT + "which")
    assert found is not None
    return found.value


async def _until_available(store: Store) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await store.revision()
            except Unavailable:
                continue
            return
