"""The node lifecycle controller: a node that has not been heard of for 40 s is Unknown, and its pods are not ready.

A kubelet's sign of life is a new heartbeat time in its node's Ready condition, or a renewed lease. How long ago the
last one was is measured by the clock of this process, from when it was seen: the clocks of nodes are not trusted.
Silence may be our own. Before a node is given up the API is asked once more, and when the API does not answer, or this
process itself has been asleep, every node gets its time anew.

Each node is looked at when its time is up, so that living nodes cost next to nothing. Taints and eviction are not here.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime

from kube.api import errors
from kube.api.coordination import Lease
from kube.api.core import Node, NodeCondition, Pod
from kube.api.meta import now
from kube.client.events import EventRecorder
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller
from kube.controller_manager.indexes import BY_NODE
from kube.controller_manager.pod import ready

log = logging.getLogger(__name__)

LEASES = "kube-node-lease"
CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")

MOMENT = 0.001
"""Seconds that are not worth waiting for: a timer may fire a rounding error too early."""

_Sign = tuple[datetime | None, datetime | None]
"""When the Ready condition and the lease say that they were renewed."""


@dataclass(slots=True)
class _Seen:
    sign: _Sign
    at: float
    """When it was seen first, by the event loop's clock."""


class NodeLifecycleController(Controller):
    """Watches over the heartbeats of all nodes."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        grace_period: float = 40.0,
        startup_grace_period: float = 60.0,
        monitor_period: float = 5.0,
        workers: int = 4,
    ) -> None:
        super().__init__("nodelifecycle", workers)
        self._client, self._recorder = client, recorder
        self._grace_period, self._startup_grace_period = grace_period, startup_grace_period
        self._monitor_period = monitor_period
        self._seen: dict[str, _Seen] = {}
        self._nodes, self._leases, self._pods = informers.of(Node), informers.of(Lease), informers.of(Pod)
        self._nodes.on_change(self._node_changed)
        self._leases.on_change(self._lease_changed)
        self._due: dict[str, float] = {}

    async def run(self) -> None:
        self._begin_anew()
        await super().run()

    # What it sees

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None
            self._seen.pop(old.name, None)
            self._due.pop(old.name, None)
            return
        self._see(new)
        if old is None or _status(old) != _status(new):
            self.queue.add(new.name)

    def _lease_changed(self, old: Lease | None, new: Lease | None) -> None:
        node = self._nodes.get(new.name) if new is not None and new.namespace == LEASES else None
        if node is not None:
            self._see(node)

    def _see(self, node: Node, lease: Lease | None = None) -> _Seen:
        """Take note of a node's sign of life, if it is a new one."""
        lease = lease or self._leases.get(f"{LEASES}/{node.name}")
        condition = ready_condition(node)
        sign = (condition.lastHeartbeatTime if condition else None, lease.spec.renewTime if lease else None)
        seen = self._seen.get(node.name)
        if seen is None or seen.sign != sign:
            seen = self._seen[node.name] = _Seen(sign, _clock())
        return seen

    def _begin_anew(self) -> None:
        """Give every node its time again: nothing could have been heard of it."""
        for seen in self._seen.values():
            seen.at = _clock()
        self._due.clear()

    # What it does

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None:
            return None
        if _clock() - self._due.pop(key, _clock()) > self._monitor_period:
            log.warning("this process has been asleep; every node gets its time anew")
            self._begin_anew()
        wait = self._wait(node, self._see(node))
        if wait > MOMENT:
            return self._look_again(key, wait)
        try:
            node = await self._ask(node)
            wait = self._wait(node, self._see(node))
            if wait > MOMENT:
                return self._look_again(key, wait)
            await self._give_up(node)
        except errors.NotFound:
            return None
        except (errors.ServiceUnavailable, errors.Timeout) as why:
            log.warning("cannot ask for a node; every node gets its time anew", extra={"node": key, "error": why})
            self._begin_anew()
            return self._look_again(key, self._grace_period)
        return self._look_again(key, self._grace_period)

    def _look_again(self, key: str, seconds: float) -> float:
        self._due[key] = _clock() + seconds
        return seconds

    def _wait(self, node: Node, seen: _Seen) -> float:
        """Seconds until the node has been silent for too long."""
        grace = self._grace_period if ready_condition(node) else self._startup_grace_period
        return seen.at + grace - _clock()

    async def _ask(self, node: Node) -> Node:
        """The node as it is. Takes note of a sign of life that our watches have not brought."""
        live = await self._client.get(Node, node.name)
        try:
            lease = await self._client.get(Lease, node.name, LEASES)
        except errors.NotFound:
            lease = None
        self._see(live, lease)
        return live

    async def _give_up(self, node: Node) -> None:
        before = _status(node)
        changed = unknown(node, now())
        if changed is not None:
            log.warning("node is silent, its status is unknown", extra={"node": node.name})
            await self._client.update(changed, "status")
            if before == "True":
                self._recorder.event(node, "Normal", "NodeNotReady", f"Node {node.name} status is now: NodeNotReady")
        for pod in self._pods.indexed(BY_NODE, node.name):
            if ready(pod):
                await self._mark_not_ready(pod)

    async def _mark_not_ready(self, pod: Pod) -> None:
        for attempt in (1, 2):
            changed = pod.clone()
            for condition in changed.status.conditions:
                if condition.type == "Ready":
                    condition.status, condition.lastTransitionTime = "False", now()
            try:
                await self._client.update(changed, "status")
            except errors.NotFound:
                return
            except errors.Conflict:
                if attempt == 2:
                    raise
                live = await self._client.get(Pod, pod.name, pod.namespace)
                if live.metadata.uid != pod.metadata.uid or not ready(live):
                    return
                pod = live
            else:
                log.info("pod is not ready, its node is silent", extra={"pod": pod.key, "node": pod.spec.nodeName})
                self._recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")
                return


def ready_condition(node: Node) -> NodeCondition | None:
    return next((c for c in node.status.conditions if c.type == "Ready"), None)


def unknown(node: Node, moment: datetime) -> Node | None:
    """The node with all that its kubelet vouches for unknown; None if it is so already.

    The heartbeat's time is kept: it says how long the node has been silent.
    """
    changed = node.clone()
    conditions = {condition.type: condition for condition in changed.status.conditions}
    for type_ in CONDITIONS:
        condition = conditions.get(type_)
        if condition is None:
            changed.status.conditions.append(
                NodeCondition(
                    type=type_,
                    status="Unknown",
                    reason="NodeStatusNeverUpdated",
                    message="Kubelet never posted node status.",
                    lastHeartbeatTime=node.metadata.creationTimestamp,
                    lastTransitionTime=moment,
                )
            )
        elif condition.status != "Unknown":
            condition.status = "Unknown"
            condition.reason = "NodeStatusUnknown"
            condition.message = "Kubelet stopped posting node status."
            condition.lastTransitionTime = moment
    return None if changed.status.conditions == node.status.conditions else changed


def _status(node: Node) -> str:
    condition = ready_condition(node)
    return condition.status if condition else ""


def _clock() -> float:
    return asyncio.get_running_loop().time()
