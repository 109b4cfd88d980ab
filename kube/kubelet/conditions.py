"""The conditions of a pod, with upstream's reasons and messages (pkg/kubelet/status/generate.go)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kube.api.core import ContainerStatus, Pod, PodCondition, PodStatus
from kube.kubelet.pod_state import Seen
from kube.kubelet.spec import is_sidecar

OWNED_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
"""The conditions that the kubelet writes; all others belong to somebody else and are kept."""

DISRUPTION, BY_KUBELET = "DisruptionTarget", "TerminationByKubelet"
"""The condition, and the reason, of a pod that had to leave: others set this condition, too, for reasons of theirs."""

Verdict = tuple[bool, str, str]
"""Whether a condition holds, the reason, and the message."""
HOLDS: Verdict = (True, "", "")


def conditions(
    pod: Pod, status: PodStatus, seen: Seen, previous: Sequence[PodCondition], now: datetime
) -> list[PodCondition]:
    """The kubelet's conditions, then those of others as they are."""
    containers_ready = _containers_ready(pod, status)
    wanted: dict[str, Verdict] = {
        "PodReadyToStartContainers": (seen.sandbox() is not None, "", ""),
        "Initialized": _initialized(pod, status),
        "Ready": _gates(pod, previous) if containers_ready[0] else containers_ready,
        "ContainersReady": containers_ready,
        "PodScheduled": HOLDS,
    }
    old = {c.type: c for c in previous}
    result = []
    for type_, (holds, reason, message) in wanted.items():
        value = "True" if holds else "False"
        before = old.get(type_)
        since = before.lastTransitionTime if before is not None and before.status == value else None
        made = PodCondition(type=type_, status=value, reason=reason, message=message, lastTransitionTime=since or now)
        made.observedGeneration = pod.metadata.generation
        result.append(made)
    return result + [c for c in previous if c.type not in OWNED_CONDITIONS]


def disrupted(pod: Pod, message: str, now: datetime) -> PodCondition:
    """That the pod has ended because this kubelet had it leave."""
    return PodCondition(
        type=DISRUPTION,
        status="True",
        reason=BY_KUBELET,
        message=message,
        lastTransitionTime=now,
        observedGeneration=pod.metadata.generation,
    )


def is_own(condition: PodCondition) -> bool:
    """Whether a condition is this kubelet's word."""
    return condition.type in OWNED_CONDITIONS or (condition.type == DISRUPTION and condition.reason == BY_KUBELET)


def has_started(statuses: Sequence[ContainerStatus]) -> bool:
    """Whether any of these containers has run."""
    return any(
        s.state.running is not None or s.state.terminated is not None or s.lastState.terminated is not None
        for s in statuses
    )


def _initialized(pod: Pod, status: PodStatus) -> Verdict:
    """Whether every init container has succeeded, and every sidecar has started."""
    if status.phase == "Succeeded":
        return True, "PodCompleted", ""
    if has_started(status.containerStatuses):
        return HOLDS
    sidecars = {container.name for container in pod.spec.initContainers if is_sidecar(container)}
    left = [s.name for s in status.initContainerStatuses if not (s.started if s.name in sidecars else s.ready)]
    if left:
        return False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(left)}]"
    return HOLDS


def _containers_ready(pod: Pod, status: PodStatus) -> Verdict:
    """Whether all containers and sidecars are ready; if not, the reason and which are not."""
    if status.phase == "Succeeded":
        return False, "PodCompleted", ""
    if status.phase == "Failed":
        return False, "PodFailed", ""
    present = {s.name: s for s in [*status.initContainerStatuses, *status.containerStatuses]}
    asked = [c for c in pod.spec.initContainers if is_sidecar(c)] + pod.spec.containers
    if unready := [c.name for c in asked if not present[c.name].ready]:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return HOLDS


def _gates(pod: Pod, present: Sequence[PodCondition]) -> Verdict:
    """Whether the conditions that the pod names as its readiness gates hold."""
    values = {condition.type: condition.status for condition in present}
    closed = [
        f'corresponding condition of pod readiness gate "{gate.conditionType}" does not exist.'
        if gate.conditionType not in values
        else f'the status of pod readiness gate "{gate.conditionType}" is not "True", but {values[gate.conditionType]}'
        for gate in pod.spec.readinessGates
        if values.get(gate.conditionType) != "True"
    ]
    return (False, "ReadinessGatesNotReady", ", ".join(closed)) if closed else HOLDS
