"""What to do next for a pod: a pure function from what is wanted and what is there to the next few actions.

`plan` looks only at the present: the pod, its sandboxes and containers as the engine shows them, and what the worker
remembers (back-offs, the state of images and volumes, probes that failed). It may be asked at any time, and after a
restart it comes to the same answer; nothing depends on how the present came about. The worker performs the actions,
looks again, and asks again, until nothing is left to do but to wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

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
from kube.kubelet.spec import DEFAULT_GRACE, container_hash, is_sidecar, pod_format, sidecars


def should_restart(pod: Pod, container: Container, last: ContainerStatus, memory: ContainerMemory) -> bool:
    """Whether a dead container is replaced: the restart policy, unless it was killed in order to be replaced.

    A sidecar always is. An init container is done when it has succeeded.
    """
    if memory.restart == last.id or is_sidecar(container):
        return True
    policy = pod.spec.restartPolicy or "Always"
    if container in pod.spec.initContainers:
        return policy != "Never" and last.exit_code != 0
    if last.hash != container_hash(container):
        return True
    return policy == "Always" or (policy == "OnFailure" and last.exit_code != 0)


def finished(pod: Pod, seen: Seen, memory: PodMemory) -> bool:
    """Whether every container has ended and none will be started again. Sidecars do not keep a pod alive."""
    if _failed_to_initialize(pod, seen):
        return True
    for container in pod.spec.containers:
        last = seen.newest(container.name)
        if last is None or not dead(last) or should_restart(pod, container, last, memory.of(container.name)):
            return False
    return True


def _failed_to_initialize(pod: Pod, seen: Seen) -> bool:
    """Whether an init container has failed that is not started again."""
    if pod.spec.restartPolicy != "Never":
        return False
    for container in pod.spec.initContainers:
        last = None if is_sidecar(container) else seen.newest(container.name)
        if last is not None and dead(last) and last.exit_code and not _initialized(pod, seen, last.sandbox_id):
            return True
    return False


def _initialized(pod: Pod, seen: Seen, sandbox_id: str) -> bool:
    """Whether the pod's containers have been made in this sandbox: what is only done after its init containers."""
    names = {container.name for container in pod.spec.containers}
    return any(c.sandbox_id == sandbox_id and c.name in names for c in seen.containers)


def plan(pod: Pod, seen: Seen, memory: PodMemory, now: float) -> Plan:
    """The next actions for a pod that is to run."""
    if memory.ended is not None:
        grace = grace_period(pod) if memory.ended.grace is None else memory.ended.grace
        return plan_end(seen, "Stopping container {}", grace, sidecars=sidecars(pod))
    if pod.status.phase in TERMINAL or finished(pod, seen, memory):
        return plan_end(seen, "Stopping container {}", grace_period(pod), sidecars=sidecars(pod))
    sandbox = seen.sandbox()
    if sandbox is None:
        return _plan_sandbox(pod, seen, memory, now)
    draft = _Draft(pod, seen, memory, now)
    if draft.init_containers(sandbox):
        draft.containers(pod.spec.containers)
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
        # Dead containers are garbage_collector.py's.
        actions += [RemoveSandbox(s.id) for s in seen.sandboxes if s.id != sandbox.id]
    return Plan(actions, draft.waiting, draft.wake)


def plan_end(
    seen: Seen, message: str, grace: float, *, sidecars: Sequence[Container] = (), remove: bool = False
) -> Plan:
    """The next actions for a pod that is to end: kill what runs, then the sandbox, then (`remove`) every trace.

    All are asked to end at once, but the sidecars one by one, from the last to the first, after all others.
    """
    if alive := seen.alive():
        return Plan(ordered([Kill(c, message.format(c.name), grace) for c in alive], sidecars))
    actions: list[Action] = [RemoveSandbox(s.id) for s in seen.sandboxes]
    if remove:
        actions += [RemoveContainer(c.id) for c in seen.containers]
    return Plan(actions, over=not actions)


def ordered(kills: Sequence[Kill], sidecars: Sequence[Container]) -> list[Kill]:
    """These kills, each sidecar's to come after those of the containers that it outlives."""
    place = {container.name: at for at, container in enumerate(sidecars)}

    def outlives(kill: Kill) -> list[str]:
        at = place.get(kill.container.name)
        if at is None:
            return []
        return [k.container.id for k in kills if place.get(k.container.name, len(place)) > at]

    return [replace(kill, after=tuple(after)) if (after := outlives(kill)) else kill for kill in kills]


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
        kills = [Kill(c, f"Stopping container {c.name}", grace_period(pod), replace=again) for c in alive]
        actions: list[Action] = [*ordered(kills, sidecars(pod))]
        return Plan(actions if memory.loss_told else [Announce(), *actions])
    if not memory.volumes_ready:
        if now < memory.volumes_retry_at:
            return Plan(wake_at=memory.volumes_retry_at)
        return Plan([MountVolumes()])
    if now < memory.sandbox_retry_at:
        return Plan(wake_at=memory.sandbox_retry_at)
    ensures = []
    for container in pod.spec.initContainers[:1] or pod.spec.containers:
        # Images are looked for while the sandbox is made: it takes no longer than the sandbox alone.
        if seen.newest(container.name) is None and memory.of(container.name).image is None:
            ensures.append(EnsureImage(container.name))
    make: list[Action] = [MakeSandbox(memory.sandbox_attempts), *ensures]
    # Also where all has ended together, as when the machine was started anew.
    return Plan(make if memory.loss_told or not seen.sandboxes else [Announce(), *make])


class _Draft:
    """Collects what each container needs."""

    def __init__(self, pod: Pod, seen: Seen, memory: PodMemory, now: float) -> None:
        self.pod, self.seen, self.memory, self.now = pod, seen, memory, now
        self.kills: list[Action] = []
        self.ensures: list[Action] = []
        self.starts: list[Action] = []
        self.waiting: dict[str, Waiting] = {}
        self.wake: float | None = memory.deadline
        self.held = False
        """Whatever comes next waits for a container's postStart hook."""

    def wake_at(self, when: float) -> None:
        self.wake = when if self.wake is None else min(self.wake, when)

    def init_containers(self, sandbox: SandboxStatus) -> bool:
        """Bring the init containers forward, one after another. Whether the pod's own containers may run.

        What has run in an earlier sandbox does not count: all begin again in a new one. The last one that has been
        made there tells how far the pod is, because those before it may be removed.
        """
        inits = self.pod.spec.initContainers
        if _initialized(self.pod, self.seen, sandbox.id):
            reached = len(inits)
        else:
            made = [at for at, c in enumerate(inits) if self.seen.newest_in(sandbox, c.name) is not None]
            reached = made[-1] if made else 0
        self.containers([container for container in inits[:reached] if is_sidecar(container)])
        for container in inits[reached:]:
            last = self.seen.newest_in(sandbox, container.name)
            self.containers([container])
            if last is None or not self._has_initialized(container, last):
                return False
        return True

    def _has_initialized(self, container: Container, last: ContainerStatus) -> bool:
        if is_sidecar(container):
            return last.state is State.RUNNING and last.id in self.memory.started
        return dead(last) and last.exit_code == 0 and not last.error

    def containers(self, containers: Iterable[Container]) -> None:
        """Bring these forward, each for itself."""
        for container in containers:
            self._container(container)

    def _container(self, container: Container) -> None:
        """Keep, kill, replace or start one container."""
        name, sandbox = container.name, self.seen.sandbox()
        memory = self.memory.of(name)
        last = self.seen.newest(name)
        if last is not None and container in self.pod.spec.initContainers and sandbox is not None:
            last = self.seen.newest_in(sandbox, name)
        if last is None:
            self._start(container, memory, Start(name, memory.attempts))
        elif dead(last):
            if should_restart(self.pod, container, last, memory):
                self._restart(container, memory, last)
        elif last.state is State.CREATED:
            # A kubelet that died between creating and starting it left it behind: made again under the same name.
            self._start(container, memory, Start(name, last.attempt))
        else:
            self._keep(container, memory, last)

    def _keep(self, container: Container, memory: ContainerMemory, running: ContainerStatus) -> None:
        grace, name = grace_period(self.pod), container.name
        again = is_sidecar(container) or (self.pod.spec.restartPolicy or "Always") != "Never"
        init = container in self.pod.spec.initContainers
        said = f"Init container {name}" if init else f"Container {name}"
        outlook = "" if init else ", will be restarted"
        unhealthy = self.memory.unhealthy.get(running.id)
        if running.state is State.UNKNOWN:
            self.kills.append(Kill(running, f"{said} is in unknown state", grace, replace=again))
        elif running.hash != container_hash(container):
            self.kills.append(Kill(running, f"{said} definition changed{outlook}", grace, replace=True))
        elif unhealthy is not None:
            message = f"{said} failed {unhealthy.probe} probe{outlook if again else ''}"
            grace = grace if unhealthy.grace is None else unhealthy.grace
            self.kills.append(Kill(running, message, grace, replace=again))
        elif self.seen.sandbox() is not None and running.sandbox_id not in {s.id for s in self._running_sandboxes()}:
            # It runs in a sandbox that is dead: no network, so it is replaced.
            self.kills.append(Kill(running, f"Stopping container {name}", grace, replace=again))
        elif running.id == memory.starting:
            if memory.hook_failed:
                self.kills.append(Kill(running, "FailedPostStartHook", grace))
            else:
                self.held = True

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
            if not self.held:
                self.starts.append(start)
                self.held = container.lifecycle is not None and container.lifecycle.postStart is not None
            return
        elif image.retry_at is not None:
            self.wake_at(image.retry_at)
        if image is not None and image.waiting is not None:
            self.waiting[container.name] = image.waiting
