"""Removes what nobody needs any more: dead containers every minute, and images when the disk is nearly full.

Of the images only those that this kubelet has pulled (pulled_images.py): the engine may be a person's own, and what was
pulled can be pulled again. Of these, none that a container of the node was made from or that a pod here names, and not
the sandboxes' own. Docker itself refuses to remove an image that somebody else's container uses.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from kube.api.core import ObjectReference
from kube.kubelet import garbage
from kube.kubelet.events import Recorder
from kube.kubelet.eviction import Level
from kube.kubelet.garbage import ContainerPolicy, ImagePolicy, ImageRecord
from kube.kubelet.pod_state import TERMINAL
from kube.kubelet.pod_worker import PodWorker
from kube.kubelet.pulled_images import PulledImages
from kube.kubelet.runtime import ContainerStatus, Runtime, RuntimeFailure, full_image_name

log = logging.getLogger(__name__)

CONTAINER_PERIOD, IMAGE_PERIOD = 60.0, 300.0
"""Seconds between two collections (upstream's ContainerGCPeriod and ImageGCPeriod)."""
READY_CHECK = 5.0


class CollectionFailed(Exception):
    """There is more garbage than could be removed; the message is upstream's."""


class GarbageCollector:
    """The garbage of one node. `disk` measures the file system that holds a directory of the engine's."""

    def __init__(
        self,
        node: str,
        runtime: Runtime,
        recorder: Recorder,
        workers: Callable[[], Iterable[PodWorker]],
        pulled: PulledImages,
        pause_image: str,
        *,
        containers: ContainerPolicy,
        images: ImagePolicy,
        disk: Callable[[str], Level],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        """`clock`: the time by which the engine tells when a container was made. `ready`: all pods have their workers;
        before, nobody knows what is garbage.
        """
        self._ready = ready
        self._runtime, self._recorder, self._workers, self._pulled = runtime, recorder, workers, pulled
        # Upstream names a node in events by its name in place of its uid.
        self._node = ObjectReference(kind="Node", name=node, uid=node)
        self._pause_image = full_image_name(pause_image)
        self._containers, self._images, self._disk, self._clock = containers, images, disk, clock
        self.directory: Path | None = None
        """Where the engine keeps its images, once it has said so."""
        self._records: dict[str, ImageRecord] = {}

    async def run(self) -> None:
        """Collect until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._every(CONTAINER_PERIOD, self.collect_containers, "ContainerGCFailed", at=1))
            if self._images.high < 100:
                tasks.create_task(self._every(IMAGE_PERIOD, self.collect_images, "ImageGCFailed", at=2))

    async def _every(self, period: float, collect: Callable[[], Awaitable[None]], reason: str, *, at: int) -> None:
        """`at`: which failure in a row is told to others."""
        failures = 0
        while True:
            if not self._ready():
                await asyncio.sleep(READY_CHECK)
                continue
            try:
                await collect()
                failures = 0
            except (CollectionFailed, RuntimeFailure) as error:
                failures += 1
                log.warning("garbage collection failed", extra={"reason": reason, "error": error})
                if failures >= at:
                    self._recorder.event(self._node, "Warning", reason, str(error))
            await asyncio.sleep(period)

    async def collect_containers(self) -> None:
        """Remove the dead containers that are too many. Raises RuntimeFailure."""
        await self._remove_containers(self._containers)

    async def collect_images(self) -> None:
        """Remove images until the disk is full to the low threshold only. Raises CollectionFailed, RuntimeFailure."""
        root = await self._runtime.root()
        self.directory = Path(root)
        disk = await asyncio.to_thread(self._disk, root)
        await self._detect()
        try:
            wanted = garbage.to_free(disk, self._images)
        except ValueError as error:
            self._recorder.event(self._node, "Warning", "InvalidDiskCapacity", str(error))
            raise CollectionFailed(str(error)) from None
        if wanted <= 0:
            return
        log.info("the disk is nearly full, removing images", extra={"directory": root, "bytes": wanted})
        freed = await self._remove_images(wanted, self._images.min_age)
        if freed < wanted:
            message = "Failed to garbage collect required amount of images. "
            message += f"Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
            self._recorder.event(self._node, "Warning", "FreeDiskSpaceFailed", message)
            raise CollectionFailed(message)

    async def reclaim(self) -> None:
        """Remove all garbage there is, before pods have to leave for want of space. Raises RuntimeFailure."""
        if not self._ready():
            return
        await self._remove_containers(ContainerPolicy(min_age=0.0, per_container=0))
        await self._detect()
        await self._remove_images(None, 0.0)

    async def _remove_containers(self, policy: ContainerPolicy) -> None:
        found = [container for worker in self._workers() for container in worker.seen.containers]
        for container in garbage.surplus(found, self._needed(), policy, self._clock()):
            log.info("removing a dead container", extra={"container": container.name, "id": container.id[:12]})
            await self._runtime.remove_container(container.id)

    def _needed(self) -> set[str]:
        """The newest of each name, while the pod is not over: it says whether to start another."""
        needed: set[str] = set()
        for worker in self._workers():
            if worker.pod is not None and worker.pod.status.phase not in TERMINAL:
                newest: dict[str, ContainerStatus] = {}
                for container in worker.seen.containers:  # the newest come first
                    newest.setdefault(container.name, container)
                needed |= {container.id for container in newest.values()}
        return needed

    async def _detect(self) -> None:
        """Note what there is of what was pulled, and what of it is in use."""
        images, now, used = await self._runtime.list_images(), asyncio.get_running_loop().time(), set(self._used())
        present = {image.id for image in images}
        await asyncio.to_thread(self._pulled.keep, present)
        self._records = {id: self._records.get(id) or ImageRecord(now) for id in present if id in self._pulled.ids}
        for image in images:
            record = self._records.get(image.id)
            if record is not None and (image.id in used or any(name in used for name in image.names)):
                record.used = now

    async def _remove_images(self, wanted: int | None, min_age: float) -> int:
        """Bytes that were freed; None: as many as there are. What the engine does not give up stays."""
        images, now, freed = await self._runtime.list_images(), asyncio.get_running_loop().time(), 0
        for image in garbage.removable(images, set(self._used()), self._records, min_age, now):
            if wanted is not None and freed >= wanted:
                break
            try:
                await self._runtime.remove_image(image.id)
            except RuntimeFailure as error:
                log.info("an image stays", extra={"image": image.id, "error": error})
                continue
            log.info("removed an image", extra={"image": image.id, "names": " ".join(image.names)})
            freed += image.size
        return freed

    def _used(self) -> Iterator[str]:
        """Ids and names of the images that containers here are of, or will be."""
        yield self._pause_image
        for worker in self._workers():
            for container in worker.seen.containers:
                yield container.image_id
            if worker.pod is not None and worker.pod.status.phase not in TERMINAL:
                for wanted in (*worker.pod.spec.initContainers, *worker.pod.spec.containers):
                    yield full_image_name(wanted.image)


def disk_of(directory: str) -> Level:
    """How full the file system is that holds a directory; without a size if there is none such."""
    try:
        stat = os.statvfs(directory)
    except OSError:
        return Level(0, 0)
    return Level(stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize)
