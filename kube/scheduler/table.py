"""Every node's answers to one class of pods, kept up to date: what makes a decision cost what has changed, not all.

Nodes that nothing tells apart (the same score of their own, the same state for what looks across nodes) lie in one
bucket, and so do those that a filter refused with the same words. A decision first takes over the nodes that have
changed since the last one of its class, mostly the one that got the last pod, and then judges the buckets, of which
there are few.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from kube.scheduler.cache import Cache
from kube.scheduler.framework import Across, AcrossCheck, AcrossRate, Check, Filter, Profile, Rate, Refusal, Score
from kube.scheduler.nodeinfo import NodeInfo
from kube.scheduler.podinfo import PodInfo

States = tuple[Hashable, ...]


class Bucket:
    """Nodes that are alike."""

    __slots__ = ("_where", "key", "names")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.names: list[str] = []
        self._where: dict[str, int] = {}

    def add(self, name: str) -> None:
        self._where[name] = len(self.names)
        self.names.append(name)

    def remove(self, name: str) -> None:
        """In constant time: the last one takes its place."""
        place, last = self._where.pop(name), self.names.pop()
        if last != name:
            self.names[place] = last
            self._where[last] = place


class Fitting(Bucket):
    """Nodes that pass all filters that look at one node alone."""

    __slots__ = ("own", "states")

    def __init__(self, key: tuple[int, States]) -> None:
        super().__init__(key)
        self.own, self.states = key
        """The sum of the scores that look at one node alone; the states for the others."""


class Refused(Bucket):
    """Nodes that a filter refused."""

    __slots__ = ("by", "refusal")

    def __init__(self, key: tuple[Filter, Refusal]) -> None:
        super().__init__(key)
        self.by, self.refusal = key


class Table:
    """The answers to one class of pods."""

    def __init__(self, cache: Cache, profile: Profile, pod: PodInfo) -> None:
        self._cache = cache
        self.epoch = cache.epoch
        self._seen = -1
        self.across: list[Across] = []
        self.checks: list[tuple[Filter, Check]] = []
        self.across_checks: list[tuple[Filter, AcrossCheck, int]] = []
        """With their place among the states."""
        self.rates: list[tuple[Score, int, Rate]] = []
        """With their weights."""
        self.across_rates: list[tuple[Score, int, AcrossRate, int]] = []
        """With their weights and their place among the states."""
        for filter_ in profile.filters:
            if (first := filter_.before_all(pod)) is not None:
                self.checks.append((filter_, first))
        for filter_ in profile.filters:
            check = filter_.for_pod(pod)
            if isinstance(check, AcrossCheck):
                self.across_checks.append((filter_, check, len(self.across)))
                self.across.append(check)
            elif check is not None:
                self.checks.append((filter_, check))
        for weighted in profile.scores:
            rate = weighted.score.for_pod(pod)
            if isinstance(rate, AcrossRate):
                self.across_rates.append((weighted.score, weighted.weight, rate, len(self.across)))
                self.across.append(rate)
            elif rate is not None:
                self.rates.append((weighted.score, weighted.weight, rate))
        self._buckets: dict[Hashable, Bucket] = {}
        self._of: dict[str, Bucket] = {}

    def refresh(self) -> None:
        """Take over the nodes that have changed."""
        cache = self._cache
        if self._seen == cache.generation:
            return
        if self._seen < 0:
            nodes: Iterable[NodeInfo] = cache.nodes()
            for node in nodes:
                self._update(node)
        else:
            for name in cache.changed_since(self._seen):
                changed = cache.get(name)
                if changed is None or changed.node is None:
                    self._remove(name)
                else:
                    self._update(changed)
        self._seen = cache.generation

    def fitting(self) -> list[Fitting]:
        """The nodes that can take the pod, as of the last refresh."""
        found = [bucket for bucket in self._buckets.values() if isinstance(bucket, Fitting)]
        if self.across_checks:
            verdicts: dict[States, bool] = {}
            places = [place for _, _, place in self.across_checks]
            passing = []
            for bucket in found:
                states = tuple([bucket.states[place] for place in places])
                passes = verdicts.get(states)
                if passes is None:
                    passes = verdicts[states] = self._refusal_across(bucket.states) is None
                if passes:
                    passing.append(bucket)
            return passing
        return found

    def totals(self, buckets: Sequence[Fitting]) -> list[int]:
        """The weighted sum of the scores of each of the buckets, which are all that can take the pod."""
        totals = [bucket.own for bucket in buckets]
        for _, weight, rate, place in self.across_rates:
            for index, value in enumerate(self.rated(rate, place, buckets)):
                totals[index] += weight * value
        return totals

    @staticmethod
    def rated(rate: AcrossRate, place: int, buckets: Sequence[Fitting]) -> list[int]:
        """One score of each of the buckets: each state is rated once, however many buckets are in it."""
        sizes: dict[Hashable, int] = {}
        for bucket in buckets:
            state = bucket.states[place]
            sizes[state] = sizes.get(state, 0) + len(bucket.names)
        values = dict(zip(sizes, rate.rate([*sizes], [*sizes.values()]), strict=True))
        return [values[bucket.states[place]] for bucket in buckets]

    def refused(self) -> list[tuple[Filter, Refusal, list[str]]]:
        """Which filter refused which nodes, and why, each node by the first that did."""
        found = []
        for bucket in self._buckets.values():
            if isinstance(bucket, Refused):
                found.append((bucket.by, bucket.refusal, bucket.names))
            elif isinstance(bucket, Fitting) and (refused := self._refusal_across(bucket.states)) is not None:
                found.append((*refused, bucket.names))
        return found

    def refusal(self, name: str) -> tuple[Filter, Refusal] | None:
        """Why a node cannot take the pod; None if it can."""
        bucket = self._of[name]
        if isinstance(bucket, Refused):
            return bucket.by, bucket.refusal
        assert isinstance(bucket, Fitting)
        return self._refusal_across(bucket.states)

    def states(self, name: str) -> States:
        """A node's states, whether or not it can take the pod."""
        node = self._cache.get(name)
        assert node is not None
        return tuple([each.update(node) for each in self.across])

    def __contains__(self, name: str) -> bool:
        return name in self._of

    def __len__(self) -> int:
        return len(self._of)

    def _refusal_across(self, states: States) -> tuple[Filter, Refusal] | None:
        for filter_, check, place in self.across_checks:
            refusal = check.check(states[place])
            if refusal is not None:
                return filter_, refusal
        return None

    def _update(self, node: NodeInfo) -> None:
        # Whoever looks across nodes has to see all of them, those too that cannot take the pod.
        states = tuple([each.update(node) for each in self.across])
        key: Hashable
        for filter_, check in self.checks:
            refusal = check(node)
            if refusal is not None:
                key = (filter_, refusal)
                break
        else:
            own = 0
            for _, weight, rate in self.rates:
                own += weight * rate(node)
            key = (own, states)
        before = self._of.get(node.name)
        if before is not None:
            if before.key == key:
                return
            self._leave(before, node.name)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Fitting(key) if isinstance(key[0], int) else Refused(key)
        bucket.add(node.name)
        self._of[node.name] = bucket

    def _remove(self, name: str) -> None:
        for each in self.across:
            each.remove(name)
        bucket = self._of.pop(name, None)
        if bucket is not None:
            self._leave(bucket, name)

    def _leave(self, bucket: Bucket, name: str) -> None:
        bucket.remove(name)
        if not bucket.names:
            del self._buckets[bucket.key]
