"""The store, as it is in etcd: its gRPC messages, built and read without anything in between.

A client library would lose what a faithful watch needs: which changes belong to one transaction, up to which revision
all was seen, why a watch ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from kube.store import messages
from kube.store.calls import CallFailed
from kube.store.connection import COMPACT, GRANT, RANGE, TXN, WATCH, Connection
from kube.store.store import (
    Change,
    Compacted,
    Compare,
    KeyValue,
    Op,
    Page,
    Put,
    TxnResult,
    Unavailable,
    WatchBatch,
)

PAGE = 1000
"""Keys that one answer holds at most; a longer list is read in several, all of the first one's revision."""


class EtcdStore:
    """A Store in etcd. Usable in one event loop; connects when it is first used."""

    def __init__(
        self, endpoints: Sequence[str], *, timeout: float = 5.0, ca: str = "", cert: str = "", key: str = ""
    ) -> None:
        """`timeout`: seconds that a call may take. `ca`, `cert`, `key`: files, for endpoints that are https."""
        self._etcd = Connection(endpoints, timeout=timeout, ca=ca, cert=cert, key=key)

    async def get(self, key: str) -> tuple[KeyValue | None, int]:
        answer = await self._etcd.call(RANGE, messages.RangeRequest(key=_encode(key)), repeatable=True)
        return (_key_value(answer.kvs[0]) if answer.kvs else None), answer.header.revision

    async def revision(self) -> int:
        answer = await self._etcd.call(RANGE, messages.RangeRequest(key=b"\0", count_only=True), repeatable=True)
        return int(answer.header.revision)

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        start, end = _range(prefix)
        if after:
            start = max(start, _encode(after) + b"\0")
        items: list[KeyValue] = []
        while True:
            size = min(limit - len(items), PAGE) if limit else PAGE
            request = messages.RangeRequest(key=start, range_end=end, limit=size, revision=revision)
            try:
                answer = await self._etcd.call(RANGE, request, repeatable=True)
            except Compacted:
                raise Compacted(await self._compacted()) from None
            revision = revision or answer.header.revision
            items += map(_key_value, answer.kvs)
            remaining = answer.count - len(answer.kvs)
            if not answer.more or (limit and len(items) >= limit):
                return Page(items, revision, remaining)
            start = answer.kvs[-1].key + b"\0"

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        # Messages are filled in place: that costs a third of building them from parts.
        request = messages.TxnRequest()
        for compare in compares:
            key = _encode(compare.key)
            request.compare.add(key=key, target=messages.MOD, result=messages.EQUAL, mod_revision=compare.revision)
            request.failure.add().request_range.key = key
        for op in ops:
            if isinstance(op, Put):
                put = request.success.add().request_put
                put.key, put.value, put.lease = _encode(op.key), op.value, op.lease
            else:
                request.success.add().request_delete_range.key = _encode(op.key)
        answer = await self._etcd.call(TXN, request, repeatable=False)
        if answer.succeeded:
            return TxnResult(True, answer.header.revision)
        found = [_key_value(kv) for response in answer.responses for kv in response.response_range.kvs]
        return TxnResult(False, answer.header.revision, {kv.key: kv for kv in found})

    async def watch(
        self, prefix: str, revision: int, *, exact: bool = False, previous: bool = False
    ) -> AsyncGenerator[WatchBatch, None]:
        start, end = (_encode(prefix), b"") if exact else _range(prefix)
        request = messages.WatchCreateRequest(
            key=start, range_end=end, start_revision=revision, prev_kv=previous, progress_notify=True
        )
        async with aclosing(self._stream(request)) as answers:
            async for answer in answers:
                if answer.compact_revision:
                    raise Compacted(answer.compact_revision)
                if answer.canceled:
                    raise Unavailable(f"{self._etcd}: watch of {prefix} cancelled: {answer.cancel_reason}")
                if answer.events:
                    changes = [_change(event, previous) for event in answer.events]
                    # Not the header's revision: a watch that catches up gets 1,000 revisions at a time, each under
                    # the header of the present one.
                    yield WatchBatch(changes, changes[-1].revision)
                elif not answer.created:
                    yield WatchBatch([], answer.header.revision)

    async def grant(self, ttl: int) -> int:
        answer = await self._etcd.call(GRANT, messages.LeaseGrantRequest(TTL=ttl), repeatable=True)
        return int(answer.ID)

    async def compact(self, revision: int) -> None:
        try:
            await self._etcd.call(COMPACT, messages.CompactionRequest(revision=revision), repeatable=True)
        except Compacted:
            return

    async def close(self) -> None:
        await self._etcd.close()

    async def _stream(self, request: Any) -> AsyncGenerator[Any, None]:
        """The answers to one watch, in a stream of its own. Raises Unavailable when it breaks."""
        deadline = asyncio.get_running_loop().time() + self._etcd.timeout
        member = await self._etcd.member(deadline)
        begin = messages.WatchRequest(create_request=request).SerializeToString()
        try:
            stream = await member.stream(WATCH, begin, deadline)
            try:
                async with asyncio.timeout_at(deadline):
                    answer = await stream.read()
                while answer is not None:
                    yield WATCH.answer(answer)
                    answer = await stream.read()
            finally:
                stream.cancel()
        except CallFailed as error:
            self._etcd.avoid(member)
            raise self._etcd.failure(error) from None
        except TimeoutError:
            self._etcd.avoid(member)
            raise Unavailable(f"{self._etcd}: no watch within {self._etcd.timeout:g} s") from None
        raise Unavailable(f"{self._etcd}: the watch ended")

    async def _compacted(self) -> int:
        """The revision that the store is compacted up to. Only a watch from before it is told."""
        request = messages.WatchCreateRequest(key=b"\0", start_revision=1)
        try:
            async with asyncio.timeout(self._etcd.timeout), aclosing(self._stream(request)) as answers:
                async for answer in answers:
                    if answer.compact_revision:
                        return int(answer.compact_revision)
        except TimeoutError:
            pass
        raise Unavailable(f"{self._etcd}: does not say what it is compacted up to")


def _encode(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _range(prefix: str) -> tuple[bytes, bytes]:
    """The first key, and the first behind the last one, that begin with a prefix."""
    start = _encode(prefix)
    kept = start.rstrip(b"\xff")
    return start or b"\0", kept[:-1] + bytes([kept[-1] + 1]) if kept else b"\0"


def _key_value(kv: Any) -> KeyValue:
    return KeyValue(kv.key.decode("utf-8", "surrogateescape"), kv.value, kv.mod_revision, kv.create_revision, kv.lease)


def _change(event: Any, tells_previous: bool) -> Change:
    kv = event.kv
    removed = event.type == messages.DELETE
    created = not removed and kv.create_revision == kv.mod_revision
    previous = None
    if tells_previous and not created:
        if not event.prev_kv.key:
            # Compacted between the change and our reading of it. Whoever asks for it needs to know what was there.
            raise Compacted(kv.mod_revision)
        previous = _key_value(event.prev_kv)
    key = kv.key.decode("utf-8", "surrogateescape")
    return Change(key, None if removed else kv.value, kv.mod_revision, previous, created)
