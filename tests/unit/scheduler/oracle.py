"""Upstream's rules about other pods, as plainly as they can be written: every node and every pod, every time.

What the scheduler keeps up to date must at every moment be what this works out anew.
"""

from __future__ import annotations

from collections.abc import Iterable

from kube.api import labels
from kube.api.core import Node, Pod
from kube.api.meta import LabelSelector
from kube.api.nodeaffinity import required_nodes
from kube.api.placement import PodAffinityTerm
from kube.scheduler.filters import untolerated

NEAR = "node(s) didn't match pod affinity rules"
FAR = "node(s) didn't match pod anti-affinity rules"
AGAINST = "node(s) didn't satisfy existing pods anti-affinity rules"
SKEW = "node(s) didn't match pod topology spread constraints"
MISSING = f"{SKEW} (missing required label)"


class Oracle:
    """Nodes, the pods on them, and the labels of namespaces."""

    def __init__(self, namespaces: dict[str, dict[str, str]]) -> None:
        self.nodes: dict[str, Node] = {}
        self.pods: dict[str, Pod] = {}
        self.namespaces = namespaces

    def affinity(self, pod: Pod, node: Node) -> str:
        """What InterPodAffinity says against the node; empty if nothing."""
        terms = _terms(pod, "podAffinity")
        placed = [p for p in self.pods.values() if p.spec.nodeName in self.nodes]
        if terms:
            if any(t.topologyKey not in node.metadata.labels for t in terms):
                return NEAR
            friends = [p for p in placed if all(self._means(pod, t, p) for t in terms)]
            anywhere = any(self._labels(p).get(t.topologyKey) is not None for p in friends for t in terms)
            first = not anywhere and all(self._means(pod, t, pod) for t in terms)
            if not first and not all(any(self._near(node, p, t) for p in friends) for t in terms):
                return NEAR
        for t in _terms(pod, "podAntiAffinity"):
            if any(self._means(pod, t, p) and self._near(node, p, t) for p in placed):
                return FAR
        for p in placed:
            if any(self._means(p, t, pod) and self._near(node, p, t) for t in _terms(p, "podAntiAffinity")):
                return AGAINST
        return ""

    def spread(self, pod: Pod, node: Node) -> str:
        """What PodTopologySpread says against the node; empty if nothing."""
        hard = [c for c in pod.spec.topologySpreadConstraints if c.whenUnsatisfiable == "DoNotSchedule"]
        required = required_nodes(pod.spec)
        for c in hard:
            value = node.metadata.labels.get(c.topologyKey)
            if value is None:
                return MISSING
            selector = labels.from_label_selector(c.labelSelector)
            counts: dict[str, int] = {}
            for other in self.nodes.values():
                if any(each.topologyKey not in other.metadata.labels for each in hard):
                    continue
                if c.nodeAffinityPolicy != "Ignore" and required is not None and not required.match(other):
                    continue
                if c.nodeTaintsPolicy == "Honor" and untolerated(pod.spec.tolerations, other.spec.taints):
                    continue
                domain = other.metadata.labels[c.topologyKey]
                here = [
                    p
                    for p in self.pods.values()
                    if p.spec.nodeName == other.name
                    and p.namespace == pod.namespace
                    and p.metadata.deletionTimestamp is None
                    and not selector.empty
                    and selector.matches(p.metadata.labels)
                ]
                counts[domain] = counts.get(domain, 0) + len(here)
            least = min(counts.values(), default=0) if len(counts) >= (c.minDomains or 1) else 0
            if counts.get(value, 0) + selector.matches(pod.metadata.labels) - least > c.maxSkew:
                return SKEW
        return ""

    def _labels(self, pod: Pod) -> dict[str, str]:
        return self.nodes[pod.spec.nodeName].metadata.labels

    def _near(self, node: Node, pod: Pod, term: PodAffinityTerm) -> bool:
        there, here = self._labels(pod).get(term.topologyKey), node.metadata.labels.get(term.topologyKey)
        return there is not None and there == here

    def _means(self, owner: Pod, term: PodAffinityTerm, other: Pod) -> bool:
        named = term.namespaces or ([owner.namespace] if term.namespaceSelector is None else [])
        if other.namespace not in named and not _matches(term.namespaceSelector, self.namespaces[other.namespace]):
            return False
        return _matches(term.labelSelector, other.metadata.labels)


def _matches(selector: LabelSelector | None, found: dict[str, str]) -> bool:
    return labels.from_label_selector(selector).matches(found)


def _terms(pod: Pod, kind: str) -> Iterable[PodAffinityTerm]:
    part = getattr(pod.spec.affinity, kind, None) if pod.spec.affinity else None
    return part.requiredDuringSchedulingIgnoredDuringExecution if part else []
