"""The calls of the store are counted by what they are for."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from kube.apiserver.timed_store import TimedStore
from kube.store.memory import MemoryStore
from kube.store.store import Compare, Delete, Op, Put, TxnResult, Unavailable

POD = "/registry/pods/default/web"
LEASE = "/registry/leases/kube-system/s"
SERVICE = "/registry/services/specs/default/s"
BOUND = Put("/registry/nodes/n/boundpods/default/web", b"{}")


class Failing(MemoryStore):
    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        raise Unavailable("etcd is away")


def counted(store: TimedStore, name: str) -> dict[tuple[str, str], float]:
    """The samples of a metric, by operation and type, that are not zero."""
    registry = CollectorRegistry()
    registry.register(store)
    samples = [sample for metric in registry.collect() for sample in metric.samples if sample.name == name]
    return {(each.labels["operation"], each.labels["type"]): each.value for each in samples if each.value}


@pytest.mark.parametrize(
    ("compares", "ops", "what"),
    [
        pytest.param([Compare(POD, 0)], [Put(POD, b"{}")], ("create", "pods"), id="create"),
        pytest.param([Compare(POD, 7)], [Put(POD, b"{}"), BOUND], ("update", "pods"), id="update"),
        pytest.param([Compare(POD, 7)], [Delete(POD)], ("delete", "pods"), id="delete"),
        pytest.param([], [Put(LEASE, b"{}")], ("update", "leases.coordination.k8s.io"), id="group"),
        pytest.param([], [Put("/registry/minions/n", b"{}")], ("update", "nodes"), id="a cluster's"),
        pytest.param([], [Put(SERVICE, b"{}")], ("update", "services"), id="a deep prefix"),
        pytest.param([], [Put("/registry/events/default/e", b"{}")], ("update", "events"), id="two groups, one store"),
        pytest.param([], [Put("/registry/progress", b"{}")], ("update", "other"), id="what is no object"),
    ],
)  # fmt: skip
async def test_a_transaction_is_what_it_does_to_its_object(
    compares: list[Compare], ops: list[Op], what: tuple[str, str]
) -> None:
    store = TimedStore(MemoryStore())
    await store.txn(compares, ops)
    for name in ("etcd_requests_total", "etcd_request_duration_seconds_count"):
        assert counted(store, name) == {what: 1}
    assert counted(store, "etcd_request_errors_total") == {}


async def test_reads_are_counted_and_give_what_the_store_gives() -> None:
    store = TimedStore(MemoryStore())
    await store.txn([], [Put(POD, b"{}")])
    kv, _ = await store.get(POD)
    assert kv is not None
    assert (await store.list("/registry/pods/")).items == [kv]
    found = counted(store, "etcd_requests_total")
    assert found == {("update", "pods"): 1, ("get", "pods"): 1, ("list", "pods"): 1}


async def test_what_fails_is_counted_as_an_error_too() -> None:
    store = TimedStore(Failing())
    with contextlib.suppress(Unavailable):
        await store.txn([], [Put(POD, b"{}")])
    assert counted(store, "etcd_requests_total") == {("update", "pods"): 1}
    assert counted(store, "etcd_request_errors_total") == {("update", "pods"): 1}
