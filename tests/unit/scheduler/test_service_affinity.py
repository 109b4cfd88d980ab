"""v1.0's ServiceAffinity, by policy: the pods of a service go where nodes are alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kube.api.core import Pod
from kube.scheduler import policy
from kube.scheduler.algorithm import Algorithm, Unschedulable
from kube.scheduler.cache import Cache
from kube.scheduler.plugins import Context
from kube.scheduler.podinfo import PodInfo
from kube.scheduler.scores import matching_selectors
from tests.objects import node, pod

NODES = {
    "east-1": {"region": "east", "rack": "1"},
    "east-2": {"region": "east", "rack": "2"},
    "west-1": {"region": "west", "rack": "1"},
    "bare": {},
}


def algorithm(tmp_path: Path, cache: Cache, *labels: str) -> Algorithm:
    described = [{"name": "Alike", "argument": {"serviceAffinity": {"labels": [*labels]}}}]
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"kind": "Policy", "apiVersion": "v1", "predicates": described}))

    def of_services(asking: Pod) -> object:
        return matching_selectors(asking, [{"app": "web"}])

    context = Context(cache, of_services, of_services)  # type: ignore[arg-type]  # a type of its own
    return Algorithm(cache, policy.load(path, "default-scheduler").profiles(context), seed=1)


def fits(chooser: Algorithm, asking: Pod) -> list[str]:
    info = PodInfo.of(asking)
    return [name for name in NODES if chooser.fits(info, name) is None]


def web(name: str = "p", *, at: str = "", **selector: str) -> Pod:
    made = pod(name, labels={"app": "web"}, node=at)
    made.spec.nodeSelector = selector
    return made


@pytest.mark.parametrize(
    ("labels", "there", "asking", "expected"),
    [
        pytest.param(["region"], "", web(), [*NODES], id="no pod of the service yet: anywhere"),
        pytest.param(["region"], "east-1", web(), ["east-1", "east-2"], id="where the other is"),
        pytest.param(["region", "rack"], "east-1", web(), ["east-1"], id="in all of the labels"),
        pytest.param(["region"], "bare", web(), [*NODES], id="the other's node has no such label"),
        pytest.param(["region"], "east-1", pod("stranger", labels={"app": "db"}), [*NODES], id="of no service"),
        pytest.param(["region"], "east-1", web(region="west"), ["west-1"], id="its own selector outdoes the others"),
        pytest.param(["region", "rack"], "east-1", web(region="west"), ["west-1"], id="label by label"),
        pytest.param(["region"], "", web(region="west"), ["west-1"], id="its own selector holds for the first too"),
    ],
)
def test_where_the_pods_of_a_service_may_go(
    tmp_path: Path, labels: list[str], there: str, asking: Pod, expected: list[str]
) -> None:
    cache = Cache()
    for name, has in NODES.items():
        cache.set_node(node(name, labels=has))
    chooser = algorithm(tmp_path, cache, *labels)
    assert fits(chooser, web("before")) == [*NODES]
    if there:
        cache.set_pod(web("there", at=there))
    assert fits(chooser, asking) == expected


def test_it_follows_the_pods_and_says_why_not(tmp_path: Path) -> None:
    cache = Cache()
    for name, has in NODES.items():
        cache.set_node(node(name, labels=has))
    chooser = algorithm(tmp_path, cache, "region")
    cache.set_pod(web("there", at="west-1"))
    assert fits(chooser, web()) == ["west-1"]
    cache.remove_pod("default/there")
    cache.set_pod(web("there", at="east-2"))
    assert fits(chooser, web()) == ["east-1", "east-2"]
    cache.set_node(node("east-2", labels={"region": "south"}))
    cache.set_pod(web("there", at="west-1"))
    for name in ("east-1", "east-2"):
        cache.remove_node(name)
    cache.set_node(node("west-1", labels={"region": "west"}, unschedulable=True))
    with pytest.raises(Unschedulable) as refused:
        chooser.choose(PodInfo.of(web()))
    assert refused.value.reasons == {
        "node(s) didn't match service affinity": 1,
        "node(s) were unschedulable": 1,
    }
