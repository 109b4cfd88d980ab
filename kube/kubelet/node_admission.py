"""Whether the node has room for a pod now: by what it is running out of, by the pods that it has, by its Node object.

The Node is as old as the last look at it, and a scheduler may have acted on a label or a taint that was changed since:
nobody is refused for what the Node says without looking at it anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from kube.api.core import Node, Pod
from kube.kubelet.admission import Refusal
from kube.kubelet.eviction import is_refused, refusal_message
from kube.kubelet.fit import OF_THE_NODE, unfit


class KnownNode(Protocol):
    """What is needed of node.NodeAgent."""

    node: Node | None

    def look(self) -> Awaitable[Node | None]: ...


class NodeAdmission:
    """Judges the pods that come to one node."""

    def __init__(
        self,
        agent: KnownNode,
        allocatable: Mapping[str, str],
        beside: Callable[[Pod], Iterable[Pod]],
        pressures: Callable[[], Sequence[str]] = list,
    ) -> None:
        """`beside`: the pods that take their part of the node beside one."""
        self._agent, self._allocatable, self._beside, self._pressures = agent, allocatable, beside, pressures

    async def refusal(self, pod: Pod) -> Refusal | None:
        """Why there is no room for a pod. Judged by the moment in which this returns."""
        refused = self._judge(pod, self._agent.node)
        if refused is not None and refused.reason in OF_THE_NODE:
            refused = self._judge(pod, await self._agent.look())
        return refused

    def _judge(self, pod: Pod, node: Node | None) -> Refusal | None:
        pressures = self._pressures()
        if is_refused(pod, pressures):
            return Refusal("Evicted", refusal_message(pressures))
        return unfit(pod, self._beside(pod), self._allocatable, node)
