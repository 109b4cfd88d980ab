"""What wakes a pod that waits: whatever can help it, also by turns, and also what helps it to push others out.

In virtual time, and each time within the longest back-off: long before the timer of five minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kube.api import errors
from kube.api.core import Namespace, Node, Pod, PodSpec, Taint
from kube.api.meta import ObjectMeta
from kube.client.source import EtcdSources
from kube.scheduler import configuration, plugins
from kube.scheduler.configuration import Settings
from kube.scheduler.framework import Filter, Profile
from kube.scheduler.nodeinfo import NodeInfo
from kube.scheduler.plugins import Context
from kube.scheduler.podinfo import PodInfo
from tests.lagging import LaggingSources
from tests.memory_api import MemoryApi
from tests.objects import container, node, pod
from tests.unit.scheduler.test_preemption import ranked
from tests.unit.scheduler.test_scheduler import create, running, running_with, settle

pytestmark = pytest.mark.looptime

WOKEN = 10.5
"""Seconds after which a pod that was woken has been tried, whatever its back-off."""

TAINT = Taint(key="k", value="v", effect="NoSchedule")


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


async def change(api: MemoryApi, name: str, how: Callable[[Node], None], subresource: str = "") -> None:
    there = await api.get(Node, name)
    how(there)
    await api.update(there, subresource)


def becomes_ready(there: Node) -> None:
    there.status.conditions[0].status = "True"


def grows(there: Node) -> None:
    there.status.allocatable = {**there.status.allocatable, "cpu": "8"}


def untainted(there: Node) -> None:
    there.spec.taints = []


def labelled(there: Node) -> None:
    there.metadata.labels = {"disk": "ssd"}


async def test_a_node_that_is_not_ready_when_it_comes_takes_pods_when_it_is(api: MemoryApi) -> None:
    """They waited for a larger node, and not for one to be ready."""
    await create(api, node("small", cpu="1"), pod("big", requests={"cpu": "2"}))
    async with running(api) as cluster:
        await settle()
        await create(api, node("large", ready="False"))
        await settle(30)
        await change(api, "large", becomes_ready, "status")
        await settle(WOKEN)
        assert await cluster.pods() == {"big": "large"}


async def test_who_waits_for_one_thing_and_then_for_another_does_not_miss_the_other(api: MemoryApi) -> None:
    leaving = pod("leaving", node="n", requests={"cpu": "4"})
    await create(api, node("n", taints=[TAINT]), leaving, pod("p", requests={"cpu": "4"}))
    async with running(api) as cluster:
        await settle(30)
        await change(api, "n", untainted)
        await settle(30)
        (condition,) = (await api.get(Pod, "p", "default")).status.conditions
        assert condition.message.startswith("0/1 nodes are available: 1 Insufficient cpu."), "told anew"
        await api.delete(Pod, "leaving", "default", grace_period=0)
        await settle(WOKEN)
        assert (await cluster.pods())["p"] == "n"


async def test_who_is_refused_by_one_node_alone_may_come_to_depend_on_others(api: MemoryApi) -> None:
    """Zone a has room at last, but one pod too many already; then zone b gets its own."""
    spread = {
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}},
    }  # fmt: skip
    asking = container({"cpu": "3"}).to_dict()
    spec = PodSpec.parse({"containers": [asking], "topologySpreadConstraints": [spread]})
    await create(api, node("a", labels={"zone": "a"}), node("b", labels={"zone": "b"}))
    await create(
        api,
        pod("a0", node="a", labels={"app": "x"}), pod("a1", node="a", requests={"cpu": "4"}),
        pod("b1", node="b", requests={"cpu": "4"}), pod("p", spec=spec, labels={"app": "x"}),
    )  # fmt: skip
    async with running(api) as cluster:
        await settle(30)
        await api.delete(Pod, "a1", "default", grace_period=0)
        await settle(30)
        assert (await cluster.pods())["p"] == ""
        await create(api, pod("b0", node="b", labels={"app": "x"}))
        await settle(WOKEN)
        assert (await cluster.pods())["p"] == "a"


@pytest.mark.parametrize(
    ("before", "helps", "subresource"),
    [
        pytest.param({"cpu": "4"}, grows, "status", id="it offers more"),
        pytest.param({"cpu": "8", "taints": [TAINT]}, untainted, "", id="it is not tainted any more"),
        pytest.param({"cpu": "8", "ready": "False"}, becomes_ready, "status", id="it is ready"),
        pytest.param({"cpu": "8"}, labelled, "", id="it has the label"),
    ],
)
async def test_a_node_that_could_take_the_pod_if_others_went_wakes_it(
    api: MemoryApi, before: dict[str, Any], helps: Callable[[Node], None], subresource: str
) -> None:
    high = ranked("high", 10, "6")
    if helps is labelled:
        high.spec.nodeSelector = {"disk": "ssd"}
    await create(api, node("n", **before), ranked("low", 1, "4", on="n"), high)
    async with running(api):
        await settle(30)
        await change(api, "n", helps, subresource)
        await settle(WOKEN)
        assert (await api.get(Pod, "high", "default")).status.nominatedNodeName == "n"


async def test_who_may_not_push_out_is_woken_by_room_alone(api: MemoryApi) -> None:
    high = ranked("high", 10, "6")
    high.spec.preemptionPolicy = "Never"
    await create(api, node("n", cpu="4"), ranked("low", 1, "4", on="n"), high)
    async with running(api) as cluster:
        await settle(30)
        await change(api, "n", grows, "status")
        await settle(WOKEN)
        assert cluster.parts.queue.attempts("default/high") == 1


async def test_that_a_pod_begins_to_go_wakes_nobody_whom_it_gives_no_room_yet(api: MemoryApi) -> None:
    await create(api, node("n"), pod("going", node="n", requests={"cpu": "4"}), pod("p", requests={"cpu": "4"}))
    async with running(api) as cluster:
        await settle(30)
        await api.delete(Pod, "going", "default")
        await settle(WOKEN)
        assert cluster.parts.queue.attempts("default/p") == 1
        await api.delete(Pod, "going", "default", grace_period=0)
        await settle()
        assert (await cluster.pods())["p"] == "n"


async def test_room_that_is_kept_for_one_pod_wakes_it_and_not_its_like(api: MemoryApi) -> None:
    """Two that ask the same wait for their victims on two nodes: those of the second go first."""
    await create(api, node("n1"), node("n2"))
    await create(api, ranked("low-n1", 1, "4", on="n1"), ranked("low-n2", 1, "4", on="n2"))
    async with running(api) as cluster:
        await create(api, ranked("first", 10, "4"), ranked("second", 10, "4"))
        await settle(30)
        where = (await api.get(Pod, "second", "default")).status.nominatedNodeName
        await api.delete(Pod, f"low-{where}", "default", grace_period=0)
        await settle(WOKEN)
        assert (await cluster.pods())["second"] == where


class ByName(Filter):
    """Does not say what it depends on: the pod's name."""

    name = "ByName"

    def check(self, pod: PodInfo, node: NodeInfo) -> str | None:
        return None if node.known.metadata.labels.get("for") == pod.pod.name else "node(s) were for others"


def by_name(context: Context) -> list[Profile]:
    built_in = plugins.default_profile(context)
    return [Profile(built_in.scheduler_name, (*built_in.filters, ByName()), ())]


async def test_a_plug_in_that_does_not_say_what_it_depends_on_is_asked_for_each_pod(api: MemoryApi) -> None:
    await create(api, node("n"))
    async with running_with(api, Settings(by_name)) as cluster:
        for name in ("a", "b"):
            await create(api, pod(name))
            await settle(1)
        await change(api, "n", lambda there: there.metadata.labels.update({"for": "b"}))
        await settle(WOKEN)
        assert await cluster.pods() == {"a": "", "b": "n"}


class Slow(MemoryApi):
    """Takes half a second for the bindings of the pod `p`, and then refuses them, or gives the pod to another node."""

    def __init__(self, refuse: bool) -> None:
        super().__init__()
        self._refuse = refuse

    async def bind(self, pod: Pod, node: str) -> None:
        if pod.name == "p":
            await settle(0.5)
            if self._refuse:
                raise errors.Forbidden("no")
            await super().bind(pod, "theirs")
        await super().bind(pod, node)


@pytest.mark.parametrize("refuse", [pytest.param(True, id="is refused"), pytest.param(False, id="is overtaken")])
@pytest.mark.parametrize("late", [pytest.param(0.0, id="seen at once"), pytest.param(0.2, id="seen late")])
async def test_the_room_of_a_binding_that_comes_to_nothing_is_given_to_who_waits(refuse: bool, late: float) -> None:
    """Upstream: "MoveAllToActiveOrBackoffQueue(AssignedPodDelete)" of an assumed pod that is forgotten."""
    api = Slow(refuse)
    sources = LaggingSources(EtcdSources(api.store), 1, lag=late, cut=1000)
    await create(api, node("n"), node("theirs", unschedulable=True))
    async with running_with(api, configuration.built_in("default-scheduler"), sources=sources) as cluster:
        await create(api, pod("p", requests={"cpu": "4"}))
        await settle(0.2)
        await create(api, pod("q", requests={"cpu": "4"}))
        await settle(2)
        assert (await cluster.pods())["q"] == "n"


async def test_a_namespace_that_is_seen_after_its_pods_wakes_who_has_to_be_near_to_them(api: MemoryApi) -> None:
    near = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {},
        "namespaceSelector": {"matchLabels": {"a": "b"}},
    }
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [near]}}
    spec = PodSpec.parse({"containers": [container().to_dict()], "affinity": affinity})
    await create(api, node("n", labels={"kubernetes.io/hostname": "n"}), pod("p", spec=spec))
    async with running(api) as cluster:
        await settle(5)
        await create(api, pod("there", namespace="team", node="n"))
        await settle(30)
        assert (await cluster.pods())["p"] == ""
        await create(api, Namespace(metadata=ObjectMeta(name="team", labels={"a": "b"})))
        await settle(WOKEN)
        assert (await cluster.pods())["p"] == "n"
