"""The decision: filter the nodes, score those that are left, take one of the best.

Pure: it looks at the cache and changes nothing. All nodes that can take the pod are scored, where Kubernetes looks at a
sample of a large cluster; ties are broken at random, by a generator that a seed makes repeatable. A pod that no node
can take raises `Unschedulable`, whose text is the one people know from upstream.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from kube.scheduler.cache import Cache
from kube.scheduler.changes import ClusterChange
from kube.scheduler.framework import Filter, GlobalFilter, Profile, Refusal
from kube.scheduler.podinfo import PodInfo
from kube.scheduler.table import Fitting, Table

NO_NODES = "no nodes available to schedule pods"

ROWS_KEPT = 250_000
"""Answers of nodes that are kept, over all tables."""
FEWEST_TABLES = 8


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a pod goes."""

    node: str
    score: int
    fitting: int
    """How many nodes could have taken it."""
    best: int
    """How many of them were as good."""


class Unschedulable(Exception):
    """No node can take the pod. The message is upstream's FitError."""

    def __init__(
        self,
        nodes: int,
        reasons: Counter[str],
        helped_by: ClusterChange,
        *,
        resolvable: tuple[str, ...] = (),
        preemption: str = "",
        alike: Hashable | None = None,
    ) -> None:
        self.nodes = nodes
        self.reasons = reasons
        """How many nodes gave each reason; a node may give several."""
        self.helped_by = helped_by
        """The changes that can make a difference."""
        self.resolvable = resolvable
        """The nodes that could take it if other pods went away from them."""
        self.preemption = preemption
        """What came of looking for pods to push out."""
        self.waits = False
        """Whether it is not its turn to push out others; what room is being made for it remains its own."""
        self.alike = alike
        """Of a pod that only filters which look at one node alone have refused: what it shares with those whom a node
        answers alike. None also if a plug-in does not say what its answers depend on."""
        self.everywhere = ""
        """What ruled out all nodes at once."""
        super().__init__()

    def __str__(self) -> str:
        if not self.nodes:
            return NO_NODES
        message = f"0/{self.nodes} nodes are available:"
        if self.everywhere:
            message += f" {self.everywhere}."
        elif self.reasons:
            message += f" {listed(self.reasons)}."
        return f"{message} {self.preemption}" if self.preemption else message


def listed(reasons: Mapping[str, int]) -> str:
    """Reasons and how many nodes gave them. Sorted as text: the order must not change from attempt to attempt."""
    return ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))


class Algorithm:
    """Chooses nodes, for pods of several profiles."""

    def __init__(self, cache: Cache, profiles: Iterable[Profile], seed: int | None = None) -> None:
        self._cache = cache
        self.profiles = {profile.scheduler_name: profile for profile in profiles}
        self._default = next(iter(self.profiles.values()))
        self.random = random.Random(seed)
        self._tables: OrderedDict[Hashable, Table] = OrderedDict()

    def profile(self, pod: PodInfo) -> Profile:
        """The profile of a pod; the first one if it names none of them."""
        return self.profiles.get(pod.pod.spec.schedulerName, self._default)

    def choose(self, pod: PodInfo) -> Choice:
        """The node for the pod. Raises Unschedulable."""
        if not self._cache.existing:
            raise Unschedulable(0, Counter(), ClusterChange.NODE_ADDED)
        self._rule_out(pod)
        table = self.table(pod)
        fitting = table.fitting()
        nominated = self._cache.nominated_node(pod.key)
        if nominated is not None and nominated in table:
            if self._fits(pod, table, nominated):
                # Room was made for it there, and it goes there even if there is a better place by now, as upstream.
                return Choice(nominated, 0, sum(len(bucket.names) for bucket in fitting), 1)
            table = self.table(pod)  # to look at it as if moved it about
            fitting = table.fitting()
        if not fitting:
            raise self._explain(pod, table, {})
        return self._best(pod, table, fitting)

    def table(self, pod: PodInfo) -> Table:
        """The answers of all nodes to pods such as this one, as of now."""
        cache = self._cache
        profile = self.profile(pod)
        signature = profile.sign(pod)
        table = self._tables.get(signature) if signature is not None else None
        if table is None or table.epoch != cache.epoch:
            while True:
                table = Table(cache, profile, pod)
                if table.epoch == cache.epoch:  # to make it may itself have begun a new one
                    break
            if signature is not None:
                self._tables[signature] = table
                self._tables.move_to_end(signature)
                while len(self._tables) > max(FEWEST_TABLES, ROWS_KEPT // (cache.existing or 1)):
                    self._tables.popitem(last=False)
        elif len(self._tables) > 1:
            self._tables.move_to_end(signature)
        table.refresh()
        return table

    def fits(self, pod: PodInfo, node: str) -> tuple[Filter, Refusal] | None:
        """Why a node cannot take the pod, with and without those that room is being made for there; None if it can."""
        table = self.table(pod)
        refused = table.refusal(node)
        others = self._cache.nominated(node, pod)
        if refused is None and others:
            with self._cache.trial(node) as trial:
                for other in others:
                    trial.put(other)
                # What those ask of the pod may make it another one to the filters, with another table.
                refused = self.table(pod).refusal(node)
            table.refresh()
        return refused

    def _rule_out(self, pod: PodInfo) -> None:
        for filter_ in self.profile(pod).filters:
            refusal = filter_.refused(pod)
            if refusal is not None:
                nodes = self._cache.existing
                why = Unschedulable(nodes, Counter(), filter_.helped_by)
                why.everywhere = ", ".join(refusal.reasons)
                raise why

    def _fits(self, pod: PodInfo, table: Table, node: str) -> bool:
        if not self._cache.nominated(node, pod):
            return table.refusal(node) is None
        return self.fits(pod, node) is None

    def _best(self, pod: PodInfo, table: Table, fitting: list[Fitting]) -> Choice:
        count = sum([len(bucket.names) for bucket in fitting])
        totals = table.totals(fitting)
        reserved: dict[str, tuple[Filter, Refusal]] = {}
        while True:
            most = max(totals, default=-1)
            best = [bucket for bucket, total in zip(fitting, totals, strict=True) if total == most]
            names = best[0].names if len(best) == 1 else [name for bucket in best for name in bucket.names]
            if reserved:
                names = [name for name in names if name not in reserved]
            if names:
                name = names[self.random.randrange(len(names))]
                refused = self.fits(pod, name) if self._cache.nominated(name, pod) else None
                if refused is None:
                    return Choice(name, most, count - len(reserved), len(names))
                reserved[name] = refused
                # To look at it as if moved it about; the buckets may be others now, for the same nodes.
                table = self.table(pod)
                fitting = table.fitting()
                totals = table.totals(fitting)
                continue
            left = [i for i, total in enumerate(totals) if total != most]
            if not left:
                raise self._explain(pod, table, reserved)
            fitting, totals = [fitting[i] for i in left], [totals[i] for i in left]

    def _explain(self, pod: PodInfo, table: Table, reserved: Mapping[str, tuple[Filter, Refusal]]) -> Unschedulable:
        """Each node tells the reasons of the first filter that refused it."""
        refusals = [(filter_, refusal, [*names]) for filter_, refusal, names in table.refused()]
        refusals += [(filter_, refusal, [name]) for name, (filter_, refusal) in reserved.items()]
        reasons: Counter[str] = Counter()
        helped_by = ClusterChange.NODE_ADDED
        resolvable: list[str] = []
        local = True
        for filter_, refusal, names in refusals:
            for reason in refusal.reasons:
                reasons[reason] += len(names)
            helped_by |= filter_.helped_by
            local = local and not isinstance(filter_, GlobalFilter)
            if refusal.resolvable:
                resolvable += names
        return Unschedulable(
            self._cache.existing,
            reasons,
            helped_by,
            resolvable=tuple(resolvable),
            alike=self.profile(pod).sign(pod) if local else None,
        )
