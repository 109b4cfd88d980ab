"""Why a pod is where it is, or is nowhere: the decisions that were made, and every node's answer as things are now.

`GET /explain/<namespace>/<pod>` on the scheduler's port shows both, as text or (`Accept: application/json`, or
`?format=json`) as JSON. The table is made when it is asked for, without counting the pod itself, so that it also tells
where a pod that has a node would go today.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from kube.scheduler.algorithm import Algorithm, Choice, Unschedulable
from kube.scheduler.cache import Cache
from kube.scheduler.podinfo import PodInfo

PODS_REMEMBERED, DECISIONS_REMEMBERED = 2000, 5


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a pod at some time."""

    time: str
    uid: str
    node: str
    """Empty if no node could take it."""
    message: str
    score: int = 0
    fitting: int = 0
    """How many nodes could have taken it."""
    best: int = 0
    """How many of them were as good as the one that was taken."""
    nominated: str = ""
    """Where others were asked to make room."""


class Decisions:
    """The last decisions about each of the pods that were decided about last."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[tuple[datetime, str, Choice | None, str, str]]] = OrderedDict()

    def chosen(self, pod: PodInfo, choice: Choice) -> None:
        self._remember(pod, choice, "", "")

    def refused(self, pod: PodInfo, why: Unschedulable, nominated: str) -> None:
        self._remember(pod, None, str(why), nominated)

    def of(self, key: str) -> list[Decision]:
        """Those about one pod, the latest last."""
        found = []
        for at, uid, choice, message, nominated in self._of.get(key, ()):
            time = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            if choice is None:
                found.append(Decision(time, uid, "", message, nominated=nominated))
            else:
                said = f"assigned to {choice.node}"
                found.append(Decision(time, uid, choice.node, said, choice.score, choice.fitting, choice.best))
        return found

    def _remember(self, pod: PodInfo, choice: Choice | None, message: str, nominated: str) -> None:
        known = self._of.get(pod.key)
        if known is None:
            known = self._of[pod.key] = deque(maxlen=DECISIONS_REMEMBERED)
            if len(self._of) > PODS_REMEMBERED:
                self._of.popitem(last=False)
        known.append((datetime.now(UTC), pod.uid, choice, message, nominated))


@dataclass(slots=True)
class NodeAnswer:
    """What one node's filters and scores say."""

    node: str
    fits: bool
    filters: dict[str, str] = field(default_factory=dict)
    """Empty text: passed."""
    scores: dict[str, int] = field(default_factory=dict)
    """Not weighted; none if it cannot take the pod."""
    total: int | None = None
    """Weighted."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every node's answer about one pod."""

    pod: str
    profile: str
    filters: tuple[str, ...]
    """Those that the pod asks something of."""
    weights: dict[str, int]
    answers: list[NodeAnswer]
    everywhere: str = ""
    """What rules out all nodes at once."""

    def best(self) -> list[str]:
        """The nodes of which one would be taken."""
        totals = [answer.total for answer in self.answers if answer.total is not None]
        return [answer.node for answer in self.answers if totals and answer.total == max(totals)]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "best": self.best()}


def explain(cache: Cache, algorithm: Algorithm, pod: PodInfo) -> Explanation:
    """Ask every filter and score about every node, as if the pod had none yet."""
    where, counted = cache.node_of(pod.key), cache.pod(pod.key)
    if where is not None and counted is not None:
        with cache.trial(where) as trial:
            trial.take(counted)
            return _explain(cache, algorithm, pod)
    return _explain(cache, algorithm, pod)


def _explain(cache: Cache, algorithm: Algorithm, pod: PodInfo) -> Explanation:
    profile, table = algorithm.profile(pod), algorithm.table(pod)
    everywhere = next((r for each in profile.filters if (r := each.refused(pod)) is not None), None)
    fitting = table.fitting() if everywhere is None else []
    totals = dict(zip([id(bucket) for bucket in fitting], table.totals(fitting), strict=True))
    weights = {score.name: weight for score, weight, _ in table.rates}
    weights.update({score.name: weight for score, weight, _, _ in table.across_rates})
    rated = {score.name: table.rated(rate, place, fitting) for score, _, rate, place in table.across_rates}
    answers = []
    bucket_of = {name: index for index, bucket in enumerate(fitting) for name in bucket.names}
    for node in sorted(cache.nodes(), key=lambda n: n.name):
        answer = NodeAnswer(node.name, node.name in bucket_of)
        for filter_, check in table.checks:
            if not answer.filters.get(filter_.name):  # one that is asked twice is not asked again after a refusal
                refusal = check(node)
                answer.filters[filter_.name] = ", ".join(refusal.reasons) if refusal else ""
        states = table.states(node.name)
        for filter_, across, place in table.across_checks:
            refusal = across.check(states[place])
            answer.filters[filter_.name] = ", ".join(refusal.reasons) if refusal else ""
        if answer.fits:
            index = bucket_of[node.name]
            answer.scores = {score.name: rate(node) for score, _, rate in table.rates}
            answer.scores.update({name: values[index] for name, values in rated.items()})
            answer.total = totals[id(fitting[index])]
            if (refused := algorithm.fits(pod, node.name)) is not None:
                answer.fits, answer.total = False, None
                answer.filters["nominated pods"] = ", ".join(refused[1].reasons)
        answers.append(answer)
    names = tuple(dict.fromkeys([f.name for f, _ in table.checks] + [f.name for f, _, _ in table.across_checks]))
    told = ", ".join(everywhere.reasons) if everywhere else ""
    return Explanation(pod.key, profile.scheduler_name, names, weights, answers, told)


def text(explanation: Explanation, decisions: Sequence[Decision] = ()) -> str:
    """For people: the decisions, then a line a node, the best first; filters by what they say against it."""
    lines = [f"pod {explanation.pod}, profile {explanation.profile}"]
    for each in decisions:
        outcome = f"score {each.score}, {each.fitting} nodes fit, {each.best} as good" if each.node else ""
        nominated = f"room is being made on {each.nominated}" if each.nominated else ""
        lines.append("  ".join(part for part in (each.time, each.message, outcome, nominated) if part))
    lines += ["", "as things are now, the pod itself not counted:"]
    if explanation.everywhere:
        lines.append(explanation.everywhere)
    scores = [*explanation.weights]
    rows = [["NODE", "TOTAL", *(f"{name}*{explanation.weights[name]}" for name in scores), "REFUSED BY"]]
    for answer in sorted(explanation.answers, key=lambda a: (-(a.total if a.total is not None else -1), a.node)):
        against = "; ".join(f"{name}: {reason}" for name, reason in answer.filters.items() if reason)
        total = "-" if answer.total is None else str(answer.total)
        rows.append([answer.node, total, *(str(answer.scores.get(name, "-")) for name in scores), against or "-"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    asked = ", ".join(explanation.filters)
    lines += ["", f"filters that the pod asks something of: {asked or 'none'}"]
    return "\n".join(lines) + "\n"
