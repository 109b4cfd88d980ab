"""Mirror pods: what the API shows of static pods, so that a person and the scheduler see them.

The static pod is the truth: a mirror that is missing is made, one that shows another version, or is being deleted, is
removed and made again, one without a static pod is removed. Nothing waits for the apiserver.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from kube.api import errors
from kube.api.core import Node, Pod
from kube.api.meta import OwnerReference
from kube.client.workqueue import WorkQueue, work
from kube.kubelet.static_pods import HASH, MIRROR, StaticPods, is_mirror
from kube.kubelet.status_manager import Api

log = logging.getLogger(__name__)

LONGEST_WAIT = 10.0
"""Seconds between tries while the apiserver is away."""


def mirror_of(pod: Pod, owner: OwnerReference | None) -> Pod:
    """What the API is to show of a static pod."""
    mirror = pod.clone()
    mirror.metadata.uid = mirror.metadata.resourceVersion = ""  # a manifest may be what somebody once read
    mirror.metadata.annotations = {**mirror.metadata.annotations, MIRROR: pod.metadata.annotations[HASH]}
    mirror.metadata.ownerReferences = [owner] if owner is not None else []
    return mirror


class Mirrors:
    """The mirror pods of one node. `present` looks a pod in the API up by `namespace/name`."""

    def __init__(self, api: Api, node: str, static: StaticPods, present: Callable[[str], Pod | None]) -> None:
        self._api = api
        self._node = node
        self._static, self._present = static, present
        self._queue = WorkQueue("mirror-pods", longest_wait=LONGEST_WAIT)

    async def run(self) -> None:
        """Keep them as they should be, until cancelled."""
        await work(self._queue, self._sync, workers=4, name="mirror-pods")

    def look(self, key: str) -> None:
        """A static pod or its mirror has changed."""
        self._queue.add(key)

    async def _sync(self, key: str) -> float | None:
        pod, mirror = self._static.get(key), self._present(key)
        if pod is None and not self._static.has_synced:
            return LONGEST_WAIT  # its source may still say it
        if mirror is not None and not is_mirror(mirror):
            if pod is not None:
                log.error("a pod in the API has a static pod's name", extra={"pod": key})
            return None
        if mirror is not None and (pod is None or not _shows(mirror, pod)):
            try:
                uid = mirror.metadata.uid
                await self._api.delete(Pod, mirror.name, mirror.namespace, grace_period=0, uid=uid)
                log.info("removed a mirror pod", extra={"pod": key})
            except (errors.NotFound, errors.Conflict):
                pass  # it is gone, or another one by now
            mirror = None
        if pod is not None and mirror is None:
            try:
                await self._api.create(mirror_of(pod, await self._owner()))
                log.info("made a mirror pod", extra={"pod": key})
            except errors.AlreadyExists:
                return LONGEST_WAIT  # our view is behind: look again
        return None

    async def _owner(self) -> OwnerReference | None:
        """The node: its mirror pods go with it."""
        try:
            node = await self._api.get(Node, self._node)
        except errors.NotFound:
            return None
        return OwnerReference(apiVersion="v1", kind="Node", name=node.name, uid=node.metadata.uid, controller=True)


def _shows(mirror: Pod, pod: Pod) -> bool:
    same = mirror.metadata.annotations[MIRROR] == pod.metadata.annotations[HASH]
    return same and mirror.metadata.deletionTimestamp is None
