"""What kube/store/store.py promises, sentence by sentence: the suite that both stores pass.

A test module makes a subclass whose `store` fixture is the store to test. Tests keep to keys under their own `root`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from kube.store.store import (
    Change,
    Compacted,
    Compare,
    Delete,
    KeyValue,
    LeaseNotFound,
    Put,
    Store,
    TooLarge,
    Unavailable,
    WatchBatch,
)

_roots = itertools.count()


async def put(store: Store, key: str, value: bytes = b"x", lease: int = 0) -> int:
    """Write a key, whatever it was; its revision."""
    result = await store.txn([], [Put(key, value, lease)])
    assert result.succeeded
    return result.revision


async def follow(store: Store, prefix: str, revision: int, count: int, *, previous: bool = True) -> list[WatchBatch]:
    """A watch's batches that have changes, until these are so many."""
    batches: list[WatchBatch] = []
    async with asyncio.timeout(20), aclosing(store.watch(prefix, revision, previous=previous)) as watch:
        async for batch in watch:
            if batch.changes:
                batches.append(batch)
            if sum(len(b.changes) for b in batches) >= count:
                break
    return batches


async def changes(store: Store, prefix: str, revision: int, count: int, *, previous: bool = True) -> list[Change]:
    """A watch's first changes."""
    batches = await follow(store, prefix, revision, count, previous=previous)
    return [change for batch in batches for change in batch.changes]


async def settle() -> None:
    """Let tasks that have begun come to where they wait."""
    for _ in range(5):
        await asyncio.sleep(0)


class StoreContract:
    """The suite. Subclasses say which store."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        raise NotImplementedError
        yield  # noqa: PT022  # what makes it a generator, as those of the subclasses are

    @pytest.fixture
    def root(self) -> str:
        return f"/kube-test/{next(_roots)}/"

    # get, revision

    async def test_get_of_an_absent_key_is_none_and_the_stores_revision(self, store: Store, root: str) -> None:
        assert await store.get(root + "absent") == (None, await store.revision())

    async def test_get_says_when_a_key_was_written_and_when_created(self, store: Store, root: str) -> None:
        created = await put(store, root + "a", b"1")
        written = await put(store, root + "a", b"2")
        await put(store, root + "b")
        found, revision = await store.get(root + "a")
        assert found == KeyValue(root + "a", b"2", written, created)
        assert revision == written + 1

    async def test_a_key_that_was_removed_is_created_anew(self, store: Store, root: str) -> None:
        first = await put(store, root + "a")
        await store.txn([], [Delete(root + "a")])
        second = await put(store, root + "a")
        found, _ = await store.get(root + "a")
        assert found is not None
        assert found.create_revision == second > first

    async def test_each_write_raises_the_revision_by_one(self, store: Store, root: str) -> None:
        before = await store.revision()
        assert [await put(store, root + "a", b"same") for _ in range(3)] == [before + 1, before + 2, before + 3]
        assert await store.revision() == before + 3

    @pytest.mark.parametrize("value", [b"", b"\0\xff", b"x" * 100_000], ids=["empty", "not text", "large"])
    async def test_a_value_comes_back_as_it_was_written(self, store: Store, root: str, value: bytes) -> None:
        revision = await put(store, root + "a", value)
        found, _ = await store.get(root + "a")
        assert found is not None
        assert found.value == value
        assert [change.value for change in await changes(store, root, revision, 1)] == [value]

    async def test_keys_may_be_any_text(self, store: Store, root: str) -> None:
        revision = await put(store, root + "grüße/日本/😀")
        assert [kv.key for kv in (await store.list(root + "grüße/")).items] == [root + "grüße/日本/😀"]
        assert [c.key for c in await changes(store, root + "grüße/日", revision, 1)] == [root + "grüße/日本/😀"]

    # list

    async def test_a_list_is_in_the_order_of_the_keys(self, store: Store, root: str) -> None:
        names = ["b", "a", "a/x", "a-", "é", "😀", "ﬀ", "B"]
        for name in names:
            await put(store, root + name)
        page = await store.list(root)
        assert [kv.key for kv in page.items] == sorted((root + name for name in names), key=str.encode)
        assert page.remaining == 0
        assert page.revision == await store.revision()

    async def test_a_list_is_bounded_by_its_prefix(self, store: Store, root: str) -> None:
        for key in ("pods", "pods/a", "pods/a/b", "pods0", "pods.", "podsx/a", "pod/a"):
            await put(store, root + key)
        assert [kv.key for kv in (await store.list(root + "pods/")).items] == [root + "pods/a", root + "pods/a/b"]

    async def test_a_list_of_nothing_has_a_revision(self, store: Store, root: str) -> None:
        page = await store.list(root)
        assert (page.items, page.remaining) == ([], 0)
        assert page.revision == await store.revision()

    async def test_a_list_in_pages_of_one_revision_misses_and_doubles_nothing(self, store: Store, root: str) -> None:
        keys = [f"{root}{n:03}" for n in range(10)]
        for key in keys:
            await put(store, key, b"old")
        first = await store.list(root, limit=4)
        assert ([kv.key for kv in first.items], first.remaining) == (keys[:4], 6)
        await store.txn([], [Delete(keys[0]), Delete(keys[5]), Put(root + "005x", b"new"), Put(keys[6], b"new")])
        second = await store.list(root, limit=4, after=first.items[-1].key, revision=first.revision)
        assert ([kv.key for kv in second.items], second.remaining) == (keys[4:8], 2)
        third = await store.list(root, limit=4, after=second.items[-1].key, revision=first.revision)
        assert ([kv.key for kv in third.items], third.remaining) == (keys[8:], 0)
        assert {kv.value for page in (first, second, third) for kv in page.items} == {b"old"}
        assert {page.revision for page in (first, second, third)} == {first.revision}

    async def test_after_need_not_be_a_key_that_exists_or_lies_in_the_range(self, store: Store, root: str) -> None:
        for name in "ace":
            await put(store, f"{root}p/{name}")
        assert [kv.key[-1] for kv in (await store.list(root + "p/", after=root + "p/b")).items] == ["c", "e"]
        assert [kv.key[-1] for kv in (await store.list(root + "p/", after=root + "a")).items] == ["a", "c", "e"]
        assert (await store.list(root + "p/", after=root + "p/e")).items == []
        assert (await store.list(root + "p/", after=root + "q")).items == []

    async def test_a_list_of_a_past_revision_is_as_it_was(self, store: Store, root: str) -> None:
        created = await put(store, root + "a", b"1")
        await put(store, root + "b", b"1")
        then = await put(store, root + "a", b"2")
        await store.txn([], [Delete(root + "a"), Put(root + "c", b"1")])
        await put(store, root + "a", b"3")
        page = await store.list(root, revision=then)
        assert page.items == [
            KeyValue(root + "a", b"2", then, created),
            KeyValue(root + "b", b"1", then - 1, then - 1),
        ]
        assert page.revision == then

    async def test_a_list_of_a_revision_to_come_is_unavailable(self, store: Store, root: str) -> None:
        with pytest.raises(Unavailable, match="future"):
            await store.list(root, revision=await store.revision() + 1000)

    async def test_a_long_list_is_whole(self, store: Store, root: str) -> None:
        count = 2600
        for start in range(0, count, 100):
            await store.txn([], [Put(f"{root}{n:05}", b"%d" % n) for n in range(start, start + 100)])
        everything = await store.list(root)
        assert [int(kv.value) for kv in everything.items] == list(range(count))
        assert everything.remaining == 0
        most = await store.list(root, limit=2500)
        assert (len(most.items), most.remaining) == (2500, 100)
        assert len((await store.list(root, limit=1000)).items) == 1000

    # txn

    async def test_a_transaction_writes_everything_at_one_revision(self, store: Store, root: str) -> None:
        await put(store, root + "gone")
        result = await store.txn([], [Put(root + "a", b"1"), Delete(root + "gone"), Put(root + "b", b"2")])
        assert result.succeeded
        assert result.current == {}
        page = await store.list(root)
        assert [(kv.key, kv.value, kv.revision) for kv in page.items] == [
            (root + "a", b"1", result.revision),
            (root + "b", b"2", result.revision),
        ]
        assert page.revision == result.revision

    async def test_a_key_that_must_not_exist(self, store: Store, root: str) -> None:
        first = await store.txn([Compare(root + "a", 0)], [Put(root + "a", b"1")])
        second = await store.txn([Compare(root + "a", 0)], [Put(root + "a", b"2")])
        assert (first.succeeded, second.succeeded) == (True, False)
        assert second.current == {root + "a": KeyValue(root + "a", b"1", first.revision, first.revision)}
        await store.txn([], [Delete(root + "a")])
        assert (await store.txn([Compare(root + "a", 0)], [Put(root + "a", b"3")])).succeeded

    async def test_a_key_that_must_be_as_it_was_read(self, store: Store, root: str) -> None:
        created = await put(store, root + "a", b"1")
        assert (await store.txn([Compare(root + "a", created)], [Put(root + "a", b"2")])).succeeded
        late = await store.txn([Compare(root + "a", created)], [Delete(root + "a")])
        assert not late.succeeded
        assert late.current[root + "a"].value == b"2"
        assert late.current[root + "a"].create_revision == created

    async def test_a_failed_transaction_writes_nothing_and_shows_every_compared_key_that_exists(
        self, store: Store, root: str
    ) -> None:
        revision = await put(store, root + "a", b"1")
        result = await store.txn(
            [Compare(root + "a", revision), Compare(root + "b", revision), Compare(root + "c", 0)],
            [Put(root + "a", b"2"), Put(root + "c", b"2"), Put(root + "d", b"2")],
        )
        assert not result.succeeded
        assert result.current == {root + "a": KeyValue(root + "a", b"1", revision, revision)}
        assert result.revision == revision == await store.revision()
        assert len((await store.list(root)).items) == 1

    async def test_a_transaction_may_compare_keys_that_it_does_not_write(self, store: Store, root: str) -> None:
        revision = await put(store, root + "namespace")
        compares = [Compare(root + "namespace", revision), Compare(root + "a", 0)]
        assert (await store.txn(compares, [Put(root + "a", b"1")])).succeeded

    async def test_removing_what_is_not_there_is_no_error_and_no_revision(self, store: Store, root: str) -> None:
        before = await store.revision()
        result = await store.txn([Compare(root + "a", 0)], [Delete(root + "a")])
        assert (result.succeeded, result.revision) == (True, before)
        assert await store.revision() == before

    async def test_a_transaction_without_writes_takes_no_revision(self, store: Store, root: str) -> None:
        revision = await put(store, root + "a")
        assert (await store.txn([Compare(root + "a", revision)], [])).succeeded
        assert await store.revision() == revision

    async def test_of_many_writers_that_read_the_same_one_wins(self, store: Store, root: str) -> None:
        revision = await put(store, root + "a")
        results = await asyncio.gather(
            *(store.txn([Compare(root + "a", revision)], [Put(root + "a", b"%d" % n)]) for n in range(10))
        )
        (winner,) = [n for n, result in enumerate(results) if result.succeeded]
        found, _ = await store.get(root + "a")
        assert found is not None
        assert found.value == b"%d" % winner
        assert {result.current[root + "a"].value for result in results if not result.succeeded} == {found.value}

    async def test_a_transaction_that_can_never_be_right_is_the_callers_error(self, store: Store, root: str) -> None:
        with pytest.raises(ValueError, match="duplicate key"):
            await store.txn([], [Put(root + "a", b"1"), Put(root + "a", b"2")])
        with pytest.raises(ValueError, match="duplicate key"):
            await store.txn([], [Put(root + "a", b"1"), Delete(root + "a")])
        with pytest.raises(ValueError, match="key is not provided"):
            await store.txn([], [Put("", b"1")])
        with pytest.raises(ValueError, match="too many operations"):
            await store.txn([], [Put(f"{root}{n}", b"1") for n in range(129)])
        assert (await store.list(root)).items == []

    @pytest.mark.parametrize("size", [1_600_000, 4_000_000], ids=["more than etcd takes", "more than its gRPC takes"])
    async def test_a_transaction_that_is_too_large(self, store: Store, root: str, size: int) -> None:
        with pytest.raises(TooLarge):
            await store.txn([], [Put(root + "a", b"x" * size)])
        await put(store, root + "a", b"x" * 1_400_000)

    # watch

    async def test_a_watch_sees_what_came_before_it_and_what_comes(self, store: Store, root: str) -> None:
        first = await put(store, root + "a", b"1")
        second = await put(store, root + "a", b"2")
        task = asyncio.create_task(changes(store, root, first, 4))
        await settle()
        third = (await store.txn([], [Delete(root + "a")])).revision
        fourth = await put(store, root + "a", b"4")
        assert await task == [
            Change(root + "a", b"1", first, None, created=True),
            Change(root + "a", b"2", second, KeyValue(root + "a", b"1", first, first)),
            Change(root + "a", None, third, KeyValue(root + "a", b"2", second, first)),
            Change(root + "a", b"4", fourth, None, created=True),
        ]

    async def test_a_watch_that_is_not_asked_does_not_tell_what_was_there(self, store: Store, root: str) -> None:
        first = await put(store, root + "a", b"1")
        second = await put(store, root + "a", b"2")
        third = (await store.txn([], [Delete(root + "a")])).revision
        assert await changes(store, root, first, 3, previous=False) == [
            Change(root + "a", b"1", first, created=True),
            Change(root + "a", b"2", second),
            Change(root + "a", None, third),
        ]

    async def test_a_watch_begins_with_the_revision_that_is_named(self, store: Store, root: str) -> None:
        revisions = [await put(store, root + name) for name in "abc"]
        assert [c.key[-1] for c in await changes(store, root, revisions[1], 2)] == ["b", "c"]

    async def test_a_watch_from_a_revision_to_come_sees_nothing_before(self, store: Store, root: str) -> None:
        revision = await put(store, root + "before")
        task = asyncio.create_task(changes(store, root, revision + 2, 1))
        await settle()
        await put(store, root + "skipped")
        await put(store, root + "seen")
        assert [c.key for c in await task] == [root + "seen"]

    async def test_a_watch_is_bounded_by_its_prefix(self, store: Store, root: str) -> None:
        revision = await store.revision() + 1
        for key in ("pods", "pods0", "podsx/a", "pod/a", "pods/a", "pods.", "pods/z"):
            await put(store, root + key)
        assert [c.key for c in await changes(store, root + "pods/", revision, 2)] == [root + "pods/a", root + "pods/z"]

    async def test_a_transactions_changes_come_in_one_batch_in_the_order_of_the_revisions(
        self, store: Store, root: str
    ) -> None:
        start = await store.revision() + 1
        task = asyncio.create_task(follow(store, root, start, 500))
        for n in range(5):
            await store.txn([], [Put(f"{root}{m:03}", b"%d" % n) for m in range(100)])
        live = await task
        again = await follow(store, root, start, 500)
        for batches in (live, again):
            seen = [change.revision for batch in batches for change in batch.changes]
            assert seen == sorted(seen)
            assert len(seen) == 500
            of_batch = [{change.revision for change in batch.changes} for batch in batches]
            assert sum(len(revisions) for revisions in of_batch) == len(set().union(*of_batch)) == 5
            assert [batch.revision for batch in batches] == [max(revisions) for revisions in of_batch]

    async def test_resuming_behind_any_batch_misses_and_doubles_nothing(self, store: Store, root: str) -> None:
        start = await store.revision() + 1
        count = 2500  # more than etcd sends at once to a watch that catches up
        await asyncio.gather(*(put(store, f"{root}{n}") for n in range(count)))
        whole = await changes(store, root, start, count)
        assert len({change.key for change in whole}) == count
        resumed: list[Change] = []
        revision = start - 1
        while len(resumed) < count:
            (batch, *_) = await follow(store, root, revision + 1, 1)
            resumed += batch.changes
            revision = batch.revision
        assert resumed == whole

    async def test_every_watch_sees_everything_in_the_same_order(self, store: Store, root: str) -> None:
        start = await store.revision() + 1
        tasks = [asyncio.create_task(changes(store, root, start, 40)) for _ in range(5)]
        tasks += [asyncio.create_task(changes(store, f"{root}{n}/", start, 20)) for n in range(2)]
        await settle()
        await asyncio.gather(*(put(store, f"{root}{n % 2}/{n}") for n in range(40)))
        everything, *others, evens, odds = await asyncio.gather(*tasks)
        assert len(everything) == 40
        assert all(other == everything for other in others)
        assert evens == [change for change in everything if change.key.startswith(root + "0/")]
        assert odds == [change for change in everything if change.key.startswith(root + "1/")]

    async def test_an_exact_watch_sees_one_key_and_none_that_begins_with_it(self, store: Store, root: str) -> None:
        start = await put(store, root + "a", b"1")
        await put(store, root + "ab")
        await put(store, root + "a/b")
        await put(store, root + "a", b"2")
        async with asyncio.timeout(20), aclosing(store.watch(root + "a", start, exact=True)) as watch:
            seen = [(change.key, change.value) async for batch in _until(watch, 2) for change in batch.changes]
        assert seen == [(root + "a", b"1"), (root + "a", b"2")]

    async def test_a_slow_reader_of_a_watch_loses_nothing_and_stops_nobody(self, store: Store, root: str) -> None:
        start = await put(store, root + "first")
        async with asyncio.timeout(20), aclosing(store.watch(root, start)) as watch:
            seen = [change.key async for batch in _until(watch, 1) for change in batch.changes]
            for n in range(200):
                await put(store, f"{root}{n}", b"x" * 1000)
            assert len(await changes(store, root, start, 201)) == 201
            seen += [change.key async for batch in _until(watch, 200) for change in batch.changes]
        assert seen == [root + "first"] + [f"{root}{n}" for n in range(200)]

    # compact

    async def test_what_is_compacted_is_gone_and_says_so(self, store: Store, root: str) -> None:
        first = await put(store, root + "a", b"1")
        await put(store, root + "a", b"2")
        third = await put(store, root + "a", b"3")
        fourth = await put(store, root + "a", b"4")
        await store.compact(third)
        with pytest.raises(Compacted) as caught:
            await store.list(root, revision=first)
        assert caught.value.oldest == third
        with pytest.raises(Compacted) as caught:
            await follow(store, root, first, 1)
        assert caught.value.oldest == third
        # What came before is forgotten; that revision itself is kept.
        assert [kv.value for kv in (await store.list(root, revision=third)).items] == [b"3"]
        assert await changes(store, root, third + 1, 1) == [
            Change(root + "a", b"4", fourth, KeyValue(root + "a", b"3", third, first))
        ]
        found, _ = await store.get(root + "a")
        assert found == KeyValue(root + "a", b"4", fourth, first)

    async def test_compacting_again_or_further_back_does_nothing(self, store: Store, root: str) -> None:
        first = await put(store, root + "a")
        second = await put(store, root + "a")
        await store.compact(second)
        await store.compact(second)
        await store.compact(first)
        assert (await store.list(root, revision=second)).items != []

    async def test_compacting_the_present_keeps_it(self, store: Store, root: str) -> None:
        revision = await put(store, root + "a", b"1")
        await store.compact(revision)
        assert [kv.value for kv in (await store.list(root)).items] == [b"1"]
        task = asyncio.create_task(changes(store, root, revision + 1, 1))
        await settle()
        await put(store, root + "b")
        assert [change.key for change in await task] == [root + "b"]

    async def test_compacting_what_is_to_come_is_refused(self, store: Store) -> None:
        with pytest.raises(Unavailable, match="future"):
            await store.compact(await store.revision() + 1000)

    async def test_a_watch_that_is_up_to_date_lives_through_a_compaction(self, store: Store, root: str) -> None:
        start = await put(store, root + "a")
        async with asyncio.timeout(20), aclosing(store.watch(root, start)) as watch:
            async for _ in _until(watch, 1):
                pass
            await store.compact(await put(store, root + "b"))
            await put(store, root + "c")
            seen = [change.key async for batch in _until(watch, 2) for change in batch.changes]
        assert seen == [root + "b", root + "c"]

    # leases

    async def test_a_leases_keys_go_away_together_when_it_runs_out(self, store: Store, root: str) -> None:
        lease = await store.grant(1)
        begun = asyncio.get_running_loop().time()
        await put(store, root + "kept")
        await put(store, root + "a", b"1", lease)
        last = await put(store, root + "b", b"1", lease)
        found, _ = await store.get(root + "a")
        assert found is not None
        assert found.lease == lease
        gone = await changes(store, root, last + 1, 2)
        assert asyncio.get_running_loop().time() - begun >= 1
        assert {change.key for change in gone} == {root + "a", root + "b"}
        assert all(change.value is None and change.previous is not None for change in gone)
        assert [kv.key for kv in (await store.list(root)).items] == [root + "kept"]

    async def test_a_key_that_is_written_without_its_lease_outlives_it(self, store: Store, root: str) -> None:
        lease = await store.grant(1)
        await put(store, root + "kept", b"1", lease)
        await put(store, root + "gone", b"1", lease)
        last = await put(store, root + "kept", b"2")
        assert [change.key for change in await changes(store, root, last + 1, 1)] == [root + "gone"]
        found, _ = await store.get(root + "kept")
        assert found is not None
        assert (found.value, found.lease) == (b"2", 0)

    async def test_a_lease_that_is_gone_is_named_as_the_trouble(self, store: Store, root: str) -> None:
        with pytest.raises(LeaseNotFound):
            await store.txn([], [Put(root + "a", b"1", lease=4711)])
        assert (await store.list(root)).items == []

    async def test_leases_are_different(self, store: Store) -> None:
        assert len({await store.grant(60) for _ in range(3)}) == 3

    # close

    async def test_closing_ends_watches_and_calls(self, store: Store, root: str) -> None:
        revision = await put(store, root + "a")
        waiting = [asyncio.create_task(changes(store, root, revision + 1, 1)) for _ in range(2)]
        seen = asyncio.create_task(follow(store, root, revision, 1))
        await seen
        await store.close()
        for task in waiting:
            with pytest.raises(Unavailable):
                await task
        with pytest.raises(Unavailable):
            await store.get(root + "a")
        with pytest.raises(Unavailable):
            await follow(store, root, revision, 1)

    async def test_a_watchers_own_cancellation_stays_one(self, store: Store, root: str) -> None:
        task = asyncio.create_task(changes(store, root, await store.revision() + 1, 1))
        await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def _until(watch: AsyncIterator[WatchBatch], count: int) -> AsyncIterator[WatchBatch]:
    """A watch's batches, until they brought so many changes."""
    while count > 0:
        batch = await anext(watch)
        count -= len(batch.changes)
        yield batch
