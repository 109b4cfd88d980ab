"""The store, with the time that each of its calls takes: `etcd_request_duration_seconds` and its like.

What a call was for is read off its keys, as upstream names it: an operation on a type of object. A transaction is named
after its first operation, which is the object's own; what goes with it (claims, bound pods) is not counted.

Source of the names: k8s.io/apiserver/pkg/storage/etcd3/metrics.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import AsyncGenerator, Iterator, Sequence
from functools import lru_cache

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kube.api import resources
from kube.apiserver.metrics import cumulative
from kube.store import keys
from kube.store.store import Compare, KeyValue, Op, Page, Put, Store, TxnResult, WatchBatch

BUCKETS = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
)  # fmt: skip
"""Seconds."""
LABELS = ("operation", "type")


class _Calls:
    """What was measured of one operation on one type."""

    __slots__ = ("durations", "errors", "seconds")

    def __init__(self) -> None:
        self.durations = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0
        self.errors = 0


class TimedStore(Store, Collector):
    """Another store, timed. Only calls for objects are: a watch has no end, a probe of the revision no object."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._calls: dict[tuple[str, str], _Calls] = {}

    async def get(self, key: str) -> tuple[KeyValue | None, int]:
        began = time.perf_counter()
        try:
            result = await self._store.get(key)
        except BaseException:
            self._count("get", key, began, failed=True)
            raise
        self._count("get", key, began)
        return result

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        began = time.perf_counter()
        try:
            result = await self._store.list(prefix, limit=limit, after=after, revision=revision)
        except BaseException:
            self._count("list", prefix, began, failed=True)
            raise
        self._count("list", prefix, began)
        return result

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        began = time.perf_counter()
        operation, key = _what(compares, ops)
        try:
            result = await self._store.txn(compares, ops)
        except BaseException:
            self._count(operation, key, began, failed=True)
            raise
        self._count(operation, key, began)
        return result

    def watch(
        self, prefix: str, revision: int, *, exact: bool = False, previous: bool = False
    ) -> AsyncGenerator[WatchBatch, None]:
        return self._store.watch(prefix, revision, exact=exact, previous=previous)

    async def revision(self) -> int:
        return await self._store.revision()

    async def grant(self, ttl: int) -> int:
        return await self._store.grant(ttl)

    async def compact(self, revision: int) -> None:
        await self._store.compact(revision)

    async def close(self) -> None:
        await self._store.close()

    def _count(self, operation: str, key: str, began: float, *, failed: bool = False) -> None:
        what = operation, _type(key[: key.rfind("/") + 1])
        calls = self._calls.get(what)
        if calls is None:
            calls = self._calls[what] = _Calls()
        seconds = time.perf_counter() - began
        calls.durations[bisect_left(BUCKETS, seconds)] += 1
        calls.seconds += seconds
        calls.errors += failed

    def collect(self) -> Iterator[Metric]:
        names = list(LABELS)
        durations = HistogramMetricFamily(
            "etcd_request_duration_seconds", "Time of etcd's answers, by operation and type of object.", labels=names
        )
        requests = CounterMetricFamily("etcd_requests_total", "Calls of etcd.", labels=names)
        errors = CounterMetricFamily("etcd_request_errors_total", "Calls of etcd that failed.", labels=names)
        for what, calls in self._calls.items():
            durations.add_metric(what, cumulative(BUCKETS, calls.durations), calls.seconds)
            requests.add_metric(what, sum(calls.durations))
            errors.add_metric(what, calls.errors)
        yield durations
        yield requests
        yield errors


def _what(compares: Sequence[Compare], ops: Sequence[Op]) -> tuple[str, str]:
    """What a transaction does, and the key of what it does it to."""
    if not ops:
        return "get", compares[0].key if compares else keys.ROOT
    first = ops[0]
    if not isinstance(first, Put):
        return "delete", first.key
    new = any(compare.key == first.key and compare.revision == 0 for compare in compares)
    return "create" if new else "update", first.key


_PREFIXES = {keys.prefix(resource): resource for resource in resources.RESOURCES}


@lru_cache(maxsize=4000)
def _type(directory: str) -> str:
    """What lies in a directory of the store: `pods`, `leases.coordination.k8s.io`."""
    while directory.count("/") > 2:
        if (resource := _PREFIXES.get(directory)) is not None:
            return f"{resource.plural}.{resource.group}" if resource.group else resource.plural
        directory = directory[: directory.rfind("/", 0, -1) + 1]
    return "other"
