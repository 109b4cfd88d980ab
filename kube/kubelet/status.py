"""What a pod is, in the API's words: a pure function from the engine's view to a PodStatus.

The phase is a summary of the containers' states, by v1.0's table of pod states; conditions and their reasons are
upstream's (pkg/kubelet/status/generate.go, kubelet_pods.go getPhase). A status computed twice from the same present
is equal, so that it is written only when something changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kube.api import core
from kube.api.core import (
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    HostIP,
    Pod,
    PodCondition,
    PodIP,
    PodStatus,
)
from kube.api.qos import qos_class
from kube.kubelet.pod_state import TERMINAL, Seen, Waiting, dead
from kube.kubelet.runtime import ContainerStatus, State

OWNED_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
"""The conditions that the kubelet writes; all others belong to somebody else and are kept."""


@dataclass(frozen=True, slots=True)
class Health:
    """What the probes say of a running container."""

    ready: bool = True
    started: bool = True


def compute(
    pod: Pod,
    seen: Seen,
    *,
    waiting: Mapping[str, Waiting],
    health: Mapping[str, Health],
    host_ip: str,
    previous: PodStatus,
    now: datetime,
    over: bool = False,
) -> PodStatus:
    """The status of a pod. `health` is by container id, `previous` the last one known; `over`: all is at rest."""
    statuses = [
        _container_status(pod, container, seen, waiting.get(container.name), health, previous.containerStatuses)
        for container in pod.spec.containers
    ]
    phase = _phase(pod, statuses, previous, over)
    status = previous.model_copy(deep=False)
    status.phase = phase
    status.containerStatuses = statuses
    status.qosClass = pod.status.qosClass or previous.qosClass or qos_class(pod)
    status.startTime = previous.startTime or now
    status.hostIP = host_ip
    status.hostIPs = [HostIP(ip=host_ip)] if host_ip else []
    ip = pod_ip(pod, seen, host_ip)
    ending = over or phase in TERMINAL or pod.metadata.deletionTimestamp is not None
    if ip or not ending:
        # A pod at its end keeps showing the address that it had.
        status.podIP = ip
        status.podIPs = [PodIP(ip=ip)] if ip else []
    status.conditions = _conditions(pod, status, seen, previous.conditions, now)
    return status


def pod_ip(pod: Pod, seen: Seen, host_ip: str) -> str:
    """The address of the pod: its sandbox's, or the host's."""
    sandbox = seen.sandbox()
    if sandbox is None:
        return ""
    return host_ip if pod.spec.hostNetwork else sandbox.ip


def _container_status(
    pod: Pod,
    container: Container,
    seen: Seen,
    waiting: Waiting | None,
    health: Mapping[str, Health],
    previous: Sequence[core.ContainerStatus],
) -> core.ContainerStatus:
    known = seen.of(container.name)
    if not known:
        return _unseen(pod, container, waiting, previous)
    newest = known[0]
    before = next((c for c in known[1:] if dead(c)), None)
    probes = health.get(newest.id, Health(ready=False, started=False))
    running = newest.state is State.RUNNING
    if running:
        state = ContainerState(running=ContainerStateRunning(startedAt=_seconds(newest.started_at)))
        last = before
    elif waiting is not None:
        state = ContainerState(waiting=ContainerStateWaiting(reason=waiting.reason, message=waiting.message))
        last = newest if dead(newest) else before
    elif dead(newest):
        state = ContainerState(terminated=terminated(newest))
        last = before
    else:
        state = ContainerState(waiting=_creating(pod))
        last = before
    return core.ContainerStatus(
        name=container.name,
        state=state,
        lastState=ContainerState(terminated=terminated(last)) if last else ContainerState(),
        ready=running and probes.ready,
        started=running and probes.started,
        restartCount=newest.attempt,
        image=container.image,
        imageID=image_id(newest.image_id),
        containerID=container_id(newest.id),
    )


def _unseen(
    pod: Pod, container: Container, waiting: Waiting | None, previous: Sequence[core.ContainerStatus]
) -> core.ContainerStatus:
    """The status of a container that the engine does not have."""
    old = next((s for s in previous if s.name == container.name), None)
    state = ContainerState(waiting=_creating(pod))
    if waiting is not None:
        state = ContainerState(waiting=ContainerStateWaiting(reason=waiting.reason, message=waiting.message))
    last = ContainerState()
    if old is not None and old.state.terminated is not None:
        if pod.status.phase in TERMINAL:
            return old  # it ended, and was removed since
        last = ContainerState(terminated=old.state.terminated)
    elif old is not None and old.state.running is not None:
        # Removed behind our back: nobody knows how it ended.
        unknown = ContainerStateTerminated(
            exitCode=137,
            reason="ContainerStatusUnknown",
            message="The container could not be located when the pod was terminated",
        )
        if pod.metadata.deletionTimestamp is not None or pod.status.phase in TERMINAL:
            state = ContainerState(terminated=unknown)
        else:
            last = ContainerState(terminated=unknown)
    elif old is not None:
        last = old.lastState
    return core.ContainerStatus(
        name=container.name,
        state=state,
        lastState=last,
        ready=False,
        started=False,
        restartCount=old.restartCount if old else 0,
        image=container.image,
        imageID=old.imageID if old else "",
        containerID=old.containerID if old else "",
    )


def _creating(pod: Pod) -> ContainerStateWaiting:
    return ContainerStateWaiting(reason="PodInitializing" if pod.spec.initContainers else "ContainerCreating")


def terminated(container: ContainerStatus) -> ContainerStateTerminated:
    """How a dead container ended."""
    failed_to_start = bool(container.error) or container.started_at is None
    moment = container.created_at if failed_to_start else container.finished_at
    return ContainerStateTerminated(
        exitCode=container.exit_code,
        reason=_termination_reason(container, failed_to_start),
        message=container.error,
        startedAt=_seconds(container.created_at if failed_to_start else container.started_at),
        finishedAt=_seconds(moment),
        containerID=container_id(container.id),
    )


def _termination_reason(container: ContainerStatus, failed_to_start: bool) -> str:
    if container.oom_killed:
        return "OOMKilled"
    if failed_to_start:
        return "ContainerCannotRun"
    return "Completed" if container.exit_code == 0 else "Error"


def container_id(id: str) -> str:
    """`docker://<id>`"""
    return f"docker://{id}" if id else ""


def image_id(id: str) -> str:
    """`docker://sha256:…`, or `docker-pullable://…@sha256:…` for an image that came from a registry."""
    if not id or id.startswith(("docker://", "docker-pullable://")):
        return id
    return f"docker-pullable://{id}" if "@" in id else f"docker://{id}"


def _seconds(moment: datetime | None) -> datetime | None:
    """To the second, as the wire has it: what is written equals what is read back."""
    return moment.astimezone(UTC).replace(microsecond=0) if moment else None


def _phase(pod: Pod, statuses: Sequence[core.ContainerStatus], previous: PodStatus, over: bool) -> str:
    """v1.0's pod states. A phase that was Succeeded or Failed once stays so."""
    if previous.phase in TERMINAL:
        return previous.phase
    if pod.status.phase in TERMINAL:
        return pod.status.phase
    ended = [s for s in statuses if s.state.terminated is not None]
    if over and len(ended) == len(statuses):
        return "Failed" if any(s.state.terminated and s.state.terminated.exitCode for s in ended) else "Succeeded"
    restarting = [s for s in statuses if s.state.waiting is not None and s.lastState.terminated is not None]
    stopped = len(ended) + len(restarting)
    running = sum(1 for s in statuses if s.state.running is not None)
    if running + stopped < len(statuses):
        return "Pending"
    if running:
        return "Running"
    policy = pod.spec.restartPolicy or "Always"
    if policy == "Always" or restarting:
        return "Running"
    if all(s.state.terminated and s.state.terminated.exitCode == 0 for s in ended):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _conditions(
    pod: Pod, status: PodStatus, seen: Seen, previous: Sequence[PodCondition], now: datetime
) -> list[PodCondition]:
    """The kubelet's conditions, then those of others as they are."""
    containers_ready = _containers_ready(status)
    ready = containers_ready
    if not ready[1]:
        others = {c.type: c for c in previous}
        gates = [
            f'corresponding condition of pod readiness gate "{g.conditionType}" does not exist.'
            if g.conditionType not in others
            else f'the status of pod readiness gate "{g.conditionType}" is not "True", but '
            f"{others[g.conditionType].status}"
            for g in pod.spec.readinessGates
            if g.conditionType not in others or others[g.conditionType].status != "True"
        ]
        if gates:
            ready = (False, "ReadinessGatesNotReady", ", ".join(gates))
    initialized = (True, "PodCompleted" if status.phase == "Succeeded" else "", "")
    wanted: dict[str, tuple[bool, str, str]] = {
        "PodReadyToStartContainers": (seen.sandbox() is not None, "", ""),
        "Initialized": initialized,
        "Ready": ready,
        "ContainersReady": containers_ready,
        "PodScheduled": (True, "", ""),
    }
    old = {c.type: c for c in previous}
    result = []
    for type_, (holds, reason, message) in wanted.items():
        value = "True" if holds else "False"
        before = old.get(type_)
        since = before.lastTransitionTime if before is not None and before.status == value else None
        result.append(
            PodCondition(type=type_, status=value, reason=reason, message=message, lastTransitionTime=since or now)
        )
    return result + [c for c in previous if c.type not in OWNED_CONDITIONS]


def _containers_ready(status: PodStatus) -> tuple[bool, str, str]:
    """Whether all containers are ready; if not, the reason and which are not."""
    if status.phase == "Succeeded":
        return False, "PodCompleted", ""
    if status.phase == "Failed":
        return False, "PodFailed", ""
    unready = [s.name for s in status.containerStatuses if not s.ready]
    if unready:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return True, "", ""
