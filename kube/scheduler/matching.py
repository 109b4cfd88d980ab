"""Which pods a selector means, and how many of them are on each node.

Affinity terms, spread constraints, services and controllers all name pods by their labels and namespaces. How many of
such pods each node has is counted once per selector and then kept up to date pod by pod (`Tally`), however many
decisions ask for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kube.api import labels
from kube.api.labels import NOTHING, Selector
from kube.api.meta import LabelSelector


def selector_of(selector: LabelSelector | None, extra: Iterable[labels.Requirement] = ()) -> Selector:
    """The selector that a field describes, with further requirements; one that cannot be read selects nothing."""
    try:
        found = labels.from_label_selector(selector)
    except labels.SelectorError:
        return NOTHING
    more = tuple(extra)
    return Selector((*found.requirements, *more), found.nothing) if more else found


@dataclass(frozen=True, slots=True)
class Pods:
    """Pods by their labels, in the namespaces named and in those whose labels are selected."""

    selector: Selector
    namespaces: frozenset[str]
    namespace_selector: Selector = NOTHING
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Selectors are asked for at every decision; to hash one takes longer than to use it.
        object.__setattr__(self, "_hash", hash((self.selector, self.namespaces, self.namespace_selector)))

    def __hash__(self) -> int:
        return self._hash

    def match(self, namespace: str, pod: Mapping[str, str], namespaces: Mapping[str, Mapping[str, str]]) -> bool:
        """Whether a pod of this namespace and these labels is meant. `namespaces`: the labels of each."""
        return (
            namespace in self.namespaces or self.namespace_selector.matches(namespaces.get(namespace, {}))
        ) and self.selector.matches(pod)


@dataclass(frozen=True, slots=True)
class AllOf:
    """The pods that every one of these means."""

    parts: tuple[Pods, ...]

    def match(self, namespace: str, pod: Mapping[str, str], namespaces: Mapping[str, Mapping[str, str]]) -> bool:
        return all(part.match(namespace, pod, namespaces) for part in self.parts)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The pods that at least one of these means."""

    parts: tuple[Pods, ...]

    def match(self, namespace: str, pod: Mapping[str, str], namespaces: Mapping[str, Mapping[str, str]]) -> bool:
        return any(part.match(namespace, pod, namespaces) for part in self.parts)


Query = Pods | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Term:
    """Pods to be near to or far from, and the node label whose value says what is near."""

    pods: Pods
    topology_key: str
