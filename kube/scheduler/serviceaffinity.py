"""The pods of one service on nodes that are alike: v1.0's predicate ServiceAffinity, by policy.

"We add an implicit selector requiring some particular value V for label L to a pod, if: L is listed in the
ServiceAffinity object, the pod does not have any NodeSelector for L, and some other pod from the same service is
already scheduled onto a minion that has value V for label L." (v1.0: plugin/pkg/scheduler/algorithm/predicates)

Of several services of a pod one counts, and of several pods of it one: there as here, any.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from kube.api.core import Pod
from kube.scheduler.cache import Cache
from kube.scheduler.changes import ClusterChange
from kube.scheduler.framework import AcrossCheck, GlobalFilter, Refusal
from kube.scheduler.nodeinfo import NodeInfo
from kube.scheduler.podinfo import PodInfo
from kube.scheduler.scores import Selectors

Values = tuple[str | None, ...]
"""What a node, or a pod's nodeSelector, says of each of the labels."""


class ServiceAffinity(GlobalFilter):
    """The node must have the values of the labels that the node of the service's other pods has."""

    name = "ServiceAffinity"
    helped_by = ClusterChange.NODE_LABELS | ClusterChange.POD_ADDED | ClusterChange.POD_REMOVED

    def __init__(self, cache: Cache, selectors: Callable[[Pod], Selectors], labels: Sequence[str]) -> None:
        self._cache, self._selectors, self._labels = cache, selectors, tuple(labels)

    def sign(self, pod: PodInfo) -> Hashable:
        return self._own(pod), self._selectors(pod.pod)

    def for_pod(self, pod: PodInfo) -> AcrossCheck:
        own, selectors = self._own(pod), self._selectors(pod.pod)
        peers = self._cache.tally(selectors.parts[0]) if None in own and selectors.parts else {}
        return _Alike(self._labels, own, peers)

    def _own(self, pod: PodInfo) -> Values:
        return tuple(map(pod.pod.spec.nodeSelector.get, self._labels))


class _Alike(AcrossCheck):
    REFUSAL = Refusal(("node(s) didn't match service affinity",))

    def __init__(self, labels: Sequence[str], own: Values, peers: Mapping[str, int]) -> None:
        self._labels, self._own, self._peers = labels, own, peers
        self._hosts: dict[str, Values] = {}
        """The nodes that have pods of the service."""

    def update(self, node: NodeInfo) -> Hashable:
        values = tuple(map(node.known.metadata.labels.get, self._labels))
        self._hosts.pop(node.name, None)
        if self._peers.get(node.name):
            self._hosts[node.name] = values
        return values

    def remove(self, name: str) -> None:
        self._hosts.pop(name, None)

    def check(self, state: Hashable) -> Refusal | None:
        assert isinstance(state, tuple)
        theirs: Values = next(iter(self._hosts.values()), self._own)
        wanted = [own if own is not None else their for own, their in zip(self._own, theirs, strict=True)]
        alike = all(want is None or want == has for want, has in zip(wanted, state, strict=True))
        return None if alike else self.REFUSAL
