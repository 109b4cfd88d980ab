"""What a pod is at this moment: what the engine shows of it, and what its worker remembers beyond that.

`Seen` is the engine's word and survives the kubelet; `PodMemory` is the worker's own and does not: a restarted kubelet
begins with what it can read off the engine's, and `plan` comes to the same end all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kube.kubelet.backoff import BackOff, after_pause
from kube.kubelet.runtime import ContainerStatus, SandboxStatus, State

TERMINAL = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Seen:
    """A pod's sandboxes and containers as the engine shows them."""

    sandboxes: Sequence[SandboxStatus] = ()
    containers: Sequence[ContainerStatus] = ()

    def sandbox(self) -> SandboxStatus | None:
        """The sandbox that runs, the newest if there are several."""
        running = [s for s in self.sandboxes if s.state is State.RUNNING]
        return max(running, key=lambda s: s.attempt, default=None)

    def of(self, name: str) -> list[ContainerStatus]:
        """The containers of a name, newest first."""
        return sorted((c for c in self.containers if c.name == name), key=lambda c: c.attempt, reverse=True)

    def newest_in(self, sandbox: SandboxStatus, name: str) -> ContainerStatus | None:
        """The container of a name that was last made in this sandbox."""
        return next((c for c in self.of(name) if c.sandbox_id == sandbox.id), None)

    def newest(self, name: str) -> ContainerStatus | None:
        """The container that stands for a name now."""
        return next(iter(self.of(name)), None)

    def alive(self) -> list[ContainerStatus]:
        """The containers that have to be killed before the pod is at rest."""
        return [c for c in self.containers if c.state in (State.RUNNING, State.UNKNOWN)]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container is not running."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class ImageState:
    """How far a container's image is."""

    ready: bool = False
    waiting: Waiting | None = None
    """Set when it cannot be had now."""
    retry_at: float | None = None
    """When to ask again; None: when the pull is over."""


@dataclass(slots=True)
class ContainerMemory:
    """What the worker remembers of a container and the engine does not."""

    back_off: BackOff = field(default_factory=BackOff)
    dead_since: dict[str, float] = field(default_factory=dict)
    """When each dead container was first seen dead, by its id."""
    image: ImageState | None = None
    """None: not asked since the last start."""
    trouble: Waiting | None = None
    """Why the last attempt to create it failed."""
    retry_at: float = 0.0
    restart: str = ""
    """Id of the container that was killed to be replaced, whatever the restart policy says of its exit code."""
    starting: str = ""
    """Id of the container that runs, but whose postStart hook is not over."""
    hook_failed: bool = False
    """That hook has failed: the container is killed."""
    attempts: int = 0
    """The lowest number for the next attempt: higher than any seen, even if its container was removed."""


@dataclass(slots=True)
class PodMemory:
    """What the worker remembers of a pod and the engine does not."""

    containers: dict[str, ContainerMemory] = field(default_factory=dict)
    volumes_ready: bool = False
    volumes_retry_at: float = 0.0
    sandbox_retry_at: float = 0.0
    sandbox_attempts: int = 0
    loss_told: bool = False
    """The user knows that the sandbox is gone; until there is a new one."""
    unhealthy: dict[str, Unhealthy] = field(default_factory=dict)
    """Containers whose liveness or startup probe failed, by id."""
    started: frozenset[str] = frozenset()
    """Ids of the running containers that have no startup probe, or whose startup probe has succeeded."""
    active_since: float | None = None
    """The pod's startTime."""
    deadline: float | None = None
    """When the pod has been active for as long as it may."""
    ended: Ended | None = None
    """Why this kubelet has decided that the pod is to end."""

    def of(self, name: str) -> ContainerMemory:
        return self.containers.setdefault(name, ContainerMemory())

    def reconfigured(self) -> None:
        """What could not be had for want of a ConfigMap or Secret may be there now: no back-off from before counts."""
        self.volumes_retry_at = 0.0
        for memory in self.containers.values():
            if memory.trouble is not None and memory.trouble.reason == "CreateContainerConfigError":
                memory.retry_at = 0.0

    def adopt(self, seen: Seen, now: float, date: datetime) -> None:
        """Take over what another kubelet has left: the back-offs go on. `now` and `date` are the same moment."""

        def at(moment: datetime) -> float:
            return now - max(0.0, (date - moment).total_seconds())

        for name in {container.name for container in seen.containers}:
            newest, *older = seen.of(name)
            if newest.started_at is None or not newest.attempt:
                continue
            memory, before = self.of(name), next((c.finished_at for c in older if c.finished_at is not None), None)
            pause = 0.0 if before is None else (newest.started_at - before).total_seconds()
            memory.back_off = after_pause(pause, at(newest.started_at))
            if dead(newest) and newest.finished_at is not None:
                memory.dead_since[newest.id] = at(newest.finished_at)

    def observe(self, seen: Seen, now: float) -> None:
        """Note when containers were first seen dead, and the attempts there have been."""
        present = set()
        for container in seen.containers:
            memory = self.of(container.name)
            memory.attempts = max(memory.attempts, container.attempt + 1)
            present.add(container.id)
            if dead(container):
                memory.dead_since.setdefault(container.id, now)
        for memory in self.containers.values():
            memory.dead_since = {id: since for id, since in memory.dead_since.items() if id in present}
        self.unhealthy = {id: why for id, why in self.unhealthy.items() if id in present}
        for sandbox in seen.sandboxes:
            self.sandbox_attempts = max(self.sandbox_attempts, sandbox.attempt + 1)


@dataclass(frozen=True, slots=True)
class Ended:
    """A pod that fails by a decision of the kubelet: its deadline, or an eviction."""

    reason: str
    message: str
    grace: float | None = None
    """Seconds between SIGTERM and SIGKILL; None: the pod's own."""
    disrupted: bool = False
    """It was in the node's way: no fault of its own."""
    refused: bool = False
    """It was not let in: nothing of it has been, or will be, made."""


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """A probe's verdict that costs a container its life."""

    probe: str
    """`liveness` or `startup`."""
    grace: float | None = None
    """The probe's own grace period."""


def dead(container: ContainerStatus) -> bool:
    """Whether it has ended, or could not be started."""
    failed_to_start = container.state is State.CREATED and bool(container.error or container.exit_code)
    return container.state is State.EXITED or failed_to_start
