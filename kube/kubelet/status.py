"""What a pod is, in the API's words: a pure function from the engine's view to a PodStatus.

The phase is a summary of the containers' states, by v1.0's table of pod states (upstream: kubelet_pods.go getPhase).
A status computed twice from the same present is equal, so that it is written only when something changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
    PodIP,
    PodStatus,
)
from kube.api.qos import qos_class
from kube.kubelet.conditions import DISRUPTION, conditions, disrupted, has_started
from kube.kubelet.pod_state import TERMINAL, Ended, Seen, Waiting, dead
from kube.kubelet.runtime import ContainerStatus, State
from kube.kubelet.spec import is_sidecar
from kube.kubelet.termination import shortened


@dataclass(frozen=True, slots=True)
class Health:
    """What the probes say of a running container."""

    ready: bool = True
    started: bool = True


_UNKNOWN = ContainerStateTerminated(
    exitCode=137,
    reason="ContainerStatusUnknown",
    message="The container could not be located when the pod was terminated",
)
"""How a container ended of which nobody knows."""


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
    starting: Collection[str] = (),
    ended: Ended | None = None,
) -> PodStatus:
    """The status of a pod.

    `health` is by container id, `previous` the last one known; `over`: all is at rest; `starting`: ids of containers
    whose postStart hooks are not over; `ended`: why the kubelet has ended the pod.
    """
    view = _View(pod, seen, waiting, health, starting)
    inits: list[core.ContainerStatus] = []
    statuses: list[core.ContainerStatus] = []
    if not _was_refused(seen, previous, ended):
        inits = [view.container(container, previous.initContainerStatuses) for container in pod.spec.initContainers]
        statuses = [view.container(container, previous.containerStatuses) for container in pod.spec.containers]
        if over:
            _close(pod, inits, statuses)
    phase = _phase(pod, inits, statuses, previous, over)
    status = previous.model_copy(deep=False)
    if ended is not None and over and previous.phase not in TERMINAL:
        phase, status.reason, status.message = "Failed", ended.reason, ended.message
    if over and phase not in TERMINAL:
        phase = "Failed"  # it was deleted before it had begun
    if phase in TERMINAL and previous.phase not in TERMINAL and seen.alive():
        # Not yet: whoever sees a pod that has ended may count on what it held being free.
        phase = previous.phase or "Pending"
    status.phase = phase
    status.observedGeneration = pod.metadata.generation
    status.initContainerStatuses = inits
    status.containerStatuses = sorted(statuses, key=lambda s: s.name)
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
    status.conditions = conditions(pod, status, seen, previous.conditions, now)
    if ended is not None and ended.disrupted and phase == "Failed" and previous.phase not in TERMINAL:
        others = [condition for condition in status.conditions if condition.type != DISRUPTION]
        status.conditions = [*others, disrupted(pod, ended.message, now)]
    return status


def _was_refused(seen: Seen, previous: PodStatus, ended: Ended | None) -> bool:
    """Whether the pod has failed before anything of it was there: then it has no containers to tell of."""
    if ended is not None and ended.refused:
        return True
    return previous.phase in TERMINAL and not (previous.containerStatuses or seen.containers)


def _close(pod: Pod, inits: list[core.ContainerStatus], statuses: list[core.ContainerStatus]) -> None:
    """Nothing will run any more: what was to run by now and has not ended did not do its work (TerminatePod).

    Init containers behind the last that has begun, and the containers of a pod that was not initialized, stay as they
    are: they never had their turn.
    """
    begun = [at for at, s in enumerate(inits) if s.state.waiting is None or s.lastState.terminated is not None]
    lost = inits[: begun[-1] + 1] if begun else inits[:1]
    if _was_initialized(pod, inits, statuses):
        lost += statuses
    for status in lost:
        if status.state.terminated is None:
            status.state = ContainerState(terminated=_UNKNOWN)


def _was_initialized(pod: Pod, inits: Sequence[core.ContainerStatus], statuses: Sequence[core.ContainerStatus]) -> bool:
    if not inits or has_started(statuses):
        return True
    last = inits[-1]
    if is_sidecar(pod.spec.initContainers[-1]):
        return last.state.running is not None and bool(last.started)
    return last.state.terminated is not None and last.state.terminated.exitCode == 0


def pod_ip(pod: Pod, seen: Seen, host_ip: str) -> str:
    """The address of the pod: its sandbox's, or the host's."""
    sandbox = seen.sandbox()
    if sandbox is None:
        return ""
    return host_ip if pod.spec.hostNetwork else sandbox.ip


@dataclass(frozen=True, slots=True)
class _View:
    """What the statuses of a pod's containers are made from."""

    pod: Pod
    seen: Seen
    waiting: Mapping[str, Waiting]
    health: Mapping[str, Health]
    starting: Collection[str]

    def container(self, container: Container, previous: Sequence[core.ContainerStatus]) -> core.ContainerStatus:
        """The status of a container, from the newest of its name."""
        known = self.seen.of(container.name)
        waiting = self.waiting.get(container.name)
        if not known:
            return self._unseen(container, waiting, previous)
        newest = known[0]
        before = next((c for c in known[1:] if dead(c)), None)
        running = newest.state is State.RUNNING and newest.id not in self.starting
        if running:
            state = ContainerState(running=ContainerStateRunning(startedAt=_seconds(newest.started_at)))
            last = before
        elif waiting is not None:
            state = ContainerState(waiting=ContainerStateWaiting(reason=waiting.reason, message=waiting.message))
            last = newest if dead(newest) else before
        elif dead(newest):
            state = ContainerState(terminated=self._terminated(newest))
            last = before
        else:
            state = ContainerState(waiting=self._creating())
            last = before
        ready, started = self._health(container, newest, running)
        return core.ContainerStatus(
            name=container.name,
            state=state,
            lastState=ContainerState(terminated=self._terminated(last)) if last else ContainerState(),
            ready=ready,
            started=started,
            restartCount=newest.attempt,
            image=container.image,
            imageID=image_id(newest.image_id),
            containerID=container_id(newest.id),
        )

    def _health(self, container: Container, newest: ContainerStatus, running: bool) -> tuple[bool, bool]:
        """Whether it is ready, and whether it has started. An init container is ready when it has done its work."""
        if container in self.pod.spec.initContainers and not is_sidecar(container):
            return newest.state is State.EXITED and newest.exit_code == 0 and not newest.error, running
        probes = self.health.get(newest.id, Health(ready=False, started=False))
        return running and probes.ready, running and probes.started

    def _terminated(self, container: ContainerStatus) -> ContainerStateTerminated:
        return terminated(container, len(self.pod.spec.initContainers) + len(self.pod.spec.containers))

    def _creating(self) -> ContainerStateWaiting:
        return ContainerStateWaiting(reason="PodInitializing" if self.pod.spec.initContainers else "ContainerCreating")

    def _unseen(
        self, container: Container, waiting: Waiting | None, previous: Sequence[core.ContainerStatus]
    ) -> core.ContainerStatus:
        """The status of a container that the engine does not have."""
        old = next((s for s in previous if s.name == container.name), None)
        state = ContainerState(waiting=self._creating())
        if waiting is not None:
            state = ContainerState(waiting=ContainerStateWaiting(reason=waiting.reason, message=waiting.message))
        last = ContainerState()
        if old is not None and old.state.terminated is not None:
            if self.pod.status.phase in TERMINAL or (old.ready and self._initialized()):
                return old  # it ended, and was removed since
            last = ContainerState(terminated=old.state.terminated)
        elif old is not None and old.state.running is not None:
            # Removed behind our back: nobody knows how it ended.
            if self.pod.metadata.deletionTimestamp is not None or self.pod.status.phase in TERMINAL:
                state = ContainerState(terminated=_UNKNOWN)
            else:
                last = ContainerState(terminated=_UNKNOWN)
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

    def _initialized(self) -> bool:
        """Whether any of the pod's own containers has been made."""
        return any(self.seen.of(container.name) for container in self.pod.spec.containers)


def terminated(container: ContainerStatus, containers: int = 1) -> ContainerStateTerminated:
    """How a dead container of a pod with so many ended."""
    failed_to_start = bool(container.error) or container.started_at is None
    moment = container.created_at if failed_to_start else container.finished_at
    return ContainerStateTerminated(
        exitCode=container.exit_code,
        reason=_termination_reason(container, failed_to_start),
        message=shortened(": ".join(filter(None, (container.error, container.message))), containers),
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


def _phase(
    pod: Pod,
    inits: Sequence[core.ContainerStatus],
    statuses: Sequence[core.ContainerStatus],
    previous: PodStatus,
    over: bool,
) -> str:
    """v1.0's pod states, with what init containers and sidecars have added since (upstream's getPhase).

    A phase that was Succeeded or Failed once stays so.
    """
    if previous.phase in TERMINAL:
        return previous.phase
    if pod.status.phase in TERMINAL:
        return pod.status.phase
    policy = pod.spec.restartPolicy or "Always"
    spec = dict(zip((s.name for s in inits), pod.spec.initContainers, strict=True))
    beside = [s for s in inits if is_sidecar(spec[s.name])]
    before = [s for s in inits if not is_sidecar(spec[s.name])]
    if policy == "Never" and any(s.state.terminated and s.state.terminated.exitCode for s in before):
        return "Failed"
    ended = [s for s in statuses if s.state.terminated is not None]
    if over and len(ended) == len(statuses):
        return "Failed" if any(s.state.terminated and s.state.terminated.exitCode for s in ended) else "Succeeded"
    if _initializing(before, beside, statuses):
        return "Pending"
    restarting = [s for s in statuses if s.state.waiting is not None and s.lastState.terminated is not None]
    stopped = len(ended) + len(restarting)
    running = sum(1 for s in statuses if s.state.running is not None)
    if running + stopped < len(statuses):
        return "Pending"
    if running or any(s.state.running is not None for s in beside):
        return "Running"
    if policy == "Always" or restarting:
        return "Running"
    if all(s.state.terminated and s.state.terminated.exitCode == 0 for s in ended):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _initializing(
    before: Sequence[core.ContainerStatus],
    beside: Sequence[core.ContainerStatus],
    statuses: Sequence[core.ContainerStatus],
) -> bool:
    """Whether init containers have still to do their work, or sidecars to start for the first time."""
    if any(not s.ready and (s.state.terminated is None or s.state.terminated.exitCode) for s in before):
        return True
    if has_started(statuses):
        return False
    return any(not s.started for s in beside)
