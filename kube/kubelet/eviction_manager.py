"""Watches what the node is running out of, says so in its conditions, and has pods leave, one at a time.

A condition stays for `--eviction-pressure-transition-period` after the pressure is over, so that a node that is just
about full does not change its mind every few seconds. Besides, a pod whose emptyDir has outgrown its sizeLimit leaves.

Before a pod has to leave for want of disk, the garbage is removed (garbage_collector.py); that may be enough.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from kube.api import quantity
from kube.api.core import Pod
from kube.kubelet import eviction
from kube.kubelet.events import PodEvents, Recorder
from kube.kubelet.eviction import DISK, MEMORY, PRESSURE, Level, Threshold
from kube.kubelet.plan import grace_period
from kube.kubelet.pod_state import TERMINAL
from kube.kubelet.pod_worker import PodWorker
from kube.kubelet.runtime import Runtime, RuntimeFailure
from kube.kubelet.volume_manager import VolumeManager

log = logging.getLogger(__name__)

PERIOD = 10.0
"""Seconds between looks."""
SETTLE = 30.0
"""Seconds that a pod which was told to leave has to do so, before another is told."""

_Used = dict[tuple[str, str], int]
"""Bytes, or processes, that a container uses of what is short, by the pod's uid and the container's name."""


class EvictionManager:
    """The pressures of one node. `levels` measures what is left of what there is, by signal."""

    def __init__(
        self,
        runtime: Runtime,
        volumes: VolumeManager,
        recorder: Recorder,
        workers: Callable[[], Iterable[PodWorker]],
        thresholds: Sequence[Threshold],
        levels: Callable[[], Mapping[str, Level]],
        *,
        transition_period: float = 300.0,
        reclaim: Callable[[], Awaitable[None]] | None = None,
        most_grace: float = 0.0,
    ) -> None:
        """`reclaim` removes from the disk what nobody needs. `most_grace`: seconds that a pod has to end at most, where
        the threshold is a soft one.
        """
        self._most_grace = most_grace
        self._since: dict[Threshold, float] = {}
        """Since when the thresholds are met that are."""
        self._reclaim = reclaim
        self._runtime, self._volumes, self._recorder = runtime, volumes, recorder
        self._workers = workers
        self._thresholds = thresholds
        self._levels = levels
        self._transition_period = transition_period
        self._seen: dict[str, float] = {}
        """When each pressure was seen last."""
        self._evicted_at = float("-inf")

    def pressures(self) -> list[str]:
        """The conditions that the node has now."""
        since = asyncio.get_running_loop().time() - self._transition_period
        return sorted(pressure for pressure, seen in self._seen.items() if seen > since)

    async def run(self) -> None:
        """Look, and act, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(PERIOD)

    async def look(self) -> None:
        """Measure once, and have at most one pod leave for want of something."""
        pods = {
            worker.pod.metadata.uid: worker
            for worker in self._workers()
            if worker.pod is not None and worker.seen.alive() and worker.pod.status.phase not in TERMINAL
        }
        await self._look_at_volumes(pods)
        levels, now = await asyncio.to_thread(self._levels), asyncio.get_running_loop().time()
        found = eviction.met(self._thresholds, levels)
        for threshold in found:
            if PRESSURE[threshold.signal] not in self.pressures():
                log.warning("the node is under pressure", extra={"signal": threshold.signal})
            self._seen[PRESSURE[threshold.signal]] = now
        self._since = {threshold: self._since.get(threshold, now) for threshold in found}
        due = [threshold for threshold in found if now >= self._since[threshold] + (threshold.grace or 0)]
        if due and now >= self._evicted_at + SETTLE:
            if PRESSURE[due[0].signal] == DISK and await self._reclaimed(due):
                return
            await self._evict(due[0], levels[due[0].signal], pods)

    async def _reclaimed(self, found: Sequence[Threshold]) -> bool:
        """Whether removing garbage was enough for these."""
        if self._reclaim is None:
            return False
        try:
            await self._reclaim()
        except RuntimeFailure as error:
            log.warning("cannot remove garbage", extra={"error": error})
        return not eviction.met(found, await asyncio.to_thread(self._levels))

    async def _look_at_volumes(self, pods: Mapping[str, PodWorker]) -> None:
        """Have pods leave whose volumes hold more than they may."""
        for worker in pods.values():
            pod = worker.pod
            for volume in pod.spec.volumes if pod is not None else ():
                source = volume.emptyDir
                if pod is None or source is None or source.sizeLimit is None or source.medium == "Memory":
                    continue  # in memory there is no way to outgrow it
                limit = quantity.integer(source.sizeLimit)
                if limit and await self._volumes.used(pod, volume.name) > limit:
                    text = f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{source.sizeLimit}". '
                    self._end(worker, pod, text)

    async def _evict(self, threshold: Threshold, level: Level, pods: Mapping[str, PodWorker]) -> None:
        pressure = PRESSURE[threshold.signal]
        used = await self._used(pressure, pods)

        def usage(pod: Pod, container: str) -> int:
            return used.get((pod.metadata.uid, container), 0)

        known = [worker.pod for worker in pods.values() if worker.pod is not None]
        for pod in eviction.rank(known, pressure, usage):
            grace = 0.0 if threshold.grace is None else min(self._most_grace, grace_period(pod))
            self._end(pods[pod.metadata.uid], pod, eviction.message(threshold, level, pod, usage), grace)
            self._evicted_at = asyncio.get_running_loop().time()
            return
        log.warning("under pressure, and no pod may be evicted", extra={"signal": threshold.signal})

    async def _used(self, pressure: str, pods: Mapping[str, PodWorker]) -> _Used:
        used: _Used = {}
        for uid, worker in pods.items():
            pod = worker.pod
            if pod is not None and pressure == DISK:
                # What is in the volumes belongs to no container more than to another.
                volumes = [v.name for v in pod.spec.volumes if v.emptyDir is not None and v.emptyDir.medium != "Memory"]
                used[uid, pod.spec.containers[0].name] = sum([await self._volumes.used(pod, name) for name in volumes])
                continue
            for container in worker.seen.alive():
                try:
                    measured = await self._runtime.usage(container.id)
                    used[uid, container.name] = measured.memory if pressure == MEMORY else measured.pids
                except RuntimeFailure as error:
                    log.debug("cannot measure a container", extra={"container": container.name, "error": error})
        return used

    def _end(self, worker: PodWorker, pod: Pod, text: str, grace: float = 0.0) -> None:
        log.warning("evicting a pod", extra={"pod": pod.key, "why": text.strip()})
        PodEvents(self._recorder, pod).pod("Warning", "Evicted", text)
        worker.evict(text, grace)
