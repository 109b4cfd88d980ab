"""Since when the endpoints of a service are out of date: what `endpoints.kubernetes.io/last-change-trigger-time` says.

Whoever programs a network by endpoints tells from it how long a change took on its whole way. As upstream's
TriggerTimeTracker: the earliest of the changes that a write brings, by the moments at which pods became ready or not,
and at which the service was made. What was not seen to change has no moment, and then nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from kube.api.core import Pod, Service
from kube.controller_manager.pod import ready_condition

ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


class TriggerTimes:
    """Remembers, for each service, the moments that it has seen."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, datetime]] = {}

    def of(self, service: Service, pods: Iterable[Pod]) -> datetime | None:
        """The earliest change since the last call for this service, if there was one that has a moment."""
        moments = {f"pod {pod.name}": moment for pod in pods if (moment := _trigger(pod)) is not None}
        if service.metadata.creationTimestamp is not None:
            moments["service"] = service.metadata.creationTimestamp
        before = self._seen.get(service.key)
        self._seen[service.key] = moments
        if before is None:
            # The first look tells of the service alone: its pods may be much older than it.
            return moments.get("service")
        return min((moment for what, moment in moments.items() if before.get(what) != moment), default=None)

    def forget(self, key: str) -> None:
        """The service is gone."""
        self._seen.pop(key, None)


def _trigger(pod: Pod) -> datetime | None:
    condition = ready_condition(pod)
    return condition.lastTransitionTime if condition is not None else None


def text(moment: datetime) -> str:
    """The annotation's value."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
