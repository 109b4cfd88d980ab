"""Which nodes can take a pod, and why the others cannot.

A filter is three methods: take the pod, check a node, explain a refusal. What a filter works out about the pod it
works out once, when it is set, and not again for every node; a filter that the pod asks nothing of is left out.
The refusals are in upstream's words (pkg/scheduler/framework/plugins), because people search for them.

Upstream keeps pods from nodes that are not ready by taints, which its node lifecycle controller sets. Here the
condition itself is checked too, and a toleration of the taint that stands for it lets a pod pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kube.api.core import Node, Taint, Toleration
from kube.scheduler.changes import ClusterChange, ready
from kube.scheduler.nodeinfo import NodeInfo, PodInfo

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


class Filter(Protocol):
    """One condition that a node must meet."""

    name: str
    helped_by: ClusterChange
    """The changes that can turn a refusal into a yes."""

    def set_pod(self, pod: PodInfo) -> bool:
        """Take the pod that the next checks are about. False: it asks nothing of this filter."""

    def check(self, node: NodeInfo) -> bool:
        """Whether the node can take the pod."""

    def explain(self, node: NodeInfo) -> list[str]:
        """Why the node cannot, for a node that `check` refused."""


def _node(info: NodeInfo) -> Node:
    assert info.node is not None, "only nodes that exist are checked"
    return info.node


def tolerates(tolerations: Sequence[Toleration], taint: Taint) -> bool:
    """Whether any toleration covers the taint: an empty key or effect covers all, `Exists` covers every value."""
    return any(
        (not t.effect or t.effect == taint.effect)
        and (not t.key or t.key == taint.key)
        and (t.operator == "Exists" or (t.operator in ("", "Equal") and t.value == taint.value))
        for t in tolerations
    )


class NodeUnschedulable:
    """The node must not be cordoned, unless the pod tolerates the taint that stands for it."""

    name = "NodeUnschedulable"
    helped_by = ClusterChange.NODE_TAINTS

    def set_pod(self, pod: PodInfo) -> bool:
        return not tolerates(pod.pod.spec.tolerations, Taint(key=UNSCHEDULABLE, effect="NoSchedule"))

    def check(self, node: NodeInfo) -> bool:
        return not _node(node).spec.unschedulable

    def explain(self, node: NodeInfo) -> list[str]:
        return ["node(s) were unschedulable"]


class NodeName:
    """A pod that names its node fits there only (upstream's old name: HostName)."""

    name = "NodeName"
    helped_by = ClusterChange.NODE_ADDED

    def set_pod(self, pod: PodInfo) -> bool:
        self._name = pod.pod.spec.nodeName
        return bool(self._name)

    def check(self, node: NodeInfo) -> bool:
        return node.name == self._name

    def explain(self, node: NodeInfo) -> list[str]:
        return ["node(s) didn't match the requested node name"]


class TaintToleration:
    """The pod must tolerate every taint of effect NoSchedule or NoExecute."""

    name = "TaintToleration"
    helped_by = ClusterChange.NODE_TAINTS

    def set_pod(self, pod: PodInfo) -> bool:
        self._tolerations = pod.pod.spec.tolerations
        return True

    def check(self, node: NodeInfo) -> bool:
        return not _node(node).spec.taints or self._untolerated(node) is None

    def explain(self, node: NodeInfo) -> list[str]:
        taint = self._untolerated(node)
        assert taint is not None
        return [f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"]

    def _untolerated(self, node: NodeInfo) -> Taint | None:
        return next(
            (
                taint
                for taint in _node(node).spec.taints
                if taint.effect in ("NoSchedule", "NoExecute") and not tolerates(self._tolerations, taint)
            ),
            None,
        )


class NodeReady:
    """The node's Ready condition must be True (upstream's old name: CheckNodeCondition)."""

    name = "NodeReady"
    helped_by = ClusterChange.NODE_READY

    def set_pod(self, pod: PodInfo) -> bool:
        tolerations = pod.pod.spec.tolerations
        self._accepted = {"True"}
        if tolerates(tolerations, Taint(key=NOT_READY, effect="NoSchedule")):
            self._accepted.add("False")
        if tolerates(tolerations, Taint(key=UNREACHABLE, effect="NoSchedule")):
            self._accepted.add("Unknown")
        return True

    def check(self, node: NodeInfo) -> bool:
        return ready(_node(node)) in self._accepted

    def explain(self, node: NodeInfo) -> list[str]:
        return ["node(s) were not ready"]


class NodeSelector:
    """The node must carry every label of the pod's nodeSelector."""

    name = "NodeAffinity"
    helped_by = ClusterChange.NODE_LABELS

    def set_pod(self, pod: PodInfo) -> bool:
        self._selector = pod.pod.spec.nodeSelector
        return bool(self._selector)

    def check(self, node: NodeInfo) -> bool:
        return self._selector.items() <= _node(node).metadata.labels.items()

    def explain(self, node: NodeInfo) -> list[str]:
        return ["node(s) didn't match Pod's node affinity/selector"]


class PodFitsHostPorts:
    """No host port of the pod may be taken by another pod, on the same address or on all."""

    name = "NodePorts"
    helped_by = ClusterChange.POD_REMOVED

    def set_pod(self, pod: PodInfo) -> bool:
        self._ports = pod.ports
        return bool(self._ports)

    def check(self, node: NodeInfo) -> bool:
        return not node.ports.conflict(self._ports)

    def explain(self, node: NodeInfo) -> list[str]:
        return ["node(s) didn't have free ports for the requested pod ports"]


class PodFitsResources:
    """What all pods of the node request, this one included, must not exceed what the node offers; nor may their number.

    A resource that the pod does not ask for may be exhausted, or even overdrawn.
    """

    name = "NodeResourcesFit"
    helped_by = ClusterChange.POD_REMOVED | ClusterChange.NODE_ALLOCATABLE

    def set_pod(self, pod: PodInfo) -> bool:
        self._requests = list(pod.requests.items())
        return True

    def check(self, node: NodeInfo) -> bool:
        if len(node.pods) >= node.allowed_pods:
            return False
        allocatable, requested = node.allocatable, node.requested
        for name, amount in self._requests:  # noqa: SIM110  # the hottest loop of all; a generator doubles its cost
            if amount > allocatable.get(name, 0) - requested[name]:
                return False
        return True

    def explain(self, node: NodeInfo) -> list[str]:
        reasons = ["Too many pods"] if len(node.pods) >= node.allowed_pods else []
        reasons += [
            f"Insufficient {name}"
            for name, amount in self._requests
            if amount > node.allocatable.get(name, 0) - node.requested[name]
        ]
        return reasons


def default_filters() -> list[Filter]:
    """The filters that every pod goes through, in the order in which they are asked."""
    return [
        NodeUnschedulable(),
        NodeName(),
        TaintToleration(),
        NodeReady(),
        NodeSelector(),
        PodFitsHostPorts(),
        PodFitsResources(),
    ]
