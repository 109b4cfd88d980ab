"""Each test quotes the sentence of kube/client/workqueue.py that it checks."""

from __future__ import annotations

import asyncio
import logging

import pytest
from prometheus_client import REGISTRY

from kube.api import errors
from kube.client.workqueue import ShutDown, WorkQueue, work

pytestmark = pytest.mark.looptime


def time() -> float:
    return asyncio.get_running_loop().time()


async def take(queue: WorkQueue, count: int) -> list[str]:
    return [await queue.get() for _ in range(count)]


async def is_empty(queue: WorkQueue) -> bool:
    try:
        async with asyncio.timeout(0.001):
            await queue.get()
    except TimeoutError:
        return True
    return False


async def test_fair_keys_are_handed_out_in_the_order_in_which_they_were_added() -> None:
    queue = WorkQueue()
    for key in "bca":
        queue.add(key)
    assert await take(queue, 3) == ["b", "c", "a"]


async def test_stingy_a_key_that_is_added_many_times_before_it_is_handed_out_is_handed_out_once() -> None:
    queue = WorkQueue()
    for key in "abaab":
        queue.add(key)
    assert len(queue) == 2
    assert await take(queue, 2) == ["a", "b"]
    assert await is_empty(queue)


async def test_a_key_that_is_added_while_it_is_being_worked_on_is_handed_out_again_after_done() -> None:
    queue = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert await is_empty(queue)
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert await is_empty(queue)


async def test_one_worker_per_key_at_a_time() -> None:
    queue = WorkQueue()
    working: set[str] = set()
    seen: list[str] = []

    async def reconcile(key: str) -> None:
        assert key not in working
        working.add(key)
        await asyncio.sleep(1)
        working.remove(key)
        seen.append(key)
        if len(seen) == 9:
            queue.shut_down()

    async def disturb() -> None:
        for _ in range(20):
            for key in "abc":
                queue.add(key)
            await asyncio.sleep(0.09)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(disturb())
        tasks.create_task(work(queue, reconcile, workers=5))
    assert sorted(seen) == [*"aaabbbccc"]


async def test_keys_that_wait_for_a_worker_go_to_whoever_asked_first() -> None:
    queue = WorkQueue()
    first, second = asyncio.ensure_future(queue.get()), asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    queue.add("b")
    assert (await first, await second) == ("a", "b")


async def test_a_getter_that_is_cancelled_as_it_is_called_passes_the_call_on() -> None:
    queue = WorkQueue()
    first, second = asyncio.ensure_future(queue.get()), asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await second == "a"
    assert first.cancelled()


async def test_add_after_adds_a_key_later() -> None:
    queue = WorkQueue()
    queue.add_after("a", 3)
    assert len(queue) == 0
    await queue.get()
    assert time() == 3


async def test_of_several_such_times_the_earliest_counts() -> None:
    queue = WorkQueue()
    queue.add_after("a", 5)
    queue.add_after("a", 2)
    queue.add_after("a", 9)
    await queue.get()
    assert time() == 2
    queue.done("a")
    await asyncio.sleep(100)
    assert len(queue) == 0


async def test_a_key_that_failed_comes_back_after_a_time_that_doubles_with_each_failure() -> None:
    queue = WorkQueue(shortest_wait=1, longest_wait=10)
    waits = []
    for _ in range(6):
        begun = time()
        queue.retry("a")
        await queue.get()
        queue.done("a")
        waits.append(time() - begun)
    assert waits == [1, 2, 4, 8, 10, 10]


async def test_until_it_is_forgotten() -> None:
    queue = WorkQueue(shortest_wait=1)
    for _ in range(4):
        queue.retry("a")
    assert queue.failures("a") == 4
    queue.forget("a")
    assert queue.failures("a") == 0


async def test_a_thousand_failures_wait_no_longer_than_the_longest_wait() -> None:
    queue = WorkQueue(longest_wait=60)
    for _ in range(1000):
        queue.retry("a")
    queue.add_after("a", 61)
    await queue.get()
    assert time() <= 60


async def test_shut_down_no_more_keys_are_taken_in_those_that_wait_are_still_handed_out() -> None:
    queue = WorkQueue()
    queue.add("a")
    queue.add_after("later", 1)
    queue.shut_down()
    queue.add("b")
    queue.add_after("c", 1)
    assert await queue.get() == "a"
    with pytest.raises(ShutDown):
        await queue.get()


async def test_shut_down_ends_what_waits() -> None:
    queue = WorkQueue()
    getters = [asyncio.ensure_future(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.shut_down()
    for getter in getters:
        with pytest.raises(ShutDown):
            await getter


async def test_reconcile_raises_then_it_is_logged_and_the_key_is_tried_again_after_its_back_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = WorkQueue(shortest_wait=1)
    tries: list[float] = []

    async def reconcile(key: str) -> None:
        tries.append(time())
        if len(tries) < 4:
            raise ValueError("no such thing")
        queue.shut_down()

    queue.add("ns/a")
    await work(queue, reconcile, name="testing")
    assert tries == [0, 1, 3, 7]
    assert queue.failures("ns/a") == 0
    assert [(r.levelname, r.exc_info is not None) for r in caplog.records] == [("ERROR", True)] * 3


@pytest.mark.parametrize(
    ("error", "level"),
    [
        pytest.param(errors.conflict("pods", "a"), logging.DEBUG, id="a conflict is the normal course of things"),
        pytest.param(errors.ServiceUnavailable("down"), logging.WARNING, id="an API error is somebody's answer"),
        pytest.param(KeyError("x"), logging.ERROR, id="anything else is a bug"),
    ],
)
async def test_how_loudly_a_failure_is_logged(error: Exception, level: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    queue = WorkQueue()

    async def reconcile(key: str) -> None:
        queue.shut_down()
        raise error

    queue.add("ns/a")
    await work(queue, reconcile)
    assert [record.levelno for record in caplog.records if record.name == "kube.client.workqueue"] == [level]


async def test_reconcile_returns_seconds_after_which_it_looks_again() -> None:
    queue = WorkQueue()
    looks: list[float] = []

    async def reconcile(key: str) -> float | None:
        looks.append(time())
        if len(looks) == 3:
            queue.shut_down()
        return 30.0

    queue.add("ns/a")
    await work(queue, reconcile)
    assert looks == [0, 30, 60]


async def test_one_object_s_trouble_is_not_the_others() -> None:
    queue = WorkQueue()
    done: list[str] = []

    async def reconcile(key: str) -> None:
        if key == "bad":
            raise ValueError
        done.append(key)
        if len(done) == 2:
            queue.shut_down()

    for key in ("bad", "a", "b"):
        queue.add(key)
    await work(queue, reconcile, workers=1)
    assert done == ["a", "b"]


async def test_a_cancelled_worker_gives_its_key_back() -> None:
    queue = WorkQueue()

    async def reconcile(key: str) -> None:
        await asyncio.sleep(3600)

    queue.add("a")
    working = asyncio.ensure_future(work(queue, reconcile))
    await asyncio.sleep(1)
    queue.add("a")
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert len(queue) == 1


async def test_the_metrics_have_upstream_s_names() -> None:
    queue = WorkQueue("metrics-of-this-test")

    def sample(name: str) -> float | None:
        return REGISTRY.get_sample_value(name, {"name": "metrics-of-this-test"})

    queue.add("a")
    queue.add("b")
    await asyncio.sleep(2)
    await queue.get()
    await asyncio.sleep(3)
    queue.done("a")
    queue.retry("a")
    assert sample("workqueue_depth") == 1
    assert sample("workqueue_adds_total") == 2
    assert sample("workqueue_retries_total") == 1
    assert sample("workqueue_queue_duration_seconds_sum") == 2
    assert sample("workqueue_work_duration_seconds_sum") == 3
