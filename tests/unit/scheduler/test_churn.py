"""Nodes and pods come and go, the scheduler's view is late and broken off, and it is killed between any two steps.

What must hold at every binding: no node gives away more than it has, and no two of its pods hold one host port. What
must hold at the end: every pod that some node could take has one, and every other says why it has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import Any

import pytest

from kube.api import errors
from kube.api.core import ContainerPort, Node, Pod
from kube.client.events import EventRecorder
from kube.client.informer import Informers
from kube.client.source import EtcdSources
from kube.scheduler.podinfo import amounts, host_ports, pod_requests
from kube.scheduler.server import build
from tests.lagging import LaggingSources
from tests.memory_api import MemoryApi
from tests.objects import node, pod

pytestmark = pytest.mark.looptime

STEPS = 40


class Watchful(MemoryApi):
    """Looks at the node whenever a pod is bound to it."""

    async def bind(self, pod: Pod, node: str) -> None:
        await super().bind(pod, node)
        try:
            there = await self.get(Node, node)
        except errors.NotFound:
            return  # it went away while the scheduler did not know
        here = [each for each in (await self.list(Pod)).items if each.spec.nodeName == node]
        offered = amounts(there.status.allocatable)
        asked: Counter[str] = Counter(pods=len(here))
        for each in here:
            asked.update(pod_requests(each))
        over = {name: amount for name, amount in asked.items() if amount > offered.get(name, 0)}
        assert not over, f"{node} gives away more than it has: {over}"
        ports = [port for each in here for port in host_ports(each)]
        assert len(ports) == len(set(ports)), f"two pods of {node} hold one port"


@contextlib.asynccontextmanager
async def scheduler(api: MemoryApi, seed: int, *, lag: float) -> Any:
    """One that sees everything late, until the block is left: it is then cut off wherever it is."""
    informers = Informers(LaggingSources(EtcdSources(api.store), seed, lag=lag))
    recorder = EventRecorder(api, "default-scheduler")
    parts = build(api, informers, recorder, seed=seed)

    async def work() -> None:
        await informers.synced()
        await parts.scheduler.run()

    tasks = [asyncio.ensure_future(each) for each in (informers.run(), recorder.run(), work())]
    try:
        yield parts
        for task in tasks:
            assert not task.done(), task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def asking(rng: random.Random, number: int) -> Pod:
    ports = [ContainerPort(hostPort=80, containerPort=80)] if rng.random() < 0.2 else []
    made = pod(f"p{number}", requests={"cpu": rng.choice(["500m", "1", "2"])}, ports=ports)
    made.spec.priority = rng.choice([0, 0, 0, 10])
    return made


async def churn(api: MemoryApi, rng: random.Random) -> None:
    """Pods and nodes come and go, and some pods are taken away that have just been given a node."""
    for number in range(STEPS):
        match rng.randrange(6):
            case 0:
                with contextlib.suppress(errors.AlreadyExists):
                    await api.create(node(f"n{rng.randrange(5)}", cpu="4"))
            case 1:
                with contextlib.suppress(errors.NotFound):
                    await api.delete(Pod, f"p{rng.randrange(number + 1)}", "default", grace_period=0)
            case 2 if number % 4 == 0:
                name = f"n{rng.randrange(5)}"
                if not [each for each in (await api.list(Pod)).items if each.spec.nodeName == name]:
                    with contextlib.suppress(errors.NotFound):
                        await api.delete(Node, name)
            case _:
                with contextlib.suppress(errors.AlreadyExists):
                    await api.create(asking(rng, number))
        await asyncio.sleep(rng.uniform(0, 0.5))


async def end_victims(api: MemoryApi) -> None:
    """Play the kubelets: a pod that was asked to go is gone a moment later."""
    while True:
        for each in (await api.list(Pod)).items:
            if each.metadata.deletionTimestamp is not None:
                with contextlib.suppress(errors.NotFound):
                    await api.delete(Pod, each.name, "default", grace_period=0)
        await asyncio.sleep(2)


@pytest.mark.parametrize("seed", range(3))
async def test_under_churn_with_a_late_view_and_a_scheduler_that_is_killed(seed: int) -> None:
    rng = random.Random(seed)
    api = Watchful()
    lost = random.Random(seed + 100)

    def lose(verb: str, model: Any, key: str) -> Exception | None:
        """One binding in ten takes effect, and nobody is told."""
        return errors.ServiceUnavailable("lost") if verb == "bind" and lost.random() < 0.1 else None

    api.fail_after = lose
    kubelets = asyncio.ensure_future(end_victims(api))
    changing = asyncio.ensure_future(churn(api, rng))
    life = 0
    while not changing.done():
        life += 1
        async with scheduler(api, seed + life, lag=1.0):
            await asyncio.sleep(rng.uniform(0.5, 6))
    await changing
    async with scheduler(api, seed, lag=0.2):
        await asyncio.sleep(60)  # longer than any back-off: what can help wakes, not the timer of five minutes
    kubelets.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await kubelets
    await check_the_end(api)


async def check_the_end(api: MemoryApi) -> None:
    pods, nodes = (await api.list(Pod)).items, (await api.list(Node)).items
    free = {each.name: Counter(amounts(each.status.allocatable)) for each in nodes}
    taken: set[tuple[str, int]] = set()
    for each in pods:
        if each.spec.nodeName in free:
            free[each.spec.nodeName].subtract({**pod_requests(each), "pods": 1})
            taken.update((each.spec.nodeName, port) for _, _, port in host_ports(each))
    for each in pods:
        if each.spec.nodeName:
            continue
        asks, ports = pod_requests(each), host_ports(each)
        could = [
            name
            for name, left in free.items()
            if all(left[resource] >= amount for resource, amount in {**asks, "pods": 1}.items())
            and not any((name, port) in taken for _, _, port in ports)
        ]
        assert not could, f"{each.key} waits, and {could} could take it"
        (condition,) = [c for c in each.status.conditions if c.type == "PodScheduled"]
        assert (condition.status, condition.reason) == ("False", "Unschedulable")
        assert condition.message.startswith(f"0/{len(nodes)} nodes are available: " if nodes else "no nodes available")
