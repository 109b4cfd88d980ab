"""The Node object: what it says, and that it is always there."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kube.api import quantity
from kube.api.coordination import Lease
from kube.api.core import Node, NodeCondition, NodeStatus
from kube.kubelet import machine
from kube.kubelet.eviction import thresholds
from kube.kubelet.fake import Program
from kube.kubelet.machine import Machine
from kube.kubelet.node import NodeAgent, NodeFacts, allocatable, hard_reserved, node_labels, node_status
from kube.kubelet.runtime import Image
from tests.kubelet_node import NODE, FakeNode
from tests.unit.kubelet.seen import NOON

MACHINE = Machine(4, 8 * 2**30, 100 * 2**30, "amd64", "id", "uuid", "boot", "6.1", "Debian GNU/Linux 12 (bookworm)")
FACTS = NodeFacts(NODE, "192.168.0.1", MACHINE, "v0.1.0", port=10250, labels={"disk": "ssd"})


def status(problem: str = "", previous: NodeStatus | None = None, hour: int = 12) -> NodeStatus:
    return node_status(
        FACTS,
        engine_version="docker://20.10",
        problem=problem,
        images=[Image("sha256:1", ["a:1"], 10), Image("sha256:2", ["b:1"], 20)],
        previous=previous or NodeStatus(),
        moment=NOON.replace(hour=hour),
    )


def test_what_a_node_says_of_itself() -> None:
    found = status()
    assert found.capacity == {"cpu": "4", "memory": "8388608Ki", "pods": "110", "ephemeral-storage": "104857600Ki"}
    assert found.allocatable == found.capacity
    assert [(a.type, a.address) for a in found.addresses] == [("InternalIP", "192.168.0.1"), ("Hostname", NODE)]
    assert found.daemonEndpoints.kubeletEndpoint.Port == 10250
    assert (found.nodeInfo.containerRuntimeVersion, found.nodeInfo.kubeletVersion) == ("docker://20.10", "v0.1.0")
    assert [image.names for image in found.images] == [["b:1"], ["a:1"]]
    assert node_labels(FACTS) == {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": NODE,
        "disk": "ssd",
    }


def test_the_ready_condition_says_why_not_and_since_when() -> None:
    good = status()
    bad = status("container runtime is down: x", good, hour=13)
    ready = {c.type: c for c in good.conditions}["Ready"]
    assert (ready.status, ready.reason, ready.message) == ("True", "KubeletReady", "kubelet is posting ready status")
    ready = {c.type: c for c in bad.conditions}["Ready"]
    assert (ready.status, ready.reason, ready.message) == ("False", "KubeletNotReady", "container runtime is down: x")
    assert ready.lastTransitionTime == ready.lastHeartbeatTime == NOON.replace(hour=13)
    pressure = {c.type: c for c in bad.conditions}["MemoryPressure"]
    assert (pressure.status, pressure.lastTransitionTime, pressure.lastHeartbeatTime) == (
        "False", NOON, NOON.replace(hour=13),
    )  # fmt: skip


def test_what_is_running_out_is_a_condition_with_its_reason() -> None:
    found = node_status(
        FACTS, engine_version="", problem="", pressures=["DiskPressure"], images=[], previous=status(), moment=NOON
    )
    conditions = {c.type: (c.status, c.reason, c.message) for c in found.conditions}
    assert conditions["DiskPressure"] == ("True", "KubeletHasDiskPressure", "kubelet has disk pressure")
    assert conditions["MemoryPressure"] == (
        "False",
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
    )


def test_what_is_reserved_is_not_for_pods() -> None:
    wanted = thresholds("memory.available<100Mi,nodefs.available<10%")
    reserved = ({"cpu": "200m", "memory": "1Gi"}, {"cpu": "300m"}, hard_reserved(wanted, FACTS))
    found = allocatable(dataclasses.replace(FACTS, reserved=reserved))
    assert (found["cpu"], found["pods"]) == ("3500m", "110")
    assert quantity.integer(found["memory"]) == 7 * 2**30 - 100 * 2**20
    assert quantity.integer(found["ephemeral-storage"]) == 90 * 2**30


def test_others_conditions_and_resources_are_kept() -> None:
    previous = NodeStatus(conditions=[NodeCondition(type="Theirs", status="True")], capacity={"example.com/x": "3"})
    found = status(previous=previous)
    assert found.conditions[0].type == "Theirs"
    assert found.capacity["example.com/x"] == "3"


def test_this_machine_can_be_inspected() -> None:
    found = machine.inspect(Path("/var/lib/no/such/directory"))
    assert found.cpus > 0
    assert found.memory > 2**20
    assert found.disk > 2**20
    assert found.kernel


@asynccontextmanager
async def reporting(
    node: FakeNode, *, register: bool = True, was_given_up: Callable[[], None] = lambda: None
) -> AsyncIterator[NodeAgent]:
    agent = NodeAgent(node.api, node.runtime, node.recorder, FACTS, register=register, was_given_up=was_given_up)
    task = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def is_ready(node: Node) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)


async def until_ready(node: FakeNode, wanted: bool = True, within: float = 60) -> Node:
    async with asyncio.timeout(within):
        while True:
            for found in (await node.api.list(Node)).items:
                if is_ready(found) == wanted:
                    return found
            await asyncio.sleep(0.1)


@pytest.mark.looptime
async def test_a_node_registers_itself_and_beats(node: FakeNode) -> None:
    async with reporting(node):
        registered = await until_ready(node, within=1)
        assert registered.metadata.labels["disk"] == "ssd"
        assert registered.status.nodeInfo.containerRuntimeVersion == "fake://0.0.0"
        node.api.writes.clear()
        await asyncio.sleep(60)
    lease = await node.api.get(Lease, NODE, "kube-node-lease")
    assert lease.spec.holderIdentity == NODE
    assert "NodeReady" in node.recorder.reasons()
    renewals = [path for _, path in node.api.writes if "leases" in path]
    assert 5 <= len(renewals) <= 7


@pytest.mark.looptime
async def test_a_status_that_says_nothing_new_is_written_every_five_minutes(node: FakeNode) -> None:
    def written() -> int:
        return node.api.writes.count(("PUT", f"/api/v1/nodes/{NODE}/status"))

    async with reporting(node):
        await until_ready(node)
        first = written()
        await asyncio.sleep(280)
        assert written() == first
        await asyncio.sleep(300)
        assert written() == first + 1
        node.runtime.images["new:latest"] = Program()
        await asyncio.sleep(15)
        assert written() == first + 2


@pytest.mark.looptime
async def test_a_node_that_was_deleted_is_registered_again(node: FakeNode) -> None:
    async with reporting(node):
        first = await until_ready(node)
        await node.api.delete(Node, NODE)
        second = await until_ready(node, within=15)
    assert first.metadata.uid != second.metadata.uid


@pytest.mark.looptime
async def test_an_engine_that_dies_makes_the_node_not_ready_soon(node: FakeNode) -> None:
    async with reporting(node):
        await until_ready(node)
        node.runtime.kill_engine()
        bad = await until_ready(node, wanted=False, within=3)
        ready = {c.type: c for c in bad.status.conditions}["Ready"]
        assert ready.message == "container runtime is down: the engine does not answer: the fake one is down"
        node.runtime.start_engine()
        await until_ready(node, within=3)
    assert node.recorder.reasons().count("NodeNotReady") == 1


@pytest.mark.looptime
async def test_while_the_apiserver_is_away_it_is_tried_again(node: FakeNode) -> None:
    node.api.down = True
    async with reporting(node):
        await asyncio.sleep(30)
        node.api.down = False
        await until_ready(node, within=2)


@pytest.mark.looptime
async def test_a_lease_that_cannot_be_renewed_is_tried_again_soon(node: FakeNode) -> None:
    """Not only when it is due again: two renewals that are missed in a row, and the node is given up."""
    async with reporting(node):
        await until_ready(node)
        await asyncio.sleep(9.5)
        node.api.down = True
        await asyncio.sleep(3)
        node.api.down = False
        node.api.writes.clear()
        await asyncio.sleep(3.5)
    assert [path for _, path in node.api.writes if "leases" in path]


@pytest.mark.looptime
async def test_a_node_that_was_given_up_says_that_it_lives_and_tells_of_it(node: FakeNode) -> None:
    told: list[float] = []
    async with reporting(node, was_given_up=lambda: told.append(asyncio.get_running_loop().time())):
        silent = (await until_ready(node)).clone()
        assert told == []
        for each in silent.status.conditions:
            each.status = "Unknown"
        await node.api.update(silent, "status")
        await until_ready(node, within=11)
        await asyncio.sleep(60)
    assert len(told) == 1


@pytest.mark.looptime
async def test_a_node_that_must_not_register_waits_for_its_node(node: FakeNode) -> None:
    async with reporting(node, register=False):
        await asyncio.sleep(30)
        assert not (await node.api.list(Node)).items
        await node.api.create(Node.parse({"metadata": {"name": NODE}}))
        found = await until_ready(node, within=2)
    assert "kubernetes.io/arch" not in found.metadata.labels


@pytest.mark.looptime
async def test_labels_that_a_user_put_on_the_node_stay(node: FakeNode) -> None:
    await node.api.create(Node.parse({"metadata": {"name": NODE, "labels": {"mine": "x", "disk": "old"}}}))
    async with reporting(node):
        found = await until_ready(node)
    assert (found.metadata.labels["mine"], found.metadata.labels["disk"]) == ("x", "ssd")


@pytest.mark.looptime
async def test_the_node_is_looked_at_anew_when_that_matters(node: FakeNode) -> None:
    async with reporting(node) as agent:
        await until_ready(node)
        await asyncio.sleep(1)
        await node.api.patch(Node, NODE, "", {"metadata": {"labels": {"disk": "hdd"}}})
        assert agent.node is not None
        assert agent.node.metadata.labels["disk"] == "ssd"
        fresh = await agent.look()
        assert fresh is not None
        assert fresh.metadata.labels["disk"] == "hdd"
        node.api.down = True
        assert await agent.look() is fresh  # nobody says how it is
