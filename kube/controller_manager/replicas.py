"""What a replication controller wants, given what there is: pure decisions, carried out by replication.py.

The rules are upstream's (pkg/controller: PodControllerRefManager, ActivePodsWithRanks, pkg/controller/replicaset).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cmp_to_key
from math import log2

from kube.api.core import (
    Pod,
    ReplicationController,
    ReplicationControllerCondition,
    ReplicationControllerStatus,
)
from kube.api.meta import OwnerReference
from kube.controller_manager.pod import active, ready, ready_condition, seconds_to_available

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
REPLICA_FAILURE = "ReplicaFailure"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do."""

    missing: int = 0
    """How many pods to create."""
    surplus: list[Pod] = field(default_factory=list)
    """Which pods to delete."""
    adopt: list[Pod] = field(default_factory=list)
    """Pods that match and have no controller: to be made ours. They count already."""
    release: list[Pod] = field(default_factory=list)
    """Pods that are ours and match no longer: to be let go. They do not count."""
    claimed: list[Pod] = field(default_factory=list)
    """All pods that count, the surplus among them."""


def wanted(rc: ReplicationController) -> int:
    """How many pods there are to be."""
    return 1 if rc.spec.replicas is None else rc.spec.replicas


def selector(rc: ReplicationController) -> dict[str, str]:
    """The labels of the pods that count; without a selector, the template's."""
    if rc.spec.selector or rc.spec.template is None:
        return rc.spec.selector
    return rc.spec.template.metadata.labels


def selects(labels: dict[str, str], pod: Pod) -> bool:
    """Whether a pod has all these labels. No labels select nothing, rather than everything."""
    return bool(labels) and labels.items() <= pod.metadata.labels.items()


def owner_reference(rc: ReplicationController) -> OwnerReference:
    """What marks a pod as this controller's."""
    return OwnerReference(
        apiVersion=rc.apiVersion,
        kind=rc.kind,
        name=rc.name,
        uid=rc.metadata.uid,
        controller=True,
        blockOwnerDeletion=True,
    )


def plan(rc: ReplicationController, pods: Iterable[Pod], now: datetime | None = None) -> Plan:
    """What makes the pods fit the controller. `pods`: at least all that it owns or could adopt, in its namespace.

    Pods that have ended or are being deleted do not count, and are neither adopted nor released. A controller that is
    being deleted creates, deletes, adopts and releases nothing.
    """
    labels, deleting = selector(rc), rc.metadata.deletionTimestamp is not None
    claimed: list[Pod] = []
    adopt: list[Pod] = []
    release: list[Pod] = []
    for pod in pods:
        if not active(pod):
            continue
        owner = pod.metadata.controller()
        if owner is not None:
            if owner.uid != rc.metadata.uid:
                continue
            if selects(labels, pod):
                claimed.append(pod)
            elif not deleting:
                release.append(pod)
        elif selects(labels, pod) and not deleting:
            claimed.append(pod)
            adopt.append(pod)
    if deleting:
        return Plan(claimed=claimed)
    excess = len(claimed) - wanted(rc)
    # Who is missed least does not matter when all are to go.
    order = deletion_order(claimed, now) if 0 < excess < len(claimed) else claimed
    surplus = order[: max(0, excess)]
    return Plan(max(0, -excess), surplus, adopt, release, claimed)


@dataclass(frozen=True, slots=True)
class _Missed:
    """What says how much a pod is missed."""

    pod: Pod
    rank: tuple[bool, int, bool, int, int]
    """Assigned, phase, ready, deletion cost, those of its like on other nodes: the lower goes."""
    ready_since: datetime | None
    restarts: tuple[int, int]
    """Of its containers and of its sidecars."""


def deletion_order(pods: Sequence[Pod], now: datetime | None = None) -> list[Pod]:
    """The pods, those first that are missed least.

    1. Unassigned before assigned. 2. Pending before unknown before running. 3. Not ready before ready. 4. Lower
    pod-deletion-cost first. 5. Those that share their node with more of their like first. 6. Ready for a shorter time
    first. 7. More restarts first. 8. Younger first.

    Times are compared by how long ago they are on a scale of powers of two, and within one by UID (upstream's
    LogarithmicScaleDown): else those would always go that came last, and they may be all that one zone has. Without
    `now` they are compared as they are.
    """
    together = Counter(pod.spec.nodeName for pod in pods if pod.spec.nodeName)

    def missed(pod: Pod) -> _Missed:
        condition = ready_condition(pod)
        is_ready = ready(pod)
        return _Missed(
            pod,
            (
                bool(pod.spec.nodeName),
                _PHASES.get(pod.status.phase, 0),
                is_ready,
                deletion_cost(pod),
                -together[pod.spec.nodeName],
            ),
            condition.lastTransitionTime if is_ready and condition else None,
            _restarts(pod),
        )

    def compare(one: _Missed, other: _Missed) -> int:
        if one.rank != other.rank:
            return -1 if one.rank < other.rank else 1
        if one.ready_since != other.ready_since:
            return _compare_ages(one.ready_since, other.ready_since, now) or _compare_uids(one.pod, other.pod)
        if one.restarts != other.restarts:
            return -1 if one.restarts > other.restarts else 1
        created = one.pod.metadata.creationTimestamp, other.pod.metadata.creationTimestamp
        if created[0] != created[1]:
            return _compare_ages(*created, now) or _compare_uids(one.pod, other.pod)
        return -1 if one.pod.name < other.pod.name else 1

    return [each.pod for each in sorted(map(missed, pods), key=cmp_to_key(compare))]


def _restarts(pod: Pod) -> tuple[int, int]:
    sidecars = {container.name for container in pod.spec.initContainers if container.restartPolicy == "Always"}
    of_sidecars = (each.restartCount for each in pod.status.initContainerStatuses if each.name in sidecars)
    return max((each.restartCount for each in pod.status.containerStatuses), default=0), max(of_sidecars, default=0)


def _compare_ages(one: datetime | None, other: datetime | None, now: datetime | None) -> int:
    """Below 0 if the one is younger, above if it is older, 0 if they are about as old as each other.

    A moment that is not known counts as the youngest.
    """
    if one is None or other is None:
        return -1 if one is None else 1
    if now is None:
        return -1 if one > other else 1
    return _magnitude(now - one) - _magnitude(now - other)


def _magnitude(age: timedelta) -> int:
    """The power of two of an age in nanoseconds; -1 for what is yet to come."""
    seconds = age.total_seconds()
    return int(log2(seconds * 1e9)) if seconds > 0 else -1


def _compare_uids(one: Pod, other: Pod) -> int:
    return -1 if one.metadata.uid < other.metadata.uid else 1


def deletion_cost(pod: Pod) -> int:
    """What the pod's annotation says; 0 if it says nothing or nonsense."""
    try:
        return int(pod.metadata.annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why pods could not be created or deleted."""

    reason: str
    """`FailedCreate` or `FailedDelete`."""
    message: str


def status(
    rc: ReplicationController,
    claimed: Sequence[Pod],
    conditions: Sequence[ReplicationControllerCondition],
    now: datetime,
) -> tuple[ReplicationControllerStatus, float | None]:
    """The controller's status, and the seconds after which it will change by the mere passing of time, if it will."""
    template = rc.spec.template.metadata.labels if rc.spec.template else {}
    waits = [seconds_to_available(pod, rc.spec.minReadySeconds, now) for pod in claimed]
    result = ReplicationControllerStatus(
        replicas=len(claimed),
        fullyLabeledReplicas=sum(template.items() <= pod.metadata.labels.items() for pod in claimed),
        readyReplicas=sum(wait is not None for wait in waits),
        availableReplicas=sum(wait == 0.0 for wait in waits),
        observedGeneration=rc.metadata.generation,
        conditions=list(conditions),
    )
    return result, min((wait for wait in waits if wait), default=None)


def failure_conditions(
    old: Sequence[ReplicationControllerCondition], failure: Failure | None, now: datetime
) -> list[ReplicationControllerCondition]:
    """A failure is shown while it lasts. The same failure again keeps its time."""
    others = [c for c in old if c.type != REPLICA_FAILURE]
    if failure is None:
        return others
    shown = next((c for c in old if c.type == REPLICA_FAILURE), None)
    if shown is not None and (shown.status, shown.reason) == ("True", failure.reason):
        return list(old)
    since = shown.lastTransitionTime if shown is not None and shown.status == "True" else now
    return [
        *others,
        ReplicationControllerCondition(
            type=REPLICA_FAILURE,
            status="True",
            lastTransitionTime=since,
            reason=failure.reason,
            message=failure.message,
        ),
    ]
