"""Whether a pod fits on this node, judged once more by the node itself: a scheduler's view may be old, and a pod may be
bound by hand. Reasons, messages and their order are upstream's (pkg/kubelet/lifecycle/predicate.go).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from kube.api import quantity
from kube.api.container import AnyContainer
from kube.api.core import Node, Pod
from kube.api.nodeaffinity import required_nodes
from kube.api.tolerations import tolerates
from kube.kubelet.admission import Refusal
from kube.kubelet.static_pods import is_static

WORDS = {
    "NodeAffinity": "node(s) didn't match Pod's node affinity/selector",
    "NodePorts": "node(s) didn't have free ports for the requested pod ports",
    "TaintToleration": "node(s) had taints that the pod didn't tolerate",
}
OF_THE_NODE = ("NodeAffinity", "TaintToleration")
"""Reasons that are in the Node object: whoever changes that may undo them."""
ANY_ADDRESS = "0.0.0.0"  # compared, not bound
_FIRST = ("pods", "cpu", "memory", "ephemeral-storage")
"""The resources that are looked at before all others, in this order."""

HostPort = tuple[str, str, int]
"""Address, protocol and number of a port of the node."""


def unfit(pod: Pod, others: Iterable[Pod], allocatable: Mapping[str, str], node: Node | None = None) -> Refusal | None:
    """Why a pod does not fit beside others. `node`: None while it is not known, and then not asked for."""
    others = [*others]
    if refused := _too_much(pod, others, allocatable):
        return refused
    if node is not None and (required := required_nodes(pod.spec)) is not None and not required.match(node):
        return _failed("NodeAffinity")
    if _taken(pod, others):
        return _failed("NodePorts")
    # A node keeps its own pods, whatever its taints.
    if node is not None and not is_static(pod):
        taints = [taint for taint in node.spec.taints if taint.effect == "NoExecute"]
        if not all(tolerates(pod.spec.tolerations, taint) for taint in taints):
            return _failed("TaintToleration")
    return None


def _failed(predicate: str) -> Refusal:
    return Refusal(predicate, f"Predicate {predicate} failed: {WORDS[predicate]}")


def _too_much(pod: Pod, others: Iterable[Pod], allocatable: Mapping[str, str]) -> Refusal | None:
    used: Counter[str] = Counter()
    for other in others:
        used.update(requests(other))
    wanted = requests(pod)
    for name in sorted(wanted, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)):
        if name not in allocatable:
            continue
        capacity = amount(name, allocatable[name])
        if wanted[name] and used[name] + wanted[name] > capacity:
            message = f"Node didn't have enough resource: {name}, requested: {wanted[name]}, used: {used[name]}, "
            return Refusal(f"OutOf{name}", f"{message}capacity: {capacity}")
    return None


def _taken(pod: Pod, others: Iterable[Pod]) -> bool:
    """Whether another pod has a port of the node that this one wants."""
    wanted = [*_host_ports(pod)]
    if not wanted:
        return False
    used = [port for other in others for port in _host_ports(other)]
    return any(_collide(mine, theirs) for mine in wanted for theirs in used)


def _host_ports(pod: Pod) -> Iterator[HostPort]:
    """The node's ports that a pod has for as long as it runs. On the host's network every container port is one."""
    for container in (*pod.spec.containers, *(c for c in pod.spec.initContainers if c.restartPolicy == "Always")):
        for port in container.ports:
            if number := port.hostPort or (port.containerPort if pod.spec.hostNetwork else 0):
                yield port.hostIP or ANY_ADDRESS, port.protocol or "TCP", number


def _collide(left: HostPort, right: HostPort) -> bool:
    """A port on one address is in the way of the same one there, and on all addresses."""
    return left[1:] == right[1:] and (left[0] == right[0] or ANY_ADDRESS in (left[0], right[0]))


def amount(name: str, text: str) -> int:
    """A quantity as the message counts it: cpu in thousandths."""
    return quantity.milli(text) if name == "cpu" else quantity.integer(text)


def requests(pod: Pod) -> dict[str, int]:
    """What a pod takes of the node: its containers together, or its largest init container, and its overhead."""
    together: Counter[str] = Counter({"pods": 1})
    for container in pod.spec.containers:
        together.update(_requests(container))
    sidecars: Counter[str] = Counter()
    peak: dict[str, int] = {}
    for container in pod.spec.initContainers:
        wanted = Counter(_requests(container))
        if container.restartPolicy == "Always":
            sidecars.update(wanted)
            wanted = Counter()
        for name, value in (sidecars + wanted).items():
            peak[name] = max(peak.get(name, 0), value)
    together.update(sidecars)
    total = {name: max(together[name], peak.get(name, 0)) for name in {*together, *peak}}
    for name, text in pod.spec.overhead.items():
        total[name] = total.get(name, 0) + amount(name, text)
    return total


def _requests(container: AnyContainer) -> dict[str, int]:
    wanted = {**container.resources.limits, **container.resources.requests}
    return {name: amount(name, text) for name, text in wanted.items()}
