"""What controllers want to know of a pod (upstream: pkg/api/v1/pod and controller_utils)."""

from __future__ import annotations

from datetime import datetime
from weakref import WeakValueDictionary

from kube.api.core import Pod, PodCondition, PodSpec
from kube.api.meta import OwnerReference

_specs: WeakValueDictionary[bytes, PodSpec] = WeakValueDictionary()
_conditions: WeakValueDictionary[tuple[object, ...], PodCondition] = WeakValueDictionary()
_owners: WeakValueDictionary[tuple[object, ...], OwnerReference] = WeakValueDictionary()


def sharing_parts(pod: Pod) -> Pod:
    """The pod, which is changed: equal specs, conditions and owners are one object. Most of a pod in memory is what its
    controller's others have, too.
    """
    vars(pod)["spec"] = _specs.setdefault(pod.spec.to_json(), pod.spec)
    owners, conditions = pod.metadata.ownerReferences, pod.status.conditions
    owners[:] = [_owners.setdefault(tuple(vars(each).values()), each) for each in owners]
    conditions[:] = [_conditions.setdefault(tuple(vars(each).values()), each) for each in conditions]
    return pod


def ended(pod: Pod) -> bool:
    """Whether all its containers have ended for good."""
    return pod.status.phase in ("Succeeded", "Failed")


def active(pod: Pod) -> bool:
    """Whether the pod counts: it has not ended, and nobody has asked for its deletion."""
    return not ended(pod) and pod.metadata.deletionTimestamp is None


def ready_condition(pod: Pod) -> PodCondition | None:
    return next((c for c in pod.status.conditions if c.type == "Ready"), None)


def ready(pod: Pod) -> bool:
    """Whether traffic may go to it."""
    condition = ready_condition(pod)
    return condition is not None and condition.status == "True"


def seconds_to_available(pod: Pod, min_ready_seconds: int, now: datetime) -> float | None:
    """When the pod will have been ready long enough, if it stays ready: 0 if it has, None while it is not ready."""
    condition = ready_condition(pod)
    if condition is None or condition.status != "True":
        return None
    if min_ready_seconds == 0:
        return 0.0
    if condition.lastTransitionTime is None:
        return float(min_ready_seconds)
    return max(0.0, min_ready_seconds - (now - condition.lastTransitionTime).total_seconds())
