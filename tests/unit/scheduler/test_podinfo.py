"""Pods that ask the same share what was worked out, and equal parts of them are kept once."""

from __future__ import annotations

from kube.scheduler.podinfo import PodInfo, class_of, slimmed
from tests.objects import pod


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
