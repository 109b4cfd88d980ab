"""Explained: what was decided, what every node says now, and what would become of pods that are not there yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st

from kube import daemon
from kube.api import resources
from kube.api.core import Node, Pod, PodSchedulingGate, Taint
from kube.api.meta import ObjectMeta
from kube.client.events import EventRecorder
from kube.client.informer import Informers
from kube.client.source import EtcdSources
from kube.scheduler import plan
from kube.scheduler.algorithm import Algorithm, Unschedulable
from kube.scheduler.cache import Cache
from kube.scheduler.explain import Decisions, explain, text
from kube.scheduler.plugins import Context, default_profile
from kube.scheduler.podinfo import PodInfo
from kube.scheduler.preemption import Preemption
from kube.scheduler.server import build, explanation_of, planned
from tests.memory_api import MemoryApi
from tests.objects import node, pod
from tests.unit.scheduler.test_algorithm import ELSEWHERE, askers, machines, named
from tests.unit.scheduler.test_scheduler import create, running, settle


def scheduling(*nodes: Node, pods: tuple[Pod, ...] = (), seed: int = 1) -> tuple[Cache, Algorithm]:
    cache = Cache()
    for each in nodes:
        cache.set_node(each)
    for bound in pods:
        cache.set_pod(bound)
    return cache, Algorithm(cache, [default_profile(Context(cache))], seed)


def test_a_table_of_nodes_by_filters_and_scores() -> None:
    cache, algorithm = scheduling(
        node("small", cpu="1"), node("large", cpu="16"), node("medium", cpu="4"),
        node("tainted", taints=[Taint(key="k", value="v", effect="NoSchedule")]),
    )  # fmt: skip
    found = explain(cache, algorithm, PodInfo.of(pod(requests={"cpu": "2"})))
    answers = {each.node: each for each in found.answers}
    assert {name: each.fits for name, each in answers.items()} == {
        "small": False, "large": True, "medium": True, "tainted": False,
    }  # fmt: skip
    assert answers["small"].filters["NodeResourcesFit"] == "Insufficient cpu"
    assert answers["tainted"].filters["TaintToleration"] == "node(s) had untolerated taint {k: v}"
    assert found.best() == ["large"]
    large = answers["large"]
    assert large.total == sum(found.weights[name] * score for name, score in large.scores.items())
    assert json.loads(json.dumps(found.to_dict()))["best"] == ["large"]


def test_a_filter_that_is_asked_twice_is_in_the_table_once() -> None:
    """Node affinity rules nodes out by their names before all others, and then by labels."""
    cache, algorithm = scheduling(node("a"), node("b"))
    found = explain(cache, algorithm, PodInfo.of(pod(spec=named([("In", "a")]))))
    assert found.filters.count("NodeAffinity") == 1
    assert {each.node: each.filters["NodeAffinity"] for each in found.answers} == {"a": "", "b": ELSEWHERE}


def test_the_pod_itself_is_not_counted() -> None:
    there = pod("p", node="n", requests={"cpu": "4"})
    cache, algorithm = scheduling(node("n"), pods=(there,))
    (answer,) = explain(cache, algorithm, PodInfo.of(there)).answers
    assert answer.fits
    assert cache.node_of("default/p") == "n"


@given(st.lists(machines(), min_size=1, max_size=4), st.lists(askers(), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_explained_is_what_is_decided(nodes: list[Node], pods: list[Pod]) -> None:
    """A pod goes to one of the best of the table; and to none, if every node in it is refused for a reason."""
    for number, each in enumerate(nodes):
        each.metadata.name = f"n{number}"
    cache, algorithm = scheduling(*nodes)
    for number, asking in enumerate(pods):
        asking.metadata.name = f"p{number}"
        info = PodInfo.of(asking)
        told = explain(cache, algorithm, info)
        try:
            choice = algorithm.choose(info)
        except Unschedulable:
            assert told.best() == []
            assert all(any(answer.filters.values()) for answer in told.answers)
            continue
        assert choice.node in told.best()
        assert choice.best == len(told.best())
        cache.assume(info, choice.node)


@given(st.lists(machines(), max_size=4), st.lists(askers(), min_size=1, max_size=8), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_a_plan_is_what_then_happens(nodes: list[Node], pods: list[Pod], seed: int) -> None:
    for number, each in enumerate(nodes):
        each.metadata.name = f"n{number}"
    for number, asking in enumerate(pods):
        asking.metadata.name = f"p{number}"
    cache, algorithm = scheduling(*nodes, seed=seed)
    foreseen = [(each.node, each.message) for each in plan.plan(cache, algorithm, Preemption(cache, algorithm), pods)]
    cache, algorithm = scheduling(*nodes, seed=seed)
    preemption = Preemption(cache, algorithm)
    happened = []
    for asking in pods:
        info = PodInfo.of(asking)
        try:
            choice = algorithm.choose(info)
        except Unschedulable as why:
            preemption.find(info, why)
            happened.append(("", str(why)))
        else:
            cache.assume(info, choice.node)
            happened.append((choice.node, choice.node))
    assert [(name, message.split(" (score")[0]) for name, message in foreseen] == happened


def test_the_last_decisions_are_remembered() -> None:
    cache, algorithm = scheduling(node("n", cpu="1"))
    decisions = Decisions()
    info = PodInfo.of(pod("p", requests={"cpu": "2"}))
    with pytest.raises(Unschedulable) as refused:
        algorithm.choose(info)
    decisions.refused(info, refused.value, "elsewhere")
    cache.set_node(node("large"))
    decisions.chosen(info, algorithm.choose(info))
    first, second = decisions.of("default/p")
    assert (first.node, first.message, first.nominated) == (
        "", "0/1 nodes are available: 1 Insufficient cpu.", "elsewhere",
    )  # fmt: skip
    assert (second.node, second.fitting, second.best) == ("large", 1, 1)
    shown = text(explain(cache, algorithm, info), [first, second])
    assert "assigned to large" in shown
    assert "NodeResourcesFit: Insufficient cpu" in shown


@pytest.mark.looptime
async def test_served_by_the_scheduler() -> None:
    api = MemoryApi()
    await create(api, node("n", cpu="1"), pod("big", requests={"cpu": "2"}), pod("small"))
    async with running(api) as cluster:
        await settle()
        answer = explanation_of(cluster.parts)

        async def ask(name: str, query: str = "") -> web.Response:
            path = f"/explain/default/{name}{query}"
            return await answer(make_mocked_request("GET", path, match_info={"namespace": "default", "pod": name}))

        told: dict[str, Any] = json.loads((await ask("big", "?format=json")).text or "")
        assert [each["message"].split(". ")[0] for each in told["decisions"]] == [
            "0/1 nodes are available: 1 Insufficient cpu"
        ]
        assert told["answers"][0]["filters"]["NodeResourcesFit"] == "Insufficient cpu"
        assert "assigned to n" in ((await ask("small")).text or "")
        with pytest.raises(web.HTTPNotFound):
            await ask("nobody")


TWO = """
kind: List
apiVersion: v1
items:
- {kind: Pod, apiVersion: v1, metadata: {name: a}, spec: {priorityClassName: high,
   containers: [{name: c, image: kube/web, resources: {requests: {cpu: "1"}}}]}}
- kind: ReplicationController
  apiVersion: v1
  metadata: {name: web}
  spec:
    replicas: 2
    template:
      metadata: {labels: {app: web}}
      spec: {containers: [{name: c, image: kube/web, resources: {requests: {cpu: "1"}}}]}
"""


@pytest.mark.looptime
async def test_a_plan_of_a_file_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api = MemoryApi()
    path = tmp_path / "pods.yaml"
    path.write_text(TWO)
    high = resources.PRIORITY_CLASSES.model(metadata=ObjectMeta(name="high"))
    high.put("value", 10)  # type: ignore[attr-defined]  # an Unstructured
    low = pod("low", node="n", requests={"cpu": "2"})
    await create(api, node("n", cpu="2"), high, low)
    written = list(api.writes)
    informers = Informers(EtcdSources(api.store))
    parts = build(api, informers, EventRecorder(api, "test"), seed=1)
    with pytest.raises(daemon.Fatal, match="3 of 3 pods would not get a node"):
        await planned(informers, parts, str(path))
    shown = capsys.readouterr().out
    assert "default/a -> 0/1 nodes are available: 1 Insufficient cpu. It would push out default/low from n." in shown
    assert "default/web-2 -> 0/1 nodes are available: 1 Insufficient cpu." in shown
    assert api.writes == written


@pytest.mark.parametrize("content", ["kind: Service", "[", "{kind: Pod, spec: {containers: 5}}"])
def test_what_cannot_be_planned_is_said(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pods.yaml"
    path.write_text(content)
    with pytest.raises(daemon.Fatal, match="cannot plan -f"):
        plan.pods_of(str(path))


def ranked(name: str, priority: int, cpu: str) -> Pod:
    made = pod(name, requests={"cpu": cpu})
    made.spec.priority = priority
    return made


def planned_for(*pods: Pod, there: tuple[Pod, ...] = (), cpu: str = "4") -> list[tuple[str, str]]:
    cache, algorithm = scheduling(node("n", cpu=cpu), pods=there)
    return [(each.node, each.message) for each in plan.plan(cache, algorithm, Preemption(cache, algorithm), pods)]


def test_a_plan_knows_of_pods_that_no_scheduler_takes_up_yet() -> None:
    gated, elsewhere = pod("gated"), pod("elsewhere")
    gated.spec.schedulingGates = [PodSchedulingGate(name="example.com/quota")]
    elsewhere.spec.schedulerName = "theirs"
    assert planned_for(gated, elsewhere) == [
        ("", "Scheduling is blocked due to non-empty scheduling gates."),
        ("", "It is left to the scheduler theirs."),
    ]


def test_in_a_plan_nobody_is_pushed_out_twice_nor_gets_room_that_is_made_for_another() -> None:
    low = pod("low", node="n", requests={"cpu": "3"})
    first, second, third = planned_for(
        ranked("first", 10, "4"), ranked("second", 10, "4"), ranked("third", 5, "1"), there=(low,)
    )
    assert first[1].endswith("It would push out default/low from n.")
    assert second[1] == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Insufficient cpu."
    )
    assert third[0] == ""
