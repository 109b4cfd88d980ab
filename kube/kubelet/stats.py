"""/stats/summary: what the node and its pods use, in the form that metrics-server and `kubectl top` live on.

Usage is counted since a container's start (usageCoreNanoSeconds); the present rate (usageNanoCores) is that between
this question and the last one, if it was asked at least a second ago.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from kube.api.core import Pod
from kube.kubelet.eviction import Level
from kube.kubelet.kubelet import Kubelet
from kube.kubelet.runtime import ContainerStatus, Runtime, RuntimeFailure, State, Usage

Json = dict[str, Any]
LEAST = 1.0
"""Seconds between two samples that make a rate."""


class Stats:
    """The handler. `levels`: what is left on the machine, by the signals of eviction."""

    def __init__(self, kubelet: Kubelet, runtime: Runtime, levels: Callable[[], Mapping[str, Level]]) -> None:
        self._kubelet, self._runtime, self._levels = kubelet, runtime, levels
        self._samples: dict[str, tuple[float, int]] = {}
        """When each container was measured last, and its cpu time then."""

    async def summary(self, request: web.Request) -> web.Response:
        """What the node and its pods use now."""
        pods = {pod.metadata.uid: pod for pod in self._kubelet.pods()}
        running = [
            (pods[uid], container)
            for uid, worker in self._kubelet.workers.items()
            for container in worker.seen.alive()
            if uid in pods and container.state is State.RUNNING
        ]
        measured = await asyncio.gather(*(self._measure(container) for _, container in running))
        levels = await asyncio.to_thread(self._levels)
        present = {container.id for _, container in running} | {"node"}
        found: dict[str, list[Json]] = {}
        for (pod, container), usage in zip(running, measured, strict=True):
            if usage is not None:
                found.setdefault(pod.metadata.uid, []).append(self._container(container, usage))
        body = {
            "node": self._node(levels),
            "pods": [_pod(pods[uid], containers) for uid, containers in sorted(found.items())],
        }
        self._samples = {id: sample for id, sample in self._samples.items() if id in present}
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    async def _measure(self, container: ContainerStatus) -> Usage | None:
        try:
            return await self._runtime.usage(container.id)
        except RuntimeFailure:
            return None  # it has just ended

    def _container(self, container: ContainerStatus, usage: Usage) -> Json:
        return {
            "name": container.name,
            "startTime": _text(container.started_at),
            "cpu": self._cpu(container.id, usage.cpu),
            "memory": {
                "time": _text(datetime.now(UTC)),
                "usageBytes": usage.memory_usage,
                "workingSetBytes": usage.memory,
                "rssBytes": usage.rss,
                "pageFaults": usage.page_faults,
                "majorPageFaults": usage.major_page_faults,
            },
        }

    def _cpu(self, id: str, nanoseconds: int) -> Json:
        now = asyncio.get_running_loop().time()
        cpu: Json = {"time": _text(datetime.now(UTC)), "usageCoreNanoSeconds": nanoseconds}
        before = self._samples.get(id)
        if before is not None and now - before[0] >= LEAST:
            cpu["usageNanoCores"] = max(0, round((nanoseconds - before[1]) / (now - before[0])))
        if before is None or now - before[0] >= LEAST:
            self._samples[id] = now, nanoseconds
        return cpu

    def _node(self, levels: Mapping[str, Level]) -> Json:
        memory, disk = levels["memory.available"], levels.get("nodefs.available", Level(0, 0))
        inodes = levels.get("nodefs.inodesFree", Level(0, 0))
        used = memory.capacity - memory.available
        return {
            "nodeName": self._kubelet.name,
            "startTime": _text(_boot()),
            "cpu": self._cpu("node", _cpu_time()),
            "memory": {
                "time": _text(datetime.now(UTC)),
                "availableBytes": memory.available,
                "usageBytes": used,
                "workingSetBytes": used,
            },
            "fs": {
                "time": _text(datetime.now(UTC)),
                "availableBytes": disk.available,
                "capacityBytes": disk.capacity,
                "usedBytes": disk.capacity - disk.available,
                "inodesFree": inodes.available,
                "inodes": inodes.capacity,
                "inodesUsed": inodes.capacity - inodes.available,
            },
        }


def _pod(pod: Pod, containers: list[Json]) -> Json:
    started = pod.status.startTime
    return {
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.metadata.uid},
        "startTime": _text(started),
        "containers": containers,
        "cpu": _sums("cpu", containers),
        "memory": _sums("memory", containers),
    }


def _sums(part: str, containers: list[Json]) -> Json:
    """All of a pod's containers together, where all of them say it."""
    parts = [container[part] for container in containers]
    names = [name for name in parts[0] if name != "time" and all(name in each for each in parts)]
    return {"time": parts[0]["time"], **{name: sum(each[name] for each in parts) for name in names}}


def _text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def _cpu_time() -> int:
    """Nanoseconds that the machine's cpus have worked since its start."""
    with open("/proc/stat", encoding="ascii") as lines:
        ticks = [int(field) for field in lines.readline().split()[1:9]]
    idle = ticks[3] + ticks[4]
    return (sum(ticks) - idle) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def _boot() -> datetime:
    with open("/proc/uptime", encoding="ascii") as text:
        return datetime.fromtimestamp(datetime.now(UTC).timestamp() - float(text.read().split()[0]), UTC)
