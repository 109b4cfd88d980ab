"""The node agent: for each pod that is bound to this node a worker, and for each worker what it has to know.

What there should be comes from the pods' source, what there is from the engine. Both are listed and compared; a change
of either is only a reason to look. Containers of pods that are not bound here (any more) are orphans and are ended,
but only once the source has answered: an empty list for want of an answer kills nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Mapping

from kube.api import errors
from kube.api.core import Pod, Service
from kube.client.informer import Informer
from kube.kubelet.host import Host
from kube.kubelet.mirrors import Mirrors
from kube.kubelet.pod_state import Seen
from kube.kubelet.pod_worker import PodWorker
from kube.kubelet.runtime import ContainerStatus, PodId, RuntimeFailure, SandboxStatus
from kube.kubelet.spec import pod_id
from kube.kubelet.static_pods import StaticPods, is_mirror, is_static
from kube.kubelet.status_manager import StatusManager

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds that a starting kubelet waits for the apiserver to say which pods were ready before."""
ENGINE_RETRY = 1.0
OTHERS_ARE_DONE = 5.0
"""Seconds after which who took the node for dead has written that in all of its pods."""


class Kubelet:
    """The pods of one node."""

    def __init__(
        self,
        node: str,
        host: Host,
        pods: Informer[Pod],
        services: Informer[Service],
        statuses: StatusManager,
        static: StaticPods,
        mirrors: Mirrors,
        *,
        sync_frequency: float = 60.0,
    ) -> None:
        self.name = node
        self._host = host
        self._pods = pods
        self._services = services
        self._statuses = statuses
        self._static, self._mirrors = static, mirrors
        self._next: dict[str, Pod] = {}
        """Static pods that wait for another of their name to end."""
        self._sync_frequency = sync_frequency
        self._relist_now = asyncio.Event()
        self._workers: dict[str, PodWorker] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self.synced = False
        """Whether pods and containers have been compared once."""

    @property
    def workers(self) -> Mapping[str, PodWorker]:
        """The workers, by uid of their pod."""
        return self._workers

    def beside(self, pod: Pod) -> list[Pod]:
        """The pods that take their part of the node beside this one."""
        return [w.pod for w in self._workers.values() if w.holds and w.pod is not None and w.id.uid != pod.metadata.uid]

    def was_given_up(self) -> None:
        """Others took the node for dead, and may have written so in its pods: put those right, now and once more."""
        self._relist_now.set()
        asyncio.get_running_loop().call_later(OTHERS_ARE_DONE, self._relist_now.set)

    def pods(self) -> list[Pod]:
        """The pods bound here and the node's own, each with the status that this kubelet has for it."""
        pods = [*(pod for pod in self._pods.list() if not is_mirror(pod)), *self._static.list()]
        return [pod.model_copy(update={"status": self._statuses.last(pod)}) for pod in pods]

    async def run(self) -> None:
        """Bring this node's pods to what they should be, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            # The node's own pods wait for nobody: it may be they that bring the apiserver.
            tasks.create_task(self._static.run(), name="static pods")
            tasks.create_task(self._mirrors.run(), name="mirror pods")
            self._static.on_change(self._on_static)
            await self._begin()
            tasks.create_task(self._follow_engine(), name="engine changes")
            tasks.create_task(self._relist(), name="relist")

    async def _begin(self) -> None:
        """Compare what is wanted with what is there, and adopt it."""
        await self._services.synced()  # a container is told of the services that there are when it starts
        await self._pods.synced()
        for pod in self._pods.list():
            if not is_mirror(pod):
                self._statuses.observe(pod, fresh=False)
        try:
            async with asyncio.timeout(PATIENCE):
                await self._refresh()
        except TimeoutError:
            log.warning("the apiserver does not answer: going on without the pods' last statuses")
        seen = await self._seen()
        # From here on to the end without a wait: no change of a pod is told in between.
        for pod in self._pods.list():
            if not is_mirror(pod):
                self._statuses.observe(pod, fresh=False)
                self._employ(pod_id(pod), pod, seen.pop(pod.metadata.uid, Seen()))
        self._adopt_orphans(seen)
        self.synced = True
        self._pods.on_change(self._on_pod)
        log.info("compared pods and containers", extra={"pods": len(self._pods.list()), "orphans": len(seen)})

    async def _refresh(self) -> None:
        """Read the statuses of this node's pods, however often it takes."""
        while True:
            try:
                await self._statuses.refresh(self.name)
                return
            except errors.ApiError as error:
                log.debug("cannot read the node's pods, will retry", extra={"error": error})
                await asyncio.sleep(ENGINE_RETRY)

    async def _seen(self) -> dict[str, Seen]:
        """What the engine has, by uid; asked until it answers."""
        while True:
            try:
                return by_pod(await self._host.runtime.list_sandboxes(), await self._host.runtime.list_containers())
            except RuntimeFailure as error:
                log.warning("the engine does not answer, will retry", extra={"error": error})
                await asyncio.sleep(ENGINE_RETRY)

    def _on_static(self, old: Pod | None, new: Pod | None) -> None:
        """A static pod has come or gone. One of the same name is another version: it waits for the first to end."""
        for pod in (old, new):
            if pod is not None:
                self._mirrors.look(pod.key)
        if old is not None and (worker := self._workers.get(old.metadata.uid)):
            worker.remove()
        if new is None:
            return
        if any(w.pod is not None and w.pod.key == new.key and is_static(w.pod) for w in self._workers.values()):
            self._next[new.key] = new
            return
        self._statuses.adopt(new)
        self._on_mirror(new.key)
        self._employ(pod_id(new), new, None)

    def _on_mirror(self, key: str) -> None:
        self._mirrors.look(key)
        pod, mirror = self._static.get(key), self._pods.get(key)
        if pod is not None:
            self._statuses.mirror(pod.metadata.uid, mirror if mirror is not None and is_mirror(mirror) else None)

    def _on_pod(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        if pod is not None and is_mirror(pod):
            self._on_mirror(pod.key)
            return
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            if worker := self._workers.get(old.metadata.uid):
                worker.remove()
            else:
                self._statuses.forget(old.metadata.uid)
        if new is None:
            return
        worker = self._workers.get(new.metadata.uid)
        if worker is None:
            self._statuses.observe(new, fresh=True)
            self._employ(pod_id(new), new, Seen())
            return
        self._statuses.observe(new, fresh=False)
        if old is None or _acts_on(old, new):
            self._host.configuration.use(new, worker.reconfigured)
            worker.update(new)
        else:
            worker.wake()

    def _employ(self, id: PodId, pod: Pod | None, seen: Seen | None) -> None:
        """Give a pod its worker."""
        assert self._tasks is not None
        if id.uid in self._workers:
            return
        worker = PodWorker(self._host, id, pod, seen=seen)
        self._workers[id.uid] = worker
        if pod is not None:
            self._host.configuration.use(pod, worker.reconfigured)
        self._tasks.create_task(self._work(worker), name=f"pod {id.namespace}/{id.name}")

    async def _work(self, worker: PodWorker) -> None:
        try:
            await worker.run()
        finally:
            self._host.configuration.release(worker.id.uid)
            del self._workers[worker.id.uid]
        following = self._next.pop(f"{worker.id.namespace}/{worker.id.name}", None)
        if following is not None and following in self._static.list():
            self._on_static(None, following)

    def _adopt_orphans(self, present: Mapping[str, Seen]) -> None:
        """End containers of pods that are not bound here, once it is known which pods there are."""
        if not self._static.has_synced:
            return
        for uid, found in present.items():
            pod = found.sandboxes[0].pod if found.sandboxes else found.containers[0].pod
            if uid and uid not in self._workers:
                log.info("ending an orphan", extra={"pod": f"{pod.namespace}/{pod.name}", "uid": uid})
                self._employ(pod, None, found)

    async def _follow_engine(self) -> None:
        """Wake the worker of each pod that the engine has news of."""
        while True:
            try:
                async for change in self._host.runtime.changes():
                    if change.pod is None:
                        await self._compare()
                    elif worker := self._workers.get(change.pod.uid):
                        worker.changed()
            except RuntimeFailure as error:
                log.warning("no news from the engine, will retry", extra={"error": error})
            await asyncio.sleep(ENGINE_RETRY)

    async def _relist(self) -> None:
        """Compare everything now and then: it repairs what a stream of news has missed."""
        while True:
            with contextlib.suppress(TimeoutError):
                # Upstream's jitter (workerResyncIntervalJitterFactor): hollow nodes that began together drift apart.
                async with asyncio.timeout(self._sync_frequency * random.uniform(1, 1.5)):
                    await self._relist_now.wait()
            self._relist_now.clear()
            await self._compare()
            try:
                await self._statuses.refresh(self.name)
                for worker in self._workers.values():
                    worker.wake()  # what others have written may matter, as readiness gates do
            except errors.ApiError as error:
                log.debug("cannot read the node's pods", extra={"error": error})

    async def _compare(self) -> None:
        """Wake the workers whose view differs from the engine's, and find orphans."""
        try:
            present = by_pod(await self._host.runtime.list_sandboxes(), await self._host.runtime.list_containers())
        except RuntimeFailure as error:
            log.debug("cannot list the engine's containers", extra={"error": error})
            return
        for uid, worker in self._workers.items():
            found = present.pop(uid, Seen())
            if not _equal(found, worker.seen) or worker.troubled:
                worker.changed()
        self._adopt_orphans(present)
        if self._static.has_synced:
            await self._clean_directories()

    async def _clean_directories(self) -> None:
        """Remove the directories of pods that nobody works on."""
        for uid in await self._host.volumes.uids():
            if uid not in self._workers:
                try:
                    await self._host.volumes.remove(uid)
                except Exception as error:  # noqa: BLE001  # one directory's trouble is tried again at the next relist
                    log.warning("cannot remove the directory of a pod that is gone", extra={"uid": uid, "error": error})


def by_pod(sandboxes: list[SandboxStatus], containers: list[ContainerStatus]) -> dict[str, Seen]:
    """The engine's sandboxes and containers, by the uid of their pod."""
    found: dict[str, tuple[list[SandboxStatus], list[ContainerStatus]]] = {}
    for sandbox in sandboxes:
        found.setdefault(sandbox.pod.uid, ([], []))[0].append(sandbox)
    for container in containers:
        found.setdefault(container.pod.uid, ([], []))[1].append(container)
    return {uid: Seen(*both) for uid, both in found.items()}


def _acts_on(old: Pod, new: Pod) -> bool:
    """Whether a worker has to know: anything but a status that is not an end."""
    return (
        old.spec != new.spec
        or old.status.phase != new.status.phase
        or not old.metadata.equals(new.metadata, but=("resourceVersion", "managedFields"))
    )


def _equal(left: Seen, right: Seen) -> bool:
    return _states(left) == _states(right)


def _states(seen: Seen) -> set[tuple[str, str]]:
    return {(s.id, s.state.value) for s in seen.sandboxes} | {(c.id, c.state.value) for c in seen.containers}
