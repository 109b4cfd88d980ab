"""The pod garbage collector: pods that nobody will ever remove.

Every twenty seconds, as upstream's podgc: pods that have ended, when there are more than
`--terminated-pod-gc-threshold` (the oldest first); pods of nodes that are gone (asked of the API, after a look twenty
seconds apart, for a cache may lag and a node may come back); pods that were deleted before they had a node; and pods
that terminate on a node that is out of service (its taint says that it is switched off, and it is not ready). What
cannot be collected keeps nothing else, and is tried again in the next round.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from kube.api import errors
from kube.api.core import Node, Pod, PodCondition
from kube.api.meta import now
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller, together
from kube.controller_manager.indexes import BY_NODE
from kube.controller_manager.node_lifecycle import ready_condition
from kube.controller_manager.pod import ended

log = logging.getLogger(__name__)

PERIOD = 20.0
QUARANTINE = 40.0
"""Seconds for which a node must be absent before its pods go."""
THRESHOLD = 12500
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_ALL = "all"


class PodGarbageCollector(Controller):
    """Looks at all pods now and then. It has one key."""

    def __init__(
        self, client: Client, informers: Informers, *, threshold: int = THRESHOLD, period: float = PERIOD
    ) -> None:
        super().__init__("podgc")
        self._client, self._threshold, self._period = client, threshold, period
        self._pods, self._nodes = informers.of(Pod), informers.of(Node)
        self._absent_since: dict[str, float] = {}

    async def run(self) -> None:
        self.queue.add(_ALL)
        await super().run()

    async def reconcile(self, key: str) -> float | None:
        pods = self._pods.list()
        todo = {pod.key: (pod, "") for pod in surplus(pods, self._threshold)}
        off = {node.name for node in self._nodes.list() if out_of_service(node)}
        for pod in pods:
            if pod.metadata.deletionTimestamp is not None and (not pod.spec.nodeName or pod.spec.nodeName in off):
                todo[pod.key] = (pod, "")
        for name in await self._gone(pods):
            for pod in self._pods.indexed(BY_NODE, name):
                todo[pod.key] = (pod, "PodGC: node no longer exists")
        await together(lambda each: self._collect(*each), todo.values())
        return self._period

    async def _gone(self, pods: Iterable[Pod]) -> list[str]:
        """Nodes that pods are on, and that have been absent for so long that they will not come back."""
        clock = asyncio.get_running_loop().time()
        absent = {pod.spec.nodeName for pod in pods if pod.spec.nodeName and self._nodes.get(pod.spec.nodeName) is None}
        self._absent_since = {name: self._absent_since.get(name, clock) for name in absent}
        gone = []
        for name, since in self._absent_since.items():
            if clock - since >= QUARANTINE:
                try:
                    await self._client.get(Node, name)
                except errors.NotFound:
                    gone.append(name)
                except errors.ApiError as why:
                    log.warning("cannot ask for a node, its pods stay", extra={"node": name, "error": why})
        return gone

    async def _collect(self, pod: Pod, message: str) -> None:
        log.info("collecting a pod", extra={"pod": pod.key, "node": pod.spec.nodeName, "phase": pod.status.phase})
        try:
            if not ended(pod):
                marked = pod.clone()
                marked.status.phase = "Failed"
                if message:
                    marked.status.conditions = [
                        *(c for c in marked.status.conditions if c.type != "DisruptionTarget"),
                        PodCondition(
                            type="DisruptionTarget", status="True", reason="DeletionByPodGC", message=message,
                            lastTransitionTime=now(),
                        ),
                    ]  # fmt: skip
                await self._client.update(marked, "status")
            await self._client.delete(Pod, pod.name, pod.namespace, grace_period=0, uid=pod.metadata.uid)
        except (errors.NotFound, errors.Conflict) as why:
            # Gone, or not what the cache shows: the next round sees it as it is.
            log.debug("not collected", extra={"pod": pod.key, "reason": why})
        except errors.ApiError as why:
            log.warning("cannot collect a pod, will retry", extra={"pod": pod.key, "error": why})


def out_of_service(node: Node) -> bool:
    """Whether the node is switched off, as its taint says; one that is ready all the same ends its pods itself."""
    condition = ready_condition(node)
    is_ready = condition is not None and condition.status == "True"
    return not is_ready and any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints)


def surplus(pods: Iterable[Pod], threshold: int) -> list[Pod]:
    """The pods that have ended and are too many: those that were evicted first, then the oldest. 0: never too many."""
    if threshold <= 0:
        return []
    over = [pod for pod in pods if ended(pod) and pod.metadata.deletionTimestamp is None]

    def order(pod: Pod) -> tuple[bool, float, str]:
        created = pod.metadata.creationTimestamp
        return pod.status.reason != "Evicted", created.timestamp() if created else 0.0, pod.key

    return sorted(over, key=order)[: max(0, len(over) - threshold)]
