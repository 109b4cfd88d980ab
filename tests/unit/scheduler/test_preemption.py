"""Who has to go, and what is said and written about it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from kube.api import resources
from kube.api.core import ContainerPort, Event, Node, Pod, PodSpec, Taint, Toleration
from kube.api.meta import Object
from kube.scheduler.algorithm import Algorithm, Unschedulable
from kube.scheduler.cache import Cache
from kube.scheduler.plugins import Context, default_profile
from kube.scheduler.podinfo import PodInfo
from kube.scheduler.preemption import Preemption
from tests.memory_api import MemoryApi
from tests.objects import NOON, ago, container, node, pod
from tests.unit.scheduler.test_scheduler import GONE_DARK, create, once, running, settle


def ranked(
    name: str, priority: int, cpu: str = "1", on: str = "", started: datetime | None = NOON, **words: Any
) -> Pod:
    made = pod(name, requests={"cpu": cpu}, node=on, **words)
    made.spec.priority = priority
    made.status.startTime = started if on else None
    return made


def budget(allowed: int, app: str) -> Object:
    return resources.POD_DISRUPTION_BUDGETS.model.parse(
        {
            "metadata": {"name": app, "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": app}}},
            "status": {"disruptionsAllowed": allowed},
        }
    )


def victims(asking: Pod, *there: Pod, nodes: int = 1, budgets: tuple[Object, ...] = ()) -> tuple[str, list[str], str]:
    """The node, who goes from it, and what is said if nobody does. Nodes are n0, n1, … of 4 CPUs."""
    cache = Cache()
    for number in range(nodes):
        cache.set_node(node(f"n{number}"))
    for each in there:
        cache.set_pod(each)
    algorithm = Algorithm(cache, [default_profile(Context(cache))], seed=1)
    preemption = Preemption(cache, algorithm, lambda namespace: budgets)
    info = PodInfo.of(asking)
    with pytest.raises(Unschedulable) as refused:
        algorithm.choose(info)
    before = {each.name: dict(each.requested) for each in cache.nodes()}
    found = preemption.find(info, refused.value)
    assert {each.name: dict(each.requested) for each in cache.nodes()} == before, "only in thought"
    if found is None:
        return "", [], str(refused.value)
    return found.node, [each.pod.name for each in found.victims], str(refused.value)


def test_no_more_go_than_have_to_and_the_least_important_first() -> None:
    there = [ranked("a", 1, on="n0"), ranked("b", 2, on="n0"), ranked("c", 3, on="n0"), ranked("d", 1, on="n0")]
    there[3].status.startTime = ago(60)
    assert victims(ranked("p", 10, "1"), *there)[1] == ["a"], "of equals, the one that began last"
    assert victims(ranked("p", 10, "2"), *there)[1] == ["d", "a"]


def test_nobody_of_equal_or_higher_priority_goes() -> None:
    _, gone, said = victims(ranked("p", 5), ranked("a", 5, "4", on="n0"))
    assert gone == []
    assert said == (
        "0/1 nodes are available: 1 Insufficient cpu. "
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )


def test_where_it_cannot_help_it_is_not_tried() -> None:
    """A node that is too small as it is: UnschedulableAndUnresolvable upstream."""
    _, gone, said = victims(ranked("p", 5, "9"), ranked("a", 1, "4", on="n0"))
    assert gone == []
    assert said.endswith("preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.")


def test_who_is_left_may_still_be_in_the_way() -> None:
    _, gone, said = victims(ranked("p", 5, "4"), ranked("a", 1, on="n0"), ranked("b", 9, on="n0"))
    assert gone == []
    assert said.endswith("preemption: 0/1 nodes are available: 1 Insufficient cpu.")


def test_a_pod_that_never_preempts() -> None:
    asking = ranked("p", 5)
    asking.spec.preemptionPolicy = "Never"
    said = victims(asking, ranked("a", 1, "4", on="n0"))[2]
    assert (
        said == "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    )


@pytest.mark.parametrize(
    ("first", "second", "budgets"),
    [
        pytest.param([("a", 1)], [("b", 2)], (), id="the lowest of the highest priorities"),
        pytest.param([("a", 2), ("b", 1)], [("c", 2), ("d", 2)], (), id="the lowest sum"),
        pytest.param([("guarded", 2)], [("a", 2)], (budget(0, "guarded"),), id="no budget violated"),
    ],
)
def test_which_node(first: list[tuple[str, int]], second: list[tuple[str, int]], budgets: tuple[Object, ...]) -> None:
    better = first if not budgets else second

    def on(pods: list[tuple[str, int]], name: str) -> list[Pod]:
        cpu = str(4 // len(pods))
        return [ranked(each, priority, cpu, on=name, labels={"app": each}) for each, priority in pods]

    found, gone, _ = victims(
        ranked("p", 10, "4"), *on(first, "n0"), *on(second, "n1"), nodes=2, budgets=budgets
    )  # fmt: skip
    assert (found, gone) == ("n0" if better is first else "n1", [name for name, _ in better])


def test_of_those_on_a_node_the_guarded_are_kept_if_they_can_be() -> None:
    there = [
        ranked("guarded", 1, "2", on="n0", labels={"app": "guarded"}),
        ranked("free", 2, "2", on="n0", labels={"app": "free"}),
    ]
    assert victims(ranked("p", 10, "2"), *there, budgets=(budget(0, "guarded"),))[1] == ["free"]
    assert victims(ranked("p", 10, "2"), *there, budgets=(budget(1, "guarded"),))[1] == ["guarded"]


@pytest.mark.parametrize(
    ("selector", "disrupted"),
    [
        pytest.param(None, {}, id="no selector"),
        pytest.param({}, {}, id="an empty one"),
        pytest.param({"matchLabels": {}}, {}, id="an empty one in other words"),
        pytest.param({"matchLabels": "odd"}, {}, id="one that cannot be read"),
        pytest.param({"matchLabels": {"app": "a"}}, {"a": "2026-06-01T12:00:00Z"}, id="the pod is on its way out"),
    ],
)
def test_a_budget_guards_nobody_if(selector: object, disrupted: dict[str, str]) -> None:
    there = [
        ranked(name, 1, "2", on="n0", labels={"app": name}, started=ago(age)) for name, age in (("a", 0), ("b", 9))
    ]
    mute = resources.POD_DISRUPTION_BUDGETS.model.parse(
        {
            "metadata": {"name": "a", "namespace": "default"},
            "spec": {"selector": selector},
            "status": {"disruptionsAllowed": 0, "disruptedPods": disrupted},
        }
    )
    guarding = budget(0, "a")
    assert victims(ranked("p", 10, "2"), *there, budgets=(guarding,))[1] == ["b"]
    assert victims(ranked("p", 10, "2"), *there, budgets=(mute,))[1] == ["a"]


def test_what_pods_do_not_want_near_them_can_go_too() -> None:
    term = {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    spec = PodSpec.parse({"containers": [container().to_dict()], "affinity": affinity, "priority": 5})
    cache = Cache()
    cache.set_node(node("n0", labels={"kubernetes.io/hostname": "n0"}))
    cache.set_pod(ranked("a", 1, on="n0", labels={"app": "x"}))
    algorithm = Algorithm(cache, [default_profile(Context(cache))], seed=1)
    info = PodInfo.of(pod("p", spec=spec))
    with pytest.raises(Unschedulable) as refused:
        algorithm.choose(info)
    found = Preemption(cache, algorithm).find(info, refused.value)
    assert found is not None
    assert [victim.pod.name for victim in found.victims] == ["a"]


def test_a_host_port_can_be_taken_over() -> None:
    port = ContainerPort(hostPort=80, containerPort=80)
    asking = ranked("p", 5, ports=[port])
    assert victims(asking, ranked("a", 1, on="n0", ports=[port]), ranked("b", 1, on="n0"))[1] == ["a"]


@pytest.mark.looptime
async def test_room_is_made_kept_and_taken() -> None:
    """The victim is told why and goes in its own time; nobody of lower priority gets its room meanwhile."""
    api = MemoryApi()
    low, high, other = ranked("low", 1, "4"), ranked("high", 10, "4"), ranked("other", 5, "4")
    await create(api, node("n"), low)
    async with running(api) as cluster:
        await settle()
        assert await cluster.pods() == {"low": "n"}
        await create(api, high)
        await settle()
        victim = await api.get(Pod, "low", "default")
        assert victim.metadata.deletionTimestamp is not None
        (why,) = [c for c in victim.status.conditions if c.type == "DisruptionTarget"]
        assert (why.status, why.reason) == ("True", "PreemptionByScheduler")
        assert why.message == "default-scheduler: preempting to accommodate a higher priority pod"
        waiting = await api.get(Pod, "high", "default")
        assert waiting.status.nominatedNodeName == "n"
        assert await cluster.events("Preempted") == [f"Preempted by pod {waiting.metadata.uid} on node n"]
        await create(api, other)
        await settle(20)
        assert (await cluster.pods())["other"] == "", "the room is not for it"
        assert [verb for verb, _, key in api.writes if key == "default/low"].count("delete") == 1
        await api.delete(Pod, "low", "default", grace_period=0)
        await settle(12)
        assert await cluster.pods() == {"high": "n", "other": ""}


@pytest.mark.looptime
async def test_a_higher_one_yet_takes_over_the_nomination() -> None:
    api = MemoryApi()
    await create(api, node("n"), ranked("low", 1, "4", on="n"))
    async with running(api) as cluster:
        await create(api, ranked("high", 10, "4"))
        await settle()
        await create(api, ranked("higher", 20, "4"))
        await settle()
        await api.delete(Pod, "low", "default", grace_period=0)
        await settle(12)
        assert await cluster.pods() == {"high": "", "higher": "n"}


@pytest.mark.looptime
async def test_a_scheduler_that_is_killed_after_it_made_room_finds_its_nomination() -> None:
    api = MemoryApi()
    await create(api, node("n"), ranked("low", 1, "4", on="n"), ranked("high", 10, "4"))
    async with running(api):
        await settle()
    await api.delete(Pod, "low", "default", grace_period=0)
    await create(api, ranked("a-lower", 5, "4"))
    async with running(api) as cluster:
        await settle(12)
        assert await cluster.pods() == {"a-lower": "", "high": "n"}
    assert not [e for e in (await api.list(Event)).items if e.reason == "Preempted" and e.involvedObject.name != "low"]


@pytest.mark.looptime
async def test_room_that_a_pod_cannot_take_after_all_is_not_kept_for_it() -> None:
    """Upstream clears nominatedNodeName when no node is found to make room on."""
    api = MemoryApi()
    high, other = ranked("high", 10, "4"), ranked("other", 5, "4")
    high.spec.nodeSelector = {"disk": "ssd"}
    await create(api, node("n", labels={"disk": "ssd"}), ranked("low", 1, "4", on="n"), high)
    async with running(api) as cluster:
        await settle(5)
        there = await api.get(Node, "n")
        there.metadata.labels = {}
        await api.update(there)
        await create(api, other)
        await settle(5)
        await api.delete(Pod, "low", "default", grace_period=0)
        await settle(12)
        assert await cluster.pods() == {"high": "", "other": "n"}
        waiting = await api.get(Pod, "high", "default")
        assert waiting.status.nominatedNodeName == ""
        (condition,) = waiting.status.conditions
        assert condition.message.startswith("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity")


@pytest.mark.looptime
@pytest.mark.parametrize("gone", [True, False], ids=["is gone", "is cordoned"])
async def test_who_was_to_go_to_a_node_that_cannot_take_it_any_more_makes_room_elsewhere(gone: bool) -> None:
    """Upstream: "If the pod's nominated node is considered as UnschedulableAndUnresolvable by the filters, then the pod
    should be considered for preempting again." Whoever was asked to go from the first may take for ever to.
    """
    api = MemoryApi()
    await create(api, node("first"), ranked("low", 1, "4", on="first"), ranked("high", 10, "4"))
    async with running(api) as cluster:
        await settle(5)
        await create(api, ranked("also-low", 1, "4", on="second"), node("second"))
        await settle(5)
        assert (await api.get(Pod, "high", "default")).status.nominatedNodeName == "first"
        if gone:
            await api.delete(Node, "first")
        else:
            there = await api.get(Node, "first")
            there.spec.unschedulable = True
            await api.update(there)
        await settle(12)
        assert (await api.get(Pod, "high", "default")).status.nominatedNodeName == "second"
        await api.delete(Pod, "also-low", "default", grace_period=0)
        await settle(12)
        assert (await cluster.pods())["high"] == "second"


@pytest.mark.looptime
async def test_a_pod_of_the_same_name_does_not_wait_for_those_that_another_asked_to_go() -> None:
    api = MemoryApi()
    await create(api, node("n"), ranked("low", 1, "4", on="n"), ranked("high", 10, "4"))
    async with running(api):
        await settle()
        await api.delete(Pod, "high", "default")
        await create(api, ranked("also-low", 1, "4", on="m"), node("m"))
        await settle()
        again = ranked("high", 10, "4")
        again.spec.nodeSelector = {"only": "m"}
        there = await api.get(Node, "m")
        there.metadata.labels = {"only": "m"}
        await api.update(there)
        await create(api, again)
        await settle(3)
        assert (await api.get(Pod, "high", "default")).status.nominatedNodeName == "m"


@pytest.mark.looptime
async def test_victims_that_could_not_be_asked_are_asked_again() -> None:
    api = MemoryApi()
    await create(api, node("n"), ranked("low", 1, "4", on="n"))
    api.fail_before = once("delete", GONE_DARK)
    async with running(api) as cluster:
        await create(api, ranked("high", 10, "4"))
        await settle(3)
        assert f"0/1 nodes are available: 1 Insufficient cpu. preemption: {GONE_DARK}" in await cluster.events(
            "FailedScheduling"
        )
        assert (await api.get(Pod, "low", "default")).metadata.deletionTimestamp is not None
        assert (await api.get(Pod, "high", "default")).status.nominatedNodeName == "n"


@pytest.mark.looptime
async def test_room_that_a_pod_leaves_to_others_wakes_them() -> None:
    """It waits for its room on one node, and gets it on another."""
    taint = Taint(key="k", value="v", effect="NoSchedule")
    high = ranked("high", 10, "4")
    high.spec.tolerations = [Toleration(key="k", operator="Exists")]
    api = MemoryApi()
    await create(api, node("n"), node("m", cpu="1", taints=[taint]), ranked("low", 1, "3", on="n"), high)
    async with running(api) as cluster:
        await settle()
        await create(api, ranked("other", 5, "1"))
        await settle(30)
        assert (await cluster.pods())["other"] == "", "the room is not for it"
        there = await api.get(Node, "m")
        there.status.allocatable = {**there.status.allocatable, "cpu": "4"}
        await api.update(there, "status")
        await settle(12)
        assert await cluster.pods() == {"low": "n", "high": "m", "other": "n"}
