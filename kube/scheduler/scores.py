"""Which of the nodes that can take a pod is the best.

Each score gives every node 0 to 100; the sum, by weight, decides. A score that says nothing about a pod (there is no
service to spread) is left out, which ranks the nodes as giving each of them the same would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kube.api.core import Pod
from kube.scheduler.nodeinfo import CPU, MEMORY, Cache, NodeInfo, PodInfo, Selectors

MAX_SCORE = 100


class Score(Protocol):
    """One wish about a node."""

    name: str

    def set_pod(self, pod: PodInfo) -> bool:
        """Take the pod that the next scores are about. False: there is nothing to say about it."""

    def score(self, nodes: Sequence[NodeInfo]) -> list[int]:
        """0 to 100 for each of the nodes, in their order."""


@dataclass(frozen=True, slots=True)
class Weighted:
    """A score and how much it counts."""

    score: Score
    weight: int = 1


def _free(used: int, offered: int) -> int:
    return (offered - used) * MAX_SCORE // offered if 0 < offered >= used else 0


class LeastAllocated:
    """The emptier, the better: the mean of the free parts of CPU and memory once the pod is there.

    `(cpu((capacity - requested) * 100 / capacity) + memory(...)) / 2`. A container that does not say what it needs is
    taken to use 100m of CPU and 200Mi of memory, so that such pods are spread too.
    """

    name = "NodeResourcesLeastAllocated"

    def set_pod(self, pod: PodInfo) -> bool:
        self._cpu, self._memory = pod.cpu, pod.memory
        return True

    def score(self, nodes: Sequence[NodeInfo]) -> list[int]:
        return [
            (
                _free(node.cpu + self._cpu, node.allocatable.get(CPU, 0))
                + _free(node.memory + self._memory, node.allocatable.get(MEMORY, 0))
            )
            // 2
            for node in nodes
        ]


class SelectorSpread:
    """Spread the pods of one service or controller: the fewer of them a node has, the better.

    The node with the most gets 0, one with none 100 (upstream's SelectorSpreadPriority, without its zones).
    """

    name = "SelectorSpread"

    def __init__(self, cache: Cache, selectors: Callable[[Pod], Selectors]) -> None:
        self._cache, self._selectors = cache, selectors

    def set_pod(self, pod: PodInfo) -> bool:
        selectors = self._selectors(pod.pod)
        self._counts = self._cache.spread(pod.pod.metadata.namespace, selectors) if selectors else {}
        return bool(self._counts)

    def score(self, nodes: Sequence[NodeInfo]) -> list[int]:
        counts = [self._counts.get(node.name, 0) for node in nodes]
        most = max(counts, default=0)
        return [MAX_SCORE * (most - count) // most if most else MAX_SCORE for count in counts]


def matching_selectors(pod: Pod, selectors: Iterable[dict[str, str]]) -> Selectors:
    """Those of the selectors that match the pod, in an order that does not depend on how they came.

    An empty selector selects nothing: a service without one has its endpoints made by hand.
    """
    matching = {frozenset(s.items()) for s in selectors if s and s.items() <= pod.metadata.labels.items()}
    return tuple(sorted(matching, key=sorted))
