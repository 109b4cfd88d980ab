"""What to do next for a pod: a pure function from what is wanted and what is there to the next few actions.

`plan` looks only at the present: the pod, its sandboxes and containers as the engine shows them, and what the worker
remembers (back-offs, the state of images and volumes, probes that failed). It may be asked at any time, and after a
restart it comes to the same answer; nothing depends on how the present came about. The worker performs the actions,
looks again, and asks again, until nothing is left to do but to wait.
"""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.core import Container, Pod
from kube.kubelet.actions import (
    Action,
    Announce,
    EnsureImage,
    Kill,
    MakeSandbox,
    MountVolumes,
    Plan,
    RemoveContainer,
    RemoveSandbox,
    Start,
)
from kube.kubelet.backoff import duration
from kube.kubelet.pod_state import TERMINAL, ContainerMemory, PodMemory, Seen, Waiting, dead
from kube.kubelet.runtime import ContainerStatus, SandboxStatus, State
from kube.kubelet.spec import DEFAULT_GRACE, container_hash, pod_format

MIN_GRACE = 2.0
"""Seconds that even a container without any grace gets between SIGTERM and SIGKILL."""
KEPT = 2
"""How many containers of one name are kept: the present one, and the one before for its log and last state."""


def should_restart(pod: Pod, container: Container, last: ContainerStatus, memory: ContainerMemory) -> bool:
    """Whether a dead container is replaced: the restart policy, unless it was killed in order to be replaced."""
    if memory.restart == last.id or last.hash != container_hash(container):
        return True
    policy = pod.spec.restartPolicy or "Always"
    return policy == "Always" or (policy == "OnFailure" and last.exit_code != 0)


def finished(pod: Pod, seen: Seen, memory: PodMemory) -> bool:
    """Whether every container has ended and none will be started again."""
    for container in pod.spec.containers:
        last = seen.newest(container.name)
        if last is None or not dead(last) or should_restart(pod, container, last, memory.of(container.name)):
            return False
    return True


def plan(pod: Pod, seen: Seen, memory: PodMemory, now: float) -> Plan:
    """The next actions for a pod that is to run."""
    if pod.status.phase in TERMINAL or finished(pod, seen, memory):
        return plan_end(seen, "Stopping container {}", grace_period(pod))
    sandbox = seen.sandbox()
    if sandbox is None:
        return _plan_sandbox(pod, seen, memory, now)
    draft = _Draft(pod, seen, memory, now)
    for container in pod.spec.containers:
        draft.container(container)
    actions: list[Action] = list(draft.kills)
    if draft.starts and not memory.volumes_ready:
        if now >= memory.volumes_retry_at:
            actions.append(MountVolumes())
        else:
            draft.wake_at(memory.volumes_retry_at)
    else:
        actions += draft.ensures
        actions += draft.starts
    if not actions:
        actions += _garbage(pod, seen, sandbox)
    return Plan(actions, draft.waiting, draft.wake)


def plan_end(seen: Seen, message: str, grace: float, *, remove: bool = False) -> Plan:
    """The next actions for a pod that is to end: kill what runs, then the sandbox, then (`remove`) every trace."""
    if alive := seen.alive():
        return Plan([Kill(c, message.format(c.name), max(grace, MIN_GRACE)) for c in alive])
    actions: list[Action] = [RemoveSandbox(s.id) for s in seen.sandboxes]
    if remove:
        actions += [RemoveContainer(c.id) for c in seen.containers]
    return Plan(actions, over=not actions)


def grace_period(pod: Pod) -> float:
    """Seconds a container of this pod has between SIGTERM and SIGKILL."""
    if pod.metadata.deletionTimestamp is not None and pod.metadata.deletionGracePeriodSeconds is not None:
        return float(pod.metadata.deletionGracePeriodSeconds)
    wanted = pod.spec.terminationGracePeriodSeconds
    return float(DEFAULT_GRACE if wanted is None else wanted)


def _plan_sandbox(pod: Pod, seen: Seen, memory: PodMemory, now: float) -> Plan:
    """Without a sandbox nothing can run: what still does is killed, then a new sandbox is made."""
    if alive := seen.alive():
        # The pod's network went with the sandbox, so they can only be replaced.
        again = (pod.spec.restartPolicy or "Always") != "Never"
        kills: list[Action] = [Kill(c, f"Stopping container {c.name}", grace_period(pod), replace=again) for c in alive]
        return Plan(kills if memory.loss_told else [Announce(), *kills])
    if not memory.volumes_ready:
        if now < memory.volumes_retry_at:
            return Plan(wake_at=memory.volumes_retry_at)
        return Plan([MountVolumes()])
    if now < memory.sandbox_retry_at:
        return Plan(wake_at=memory.sandbox_retry_at)
    ensures = []
    for container in pod.spec.containers:
        # Images are looked for while the sandbox is made: it takes no longer than the sandbox alone.
        if seen.newest(container.name) is None and memory.of(container.name).image is None:
            ensures.append(EnsureImage(container.name))
    return Plan([MakeSandbox(memory.sandbox_attempts), *ensures])


class _Draft:
    """Collects what each container needs."""

    def __init__(self, pod: Pod, seen: Seen, memory: PodMemory, now: float) -> None:
        self.pod, self.seen, self.memory, self.now = pod, seen, memory, now
        self.kills: list[Action] = []
        self.ensures: list[Action] = []
        self.starts: list[Action] = []
        self.waiting: dict[str, Waiting] = {}
        self.wake: float | None = None

    def wake_at(self, when: float) -> None:
        self.wake = when if self.wake is None else min(self.wake, when)

    def container(self, container: Container) -> None:
        """Keep, kill, replace or start one container."""
        name = container.name
        memory = self.memory.of(name)
        last = self.seen.newest(name)
        if last is None:
            self._start(container, memory, Start(name, memory.attempts))
        elif dead(last):
            if should_restart(self.pod, container, last, memory):
                self._restart(container, memory, last)
        elif last.state is State.CREATED:
            # A kubelet that died between creating and starting it left it behind: made again under the same name.
            self._start(container, memory, Start(name, last.attempt))
        else:
            self._keep(container, last)

    def _keep(self, container: Container, running: ContainerStatus) -> None:
        grace, name = grace_period(self.pod), container.name
        again = (self.pod.spec.restartPolicy or "Always") != "Never"
        unhealthy = self.memory.unhealthy.get(running.id)
        if running.state is State.UNKNOWN:
            self.kills.append(Kill(running, f"Container {name} is in unknown state", grace, replace=again))
        elif running.hash != container_hash(container):
            message = f"Container {name} definition changed, will be restarted"
            self.kills.append(Kill(running, message, grace, replace=True))
        elif unhealthy is not None:
            message = f"Container {name} failed {unhealthy.probe} probe" + (", will be restarted" if again else "")
            grace = grace if unhealthy.grace is None else unhealthy.grace
            self.kills.append(Kill(running, message, grace, replace=again))
        elif self.seen.sandbox() is not None and running.sandbox_id not in {s.id for s in self._running_sandboxes()}:
            # It runs in a sandbox that is dead: no network, so it is replaced.
            self.kills.append(Kill(running, f"Stopping container {name}", grace, replace=again))

    def _running_sandboxes(self) -> Iterable[SandboxStatus]:
        return (s for s in self.seen.sandboxes if s.state is State.RUNNING)

    def _restart(self, container: Container, memory: ContainerMemory, last: ContainerStatus) -> None:
        wanted = Start(container.name, max(memory.attempts, last.attempt + 1), after=last.id)
        replaced = last.hash != container_hash(container)
        since = memory.dead_since.get(last.id, self.now)
        left = 0.0 if replaced else memory.back_off.remaining(since, self.now)
        if left > 0:
            message = (
                f"back-off {duration(memory.back_off.seconds)} restarting failed container={container.name} "
                f"pod={pod_format(self.pod)}"
            )
            self.waiting[container.name] = Waiting("CrashLoopBackOff", message)
            self.wake_at(self.now + left)
            return
        self._start(container, memory, wanted)

    def _start(self, container: Container, memory: ContainerMemory, start: Start) -> None:
        if memory.trouble is not None:
            self.waiting[container.name] = memory.trouble
        if self.now < memory.retry_at:
            self.wake_at(memory.retry_at)
            return
        image = memory.image
        if image is None or (image.retry_at is not None and self.now >= image.retry_at):
            self.ensures.append(EnsureImage(container.name))
        elif image.ready:
            self.starts.append(start)
            return
        elif image.retry_at is not None:
            self.wake_at(image.retry_at)
        if image is not None and image.waiting is not None:
            self.waiting[container.name] = image.waiting


def _garbage(pod: Pod, seen: Seen, sandbox: SandboxStatus) -> list[Action]:
    """What is of no use any more: dead sandboxes, and dead containers older than the last two of each name."""
    actions: list[Action] = [RemoveSandbox(s.id) for s in seen.sandboxes if s.id != sandbox.id]
    for container in pod.spec.containers:
        actions += [RemoveContainer(c.id) for c in seen.of(container.name)[KEPT:] if c.id not in _ids(seen.alive())]
    return actions


def _ids(containers: Iterable[ContainerStatus]) -> set[str]:
    return {c.id for c in containers}
