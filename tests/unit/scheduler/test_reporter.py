"""What is written to a pod that is not any more as it was when the decision was made."""

from __future__ import annotations

from collections import Counter

import pytest

from kube.api.core import Pod, PodCondition
from kube.client.events import EventRecorder
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


def reporter(api: MemoryApi, seen: Pod | None) -> tuple[Reporter, EventRecorder]:
    """One whose cache has that of the pod."""
    recorder = EventRecorder(api, "default-scheduler")
    return Reporter(api, recorder, lambda key: seen), recorder


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
