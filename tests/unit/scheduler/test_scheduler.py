"""The loop over the store in memory, with an API that fails, lies and is late, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from kube.api import errors
from kube.api.core import ContainerPort, Event, Node, Pod
from kube.api.meta import Object
from kube.client.events import EventRecorder
from kube.client.informer import Informers
from kube.client.source import EtcdSources, Sources
from kube.scheduler import configuration, plugins
from kube.scheduler.framework import Filter, Profile
from kube.scheduler.nodeinfo import NodeInfo
from kube.scheduler.plugins import Context
from kube.scheduler.podinfo import PodInfo
from kube.scheduler.server import Parts, build
from tests.lagging import LaggingSources
from tests.memory_api import MemoryApi
from tests.objects import node, pod

pytestmark = pytest.mark.looptime


@dataclass
class Cluster:
    api: MemoryApi
    parts: Parts

    async def pods(self) -> dict[str, str]:
        """Where each pod is."""
        return {each.name: each.spec.nodeName for each in (await self.api.list(Pod)).items}

    async def events(self, reason: str) -> list[str]:
        return sorted(e.message for e in (await self.api.list(Event)).items if e.reason == reason)


def running(api: MemoryApi, name: str = "default-scheduler") -> contextlib.AbstractAsyncContextManager[Cluster]:
    """A scheduler, started after whatever is in the API already."""
    return running_with(api, configuration.built_in(name), name)


@contextlib.asynccontextmanager
async def running_with(
    api: MemoryApi, settings: configuration.Settings, name: str = "default-scheduler", sources: Sources | None = None
) -> AsyncIterator[Cluster]:
    """One with other settings, or that reads from elsewhere."""
    informers = Informers(sources or EtcdSources(api.store))
    recorder = EventRecorder(api, name)
    parts = build(api, informers, recorder, settings, seed=1)
    tasks = [asyncio.ensure_future(informers.run()), asyncio.ensure_future(recorder.run())]
    await informers.synced()
    tasks.append(asyncio.ensure_future(parts.scheduler.run()))
    try:
        yield Cluster(api, parts)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


async def settle(seconds: float = 1.0) -> None:
    """Let virtual time pass."""
    await asyncio.sleep(seconds)


async def create(api: MemoryApi, *objects: Object) -> None:
    for each in objects:
        await api.create(each)


async def test_pods_are_bound_and_told_of(api: MemoryApi) -> None:
    await create(api, node("n1"), pod("before"))
    async with running(api) as cluster:
        await create(api, pod("after"))
        await settle()
        assert await cluster.pods() == {"before": "n1", "after": "n1"}
        assert "Successfully assigned default/after to n1" in await cluster.events("Scheduled")


async def test_a_pod_that_fits_nowhere_says_why_and_is_placed_when_a_node_comes(api: MemoryApi) -> None:
    await create(api, node("small", cpu="1"), pod("big", requests={"cpu": "2"}))
    async with running(api) as cluster:
        await settle()
        (condition,) = (await api.get(Pod, "big", "default")).status.conditions
        words = (
            "0/1 nodes are available: 1 Insufficient cpu. "
            "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        )
        assert (condition.type, condition.status, condition.reason) == ("PodScheduled", "False", "Unschedulable")
        assert condition.message == words
        assert await cluster.events("FailedScheduling") == [words]
        await create(api, node("large", cpu="4"))
        await settle(2)
        assert await cluster.pods() == {"big": "large"}


async def test_a_pod_that_fits_nowhere_blocks_nobody_and_its_status_is_written_once(api: MemoryApi) -> None:
    await create(api, node("n", cpu="1"), pod("big", requests={"cpu": "2"}))
    async with running(api) as cluster:
        for number in range(5):
            await create(api, pod(f"small-{number}"))
            await settle()
        assert (await cluster.pods()).pop("big") == ""
        assert list((await cluster.pods()).values()).count("n") == 5
        assert [verb for verb, _, key in api.writes if key == "default/big"] == ["create", "update status"]


async def test_room_that_a_pod_leaves_is_given_to_the_one_that_waits(api: MemoryApi) -> None:
    leaving = pod("first", node="n", requests={"cpu": "1"})
    await create(api, node("n", cpu="1"), leaving, pod("second", requests={"cpu": "1"}))
    async with running(api) as cluster:
        await settle(5)
        assert (await cluster.pods())["second"] == ""
        await api.delete(Pod, "first", "default", grace_period=0)
        await settle(0.5)
        assert await cluster.pods() == {"second": "n"}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_a_pod_that_has_ended_takes_no_room(api: MemoryApi, phase: str) -> None:
    await create(api, node("n", cpu="1"), pod("done", node="n", phase=phase, requests={"cpu": "1"}))
    await create(api, pod("next", requests={"cpu": "1"}))
    async with running(api) as cluster:
        await settle()
        assert (await cluster.pods())["next"] == "n"


async def test_pods_of_other_schedulers_and_pods_that_go_are_left_alone(api: MemoryApi) -> None:
    theirs, going, gated = pod("theirs"), pod("going", deleting=True), pod("gated")
    theirs.spec.schedulerName = "mine"
    gated = Pod.parse({**gated.to_dict(), "spec": {**gated.spec.to_dict(), "schedulingGates": [{"name": "wait"}]}})
    going.metadata.finalizers = ["example.com/wait"]
    await create(api, node("n"), theirs, going, gated)
    async with running(api) as cluster:
        await settle()
        assert set((await cluster.pods()).values()) == {""}


async def test_one_host_port_is_given_to_one_pod_a_node(api: MemoryApi) -> None:
    port = ContainerPort(hostPort=8080, containerPort=80)
    await create(api, node("a"), node("b"), *[pod(f"p{i}", ports=[port]) for i in range(3)])
    async with running(api) as cluster:
        await settle()
        assert sorted((await cluster.pods()).values()) == ["", "a", "b"]


def once(verb: str, why: Exception, times: int = 1) -> Callable[[str, type[Object], str], Exception | None]:
    """A fault of so many requests of a verb."""
    left = [times]

    def fault(asked: str, model: type[Object], key: str) -> Exception | None:
        if asked != verb or not left[0]:
            return None
        left[0] -= 1
        return why

    return fault


GONE_DARK = errors.ServiceUnavailable("cannot reach the apiserver")


@pytest.mark.parametrize("late", [pytest.param(0.0, id="seen at once"), pytest.param(2.0, id="seen late")])
async def test_a_binding_whose_answer_was_lost_is_no_second_binding_and_is_told(api: MemoryApi, late: float) -> None:
    await create(api, node("a"), node("b"))
    api.fail_after = once("bind", GONE_DARK)
    sources = LaggingSources(EtcdSources(api.store), 1, lag=late, cut=1000)
    async with running_with(api, configuration.built_in("default-scheduler"), sources=sources) as cluster:
        await create(api, pod("p"))
        await settle(5)
        assert [verb for verb, _, _ in api.writes].count("bind") == 1
        where = (await cluster.pods())["p"]
        assert where in ("a", "b")
        assert await cluster.events("Scheduled") == [f"Successfully assigned default/p to {where}"]


async def test_while_the_api_is_away_room_stays_taken_and_then_the_binding_is_written(api: MemoryApi) -> None:
    await create(api, node("n", cpu="1"))
    api.fail_before = once("bind", GONE_DARK, times=4)
    async with running(api) as cluster:
        await create(api, pod("p", requests={"cpu": "1"}))
        await settle(0.2)
        await create(api, pod("q", requests={"cpu": "1"}))
        await settle(10)
        assert await cluster.pods() == {"p": "n", "q": ""}


class Overtaken(MemoryApi):
    """Somebody else binds the first pod a moment earlier."""

    async def bind(self, pod: Pod, node: str) -> None:
        if pod.name == "p":
            await super().bind(pod, "theirs")
        await super().bind(pod, node)


async def test_after_a_conflict_the_pod_counts_where_it_is() -> None:
    """Their node counts it, ours does not, and nobody waits for the watch to say so."""
    api = Overtaken()
    await create(api, node("ours", cpu="1"), node("theirs", cpu="1", unschedulable=True))
    async with running(api) as cluster:
        await create(api, pod("p", requests={"cpu": "1"}), pod("q", requests={"cpu": "1"}))
        await settle(1.5)
        assert await cluster.pods() == {"p": "theirs", "q": "ours"}


async def test_a_conflict_without_a_cause_is_tried_again_at_once(api: MemoryApi) -> None:
    await create(api, node("n"))
    api.fail_before = once("bind", errors.conflict("pods", "p"))
    async with running(api) as cluster:
        await create(api, pod("p"))
        await settle(0.1)
        assert await cluster.pods() == {"p": "n"}


async def test_a_refused_binding_is_told_and_tried_again(api: MemoryApi) -> None:
    await create(api, node("n"))
    api.fail_before = once("bind", errors.Forbidden("no"))
    async with running(api) as cluster:
        await create(api, pod("p"))
        await settle(0.5)
        (condition,) = (await api.get(Pod, "p", "default")).status.conditions
        words = 'running Bind plugin "DefaultBinder": no'
        assert (condition.status, condition.reason, condition.message) == ("False", "SchedulerError", words)
        await settle(5)
        assert await cluster.pods() == {"p": "n"}
        assert await cluster.events("FailedScheduling") == [words]


async def test_a_scheduler_that_is_killed_and_started_again_never_over_commits(api: MemoryApi) -> None:
    await create(api, *[node(f"n{i}", cpu="2") for i in range(3)])
    await create(api, *[pod(f"p{i}", requests={"cpu": "1"}) for i in range(10)])
    for after in (0.0, 0.0, 0.001, 5.0):
        async with running(api):
            await settle(after)
    placed = [each.spec.nodeName for each in (await api.list(Pod)).items if each.spec.nodeName]
    assert sorted(placed) == ["n0", "n0", "n1", "n1", "n2", "n2"]


async def test_a_node_that_goes_dark_gets_no_more_pods(api: MemoryApi) -> None:
    await create(api, node("n"))
    async with running(api) as cluster:
        dark = await api.get(Node, "n")
        dark.status.conditions[0].status = "Unknown"
        await api.update(dark, "status")
        await create(api, pod("p"))
        await settle()
        assert await cluster.events("FailedScheduling") == [
            "0/1 nodes are available: 1 node(s) were not ready. "
            "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ]


class Forgetful(MemoryApi):
    """Says that it has bound the first pod, and has not."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, float]] = []

    async def bind(self, pod: Pod, node: str) -> None:
        self.asked.append((pod.name, asyncio.get_running_loop().time()))
        if len(self.asked) > 1:
            await super().bind(pod, node)


async def test_an_assumed_pod_whose_binding_never_shows_is_given_up_and_tried_again() -> None:
    api = Forgetful()
    await create(api, node("n", cpu="1"))
    async with running(api) as cluster:
        await create(api, pod("p", requests={"cpu": "1"}))
        await settle(29)
        assert cluster.parts.cache.node_of("default/p") == "n", "its room is taken meanwhile"
        assert await cluster.pods() == {"p": ""}
        await settle(5)
        assert await cluster.pods() == {"p": "n"}
    (_, first), (_, second) = api.asked
    assert 30 <= second - first <= 32


async def test_schedulers_of_several_names_work_side_by_side_each_on_its_own(api: MemoryApi) -> None:
    await create(api, node("a"), node("b"))
    async with running(api), running(api, "mine"), running(api, "theirs"):
        for number, name in enumerate(("", "mine", "theirs", "nobody's") * 3):
            asking = pod(f"p{number}-{name}")
            asking.spec.schedulerName = name
            await create(api, asking)
        await settle(3)
    waiting = [each.spec.schedulerName for each in (await api.list(Pod)).items if not each.spec.nodeName]
    assert waiting == ["nobody's"] * 3
    assert [verb for verb, _, _ in api.writes].count("bind") == 9, "nobody was in another's way"
    told = [(e.source.component, e.involvedObject.name) for e in (await api.list(Event)).items]
    assert len(told) == 9
    assert all(name.endswith(f"-{'' if who == 'default-scheduler' else who}") for who, name in told)


class Fragile(Filter):
    """Somebody's plug-in, which did not think of every pod, nor of every node."""

    name = "Fragile"

    def sign(self, pod: PodInfo) -> str:
        return pod.cls.labels.get("limit", "0")

    def check(self, pod: PodInfo, node: NodeInfo) -> str | None:
        most = int(node.known.metadata.labels.get("most", "10"))
        return "node(s) had enough" if int(self.sign(pod)) > most else None


def fragile(context: Context) -> list[Profile]:
    built_in = plugins.default_profile(context)
    return [Profile(built_in.scheduler_name, (*built_in.filters, Fragile()), built_in.scores)]


async def test_a_plug_in_that_fails_for_one_pod_stops_no_other(api: MemoryApi) -> None:
    await create(api, node("n"))
    async with running_with(api, configuration.Settings(fragile)) as cluster:
        await create(api, pod("odd", labels={"limit": "much"}), pod("p"))
        await settle(3)
        assert await cluster.pods() == {"odd": "", "p": "n"}
        (condition,) = (await api.get(Pod, "odd", "default")).status.conditions
        assert (condition.status, condition.reason) == ("False", "SchedulerError")
        assert condition.message.startswith("ValueError: invalid literal for int()")
        assert await cluster.events("FailedScheduling") == [condition.message]
        assert cluster.parts.queue.attempts("default/odd") > 1, "it is tried again"


async def test_a_plug_in_that_fails_for_one_node_does_not_stop_the_watch(api: MemoryApi) -> None:
    await create(api, node("n"))
    async with running_with(api, configuration.Settings(fragile)) as cluster:
        await create(api, pod("waits", labels={"limit": "20"}))
        await settle(3)
        await create(api, node("odd", labels={"most": "many"}))
        await settle(3)
        there = await api.get(Node, "odd")
        there.metadata.labels = {"most": "30"}
        await api.update(there)
        await settle(12)
        assert await cluster.pods() == {"waits": "odd"}


def packing_and_default(context: Context) -> list[Profile]:
    return [plugins.default_profile(context), plugins.default_profile(context, "packing")]


async def test_each_profile_of_a_scheduler_tells_events_in_its_own_name(api: MemoryApi) -> None:
    await create(api, node("n", cpu="1"))
    async with running_with(api, configuration.Settings(packing_and_default)):
        for scheduler in ("default-scheduler", "packing"):
            for name, cpu in (("small", "100m"), ("big", "2")):
                asking = pod(f"{name}-{scheduler}", requests={"cpu": cpu})
                asking.spec.schedulerName = scheduler
                await create(api, asking)
        await settle(3)
    told = {(e.involvedObject.name, e.source.component) for e in (await api.list(Event)).items}
    assert told == {(f"{n}-{s}", s) for n in ("small", "big") for s in ("default-scheduler", "packing")}
