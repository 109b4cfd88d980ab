"""Hollow nodes: many nodes in one process, in virtual time."""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import cast

import pytest

from kube import daemon
from kube.api.coordination import Lease
from kube.api.core import Event, Node, Pod
from kube.client.events import Pace
from kube.client.rest import Client
from kube.client.source import EtcdSources
from kube.kubelet import options
from kube.kubelet.hollow import HollowNode, HollowOptions, hollow_nodes, ranges
from kube.kubelet.machine import Machine
from kube.kubelet.node import NodeFacts
from tests.kubelet_node import FakeNode, container, is_ready

MACHINE = Machine(2, 2**34, 2**40, "amd64", "id", "uuid", "boot", "6.1", "Debian GNU/Linux 12 (bookworm)")


def hollow(
    cluster: FakeNode, pace: Pace | None = None, **more: object
) -> AbstractAsyncContextManager[list[HollowNode]]:
    wanted = HollowOptions(nodes=5, **more)  # type: ignore[arg-type]  # passed on
    facts = NodeFacts("", "127.0.0.1", MACHINE, "v0.1.0")
    return hollow_nodes(wanted, facts, cast(Client, cluster.api), EtcdSources(cluster.store), pace=pace)


async def on(cluster: FakeNode, number: int, name: str) -> Pod:
    pod = await cluster.create(name, container(image="anything:v1"), bind=False)
    await cluster.api.bind(pod, f"hollow-node-{number}")
    return pod


async def until_registered(cluster: FakeNode, count: int) -> list[Node]:
    async with asyncio.timeout(30):
        while len(found := (await cluster.api.list(Node)).items) < count:
            await asyncio.sleep(0.1)
    return found


@pytest.mark.looptime
async def test_they_write_their_events_at_one_pace(node: FakeNode) -> None:
    async with hollow(node, Pace(qps=1, burst=4)):
        await until_registered(node, 5)
        for number in range(5):
            await on(node, number, f"a-{number}")
            await node.until(is_ready, f"a-{number}")
        await asyncio.sleep(10)
        written = len((await node.api.list(Event)).items)
        assert 4 < written <= 20, "as many as the pace allows, and not yet all"
        await asyncio.sleep(100)
        assert len((await node.api.list(Event)).items) >= 20


@pytest.mark.looptime
async def test_each_is_a_node_with_pods_of_its_own(node: FakeNode) -> None:
    async with hollow(node):
        nodes = await until_registered(node, 5)
        assert {n.name for n in nodes} == {f"hollow-node-{i}" for i in range(5)}
        assert {n.status.capacity["cpu"] for n in nodes} == {"8"}
        for number in range(5):
            await on(node, number, f"a-{number}")
            await on(node, number, f"b-{number}")
        pods = [await node.until(is_ready, f"{letter}-{number}") for number in range(5) for letter in "ab"]
        assert len({pod.status.podIP for pod in pods}) == 10
        assert len((await node.api.list(Lease)).items) == 5
        await node.delete("a-0")
        await node.until_gone("a-0")
        assert is_ready(await node.pod("b-0"))


@pytest.mark.looptime
async def test_starts_take_as_long_as_they_are_told_to(node: FakeNode) -> None:
    async with hollow(node, start_time=4.0, pull_time=10.0):
        await until_registered(node, 5)
        await on(node, 0, "web")
        begin = asyncio.get_running_loop().time()
        await node.until(is_ready)
        # The image is pulled while the sandbox is made: one after the other, it would take 18. (Virtual time goes by
        # while a thread writes the pod's files, so it is not 14 to the second.)
        assert 14 <= asyncio.get_running_loop().time() - begin < 18


@pytest.mark.looptime
async def test_failures_are_as_many_as_they_are_told_to_be(node: FakeNode) -> None:
    async with hollow(node, failures=1.0):
        await until_registered(node, 5)
        await on(node, 0, "web")
        pod = await node.until(
            lambda p: bool(p.status.containerStatuses and p.status.containerStatuses[0].restartCount)
        )
        (main,) = pod.status.containerStatuses
        assert main.lastState.terminated is not None
        assert (main.lastState.terminated.exitCode, main.lastState.terminated.reason) == (128, "ContainerCannotRun")


def test_every_node_has_a_range_of_its_own() -> None:
    found = [ipaddress.ip_network(cidr) for cidr in ranges("10.244.0.0/16", 500, 110)]
    assert len(found) >= 500
    assert len(set(found)) == len(found)
    with pytest.raises(daemon.Fatal, match="give a wider range"):
        ranges("10.244.0.0/16", 1000, 110)
    assert next(ranges("10.244.0.0/24", 1, 110)) == "10.244.0.0/24"


def test_hollow_nodes_run_no_containers() -> None:
    parse = options.parser().parse_args
    with pytest.raises(daemon.Fatal, match="--container-runtime=fake"):
        options.from_args(parse(["--hollow-nodes=3"]))
    found = options.from_args(parse(["--hollow-nodes=3", "--container-runtime=fake", "--hollow-memory=1Gi"]))
    assert (found.hollow.nodes, found.hollow.memory, found.hollow.name) == (3, 2**30, "hollow-node")
    assert found.root_dir == Path("/var/lib/kubelet")
