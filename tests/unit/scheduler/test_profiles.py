"""Profiles: from a configuration, from a policy as in 1.0, and with plug-ins that others bring."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube import daemon
from kube.scheduler import configuration, options, policy
from kube.scheduler.algorithm import Algorithm, Unschedulable
from kube.scheduler.cache import Cache
from kube.scheduler.configuration import Settings
from kube.scheduler.framework import Profile, Score, Weighted
from kube.scheduler.nodeinfo import NodeInfo
from kube.scheduler.plugins import FILTERS, SCORES, Context
from kube.scheduler.podinfo import PodInfo
from kube.scheduler.scores import matching_selectors
from tests.objects import node, pod

EXAMPLE = Path(__file__).parents[3] / "deploy/examples/scheduler-plugin"


def context(cache: Cache | None = None) -> Context:
    def selectors(asking: Any) -> Any:
        return matching_selectors(asking, [{"app": "web"}])

    return Context(cache or Cache(), selectors, selectors)


def profiles(tmp_path: Path, *described: dict[str, Any], **more: Any) -> dict[str, Profile]:
    return {each.scheduler_name: each for each in settings(tmp_path, *described, **more).profiles(context())}


def settings(tmp_path: Path, *described: dict[str, Any], **more: Any) -> Settings:
    path = tmp_path / "scheduler.yaml"
    head = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
    path.write_text(yaml.safe_dump({**head, "profiles": [*described], **more}))
    return configuration.load(path)


def weights(profile: Profile) -> dict[str, int]:
    return {each.score.name: each.weight for each in profile.scores}


def test_without_profiles_all_that_is_built_in(tmp_path: Path) -> None:
    (only,) = profiles(tmp_path).values()
    assert only.scheduler_name == "default-scheduler"
    assert [each.name for each in only.filters] == [*FILTERS]
    assert len(only.scores) == len(SCORES)
    assert weights(only)["TaintToleration"] == 3


def test_disabled_enabled_and_weighed(tmp_path: Path) -> None:
    found = profiles(
        tmp_path,
        {
            "schedulerName": "mine",
            "plugins": {
                "filter": {"disabled": [{"name": "NodePorts"}]},
                "score": {"disabled": [{"name": "*"}], "enabled": [{"name": "ImageLocality", "weight": 5}]},
            },
        },
        {"schedulerName": "second", "plugins": {"score": {"enabled": [{"name": "ImageLocality", "weight": 9}]}}},
    )
    assert "NodePorts" not in [each.name for each in found["mine"].filters]
    assert weights(found["mine"]) == {"ImageLocality": 5}
    assert weights(found["second"])["ImageLocality"] == 9
    assert len(found["second"].scores) == len(SCORES)


@pytest.mark.parametrize("point", ["score", "multiPoint"])
def test_a_score_that_is_enabled_anew_without_a_weight_counts_once(tmp_path: Path, point: str) -> None:
    """getScoreWeights: "a weight of zero is not permitted": it is 1, whatever it was by default."""
    enabled = {"enabled": [{"name": "TaintToleration"}, {"name": "ImageLocality"}]}
    (found,) = profiles(tmp_path, {"plugins": {point: enabled}}).values()
    assert (weights(found)["TaintToleration"], weights(found)["ImageLocality"]) == (1, 1)
    assert weights(found)["NodeAffinity"] == 2


def test_a_plug_ins_arguments(tmp_path: Path) -> None:
    packing = {"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "MostAllocated"}}}
    (found,) = profiles(tmp_path, {"pluginConfig": [packing]}).values()
    assert "NodeResourcesMostAllocated" in weights(found)


def test_the_queues_back_off(tmp_path: Path) -> None:
    found = settings(tmp_path, podInitialBackoffSeconds=2, podMaxBackoffSeconds=30)
    assert (found.initial_backoff, found.longest_backoff) == (2, 30)


@pytest.mark.parametrize(
    ("described", "more", "why"),
    [
        ([{"plugins": {"filter": {"enabled": [{"name": "NoSuch"}]}}}], {}, "no plug-in 'NoSuch': there are"),
        ([{"plugins": {"filter": {"enabled": [{"name": "ImageLocality"}]}}}], {}, "ImageLocality is no filter"),
        ([{"plugin": {}}], {}, "profiles.0.plugin: Extra inputs"),
        ([{"schedulerName": "a"}, {"schedulerName": "a"}], {}, "two profiles with one schedulerName"),
        ([], {"podInitialBackoffSeconds": 20}, "podMaxBackoffSeconds is less"),
        ([], {"kind": "Policy"}, "it is no kubescheduler.config.k8s.io/v1 KubeSchedulerConfiguration"),
        ([{"pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "Odd"}}}]}], {},
         "no scoringStrategy 'Odd'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, described: list[dict[str, Any]], more: dict[str, Any], why: str
) -> None:
    with pytest.raises(daemon.Fatal) as refused:
        profiles(tmp_path, *described, **more)
    assert why in str(refused.value)


def test_each_pod_is_judged_by_the_profile_that_it_names(tmp_path: Path) -> None:
    cache = Cache()
    for name in ("empty", "busy"):
        cache.set_node(node(name))
    cache.set_pod(pod("there", node="busy", requests={"cpu": "2", "memory": "4Gi"}))
    packing = {"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "MostAllocated"}}}
    found = settings(tmp_path, {"schedulerName": "spread"}, {"schedulerName": "pack", "pluginConfig": [packing]})
    algorithm = Algorithm(cache, found.profiles(context(cache)), seed=1)
    chosen = {}
    for name in ("spread", "pack"):
        asking = pod(name, requests={"cpu": "1", "memory": "1Gi"})
        asking.spec.schedulerName = name
        chosen[name] = algorithm.choose(PodInfo.of(asking)).node
    assert chosen == {"spread": "empty", "pack": "busy"}


def of_policy(tmp_path: Path, **described: Any) -> Settings:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"kind": "Policy", "apiVersion": "v1", **described}))
    return policy.load(path, "default-scheduler")


EXAMPLE_OF_1_0 = {
    "predicates": [
        {"name": "PodFitsPorts"},
        {"name": "PodFitsResources"},
        {"name": "NoDiskConflict"},
        {"name": "MatchNodeSelector"},
        {"name": "HostName"},
    ],
    "priorities": [
        {"name": "LeastRequestedPriority", "weight": 1},
        {"name": "BalancedResourceAllocation", "weight": 1},
        {"name": "ServiceSpreadingPriority", "weight": 1},
        {"name": "EqualPriority", "weight": 1},
    ],
}


def test_the_policy_of_the_documentation_of_1_0(tmp_path: Path) -> None:
    """v1.0/examples/scheduler-policy-config.json: and what no policy can leave out."""
    (found,) = of_policy(tmp_path, **EXAMPLE_OF_1_0).profiles(context())
    names = {each.name for each in found.filters}
    assert names == {
        "NodePorts", "NodeResourcesFit", "VolumeRestrictions", "NodeAffinity", "NodeName",
        "NodeUnschedulable", "TaintToleration", "NodeConditions",
    }  # fmt: skip
    assert weights(found) == {
        "NodeResourcesLeastAllocated": 1, "NodeResourcesBalancedAllocation": 1, "SelectorSpread": 1,
    }  # fmt: skip


def test_check_node_label_presence_by_policy(tmp_path: Path) -> None:
    """v1.0: "filters the nodes by whether they have the labels (or have not), whatever their values"."""
    cache = Cache()
    cache.set_node(node("in", labels={"zone": "a"}))
    cache.set_node(node("out", labels={"retiring": "2027"}))
    cache.set_node(node("bare"))
    described = [
        {"name": "Zoned", "argument": {"labelsPresence": {"labels": ["zone"], "presence": True}}},
        {"name": "NotRetiring", "argument": {"labelsPresence": {"labels": ["retiring"], "presence": False}}},
    ]
    algorithm = Algorithm(cache, of_policy(tmp_path, predicates=described).profiles(context(cache)))
    assert algorithm.choose(PodInfo.of(pod())).node == "in"
    cache.remove_node("in")
    with pytest.raises(Unschedulable) as refused:
        algorithm.choose(PodInfo.of(pod()))
    assert refused.value.reasons == {"node(s) didn't have the requested labels": 2}


def test_service_anti_affinity_and_label_preference_by_policy(tmp_path: Path) -> None:
    cache = Cache()
    for name, rack in (("a", "1"), ("b", "2"), ("c", "2")):
        cache.set_node(node(name, labels={"rack": rack, **({"ssd": ""} if name == "c" else {})}))
    cache.set_pod(pod("there", node="a", labels={"app": "web"}))
    described = [
        {"name": "RackSpread", "weight": 2, "argument": {"serviceAntiAffinity": {"label": "rack"}}},
        {"name": "Disks", "weight": 1, "argument": {"labelPreference": {"label": "ssd", "presence": True}}},
    ]
    algorithm = Algorithm(cache, of_policy(tmp_path, priorities=described).profiles(context(cache)))
    choice = algorithm.choose(PodInfo.of(pod("p", labels={"app": "web"})))
    assert (choice.node, choice.score) == ("c", 2 * 100 + 100)


@pytest.mark.parametrize(
    ("described", "why"),
    [
        ({"predicates": [{"name": "NoSuch"}]}, "no predicate 'NoSuch': there are PodFitsPorts"),
        ({"priorities": [{"name": "NoSuch"}]}, "no priority 'NoSuch': there are LeastRequestedPriority"),
        ({"priorities": [{"name": "EqualPriority", "weight": 0}]}, "the weight must be positive"),
        ({"kind": "Pod"}, "it is no v1 Policy"),
    ],
)
def test_what_is_wrong_with_a_policy_is_said(tmp_path: Path, described: dict[str, Any], why: str) -> None:
    with pytest.raises(daemon.Fatal) as refused:
        of_policy(tmp_path, **described)
    assert why in str(refused.value)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example package, as an installer would put it there: its module, and its entry points as metadata."""
    described = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    installed = tmp_path / "site-packages"
    metadata = installed / f"kube_team_nodes-{described['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: 1.0.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
        for group, points in described["entry-points"].items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    (installed / "team_nodes.py").write_text((EXAMPLE / "team_nodes.py").read_text())
    monkeypatch.syspath_prepend(str(installed))
    yield
    sys.modules.pop("team_nodes", None)


class Cheap(Score):
    name = "Cheap"

    def score(self, pod: PodInfo, node: NodeInfo) -> int:
        return 100 / int(node.known.metadata.labels["cents"])  # type: ignore[return-value]  # as Python has it


def test_a_score_that_is_no_whole_number_is_cut_to_one() -> None:
    cache = Cache()
    for name, cents in (("dear", "9"), ("cheap", "3")):
        cache.set_node(node(name, labels={"cents": cents}))
    algorithm = Algorithm(cache, [Profile("test", (), (Weighted(Cheap(), 2),))])
    choice = algorithm.choose(PodInfo.of(pod()))
    assert (choice.node, choice.score, choice.fitting) == ("cheap", 66, 2)


@pytest.mark.usefixtures("example")
def test_the_example_package_is_found_and_asked() -> None:
    cache = Cache()
    cache.set_node(node("theirs", labels={"team": "b", "cents-an-hour": "1"}))
    cache.set_node(node("ours", labels={"team": "a", "cents-an-hour": "40"}))
    cache.set_node(node("dear"))
    algorithm = Algorithm(cache, configuration.load(EXAMPLE / "scheduler.yaml").profiles(context(cache)), seed=1)
    assert algorithm.choose(PodInfo.of(pod("p", labels={"team": "a"}))).node == "ours"
    assert algorithm.choose(PodInfo.of(pod("q", labels={"team": "b"}))).node == "theirs"
    for name in ("ours", "dear"):
        cache.remove_node(name)
    with pytest.raises(Unschedulable) as refused:
        algorithm.choose(PodInfo.of(pod("p", labels={"team": "a"})))
    assert str(refused.value).startswith("0/1 nodes are available: 1 node(s) belonged to another team.")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["--plan"], "--plan wants the pods"),
        (["-f", "pod.yaml"], "-f is for --plan"),
        (["--config=x", "--scheduler-name=y"], "--config names its profiles itself"),
    ],
)
def test_flags_that_do_not_go_together(given: list[str], why: str) -> None:
    with pytest.raises(daemon.Fatal) as refused:
        options.from_args(options.parser().parse_args(given))
    assert why in str(refused.value)


def test_schedulers_of_two_names_do_not_wait_for_one_lease() -> None:
    def lease(*given: str) -> str:
        return options.from_args(options.parser().parse_args([*given])).election.resource_name

    assert lease() == "kube-scheduler"
    assert lease("--scheduler-name=mine") == "mine"
    assert lease("--scheduler-name=mine", "--leader-elect-resource-name=ours") == "ours"
