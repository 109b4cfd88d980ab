"""What is written to a pod that is not any more as it was when the decision was made."""

from __future__ import annotations

from collections import Counter

import pytest

from kube.api.core import ObjectReference, Pod, PodCondition
from kube.api.meta import Object
from kube.client.events import EventKind, EventRecorder
from kube.scheduler.algorithm import Unschedulable
from kube.scheduler.changes import ClusterChange
from kube.scheduler.podinfo import PodInfo
from kube.scheduler.preemption import Candidate
from kube.scheduler.reporter import Reporter
from tests.memory_api import MemoryApi
from tests.objects import condition_ready, pod


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


class Told(EventRecorder):
    """Keeps the reasons of what it is told."""

    def __init__(self, api: MemoryApi) -> None:
        super().__init__(api, "default-scheduler")
        self.reasons: list[str] = []

    def event(
        self, obj: Object | ObjectReference, type: EventKind, reason: str, message: str, *, component: str = ""
    ) -> None:
        self.reasons.append(reason)


def reporter(api: MemoryApi, seen: Pod) -> tuple[Reporter, Told]:
    """One whose cache has that of the pod."""
    told = Told(api)
    return Reporter(api, told, lambda key: seen), told


def room(victim: Pod) -> Candidate:
    return Candidate("n", (PodInfo.of(victim),), 0)


def conditions(of: Pod) -> dict[str, str]:
    return {each.type: each.status for each in of.status.conditions}


async def test_what_the_kubelet_wrote_meanwhile_to_a_victim_stays(api: MemoryApi) -> None:
    seen = await api.create(pod("low", node="n", ready=True))
    now = seen.clone()
    now.status.conditions = [condition_ready("False"), PodCondition(type="ContainersReady", status="False")]
    await api.update(now, "status")
    await reporter(api, seen)[0].preempt(pod("high"), room(seen))
    stored = await api.get(Pod, "low", "default")
    assert conditions(stored) == {"Ready": "False", "ContainersReady": "False", "DisruptionTarget": "True"}


async def test_the_condition_of_a_pod_that_waits_leaves_the_others_as_they_are(api: MemoryApi) -> None:
    seen = await api.create(pod("p"))
    now = seen.clone()
    now.status.conditions = [PodCondition(type="example.com/Admitted", status="True")]
    await api.update(now, "status")
    why = Unschedulable(1, Counter({"Insufficient cpu": 1}), ClusterChange.POD_REMOVED)
    await reporter(api, seen)[0].unschedulable(seen, why, "")
    stored = await api.get(Pod, "p", "default")
    assert conditions(stored) == {"example.com/Admitted": "True", "PodScheduled": "False"}


async def test_a_pod_that_has_taken_a_victims_name_is_left_alone(api: MemoryApi) -> None:
    """As the pods of a StatefulSet do: the victim is gone, and its successor may well be elsewhere."""
    victim, successor = pod("web-0", node="n", uid="old"), await api.create(pod("web-0", node="m", uid="new"))
    reports, told = reporter(api, successor)
    await reports.preempt(pod("high"), room(victim))
    stored = await api.get(Pod, "web-0", "default")
    assert (stored.metadata.deletionTimestamp, conditions(stored)) == (None, {})
    assert told.reasons == []


async def test_a_pod_that_has_taken_the_name_of_one_that_waited_is_told_nothing_of_it(api: MemoryApi) -> None:
    waited, successor = pod("p", uid="old"), await api.create(pod("p", uid="new"))
    why = Unschedulable(1, Counter({"Insufficient cpu": 1}), ClusterChange.POD_REMOVED)
    await reporter(api, successor)[0].unschedulable(waited, why, "n")
    stored = await api.get(Pod, "p", "default")
    assert (conditions(stored), stored.status.nominatedNodeName) == ({}, "")


async def test_a_victim_that_goes_already_is_not_asked_again(api: MemoryApi) -> None:
    """Upstream: "Victim Pod is already being deleted, skipping the API call for it"."""
    await api.create(pod("low", node="n"))
    await api.delete(Pod, "low", "default")
    seen = await api.get(Pod, "low", "default")
    reports, told = reporter(api, seen)
    written = list(api.writes)
    await reports.preempt(pod("high"), room(seen))
    assert api.writes == written
    assert told.reasons == []
