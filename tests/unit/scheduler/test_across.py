"""Inter-pod affinity and topology spread: worded cases, and always what the rules say, worked out anew."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kube.api.core import Node, Pod, PodSpec, Taint
from kube.scheduler.algorithm import Algorithm
from kube.scheduler.cache import HOLDERS_KEPT, Cache
from kube.scheduler.framework import Filter, Profile
from kube.scheduler.interpodaffinity import InterPodAffinity, InterPodAffinityScore
from kube.scheduler.podinfo import PodInfo
from kube.scheduler.topologyspread import PodTopologySpread, PodTopologySpreadScore
from tests.objects import container, node, pod
from tests.unit.scheduler.oracle import AGAINST, FAR, MISSING, NEAR, SKEW, Oracle
from tests.unit.scheduler.test_scores import rated

HOST, ZONE = "kubernetes.io/hostname", "zone"
NAMESPACES = {"default": {"team": "a"}, "other": {"team": "b"}}


def machine(name: str, zone: str | None = None, taints: tuple[Taint, ...] = ()) -> Node:
    return node(name, labels={HOST: name, **({ZONE: zone} if zone else {})}, taints=taints)


def term(app: str, key: str = ZONE, **more: Any) -> dict[str, Any]:
    return {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key, **more}


def near(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [*terms]}}}


def far(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [*terms]}}}


def spread(key: str = ZONE, skew: int = 1, app: str = "web", **more: Any) -> dict[str, Any]:
    constraint = {
        "maxSkew": skew,
        "topologyKey": key,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": app}},
    }
    return {"topologySpreadConstraints": [{**constraint, **more}]}


def made(name: str, app: str, spec: dict[str, Any] | None = None, on: str = "", namespace: str = "default") -> Pod:
    described = PodSpec.parse({"containers": [container().to_dict()], **(spec or {})})
    return pod(name, labels={"app": app}, spec=described, node=on, namespace=namespace)


def cluster(nodes: list[Node], pods: list[Pod]) -> Cache:
    cache = Cache()
    for name, labels in NAMESPACES.items():
        cache.set_namespace(name, labels)
    for each in nodes:
        cache.set_node(each)
    for bound in pods:
        cache.set_pod(bound)
    return cache


def refusals(cache: Cache, asking: Pod, *filters: Filter) -> dict[str, str]:
    """What the filters say against each node."""
    algorithm = Algorithm(cache, [Profile("test", filters, ())])
    table = algorithm.table(PodInfo.of(asking))
    found = {each.name: table.refusal(each.name) for each in cache.nodes()}
    return {name: refusal[1].reasons[0] if refusal else "" for name, refusal in found.items()}


ABC = [machine("a", "1"), machine("b", "1"), machine("c", "2"), machine("bare")]


@pytest.mark.parametrize(
    ("there", "asking", "expected"),
    [
        pytest.param(
            [made("db", "db", on="a")],
            made("p", "web", near(term("db"))),
            {"a": "", "b": "", "c": NEAR, "bare": NEAR},
            id="near: all nodes of the zone",
        ),
        pytest.param(
            [made("db", "db", on="a")],
            made("p", "web", near(term("db", HOST))),
            {"a": "", "b": NEAR, "c": NEAR, "bare": NEAR},
            id="near: the one node",
        ),
        pytest.param([], made("p", "web", near(term("db"))), dict.fromkeys(("a", "b", "c", "bare"), NEAR), id="nobody"),
        pytest.param(
            [],
            made("p", "web", near(term("web"))),
            {"a": "", "b": "", "c": "", "bare": NEAR},
            id="the first of a group may go anywhere that has the label",
        ),
        pytest.param(
            [made("db", "db", on="a"), made("x", "x", on="a")],
            made("p", "web", near(term("db"), term("x"))),
            dict.fromkeys(("a", "b", "c", "bare"), NEAR),
            id="two terms: one and the same pod must meet both",
        ),
        pytest.param(
            [made("web", "web", on="a")],
            made("p", "web", far(term("web"))),
            {"a": FAR, "b": FAR, "c": "", "bare": ""},
            id="far: nodes without the label are in no domain",
        ),
        pytest.param(
            [made("db", "db", far(term("web")), on="c")],
            made("p", "web"),
            {"a": "", "b": "", "c": AGAINST, "bare": ""},
            id="symmetric: the pod that is there does not want it",
        ),
        pytest.param(
            [made("db", "db", on="a", namespace="other")],
            made("p", "web", far(term("db"))),
            {"a": "", "b": "", "c": "", "bare": ""},
            id="a term means its own namespace only",
        ),
        pytest.param(
            [made("db", "db", on="a", namespace="other")],
            made("p", "web", far(term("db", namespaces=["other"]))),
            {"a": FAR, "b": FAR, "c": "", "bare": ""},
            id="unless it names others",
        ),
        pytest.param(
            [made("db", "db", on="a", namespace="other")],
            made("p", "web", far(term("db", namespaceSelector={"matchLabels": {"team": "b"}}))),
            {"a": FAR, "b": FAR, "c": "", "bare": ""},
            id="or selects them",
        ),
        pytest.param(
            [made("db", "db", on="a")],
            made("p", "web", far(term("db", namespaceSelector={"matchLabels": {"team": "b"}}))),
            {"a": "", "b": "", "c": "", "bare": ""},
            id="and then not its own any more",
        ),
    ],
)
def test_inter_pod_affinity(there: list[Pod], asking: Pod, expected: dict[str, str]) -> None:
    cache = cluster(ABC, there)
    assert refusals(cache, asking, InterPodAffinity(cache)) == expected


@pytest.mark.parametrize(
    ("there", "spec", "expected"),
    [
        pytest.param([], spread(), {"a": "", "b": "", "c": "", "bare": MISSING}, id="an empty cluster"),
        pytest.param(["a"], spread(), {"a": SKEW, "b": SKEW, "c": "", "bare": MISSING}, id="the other zone's turn"),
        pytest.param(["a"], spread(skew=2), {"a": "", "b": "", "c": "", "bare": MISSING}, id="a skew of two"),
        pytest.param(
            ["a", "c"], spread(minDomains=3), {"a": SKEW, "b": SKEW, "c": SKEW, "bare": MISSING}, id="too few domains"
        ),
        pytest.param(["a"], spread(HOST), {"a": SKEW, "b": "", "c": "", "bare": ""}, id="over hosts"),
        pytest.param(
            ["a"],
            {**spread(), "nodeSelector": {ZONE: "1"}},
            {"a": "", "b": "", "c": "", "bare": MISSING},
            id="zones that the pod cannot go to do not count",
        ),
        pytest.param(
            ["a"],
            {**spread(nodeAffinityPolicy="Ignore"), "nodeSelector": {ZONE: "1"}},
            {"a": SKEW, "b": SKEW, "c": "", "bare": MISSING},
            id="unless it says so",
        ),
        pytest.param(
            ["a"],
            spread(app="db"),
            {"a": "", "b": "", "c": "", "bare": MISSING},
            id="a constraint about others",
        ),
        pytest.param(
            ["a", "a-too"],
            spread(labelSelector={}),
            {"a": "", "b": "", "c": "", "bare": MISSING},
            id="an empty selector counts nobody but the pod itself",
        ),
    ],
)
def test_topology_spread(there: list[str], spec: dict[str, Any], expected: dict[str, str]) -> None:
    cache = cluster(ABC, [made(f"on-{name}", "web", on=name.removesuffix("-too")) for name in there])
    found = refusals(cache, made("p", "web", spec), PodTopologySpread(cache))
    assert found == expected


def test_topology_spread_score() -> None:
    """count * ln(domains + 2) + (maxSkew - 1), rounded; 100 * (max + min - sum) / max; without the label 0."""
    cache = cluster(ABC, [made(str(i), "web", on="a") for i in range(3)] + [made("4", "web", on="c")])
    soft = spread(whenUnsatisfiable="ScheduleAnyway")
    # ln(2 + 2) = 1.386: 3 pods make 4.16, rounded 4; 1 pod 1.39, rounded 1.
    assert rated(PodTopologySpreadScore(cache), made("p", "web", soft), cache) == {
        "a": 25,
        "b": 25,
        "c": 100,
        "bare": 0,
    }


def test_inter_pod_affinity_score() -> None:
    """The weights of all preferred terms, both ways, over the domains: 100 * (sum - min) / (max - min)."""
    liked = [{"weight": 10, "podAffinityTerm": term("db")}]
    disliked = [{"weight": 30, "podAffinityTerm": term("web", HOST)}]
    wants = {"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": liked}}}
    hates = {"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": disliked}}}
    cache = cluster(ABC, [made("db", "db", on="a"), made("hater", "x", hates, on="b")])
    # a: 10, b: 10 - 30, c and bare: 0
    found = rated(InterPodAffinityScore(cache), made("p", "web", wants), cache)
    assert found == {"a": 100, "b": 0, "c": 66, "bare": 66}


def test_a_pod_that_room_is_made_for_keeps_away_whom_it_does_not_want() -> None:
    """RunFilterPluginsWithNominatedPods: it counts as if it were there, with its own anti-affinity."""
    cache = cluster(ABC, [])
    coming = made("coming", "db", {**far(term("web", HOST)), "priority": 10})
    cache.nominate(coming.key, "a", PodInfo.of(coming))
    algorithm = Algorithm(cache, [Profile("test", (InterPodAffinity(cache),), ())], seed=1)
    asking = PodInfo.of(made("p", "web"))
    refused = algorithm.fits(asking, "a")
    assert refused is not None
    assert refused[1].reasons == (AGAINST,)
    assert algorithm.fits(asking, "b") is None
    assert {algorithm.choose(asking).node for _ in range(20)} == {"b", "c", "bare"}
    cache.nominate(coming.key, "")
    assert algorithm.fits(asking, "a") is None


def test_terms_that_nobody_has_any_more_are_forgotten() -> None:
    """Every roll-out brings terms of its own (matchLabelKeys): they must not pile up, nor be gone through for ever."""
    cache = cluster(ABC, [])
    asking = made("p", "web")
    filter_ = InterPodAffinity(cache)
    for number in range(3 * HOLDERS_KEPT):
        cache.set_pod(made("hater", "x", far(term(f"web-{number}")), on="c"))
        assert len(cache._holders) <= HOLDERS_KEPT + 1
    assert refusals(cache, asking, filter_) == dict.fromkeys(("a", "b", "c", "bare"), "")
    # Those that are in use stay, however many there are, and count on for tables that were made before.
    algorithm = Algorithm(cache, [Profile("test", (filter_,), ())])
    for number in range(2 * HOLDERS_KEPT):
        cache.set_pod(made(f"hater-{number}", "x", far(term("web" if number == 7 else f"web-{number}")), on="c"))
        if number in (8, 2 * HOLDERS_KEPT - 1):
            refused = algorithm.table(PodInfo.of(asking)).refusal("c")
            assert refused is not None
    cache.remove_pod("default/hater-7")
    assert algorithm.table(PodInfo.of(asking)).refusal("c") is None
    cache.set_pod(made("hater-7", "x", far(term("web")), on="a"))
    assert algorithm.table(PodInfo.of(asking)).refusal("a") is not None


apps = st.sampled_from(["web", "db"])
keys = st.sampled_from([HOST, ZONE])
terms = st.builds(
    lambda app, key, more: term(app, key, **more),
    apps,
    keys,
    st.sampled_from([{}, {}, {"namespaces": ["other"]}, {"namespaceSelector": {"matchLabels": {"team": "b"}}}]),
)
specs = st.one_of(
    st.just({}),
    st.builds(near, terms),
    st.builds(near, terms, terms),
    st.builds(far, terms),
    st.builds(
        lambda key, skew, app, more: spread(key, skew, app, **more),
        keys,
        st.integers(1, 2),
        apps,
        st.sampled_from(
            [
                {},
                {"minDomains": 3},
                {"nodeTaintsPolicy": "Honor"},
                {"nodeAffinityPolicy": "Ignore"},
                {"labelSelector": {}},
            ]
        ),
    ),
    st.builds(lambda a, b: {**far(a), **spread(app=b)}, terms, apps),
    st.just({**spread(), "nodeSelector": {ZONE: "1"}}),
)
described = st.tuples(apps, specs, st.sampled_from(["default", "default", "other"]))
names = st.sampled_from(["a", "b", "c", "d"])
steps = st.one_of(
    st.tuples(st.just("node"), names, st.sampled_from(["1", "2", None]), st.booleans()),
    st.tuples(st.just("no node"), names),
    st.tuples(st.just("pod"), st.integers(0, 5), names, described, st.booleans()),
    st.tuples(st.just("no pod"), st.integers(0, 5)),
)


@given(st.lists(steps, max_size=25), st.lists(described, min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_what_is_kept_up_to_date_is_what_the_rules_say(
    history: list[tuple[Any, ...]], asked: list[tuple[str, dict[str, Any], str]]
) -> None:
    """Nodes and pods come, change and go; after every step the answers are as if they had been worked out anew."""
    cache, oracle = cluster([], []), Oracle(NAMESPACES)
    profile = Profile("test", (PodTopologySpread(cache), InterPodAffinity(cache)), ())
    algorithm = Algorithm(cache, [profile])
    asking = [made(f"asking-{i}", app, spec, namespace=namespace) for i, (app, spec, namespace) in enumerate(asked)]
    for step in history:
        match step:
            case "node", name, zone, tainted:
                oracle.nodes[name] = machine(name, zone, (Taint(key="k", effect="NoSchedule"),) if tainted else ())
                cache.set_node(oracle.nodes[name])
            case "no node", name:
                oracle.nodes.pop(name, None)
                cache.remove_node(name)
            case "pod", number, name, (app, spec, namespace), going:
                key = f"{namespace}/p{number}"
                oracle.pods[key] = made(f"p{number}", app, spec, name, namespace)
                oracle.pods[key].metadata.deletionTimestamp = (
                    oracle.pods[key].metadata.creationTimestamp if going else None
                )
                cache.set_pod(oracle.pods[key])
            case "no pod", number:
                for namespace in NAMESPACES:
                    oracle.pods.pop(f"{namespace}/p{number}", None)
                    cache.remove_pod(f"{namespace}/p{number}")
        for each in asking:
            table = algorithm.table(PodInfo.of(each))
            for name, known in oracle.nodes.items():
                refused = table.refusal(name)
                found = refused[1].reasons[0] if refused else ""
                assert found == (oracle.spread(each, known) or oracle.affinity(each, known)), (step, each, name)
