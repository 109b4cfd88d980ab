"""What the scheduler knows of a node: its pods, what they request, and which host ports and disks they hold.

Kept up to date one pod at a time, never recounted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from kube.api.core import Node
from kube.scheduler.podinfo import ANY_IP, PODS, HostPort, PodInfo, amounts


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
    requested: dict[str, int] = field(default_factory=dict)
    cpu: int = 0
    """CPU that its pods are taken to use."""
    memory: int = 0
    ports: HostPorts = field(default_factory=HostPorts)
    with_volumes: dict[str, PodInfo] = field(default_factory=dict)
    """Those of the pods that have disks or claims."""

    @property
    def known(self) -> Node:
        """The node of one that exists, as all are that are looked at for a pod."""
        assert self.node is not None, "only nodes that exist are checked"
        return self.node

    def set_node(self, node: Node | None) -> None:
        """Take over what the node says of itself; one that does not state what is allocatable offers its capacity."""
        self.node = node
        offered = (node.status.allocatable or node.status.capacity) if node else {}
        self.allocatable = amounts(offered)
        self.allowed_pods = self.allocatable.pop(PODS, 0)

    def add(self, pod: PodInfo) -> None:
        asks = pod.cls
        self.pods[pod.key] = pod
        for name, amount in asks.requests.items():
            self.requested[name] = self.requested.get(name, 0) + amount
        self.cpu += asks.cpu
        self.memory += asks.memory
        if asks.ports:
            self.ports.add(asks.ports)
        if asks.disks or asks.claims:
            self.with_volumes[pod.key] = pod

    def remove(self, key: str) -> None:
        asks = self.pods.pop(key).cls
        for name, amount in asks.requests.items():
            self.requested[name] -= amount
        self.cpu -= asks.cpu
        self.memory -= asks.memory
        if asks.ports:
            self.ports.remove(asks.ports)
        self.with_volumes.pop(key, None)
