"""Which nodes a pod's nodeSelector and node affinity mean (component-helpers, scheduling/corev1/nodeaffinity).

A node must carry every label of the nodeSelector, and meet one of the required terms. A term is met if all its
expressions (over labels) and fields (`metadata.name` alone) are; one that is empty is met by no node. What comes out
of one and the same affinity is one and the same object, so pods of one template are known to be alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from kube.api.core import Node, PodSpec
from kube.api.placement import NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm

_INTEGER = re.compile(r"[+-]?[0-9]+")

Meets = Callable[[Mapping[str, str]], bool]


def _requirement(requirement: NodeSelectorRequirement) -> Meets:
    """A condition on labels or fields; one with an operator that nobody knows is met by nothing."""
    key, values = requirement.key, frozenset(requirement.values)
    match requirement.operator:
        case "In":
            return lambda labels: labels.get(key) in values
        case "NotIn":
            return lambda labels: labels.get(key) not in values
        case "Exists":
            return lambda labels: key in labels
        case "DoesNotExist":
            return lambda labels: key not in labels
        case "Gt" | "Lt" as operator if len(values) == 1 and _INTEGER.fullmatch(next(iter(values))):
            (bound,) = map(int, values)
            return lambda labels: _compare(labels.get(key, ""), operator, bound)
        case _:
            return lambda labels: False


def _compare(value: str, operator: str, bound: int) -> bool:
    if not _INTEGER.fullmatch(value):
        return False
    return int(value) > bound if operator == "Gt" else int(value) < bound


class NodeTerm:
    """One term of a node selector."""

    def __init__(self, term: NodeSelectorTerm) -> None:
        self._labels = [_requirement(each) for each in term.matchExpressions]
        self._fields = [_requirement(each) for each in term.matchFields]

    def match(self, node: Node) -> bool:
        if not self._labels and not self._fields:
            return False
        labels = node.metadata.labels
        if not all(meets(labels) for meets in self._labels):
            return False
        fields = {"metadata.name": node.metadata.name}
        return all(meets(fields) for meets in self._fields)


def _names(terms: Sequence[NodeSelectorTerm]) -> frozenset[str] | None:
    found: set[str] = set()
    for term in terms:
        named = [set(each.values) for each in term.matchFields if (each.key, each.operator) == ("metadata.name", "In")]
        if not named:
            return None
        found |= set.intersection(*named)
    return frozenset(found) if terms else None


class RequiredNodes:
    """The nodes that a pod can run on by their labels and names."""

    def __init__(self, selector: frozenset[tuple[str, str]], terms: list[NodeSelectorTerm] | None) -> None:
        self._selector = selector
        self._terms = None if terms is None else [NodeTerm(term) for term in terms]
        self.names = _names(terms or ())
        """The only nodes that come into question, if every term names some; none if all contradict themselves."""

    def match(self, node: Node) -> bool:
        if self._selector and not self._selector <= node.metadata.labels.items():
            return False
        return self._terms is None or any(term.match(node) for term in self._terms)


class PreferredNodes:
    """The nodes that a pod likes, and how much: the weights of the terms that are met, added up."""

    def __init__(self, terms: list[tuple[int, NodeSelectorTerm]]) -> None:
        self._terms = [(weight, NodeTerm(term)) for weight, term in terms if weight]

    def weight(self, node: Node) -> int:
        return sum(weight for weight, term in self._terms if term.match(node))


@lru_cache(maxsize=1024)
def _required(selector: frozenset[tuple[str, str]], affinity: bytes) -> RequiredNodes | None:
    required = NodeAffinity.parse(affinity).requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    if not selector and required is None:
        return None
    return RequiredNodes(selector, None if required is None else required.nodeSelectorTerms)


def added(affinity: NodeAffinity) -> tuple[RequiredNodes | None, PreferredNodes | None]:
    """What a profile asks of nodes for all its pods, and what it likes."""
    json = affinity.to_json()
    return _required(frozenset(), json), _preferred(json)


@lru_cache(maxsize=1024)
def _preferred(affinity: bytes) -> PreferredNodes | None:
    terms = NodeAffinity.parse(affinity).preferredDuringSchedulingIgnoredDuringExecution
    return PreferredNodes([(term.weight, term.preference) for term in terms]) if terms else None


def _affinity(spec: PodSpec) -> bytes:
    return spec.affinity.nodeAffinity.to_json() if spec.affinity and spec.affinity.nodeAffinity else b""


def required_nodes(spec: PodSpec) -> RequiredNodes | None:
    """The nodes that the pod can run on; None if it says nothing about it."""
    if not spec.nodeSelector and spec.affinity is None:
        return None
    return _required(frozenset(spec.nodeSelector.items()), _affinity(spec))


def preferred_nodes(spec: PodSpec) -> PreferredNodes | None:
    """The nodes that the pod likes; None if it likes all alike."""
    affinity = _affinity(spec)
    return _preferred(affinity) if affinity else None
