"""What a filter and a score are, for those that are built in and those that others bring.

The least a plug-in has to be: a `Filter` with `check(pod, node)`, or a `Score` with `score(pod, node)`. One that also
says in `sign` on what of the pod its answers depend has them kept, node by node, for the next pod of which it says the
same, and is asked again about a node only when something on that node has changed. (Upstream's SignPlugin.)

What depends on more than the pod and the one node (how many pods are in its zone, the largest score that any node has)
is `Across` the nodes: it is told of every node as it changes, answers for each with a *state*, and decides by the
states. Nodes with equal states are judged once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from kube.scheduler.changes import ClusterChange
from kube.scheduler.nodeinfo import NodeInfo
from kube.scheduler.podinfo import PodInfo

MAX_SCORE = 100


class Refusal(NamedTuple):
    """Why a node cannot take a pod."""

    reasons: tuple[str, ...]
    resolvable: bool = False
    """Whether it could if other pods went away from it: what preemption may try (upstream: Unschedulable, and not
    UnschedulableAndUnresolvable)."""


class Unsigned:
    """The signature of a plug-in that does not say what its answers depend on: they are asked for every time."""


UNSIGNED: Final = Unsigned()

Check = Callable[[NodeInfo], Refusal | None]
"""A filter that knows its pod: None if the node can take it. Depends on this node, and the pods on it, alone."""

Rate = Callable[[NodeInfo], int]
"""A score that knows its pod: 0 to 100. Depends on this node, and the pods on it, alone."""


class Across(ABC):
    """What knows its pod, and has to see all nodes to answer for one."""

    @abstractmethod
    def update(self, node: NodeInfo) -> Hashable:
        """Take over a node that is new or has changed. What tells it apart from nodes with another answer."""

    def remove(self, name: str) -> None:  # noqa: B027  # most keep nothing by node
        """A node is gone."""


class AcrossCheck(Across):
    """A filter of that kind."""

    @abstractmethod
    def check(self, state: Hashable) -> Refusal | None:
        """Whether a node in that state can take the pod, as things are now."""


class AcrossRate(Across):
    """A score of that kind."""

    @abstractmethod
    def rate(self, states: Sequence[Hashable], sizes: Sequence[int]) -> list[int]:
        """0 to 100 for each of the states, in which so many of the nodes are that can take the pod."""


class Plugin:
    """What filters and scores have in common."""

    name: str = ""

    def sign(self, pod: PodInfo) -> Hashable:
        """What of the pod the answers depend on: for pods of one signature they are the same on every node."""
        return UNSIGNED


class Filter(Plugin):
    """One condition that a node must meet."""

    helped_by: ClusterChange = ~ClusterChange(0)
    """The changes that can turn a refusal into a yes."""

    def for_pod(self, pod: PodInfo) -> Check | AcrossCheck | None:
        """The filter for one pod. None: it asks nothing of this filter."""

        def check(node: NodeInfo) -> Refusal | None:
            why = self.check(pod, node)
            return None if why is None else Refusal((why,))

        return check

    def check(self, pod: PodInfo, node: NodeInfo) -> str | None:
        """Why the node cannot take the pod; None if it can. For filters that do not override `for_pod`."""
        raise NotImplementedError

    def refused(self, pod: PodInfo) -> Refusal | None:
        """What rules the pod out on every node, before any is looked at."""
        return None

    def before_all(self, pod: PodInfo) -> Check | None:
        """What rules a node out before any other filter is asked about it. (Upstream's PreFilterResult.)"""
        return None


class GlobalFilter(Filter):
    """A filter whose answer for a node may change with what happens elsewhere."""


class Score(Plugin):
    """One wish about a node."""

    def for_pod(self, pod: PodInfo) -> Rate | AcrossRate | None:
        """The score for one pod. None: there is nothing to say about it."""
        return lambda node: int(self.score(pod, node))  # what it divides comes with a fraction

    def score(self, pod: PodInfo, node: NodeInfo) -> int:
        """0 to 100. For scores that do not override `for_pod`."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Weighted:
    """A score and how much it counts."""

    score: Score
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Profile:
    """The filters, in the order in which they are asked, and the scores that the pods of one schedulerName get."""

    scheduler_name: str
    filters: tuple[Filter, ...]
    scores: tuple[Weighted, ...]

    def sign(self, pod: PodInfo) -> tuple[Hashable, ...] | None:
        """What tells the pod apart from those that are judged otherwise; None if a plug-in does not say."""
        signature = (
            self.scheduler_name,
            *[each.sign(pod) for each in self.filters],
            *[each.score.sign(pod) for each in self.scores],
        )
        return None if UNSIGNED in signature else signature
