"""One kubelet for one name."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kube import daemon
from kube.api.coordination import Lease, LeaseSpec
from kube.api.core import Node
from kube.api.meta import ObjectMeta
from kube.kubelet import claim
from kube.kubelet.node import LEASE_NAMESPACE, NodeFacts
from tests.kubelet_node import FakeNode
from tests.unit.kubelet.test_node import FACTS

pytestmark = pytest.mark.looptime


def test_a_name_is_held_for_one_engine_until_it_is_let_go_of(tmp_path: Path) -> None:
    engine, other = str(tmp_path / "a.sock"), str(tmp_path / "b.sock")
    taken = pytest.raises(daemon.Fatal, match="another kubelet on this machine is the node web already")
    with claim.held("web", engine), claim.held("web", other), claim.held("db", engine), taken:
        claim.held("web", engine).__enter__()
    with claim.held("web", engine):
        pass


async def registered(node: FakeNode, *, ip: str, machine_id: str) -> None:
    made = await node.api.create(Node(metadata=ObjectMeta(name=FACTS.name)))
    made = Node.parse({**made.to_dict(), "status": {
        "addresses": [{"type": "InternalIP", "address": ip}], "nodeInfo": {"machineID": machine_id},
    }})  # fmt: skip
    await node.api.update(made, "status")
    spec = LeaseSpec(holderIdentity=FACTS.name, leaseDurationSeconds=40, renewTime=datetime.now(UTC))
    await node.api.create(Lease(metadata=ObjectMeta(name=FACTS.name, namespace=LEASE_NAMESPACE), spec=spec))


async def renewing(node: FakeNode) -> None:
    while True:
        await asyncio.sleep(10)
        lease = await node.api.get(Lease, FACTS.name, LEASE_NAMESPACE)
        lease = lease.clone()
        lease.spec.renewTime = datetime.now(UTC)
        await node.api.update(lease)


OTHER_IP = "192.168.0.99"


async def test_a_living_kubelet_on_another_machine_keeps_its_name(node: FakeNode) -> None:
    await registered(node, ip=OTHER_IP, machine_id="other")
    other = asyncio.create_task(renewing(node))
    with pytest.raises(daemon.Fatal, match=rf"belongs to a kubelet at {OTHER_IP}, which is alive"):
        await claim.refuse_a_second(node.api, FACTS)
    other.cancel()


async def test_a_dead_one_gives_it_up(node: FakeNode) -> None:
    await registered(node, ip=OTHER_IP, machine_id="other")
    begin = asyncio.get_running_loop().time()
    await claim.refuse_a_second(node.api, FACTS)
    assert asyncio.get_running_loop().time() - begin >= claim.PATIENCE


@pytest.mark.parametrize("facts", [FACTS, replace(FACTS, labels={"a": "b"})])
async def test_who_comes_back_does_not_wait(node: FakeNode, facts: NodeFacts) -> None:
    begin = asyncio.get_running_loop().time()
    await claim.refuse_a_second(node.api, facts)  # there is no such node yet
    await registered(node, ip=FACTS.ip, machine_id=FACTS.machine.machine_id)
    await claim.refuse_a_second(node.api, facts)
    assert asyncio.get_running_loop().time() - begin < 1


async def test_without_an_apiserver_the_kubelet_goes_on(node: FakeNode) -> None:
    node.api.down = True
    await claim.refuse_a_second(node.api, FACTS)
    node.api.down = False
