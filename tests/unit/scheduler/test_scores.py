"""Each score against upstream's formula."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kube.api.core import ContainerImage, Node, Pod, PodSpec, Taint, Toleration
from kube.api.placement import TopologySpreadConstraint
from kube.scheduler import scores
from kube.scheduler.cache import Cache
from kube.scheduler.framework import Profile, Score, Weighted
from kube.scheduler.podinfo import PodInfo
from kube.scheduler.scores import Selectors, matching_selectors
from kube.scheduler.table import Table
from tests.objects import container, node, pod


def cache_of(placed: dict[str, list[Pod]], **nodes: Node) -> Cache:
    cache = Cache()
    for name, pods in placed.items():
        cache.set_node(nodes.get(name) or node(name))
        for each in pods:
            each.spec.nodeName = name
            cache.set_pod(each)
    return cache


def rated(score: Score, asking: Pod, cache: Cache) -> dict[str, int] | None:
    """What the score gives every node; None if it has nothing to say about the pod."""
    info = PodInfo.of(asking)
    if score.for_pod(info) is None:
        return None
    table = Table(cache, Profile("test", (), (Weighted(score),)), info)
    table.refresh()
    buckets = table.fitting()
    return {name: total for bucket, total in zip(buckets, table.totals(buckets), strict=True) for name in bucket.names}


@pytest.mark.parametrize(
    ("taken", "asks", "expected"),
    [
        pytest.param({}, {"cpu": "2", "memory": "4Gi"}, 50, id="half of both"),
        pytest.param({"cpu": "2", "memory": "4Gi"}, {"cpu": "2", "memory": "4Gi"}, 0, id="the last of both"),
        pytest.param({}, {"cpu": "1", "memory": "6Gi"}, 50, id="the mean of 75 and 25"),
        pytest.param({}, {"cpu": "6", "memory": "0"}, 50, id="more than there is counts as nothing left"),
    ],
)
def test_least_allocated(taken: dict[str, str], asks: dict[str, str], expected: int) -> None:
    """(cpu((capacity - requested) * 100 / capacity) + memory((capacity - requested) * 100 / capacity)) / 2"""
    placed = [pod("there", requests=taken)] if taken else []
    assert rated(scores.LeastAllocated(), pod(requests=asks), cache_of({"n": placed})) == {"n": expected}


@pytest.mark.parametrize(
    ("taken", "asks", "expected"),
    [
        pytest.param({}, {"cpu": "2", "memory": "4Gi"}, 50, id="half of both"),
        pytest.param({"cpu": "2", "memory": "4Gi"}, {"cpu": "2", "memory": "4Gi"}, 100, id="full"),
        pytest.param({}, {"cpu": "1", "memory": "6Gi"}, 50, id="the mean of 25 and 75"),
        pytest.param({}, {"cpu": "6", "memory": "0"}, 50, id="more than there is counts as full"),
    ],
)
def test_most_allocated(taken: dict[str, str], asks: dict[str, str], expected: int) -> None:
    """(cpu(requested * 100 / capacity) + memory(requested * 100 / capacity)) / 2"""
    placed = [pod("there", requests=taken)] if taken else []
    assert rated(scores.MostAllocated(), pod(requests=asks), cache_of({"n": placed})) == {"n": expected}


@pytest.mark.parametrize(
    ("taken", "asks", "expected"),
    [
        pytest.param({}, {"cpu": "2", "memory": "4Gi"}, 100, id="both by half"),
        pytest.param({}, {"cpu": "4"}, 50, id="all of one, nothing of the other"),
        pytest.param({"cpu": "1"}, {"memory": "2Gi"}, 100, id="what is there counts too"),
        pytest.param({}, {"cpu": "3", "memory": "2Gi"}, 75, id="three quarters and one"),
        pytest.param({}, {"cpu": "40", "memory": "8Gi"}, 100, id="a part is 1 at most"),
        pytest.param({}, {}, None, id="a pod that asks for neither has no say"),
    ],
)
def test_balanced_allocation(taken: dict[str, str], asks: dict[str, str], expected: int | None) -> None:
    """(1 - std) * 100; of two fractions, std is half their difference."""
    placed = [pod("there", requests=taken)] if taken else []
    found = rated(scores.BalancedAllocation(), pod(requests=asks), cache_of({"n": placed}))
    assert found == (None if expected is None else {"n": expected})


@pytest.mark.parametrize(("score", "expected"), [(scores.LeastAllocated(), 75), (scores.MostAllocated(), 25)])
def test_what_a_node_does_not_offer_at_all_is_left_out(score: Score, expected: int) -> None:
    """ "if allocable[i] == 0 { continue }": the mean is that of what there is."""
    cache = cache_of({"n": []}, n=node("n", memory="0"))
    assert rated(score, pod(requests={"cpu": "1"}), cache) == {"n": expected}
    neither = cache_of({"n": []}, n=node("n", cpu="0", memory="0"))
    assert rated(score, pod(requests={"cpu": "1"}), neither) == {"n": 0}


def test_pods_that_ask_for_nothing_are_spread_too() -> None:
    """A container without requests is taken to use 100m and 200Mi."""
    cache = cache_of({"busy": [pod(f"p{i}") for i in range(4)], "idle": []})
    given = rated(scores.LeastAllocated(), pod(), cache)
    assert given is not None
    assert given["idle"] > given["busy"]


def by(*selectors: dict[str, str]) -> Callable[[Pod], Selectors]:
    return lambda asking: matching_selectors(asking, selectors)


def web(name: str, **words: object) -> Pod:
    return pod(name, labels={"app": "web"}, **words)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("placed", "expected"),
    [
        pytest.param({"a": [web("1"), web("2")], "b": [web("3")], "c": []}, {"a": 0, "b": 50, "c": 100}, id="by count"),
        pytest.param(
            {"a": [web("1", deleting=True)], "b": [web("2")]}, {"a": 100, "b": 0}, id="those being deleted do not count"
        ),
        pytest.param(
            {"a": [web("1", namespace="other")], "b": [web("2")]},
            {"a": 100, "b": 0},
            id="other namespaces do not count",
        ),
        pytest.param({"a": [pod("1")], "b": [web("2")]}, {"a": 100, "b": 0}, id="other labels do not count"),
        pytest.param({"a": [], "b": []}, {"a": 100, "b": 100}, id="nothing to spread yet"),
    ],
)
def test_selector_spread(placed: dict[str, list[Pod]], expected: dict[str, int]) -> None:
    """100 * (most - here) / most, of pods that a service or controller of the pod selects, in its namespace."""
    cache = cache_of(placed)
    assert rated(scores.SelectorSpread(cache, by({"app": "web"})), web("new"), cache) == expected


def in_zone(name: str, zone: str) -> Node:
    return node(name, labels={"topology.kubernetes.io/zone": zone})


def test_selector_spread_over_zones() -> None:
    """Zones count for two thirds: score * 1/3 + 2/3 * 100 * (most of a zone - in this zone) / most of a zone."""
    cache = cache_of(
        {"a1": [web("1"), web("2")], "a2": [], "b1": [web("3")]},
        a1=in_zone("a1", "a"), a2=in_zone("a2", "a"), b1=in_zone("b1", "b"),
    )  # fmt: skip
    found = rated(scores.SelectorSpread(cache, by({"app": "web"})), web("new"), cache)
    assert found == {"a1": 0, "a2": 33, "b1": 50}


def test_zones_are_known_by_their_old_label_too() -> None:
    """GetZoneKey: `failure-domain.beta.kubernetes.io/zone` goes before `topology.kubernetes.io/zone`."""
    old = {"failure-domain.beta.kubernetes.io/zone": "a", "topology.kubernetes.io/zone": "b"}
    cache = cache_of(
        {"a1": [web("1"), web("2")], "a2": [], "b1": [web("3")]},
        a1=in_zone("a1", "a"), a2=node("a2", labels=old), b1=in_zone("b1", "b"),
    )  # fmt: skip
    found = rated(scores.SelectorSpread(cache, by({"app": "web"})), web("new"), cache)
    assert found == {"a1": 0, "a2": 33, "b1": 50}


def test_a_pod_of_several_is_spread_among_those_that_all_of_them_select() -> None:
    """countMatchingPods: "counts pods based on namespace and matching all selectors": a service over two versions."""
    versions = [pod(v, labels={"app": "web", "version": v}) for v in ("1", "2")]
    cache = cache_of({"one": versions[:1], "two": versions[1:]})
    asking = pod("new", labels={"app": "web", "version": "2"})
    spread = scores.SelectorSpread(cache, by({"app": "web"}, {"app": "web", "version": "2"}))
    assert rated(spread, asking, cache) == {"one": 100, "two": 0}


def test_a_pod_that_says_itself_how_it_is_spread_is_not_spread_otherwise() -> None:
    """skipSelectorSpread: "true if the pod's TopologySpreadConstraints are specified"."""
    cache = cache_of({"a": [web("1")], "b": []})
    asking, plain = web("new"), web("plain")
    asking.spec.topologySpreadConstraints = [
        TopologySpreadConstraint(maxSkew=1, topologyKey="zone", whenUnsatisfiable="ScheduleAnyway")
    ]
    spread = scores.SelectorSpread(cache, by({"app": "web"}))
    assert rated(spread, asking, cache) is None
    assert spread.sign(PodInfo.of(asking)) != spread.sign(PodInfo.of(plain)), "not judged as the other is"


def test_spread_scores_are_rounded_as_upstream_rounds_them() -> None:
    """100 * ((most - here) / most) in floating point: 100 * (29 / 100) is a little less than 29."""
    cache = cache_of({"a": [web(f"a{i}") for i in range(100)], "b": [web(f"b{i}") for i in range(71)]})
    assert rated(scores.SelectorSpread(cache, by({"app": "web"})), web("new"), cache) == {"a": 0, "b": 28}


def test_a_pod_of_no_service_is_not_spread() -> None:
    cache = cache_of({"a": [web("1")], "b": []})
    assert rated(scores.SelectorSpread(cache, by({"app": "db"}, {})), web("new"), cache) is None


def test_service_anti_affinity() -> None:
    """v1.0: 100 * (all - those with this value of the label) / all; nodes without the label get 0."""
    cache = cache_of(
        {"a": [web("1"), web("2"), web("3")], "b": [web("4")], "c": [], "bare": []},
        a=node("a", labels={"rack": "1"}), b=node("b", labels={"rack": "2"}), c=node("c", labels={"rack": "2"}),
    )  # fmt: skip
    found = rated(scores.ServiceAntiAffinity(cache, by({"app": "web"}), "rack"), web("new"), cache)
    assert found == {"a": 25, "b": 75, "c": 75, "bare": 0}


def test_service_anti_affinity_counts_the_pods_of_nodes_without_the_label_among_all() -> None:
    """v1.0: "numServicePods := len(nsServicePods)", wherever they are; `podCounts` only those on labelled nodes."""
    cache = cache_of(
        {"a": [web("1")], "b": [], "bare": [web("2"), web("3")]},
        a=node("a", labels={"rack": "1"}), b=node("b", labels={"rack": "2"}),
    )  # fmt: skip
    score = scores.ServiceAntiAffinity(cache, by({"app": "web"}), "rack")
    table = Table(cache, Profile("test", (), (Weighted(score),)), PodInfo.of(web("new")))

    def told() -> dict[str, int]:
        table.refresh()
        buckets = table.fitting()
        return {n: t for bucket, t in zip(buckets, table.totals(buckets), strict=True) for n in bucket.names}

    assert told() == {"a": 66, "b": 100, "bare": 0}
    cache.remove_pod("default/2")
    assert told() == {"a": 50, "b": 100, "bare": 0}
    cache.remove_node("bare")
    assert told() == {"a": 0, "b": 100}


@pytest.mark.parametrize(("presence", "expected"), [(True, {"a": 100, "b": 0}), (False, {"a": 0, "b": 100})])
def test_label_preference(presence: bool, expected: dict[str, int]) -> None:
    """v1.0's NodeLabelPriority: the label is there, or is not, whatever its value."""
    cache = cache_of({"a": [], "b": []}, a=node("a", labels={"retiring": ""}))
    assert rated(scores.LabelPreference("retiring", presence), pod(), cache) == expected


def test_node_affinity_score() -> None:
    """The weights of the preferred terms that a node meets, 100 * sum / largest sum."""
    terms = [
        {"weight": w, "preference": {"matchExpressions": [{"key": key, "operator": "Exists"}]}}
        for key, w in (("x", 1), ("y", 3))
    ]
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}
    asking = pod(spec=PodSpec.parse({"containers": [container().to_dict()], "affinity": affinity}))
    cache = cache_of(
        {"both": [], "y": [], "x": [], "none": []},
        both=node("both", labels={"x": "", "y": ""}), y=node("y", labels={"y": ""}), x=node("x", labels={"x": ""}),
    )  # fmt: skip
    assert rated(scores.NodeAffinityScore(), asking, cache) == {"both": 100, "y": 75, "x": 25, "none": 0}


def test_taint_toleration_score() -> None:
    """Taints of effect PreferNoSchedule that are not tolerated count against a node: 100 - 100 * count / most."""
    soft = [Taint(key=key, effect="PreferNoSchedule") for key in ("a", "b")]
    cache = cache_of(
        {"clean": [], "one": [], "two": [], "hard": []},
        one=node("one", taints=soft[:1]), two=node("two", taints=soft),
        hard=node("hard", taints=[Taint(key="k", effect="NoSchedule")]),
    )  # fmt: skip
    assert rated(scores.TaintTolerationScore(), pod(), cache) == {"clean": 100, "one": 50, "two": 0, "hard": 100}
    bearing = pod(spec=PodSpec(containers=[container()], tolerations=[Toleration(key="a", operator="Exists")]))
    assert rated(scores.TaintTolerationScore(), bearing, cache) == {"clean": 100, "one": 100, "two": 0, "hard": 100}


def test_image_locality() -> None:
    """size * (nodes that have it / all nodes), from 23 MB (0) to 1000 MB a container (100)."""
    mb = 1024 * 1024
    has = node("has")
    has.status.images = [ContainerImage(names=["kube/web:latest"], sizeBytes=1046 * mb)]
    cache = cache_of({"has": [], "has-not": []}, has=has)
    assert rated(scores.ImageLocality(cache), pod(), cache) == {"has": 100 * (523 - 23) // (1000 - 23), "has-not": 0}


def test_an_image_without_a_tag_is_the_latest() -> None:
    assert scores.normalized("kube/web") == "kube/web:latest"
    assert scores.normalized("registry:5000/web") == "registry:5000/web:latest"
    assert scores.normalized("registry:5000/web:1") == "registry:5000/web:1"


def test_the_counts_follow_the_pods() -> None:
    cache = cache_of({"a": [], "b": []})
    selectors = matching_selectors(web("x"), [{"app": "web"}])
    counts = cache.tally(selectors, living=True)
    assert counts == {}
    cache.assume(PodInfo.of(web("1")), "a")
    assert counts == {"a": 1}
    cache.set_pod(web("1", node="b"))
    assert counts == {"b": 1}
    cache.remove_pod("default/1")
    assert counts == {}
