"""One pod, one task: looks at what is there, asks `plan` what to do, does it, and says what became of it.

The worker is woken by a change of the pod, news of the engine, a probe's verdict, a pull that is over, or the time
that the plan named; it never asks why it was woken. Whatever can last (a pull, the grace of a container that is asked
to end) goes on beside it, so that a pod can always be looked at and deleted. An engine that fails is tried again, with
back-off, for this pod alone.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from datetime import UTC, datetime

from kube.api.core import Pod, PodStatus
from kube.kubelet import plan as planning
from kube.kubelet.actions import (
    Action,
    EnsureImage,
    Kill,
    MakeSandbox,
    MountVolumes,
    Plan,
    Start,
)
from kube.kubelet.admission import refusal
from kube.kubelet.host import Host
from kube.kubelet.pod_actions import FIRST_RETRY, PodActions
from kube.kubelet.pod_state import TERMINAL, Ended, Seen, Waiting
from kube.kubelet.probes import PodProbes
from kube.kubelet.projection import MountError
from kube.kubelet.runtime import (
    EngineUnavailable,
    PodId,
    RuntimeFailure,
)
from kube.kubelet.spec import sidecars
from kube.kubelet.static_pods import is_static
from kube.kubelet.status import compute, pod_ip
from kube.kubelet.termination import Messages

log = logging.getLogger(__name__)

LONGEST_RETRY = 10.0
"""Seconds between tries while the engine fails."""


class PodWorker(PodActions):
    """Brings one pod to what it should be, until nothing of it is left. `pod` None: it is an orphan, and goes away."""

    def __init__(self, host: Host, id: PodId, pod: Pod | None, *, seen: Seen | None = None) -> None:
        """`seen`: what the engine has of the pod, if that is known."""
        super().__init__(host, id, pod, seen)
        self._adopting = seen is not None
        self._probes = PodProbes(host.prober, self.wake)
        self._messages = Messages(host.runtime, host.termination_logs)
        self._announced: dict[str, str] = {}
        self._published: tuple[object, PodStatus] | None = None
        """What the last status was made from, and what it became."""
        self._looked = self._admitted = False
        self._failures = 0
        self._gone = False

    # What others tell it.

    def update(self, pod: Pod) -> None:
        """The pod is wanted like this now."""
        self.pod = pod
        self._refresh_at = 0.0  # its labels may be in a file
        self._wake.set()

    def reconfigured(self) -> None:
        """A ConfigMap or Secret that the pod uses has changed: what failed for want of it is tried again at once."""
        self._memory.reconfigured()
        self._refresh_at = 0.0
        self._wake.set()

    def evict(self, message: str, grace: float) -> None:
        """Have the pod fail, because the node cannot keep it. Its containers end within `grace`."""
        self._end(Ended("Evicted", message, grace, disrupted=True))
        self._wake.set()

    def _end(self, ended: Ended) -> None:
        if self._memory.ended is None:
            self._memory.ended = ended

    @property
    def holds(self) -> bool:
        """Whether the pod takes its part of the node: it was admitted, has not ended, and is still wanted."""
        pod = self.pod
        if pod is None or self.removed or self._memory.ended is not None or pod.status.phase in TERMINAL:
            return False
        return self._admitted or bool(self.seen.sandboxes or self.seen.containers)

    def remove(self) -> None:
        """The pod is bound here no more."""
        self.removed = True
        self._wake.set()

    # The loop.

    async def run(self) -> None:
        """Work until nothing of the pod is left."""
        try:
            while not self._gone:
                self._wake.clear()
                wait = await self._step_guarded()
                if wait is None or wait > 0:
                    await self._sleep(wait)
                else:
                    await asyncio.sleep(0)  # whatever the plan, nobody else has to wait for it
        finally:
            self._probes.stop()
            self._host.images.forget(self.id.uid)
            self._kills.cancel()
            self._hooks.cancel()

    async def _sleep(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _step_guarded(self) -> float | None:
        try:
            wait = await self._step()
        except RuntimeFailure as error:
            self._stale = True
            delay = min(FIRST_RETRY * 2.0 ** min(self._failures, 16), LONGEST_RETRY)
            self._failures += 1
            level = logging.DEBUG if isinstance(error, EngineUnavailable) else logging.WARNING
            log.log(level, "the engine failed, will retry", extra={"pod": self.name, "after": delay, "error": error})
            # News (the engine is back, the pod was changed) end the wait.
            return delay
        self._failures = 0
        return wait

    async def _step(self) -> float | None:
        """Look, plan, tell, act. Seconds to wait; 0: go on at once; None: until something happens."""
        if self._stale:
            # Before looking: news that come meanwhile make it stale again.
            self._stale = False
            sandboxes, containers = await self._host.runtime.pod_status(self.id.uid)
            self.seen = Seen(sandboxes, containers)
        if self.pod is not None:
            self.seen = Seen(self.seen.sandboxes, await self._messages.added(self.pod, self.seen.containers))
        now = _now()
        if self._adopting:
            self._adopting = False
            self._memory.adopt(self.seen, now, datetime.now(UTC))
        self._memory.observe(self.seen, now)
        await self._admit()
        self._watch_deadline(now)
        self._kills.keep(container.id for container in self.seen.alive())
        self._watch_probes()
        await self._refresh_volumes()
        plan = self._plan(now)
        actions = [a for a in plan.actions if not isinstance(a, Kill) or self._kills.is_due(a, now)]
        self._publish(plan, actions)
        if actions:
            await self._act(actions)
            return 0
        if plan.over:
            await self._over()
            if self._gone:
                return 0
        times = [*self._kills.look_again(), *([] if plan.wake_at is None else [plan.wake_at])]
        if self._refreshes and self._refresh_at < math.inf:
            times.append(self._refresh_at)
        return max(0.01, min(times) - _now()) if times else None

    def _plan(self, now: float) -> Plan:
        pod = self.pod
        if pod is None or self.removed:
            # A static pod that is no longer wanted ends like one that is deleted; others were given their time before.
            grace = planning.grace_period(pod) if pod is not None and is_static(pod) else 0
            return planning.plan_end(self.seen, "Stopping container {}", grace, remove=True)
        if pod.metadata.deletionTimestamp is not None:
            grace = planning.grace_period(pod)
            return planning.plan_end(self.seen, "Stopping container {}", grace, sidecars=sidecars(pod))
        return planning.plan(pod, self.seen, self._memory, now)

    async def _admit(self) -> None:
        """Have a pod fail that this node cannot run. What runs already is not judged."""
        pod = self.pod
        if pod is None or self._admitted or self._ending:
            return
        if self.seen.sandboxes or self.seen.containers or pod.status.phase in TERMINAL:
            self._admitted = True
            return
        refused = refusal(pod, allowed_sysctls=self._host.allowed_unsafe_sysctls) or await self._host.admit(pod)
        # Not before, and without a wait: who is still being judged takes nobody's room, who was admitted does.
        self._admitted = True
        if refused is not None:
            self._events.pod("Warning", refused.reason, refused.message)
            self._end(Ended(refused.reason, f"Pod was rejected: {refused.message}", refused=True))

    def _watch_deadline(self, now: float) -> None:
        """Note until when the pod may be active, and end it once it has been for so long."""
        pod = self.pod
        if pod is None or self._ending or pod.spec.activeDeadlineSeconds is None or pod.status.phase in TERMINAL:
            return
        memory, started = self._memory, self._host.statuses.last(pod).startTime
        if memory.active_since is None and started is not None:
            memory.active_since = now - (datetime.now(UTC) - started).total_seconds()
        if memory.active_since is None or memory.ended is not None:
            return
        memory.deadline = memory.active_since + pod.spec.activeDeadlineSeconds
        if now >= memory.deadline:
            message = "Pod was active on the node longer than the specified deadline"
            self._events.pod("Normal", "DeadlineExceeded", message)
            self._end(Ended("DeadlineExceeded", message))

    @property
    def troubled(self) -> bool:
        """Whether the engine failed the last time it was asked."""
        return self._failures > 0

    async def _over(self) -> None:
        """Nothing of the pod runs, and nothing will."""
        if self.removed:
            try:
                await self._host.volumes.remove(self.id.uid)
            except (OSError, MountError) as error:
                log.warning("cannot remove a pod's volumes", extra={"pod": self.name, "error": error})
            self._host.statuses.forget(self.id.uid)
            log.info("nothing is left of the pod", extra={"pod": self.name})
            self._gone = True
        elif self.pod is not None and self.pod.metadata.deletionTimestamp is not None:
            self._host.statuses.finish(self.pod)

    # Telling.

    def _watch_probes(self) -> None:
        pod, sandbox = self.pod, self.seen.sandbox()
        if pod is None or self.removed or sandbox is None:
            self._probes.stop()
            return
        if self._ending:
            self._probes.stop_killing()
        ready = None if self._looked else self._ready_before(pod)
        self._looked = True
        ip = pod_ip(pod, self.seen, self._host.ip)
        self._probes.sync(pod, self.seen, ip, self._events, ready, not_yet=self._starting())
        self._memory.unhealthy = self._probes.unhealthy()
        self._memory.started = frozenset(id for id, health in self._probes.health().items() if health.started)

    def _starting(self) -> frozenset[str]:
        """The ids of the containers whose postStart hooks are not over."""
        return frozenset(memory.starting for memory in self._memory.containers.values() if memory.starting)

    def _ready_before(self, pod: Pod) -> list[str]:
        """The containers that were ready, by what the API says, when this kubelet began."""
        last = self._host.statuses.last(pod)
        before = [*last.initContainerStatuses, *last.containerStatuses]
        return [status.containerID.removeprefix("docker://") for status in before if status.ready]

    def _publish(self, plan: Plan, actions: Sequence[Action]) -> None:
        """Tell the status, unless the next action will change it at once anyway."""
        pod = self.pod
        if pod is None or self.removed:
            return
        previous = self._host.statuses.last(pod)
        starting = any(isinstance(a, MountVolumes | MakeSandbox | EnsureImage | Start) for a in actions)
        if starting and previous.startTime is not None and not self.seen.containers:
            return
        health, starting_hooks = self._probes.health(), self._starting()
        present = (pod, self.seen, plan.waiting, health, plan.over, starting_hooks, self._memory.ended)
        if self._published is not None and self._published[1] is previous and self._published[0] == present:
            return  # it would be the same again
        for name, waiting in plan.waiting.items():
            self._announce_back_off(name, waiting)
        status = compute(
            pod,
            self.seen,
            waiting=plan.waiting,
            health=health,
            host_ip=self._host.ip,
            previous=previous,
            now=datetime.now(UTC).replace(microsecond=0),
            over=plan.over,
            starting=starting_hooks,
            ended=self._memory.ended,
        )
        self._host.statuses.set(pod, status)
        self._published = present, self._host.statuses.last(pod)

    def _announce_back_off(self, name: str, waiting: Waiting) -> None:
        newest = self.seen.newest(name)
        if waiting.reason != "CrashLoopBackOff" or newest is None or self._announced.get(name) == newest.id:
            return
        self._announced[name] = newest.id
        assert self.pod is not None
        message = f"Back-off restarting failed container {name} in pod {self.pod.name}_{self.pod.namespace}"
        self._events.container(name, "Warning", "BackOff", f"{message}({self.id.uid})")


def _now() -> float:
    return asyncio.get_running_loop().time()
