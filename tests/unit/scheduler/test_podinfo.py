"""Pods that ask the same share what was worked out, and equal parts of them are kept once."""

from __future__ import annotations

import pytest

from kube.api.core import Container, PodSpec, ResourceRequirements
from kube.scheduler.podinfo import PodInfo, class_of, pod_requests, slimmed
from tests.objects import container, pod

MB = 1024 * 1024


def sidecar(**requests: str) -> Container:
    return Container(name="s", restartPolicy="Always", resources=ResourceRequirements(requests=requests))


def whole(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> ResourceRequirements:
    return ResourceRequirements(requests=requests or {}, limits=limits or {})


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(PodSpec(containers=[container()]), (100, 200 * MB), id="a container that does not say"),
        pytest.param(PodSpec(containers=[container({"cpu": "0"})]), (0, 200 * MB), id="nothing, and it says so"),
        pytest.param(
            PodSpec(containers=[container({"cpu": "1"}), container({"memory": "1Mi"})]),
            (1100, 201 * MB),
            id="one says the one, one the other",
        ),
        pytest.param(
            PodSpec(containers=[container()], initContainers=[container({"cpu": "1"})]),
            (1000, 200 * MB),
            id="an init container has the same defaults, and is over before the others begin",
        ),
        pytest.param(PodSpec(containers=[container()], initContainers=[sidecar()]), (200, 400 * MB), id="a sidecar"),
        pytest.param(
            PodSpec(containers=[container()], initContainers=[sidecar(cpu="1"), container({"memory": "1Gi"})]),
            (1100, 1224 * MB),
            id="an init container beside a sidecar",
        ),
        pytest.param(
            PodSpec(containers=[container()], overhead={"cpu": "50m"}), (150, 200 * MB), id="the overhead comes on top"
        ),
        pytest.param(
            PodSpec(containers=[container(), container()], resources=whole({"cpu": "1"})),
            (1000, 400 * MB),
            id="what is said of the whole pod, and what nobody says",
        ),
        pytest.param(
            PodSpec(containers=[container({"memory": "1Mi"}), container()], resources=whole({"cpu": "1"})),
            (1000, 1 * MB),
            id="a whole pod of which one container says something has no defaults for that",
        ),
    ],
)
def test_what_a_pod_is_taken_to_use(spec: PodSpec, expected: tuple[int, int]) -> None:
    """Each container that names none is taken to use 100m and 200Mi, and then they are summed up as requests are.

    Of a pod with requests of its own only for what neither it nor a container names (getNonMissingContainerRequests).
    """
    cls = class_of(pod(spec=spec))
    assert (cls.cpu, cls.memory) == expected


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        pytest.param(whole({"cpu": "3"}), 3000, id="what the pod requests"),
        pytest.param(whole({"cpu": "3"}, {"cpu": "4"}), 3000, id="and not its limit"),
        pytest.param(whole(limits={"cpu": "4"}), 1000, id="else what its containers request, whatever its limit"),
        pytest.param(whole(limits={"memory": "1Gi"}), 1000, id="of that resource"),
    ],
)
def test_what_a_pod_with_resources_of_its_own_requests(resources: ResourceRequirements, expected: int) -> None:
    """`defaultPodRequests`: "equal to the effective requests of all containers; else to the pod-level limits"."""
    spec = PodSpec(containers=[container({"cpu": "600m"}), container({"cpu": "400m"})], resources=resources)
    assert pod_requests(pod(spec=spec)).get("cpu") == expected
    assert pod_requests(pod(spec=spec)).get("memory", 0) == (1024 * MB if "memory" in resources.limits else 0)


def test_pods_that_ask_the_same_are_of_one_class() -> None:
    one, same = pod("a", requests={"cpu": "1"}), pod("b", requests={"cpu": "1"}, node="n")
    assert class_of(one) is class_of(same)
    assert class_of(one) is not class_of(pod("c", requests={"cpu": "2"}))
    assert class_of(one) is not class_of(pod("d", requests={"cpu": "1"}, labels={"app": "web"}))


def test_what_is_kept_of_a_pod_asks_for_the_same() -> None:
    whole = [pod(name, requests={"cpu": "1"}, ready=True, labels={"app": "web"}) for name in ("a", "b")]
    for each in whole:
        each.metadata.annotations["note"] = "of no use here"
    kept = [slimmed(each.clone()) for each in whole]
    other = pod("c", requests={"cpu": "1"}, ready=False, labels={"app": "web"})
    assert slimmed(other).spec is kept[0].spec
    assert other.status is not kept[0].status
    assert kept[0].spec is kept[1].spec
    assert kept[0].status is kept[1].status
    for before, after in zip(whole, kept, strict=True):
        assert (after.key, after.metadata.uid) == (before.key, before.metadata.uid)
        assert after.spec == before.spec
        assert after.status.conditions == before.status.conditions
        assert class_of(after) is class_of(before)
        assert after.metadata.annotations == {}


def test_a_pod_whose_status_alone_has_changed_is_of_the_class_it_was() -> None:
    read = [slimmed(pod("a", requests={"cpu": "1"}, ready=ready, labels={"app": "web"})) for ready in (False, True)]
    waiting, ready = read
    before = PodInfo.of(waiting)
    assert PodInfo.of(ready, before).cls is before.cls
    moved = slimmed(pod("a", requests={"cpu": "1"}, labels={"app": "db"}))
    resized = slimmed(pod("a", requests={"cpu": "2"}, labels={"app": "web"}))
    for changed in (moved, resized):
        assert PodInfo.of(changed, before).cls is class_of(changed) is not before.cls
