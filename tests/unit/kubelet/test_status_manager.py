"""How statuses reach the apiserver: few writes, the latest, and never over somebody's newer word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kube.api import errors
from kube.api.core import Pod, PodStatus
from kube.kubelet.status_manager import StatusManager
from tests.kubelet_node import FakeNode

pytestmark = pytest.mark.looptime


@asynccontextmanager
async def running(node: FakeNode) -> AsyncIterator[StatusManager]:
    """A manager of its own; the node's kubelet is dead."""
    await node.kill_kubelet()
    node.api.writes.clear()
    manager = StatusManager(node.api)
    task = asyncio.create_task(manager.run())
    try:
        yield manager
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def status(phase: str = "Running", message: str = "") -> PodStatus:
    return PodStatus(phase=phase, message=message, qosClass="BestEffort")


async def bound(node: FakeNode, manager: StatusManager, *, fresh: bool = True) -> Pod:
    await node.create()
    pod = await node.pod()
    manager.observe(pod, fresh=fresh)
    node.api.writes.clear()
    return pod


def patches(node: FakeNode) -> int:
    return sum(1 for method, _ in node.api.writes if method == "PATCH")


async def test_what_is_there_already_is_not_written(node: FakeNode) -> None:
    async with running(node) as manager:
        pod = await bound(node, manager)
        manager.set(pod, status())
        await node.until(lambda p: p.status.phase == "Running")
        manager.set(pod, status())
        await asyncio.sleep(1)
        assert patches(node) == 1
        assert manager.last(pod).phase == "Running"


async def test_of_many_statuses_the_last_is_written(node: FakeNode) -> None:
    async with running(node) as manager:
        pod = await bound(node, manager)
        for number in range(20):
            manager.set(pod, status(message=str(number)))
        await node.until(lambda p: p.status.message == "19")
        assert patches(node) == 1


async def test_a_status_made_from_an_older_pod_is_laid_over_the_newer_one(node: FakeNode) -> None:
    async with running(node) as manager:
        pod = await bound(node, manager)
        newer = (await node.pod()).clone()
        newer.metadata.labels = {"mine": "x"}
        await node.api.update(newer)
        manager.set(pod, status())
        written = await node.until(lambda p: p.status.phase == "Running")
        assert written.metadata.labels == {"mine": "x"}


async def test_an_end_that_was_written_meanwhile_stays(node: FakeNode) -> None:
    async with running(node) as manager:
        pod = await bound(node, manager)
        failed = (await node.pod()).clone()
        failed.status.phase, failed.status.reason = "Failed", "Evicted"
        await node.api.update(failed, "status")
        manager.set(pod, status())
        await asyncio.sleep(1)
        assert (await node.pod()).status.reason == "Evicted"


async def test_a_pod_of_the_same_name_does_not_get_the_status(node: FakeNode) -> None:
    async with running(node) as manager:
        pod = await bound(node, manager)
        await node.delete(grace=0)
        await node.create()
        manager.set(pod, status())
        await asyncio.sleep(1)
        assert (await node.pod()).status.phase == "Pending"
        manager.finish(pod)
        await asyncio.sleep(1)
        assert (await node.pod()).metadata.uid != pod.metadata.uid


async def test_what_fails_is_tried_until_the_apiserver_is_back(node: FakeNode) -> None:
    async with running(node) as manager:
        pod = await bound(node, manager)
        node.api.down = True
        manager.set(pod, status())
        await asyncio.sleep(100)
        node.api.down = False
        await node.until(lambda p: p.status.phase == "Running", within=6)


async def test_the_status_before_this_kubelet_is_read_before_it_is_written_over(node: FakeNode) -> None:
    async with running(node) as manager:
        pod = await bound(node, manager, fresh=False)
        before = (await node.pod()).clone()
        before.status.startTime = before.metadata.creationTimestamp
        await node.api.update(before, "status")
        manager.set(pod, status())
        written = await node.until(lambda p: p.status.phase == "Running")
        assert written.status.startTime == before.metadata.creationTimestamp


async def test_a_status_that_somebody_changed_is_put_right_at_the_next_refresh(node: FakeNode) -> None:
    async with running(node) as manager:
        pod = await bound(node, manager)
        manager.set(pod, status())
        await node.until(lambda p: p.status.phase == "Running")
        changed = (await node.pod()).clone()
        changed.status.phase = "Unknown"
        await node.api.update(changed, "status")
        await manager.refresh(node.name)
        await node.until(lambda p: p.status.phase == "Running")


async def test_a_pod_that_has_ended_is_deleted_after_its_last_status(node: FakeNode) -> None:
    async with running(node) as manager:
        pod = await bound(node, manager)
        await node.delete(grace=30)
        node.api.writes.clear()
        manager.set(pod, status("Failed"))
        manager.finish(pod)
        await node.until_gone()
        assert [method for method, _ in node.api.writes] == ["PATCH", "PATCH", "DELETE"]  # the first is a conflict


async def test_a_status_that_is_refused_does_not_keep_a_pod_from_going(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(node) as manager:
        pod = await bound(node, manager)
        await node.delete(grace=30)

        async def refuse(obj: Pod, subresource: str = "") -> Pod:
            raise errors.Invalid("no")

        monkeypatch.setattr(node.api, "update", refuse)
        manager.set(pod, status("Failed"))
        manager.finish(pod)
        await node.until_gone()
