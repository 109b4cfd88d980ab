"""What the scheduler tells about a pod, its events and its condition PodScheduled, and whom it asks to go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from kube.api import errors
from kube.api.core import Pod, PodCondition
from kube.api.meta import now
from kube.client.events import EventKind, EventRecorder
from kube.client.rest import STRATEGIC_MERGE_PATCH, Client
from kube.scheduler.algorithm import Unschedulable
from kube.scheduler.eventhandlers import DEFAULT_SCHEDULER
from kube.scheduler.preemption import PREEMPTED_BY_SCHEDULER, Candidate

log = logging.getLogger(__name__)


class Reporter:
    """The scheduler's hooks, in a cluster."""

    def __init__(self, client: Client, recorder: EventRecorder, latest: Callable[[str], Pod | None]) -> None:
        """`latest`: the pod of a key as the cache has it now."""
        self._client, self._recorder, self._latest = client, recorder, latest

    def scheduled(self, pod: Pod, node: str) -> None:
        self._tell(pod, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {node}", by=pod)

    async def failed(self, pod: Pod, message: str) -> None:
        self._tell(pod, "Warning", "FailedScheduling", message, by=pod)
        condition = not_scheduled(pod, message, reason="SchedulerError")
        if condition is not None:
            await self._patch(pod, {"conditions": [condition.to_dict()]})

    async def current(self, pod: Pod) -> Pod | None:
        try:
            return await self._client.get(Pod, pod.name, pod.namespace)
        except errors.NotFound:
            return None

    async def unschedulable(self, pod: Pod, why: Unschedulable, nominated: str) -> None:
        self._tell(pod, "Warning", "FailedScheduling", str(why), by=pod)
        pod = self._seen(pod) or pod
        status: dict[str, Any] = {}
        condition = not_scheduled(pod, str(why))
        if condition is not None:
            status["conditions"] = [condition.to_dict()]
        if nominated != pod.status.nominatedNodeName:
            status["nominatedNodeName"] = nominated or None
        if status:
            log.info("unschedulable", extra={"pod": pod.key, "reason": why})
            await self._patch(pod, status)

    async def preempt(self, pod: Pod, candidate: Candidate) -> None:
        await asyncio.gather(*(self._push_out(victim.pod, pod, candidate.node) for victim in candidate.victims))

    async def give_up(self, pods: list[Pod]) -> None:
        for pod in pods:
            await self._patch(pod, {"nominatedNodeName": None})

    async def _push_out(self, victim: Pod, pod: Pod, node: str) -> None:
        """Say why, then delete it, with its own time to end."""
        seen = self._seen(victim)
        if seen is None or seen.metadata.deletionTimestamp is not None:
            return  # it has gone by itself, or is about to
        disrupted = PodCondition(
            type="DisruptionTarget",
            status="True",
            reason=PREEMPTED_BY_SCHEDULER,
            message=f"{_scheduler_of(pod)}: preempting to accommodate a higher priority pod",
            lastTransitionTime=now(),
        )
        await self._patch(victim, {"conditions": [disrupted.to_dict()]})
        try:
            await self._client.delete(Pod, victim.name, victim.namespace, uid=victim.metadata.uid)
        except (errors.NotFound, errors.Conflict):
            return  # it has gone by itself
        self._tell(victim, "Normal", "Preempted", f"Preempted by pod {pod.metadata.uid} on node {node}", by=pod)

    def _tell(self, about: Pod, kind: EventKind, reason: str, message: str, *, by: Pod) -> None:
        """An event in the name of the profile that decides about a pod, as each has a recorder upstream."""
        self._recorder.event(about, kind, reason, message, component=_scheduler_of(by))

    def _seen(self, pod: Pod) -> Pod | None:
        """This very pod as the cache has it now, and none that has taken its name."""
        latest = self._latest(pod.key)
        return latest if latest is not None and latest.metadata.uid == pod.metadata.uid else None

    async def _patch(self, pod: Pod, status: dict[str, Any]) -> None:
        """Merge into the status. Conditions are merged by their type: others write others of them, as the kubelet does
        all the time, and our view is late.
        """
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": status}
        try:
            await self._client.patch(
                Pod, pod.name, pod.namespace, patch, subresource="status", content_type=STRATEGIC_MERGE_PATCH
            )
        except errors.ApiError as failure:
            # The next attempt says it again.
            log.warning("cannot write the status", extra={"pod": pod.key, "error": failure})


def _scheduler_of(pod: Pod) -> str:
    return pod.spec.schedulerName or DEFAULT_SCHEDULER


def not_scheduled(pod: Pod, message: str, *, reason: str = "Unschedulable") -> PodCondition | None:
    """PodScheduled=False with this message; None if the pod says so already."""
    old = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
    if old is not None and (old.status, old.reason, old.message) == ("False", reason, message):
        return None
    since = old.lastTransitionTime if old is not None and old.status == "False" else now()
    return PodCondition(type="PodScheduled", status="False", reason=reason, message=message, lastTransitionTime=since)
