"""Writes pods' statuses through the apiserver: only what changed, the latest only, never over somebody's newer word.

A write is a patch of what changed, with the resourceVersion that it was made from, so an older view can never win; on a
conflict the pod is read again and the kubelet's part is laid over what is there. Pods of one node are written side by
side, one write of one pod at a time. When a pod that was deleted has come to its end, its last status is written and
then the pod itself is deleted, with its uid as a precondition: a new pod of the same name is not touched.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import orjson

from kube.api import errors
from kube.api.core import Pod, PodStatus
from kube.api.meta import Object
from kube.api.patch import merge_difference
from kube.client.rest import ObjectList
from kube.client.workqueue import WorkQueue, work
from kube.kubelet.conditions import OWNED_CONDITIONS, is_own
from kube.kubelet.pod_state import TERMINAL

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Object)
LONGEST_WAIT = 5.0
"""Seconds between tries while the apiserver is away."""
WORKERS = 16


class Api(Protocol):
    """What the kubelet needs of client.rest.Client."""

    async def get(self, model: type[T], name: str, namespace: str = "") -> T: ...
    async def list(
        self, model: type[T], namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> ObjectList[T]: ...
    async def create(self, obj: T) -> T: ...
    async def update(self, obj: T, subresource: str = "") -> T: ...
    async def patch_status(self, obj: Object, changes: Mapping[str, Any]) -> str: ...
    async def delete(
        self,
        model: type[T],
        name: str,
        namespace: str = "",
        *,
        grace_period: int | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> None: ...


@dataclass(slots=True)
class _Entry:
    """One pod's status on its way."""

    base: Pod
    """The pod as it was last read or written."""
    fresh: bool
    """Whether `base` holds the status of that revision, so that the status before this kubelet began is known."""
    status: PodStatus | None = None
    """What the status should be."""
    text: bytes = b""
    """`status` as JSON."""
    laid: tuple[PodStatus, Pod, PodStatus] | None = None
    """What the first laid over the second gave, the last time."""
    shown: tuple[Pod, bytes] | None = None
    """The JSON of the status of the pod as `base` was when it was made: an object that is no more `base` is old."""
    finish: bool = False
    """Delete the pod once its status is written."""
    static: bool = False
    """Its status is the mirror pod's."""
    writable: bool = True
    """False: a static pod, and there is no mirror yet."""

    def merged(self, wanted: PodStatus) -> PodStatus:
        """This status laid over what is there."""
        if self.laid is None or self.laid[0] is not wanted or self.laid[1] is not self.base:
            self.laid = wanted, self.base, merged(wanted, self.base.status)
        return self.laid[2]


class StatusManager:
    """The statuses of this node's pods."""

    def __init__(self, api: Api, *, workers: int = WORKERS) -> None:
        self._api = api
        self._workers = workers
        self._entries: dict[str, _Entry] = {}
        self._queue = WorkQueue("pod-status", longest_wait=LONGEST_WAIT)

    async def run(self) -> None:
        """Write until cancelled."""
        await work(self._queue, self._sync, workers=self._workers, name="pod-status")

    def observe(self, pod: Pod, *, fresh: bool) -> None:
        """A pod as somebody read it. `fresh`: nobody has written its status since.

        A source may show a status that is older than the pod's (see store.keys.bound_pods_prefix); to write from it is
        safe, as such a write is a conflict, but it is not what the pod was when this kubelet began.
        """
        entry = self._entries.get(pod.metadata.uid)
        if entry is None:
            self._entries[pod.metadata.uid] = _Entry(pod, fresh)
            return
        if _revision(pod) > _revision(entry.base):
            entry.base = pod
        elif not (fresh and not entry.fresh):
            return
        entry.fresh = entry.fresh or fresh
        if entry.status is not None:
            self._queue.add(pod.metadata.uid)

    def adopt(self, pod: Pod) -> None:
        """A static pod: its status is written to its mirror, once there is one."""
        self._entries.setdefault(pod.metadata.uid, _Entry(pod, fresh=True, static=True, writable=False))

    def mirror(self, uid: str, mirror: Pod | None) -> None:
        """What the API shows of a static pod; None: nothing."""
        entry = self._entries.get(uid)
        if entry is None:
            return
        entry.writable = mirror is not None
        if mirror is None:
            return
        another = mirror.metadata.uid != entry.base.metadata.uid
        if another or _revision(mirror) > _revision(entry.base):
            entry.base, entry.fresh = mirror, entry.fresh and not another
        self._queue.add(uid)

    def last(self, pod: Pod) -> PodStatus:
        """The status that was last set, with what others have written: what the next one goes on from."""
        entry = self._entries.get(pod.metadata.uid)
        if entry is None:
            return pod.status
        return entry.base.status if entry.status is None else entry.merged(entry.status)

    def set(self, pod: Pod, status: PodStatus) -> None:
        """Have this status written, unless it is what is there already."""
        entry = self._entries.get(pod.metadata.uid)
        if entry is None:
            return
        text = status.to_json()
        if text == entry.text:
            return
        entry.status, entry.text = status, text
        self._queue.add(pod.metadata.uid)

    def finish(self, pod: Pod) -> None:
        """The pod was deleted and nothing of it runs: write its last status, then delete it."""
        entry = self._entries.get(pod.metadata.uid)
        if entry is not None and not entry.finish:
            entry.finish = True
            self._queue.add(pod.metadata.uid)

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._entries.pop(uid, None)

    async def refresh(self, node: str) -> None:
        """Read all pods of the node, and write what others have changed meanwhile. Raises ApiError."""
        for pod in (await self._api.list(Pod, fields=f"spec.nodeName={node}")).items:
            if pod.metadata.uid in self._entries:
                self.observe(pod, fresh=True)

    async def _sync(self, uid: str) -> float | None:
        entry = self._entries.get(uid)
        if entry is None or not entry.writable:
            return None
        try:
            if not entry.fresh:
                entry.base, entry.fresh = await self._get(entry), True
            try:
                await self._write(entry)
            except (errors.Invalid, errors.BadRequest) as error:
                # To try again would be of no use, and must not keep a pod that has ended from going away.
                log.error("a status was refused", extra={"pod": entry.base.key, "error": error})
            if entry.finish:
                await self._delete(entry)
        except errors.NotFound:
            log.debug("the pod is gone, its status is not written", extra={"pod": entry.base.key})
            if entry.static:
                entry.writable = False  # until there is a mirror again
            else:
                self.forget(uid)
        return None

    async def _get(self, entry: _Entry) -> Pod:
        """The pod from the apiserver. Raises NotFound if there is another pod of that name instead."""
        base = entry.base
        pod = await self._api.get(Pod, base.name, base.namespace)
        if pod.metadata.uid != base.metadata.uid:
            raise errors.not_found("pods", base.name)
        return pod

    async def _write(self, entry: _Entry) -> None:
        while (wanted := entry.status) is not None:
            base = entry.base
            if entry.shown is None or entry.shown[0] is not base:
                entry.shown = base, base.status.to_json()
            status = entry.merged(wanted)
            shown, text = entry.shown[1], status.to_json()
            if text == shown:
                return
            changes = merge_difference(orjson.loads(shown), orjson.loads(text))
            try:
                version = await self._api.patch_status(base, changes)
            except errors.Conflict:
                entry.base = await self._get(entry)
                continue
            # What the answer says besides is known: nobody has written in between.
            meta = base.metadata.model_copy(update={"resourceVersion": version})
            written = base.model_copy(update={"metadata": meta, "status": status})
            if _revision(written) >= _revision(entry.base):
                entry.base, entry.shown = written, (written, text)
            log.debug("wrote a status", extra={"pod": base.key, "phase": status.phase})
            if entry.status is wanted:
                return

    async def _delete(self, entry: _Entry) -> None:
        meta = entry.base.metadata
        try:
            await self._api.delete(Pod, meta.name, meta.namespace, grace_period=0, uid=meta.uid)
        except errors.Conflict:
            await self._get(entry)  # another pod of that name: NotFound, and this one is gone
            raise
        log.info("deleted a pod that has ended", extra={"pod": entry.base.key})


def merged(mine: PodStatus, present: PodStatus) -> PodStatus:
    """The kubelet's status laid over what is there: others' conditions stay, and an end stays an end."""
    status = mine.model_copy()
    own = {c.type for c in mine.conditions if is_own(c)}
    others = [c for c in present.conditions if c.type not in OWNED_CONDITIONS and c.type not in own]
    owned = {c.type: c for c in present.conditions}
    conditions = []
    for condition in mine.conditions:
        if not is_own(condition):
            continue
        before = owned.get(condition.type)
        since = before.lastTransitionTime if before is not None and before.status == condition.status else None
        if since is not None and since != condition.lastTransitionTime:
            condition = condition.model_copy(update={"lastTransitionTime": since})
        conditions.append(condition)
    status.conditions = conditions + others
    status.startTime = present.startTime or mine.startTime
    status.nominatedNodeName = present.nominatedNodeName
    if present.phase in TERMINAL:
        # Ended by somebody else (an eviction), or before this kubelet began: nothing brings it back.
        status.phase, status.reason, status.message = present.phase, present.reason, present.message
    return status


def _revision(pod: Pod) -> int:
    text = pod.metadata.resourceVersion
    return int(text) if text.isdigit() else 0
