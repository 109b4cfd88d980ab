"""Near to some pods, far from others: inter-pod affinity, as a filter and as a score.

What is near is said by a node label, the topology key: all nodes with one value of it are one *domain*. How many pods
a term means in each domain is kept up to date as nodes change. Where every node has a value of its own (as of
`kubernetes.io/hostname`) a domain is a node, and its count is part of the node's state; otherwise the state is the name
of the domain, and the nodes of a domain are judged together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from kube.scheduler.cache import Cache, Held
from kube.scheduler.changes import ClusterChange
from kube.scheduler.framework import MAX_SCORE, AcrossCheck, AcrossRate, GlobalFilter, Refusal, Score
from kube.scheduler.matching import AllOf
from kube.scheduler.nodeinfo import NodeInfo
from kube.scheduler.podinfo import PodInfo

HARD_WEIGHT = 1
"""Upstream's hardPodAffinityWeight: what a required affinity of a pod that is there is worth to one that comes."""


class DomainCounts:
    """How many of some pods are in each domain of a topology key."""

    def __init__(self, cache: Cache, key: str, tally: Mapping[str, int]) -> None:
        self._key, self._tally = key, tally
        self._unique = cache.unique(key)
        self._of: dict[str, tuple[str, int]] = {}
        """What was counted for each node: its domain, and how many pods."""
        self._domains: Counter[str] = Counter()
        self.total = 0
        """Pods on nodes that have the label."""

    def update(self, node: NodeInfo) -> Hashable:
        """None without the label; else the domain's count if it is the node's own, or else the domain's name."""
        domain = node.known.metadata.labels.get(self._key)
        count = self._tally.get(node.name, 0)
        before = self._of.get(node.name)
        if domain is None:
            if before is not None:
                self.remove(node.name)
            return None
        if before != (domain, count):
            if before is not None:
                self.remove(node.name)
            self._of[node.name] = (domain, count)
            self._domains[domain] += count
            self.total += count
        return count if self._unique else domain

    def remove(self, name: str) -> None:
        known = self._of.pop(name, None)
        if known is not None:
            domain, count = known
            self._domains[domain] -= count
            if not self._domains[domain]:
                del self._domains[domain]
            self.total -= count

    def count(self, state: Hashable) -> int:
        """Pods in the domain of a node with this state."""
        if isinstance(state, int):
            return state
        return self._domains.get(state, 0) if isinstance(state, str) else 0


class InterPodAffinity(GlobalFilter):
    """Required terms: of the pod about those that are there, and of those that are there about the pod.

    "For each required affinity term, the node's domain must have a pod that all of them mean, or no such pod exists
    anywhere and the pod itself is one (the first of a group). For each anti-affinity term, it must have none. And no
    pod in any of the node's domains may have an anti-affinity term that means this pod."
    (pkg/scheduler/framework/plugins/interpodaffinity/filtering.go)
    """

    name = "InterPodAffinity"
    helped_by = (
        ClusterChange.POD_ADDED | ClusterChange.POD_REMOVED | ClusterChange.NODE_LABELS | ClusterChange.NAMESPACE
    )

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def _against(self, pod: PodInfo) -> tuple[Held, ...]:
        return tuple([held for held in self._cache.meeting(pod.cls) if held.role == "far"])

    def sign(self, pod: PodInfo) -> Hashable:
        against = self._against(pod)
        wants = pod.cls.affinity
        if not wants.near and not wants.far:
            return against
        itself = self._cache.means(AllOf(tuple(term.pods for term in wants.near)), pod.cls)
        return wants.near, wants.far, itself, against

    def for_pod(self, pod: PodInfo) -> AcrossCheck | None:
        wants, against = pod.cls.affinity, self._against(pod)
        if not wants.near and not wants.far and not against:
            return None
        return _Required(self._cache, pod, against)


class _Required(AcrossCheck):
    NEAR = Refusal(("node(s) didn't match pod affinity rules",))
    FAR = Refusal(("node(s) didn't match pod anti-affinity rules",), resolvable=True)
    AGAINST = Refusal(("node(s) didn't satisfy existing pods anti-affinity rules",), resolvable=True)

    def __init__(self, cache: Cache, pod: PodInfo, against: Sequence[Held]) -> None:
        wants = pod.cls.affinity
        every = AllOf(tuple(term.pods for term in wants.near))
        self._itself = bool(wants.near) and cache.means(every, pod.cls)
        near = [DomainCounts(cache, term.topology_key, cache.tally(every)) for term in wants.near]
        far = [DomainCounts(cache, term.topology_key, cache.tally(term.pods)) for term in wants.far]
        other = [DomainCounts(cache, held.term.topology_key, cache.holders(held)) for held in against]
        self._near, self._far = len(near), len(near) + len(far)
        self._counts = near + far + other

    def update(self, node: NodeInfo) -> Hashable:
        return tuple([counts.update(node) for counts in self._counts])

    def remove(self, name: str) -> None:
        for counts in self._counts:
            counts.remove(name)

    def check(self, state: Hashable) -> Refusal | None:
        assert isinstance(state, tuple)
        near = self._counts[: self._near]
        if near:
            if any(each is None for each in state[: self._near]):
                return self.NEAR
            first = self._itself and not any(counts.total for counts in near)
            if not first and any(not counts.count(each) for counts, each in zip(near, state, strict=False)):
                return self.NEAR
        for place in range(self._near, len(state)):
            if self._counts[place].count(state[place]):
                return self.FAR if place < self._far else self.AGAINST
        return None


class InterPodAffinityScore(Score):
    """Preferred terms, of the pod and of those that are there, weighted and added up over the node's domains.

    "The score is 100 * (sum - min) / (max - min) over the nodes that can take the pod." A required affinity term of a
    pod that is there counts as a preferred one of weight 1 (hardPodAffinityWeight). What those that are there like may
    be ignored for pods that prefer nothing themselves (ignorePreferredTermsOfExistingPods).
    """

    name = "InterPodAffinity"

    def __init__(self, cache: Cache, hard_weight: int = HARD_WEIGHT, *, ignore_existing: bool = False) -> None:
        self._cache, self._hard_weight, self._ignore_existing = cache, hard_weight, ignore_existing

    def _about(self, pod: PodInfo) -> tuple[tuple[Held, int], ...]:
        if self._ignore_existing and not pod.cls.affinity.liked:
            return ()
        weights = ((h, h.weight if h.role == "liked" else self._hard_weight) for h in self._cache.meeting(pod.cls)
                   if h.role != "far")  # fmt: skip
        return tuple([(held, weight) for held, weight in weights if weight])

    def sign(self, pod: PodInfo) -> Hashable:
        return pod.cls.affinity.liked, self._about(pod)

    def for_pod(self, pod: PodInfo) -> AcrossRate | None:
        cache, about = self._cache, self._about(pod)
        parts = [
            *((DomainCounts(cache, t.topology_key, cache.tally(t.pods)), w) for t, w in pod.cls.affinity.liked),
            *((DomainCounts(cache, h.term.topology_key, cache.holders(h)), weight) for h, weight in about),
        ]
        return _Preferred(parts) if parts else None


class _Preferred(AcrossRate):
    def __init__(self, parts: Sequence[tuple[DomainCounts, int]]) -> None:
        self._parts = parts

    def update(self, node: NodeInfo) -> Hashable:
        return tuple([counts.update(node) for counts, _ in self._parts])

    def remove(self, name: str) -> None:
        for counts, _ in self._parts:
            counts.remove(name)

    def rate(self, states: Sequence[Hashable], sizes: Sequence[int]) -> list[int]:
        sums = [self._sum(state) for state in states]
        least, most = min(sums, default=0), max(sums, default=0)
        if least == most:
            return [0] * len(sums)
        return [int(MAX_SCORE * ((each - least) / (most - least))) for each in sums]

    def _sum(self, state: Hashable) -> int:
        assert isinstance(state, tuple)
        return sum([w * counts.count(each) for (counts, w), each in zip(self._parts, state, strict=True)])
