"""Plug-ins' arguments: each changes what is decided, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kube import daemon
from kube.api.core import Node, Pod, PodSpec
from kube.api.placement import TopologySpreadConstraint
from kube.scheduler.algorithm import Algorithm
from kube.scheduler.cache import Cache
from kube.scheduler.podinfo import PodInfo
from tests.objects import node, pod
from tests.unit.scheduler.test_profiles import context, settings


def with_args(tmp_path: Path, cache: Cache, name: str, args: dict[str, Any]) -> Algorithm:
    """What decides with one plug-in's arguments, and only its score."""
    only = {"score": {"disabled": [{"name": "*"}], "enabled": [{"name": name, "weight": 1}]}}
    found = settings(tmp_path, {"plugins": only, "pluginConfig": [{"name": name, "args": args}]})
    return Algorithm(cache, found.profiles(context(cache)), seed=1)


def told(algorithm: Algorithm, asking: Pod) -> dict[str, int | str]:
    """Each node's score, or why it cannot take the pod."""
    table = algorithm.table(PodInfo.of(asking))
    found: dict[str, int | str] = {name: ref.reasons[0] for _, ref, names in table.refused() for name in names}
    buckets = table.fitting()
    totals = zip(buckets, table.totals(buckets), strict=True)
    return {**found, **{name: total for bucket, total in totals for name in bucket.names}}


def machine(name: str, labels: dict[str, str] | None = None, **more: str) -> Node:
    made = node(name, labels=labels)
    made.status.allocatable = {
        **made.status.allocatable,
        **{key.replace("_", "/"): value for key, value in more.items()},
    }
    return made


def shape(*points: tuple[int, int]) -> dict[str, Any]:
    return {"shape": [{"utilization": used, "score": score} for used, score in points]}


GPU = "x/gpu"


@pytest.mark.parametrize(
    ("strategy", "requests", "expected"),
    [
        # Of 4 CPUs and 8Gi and 4 GPUs, the node "plain" has no GPU.
        pytest.param({}, {"cpu": "1", "memory": "4Gi"}, {"gpus": 62, "plain": 62}, id="CPU and memory"),
        pytest.param(
            {"resources": [{"name": "cpu", "weight": 3}, {"name": "memory"}]},
            {"cpu": "1", "memory": "4Gi"},
            {"gpus": 68, "plain": 68},
            id="(3 * 75 + 50) / 4",
        ),
        pytest.param(
            {"type": "MostAllocated", "resources": [{"name": GPU, "weight": 5}, {"name": "cpu", "weight": 0}]},
            {"cpu": "2", GPU: "4"},
            {"gpus": 91, "plain": "Insufficient x/gpu"},
            id="(5 * 100 + 50) / 6",
        ),
        pytest.param(
            {"type": "MostAllocated", "resources": [{"name": GPU, "weight": 5}, {"name": "cpu"}]},
            {"cpu": "2"},
            {"gpus": 50, "plain": 50},
            id="GPUs have no say about who asks for none",
        ),
        pytest.param(
            {
                "type": "RequestedToCapacityRatio",
                "resources": [{"name": "cpu", "weight": 2}, {"name": "memory"}],
                "requestedToCapacityRatio": {
                    "shape": [{"utilization": 20, "score": 0}, {"utilization": 70, "score": 5}]
                },
            },
            {"cpu": "2", "memory": "8Gi"},
            # CPU at 50 %: 50 * 30 / 50 = 30. Memory at 100 %: 50. (2 * 30 + 50) / 3 = 36.7
            {"gpus": 37, "plain": 37},
            id="the ratio of what is requested to what there is",
        ),
        pytest.param(
            {
                "type": "RequestedToCapacityRatio",
                "requestedToCapacityRatio": {
                    "shape": [{"utilization": 50, "score": 0}, {"utilization": 100, "score": 10}]
                },
            },
            {"cpu": "1", "memory": "6Gi"},
            {"gpus": 50, "plain": 50},
            id="a resource whose score is 0 is left out",
        ),
    ],
)
def test_how_nodes_are_compared_by_their_resources(
    tmp_path: Path, strategy: dict[str, Any], requests: dict[str, str], expected: dict[str, int | str]
) -> None:
    cache = Cache()
    cache.set_node(machine("gpus", x_gpu="4"))
    cache.set_node(machine("plain"))
    algorithm = with_args(tmp_path, cache, "NodeResourcesFit", {"scoringStrategy": strategy})
    assert told(algorithm, pod(requests=requests)) == expected


def test_resources_that_are_to_be_used_in_equal_parts(tmp_path: Path) -> None:
    """The standard deviation of three parts: of 0.5, 0.5 and 1 it is 0.2357."""
    cache = Cache()
    cache.set_node(machine("gpus", x_gpu="4"))
    cache.set_node(machine("plain"))
    args = {"resources": [{"name": name, "weight": 1} for name in ("cpu", "memory", GPU)]}
    algorithm = with_args(tmp_path, cache, "NodeResourcesBalancedAllocation", args)
    asks = {"cpu": "2", "memory": "4Gi"}
    assert told(algorithm, pod(requests={**asks, GPU: "4"})) == {"gpus": 76, "plain": "Insufficient x/gpu"}
    assert told(algorithm, pod(requests=asks)) == {"gpus": 100, "plain": 100}


def test_resources_that_somebody_else_looks_after(tmp_path: Path) -> None:
    """ignoredResources by name, ignoredResourceGroups by what is before the `/`; never CPU, memory and the like."""
    cache = Cache()
    cache.set_node(node("n"))
    args = {"ignoredResources": ["a/one", "cpu"], "ignoredResourceGroups": ["b", "kubernetes.io"]}
    algorithm = with_args(tmp_path, cache, "NodeResourcesFit", args)

    def refused(**requests: str) -> object:
        return told(algorithm, pod(requests={name.replace("_", "/"): value for name, value in requests.items()}))["n"]

    assert isinstance(refused(a_one="1", b_two="1"), int)
    assert refused(a_two="1") == "Insufficient a/two"
    assert refused(cpu="9") == "Insufficient cpu"


def test_node_affinity_that_is_added_to_all_pods(tmp_path: Path) -> None:
    def has(label: str) -> dict[str, Any]:
        return {"matchExpressions": [{"key": label, "operator": "Exists"}]}

    added = {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [has("pool")]},
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 30, "preference": has("ssd")}],
    }
    cache = Cache()
    for name, labels in (
        ("pool", ["pool"]),
        ("fast", ["pool", "ssd"]),
        ("liked", ["pool", "liked"]),
        ("other", ["ssd"]),
    ):
        cache.set_node(node(name, labels=dict.fromkeys(labels, "")))
    algorithm = with_args(tmp_path, cache, "NodeAffinity", {"addedAffinity": added})
    enforced = "node(s) didn't match scheduler-enforced node affinity"
    assert told(algorithm, pod()) == {"pool": 0, "fast": 100, "liked": 0, "other": enforced}
    own = {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 60, "preference": has("liked")}]
        }
    }
    asking = pod(spec=PodSpec.parse({"containers": [], "affinity": own, "nodeSelector": {"pool": ""}}))
    assert told(algorithm, asking) == {"pool": 0, "fast": 50, "liked": 100, "other": enforced}


def test_spread_constraints_of_pods_that_have_none(tmp_path: Path) -> None:
    """Over the pods that the services and controllers of the pod select; none for a pod that nobody selects."""
    cache = Cache()
    for name in ("a", "b"):
        cache.set_node(node(name, labels={"zone": name}))
    cache.set_pod(pod("there", node="a", labels={"app": "web"}))
    default = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    args = {
        "defaultingType": "List",
        "defaultConstraints": [default, {**default, "whenUnsatisfiable": "ScheduleAnyway"}],
    }
    algorithm = with_args(tmp_path, cache, "PodTopologySpread", args)
    skewed = "node(s) didn't match pod topology spread constraints"
    assert told(algorithm, pod(labels={"app": "web"})) == {"a": skewed, "b": 100}
    assert told(algorithm, pod(labels={"app": "db"})) == {"a": 0, "b": 0}
    asking = pod(labels={"app": "web"})
    asking.spec.topologySpreadConstraints = [TopologySpreadConstraint.parse({**default, "maxSkew": 5})]
    assert told(algorithm, asking) == {"a": 0, "b": 0}, "its own go before those by default"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        pytest.param({}, {"a": 33, "b": 0, "c": 100}, id="a required term is worth 1"),
        pytest.param({"hardPodAffinityWeight": 6}, {"a": 100, "b": 0, "c": 50}, id="or what is said"),
        pytest.param({"hardPodAffinityWeight": 0}, {"a": 0, "b": 0, "c": 100}, id="or nothing"),
        pytest.param({"ignorePreferredTermsOfExistingPods": True}, {"a": 0, "b": 0, "c": 0}, id="or not asked"),
    ],
)
def test_what_the_terms_of_pods_that_are_there_count_for(
    tmp_path: Path, args: dict[str, Any], expected: dict[str, int]
) -> None:
    term = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "host"}
    cache = Cache()
    for name in expected:
        cache.set_node(node(name, labels={"host": name}))
    for where, described in (
        ("a", {"requiredDuringSchedulingIgnoredDuringExecution": [term]}),
        ("c", {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 3, "podAffinityTerm": term}]}),
    ):
        spec = PodSpec.parse({"containers": [], "affinity": {"podAffinity": described}})
        cache.set_pod(pod(where, node=where, spec=spec))
    algorithm = with_args(tmp_path, cache, "InterPodAffinity", args)
    assert told(algorithm, pod(labels={"app": "web"})) == expected


RATIO = "RequestedToCapacityRatio"
SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
NO_TERMS: dict[str, Any] = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}


def strategy(**words: Any) -> dict[str, Any]:
    return {"scoringStrategy": words}


@pytest.mark.parametrize(
    ("name", "args", "why"),
    [
        ("NodeResourcesFit", {"scoringStategy": {}}, "scoringStategy: Extra inputs"),
        ("NodeResourcesFit", strategy(type=RATIO), "requestedToCapacityRatio: must be specified"),
        ("NodeResourcesFit", strategy(resources=[{"name": "cpu", "weight": 101}]), "resources.0.weight"),
        ("NodeResourcesFit", strategy(type=RATIO, requestedToCapacityRatio=shape((9, 1), (9, 2))), "must be sorted"),
        ("NodeResourcesBalancedAllocation", {"resources": [{"name": "cpu", "weight": 2}]}, "resources.0.weight"),
        ("InterPodAffinity", {"hardPodAffinityWeight": 101}, "hardPodAffinityWeight: Input should be less than"),
        ("InterPodAffinity", {"hardPodAffinityWeight": "5"}, "hardPodAffinityWeight: Input should be a valid integer"),
        ("NodeAffinity", {"addedAffinity": NO_TERMS}, "must have at least one node selector term"),
        ("NodeAffinity", {"addedAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": 1}}, "addedAffinity"),
        ("PodTopologySpread", {"defaultConstraints": [{**SPREAD, "maxSkew": 0}], "defaultingType": "List"}, "maxSkew"),
        ("PodTopologySpread", {"defaultConstraints": [SPREAD]}, "defaultingType"),
        (
            "PodTopologySpread",
            {"defaultConstraints": [{**SPREAD, "labelSelector": {}}], "defaultingType": "List"},
            "constraint must not define a selector",
        ),
        ("NodePorts", {"ports": 1}, "arguments of plug-in NodePorts: ports: Extra inputs"),
        ("NoSuch", {}, "no plug-in 'NoSuch': there are"),
    ],
)
def test_arguments_that_no_plug_in_can_do_anything_with(
    tmp_path: Path, name: str, args: dict[str, Any], why: str
) -> None:
    with pytest.raises(daemon.Fatal) as refused:
        settings(tmp_path, {"pluginConfig": [{"name": name, "args": args}]})
    assert why in str(refused.value)


def test_a_plug_in_is_configured_once(tmp_path: Path) -> None:
    with pytest.raises(daemon.Fatal) as refused:
        settings(tmp_path, {"pluginConfig": [{"name": "NodePorts"}, {"name": "NodePorts"}]})
    assert "repeated config for plugin NodePorts" in str(refused.value)


def test_arguments_that_change_nothing_here_are_read_over(tmp_path: Path) -> None:
    typed = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "DefaultPreemptionArgs"}
    settings(
        tmp_path, {"pluginConfig": [{"name": "DefaultPreemption", "args": {**typed, "minCandidateNodesAbsolute": 9}}]}
    )
