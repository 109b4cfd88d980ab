"""All nodes and all pods that have one, and what is counted over them.

A pod that was given a node but whose binding has not come back by the watch yet is *assumed*: it counts as if it were
bound, so that the next decision does not give its room away a second time. A pod for which others are being removed is
*nominated*: it counts for those of no higher priority, and for nobody else.

Every change of a node has a number (`generation`). Whoever keeps something about every node asks which have changed
since the number it has seen, and looks at those only: the cost of a decision is that of what has changed since the last
one of its kind, not that of all nodes.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from kube.api.core import Node, Pod
from kube.scheduler.matching import Query, Term
from kube.scheduler.nodeinfo import NodeInfo
from kube.scheduler.podinfo import PodClass, PodInfo

TALLIES_KEPT = 1024
"""Selectors whose pods are counted; when there are more, all begin anew."""
CLASSES_REMEMBERED = 8192
HOLDERS_KEPT = 1024
"""Terms that no pod has any more and that are remembered all the same; when there are more, all those are forgotten."""


@dataclass(frozen=True, slots=True)
class Held:
    """A term of pods that have a node, which a pod that comes near to them meets from the other side."""

    role: Literal["near", "far", "liked"]
    term: Term
    weight: int = 0


def _held(asks: PodClass) -> list[Held]:
    wants = asks.affinity
    if not wants:
        return []
    return [
        *(Held("near", term) for term in wants.near),
        *(Held("far", term) for term in wants.far),
        *(Held("liked", term, weight) for term, weight in wants.liked),
    ]


@dataclass(slots=True, eq=False)
class _Counted:
    """What the pods of one class (living, or being deleted) count for."""

    held: list[Held]
    tallies: list[Counter[str]]


@dataclass(slots=True, eq=False)
class Domains:
    """The values that nodes have for a label."""

    values: Counter[str] = field(default_factory=Counter)
    shared: int = 0
    """How many values more than one node has."""

    def count(self, value: str | None, by: int) -> None:
        if value is None:
            return
        before = self.values[value]
        self.values[value] = after = before + by
        self.shared += (after > 1) - (before > 1)
        if not after:
            del self.values[value]


class Trial:
    """What a node would be with other pods."""

    def __init__(self, cache: Cache, node: str) -> None:
        self._cache, self._node = cache, node
        self._gone: dict[str, PodInfo] = {}
        self._come: dict[str, PodInfo] = {}

    def take(self, pod: PodInfo) -> None:
        """Take a pod from the node."""
        self._cache.lift(pod.key)
        if self._come.pop(pod.key, None) is None:
            self._gone[pod.key] = pod

    def put(self, pod: PodInfo) -> None:
        """Put a pod on the node, or put back what was taken."""
        self._cache.put(pod, self._node)
        if self._gone.pop(pod.key, None) is None:
            self._come[pod.key] = pod

    def undo(self) -> None:
        for pod in [*self._come.values()]:
            self.take(pod)
        for pod in [*self._gone.values()]:
            self.put(pod)


class Cache:
    """All nodes and all assigned pods, the assumed ones among them."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeInfo] = {}
        self._pods: dict[str, tuple[PodInfo, str]] = {}
        self._assumed: dict[str, str] = {}
        self._nominated: dict[str, dict[str, PodInfo]] = {}
        self._nominations: dict[str, tuple[str, tuple[PodInfo, ...]]] = {}
        self.existing = 0
        """How many nodes exist."""
        self.generation = 0
        self._changed: dict[str, int] = {}
        """The generation of each node's last change, the latest last."""
        self.epoch = 0
        """Raised when what was counted is counted anew: whoever holds a tally must ask for it again."""
        self._tallies: dict[tuple[Query, bool], Counter[str]] = {}
        self._holders: dict[Held, Counter[str]] = {}
        self._unheld = 0
        """How many of these are of no pod."""
        self._counted: dict[tuple[PodClass, bool], _Counted] = {}
        self._meeting: dict[PodClass, tuple[int, tuple[Held, ...]]] = {}
        self._held_version = 0
        self._domains: dict[str, tuple[Domains, bool]] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}

    # Nodes

    def nodes(self) -> list[NodeInfo]:
        """The nodes that exist."""
        return [info for info in self._nodes.values() if info.node is not None]

    def get(self, node: str) -> NodeInfo | None:
        """A node, which may not exist any more while pods are on it."""
        return self._nodes.get(node)

    def set_node(self, node: Node) -> None:
        info = self._nodes.get(node.name)
        if info is None:
            info = self._nodes[node.name] = NodeInfo(node.name)
        before = info.node
        if before is not None and _matters(before) == _matters(node):
            info.node = node  # a heartbeat
            return
        self.existing += before is None
        self._count_domains(before, -1)
        self._count_domains(node, 1)
        info.set_node(node)
        self._touch(node.name)

    def remove_node(self, name: str) -> None:
        """The node is gone; its pods go on counting until they are gone too."""
        info = self._nodes.get(name)
        if info is not None and info.node is not None:
            self.existing -= 1
            self._count_domains(info.node, -1)
            info.set_node(None)
            self._touch(name)
            self._drop_if_empty(info)

    def changed_since(self, generation: int) -> list[str]:
        """The nodes that have changed after that generation, those that are gone among them."""
        found = []
        for name in reversed(self._changed):
            if self._changed[name] <= generation:
                break
            found.append(name)
        return found

    def unique(self, key: str) -> bool:
        """Whether no two nodes have the same value for a label, as it is with `kubernetes.io/hostname`."""
        known = self._domains.get(key)
        if known is None:
            domains = Domains()
            for info in self._nodes.values():
                if info.node is not None:
                    domains.count(info.node.metadata.labels.get(key), 1)
            known = self._domains[key] = (domains, not domains.shared)
        return known[1]

    # Pods

    def node_of(self, key: str) -> str | None:
        """Where a pod is counted, bound or assumed."""
        held = self._pods.get(key)
        return held[1] if held else None

    def pod(self, key: str) -> PodInfo | None:
        """A pod that is counted."""
        held = self._pods.get(key)
        return held[0] if held else None

    def __len__(self) -> int:
        return len(self._pods)

    def set_pod(self, pod: Pod) -> None:
        """A bound pod, as the watch shows it. Confirms it if it was assumed, wherever it was assumed to go."""
        held, node = self._pods.get(pod.key), pod.spec.nodeName
        info = PodInfo.of(pod, held[0] if held is not None else None)
        self.nominate(pod.key, "")
        if held is not None and held[1] == node and held[0].cls is info.cls and held[0].living == info.living:
            # Nothing that counts has changed: a status was written, or our own binding comes back.
            self._assumed.pop(pod.key, None)
            self._pods[pod.key] = (info, node)
            there = self._nodes[node]
            there.pods[pod.key] = info
            if pod.key in there.with_volumes:
                there.with_volumes[pod.key] = info
            return
        self._take_out(pod.key)
        self.put(info, node)

    def remove_pod(self, key: str) -> bool:
        """The pod uses nothing any more. Tells whether it was counted."""
        self.nominate(key, "")
        return self._take_out(key)

    def assume(self, pod: PodInfo, node: str) -> None:
        """Count a pod on a node before its binding is seen."""
        self.nominate(pod.key, "")
        self._take_out(pod.key)
        self.put(pod, node)
        self._assumed[pod.key] = pod.uid

    def forget(self, pod: Pod) -> bool:
        """Give back what was assumed for this very pod. Tells whether it still was."""
        if self._assumed.get(pod.key) != pod.metadata.uid:
            return False
        return self._take_out(pod.key)

    def assumed(self, pod: Pod) -> bool:
        """Whether this very pod was given a node that the watch has not confirmed."""
        return self._assumed.get(pod.key) == pod.metadata.uid

    @contextlib.contextmanager
    def trial(self, node: str) -> Iterator[Trial]:
        """Take pods from a node and put others on it, to see what would be; at the end all is as it was.

        Nothing may be awaited meanwhile.
        """
        trial = Trial(self, node)
        try:
            yield trial
        finally:
            trial.undo()

    # Nominations

    def nominate(self, key: str, node: str, pod: PodInfo | None = None, victims: tuple[PodInfo, ...] = ()) -> None:
        """Keep the room that is being made on a node for a pod; an empty node name gives it up.

        `victims`: whom we have asked to go, as far as we know.
        """
        before = self._nominations.pop(key, None)
        if before is not None:
            there = self._nominated[before[0]]
            del there[key]
            if not there:
                del self._nominated[before[0]]
        if node and pod is not None:
            self._nominations[key] = (node, victims)
            self._nominated.setdefault(node, {})[key] = pod

    def nominated_node(self, key: str) -> str | None:
        """Where room is being made for a pod."""
        nomination = self._nominations.get(key)
        return nomination[0] if nomination else None

    def victims(self, key: str) -> list[PodInfo]:
        """Those that were asked to go so that a pod has room, and have not gone."""
        _, victims = self._nominations.get(key, ("", ()))
        return [victim for victim in victims if (now := self.pod(victim.key)) is not None and now.uid == victim.uid]

    def nominated_on(self, node: str) -> list[str]:
        """The keys of the pods that room is being made for on a node."""
        return [*self._nominated.get(node, ())]

    def nominated(self, node: str, pod: PodInfo) -> list[PodInfo]:
        """The other pods that room is being made for on a node, which a pod has to respect."""
        there = self._nominated.get(node)
        if not there:
            return []
        return [p for p in there.values() if p.key != pod.key and p.cls.priority >= pod.cls.priority]

    def nominated_below(self, node: str, priority: int) -> list[PodInfo]:
        """The pods of lower priority that room is being made for on a node."""
        return [p for p in self._nominated.get(node, {}).values() if p.cls.priority < priority]

    # Counting

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """The labels of a namespace, by which terms may select pods; None: it is gone."""
        if self._namespaces.get(name, {}) != (labels or {}):
            self._begin_anew()
        if labels is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = labels

    def means(self, query: Query, asks: PodClass) -> bool:
        """Whether a pod of this class is one of those that a query means."""
        return query.match(asks.namespace, asks.labels, self._namespaces)

    def tally(self, query: Query, *, living: bool = False) -> Mapping[str, int]:
        """How many pods that the query means are on each node; `living`: that nobody has asked to be deleted.

        Counted once, and then kept up to date, until the epoch changes.
        """
        counts = self._tallies.get((query, living))
        if counts is None:
            if len(self._tallies) >= TALLIES_KEPT:
                self._begin_anew()
            counts = Counter()
            for info, node in self._pods.values():
                if (info.living or not living) and self.means(query, info.cls):
                    counts[node] += 1
            self._tallies[query, living] = counts
            for (asks, alive), counted in self._counted.items():
                if (alive or not living) and self.means(query, asks):
                    counted.tallies.append(counts)
        return counts

    def meeting(self, asks: PodClass) -> tuple[Held, ...]:
        """The terms of pods that have a node by which a pod of this class is meant, in a fixed order."""
        known = self._meeting.get(asks)
        if known is None or known[0] != self._held_version:
            if len(self._meeting) >= CLASSES_REMEMBERED:
                self._meeting.clear()
            found = tuple(h for h, nodes in self._holders.items() if nodes and self.means(h.term.pods, asks))
            known = self._meeting[asks] = (self._held_version, found)
        return known[1]

    def holders(self, held: Held) -> Counter[str]:
        """How many pods with this term are on each node. Kept up to date until the epoch changes."""
        holders = self._holders.get(held)
        if holders is None:
            holders = self._holders[held] = Counter()
            self._unheld += 1
        return holders

    # Inside

    def _begin_anew(self) -> None:
        self.epoch += 1
        self._tallies.clear()
        self._counted.clear()
        self._meeting.clear()
        self._holders = {held: nodes for held, nodes in self._holders.items() if nodes}
        self._unheld = 0

    def _touch(self, name: str) -> None:
        self.generation += 1
        self._changed.pop(name, None)
        self._changed[name] = self.generation

    def _count_domains(self, node: Node | None, by: int) -> None:
        if node is None:
            return
        for key, (domains, unique) in self._domains.items():
            domains.count(node.metadata.labels.get(key), by)
            if unique and domains.shared:
                # Once shared, always taken for shared: it costs a little, and changing back would cost more.
                self._domains[key] = (domains, False)
                self.epoch += 1

    def _drop_if_empty(self, info: NodeInfo) -> None:
        if info.node is None and not info.pods:
            del self._nodes[info.name]

    def put(self, pod: PodInfo, node: str) -> None:
        """Count a pod on a node, and nothing else: for `Trial`."""
        info = self._nodes.get(node)
        if info is None:
            info = self._nodes[node] = NodeInfo(node)
        info.add(pod)
        self._pods[pod.key] = (pod, node)
        self._count(pod, node, 1)
        self._touch(node)

    def _take_out(self, key: str) -> bool:
        self._assumed.pop(key, None)
        return self.lift(key)

    def lift(self, key: str) -> bool:
        """Count a pod no more, and nothing else: for `Trial`. Tells whether it was counted."""
        held = self._pods.pop(key, None)
        if held is None:
            return False
        pod, node = held
        info = self._nodes[node]
        info.remove(key)
        self._drop_if_empty(info)
        self._count(pod, node, -1)
        self._touch(node)
        return True

    def _count(self, pod: PodInfo, node: str, by: int) -> None:
        key = (pod.cls, pod.living)
        counted = self._counted.get(key)
        if counted is None:
            if len(self._counted) >= CLASSES_REMEMBERED:
                self._counted.clear()
            counted = self._counted[key] = _Counted(
                _held(pod.cls),
                [
                    counts
                    for (query, living), counts in self._tallies.items()
                    if (pod.living or not living) and self.means(query, pod.cls)
                ],
            )
        for tally in counted.tallies:
            tally[node] += by
            if not tally[node]:
                del tally[node]
        for held in counted.held:
            holders = self.holders(held)
            had = bool(holders)
            holders[node] += by
            if not holders[node]:
                del holders[node]
            if bool(holders) != had:
                self._held_version += 1
                self._unheld += 1 if had else -1
        if self._unheld > HOLDERS_KEPT:
            self._begin_anew()


def _matters(node: Node) -> object:
    """What of a node can matter to a decision."""
    status = node.status
    return (
        node.metadata.uid,
        node.metadata.labels,
        node.spec.taints,
        node.spec.unschedulable,
        status.allocatable,
        status.capacity,
        [(c.type, c.status) for c in status.conditions],
        status.images,
    )
