"""Pods while their engine dies and comes back: an engine of the tests' own, whose containers outlive it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kube.api.core import Pod
from kube.kubelet.docker import DockerRuntime
from kube.kubelet.runtime import State
from tests.kubelet_node import TestNode, is_ready
from tests.own_docker import OwnDocker

Node = TestNode[DockerRuntime]
NAME = "mortal"


@pytest.fixture
async def kubelet(engine: OwnDocker, tmp_path: Path) -> AsyncIterator[Node]:
    runtime = DockerRuntime(NAME, socket=engine.socket)
    node = TestNode(tmp_path, runtime, name=NAME, ip="127.0.0.1")
    async with node.running():
        yield node
        if not engine.answers():
            engine.start()


async def create(node: Node, name: str) -> Pod:
    """A pod that needs no network of the engine's."""
    script = "trap 'exit 0' TERM; while true; do sleep 0.1; done"
    main = {"name": "main", "image": "kube/web", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]}
    return await node.create(name, main, hostNetwork=True, terminationGracePeriodSeconds=2)


def restarts(pod: Pod) -> int:
    return sum(status.restartCount for status in pod.status.containerStatuses)


def pid(engine: OwnDocker, pod: Pod) -> int:
    with engine.client() as client:
        return int(client.inspect_container(f"k8s_main_{pod.name}_default_{pod.metadata.uid}_0")["State"]["Pid"])


async def test_after_the_engine_s_death_everything_is_as_wanted(kubelet: Node, engine: OwnDocker) -> None:
    stays, dies, goes = [await create(kubelet, name) for name in ("stays", "dies", "goes")]
    for name in ("stays", "dies", "goes"):
        await kubelet.until(is_ready, name)
    before = (await kubelet.pod("stays")).status
    victim = pid(engine, dies)

    engine.kill()
    await create(kubelet, "comes")
    await kubelet.delete("goes")
    os.kill(victim, signal.SIGKILL)
    await asyncio.sleep(1)  # the time that the engine is away
    await asyncio.to_thread(engine.start)

    await kubelet.until(is_ready, "comes", within=30)
    await kubelet.until(lambda p: is_ready(p) and restarts(p) == 1, "dies", within=30)
    await kubelet.until_gone("goes", within=30)
    assert (await kubelet.pod("stays")).status == before
    await kubelet.until_runtime(lambda: len(kubelet.kubelet.workers) == 3)
    running = [c for c in await kubelet.runtime.list_containers() if c.state is State.RUNNING]
    assert sorted(c.pod.name for c in running) == ["comes", "dies", "stays"]
    assert goes.metadata.uid not in {s.pod.uid for s in await kubelet.runtime.list_sandboxes()}
    assert stays.metadata.uid in {s.pod.uid for s in await kubelet.runtime.list_sandboxes()}


async def test_both_the_engine_and_the_kubelet_die(kubelet: Node, engine: OwnDocker) -> None:
    pod = await create(kubelet, "web")
    before = (await kubelet.until(is_ready)).status
    engine.kill()
    await kubelet.kill_kubelet()
    kubelet.start_kubelet()
    await asyncio.sleep(0.5)  # it finds no engine
    await asyncio.to_thread(engine.start)
    await kubelet.until_runtime(lambda: kubelet.kubelet.synced)
    await create(kubelet, "other")
    await kubelet.until(is_ready, "other", within=30)
    assert (await kubelet.pod()).status == before
    os.kill(pid(engine, pod), signal.SIGKILL)
    await kubelet.until(lambda p: is_ready(p) and restarts(p) == 1)
