"""What the scheduler tells about a pod: its events, and its condition PodScheduled."""

from __future__ import annotations

import logging
from collections.abc import Callable

from kube.api import errors
from kube.api.core import Pod, PodCondition
from kube.api.meta import now
from kube.client.events import EventRecorder
from kube.client.rest import Client
from kube.scheduler.algorithm import Unschedulable

log = logging.getLogger(__name__)


class Reporter:
    """The scheduler's hooks, in a cluster."""

    def __init__(self, client: Client, recorder: EventRecorder, latest: Callable[[str], Pod | None]) -> None:
        """`latest`: the pod of a key as the cache has it now."""
        self._client, self._recorder, self._latest = client, recorder, latest

    def scheduled(self, pod: Pod, node: str) -> None:
        self._recorder.event(pod, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {node}")

    def binding_failed(self, pod: Pod, node: str, why: errors.ApiError) -> None:
        log.warning("binding refused", extra={"pod": pod.key, "node": node, "error": why})
        self._recorder.event(pod, "Warning", "FailedScheduling", f"Binding to {node} failed: {why}")

    async def unschedulable(self, pod: Pod, why: Unschedulable) -> None:
        self._recorder.event(pod, "Warning", "FailedScheduling", str(why))
        pod = self._latest(pod.key) or pod
        conditions = with_condition(pod, str(why))
        if conditions is None:
            return
        log.info("unschedulable", extra={"pod": pod.key, "reason": why})
        patch = {
            "metadata": {"uid": pod.metadata.uid},
            "status": {"conditions": [condition.to_dict() for condition in conditions]},
        }
        try:
            await self._client.patch(Pod, pod.name, pod.namespace, patch, subresource="status")
        except errors.ApiError as failure:
            # The next attempt says it again.
            log.warning("cannot write the status", extra={"pod": pod.key, "error": failure})


def with_condition(pod: Pod, message: str) -> list[PodCondition] | None:
    """The pod's conditions with PodScheduled=False and this message; None if it says so already."""
    old = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
    if old is not None and (old.status, old.reason, old.message) == ("False", "Unschedulable", message):
        return None
    since = old.lastTransitionTime if old is not None and old.status == "False" else now()
    new = PodCondition(
        type="PodScheduled", status="False", reason="Unschedulable", message=message, lastTransitionTime=since
    )
    return [new if c.type == "PodScheduled" else c for c in pod.status.conditions] + ([] if old else [new])
