"""The Node object of this machine: registered, kept up to date, and renewed by heartbeat.

`node_status` is pure: from the machine, the engine and the last status to the next one. It is made every
`--node-status-update-frequency` (10 s), and at once when the engine dies or comes back, and written when it says
something new, or has not been written for `--node-status-report-frequency` (5 min). The sign of life is the Lease of
the node's name in `kube-node-lease`, which is small. A Node that was deleted is registered again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from kube.api import errors, quantity
from kube.api.coordination import Lease, LeaseSpec
from kube.api.core import (
    ContainerImage,
    Node,
    NodeAddress,
    NodeCondition,
    NodeDaemonEndpoints,
    NodeStatus,
    NodeSystemInfo,
    ObjectReference,
)
from kube.api.meta import ObjectMeta, OwnerReference, now
from kube.kubelet.events import Recorder
from kube.kubelet.eviction import Threshold
from kube.kubelet.machine import Machine
from kube.kubelet.runtime import Image, Runtime, RuntimeFailure
from kube.kubelet.status_manager import Api

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
MAX_IMAGES = 50
JITTER = 1.04
RETRY = 1.0
RENEW_RETRY, LONGEST_RENEW_RETRY = 0.1, 7.0
"""Seconds until a lease that could not be renewed is tried again: doubled each time, up to the second (upstream's)."""
"""Seconds between tries to register, or to write the status while the apiserver is away."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What is said of the node whatever its state."""

    name: str
    ip: str
    machine: Machine
    version: str
    port: int = 10250
    max_pods: int = 110
    labels: Mapping[str, str] = field(default_factory=dict)
    reserved: Sequence[Mapping[str, str]] = ()
    """What is kept from pods: for the kubelet, for the system, and what eviction never lets them have."""


def node_labels(facts: NodeFacts) -> dict[str, str]:
    """The labels that a kubelet gives its node."""
    architecture = facts.machine.architecture
    return {
        "beta.kubernetes.io/arch": architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
        "kubernetes.io/hostname": facts.name,
        "kubernetes.io/os": "linux",
        **facts.labels,
    }


def capacity(facts: NodeFacts) -> dict[str, str]:
    """What the node has, for the scheduler."""
    machine = facts.machine
    return {
        "cpu": str(machine.cpus),
        "ephemeral-storage": f"{machine.disk // 1024}Ki",
        "memory": f"{machine.memory // 1024}Ki",
        "pods": str(facts.max_pods),
    }


def allocatable(facts: NodeFacts) -> dict[str, str]:
    """What pods may have of it: all that is not reserved."""
    left = capacity(facts)
    for reserved in facts.reserved:
        for name, amount in reserved.items():
            if name in left:
                rest = max(quantity.parse(left[name]) - quantity.parse(amount), quantity.parse("0"))
                left[name] = quantity.text(rest, left[name])
    return left


def hard_reserved(wanted: Sequence[Threshold], facts: NodeFacts) -> dict[str, str]:
    """What the thresholds of eviction keep free."""
    signals = {
        "memory.available": ("memory", facts.machine.memory),
        "nodefs.available": ("ephemeral-storage", facts.machine.disk),
    }
    return {
        signals[threshold.signal][0]: str(threshold.value(signals[threshold.signal][1]))
        for threshold in wanted
        if threshold.signal in signals
    }


def node_status(
    facts: NodeFacts,
    *,
    engine_version: str,
    problem: str,
    pressures: Sequence[str] = (),
    images: Sequence[Image],
    previous: NodeStatus,
    moment: datetime,
) -> NodeStatus:
    """The status of the node. `problem`: why it is not ready; conditions of others are kept."""
    machine = facts.machine
    status = previous.model_copy()  # of which parts are replaced, and none is changed
    status.capacity = {**status.capacity, **capacity(facts)}
    status.allocatable = {**status.allocatable, **allocatable(facts)}
    status.addresses = [
        NodeAddress(type="InternalIP", address=facts.ip),
        NodeAddress(type="Hostname", address=facts.name),
    ]
    status.daemonEndpoints = NodeDaemonEndpoints()
    status.daemonEndpoints.kubeletEndpoint.Port = facts.port
    status.nodeInfo = NodeSystemInfo(
        machineID=machine.machine_id,
        systemUUID=machine.system_uuid,
        bootID=machine.boot_id,
        kernelVersion=machine.kernel,
        osImage=machine.os_image,
        containerRuntimeVersion=engine_version or previous.nodeInfo.containerRuntimeVersion,
        kubeletVersion=facts.version,
        kubeProxyVersion=facts.version,
        operatingSystem="linux",
        architecture=machine.architecture,
    )
    status.images = [
        ContainerImage(names=list(image.names), sizeBytes=image.size)
        for image in sorted(images, key=lambda image: (-image.size, image.id))[:MAX_IMAGES]
    ]
    status.conditions = _conditions(problem, pressures, previous.conditions, moment)
    return status


def _conditions(
    problem: str, pressures: Sequence[str], previous: Sequence[NodeCondition], moment: datetime
) -> list[NodeCondition]:
    ready = ("False", "KubeletNotReady", problem) if problem else ("True", "KubeletReady", READY)
    wanted = {
        **{kind: (str(kind in pressures), *words[kind in pressures]) for kind, words in PRESSURES.items()},
        "Ready": ready,
    }
    old = {condition.type: condition for condition in previous}
    mine = []
    for type_, (status, reason, message) in wanted.items():
        before = old.get(type_)
        since = before.lastTransitionTime if before is not None and before.status == status else None
        mine.append(
            NodeCondition(
                type=type_,
                status=status,
                reason=reason,
                message=message,
                lastHeartbeatTime=moment,
                lastTransitionTime=since or moment,
            )
        )
    return [condition for condition in previous if condition.type not in wanted] + mine


def _says_the_same(new: NodeStatus, old: NodeStatus) -> bool:
    """Whether two statuses differ in the times of their heartbeats, and in how quantities are written, at most."""
    return _essence(new) == _essence(old)


def _essence(status: NodeStatus) -> NodeStatus:
    update = {
        "conditions": [condition.model_copy(update={"lastHeartbeatTime": None}) for condition in status.conditions],
        "capacity": {name: quantity.parse(amount) for name, amount in status.capacity.items()},
        "allocatable": {name: quantity.parse(amount) for name, amount in status.allocatable.items()},
    }
    return status.model_copy(update=update)


READY = "kubelet is posting ready status"
PRESSURES: dict[str, dict[bool, tuple[str, str]]] = {
    "MemoryPressure": {
        False: ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        True: ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    },
    "DiskPressure": {
        False: ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        True: ("KubeletHasDiskPressure", "kubelet has disk pressure"),
    },
    "PIDPressure": {
        False: ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        True: ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
    },
}
"""Reason and message of the conditions, by whether the node has them."""


class NodeAgent:
    """Registers the node and reports on it until cancelled."""

    def __init__(
        self,
        api: Api,
        runtime: Runtime,
        recorder: Recorder,
        facts: NodeFacts,
        *,
        frequency: float = 10.0,
        report_frequency: float = 300.0,
        register: bool = True,
        network_problem: Callable[[], str] = str,
        pressures: Callable[[], Sequence[str]] = list,
        was_given_up: Callable[[], None] = lambda: None,
    ) -> None:
        """`network_problem`: why pods cannot get addresses; empty when they can. `pressures`: what is running out.

        `was_given_up` is called when the node had been taken for dead: others have then written its pods' statuses.
        """
        self._api = api
        self._runtime = runtime
        self._recorder = recorder
        self._facts = facts
        self._frequency, self._report_frequency = frequency, report_frequency
        self._register = register
        self._network_problem = network_problem
        self._pressures = pressures
        self._was_given_up = was_given_up
        self._known = ""
        """The uid of the node, once it is registered."""
        self._written = float("-inf")
        self.node: Node | None = None
        """As it was last seen."""
        self._lease: Lease | None = None
        self._ready: bool | None = None
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Register, then report without end."""
        self._event("Normal", "Starting", "Starting kubelet.")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._report(), name="node status")
            tasks.create_task(self._watch_engine(), name="node engine")
            tasks.create_task(self._renew(), name="node lease")

    async def _report(self) -> None:
        while True:
            self._news.clear()
            wait = self._frequency
            try:
                await self.report()
            except errors.ApiError as error:
                log.warning("cannot write the node's status, will retry", extra={"after": RETRY, "error": error})
                wait = RETRY
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def report(self) -> None:
        """Write the node's status if it is time to, registering it if it is not there. Raises ApiError."""
        version, problem, images = await self._engine()
        if not self._known:
            node = await self._registered()
        else:
            node = await self._present()
        loop = asyncio.get_running_loop()
        for _ in range(3):
            status = node_status(
                self._facts,
                engine_version=version,
                problem=problem,
                pressures=self._pressures(),
                images=images,
                previous=node.status,
                moment=now(),
            )
            if _says_the_same(status, node.status) and loop.time() < self._written + self._report_frequency:
                break
            try:
                given_up = _is_given_up(node.status)
                node = await self._api.update(node.model_copy(update={"status": status}), "status")
                self._written = loop.time()
                if given_up:
                    log.warning("the node had been given up; it is alive", extra={"node": self._facts.name})
                    self._was_given_up()
                break
            except errors.Conflict:
                node = await self._present()
            except errors.NotFound:
                node = await self._registered()
        self._known, self.node = node.metadata.uid, node
        self._tell(not problem)

    async def look(self) -> Node | None:
        """The node as it is now; as it was last seen, if nobody says how it is."""
        with contextlib.suppress(errors.ApiError):
            self.node = await self._api.get(Node, self._facts.name)
        return self.node

    async def _present(self) -> Node:
        """The node as it is; registered again if it was deleted. Raises ApiError."""
        try:
            return await self._api.get(Node, self._facts.name)
        except errors.NotFound:
            log.info("the node was deleted, registering it again", extra={"node": self._facts.name})
            return await self._registered()

    async def _registered(self) -> Node:
        """The node, created if it is not there, with the kubelet's labels. Raises ApiError."""
        name = self._facts.name
        try:
            node = await self._api.get(Node, name)
        except errors.NotFound:
            if not self._register:
                raise
            node = Node(metadata=ObjectMeta(name=name, labels=node_labels(self._facts)))
            node.status = node_status(
                self._facts, engine_version="", problem="registering", images=(), previous=NodeStatus(), moment=now()
            )
            try:
                node = await self._api.create(node)
            except errors.AlreadyExists:
                node = await self._api.get(Node, name)
            log.info("registered the node", extra={"node": name})
        missing = {k: v for k, v in node_labels(self._facts).items() if node.metadata.labels.get(k) != v}
        if missing and self._register:
            node = node.clone()
            node.metadata.labels = {**node.metadata.labels, **missing}
            node = await self._api.update(node)
        return node

    async def _engine(self) -> tuple[str, str, list[Image]]:
        """The engine's version, what is wrong with it, and its images."""
        try:
            info = await self._runtime.info()
            return f"{info.name}://{info.version}", self._network_problem(), await self._runtime.list_images()
        except RuntimeFailure as error:
            return "", f"container runtime is down: {error}", []

    async def _watch_engine(self) -> None:
        """Report at once when the engine or the network comes back; look every second whether they are there."""
        up = True
        while True:
            try:
                await self._runtime.info()
                now_up = not self._network_problem()
            except RuntimeFailure:
                now_up = False
            if now_up != up:
                up = now_up
                self._news.set()
            await asyncio.sleep(ENGINE_CHECK)

    async def _renew(self) -> None:
        """Renew the lease without end; what fails is tried again soon, as it is all that tells that the node lives."""
        pause = RENEW_RETRY
        while True:
            try:
                await self._renew_once()
            except errors.ApiError as error:
                log.warning("cannot renew the node's lease, will retry", extra={"after": pause, "error": error})
                self._lease = None
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_RENEW_RETRY)
                continue
            if pause != RENEW_RETRY:
                self._news.set()  # the node has perhaps been given up meanwhile
                pause = RENEW_RETRY
            # Nodes that began together must not beat together for ever.
            await asyncio.sleep(self._frequency * random.uniform(1, JITTER))

    async def _renew_once(self) -> None:
        name = self._facts.name
        if self._lease is None:
            try:
                self._lease = await self._api.get(Lease, name, LEASE_NAMESPACE)
            except errors.NotFound:
                spec = LeaseSpec(holderIdentity=name, leaseDurationSeconds=LEASE_SECONDS, renewTime=datetime.now(UTC))
                lease = Lease(metadata=ObjectMeta(name=name, namespace=LEASE_NAMESPACE), spec=spec)
                if self._known:
                    owner = OwnerReference(apiVersion="v1", kind="Node", name=name, uid=self._known)
                    lease.metadata.ownerReferences = [owner]
                self._lease = await self._api.create(lease)
                return
        mine = {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": datetime.now(UTC)}
        lease = self._lease.model_copy(update={"spec": self._lease.spec.model_copy(update=mine)})
        self._lease = await self._api.update(lease)

    def _tell(self, ready: bool) -> None:
        if self._ready == ready:
            return
        self._ready = ready
        reason = "NodeReady" if ready else "NodeNotReady"
        log.info("the node's state changed", extra={"node": self._facts.name, "ready": ready})
        self._event("Normal", reason, f"Node {self._facts.name} status is now: {reason}")

    def _event(self, type: str, reason: str, message: str) -> None:
        # Upstream names a node in events by its name in place of its uid, and kubectl describe relies on it.
        name = self._facts.name
        reference = ObjectReference(kind="Node", name=name, uid=name)
        self._recorder.event(reference, "Warning" if type == "Warning" else "Normal", reason, message)


def _is_given_up(status: NodeStatus) -> bool:
    """Whether the node controller has taken the node for dead."""
    return any(condition.type == "Ready" and condition.status == "Unknown" for condition in status.conditions)


ENGINE_CHECK = 2.0
