"""The decision: filter the nodes, score those that are left, take one of the best.

Pure: it looks at the cache and changes nothing. Ties are broken at random, by a generator that a seed makes
repeatable. A pod that no node can take raises `Unschedulable`, whose text is the one people know from upstream.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from kube.scheduler.changes import ClusterChange
from kube.scheduler.filters import Filter
from kube.scheduler.nodeinfo import Cache, NodeInfo, PodInfo
from kube.scheduler.scores import Weighted

NO_NODES = "no nodes available to schedule pods"


class Unschedulable(Exception):
    """No node can take the pod."""

    def __init__(self, nodes: int, reasons: Counter[str], helped_by: ClusterChange) -> None:
        self.nodes = nodes
        self.reasons = reasons
        """How many nodes gave each reason; a node may give several."""
        self.helped_by = helped_by
        """The changes that can make a difference."""
        super().__init__(self._message())

    def _message(self) -> str:
        if not self.nodes:
            return NO_NODES
        # Sorted as text, as upstream's FitError does: the order must not change from one attempt to the next.
        reasons = sorted(f"{count} {reason}" for reason, count in self.reasons.items())
        return f"0/{self.nodes} nodes are available: {', '.join(reasons)}."


class Algorithm:
    """Chooses nodes."""

    def __init__(
        self, cache: Cache, filters: Sequence[Filter], scores: Sequence[Weighted], seed: int | None = None
    ) -> None:
        self._cache, self._filters, self._scores = cache, filters, scores
        self._random = random.Random(seed)

    def choose(self, pod: PodInfo) -> str:
        """The node for the pod. Raises Unschedulable."""
        nodes = self._cache.nodes()
        filters = [f for f in self._filters if f.set_pod(pod)]
        fitting = [node for node in nodes if all(f.check(node) for f in filters)]
        if not fitting:
            raise self._explain(nodes, filters)
        return self._best(pod, fitting)

    def _best(self, pod: PodInfo, nodes: list[NodeInfo]) -> str:
        if len(nodes) == 1:
            return nodes[0].name
        totals = [0] * len(nodes)
        for weighted in self._scores:
            if weighted.score.set_pod(pod):
                for index, score in enumerate(weighted.score.score(nodes)):
                    totals[index] += weighted.weight * score
        most = max(totals)
        return self._random.choice([node.name for node, total in zip(nodes, totals, strict=True) if total == most])

    def _explain(self, nodes: Sequence[NodeInfo], filters: Sequence[Filter]) -> Unschedulable:
        """Each node tells the reasons of the first filter that refused it."""
        reasons: Counter[str] = Counter()
        helped_by = ClusterChange.NODE_ADDED
        for node in nodes:
            refused = next(f for f in filters if not f.check(node))
            reasons.update(refused.explain(node))
            helped_by |= refused.helped_by
        return Unschedulable(len(nodes), reasons, helped_by)
