"""What a namespace that is being deleted says of itself."""

from __future__ import annotations

from datetime import UTC, datetime

from kube.api.core import NamespaceCondition
from kube.api.resources import PODS, SERVICES
from kube.controller_manager.namespace import AGAIN, conditions, merge, wait
from tests.objects import pod, service


def test_an_empty_namespace_has_nothing_to_say() -> None:
    assert [condition.status for condition in conditions({}, [])] == ["False", "False", "False"]


def test_what_remains_is_counted_by_kind() -> None:
    kept = pod("a")
    kept.metadata.finalizers = ["x/y"]
    _, content, finalizers = conditions({SERVICES: [service("s")], PODS: [kept, pod("b")]}, [])
    assert content.message == (
        "Some resources are remaining: pods. has 2 resource instances, services. has 1 resource instances"
    )
    assert finalizers.message == ("Some content in the namespace has finalizers remaining: x/y in 1 resource instances")


def test_the_time_of_a_condition_moves_with_its_status_only() -> None:
    then = datetime(2020, 1, 1, tzinfo=UTC)
    before = [NamespaceCondition(type="A", status="True", message="one", lastTransitionTime=then)]
    (kept,) = merge(before, [NamespaceCondition(type="A", status="True", message="two")])
    assert (kept.message, kept.lastTransitionTime) == ("two", then)
    (moved,) = merge(before, [NamespaceCondition(type="A", status="False")])
    assert moved.lastTransitionTime is not None
    assert moved.lastTransitionTime > then


def test_a_pods_grace_is_waited_for_but_not_slept_through() -> None:
    slow = pod("slow")
    slow.metadata.deletionGracePeriodSeconds = 6
    assert wait({PODS: [slow]}) == 3
    slow.metadata.deletionGracePeriodSeconds = 3600
    assert wait({PODS: [slow]}) == 5
    assert wait({SERVICES: [service("s")]}) == AGAIN
