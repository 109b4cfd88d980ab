"""Who has to go so that a pod of higher priority can run. (pkg/scheduler/framework/preemption)

On each node where it could help, all pods of lower priority are taken away in thought; if the pod fits then, as many of
them as possible are put back, the most important first, and those first whose disruption budget would be violated.
Of the nodes, the one is taken that violates the fewest budgets, then the one whose most important victim is the least
so, then by the sum of their priorities, their number, and how lately the most important of them began.

Until those are gone who were asked to go, the pod does not ask others, unless its node can take it no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kube.api.core import Pod
from kube.api.meta import LabelSelector, Object
from kube.api.unstructured import Unstructured
from kube.scheduler.algorithm import Algorithm, Unschedulable, listed
from kube.scheduler.cache import Cache
from kube.scheduler.changes import ClusterChange
from kube.scheduler.framework import GlobalFilter
from kube.scheduler.matching import selector_of
from kube.scheduler.nodeinfo import NodeInfo
from kube.scheduler.podinfo import PodInfo

LARGEST_OFFSET = 2**31 + 1
"""Added to each priority in a sum, so that more victims of negative priority are not better (upstream)."""
FEWEST_CANDIDATES = 100
CANDIDATES = 10
"""Percent of the nodes that are looked at, if that is more."""

NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
PREEMPTED_BY_SCHEDULER = "PreemptionByScheduler"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node, and the pods that have to go from it, the most important first."""

    node: str
    victims: tuple[PodInfo, ...]
    violations: int
    """How many of them their disruption budgets would keep."""

    def rank(self) -> tuple[int, int, int, int, float]:
        """The smaller, the better."""
        priorities = [victim.cls.priority for victim in self.victims]
        earliest = min(_started(v.pod) for v in self.victims if v.cls.priority == priorities[0])
        return (
            self.violations,
            priorities[0],
            sum(each + LARGEST_OFFSET for each in priorities),
            len(self.victims),
            -earliest.timestamp(),
        )


def _started(pod: Pod) -> datetime:
    """When the kubelet began it; one that has not been begun is the youngest."""
    return pod.status.startTime or datetime.max.replace(tzinfo=UTC)


def _importance(pod: PodInfo) -> tuple[int, float]:
    """The smaller, the more important: the higher priority, or the one that has run longer."""
    return -pod.cls.priority, _started(pod.pod).timestamp()


class Preemption:
    """Chooses victims."""

    def __init__(
        self,
        cache: Cache,
        algorithm: Algorithm,
        budgets: Callable[[str], Iterable[Object]] = lambda namespace: (),
    ) -> None:
        """`budgets`: the PodDisruptionBudgets of a namespace."""
        self._cache, self._algorithm, self._budgets = cache, algorithm, budgets

    def find(self, pod: PodInfo, why: Unschedulable) -> Candidate | None:
        """The node to make room on. If there is none, the refusal is told why (`preemption`)."""
        reason = self._not_eligible(pod, why)
        if reason:
            why.preemption, why.waits = f"preemption: {reason}", True
            return None
        if not why.nodes:
            return None
        reasons: Counter[str] = Counter()
        found = self._candidates(pod, why.resolvable, reasons)
        if found:
            return min(found, key=Candidate.rank)
        reasons[NOT_HELPFUL] += why.nodes - len(why.resolvable)
        told = listed({reason: count for reason, count in reasons.items() if count})
        why.preemption = f"preemption: 0/{why.nodes} nodes are available: {told}."
        return None

    def worth_a_try(self, pod: Pod, node: str, awaited: ClusterChange) -> bool:
        """Whether a pod that waits for those changes is to be tried again, now that a node is as it is.

        It is if the node would take it, or would if others went away. And it is if the node refuses it for a reason for
        which it does not wait yet: what can help against that one would pass it by.
        """
        there = self._cache.get(node)
        if there is None or there.node is None:
            return self._cache.nominated_node(pod.key) == node  # it waits in vain
        info = PodInfo.of(pod)
        try:
            refused = self._algorithm.fits(info, node)
            if refused is None:
                return True
            by, refusal = refused
            if isinstance(by, GlobalFilter) or by.helped_by & ~awaited:
                return True
            may = refusal.resolvable and pod.spec.preemptionPolicy != "Never"
            return may and self._takes_without_lower(info, there)
        except Exception:  # noqa: BLE001  # of a plug-in: whoever tries the pod then tells of it
            return True

    def _takes_without_lower(self, pod: PodInfo, node: NodeInfo) -> bool:
        lower = [p for p in node.pods.values() if p.cls.priority < pod.cls.priority]
        if not lower:
            return False
        with self._cache.trial(node.name) as trial:
            for other in lower:
                trial.take(other)
            return self._algorithm.fits(pod, node.name) is None

    def _not_eligible(self, pod: PodInfo, why: Unschedulable) -> str:
        if pod.pod.spec.preemptionPolicy == "Never":
            return "not eligible due to preemptionPolicy=Never."
        node = self._cache.nominated_node(pod.key)
        if node is None or node not in why.resolvable:
            # Upstream: if its nominated node cannot take it whoever goes, it is considered for preempting again.
            return ""
        there = self._cache.get(node)
        # Our own view of it is late: that they are going may not be seen yet.
        if self._cache.victims(pod.key) or (
            there is not None
            and any(other.cls.priority < pod.cls.priority and _going(other.pod) for other in there.pods.values())
        ):
            return "not eligible due to a terminating pod on the nominated node."
        return ""

    def _candidates(self, pod: PodInfo, nodes: tuple[str, ...], reasons: Counter[str]) -> list[Candidate]:
        wanted = max(len(nodes) * CANDIDATES // 100, FEWEST_CANDIDATES)
        start = self._algorithm.random.randrange(len(nodes)) if nodes else 0
        found: list[Candidate] = []
        spared = False
        for name in (*nodes[start:], *nodes[:start]):
            candidate = self._candidate(pod, name, reasons)
            if candidate is not None:
                found.append(candidate)
                spared = spared or not candidate.violations
                if spared and len(found) >= wanted:
                    break
        return found

    def _candidate(self, pod: PodInfo, name: str, reasons: Counter[str]) -> Candidate | None:
        node = self._cache.get(name)
        assert node is not None
        lower = sorted((p for p in node.pods.values() if p.cls.priority < pod.cls.priority), key=_importance)
        if not lower:
            reasons[NO_VICTIMS] += 1
            return None
        with self._cache.trial(name) as trial:
            for other in lower:
                trial.take(other)
            refused = self._algorithm.fits(pod, name)
            if refused is not None:
                reasons.update(refused[1].reasons)
                return None
            violating, others = self._guarded(lower)
            victims: list[PodInfo] = []
            violations = 0
            for other in (*violating, *others):
                trial.put(other)
                if self._algorithm.fits(pod, name) is not None:
                    trial.take(other)
                    victims.append(other)
                    violations += other in violating
        return Candidate(name, tuple(sorted(victims, key=_importance)), violations) if victims else None

    def _guarded(self, pods: list[PodInfo]) -> tuple[list[PodInfo], list[PodInfo]]:
        """Those whose loss, one after another, a budget does not allow; and the others."""
        allowed: dict[str, int] = {}
        violating: list[PodInfo] = []
        others: list[PodInfo] = []
        for each in pods:
            kept = False
            for budget in self._budgets(each.pod.namespace):
                if not _guards(budget, each.pod):
                    continue
                left = allowed.get(budget.key, _allowed(budget)) - 1
                allowed[budget.key] = left
                kept = kept or left < 0
            (violating if kept else others).append(each)
        return violating, others


def _going(pod: Pod) -> bool:
    """Whether a scheduler has pushed it out."""
    return pod.metadata.deletionTimestamp is not None and any(
        c.type == "DisruptionTarget" and c.status == "True" and c.reason == PREEMPTED_BY_SCHEDULER
        for c in pod.status.conditions
    )


def _part(budget: Object, name: str) -> Mapping[str, Any]:
    part = budget.part(name) if isinstance(budget, Unstructured) else None
    return part if isinstance(part, Mapping) else {}


def _allowed(budget: Object) -> int:
    allowed = _part(budget, "status").get("disruptionsAllowed")
    return allowed if isinstance(allowed, int) else 0


def _guards(budget: Object, pod: Pod) -> bool:
    """An empty selector guards nothing here, as upstream; nor is a pod counted twice that is on its way out."""
    described = _part(budget, "spec").get("selector")
    disrupted = _part(budget, "status").get("disruptedPods")
    if not isinstance(described, Mapping) or (isinstance(disrupted, Mapping) and pod.name in disrupted):
        return False
    try:
        selector = selector_of(LabelSelector.parse(described))
    except ValueError:
        return False
    return not selector.empty and selector.matches(pod.metadata.labels)
