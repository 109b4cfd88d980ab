"""Each score against upstream's formula."""

from __future__ import annotations

import pytest

from kube.api.core import Pod
from kube.scheduler.nodeinfo import Cache, PodInfo, Selectors
from kube.scheduler.scores import LeastAllocated, SelectorSpread, matching_selectors
from tests.objects import node, pod


def cache_of(placed: dict[str, list[Pod]]) -> Cache:
    cache = Cache()
    for name, pods in placed.items():
        cache.set_node(node(name))
        for each in pods:
            each.spec.nodeName = name
            cache.set_pod(each)
    return cache


def scores(score: LeastAllocated | SelectorSpread, asking: Pod, cache: Cache) -> dict[str, int] | None:
    if not score.set_pod(PodInfo.of(asking)):
        return None
    nodes = cache.nodes()
    return dict(zip([n.name for n in nodes], score.score(nodes), strict=True))


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
    assert scores(LeastAllocated(), pod(requests=asks), cache_of({"n": placed})) == {"n": expected}


def test_pods_that_ask_for_nothing_are_spread_too() -> None:
    """A container without requests is taken to use 100m and 200Mi."""
    cache = cache_of({"busy": [pod(f"p{i}") for i in range(4)], "idle": []})
    given = scores(LeastAllocated(), pod(), cache)
    assert given is not None
    assert given["idle"] > given["busy"]


def spread_by(*selectors: dict[str, str], cache: Cache) -> SelectorSpread:
    def of(asking: Pod) -> Selectors:
        return matching_selectors(asking, selectors)

    return SelectorSpread(cache, of)


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
        pytest.param({"a": [], "b": []}, None, id="nothing to spread yet"),
    ],
)
def test_selector_spread(placed: dict[str, list[Pod]], expected: dict[str, int] | None) -> None:
    """100 * (most - here) / most, of pods that a service or controller of the pod selects, in its namespace."""
    cache = cache_of(placed)
    assert scores(spread_by({"app": "web"}, cache=cache), web("new"), cache) == expected


def test_a_pod_of_no_service_is_not_spread() -> None:
    cache = cache_of({"a": [web("1")], "b": []})
    assert scores(spread_by({"app": "db"}, {}, cache=cache), web("new"), cache) is None


def test_the_counts_follow_the_pods() -> None:
    cache = cache_of({"a": [], "b": []})
    selectors = matching_selectors(web("x"), [{"app": "web"}])
    assert cache.spread("default", selectors) == {}
    cache.assume(PodInfo.of(web("1")), "a")
    assert cache.spread("default", selectors) == {"a": 1}
    cache.set_pod(web("1", node="b"))
    assert cache.spread("default", selectors) == {"b": 1}
    cache.remove_pod("default/1")
    assert cache.spread("default", selectors) == {}
