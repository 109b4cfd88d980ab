"""What a namespace that is being deleted says of itself."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kube.api.core import Namespace, NamespaceCondition, Pod, PodSpec
from kube.api.meta import Object, ObjectMeta
from kube.api.resources import PODS, SERVICES
from kube.controller_manager.namespace import AGAIN, Content, conditions, merge, wait
from tests.objects import NOON, ago, pod, service


def test_an_empty_namespace_says_that_all_is_well() -> None:
    assert [(each.type, each.status, each.reason, each.message) for each in conditions(Content())] == [
        ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", "All resources successfully discovered"),
        (
            "NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure", "False", "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        ("NamespaceContentRemaining", "False", "ContentRemoved", "All content successfully removed"),
        (
            "NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ]  # fmt: skip


def test_what_remains_is_counted_by_kind() -> None:
    kept = pod("a")
    kept.metadata.finalizers = ["x/y"]
    *_, content, finalizers = conditions(Content({SERVICES: [service("s")], PODS: [kept, pod("b")]}))
    assert content.message == (
        "Some resources are remaining: pods. has 2 resource instances, services. has 1 resource instances"
    )
    assert finalizers.message == ("Some content in the namespace has finalizers remaining: x/y in 1 resource instances")


def test_failures_are_counted_and_listed() -> None:
    failure = conditions(Content(failures=["b", "a"]))[2]
    assert (failure.status, failure.reason) == ("True", "ContentDeletionFailed")
    assert failure.message == "Failed to delete all resource types, 2 remaining: a, b"


@pytest.mark.parametrize(
    ("left", "seconds", "unexpected"),
    [
        pytest.param(service("s"), 0, True, id="nothing keeps it"),
        pytest.param(pod("p", spec=PodSpec(terminationGracePeriodSeconds=30)), 29, False, id="a pod has its grace"),
        pytest.param(pod("p", spec=PodSpec(terminationGracePeriodSeconds=30)), 30, True, id="its grace is over"),
        pytest.param(pod("p", phase="Succeeded"), 0, True, id="a pod that has ended needs none"),
    ],
)
def test_what_has_no_reason_to_stay_is_a_failure(left: Object, seconds: int, unexpected: bool) -> None:
    namespace = Namespace(metadata=ObjectMeta(name="going", deletionTimestamp=ago(seconds)))
    resource = PODS if isinstance(left, Pod) else SERVICES
    content = Content({resource: [left]})
    content.look(namespace, NOON)
    message = f"unexpected items still remain in namespace: going for gvr: /v1, Resource={resource.plural}"
    assert content.failures == ([message] if unexpected else [])
    left.metadata.finalizers = ["x/y"]
    content = Content({resource: [left]})
    content.look(namespace, NOON)
    assert content.failures == [], "a finalizer is a reason"


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
