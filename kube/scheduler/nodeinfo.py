"""What the scheduler knows of each node: its pods, what they request, and which host ports they hold.

Kept up to date one event at a time, never recounted, and read by every filter and score. A pod that was given a node
but whose binding has not come back by the watch yet is *assumed*: it counts as if it were bound, so that the next
decision does not give its room away a second time.

Amounts are whole numbers: CPU in thousandths, everything else in its own unit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kube.api import quantity
from kube.api.core import Container, Node, Pod

CPU, MEMORY, PODS = "cpu", "memory", "pods"

# What a container without requests is taken to use when nodes are compared (not when they are filtered): upstream's
# DefaultMilliCPURequest and DefaultMemoryRequest.
DEFAULT_MILLI_CPU = 100
DEFAULT_MEMORY = 200 * 1024 * 1024

ANY_IP = "0.0.0.0"
"""What an empty hostIP stands for."""

HostPort = tuple[str, str, int]
"""Host IP, protocol, port."""

Selectors = tuple[frozenset[tuple[str, str]], ...]
"""Equality selectors, any of which may match."""


def amount(resource: str, value: str) -> int:
    """A quantity as the whole number that is counted."""
    return quantity.milli(value) if resource == CPU else quantity.integer(value)


def amounts(resources: Mapping[str, str]) -> dict[str, int]:
    """A resource list as whole numbers."""
    return {name: amount(name, value) for name, value in resources.items()}


def container_requests(container: Container) -> dict[str, int]:
    """What a container requests; a limit stands in for a request that is missing."""
    return amounts({**container.resources.limits, **container.resources.requests})


def pod_requests(pod: Pod) -> dict[str, int]:
    """What a pod requests: the larger of its containers together and its largest init container, and its overhead.

    A sidecar (an init container that is restarted always) counts with the containers, and with every init container
    that starts after it.
    """
    total: Counter[str] = Counter()
    for container in pod.spec.containers:
        total.update(container_requests(container))
    sidecars: Counter[str] = Counter()
    peak: dict[str, int] = {}
    for container in pod.spec.initContainers:
        requests = container_requests(container)
        if container.restartPolicy == "Always":
            sidecars.update(requests)
            requests = dict(sidecars)
        else:
            requests = {name: value + sidecars[name] for name, value in requests.items()}
        for name, value in requests.items():
            peak[name] = max(peak.get(name, 0), value)
    total.update(sidecars)
    result = {name: max(total[name], peak.get(name, 0)) for name in {**total, **peak}}
    for name, value in amounts(pod.spec.overhead).items():
        result[name] = result.get(name, 0) + value
    return result


def _assumed_use(pod: Pod, requests: Mapping[str, int]) -> tuple[int, int]:
    """CPU and memory that the pod is taken to use: a container that does not say gets a small default."""
    cpu, memory = requests.get(CPU, 0), requests.get(MEMORY, 0)
    for container in pod.spec.containers:
        named = container.resources.limits.keys() | container.resources.requests.keys()
        cpu += 0 if CPU in named else DEFAULT_MILLI_CPU
        memory += 0 if MEMORY in named else DEFAULT_MEMORY
    return cpu, memory


def host_ports(pod: Pod) -> tuple[HostPort, ...]:
    """The ports of the node that a pod takes. On the host's network every container port is one."""
    return tuple(
        (port.hostIP or ANY_IP, port.protocol or "TCP", number)
        for container in pod.spec.containers
        for port in container.ports
        if (number := port.hostPort or (port.containerPort if pod.spec.hostNetwork else 0))
    )


@dataclass(frozen=True, slots=True, eq=False)
class PodInfo:
    """A pod, and what every decision about it needs, worked out once."""

    pod: Pod
    requests: dict[str, int]
    cpu: int
    """CPU it is taken to use, with a default where it does not say."""
    memory: int
    """Memory it is taken to use, with a default where it does not say."""
    ports: tuple[HostPort, ...]

    @classmethod
    def of(cls, pod: Pod) -> PodInfo:
        requests = {name: value for name, value in pod_requests(pod).items() if value}
        cpu, memory = _assumed_use(pod, requests)
        return cls(pod, requests, cpu, memory, host_ports(pod))

    @property
    def key(self) -> str:
        return self.pod.key

    @property
    def uid(self) -> str:
        return self.pod.metadata.uid


class HostPorts:
    """The host ports in use on one node.

    A port on one address collides with the same port and protocol on the same address, or on all addresses
    (pkg/scheduler/framework: HostPortInfo.CheckConflict).
    """

    def __init__(self) -> None:
        self._used: dict[tuple[str, int], Counter[str]] = {}

    def add(self, ports: Iterable[HostPort]) -> None:
        for ip, protocol, port in ports:
            self._used.setdefault((protocol, port), Counter())[ip] += 1

    def remove(self, ports: Iterable[HostPort]) -> None:
        for ip, protocol, port in ports:
            users = self._used.get((protocol, port), Counter())
            users[ip] -= 1
            if users[ip] <= 0:
                del users[ip]
            if not users:
                self._used.pop((protocol, port), None)

    def conflict(self, ports: Iterable[HostPort]) -> bool:
        """Whether any of these is taken."""
        for ip, protocol, port in ports:
            users = self._used.get((protocol, port))
            if users and (ip == ANY_IP or ip in users or ANY_IP in users):
                return True
        return False


@dataclass(slots=True, eq=False)
class NodeInfo:
    """A node and the sum of its pods."""

    name: str
    node: Node | None = None
    """None while pods are known on a node that is not: it is counted, never chosen."""
    pods: dict[str, PodInfo] = field(default_factory=dict)
    """By key."""
    allocatable: dict[str, int] = field(default_factory=dict)
    allowed_pods: int = 0
    requested: Counter[str] = field(default_factory=Counter)
    cpu: int = 0
    memory: int = 0
    ports: HostPorts = field(default_factory=HostPorts)

    def set_node(self, node: Node | None) -> None:
        """Take over what the node says of itself; one that does not state what is allocatable offers its capacity."""
        self.node = node
        offered = (node.status.allocatable or node.status.capacity) if node else {}
        self.allocatable = amounts(offered)
        self.allowed_pods = self.allocatable.pop(PODS, 0)

    def add(self, pod: PodInfo) -> None:
        self.pods[pod.key] = pod
        self.requested.update(pod.requests)
        self.cpu += pod.cpu
        self.memory += pod.memory
        self.ports.add(pod.ports)

    def remove(self, key: str) -> None:
        pod = self.pods.pop(key)
        self.requested.subtract(pod.requests)
        self.cpu -= pod.cpu
        self.memory -= pod.memory
        self.ports.remove(pod.ports)


class Cache:
    """All nodes and all assigned pods, the assumed ones among them."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeInfo] = {}
        self._pods: dict[str, tuple[PodInfo, str]] = {}
        self._assumed: dict[str, str] = {}
        self._spread: dict[str, dict[Selectors, Counter[str]]] = {}

    def nodes(self) -> list[NodeInfo]:
        """The nodes that exist."""
        return [info for info in self._nodes.values() if info.node is not None]

    def get(self, node: str) -> NodeInfo | None:
        return self._nodes.get(node)

    def node_of(self, key: str) -> str | None:
        """Where a pod is counted, bound or assumed."""
        held = self._pods.get(key)
        return held[1] if held else None

    def set_node(self, node: Node) -> None:
        self._info(node.name).set_node(node)

    def remove_node(self, name: str) -> None:
        """The node is gone; its pods go on counting until they are gone too."""
        info = self._nodes.get(name)
        if info is not None:
            info.set_node(None)
            self._drop_if_empty(info)

    def set_pod(self, pod: Pod) -> None:
        """A bound pod, as the watch shows it. Confirms it if it was assumed, wherever it was assumed to go."""
        self._take_out(pod.key)
        self._put_in(PodInfo.of(pod), pod.spec.nodeName)

    def remove_pod(self, key: str) -> bool:
        """The pod uses nothing any more. Tells whether it was counted."""
        return self._take_out(key)

    def assume(self, pod: PodInfo, node: str) -> None:
        """Count a pod on a node before its binding is seen."""
        self._take_out(pod.key)
        self._put_in(pod, node)
        self._assumed[pod.key] = pod.uid

    def forget(self, pod: Pod) -> bool:
        """Give back what was assumed for this very pod. Tells whether it still was."""
        if self._assumed.get(pod.key) != pod.metadata.uid:
            return False
        return self._take_out(pod.key)

    def assumed(self, pod: Pod) -> bool:
        """Whether this very pod was given a node that the watch has not confirmed."""
        return self._assumed.get(pod.key) == pod.metadata.uid

    def spread(self, namespace: str, selectors: Selectors) -> Mapping[str, int]:
        """How many pods of a namespace, not being deleted, that any of the selectors matches are on each node.

        Counted once, and then kept up to date for the next pod of the same service or controller.
        """
        counts = self._spread.setdefault(namespace, {}).get(selectors)
        if counts is None:
            counts = Counter(
                node
                for info, node in self._pods.values()
                if info.pod.metadata.namespace == namespace and _spreads(info.pod, selectors)
            )
            kept = self._spread[namespace]
            if len(kept) >= SPREADS_KEPT:
                del kept[next(iter(kept))]
            kept[selectors] = counts
        return counts

    def _info(self, name: str) -> NodeInfo:
        return self._nodes.setdefault(name, NodeInfo(name))

    def _drop_if_empty(self, info: NodeInfo) -> None:
        if info.node is None and not info.pods:
            del self._nodes[info.name]

    def _put_in(self, pod: PodInfo, node: str) -> None:
        self._info(node).add(pod)
        self._pods[pod.key] = (pod, node)
        self._count(pod.pod, node, 1)

    def _take_out(self, key: str) -> bool:
        self._assumed.pop(key, None)
        held = self._pods.pop(key, None)
        if held is None:
            return False
        pod, node = held
        info = self._nodes[node]
        info.remove(key)
        self._drop_if_empty(info)
        self._count(pod.pod, node, -1)
        return True

    def _count(self, pod: Pod, node: str, by: int) -> None:
        for selectors, counts in self._spread.get(pod.metadata.namespace, {}).items():
            if _spreads(pod, selectors):
                counts[node] += by
                if not counts[node]:
                    del counts[node]


SPREADS_KEPT = 256
"""How many counts a namespace keeps; the oldest is dropped first."""


def _spreads(pod: Pod, selectors: Selectors) -> bool:
    return pod.metadata.deletionTimestamp is None and any(s <= pod.metadata.labels.items() for s in selectors)
