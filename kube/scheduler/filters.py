"""Which nodes can take a pod, and why the others cannot: what depends on the pod and one node alone.

The refusals are in upstream's words (pkg/scheduler/framework/plugins), because people search for them. What a filter
works out about the pod it works out once, in `for_pod`; a filter that the pod asks nothing of is left out.

Upstream keeps pods from nodes that are not ready, or short of something, by taints that its node lifecycle controller
sets. Here the conditions themselves are checked too, in the words of the predicates that did so until 1.17, and a
toleration of the taint that stands for a condition lets a pod pass.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

from kube.api.core import Taint, Toleration
from kube.api.nodeaffinity import RequiredNodes
from kube.api.tolerations import tolerates
from kube.scheduler.changes import ClusterChange, conditions
from kube.scheduler.framework import Check, Filter, Refusal
from kube.scheduler.nodeinfo import NodeInfo
from kube.scheduler.podinfo import PodInfo

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


def untolerated(tolerations: Sequence[Toleration], taints: Sequence[Taint]) -> Taint | None:
    """The first taint of effect NoSchedule or NoExecute that no toleration covers."""
    for taint in taints:
        if taint.effect in ("NoSchedule", "NoExecute") and not tolerates(tolerations, taint):
            return taint
    return None


class NodeUnschedulable(Filter):
    """The node must not be cordoned, unless the pod tolerates the taint that stands for it."""

    name = "NodeUnschedulable"
    helped_by = ClusterChange.NODE_TAINTS
    _REFUSAL = Refusal(("node(s) were unschedulable",))

    def sign(self, pod: PodInfo) -> Hashable:
        return pod.cls.toleration_key

    def for_pod(self, pod: PodInfo) -> Check | None:
        if tolerates(pod.cls.tolerations, Taint(key=UNSCHEDULABLE, effect="NoSchedule")):
            return None
        return lambda node: self._REFUSAL if node.known.spec.unschedulable else None


class NodeName(Filter):
    """A pod that names its node fits there only (upstream's old name: HostName)."""

    name = "NodeName"
    helped_by = ClusterChange.NODE_ADDED
    _REFUSAL = Refusal(("node(s) didn't match the requested node name",))

    def sign(self, pod: PodInfo) -> Hashable:
        return pod.pod.spec.nodeName

    def for_pod(self, pod: PodInfo) -> Check | None:
        wanted = pod.pod.spec.nodeName
        return (lambda node: None if node.name == wanted else self._REFUSAL) if wanted else None


class TaintToleration(Filter):
    """The pod must tolerate every taint of effect NoSchedule or NoExecute; the first that it does not is named."""

    name = "TaintToleration"
    helped_by = ClusterChange.NODE_TAINTS

    def sign(self, pod: PodInfo) -> Hashable:
        return pod.cls.toleration_key

    def for_pod(self, pod: PodInfo) -> Check | None:
        tolerations = pod.cls.tolerations

        def check(node: NodeInfo) -> Refusal | None:
            taints = node.known.spec.taints
            if not taints or (taint := untolerated(tolerations, taints)) is None:
                return None
            return Refusal((f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}",))

        return check


class NodeConditions(Filter):
    """The node must be ready, have a network, and not be short of disk or of processes.

    One short of memory takes pods that ask for some, but no best-effort ones (v1.17's CheckNodeMemoryPressure).
    """

    name = "NodeConditions"
    helped_by = ClusterChange.NODE_READY

    def sign(self, pod: PodInfo) -> Hashable:
        return pod.cls.toleration_key, pod.cls.best_effort

    def for_pod(self, pod: PodInfo) -> Check | None:
        def borne(key: str) -> bool:
            return tolerates(pod.cls.tolerations, Taint(key=key, effect="NoSchedule"))

        ready = {"True"} | {status for status, key in (("False", NOT_READY), ("Unknown", UNREACHABLE)) if borne(key)}
        refused = [
            (condition, Refusal((reason,)))
            for condition, key, reason, asked in (
                ("NetworkUnavailable", "network-unavailable", "node(s) had unavailable network", True),
                ("MemoryPressure", "memory-pressure", "node(s) had memory pressure", pod.cls.best_effort),
                ("DiskPressure", "disk-pressure", "node(s) had disk pressure", True),
                ("PIDPressure", "pid-pressure", "node(s) had pid pressure", True),
            )
            if asked and not borne(f"node.kubernetes.io/{key}")
        ]
        not_ready = Refusal(("node(s) were not ready",))

        def check(node: NodeInfo) -> Refusal | None:
            found = conditions(node.known)
            if found.get("Ready", "Unknown") not in ready:
                return not_ready
            if len(found) > 1:
                for condition, refusal in refused:
                    if found.get(condition) == "True":
                        return refusal
            return None

        return check


class NodeAffinity(Filter):
    """The node must carry every label of the pod's nodeSelector, and meet a term of its required node affinity."""

    name = "NodeAffinity"
    helped_by = ClusterChange.NODE_LABELS
    _REFUSAL = Refusal(("node(s) didn't match Pod's node affinity/selector",))
    _ELSEWHERE = Refusal(("node(s) didn't satisfy plugin(s) [NodeAffinity]",))
    _CONFLICT = Refusal(("pod affinity terms conflict",))
    _ENFORCED = Refusal(("node(s) didn't match scheduler-enforced node affinity",))

    def __init__(self, added: RequiredNodes | None = None) -> None:
        """`added`: what is asked of nodes for all pods of the profile."""
        self._added = added

    def sign(self, pod: PodInfo) -> Hashable:
        return pod.cls.required_nodes

    def refused(self, pod: PodInfo) -> Refusal | None:
        required = pod.cls.required_nodes
        return self._CONFLICT if required is not None and required.names == frozenset() else None

    def before_all(self, pod: PodInfo) -> Check | None:
        required = pod.cls.required_nodes
        if required is None or (names := required.names) is None:
            return None
        return lambda node: None if node.name in names else self._ELSEWHERE

    def for_pod(self, pod: PodInfo) -> Check | None:
        required, added = pod.cls.required_nodes, self._added
        if added is not None:

            def check(node: NodeInfo) -> Refusal | None:
                if not added.match(node.known):
                    return self._ENFORCED
                return None if required is None or required.match(node.known) else self._REFUSAL

            return check
        if required is None:
            return None
        return lambda node: None if required.match(node.known) else self._REFUSAL


class NodePorts(Filter):
    """No host port of the pod may be taken by another pod, on the same address or on all (v1.0: PodFitsPorts)."""

    name = "NodePorts"
    helped_by = ClusterChange.POD_REMOVED
    _REFUSAL = Refusal(("node(s) didn't have free ports for the requested pod ports",), resolvable=True)

    def sign(self, pod: PodInfo) -> Hashable:
        return pod.cls.ports

    def for_pod(self, pod: PodInfo) -> Check | None:
        ports = pod.cls.ports
        return (lambda node: self._REFUSAL if node.ports.conflict(ports) else None) if ports else None


class NodeResourcesFit(Filter):
    """What all pods of the node request, this one included, must not exceed what the node offers; nor may their number.

    A resource that the pod does not ask for may be exhausted, or even overdrawn. To push out other pods helps only if
    the node offers as much as the pod asks for. (v1.0: PodFitsResources)
    """

    name = "NodeResourcesFit"
    helped_by = ClusterChange.POD_REMOVED | ClusterChange.NODE_ALLOCATABLE

    def __init__(self, ignored: Collection[str] = (), ignored_groups: Collection[str] = ()) -> None:
        """`ignored`: extended resources that somebody else looks after, by name or by what is before its `/`."""
        self._ignored, self._ignored_groups = ignored, ignored_groups

    def sign(self, pod: PodInfo) -> Hashable:
        return pod.cls.request_key

    def for_pod(self, pod: PodInfo) -> Check | None:
        requests = [each for each in pod.cls.requests.items() if not self._ignores(each[0])]

        def check(node: NodeInfo) -> Refusal | None:
            allocatable, requested = node.allocatable, node.requested
            if len(node.pods) < node.allowed_pods:
                for name, amount in requests:
                    if amount > allocatable.get(name, 0) - requested.get(name, 0):
                        return _explain(requests, node)
                return None
            return _explain(requests, node)

        return check

    def _ignores(self, resource: str) -> bool:
        group, extended, _ = resource.partition("/")
        if not extended or "kubernetes.io/" in resource:
            return False
        return resource in self._ignored or group in self._ignored_groups


def _explain(requests: Sequence[tuple[str, int]], node: NodeInfo) -> Refusal:
    reasons = ["Too many pods"] if len(node.pods) >= node.allowed_pods else []
    resolvable = True
    for name, amount in requests:
        offered = node.allocatable.get(name, 0)
        if amount > offered - node.requested.get(name, 0):
            reasons.append(f"Insufficient {name}")
            resolvable = resolvable and amount <= offered
    return Refusal(tuple(reasons), resolvable and node.allowed_pods > 0)


class NodeLabels(Filter):
    """The node must have labels, or must not, whatever their values (v1.0's CheckNodeLabelPresence, by policy)."""

    name = "CheckNodeLabelPresence"
    helped_by = ClusterChange.NODE_LABELS
    _REFUSAL = Refusal(("node(s) didn't have the requested labels",))

    def __init__(self, labels: Sequence[str], presence: bool) -> None:
        self._labels, self._presence = labels, presence

    def sign(self, pod: PodInfo) -> Hashable:
        return None

    def for_pod(self, pod: PodInfo) -> Check | None:
        def check(node: NodeInfo) -> Refusal | None:
            has = node.known.metadata.labels
            met = all((label in has) == self._presence for label in self._labels)
            return None if met else self._REFUSAL

        return check
