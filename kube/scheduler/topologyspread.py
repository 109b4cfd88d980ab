"""Spread over zones, hosts, or whatever a node label tells apart: topology spread constraints, as filter and score.

A constraint counts the pods that its selector means (in the pod's namespace, and not being deleted) in each domain, but
only on nodes that the pod could run on: those that its node affinity means (unless nodeAffinityPolicy is Ignore) and
whose taints it tolerates (if nodeTaintsPolicy is Honor), and that have all the topology keys.
(pkg/scheduler/framework/plugins/podtopologyspread)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence

from kube.api.core import Pod
from kube.api.labels import Selector
from kube.api.placement import TopologySpreadConstraint
from kube.scheduler.cache import Cache
from kube.scheduler.changes import ClusterChange
from kube.scheduler.filters import untolerated
from kube.scheduler.framework import MAX_SCORE, AcrossCheck, AcrossRate, GlobalFilter, Refusal, Score
from kube.scheduler.matching import AnyOf, Pods
from kube.scheduler.nodeinfo import NodeInfo
from kube.scheduler.podinfo import Constraint, PodClass, PodInfo, constraint

HOSTNAME = "kubernetes.io/hostname"


class _Spread:
    """The domains of one constraint: how many nodes and pods each has, and which count is the least."""

    def __init__(self, cache: Cache, constraint: Constraint, asks: PodClass) -> None:
        self.constraint, self._asks = constraint, asks
        # An empty selector means the pod itself, and yet counts none of those that are there (countPodsMatchSelector).
        counted = not constraint.pods.selector.empty
        self._tally: Mapping[str, int] = cache.tally(constraint.pods, living=True) if counted else {}
        self.own = cache.means(constraint.pods, asks)
        """Whether the pod itself is one of those that are spread."""
        self._unique = cache.unique(constraint.topology_key)
        self._of: dict[str, tuple[str, int]] = {}
        self._nodes: Counter[str] = Counter()
        self._pods: dict[str, int] = {}
        self._counts: Counter[int] = Counter()
        """How many domains have so many pods."""

    def update(self, node: NodeInfo, eligible: bool) -> Hashable:
        """The count of pods, if the node is a domain of its own, or the name of its domain; None without the label."""
        domain = node.known.metadata.labels.get(self.constraint.topology_key)
        count = self._tally.get(node.name, 0)
        new = (domain, count) if domain is not None and eligible and self._counts_here(node) else None
        before = self._of.get(node.name)
        if before != new:
            if before is not None:
                self.remove(node.name)
            if new is not None:
                self._of[node.name] = new
                self._change(new[0], 1, count)
        if domain is None:
            return None
        if not self._unique:
            return domain
        return 0 if new is None else count

    def remove(self, name: str) -> None:
        known = self._of.pop(name, None)
        if known is not None:
            self._change(known[0], -1, -known[1])

    def count(self, state: Hashable) -> int:
        return state if isinstance(state, int) else self._pods.get(state, 0) if isinstance(state, str) else 0

    def least(self) -> int:
        """The fewest pods that a domain has; 0 if there are fewer domains than there should be at least."""
        if len(self._pods) < self.constraint.min_domains:
            return 0
        return min(self._counts, default=0)

    def _counts_here(self, node: NodeInfo) -> bool:
        required = self._asks.required_nodes
        if self.constraint.honor_affinity and required is not None and not required.match(node.known):
            return False
        return not self.constraint.honor_taints or untolerated(self._asks.tolerations, node.known.spec.taints) is None

    def _change(self, domain: str, nodes: int, pods: int) -> None:
        before = self._pods.get(domain)
        if before is not None:
            self._counts[before] -= 1
            if not self._counts[before]:
                del self._counts[before]
        self._nodes[domain] += nodes
        if self._nodes[domain]:
            self._pods[domain] = after = (before or 0) + pods
            self._counts[after] += 1
        else:
            del self._nodes[domain], self._pods[domain]


def _has_keys(constraints: Sequence[_Spread], node: NodeInfo) -> bool:
    labels = node.known.metadata.labels
    return all(spread.constraint.topology_key in labels for spread in constraints)


Spreads = Callable[[PodInfo], tuple[Constraint, ...]]
"""The constraints of a pod."""


def own(pod: PodInfo) -> tuple[Constraint, ...]:
    """Those that it has itself."""
    return pod.cls.spread


def or_by_default(constraints: Sequence[TopologySpreadConstraint], selectors: Callable[[Pod], AnyOf]) -> Spreads:
    """For pods that have none themselves these, over the pods that all services and controllers of the pod select.

    A pod that none selects has none (buildDefaultConstraints).
    """

    def of(pod: PodInfo) -> tuple[Constraint, ...]:
        if pod.cls.spread:
            return pod.cls.spread
        parts = selectors(pod.pod).parts
        if not parts:
            return ()
        pods = Pods(Selector(tuple(sorted({r for part in parts for r in part.selector.requirements}, key=str))),
                    frozenset((pod.cls.namespace,)))  # fmt: skip
        return tuple([constraint(pod.pod, each, pods) for each in constraints])

    return of


def _sign(cache: Cache, pod: PodInfo, spreads: Spreads, *, required: bool) -> Hashable:
    spread = spreads(pod)
    constraints = tuple([each for each in spread if each.required is required]) if spread else ()
    if not constraints:
        return None
    asks = pod.cls
    means = tuple([cache.means(each.pods, asks) for each in constraints])
    return constraints, means, asks.required_nodes, asks.toleration_key


class PodTopologySpread(GlobalFilter):
    """whenUnsatisfiable: DoNotSchedule.

    "`skew` = the number of matching pods in the node's domain, the pod itself included if it matches, less the least
    number in any domain (0 if there are fewer domains than minDomains). A node with a skew above maxSkew is filtered."
    """

    name = "PodTopologySpread"
    helped_by = (
        ClusterChange.POD_ADDED
        | ClusterChange.POD_REMOVED
        | ClusterChange.NODE_LABELS
        | ClusterChange.NODE_TAINTS
        | ClusterChange.NODE_ADDED
    )

    def __init__(self, cache: Cache, spreads: Spreads = own) -> None:
        self._cache, self._spreads = cache, spreads

    def sign(self, pod: PodInfo) -> Hashable:
        return _sign(self._cache, pod, self._spreads, required=True)

    def for_pod(self, pod: PodInfo) -> AcrossCheck | None:
        constraints = [_Spread(self._cache, each, pod.cls) for each in self._spreads(pod) if each.required]
        return _DoNotSchedule(constraints) if constraints else None


class _DoNotSchedule(AcrossCheck):
    REASON = "node(s) didn't match pod topology spread constraints"
    SKEW = Refusal((REASON,), resolvable=True)
    MISSING = Refusal((f"{REASON} (missing required label)",))

    def __init__(self, constraints: Sequence[_Spread]) -> None:
        self._constraints = constraints

    def update(self, node: NodeInfo) -> Hashable:
        eligible = _has_keys(self._constraints, node)
        return tuple([spread.update(node, eligible) for spread in self._constraints])

    def remove(self, name: str) -> None:
        for spread in self._constraints:
            spread.remove(name)

    def check(self, state: Hashable) -> Refusal | None:
        assert isinstance(state, tuple)
        for spread, each in zip(self._constraints, state, strict=True):
            if each is None:
                return self.MISSING
            if spread.count(each) + spread.own - spread.least() > spread.constraint.max_skew:
                return self.SKEW
        return None


class PodTopologySpreadScore(Score):
    """whenUnsatisfiable: ScheduleAnyway.

    "For each constraint `count * ln(domains + 2) + (maxSkew - 1)`, added up and rounded; the score is
    100 * (max + min - sum) / max over the nodes that can take the pod. Nodes without one of the labels get 0." The
    domains are those of the nodes that can take the pod; of hostnames, their number.
    """

    name = "PodTopologySpread"

    def __init__(self, cache: Cache, spreads: Spreads = own) -> None:
        self._cache, self._spreads = cache, spreads

    def sign(self, pod: PodInfo) -> Hashable:
        return _sign(self._cache, pod, self._spreads, required=False)

    def for_pod(self, pod: PodInfo) -> AcrossRate | None:
        constraints = [_Spread(self._cache, each, pod.cls) for each in self._spreads(pod) if not each.required]
        return _ScheduleAnyway(constraints) if constraints else None


class _ScheduleAnyway(AcrossRate):
    def __init__(self, constraints: Sequence[_Spread]) -> None:
        self._constraints = constraints

    def update(self, node: NodeInfo) -> Hashable:
        eligible = _has_keys(self._constraints, node)
        states = tuple([spread.update(node, eligible) for spread in self._constraints])
        return states if eligible else None

    def remove(self, name: str) -> None:
        for spread in self._constraints:
            spread.remove(name)

    def rate(self, states: Sequence[Hashable], sizes: Sequence[int]) -> list[int]:
        sums: list[int | None] = []
        weights = [self._weight(place, states, sizes) for place in range(len(self._constraints))]
        for state in states:
            if not isinstance(state, tuple):
                sums.append(None)
                continue
            total = 0.0
            for spread, weight, each in zip(self._constraints, weights, state, strict=True):
                total += spread.count(each) * weight + (spread.constraint.max_skew - 1)
            sums.append(math.floor(total + 0.5))
        known = [each for each in sums if each is not None]
        least, most = min(known, default=0), max(known, default=0)
        if not most:
            return [0 if each is None else MAX_SCORE for each in sums]
        return [0 if each is None else MAX_SCORE * (most + least - each) // most for each in sums]

    def _weight(self, place: int, states: Sequence[Hashable], sizes: Sequence[int]) -> float:
        """The more domains, the more a pod counts: without it, zones would outweigh hosts."""
        spread = self._constraints[place]
        found = [(state[place], size) for state, size in zip(states, sizes, strict=True) if isinstance(state, tuple)]
        if spread.constraint.topology_key == HOSTNAME or any(isinstance(each, int) for each, _ in found):
            domains = sum(size for _, size in found)
        else:
            domains = len({each for each, _ in found})
        return math.log(domains + 2)
