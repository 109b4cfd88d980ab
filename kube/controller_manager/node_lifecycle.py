"""The node lifecycle controller: a node that has not been heard of for 40 s is Unknown, and its pods are not ready.

A kubelet's sign of life is a new heartbeat time in its node's Ready condition, or a renewed lease. How long ago the
last one was is measured by the clock of this process, from when it was seen: the clocks of nodes are not trusted.
Silence may be our own. Before a node is given up the API is asked once more, and when the API does not answer, or this
process itself has been asleep, every node gets its time anew.

Each node is looked at when its time is up, so that living nodes cost next to nothing. What a node's conditions say
becomes taints (node_taints.py); its pods are evicted for them by taint_eviction.py.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime

from kube.api import errors
from kube.api.coordination import Lease
from kube.api.core import Node, NodeCondition, ObjectReference, Pod, Taint
from kube.api.meta import now
from kube.client.events import EventRecorder
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller
from kube.controller_manager.indexes import BY_NODE
from kube.controller_manager.node_taints import (
    EVICTING,
    EXCLUDED,
    Rates,
    ZoneState,
    evicting,
    with_no_execute,
    with_no_schedule,
    zone_of,
    zone_state,
)
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


@dataclass(slots=True)
class _Zone:
    """The nodes of a failure domain, and how fast they may be given up."""

    nodes: dict[str, bool]
    """Whether each is ready, of those that count."""
    free_at: float = 0.0
    """When the next may be tainted with NoExecute, by the event loop's clock."""
    state: ZoneState = ZoneState.NORMAL


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
        rates: Rates = Rates(),  # noqa: B008  # immutable
        workers: int = 4,
    ) -> None:
        super().__init__("nodelifecycle", workers)
        self._client, self._recorder = client, recorder
        self._grace_period, self._startup_grace_period = grace_period, startup_grace_period
        self._monitor_period = monitor_period
        self._rates = rates
        self._zones: dict[str, _Zone] = {}
        self._zone_of: dict[str, str] = {}
        self._all_dark = False
        self._seen: dict[str, _Seen] = {}
        self._due: dict[str, float] = {}
        self._known: dict[str, str] = {}
        """The nodes of which it was said that they have come: their UIDs."""
        self._nodes, self._leases, self._pods = informers.of(Node), informers.of(Lease), informers.of(Pod)
        self._nodes.on_change(self._node_changed)
        self._leases.on_change(self._lease_changed)

    async def run(self) -> None:
        self._begin_anew()
        await super().run()

    # What it sees

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None
            self._seen.pop(old.name, None)
            self._due.pop(old.name, None)
            self._count(old.name, None)
            self.queue.add(old.name)
            return
        self._see(new)
        self._count(new.name, new)
        if old is None or _matters(old) != _matters(new):
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

    def _count(self, name: str, node: Node | None) -> None:
        """Keep the zones; when the state of one changes, all that waits for their rates is looked at again."""
        before, after = self._zone_of.pop(name, None), zone_of(node) if node is not None else None
        was = self._zones[before].nodes.pop(name, None) if before is not None else None
        is_ready = None
        if node is not None and after is not None:
            self._zone_of[name] = after
            zone = self._zones.setdefault(after, _Zone({}))
            if EXCLUDED not in node.metadata.labels:
                is_ready = zone.nodes[name] = _status(node) == "True"
        if (before, was) == (after, is_ready):
            return
        states = {}
        for key, zone in self._zones.items():
            well = sum(zone.nodes.values())
            states[key] = zone_state(well, len(zone.nodes) - well, self._rates.unhealthy_zone)
        dark = bool(states) and all(s is ZoneState.FULL for key, s in states.items() if self._zones[key].nodes)
        if dark == self._all_dark and all(self._zones[key].state is state for key, state in states.items()):
            return
        if dark and not self._all_dark:
            log.warning("no node is ready; nothing is evicted until one is")
        elif self._all_dark and not dark:
            self._begin_anew()
        self._all_dark = dark
        for key, state in states.items():
            self._zones[key].state = state
        for each in self._nodes.list():
            if _status(each) != "True":
                self.queue.add(each.name)

    def _begin_anew(self) -> None:
        """Give every node its time again: nothing could have been heard of it."""
        for seen in self._seen.values():
            seen.at = _clock()
        self._due.clear()

    # What it does

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        self._tell(key, node)
        if node is None:
            return None
        failed, taint_wait = None, None
        try:
            taint_wait = await self._keep_taints(node)
        except errors.ApiError as why:
            failed = why  # a node whose taints cannot be written may be silent all the same
        node = self._nodes.get(key)
        wait = await self._watch_over(key, node) if node is not None else None
        if failed is not None:
            raise failed
        return min((each for each in (wait, taint_wait) if each is not None), default=None)

    def _tell(self, name: str, node: Node | None) -> None:
        """Say of a node that it has come or gone; whoever leads next says again of all that they have come."""
        uid = node.metadata.uid if node is not None else ""
        known = self._known.pop(name, "")
        if uid:
            self._known[name] = uid
        if known and known != uid:
            reference = ObjectReference(kind=Node.kind, apiVersion=Node.apiVersion, name=name, uid=known)
            message = f"Node {name} event: Removing Node {name} from Controller"
            self._recorder.event(reference, "Normal", "RemovingNode", message)
        if node is not None and known != uid:
            message = f"Node {name} event: Registered Node {name} in Controller"
            self._recorder.event(node, "Normal", "RegisteredNode", message)

    async def _watch_over(self, key: str, node: Node) -> float | None:
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
        await self._mark_pods_not_ready(node)

    async def _keep_taints(self, node: Node) -> float | None:
        """Give the node the taints that it is to have; returns seconds if it is too early for one."""
        taints = with_no_schedule(node, now())
        wanted = "" if self._all_dark else EVICTING.get(_status(node), "")
        wait = None
        if wanted and not evicting(taints):
            wait = self._turn(node)
            if wait is None or wait > 0:
                wanted = ""
        taints = with_no_execute(taints, wanted, now())
        if taints != node.spec.taints:
            await self._write_taints(node, taints)
        return wait or None

    def _turn(self, node: Node) -> float | None:
        """Take the zone's next turn to taint a node: 0 if it is now, else the seconds until it is; None: not as yet."""
        zone = self._zones[self._zone_of[node.name]]
        rate = self._rates.of(zone.state, len(zone.nodes), all_dark=self._all_dark)
        if rate <= 0:
            return None
        wait = zone.free_at - _clock()
        if wait > MOMENT:
            return wait
        zone.free_at = _clock() + 1 / rate
        return 0.0

    async def _write_taints(self, node: Node, taints: list[Taint]) -> None:
        log.info("node is tainted", extra={"node": node.name, "taints": [f"{t.key}:{t.effect}" for t in taints]})
        metadata = {"uid": node.metadata.uid, "resourceVersion": node.metadata.resourceVersion}
        spec = {"taints": [taint.to_dict() for taint in taints] or None}
        try:
            await self._client.patch(Node, node.name, "", {"metadata": metadata, "spec": spec})
        except errors.NotFound:
            log.debug("gone already", extra={"node": node.name})

    async def _mark_pods_not_ready(self, node: Node) -> None:
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


def _matters(node: Node) -> tuple[object, ...]:
    """What of a node there is to act on: most of its changes are heartbeats."""
    conditions = [(condition.type, condition.status) for condition in node.status.conditions]
    return conditions, node.spec.unschedulable, node.spec.taints, zone_of(node)


def _status(node: Node) -> str:
    condition = ready_condition(node)
    return condition.status if condition else ""


def _clock() -> float:
    return asyncio.get_running_loop().time()
