"""The store in memory: the fake that is shipped, for tests that need no server. It passes the suite that etcd passes.

What etcd does and a test may rely on: revisions that start at 1, transactions, watches from any revision that is not
compacted, and leases, which run on the event loop's clock (so virtual time works). Every call lets other tasks run
before it takes effect, as one to a server would. `down` and `interrupt` stand for what goes wrong with a server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace

from kube.store.store import (
    Change,
    Compacted,
    Compare,
    Delete,
    KeyValue,
    LeaseNotFound,
    Op,
    Page,
    Put,
    TooLarge,
    TxnResult,
    Unavailable,
    WatchBatch,
)

BATCH = 1000
"""Revisions that one batch of a watch holds at most."""

MAX_OPS = 128
MAX_BYTES = 1536 * 1024
"""etcd's own limits: --max-txn-ops and --max-request-bytes."""


@dataclass(slots=True)
class _Lease:
    timer: asyncio.TimerHandle
    keys: set[str] = field(default_factory=set)


class MemoryStore:
    """A Store in memory."""

    def __init__(self) -> None:
        self.down = False
        """As long as this is set every call raises Unavailable (use with `interrupt()` to break the watches)."""
        self._now: dict[str, KeyValue] = {}
        self._log: list[list[Change]] = [[]]
        """The changes of every revision that is kept, beginning with those of revision `_oldest`."""
        self._oldest = 1
        self._leases: dict[int, _Lease] = {}
        self._next_lease = 1
        self._news = asyncio.Event()
        self._interruptions = 0
        self._closed = False

    @property
    def _revision(self) -> int:
        return self._oldest + len(self._log) - 1

    async def get(self, key: str) -> tuple[KeyValue | None, int]:
        await self._reach()
        return self._now.get(key), self._revision

    async def revision(self) -> int:
        await self._reach()
        return self._revision

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        await self._reach()
        revision = revision or self._revision
        state = self._at(revision)
        keys = sorted(key for key in state if key.startswith(prefix) and key > after)
        items = [state[key] for key in (keys[:limit] if limit else keys)]
        return Page(items, revision, len(keys) - len(items))

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        await self._reach()
        _check(compares, ops)
        current = {compare.key: self._now[compare.key] for compare in compares if compare.key in self._now}
        if any(compare.revision != _revision_of(current.get(compare.key)) for compare in compares):
            return TxnResult(False, self._revision, current)
        for op in ops:
            if isinstance(op, Put) and op.lease and op.lease not in self._leases:
                raise LeaseNotFound("requested lease not found")
        self._write(ops)
        return TxnResult(True, self._revision)

    async def watch(
        self, prefix: str, revision: int, *, exact: bool = False, previous: bool = False
    ) -> AsyncGenerator[WatchBatch, None]:
        await self._reach()
        interruptions = self._interruptions
        revision = revision or self._revision + 1
        while True:
            if self._closed or interruptions != self._interruptions:
                raise Unavailable("the watch was interrupted")
            if revision <= self._revision:
                if revision < self._oldest:
                    raise Compacted(self._oldest)
                first = revision - self._oldest
                batch = self._log[first : first + BATCH]
                revision += len(batch)
                changes = [change for step in batch for change in step if change.key.startswith(prefix)]
                if exact:
                    changes = [change for change in changes if change.key == prefix]
                if not previous:
                    changes = [replace(change, previous=None) for change in changes]
                if changes:
                    yield WatchBatch(changes, revision - 1)
            else:
                await self._news.wait()

    async def grant(self, ttl: int) -> int:
        await self._reach()
        if ttl <= 0:
            raise ValueError("a lease's TTL must be greater than zero")
        lease = self._next_lease
        self._next_lease += 1
        timer = asyncio.get_running_loop().call_later(ttl, self._expire, lease)
        self._leases[lease] = _Lease(timer)
        return lease

    async def compact(self, revision: int) -> None:
        await self._reach()
        self._not_in_future(revision)
        if revision > self._oldest:
            del self._log[: revision - self._oldest]
            self._oldest = revision

    async def close(self) -> None:
        self._closed = True
        for lease in self._leases.values():
            lease.timer.cancel()
        self._tell()

    def revoke_all(self) -> None:
        """Lose every lease, and what is attached to it, as a store that was restored from a copy does."""
        for lease in list(self._leases):
            self._leases[lease].timer.cancel()
            self._expire(lease)

    def interrupt(self) -> None:
        """Break every watch, as a lost connection does."""
        self._interruptions += 1
        self._tell()

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if self.down or self._closed:
            raise Unavailable("the store is down")

    def _not_in_future(self, revision: int) -> None:
        if revision > self._revision:
            raise Unavailable(f"revision {revision} is in the future")

    def _at(self, revision: int) -> dict[str, KeyValue]:
        """Everything as it was at a revision."""
        self._not_in_future(revision)
        if revision < self._oldest:
            raise Compacted(self._oldest)
        state = self._now if revision == self._revision else dict(self._now)
        for step in reversed(self._log[revision - self._oldest + 1 :]):
            for change in step:
                if change.previous is None:
                    del state[change.key]
                else:
                    state[change.key] = change.previous
        return state

    def _write(self, ops: Sequence[Op]) -> None:
        """One transaction. One that changes nothing takes no revision."""
        revision = self._revision + 1
        step: list[Change] = []
        for op in ops:
            previous = self._now.get(op.key)
            if isinstance(op, Put):
                created = previous.create_revision if previous else revision
                self._now[op.key] = KeyValue(op.key, op.value, revision, created, op.lease)
                step.append(Change(op.key, op.value, revision, previous, created=previous is None))
            elif previous:
                del self._now[op.key]
                step.append(Change(op.key, None, revision, previous))
            if previous and previous.lease in self._leases:
                self._leases[previous.lease].keys.discard(op.key)
            if isinstance(op, Put) and op.lease:
                self._leases[op.lease].keys.add(op.key)
        if step:
            self._log.append(step)
            self._tell()

    def _expire(self, lease: int) -> None:
        self._write([Delete(key) for key in sorted(self._leases[lease].keys)])
        del self._leases[lease]

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _check(compares: Sequence[Compare], ops: Sequence[Op]) -> None:
    """Refuse what etcd refuses."""
    if not all([op.key for op in ops] + [compare.key for compare in compares]):
        raise ValueError("key is not provided")
    if len({op.key for op in ops}) < len(ops):
        raise ValueError("duplicate key given in txn request")
    if max(len(compares), len(ops)) > MAX_OPS:
        raise ValueError("too many operations in txn request")
    if sum(len(op.value) for op in ops if isinstance(op, Put)) > MAX_BYTES:
        raise TooLarge("request is too large")


def _revision_of(kv: KeyValue | None) -> int:
    return kv.revision if kv else 0
