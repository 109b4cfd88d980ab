"""Probes: one task asks one container one question, period after period, and counts the answers.

`Tally` is the pure part: how many answers of one kind in a row make a verdict. A container without a probe has the
verdict at once. Until its startup probe has succeeded, a container is neither ready nor asked whether it is alive.

Where Kubernetes differs: it begins a probe at a random moment of its period. Here the first question comes right after
the initial delay, and a container that is not ready yet is asked again sooner than its period, in small steps, so that
a pod is Ready when it is and not up to a period later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from kube.api import core
from kube.api.core import Container, Pod
from kube.kubelet.events import PodEvents
from kube.kubelet.pod_state import Seen, Unhealthy
from kube.kubelet.prober import Prober
from kube.kubelet.runtime import (
    ContainerStatus,
    State,
)
from kube.kubelet.spec import sidecars
from kube.kubelet.status import Health

log = logging.getLogger(__name__)

Kind = Literal["startup", "liveness", "readiness"]
KINDS: tuple[Kind, ...] = ("startup", "liveness", "readiness")
KILLING: tuple[Kind, ...] = ("startup", "liveness")

QUICK = 0.1
"""Seconds until a container that was never ready is asked again: doubled up to its probe's period."""


@dataclass(slots=True)
class Tally:
    """Successes and failures in a row of one probe, and the verdict they come to."""

    success_threshold: int
    failure_threshold: int
    verdict: bool | None = None
    """None: not known yet."""
    successes: int = 0
    failures: int = 0

    def count(self, success: bool) -> bool:
        """Count an answer; whether the verdict is another now."""
        before = self.verdict
        if success:
            self.successes, self.failures = self.successes + 1, 0
            if self.successes >= self.success_threshold:
                self.verdict = True
        else:
            self.successes, self.failures = 0, self.failures + 1
            if self.failures >= self.failure_threshold:
                self.verdict = False
        return self.verdict is not before


@dataclass(slots=True)
class _Probed:
    """A running container that is probed."""

    container: Container
    tallies: dict[Kind, Tally] = field(default_factory=dict)
    tasks: dict[Kind, asyncio.Task[None]] = field(default_factory=dict)
    has_started: asyncio.Event = field(default_factory=asyncio.Event)
    """Its startup probe has succeeded."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """What is probed, and how it is reached."""

    pod: Pod
    container: Container
    status: ContainerStatus
    ip: str
    events: PodEvents
    adopted: bool

    def left(self, initial: int) -> float:
        """What is left of an initial delay, which counts from the container's start."""
        if not self.adopted or self.status.started_at is None:
            return float(initial)
        elapsed = (datetime.now(UTC) - self.status.started_at).total_seconds()
        return min(float(initial), max(0.0, initial - elapsed))


class PodProbes:
    """The probes of one pod's containers. `changed` is called when a verdict changes."""

    def __init__(self, prober: Prober, changed: Callable[[], None]) -> None:
        self._prober = prober
        self._changed = changed
        self._probed: dict[str, _Probed] = {}

    def sync(
        self,
        pod: Pod,
        seen: Seen,
        ip: str,
        events: PodEvents,
        ready_before: Iterable[str] | None = None,
        not_yet: Iterable[str] = (),
    ) -> None:
        """Probe exactly the containers and sidecars that run.

        `ready_before`: they ran already when this kubelet began, and of these ids it is known that they were ready.
        `not_yet`: the ids of those whose postStart hook is not over.
        """
        running: dict[str, tuple[Container, ContainerStatus]] = {}
        for container in [*sidecars(pod), *pod.spec.containers]:
            status = seen.newest(container.name)
            if status is not None and status.state is State.RUNNING and status.id not in not_yet:
                running[status.id] = container, status
        for id in [id for id in self._probed if id not in running]:
            self._end(self._probed.pop(id))
        for id, (container, status) in running.items():
            if id not in self._probed:
                begun = _Begun(pod, container, status, ip, events, adopted=ready_before is not None)
                self._probed[id] = self._begin(begun, ready=id in (ready_before or ()))

    def stop(self) -> None:
        """End all probes."""
        for probed in self._probed.values():
            self._end(probed)
        self._probed.clear()

    def stop_killing(self) -> None:
        """The pod ends: only whether its containers are ready is still asked."""
        for probed in self._probed.values():
            for kind in KILLING:
                if task := probed.tasks.pop(kind, None):
                    task.cancel()

    def health(self) -> dict[str, Health]:
        """Of each running container, by id."""
        result = {}
        for id, probed in self._probed.items():
            startup, readiness = probed.tallies.get("startup"), probed.tallies.get("readiness")
            started = startup is None or startup.verdict is True
            ready = started and (readiness is None or readiness.verdict is True)
            result[id] = Health(ready=ready, started=started)
        return result

    def unhealthy(self) -> dict[str, Unhealthy]:
        """The containers that must be killed, by id."""
        result = {}
        for id, probed in self._probed.items():
            for kind, tally in probed.tallies.items():
                if kind != "readiness" and tally.verdict is False:
                    probe = _probe(probed.container, kind)
                    grace = None if probe is None else probe.terminationGracePeriodSeconds
                    result[id] = Unhealthy(kind, None if grace is None else float(grace))
        return result

    def _begin(self, begun: _Begun, *, ready: bool) -> _Probed:
        container, probed = begun.container, _Probed(begun.container)
        for kind in KINDS:
            probe = _probe(container, kind)
            if probe is None:
                continue
            tally = Tally(probe.successThreshold or 1, probe.failureThreshold or 3)
            if ready and kind in ("readiness", "startup"):
                tally.verdict = True  # it goes on being what it was: a restarted kubelet takes nothing out of service
                probed.has_started.set()
            probed.tallies[kind] = tally
            if kind == "startup" and ready:
                continue
            probed.tasks[kind] = asyncio.create_task(
                self._run(kind, probe, begun, probed), name=f"{kind} probe of {begun.pod.key}/{container.name}"
            )
        return probed

    async def _run(self, kind: Kind, probe: core.Probe, begun: _Begun, probed: _Probed) -> None:
        """Ask for as long as the container runs; a startup probe ends with its verdict, a liveness probe by failing."""
        container, tally, period = begun.container, probed.tallies[kind], float(probe.periodSeconds or 10)
        startup = probed.tallies.get("startup") if kind != "startup" else None
        await asyncio.sleep(begun.left(probe.initialDelaySeconds))
        if startup is not None:
            await probed.has_started.wait()
        pause = QUICK if kind == "readiness" and tally.verdict is None else period
        while True:
            answer = await self._prober.ask(probe, container, begun.status.id, begun.ip)
            if answer.success is not None and tally.count(answer.success):
                log.debug("probe", extra={"probe": kind, "container": container.name, "good": tally.verdict})
                if kind == "startup" and tally.verdict:
                    probed.has_started.set()
                self._changed()
            if answer.warning:
                message = f"{kind.capitalize()} probe warning: {answer.message}"
                begun.events.container(container, "Warning", "ProbeWarning", message)
            # Until it was ready a container is asked more often than it should be: that is no news.
            asked_early = pause < period and not tally.verdict
            if not asked_early and (answer.success is False or (answer.success is None and answer.message)):
                verb = "errored" if answer.success is None else "failed"
                message = f"{kind.capitalize()} probe {verb}: {answer.message}"
                begun.events.container(container, "Warning", "Unhealthy", message)
            if (kind == "startup" and tally.verdict is not None) or (kind == "liveness" and tally.verdict is False):
                return
            if tally.verdict:
                pause = period
            await asyncio.sleep(min(pause, period))
            pause *= 2

    @staticmethod
    def _end(probed: _Probed) -> None:
        for task in probed.tasks.values():
            task.cancel()


def _probe(container: Container, kind: Kind) -> core.Probe | None:
    return {
        "startup": container.startupProbe,
        "liveness": container.livenessProbe,
        "readiness": container.readinessProbe,
    }[kind]
