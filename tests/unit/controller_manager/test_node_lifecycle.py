"""A node that falls silent, and all that only looks like it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from kube.api import errors
from kube.api.coordination import Lease, LeaseSpec
from kube.api.core import Event, Node, NodeCondition, Pod
from kube.api.meta import Object, ObjectMeta
from kube.controller_manager.node_lifecycle import LEASES, unknown
from tests.memory_api import MemoryApi
from tests.objects import NOON, node, pod
from tests.unit.controller_manager.conftest import controllers, events

pytestmark = pytest.mark.looptime

NODES = "nodelifecycle"


async def status(api: MemoryApi, name: str = "n") -> str:
    return next(c.status for c in (await api.get(Node, name)).status.conditions if c.type == "Ready")


async def beat(api: MemoryApi, times: int, every: float = 10.0) -> None:
    """Be the kubelet: post a new heartbeat now and then."""
    for number in range(1, times + 1):
        await asyncio.sleep(every)
        described = await api.get(Node, "n")
        described.status.conditions[0] = NodeCondition(
            type="Ready", status="True", lastHeartbeatTime=NOON + timedelta(seconds=number), lastTransitionTime=NOON
        )
        await api.update(described, "status")


async def test_a_silent_node_is_unknown_after_forty_seconds(api: MemoryApi) -> None:
    await api.create(node("n"))
    await api.create(pod("on-it", node="n", phase="Running", ready=True))
    await api.create(pod("elsewhere", node="m", phase="Running", ready=True))
    async with controllers(api, NODES):
        await asyncio.sleep(39)
        assert await status(api) == "True"
        await asyncio.sleep(2)
        conditions = {c.type: c for c in (await api.get(Node, "n")).status.conditions}
        assert (conditions["Ready"].status, conditions["Ready"].reason) == ("Unknown", "NodeStatusUnknown")
        assert conditions["Ready"].message == "Kubelet stopped posting node status."
        assert conditions["Ready"].lastHeartbeatTime == NOON, "how long it has been silent"
        readiness = {p.name: p.status.conditions[0].status for p in (await api.list(Pod)).items}
        assert readiness == {"on-it": "False", "elsewhere": "True"}
        assert await events(api, "NodeNotReady") == ["Node is not ready", "Node n status is now: NodeNotReady"]
        before = len(api.writes)
        await asyncio.sleep(300)
        assert len(api.writes) == before, "it is said once"


async def test_a_node_that_speaks_stays_as_it_says(api: MemoryApi) -> None:
    await api.create(node("n"))
    async with controllers(api, NODES):
        await beat(api, 20)
        assert await status(api) == "True"


async def test_a_renewed_lease_is_a_sign_of_life(api: MemoryApi) -> None:
    await api.create(node("n"))
    lease = Lease(metadata=ObjectMeta(name="n", namespace=LEASES), spec=LeaseSpec(renewTime=NOON))
    lease = await api.create(lease)
    async with controllers(api, NODES):
        for number in range(20):
            await asyncio.sleep(10)
            lease.spec.renewTime = NOON + timedelta(seconds=number + 1)
            lease = await api.update(lease)
        assert await status(api) == "True"
        await asyncio.sleep(42)
        assert await status(api) == "Unknown"


async def test_a_node_that_comes_back_is_watched_again(api: MemoryApi) -> None:
    await api.create(node("n"))
    async with controllers(api, NODES):
        await asyncio.sleep(50)
        assert await status(api) == "Unknown"
        await beat(api, 1)
        assert await status(api) == "True"
        await asyncio.sleep(39)
        assert await status(api) == "True"
        await asyncio.sleep(2)
        assert await status(api) == "Unknown"


async def test_a_node_that_never_spoke_gets_a_minute(api: MemoryApi) -> None:
    await api.create(node("n", ready=""))
    async with controllers(api, NODES):
        await asyncio.sleep(59)
        assert (await api.get(Node, "n")).status.conditions == []
        await asyncio.sleep(2)
        (ready, *_) = (await api.get(Node, "n")).status.conditions
        assert (ready.status, ready.reason) == ("Unknown", "NodeStatusNeverUpdated")


async def test_when_the_api_is_away_no_node_is_to_blame(api: MemoryApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could post a heartbeat: when the API is back every node has its time again."""
    await api.create(node("n"))
    get = api.get

    async def dark(*args: object) -> object:
        raise errors.ServiceUnavailable("cannot reach the apiserver")

    async with controllers(api, NODES):
        monkeypatch.setattr(api, "get", dark)
        await asyncio.sleep(60)
        monkeypatch.setattr(api, "get", get)
        assert await status(api) == "True"
        await beat(api, 10)
        assert await status(api) == "True"


async def test_a_heartbeat_that_the_watch_did_not_bring_is_asked_for(api: MemoryApi) -> None:
    await api.create(node("n"))
    async with controllers(api, NODES):
        await asyncio.sleep(1)
        # The watch is dead, and does not know it.
        api.store.interrupt()
        api.store.down = True
        await asyncio.sleep(20)
        api.store.down = False
        await beat(api, 1, every=0)
        await asyncio.sleep(30)
        assert await status(api) == "True"


async def test_a_write_that_fails_is_tried_again(api: MemoryApi) -> None:
    await api.create(node("n"))
    left = [2]

    def busy(verb: str, model: type[Object], key: str) -> Exception | None:
        if model is Node and left[0]:
            left[0] -= 1
            return errors.conflict("nodes", "n")
        return None

    api.fail_before = busy
    async with controllers(api, NODES):
        await asyncio.sleep(45)
        assert await status(api) == "Unknown"


async def test_a_node_whose_taints_are_refused_is_watched_all_the_same(api: MemoryApi) -> None:
    await api.create(node("n", unschedulable=True))

    def refused(verb: str, model: type[Object], key: str) -> Exception | None:
        return errors.Invalid("no taints here") if model is Node and verb == "update" else None

    api.fail_before = refused
    async with controllers(api, NODES):
        await asyncio.sleep(45)
        assert await status(api) == "Unknown"


async def test_nodes_that_come_and_go_are_told(api: MemoryApi) -> None:
    made = await api.create(node("n"))
    async with controllers(api, NODES):
        await asyncio.sleep(1)
        await api.delete(Node, "n")
        await asyncio.sleep(1)
        again = await api.create(node("n"))
        await asyncio.sleep(1)
    registered, removing = (
        "Node n event: Registered Node n in Controller",
        "Node n event: Removing Node n from Controller",
    )
    told = [(e.involvedObject.uid, e.reason, e.message) for e in (await api.list(Event)).items]
    assert sorted(told) == sorted(
        [
            (made.metadata.uid, "RegisteredNode", registered),
            (made.metadata.uid, "RemovingNode", removing),
            (again.metadata.uid, "RegisteredNode", registered),
        ]
    )


def test_a_node_that_is_unknown_already_is_left_as_it_is() -> None:
    once = unknown(node("n"), NOON)
    assert once is not None
    assert [c.type for c in once.status.conditions] == ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"]
    assert unknown(once, NOON + timedelta(seconds=9)) is None
