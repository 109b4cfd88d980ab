"""What a user is told by `kubectl describe pod` when something fails: states, reasons, events; and that it heals.

The engine in memory fails here; the same on a real one is in tests/integration/kubelet (test_engine_death.py,
test_docker_restart.py, test_pods.py), images that cannot be had are in test_kubelet.py, a full disk's evictions in
test_eviction.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from kube.api.core import Pod, PodStatus
from kube.kubelet import node_api
from kube.kubelet.fake import Program
from kube.kubelet.runtime import RuntimeFailure
from tests.kubelet_node import FakeNode, condition, container, is_ready


def waiting(pod: Pod) -> tuple[str, str]:
    """Reason and message of what the container waits for."""
    state = pod.status.containerStatuses[0].state.waiting if pod.status.containerStatuses else None
    return (state.reason, state.message) if state is not None else ("", "")


@pytest.mark.looptime
async def test_the_engine_is_slow(node: FakeNode) -> None:
    await node.create("before")
    await node.until(is_ready, "before")
    node.runtime.sandbox_delay = 300
    await node.create("slow")
    await asyncio.sleep(200)
    pod = await node.pod("slow")
    assert (pod.status.phase, waiting(pod)) == ("Pending", ("ContainerCreating", ""))
    ready = condition(pod, "Ready")
    assert (ready.status, ready.reason, ready.message) == (
        "False", "ContainersNotReady", "containers with unready status: [main]",
    )  # fmt: skip
    await node.delete("before", grace=0)
    await node.until_gone("before", within=5)  # nobody waits for another's sandbox
    await node.until(is_ready, "slow", within=200)
    assert not node.recorder.messages("FailedCreatePodSandBox"), "slow is no failure"


@pytest.mark.looptime
async def test_the_engine_is_killed(node: FakeNode) -> None:
    await node.create("old")
    await node.until(is_ready, "old")
    node.runtime.kill_engine()
    await node.create("new")
    await node.until_runtime(lambda: "FailedCreatePodSandBox" in node.recorder.reasons())
    assert set(node.recorder.messages("FailedCreatePodSandBox")) == {
        "Failed to create pod sandbox: the engine does not answer: the fake one is down"
    }
    await asyncio.sleep(60)
    assert is_ready(await node.pod("old")), "nobody knows better: its containers go on without the engine"
    assert waiting(await node.pod("new")) == ("ContainerCreating", "")
    node.runtime.start_engine()
    await node.until(is_ready, "new", within=15)


@pytest.mark.looptime
async def test_the_disk_is_full_for_a_container(node: FakeNode) -> None:
    full = "mkdir /var/lib/docker/overlay2/x: no space left on device"
    node.runtime.fail("create_container", RuntimeFailure(full, "CreateContainerError"), times=2)
    await node.create()
    pod = await node.until(lambda p: waiting(p)[0] == "CreateContainerError")
    assert (pod.status.phase, waiting(pod)[1]) == ("Pending", full)
    assert f"Error: {full}" in node.recorder.messages("Failed")
    await node.until(is_ready)  # as soon as there is room


@pytest.mark.looptime
async def test_the_disk_is_full_for_an_image(node: FakeNode) -> None:
    full = "write /var/lib/docker/tmp/GetImageBlob1: no space left on device"
    node.runtime.registry["far/away:1"] = Program()
    node.runtime.fail("pull", RuntimeFailure(full, "ErrImagePull"))
    await node.create("web", container(image="far/away:1"))
    pod = await node.until(lambda p: waiting(p)[0] == "ErrImagePull")
    assert waiting(pod)[1] == full
    assert f'Failed to pull image "far/away:1": {full}' in node.recorder.messages("Failed")
    await node.until(is_ready)


@pytest.mark.looptime
async def test_a_container_ignores_sigterm(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node.runtime.programs[("deaf",)] = Program(on_sigterm=None)
    await node.create("web", container(command=["deaf"]))
    await node.until(is_ready)
    told: list[PodStatus] = []
    monkeypatch.setattr(node.host.statuses, "set", lambda pod, status: told.append(status))
    await node.delete(grace=20)
    assert 20 <= await node.until_gone() < 21
    state = told[-1].containerStatuses[0].state.terminated
    assert state is not None
    assert (state.exitCode, state.reason) == (137, "Error")
    assert node.recorder.messages("Killing") == ["Stopping container main"]


@pytest.mark.looptime
async def test_a_probe_hangs(node: FakeNode) -> None:
    """The real prober, and a command that never ends."""
    node.answers.real = True
    node.runtime.exec_results[("sleep", "inf")] = None
    probe = {"exec": {"command": ["sleep", "inf"]}, "periodSeconds": 1, "failureThreshold": 2}
    await node.create("web", container(livenessProbe=probe))
    await node.until(lambda p: bool(p.status.containerStatuses) and p.status.containerStatuses[0].restartCount == 1)
    hung = 'Liveness probe failed: command timed out: "sleep inf" timed out after 1s'
    assert node.recorder.messages("Unhealthy")[:2] == [hung, hung]
    assert node.recorder.messages("Killing") == ["Container main failed liveness probe, will be restarted"]


async def test_a_log_of_a_gigabyte_is_read_no_faster_than_it_is_wanted(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.create()
    await node.until(is_ready)
    chunk, given, closed = b"x" * 65535 + b"\n", 0, asyncio.Event()

    async def logs(id: str, **options: Any) -> AsyncIterator[bytes]:
        nonlocal given
        try:
            for _ in range(2**30 // len(chunk)):
                given += len(chunk)
                yield chunk
        finally:
            closed.set()

    monkeypatch.setattr(node.runtime, "logs", logs)
    app = web.Application()
    app.add_routes(node_api.routes(node.kubelet, node.runtime))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/containerLogs/default/web/main"
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        async with session.get(url) as answer:
            assert await answer.content.readexactly(len(chunk)) == chunk
            before = -1
            while before != given:  # until nobody takes any more
                before = given
                await asyncio.sleep(0.2)
            assert given < 2**27, "what is not read is not fetched"
        await closed.wait()
        async with session.get(f"{url}?limitBytes={2**22}") as answer:
            assert len(await answer.read()) == 2**22
    await runner.cleanup()
