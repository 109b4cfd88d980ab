"""The taint-eviction controller: pods leave a node whose NoExecute taints they do not bear, or no longer.

A pod that bears them for a while (`tolerationSeconds`) has that time from when the taints were first seen, and stays if
they go before. How fast nodes are tainted is node_lifecycle.py's care; here what a taint says is carried out.
"""

from __future__ import annotations

import asyncio
import logging

from kube.api import errors
from kube.api.core import Node, Pod, PodCondition
from kube.api.meta import now
from kube.api.tolerations import seconds_borne
from kube.client.events import EventRecorder
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller
from kube.controller_manager.indexes import BY_NODE

log = logging.getLogger(__name__)


class TaintEvictionController(Controller):
    """Deletes pods from tainted nodes. Its keys are the pods'."""

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, *, workers: int = 8) -> None:
        super().__init__("taint-eviction", workers)
        self._client, self._recorder = client, recorder
        self._nodes, self._pods = informers.of(Node), informers.of(Pod)
        self._since: dict[str, tuple[str, float]] = {}
        """For each pod that is to leave: its UID, and when the taints were first seen, by the event loop's clock."""
        self._nodes.on_change(self._node_changed)
        self._pods.on_change(self._pod_changed)

    async def run(self) -> None:
        self._since.clear()  # seen while another led: the time of the pods begins with us
        await super().run()

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.get(key)
        node = self._nodes.get(pod.spec.nodeName) if pod is not None and pod.spec.nodeName else None
        if pod is None or node is None or pod.metadata.deletionTimestamp is not None:
            self._since.pop(key, None)
            return None
        taints = [taint for taint in node.spec.taints if taint.effect == "NoExecute"]
        borne = seconds_borne(pod.spec.tolerations, taints) if taints else None
        if borne is None:
            if self._since.pop(key, None) is not None:
                self._recorder.event(
                    pod, "Normal", "TaintManagerEviction", f"Cancelling deletion of Pod {pod.namespace}/{pod.name}"
                )
            return None
        uid, since = self._since.get(key, ("", 0.0))
        if uid != pod.metadata.uid:
            since = _clock()
            self._since[key] = (pod.metadata.uid, since)
        wait = since + borne - _clock()
        if wait > 0:
            return wait
        await self._evict(pod)
        return None

    async def _evict(self, pod: Pod) -> None:
        log.info("evicting, it does not bear its node's taints", extra={"pod": pod.key, "node": pod.spec.nodeName})
        self._recorder.event(
            pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {pod.namespace}/{pod.name}"
        )
        why = PodCondition(
            type="DisruptionTarget",
            status="True",
            reason="DeletionByTaintManager",
            message="Taint manager: deleting due to NoExecute taint",
            lastTransitionTime=now(),
        )
        marked = pod.clone()
        marked.status.conditions = [c for c in marked.status.conditions if c.type != why.type] + [why]
        try:
            await self._client.update(marked, "status")
            await self._client.delete(Pod, pod.name, pod.namespace, uid=pod.metadata.uid)
        except errors.NotFound:
            log.debug("gone already", extra={"pod": pod.key})

    # What wakes it

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            # One of its name may come, and be tainted, before their time is up: it is not theirs to be counted on.
            assert old is not None
            for pod in self._pods.indexed(BY_NODE, old.name):
                self._since.pop(pod.key, None)
            return
        if old is not None and old.spec.taints == new.spec.taints:
            return
        if old is None and not new.spec.taints:
            return
        for pod in self._pods.indexed(BY_NODE, new.name):
            self.queue.add(pod.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None:
            assert old is not None
            self._since.pop(old.key, None)
            return
        if old is not None and (old.spec.nodeName, old.spec.tolerations, old.metadata.deletionTimestamp) == (
            new.spec.nodeName,
            new.spec.tolerations,
            new.metadata.deletionTimestamp,
        ):
            return
        node = self._nodes.get(new.spec.nodeName) if new.spec.nodeName else None
        # A pod on a node without taints has nothing to fear, and most pods are.
        if (
            node is not None and any(taint.effect == "NoExecute" for taint in node.spec.taints)
        ) or new.key in self._since:
            self.queue.add(new.key)


def _clock() -> float:
    return asyncio.get_running_loop().time()
