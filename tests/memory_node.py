"""A node without containers, for tests of controllers: its pods run, get ready and end as soon as asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from kube.api import errors
from kube.api.core import Pod, PodCondition
from kube.api.meta import now
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.client.source import Sources
from kube.client.workqueue import WorkQueue, work


class MemoryNode:
    """Runs the pods that are bound to it; with `bind`, binds every pod to itself."""

    def __init__(
        self, api: Client, sources: Sources, name: str = "n", *, bind: bool = True, ready_after: float = 0.1
    ) -> None:
        self._api, self._name, self._bind, self._ready_after = api, name, bind, ready_after
        self._informers = Informers(sources)
        self._pods = self._informers.of(Pod)
        self._pods.on_change(self._changed)
        self._queue = WorkQueue()
        self._ips = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[MemoryNode]:
        tasks = [
            asyncio.ensure_future(self._informers.run()),
            asyncio.ensure_future(work(self._queue, self._sync, workers=8)),
        ]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None:
            self._queue.add(new.key)

    async def _sync(self, key: str) -> float | None:
        pod = self._pods.get(key)
        if pod is None:
            return None
        with contextlib.suppress(errors.NotFound, errors.Conflict):
            if not pod.spec.nodeName:
                if self._bind:
                    await self._api.bind(pod, self._name)
            elif pod.spec.nodeName != self._name:
                return None
            elif pod.metadata.deletionTimestamp is not None:
                await self._api.delete(Pod, pod.name, pod.namespace, grace_period=0, uid=pod.metadata.uid)
            elif pod.status.phase == "Pending":
                await asyncio.sleep(self._ready_after)
                await self._run(pod)
            return None
        return 0.1

    async def _run(self, pod: Pod) -> None:
        self._ips += 1
        pod = pod.clone()
        pod.status.phase = "Running"
        pod.status.podIP = f"10.244.{self._ips // 250}.{self._ips % 250 + 1}"
        pod.status.conditions = [
            *[c for c in pod.status.conditions if c.type != "Ready"],
            PodCondition(type="Ready", status="True", lastTransitionTime=now()),
        ]
        await self._api.update(pod, "status")
