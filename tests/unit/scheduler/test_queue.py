"""The queue's order, back-off and wake-ups, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from kube.api.core import Pod
from kube.scheduler.changes import ClusterChange, node_changes
from kube.scheduler.queue import SchedulingQueue, State
from tests.objects import NOON, ago, node, pod

pytestmark = pytest.mark.looptime


async def popped(queue: SchedulingQueue, within: float = 0.0) -> str | None:
    """The next pod's name, or None if there is none within so many seconds."""
    try:
        async with asyncio.timeout(within + 0.001):
            return (await queue.pop()).name
    except TimeoutError:
        return None


def urgent(name: str, priority: int) -> Pod:
    result = pod(name)
    result.spec.priority = priority
    return result


async def test_the_higher_priority_first_and_then_who_waited_longer() -> None:
    queue = SchedulingQueue()
    for each in (urgent("first", 0), urgent("second", 0), urgent("important", 10)):
        queue.add(each)
    assert [await popped(queue) for _ in range(3)] == ["important", "first", "second"]


async def test_a_pod_is_in_the_queue_once() -> None:
    queue = SchedulingQueue()
    waiting = pod("p")
    queue.add(waiting)
    queue.add(waiting.clone())
    assert await popped(queue) == "p"
    queue.add(waiting.clone())
    assert await popped(queue) is None, "it is in flight"


async def test_back_off_doubles_from_one_second_to_ten() -> None:
    queue, loop = SchedulingQueue(), asyncio.get_running_loop()
    queue.add(pod("p"))
    waits = []
    before = loop.time()
    for _ in range(6):
        taken = await queue.pop()
        waits.append(round(loop.time() - before, 3))
        before = loop.time()
        queue.retry(taken)
    assert waits == [0, 1, 2, 4, 8, 10]


async def test_a_pod_that_does_not_fit_does_not_block_the_next() -> None:
    queue = SchedulingQueue()
    queue.add(pod("big"))
    queue.add(pod("small"))
    queue.park(await queue.pop(), ClusterChange.POD_REMOVED)
    assert await popped(queue) == "small"


@pytest.mark.parametrize(
    ("helped_by", "change", "wakes"),
    [
        pytest.param(ClusterChange.POD_REMOVED, ClusterChange.POD_REMOVED, True, id="what it waits for"),
        pytest.param(ClusterChange.POD_REMOVED, ClusterChange.NODE_LABELS, False, id="what cannot help it"),
        pytest.param(ClusterChange.NODE_LABELS, ClusterChange.NODE_ADDED, True, id="a new node helps everybody"),
    ],
)
async def test_a_parked_pod_wakes_by_what_can_help(
    helped_by: ClusterChange, change: ClusterChange, wakes: bool
) -> None:
    queue = SchedulingQueue()
    queue.add(pod("p"))
    queue.park(await queue.pop(), helped_by)
    await asyncio.sleep(5)
    queue.happened(change)
    assert (await popped(queue) == "p") is wakes


async def test_a_parked_pod_that_wakes_early_waits_for_the_end_of_its_back_off() -> None:
    queue = SchedulingQueue()
    queue.add(pod("p"))
    queue.park(await queue.pop(), ClusterChange.POD_REMOVED)
    queue.happened(ClusterChange.POD_REMOVED)
    assert queue.state("default/p") is State.BACKOFF
    assert await popped(queue, 0.9) is None
    assert await popped(queue, 0.2) == "p"


async def test_a_parked_pod_is_tried_again_after_five_minutes_at_the_latest() -> None:
    queue = SchedulingQueue()
    queue.add(pod("p"))
    queue.park(await queue.pop(), ClusterChange.POD_REMOVED)
    assert await popped(queue, 299) is None
    assert await popped(queue, 2) == "p"


async def test_a_parked_pod_comes_back_when_it_asks_for_something_else() -> None:
    queue = SchedulingQueue()
    queue.add(pod("p", uid="1"))
    queue.park(await queue.pop(), ClusterChange.POD_REMOVED)
    await asyncio.sleep(2)
    told = pod("p", uid="1", phase="Pending", ready=False)
    queue.add(told)
    assert await popped(queue) is None, "its own status says nothing new"
    changed = pod("p", uid="1", labels={"a": "b"})
    queue.add(changed)
    assert await popped(queue) == "p"


async def test_a_removed_pod_does_not_come_back() -> None:
    queue = SchedulingQueue()
    queue.add(pod("p"))
    taken = await queue.pop()
    queue.remove("default/p")
    queue.retry(taken)
    queue.park(taken, ClusterChange.POD_REMOVED)
    assert len(queue) == 0
    assert await popped(queue, 400) is None


async def test_a_pod_that_was_replaced_by_another_of_its_name_is_not_put_back() -> None:
    queue = SchedulingQueue()
    queue.add(pod("p", uid="old"))
    old = await queue.pop()
    queue.add(pod("p", uid="new"))
    queue.retry(old)
    taken = await queue.pop()
    assert taken.metadata.uid == "new"
    assert queue.attempts("default/p") == 1


def test_a_heartbeat_is_no_change() -> None:
    before = node("n", heartbeat=ago(10))
    after = before.clone()
    after.status.conditions[0].lastHeartbeatTime = NOON
    assert node_changes(before, after) == ClusterChange(0)


def test_every_other_change_of_a_node_has_its_name() -> None:
    before = node("n")
    after = node("n", cpu="8", labels={"a": "b"}, unschedulable=True, ready="False")
    after.metadata.uid = before.metadata.uid
    expected = (
        ClusterChange.NODE_ALLOCATABLE
        | ClusterChange.NODE_LABELS
        | ClusterChange.NODE_TAINTS
        | ClusterChange.NODE_READY
    )
    assert node_changes(before, after) == expected
    assert node_changes(None, after) == ClusterChange.NODE_ADDED
