"""Which of the nodes that can take a pod is the best.

Each score gives every node 0 to 100; the sum, by weight, decides. A score that says nothing about a pod (there is no
service to spread) is left out, which ranks the nodes as giving each of them the same would.
(pkg/scheduler/framework/plugins)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from kube.api.core import Node, Pod
from kube.api.labels import from_map
from kube.api.nodeaffinity import PreferredNodes
from kube.api.tolerations import tolerates
from kube.scheduler.cache import Cache
from kube.scheduler.framework import MAX_SCORE, AcrossRate, Rate, Score
from kube.scheduler.matching import AllOf, AnyOf, Pods
from kube.scheduler.nodeinfo import NodeInfo
from kube.scheduler.podinfo import CPU, EPHEMERAL_STORAGE, MEMORY, PodInfo

Selectors = AnyOf
"""The selectors of the services and controllers of a pod."""


Resources = tuple[tuple[str, int], ...]
"""What is compared, and how much each counts."""

CPU_AND_MEMORY: Resources = ((CPU, 1), (MEMORY, 1))


def _free(used: int, offered: int) -> int:
    return (offered - used) * MAX_SCORE // offered if offered >= used else 0


def _used(used: int, offered: int) -> int:
    return min(used, offered) * MAX_SCORE // offered


def _asked(pod: PodInfo, resources: Resources) -> tuple[tuple[str, int, int], ...]:
    """What the pod is taken to use of each, and how much that counts: nothing of one that only some pods ask for."""
    cls = pod.cls
    found = [
        (name, cls.cpu if name == CPU else cls.memory if name == MEMORY else cls.requests.get(name, 0), weight)
        for name, weight in resources
    ]
    return tuple([each for each in found if each[1] or each[0] in (CPU, MEMORY, EPHEMERAL_STORAGE)])


def _signed(pod: PodInfo, resources: Resources) -> Hashable:
    return (pod.cls.cpu, pod.cls.memory) if resources is CPU_AND_MEMORY else _asked(pod, resources)


def _parts(node: NodeInfo, asked: Sequence[tuple[str, int, int]]) -> Iterator[tuple[int, int, int]]:
    """What is used of each resource that the node offers, of how much of it, and how much that counts."""
    for name, amount, weight in asked:
        offered = node.allocatable.get(name, 0)
        if offered > 0:
            there = node.cpu if name == CPU else node.memory if name == MEMORY else node.requested.get(name, 0)
            yield there + amount, offered, weight


def _mean(node: NodeInfo, asked: Sequence[tuple[str, int, int]], of: Callable[[int, int], int]) -> int:
    total = weights = 0
    for used, offered, weight in _parts(node, asked):
        total += weight * of(used, offered)
        weights += weight
    return total // weights if weights else 0


class LeastAllocated(Score):
    """The emptier, the better: the mean of the free parts of CPU and memory once the pod is there.

    `(cpu((capacity - requested) * 100 / capacity) + memory(...)) / 2`, or the mean by weight of the resources that are
    configured; what the node does not offer is left out. A container that does not say what it needs is taken to use
    100m of CPU and 200Mi of memory, so that such pods are spread too. (v1.0: LeastRequestedPriority)
    """

    name = "NodeResourcesLeastAllocated"

    def __init__(self, resources: Resources = CPU_AND_MEMORY) -> None:
        self._resources = resources

    def sign(self, pod: PodInfo) -> Hashable:
        return _signed(pod, self._resources)

    def for_pod(self, pod: PodInfo) -> Rate:
        cpu, memory, asked = pod.cls.cpu, pod.cls.memory, _asked(pod, self._resources)

        def rate(node: NodeInfo) -> int:
            cpus, bytes_ = node.allocatable.get(CPU, 0), node.allocatable.get(MEMORY, 0)
            if cpus > 0 and bytes_ > 0:
                return (_free(node.cpu + cpu, cpus) + _free(node.memory + memory, bytes_)) // 2
            return _mean(node, asked, _free)

        return rate if self._resources is CPU_AND_MEMORY else lambda node: _mean(node, asked, _free)


class MostAllocated(Score):
    """The fuller, the better: fewer nodes are used. `(cpu(requested * 100 / capacity) + memory(...)) / 2`, as above.

    A node that would be asked for more than it has counts as full.
    """

    name = "NodeResourcesMostAllocated"

    def __init__(self, resources: Resources = CPU_AND_MEMORY) -> None:
        self._resources = resources

    def sign(self, pod: PodInfo) -> Hashable:
        return _signed(pod, self._resources)

    def for_pod(self, pod: PodInfo) -> Rate:
        asked = _asked(pod, self._resources)
        return lambda node: _mean(node, asked, _used)


class RequestedToCapacityRatio(Score):
    """The score of how far each resource is used, on the straight lines between given points.

    The mean by weight, rounded, of the resources that the node offers and whose score is not 0. (Upstream's
    buildRequestedToCapacityRatioScorerFunction)
    """

    name = "RequestedToCapacityRatio"

    def __init__(self, shape: Sequence[tuple[int, int]], resources: Resources = CPU_AND_MEMORY) -> None:
        """`shape`: percent of a resource that are used, ascending, and the score for it, 0 to 100."""
        self._shape, self._resources = shape, resources

    def sign(self, pod: PodInfo) -> Hashable:
        return _signed(pod, self._resources)

    def for_pod(self, pod: PodInfo) -> Rate:
        asked = _asked(pod, self._resources)

        def rate(node: NodeInfo) -> int:
            total = weights = 0
            for used, offered, weight in _parts(node, asked):
                score = on_the_line(self._shape, _used(used, offered))
                total += weight * score
                weights += weight if score > 0 else 0
            return math.floor(total / weights + 0.5) if weights else 0

        return rate


def on_the_line(shape: Sequence[tuple[int, int]], x: int) -> int:
    """The y that belongs to x on the line through some points; level before the first and after the last.

    Whole numbers, cut towards zero, as in Go (helper.BuildBrokenLinearFunction).
    """
    for i, (to_x, to_y) in enumerate(shape):
        if x <= to_x:
            if i == 0:
                return to_y
            from_x, from_y = shape[i - 1]
            return from_y + int((to_y - from_y) * (x - from_x) / (to_x - from_x))
    return shape[-1][1]


class BalancedAllocation(Score):
    """CPU and memory used in equal parts: `(1 - std) * 100`, where std is that of the requested parts of both.

    Of two numbers that is half their difference; a part counts as 1 at most. Other resources may be configured; what
    the node does not offer is left out. A pod that asks for none of them has no say.
    """

    name = "NodeResourcesBalancedAllocation"

    def __init__(self, resources: Resources = CPU_AND_MEMORY) -> None:
        self._resources = resources

    def sign(self, pod: PodInfo) -> Hashable:
        return self._requests(pod)

    def _requests(self, pod: PodInfo) -> tuple[int, ...]:
        requests = pod.cls.requests
        return tuple([requests.get(name, 0) for name, _ in self._resources])

    def for_pod(self, pod: PodInfo) -> Rate | None:
        if not any(self._requests(pod)):
            return None
        cpu, memory = pod.cls.requests.get(CPU, 0), pod.cls.requests.get(MEMORY, 0)

        def rate(node: NodeInfo) -> int:
            offered, used = node.allocatable, node.requested
            cpus, bytes_ = offered.get(CPU, 0), offered.get(MEMORY, 0)
            if not cpus or not bytes_:
                return MAX_SCORE
            difference = min((used.get(CPU, 0) + cpu) / cpus, 1.0) - min((used.get(MEMORY, 0) + memory) / bytes_, 1.0)
            return int((1 - abs(difference) / 2) * MAX_SCORE)

        return rate if self._resources is CPU_AND_MEMORY else self._of_several(pod)

    def _of_several(self, pod: PodInfo) -> Rate:
        asked = [
            (name, amount)
            for name, _ in self._resources
            if (amount := pod.cls.requests.get(name, 0)) or name in (CPU, MEMORY, EPHEMERAL_STORAGE)
        ]

        def rate(node: NodeInfo) -> int:
            offered, used = node.allocatable, node.requested
            parts = [min((used.get(n, 0) + amount) / offered[n], 1.0) for n, amount in asked if offered.get(n, 0) > 0]
            if len(parts) <= 2:
                return int((1 - abs(parts[0] - parts[-1]) / 2) * MAX_SCORE) if parts else MAX_SCORE
            mean = sum(parts) / len(parts)
            return int((1 - math.sqrt(sum([(part - mean) ** 2 for part in parts]) / len(parts))) * MAX_SCORE)

        return rate


class SelectorSpread(Score):
    """Spread the pods of one service or controller: the fewer of them a node has, the better, and so has its zone.

    The node with the most gets 0, one with none 100; where nodes have zones, those count for two thirds, likewise.
    Of several services and controllers, pods count that all of them select. A pod that has topology spread constraints
    is spread by those alone. (SelectorSpreadPriority; v1.0: ServiceSpreadingPriority)
    """

    name = "SelectorSpread"

    def __init__(self, cache: Cache, selectors: Callable[[Pod], Selectors]) -> None:
        self._cache, self._selectors = cache, selectors

    def sign(self, pod: PodInfo) -> Hashable:
        return None if pod.cls.spread else self._selectors(pod.pod)

    def for_pod(self, pod: PodInfo) -> AcrossRate | None:
        if pod.cls.spread:
            return None
        selectors = self._selectors(pod.pod)
        if not selectors.parts:
            return None
        return _Spreading(self._cache.tally(AllOf(selectors.parts), living=True), zone)


def zone(node: Node) -> str:
    """The zone of a node, in its region; empty if it has neither. The old names of the labels go first (GetZoneKey)."""
    labels = node.metadata.labels
    found = [
        labels.get(f"failure-domain.beta.kubernetes.io/{part}", labels.get(f"topology.kubernetes.io/{part}", ""))
        for part in ("region", "zone")
    ]
    return ":".join(found) if any(found) else ""


class _Spreading(AcrossRate):
    ZONES = 2 / 3
    """What the zone counts for."""

    def __init__(self, tally: Mapping[str, int], zone: Callable[[Node], str]) -> None:
        self._tally, self._zone = tally, zone

    def update(self, node: NodeInfo) -> Hashable:
        return self._tally.get(node.name, 0), self._zone(node.known)

    def rate(self, states: Sequence[Hashable], sizes: Sequence[int]) -> list[int]:
        found: list[tuple[int, str]] = [state for state in states if isinstance(state, tuple)]
        zones: Counter[str] = Counter()
        for (count, zone), size in zip(found, sizes, strict=True):
            if zone:
                zones[zone] += count * size
        most, most_of_a_zone = max((count for count, _ in found), default=0), max(zones.values(), default=0)
        scores = []
        for count, zone in found:
            score = MAX_SCORE * ((most - count) / most) if most else float(MAX_SCORE)
            if zone:
                of_zone = MAX_SCORE * ((most_of_a_zone - zones[zone]) / most_of_a_zone) if most_of_a_zone else MAX_SCORE
                score = score * (1 - self.ZONES) + self.ZONES * of_zone
            scores.append(int(score))
        return scores


class ServiceAntiAffinity(Score):
    """Spread the pods of one service over the values of a label (v1.0's ServiceAntiAffinity, by policy).

    `100 * (all - here) / all`, where `here` are the service's pods on nodes with the same value, and `all` are all of
    them; nodes without the label get 0.
    """

    def __init__(self, cache: Cache, selectors: Callable[[Pod], Selectors], label: str) -> None:
        self.name = f"ServiceAntiAffinity({label})"
        self._cache, self._selectors, self._label = cache, selectors, label

    def sign(self, pod: PodInfo) -> Hashable:
        return self._selectors(pod.pod)

    def for_pod(self, pod: PodInfo) -> AcrossRate:
        selectors = self._selectors(pod.pod)
        return _AntiAffinity(self._cache.tally(selectors, living=True) if selectors.parts else {}, self._label)


class _AntiAffinity(AcrossRate):
    def __init__(self, tally: Mapping[str, int], label: str) -> None:
        self._tally, self._label = tally, label
        self._of: dict[str, tuple[str | None, int]] = {}
        self._values: Counter[str | None] = Counter()
        """By the value of the label; None: on nodes without it."""

    def update(self, node: NodeInfo) -> Hashable:
        self.remove(node.name)
        value = node.known.metadata.labels.get(self._label)
        count = self._tally.get(node.name, 0)
        self._of[node.name] = (value, count)
        self._values[value] += count
        return value

    def remove(self, name: str) -> None:
        value, count = self._of.pop(name, (None, 0))
        self._values[value] -= count

    def rate(self, states: Sequence[Hashable], sizes: Sequence[int]) -> list[int]:
        everywhere = sum(self._values.values())
        return [
            0
            if not isinstance(value, str)
            else int(MAX_SCORE * ((everywhere - self._values[value]) / everywhere))
            if everywhere
            else MAX_SCORE
            for value in states
        ]


class LabelPreference(Score):
    """Nodes that have a label, or have not, are liked (v1.0's NodeLabelPriority, by policy)."""

    def __init__(self, label: str, presence: bool) -> None:
        self.name = f"LabelPreference({label})"
        self._label, self._presence = label, presence

    def sign(self, pod: PodInfo) -> Hashable:
        return None

    def for_pod(self, pod: PodInfo) -> Rate:
        return lambda node: MAX_SCORE if (self._label in node.known.metadata.labels) == self._presence else 0


class _Sums(AcrossRate):
    """`100 * sum / largest sum` of the nodes that can take the pod, or 100 less that."""

    def __init__(self, count: Callable[[Node], int], *, reverse: bool) -> None:
        self._count, self._reverse = count, reverse

    def update(self, node: NodeInfo) -> Hashable:
        return self._count(node.known)

    def rate(self, states: Sequence[Hashable], sizes: Sequence[int]) -> list[int]:
        sums = [state for state in states if isinstance(state, int)]
        most = max(sums, default=0)
        if not most:
            return [MAX_SCORE if self._reverse else 0] * len(sums)
        parts = [MAX_SCORE * each // most for each in sums]
        return [MAX_SCORE - part for part in parts] if self._reverse else parts


class NodeAffinityScore(Score):
    """The preferred node affinity: the weights of the terms that a node meets, `100 * sum / largest sum`."""

    name = "NodeAffinity"

    def __init__(self, added: PreferredNodes | None = None) -> None:
        """`added`: what all pods of the profile like besides."""
        self._added = added

    def sign(self, pod: PodInfo) -> Hashable:
        return pod.cls.preferred_nodes

    def for_pod(self, pod: PodInfo) -> AcrossRate | None:
        liked = [each for each in (self._added, pod.cls.preferred_nodes) if each is not None]
        return _Sums(lambda node: sum([each.weight(node) for each in liked]), reverse=False) if liked else None


class TaintTolerationScore(Score):
    """The fewer taints of effect PreferNoSchedule that the pod does not tolerate, the better."""

    name = "TaintToleration"

    def sign(self, pod: PodInfo) -> Hashable:
        return pod.cls.toleration_key

    def for_pod(self, pod: PodInfo) -> AcrossRate:
        tolerations = [t for t in pod.cls.tolerations if t.effect in ("", "PreferNoSchedule")]

        def intolerable(node: Node) -> int:
            taints = node.spec.taints
            if not taints:
                return 0
            return sum(t.effect == "PreferNoSchedule" and not tolerates(tolerations, t) for t in taints)

        return _Sums(intolerable, reverse=True)


class ImageLocality(Score):
    """Nodes that have the pod's images already, above all large ones that few nodes have not.

    "The sum over the images of size * nodes that have it / all nodes, between 23 MB and 1000 MB a container."
    """

    name = "ImageLocality"
    LEAST, MOST = 23 * 1024 * 1024, 1000 * 1024 * 1024

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def sign(self, pod: PodInfo) -> Hashable:
        return pod.cls.images

    def for_pod(self, pod: PodInfo) -> AcrossRate:
        return _Images(self._cache, [normalized(image) for image in pod.cls.images], pod.cls.containers)


def normalized(image: str) -> str:
    """An image's name with its tag: `latest` if it has none."""
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"


class _Images(AcrossRate):
    def __init__(self, cache: Cache, images: Sequence[str], containers: int) -> None:
        self._cache, self._images, self._containers = cache, images, containers
        self._of: dict[str, tuple[tuple[str, int], ...]] = {}
        self._nodes: Counter[str] = Counter()

    def update(self, node: NodeInfo) -> Hashable:
        images = node.known.status.images
        if not images and node.name not in self._of:
            return ()
        sizes = {name: image.sizeBytes for image in images for name in image.names}
        present = tuple([(image, sizes[image]) for image in self._images if image in sizes])
        if self._of.get(node.name, ()) != present:
            self.remove(node.name)
            self._of[node.name] = present
            self._nodes.update({image for image, _ in present})
        return present

    def remove(self, name: str) -> None:
        self._nodes.subtract({image for image, _ in self._of.pop(name, ())})

    def rate(self, states: Sequence[Hashable], sizes: Sequence[int]) -> list[int]:
        return [self._score(state) for state in states if isinstance(state, tuple)]

    def _score(self, present: tuple[tuple[str, int], ...]) -> int:
        everywhere = self._cache.existing or 1
        total = sum(int(size * (self._nodes[image] / everywhere)) for image, size in present)
        least, most = ImageLocality.LEAST, ImageLocality.MOST * self._containers
        return MAX_SCORE * (min(max(total, least), most) - least) // (most - least)


def matching_selectors(pod: Pod, selectors: Iterable[Mapping[str, str]]) -> Selectors:
    """Those of the selectors that match the pod, in an order that does not depend on how they came.

    An empty selector selects nothing: a service without one has its endpoints made by hand.
    """
    own = pod.metadata.labels.items()
    matching = {tuple(sorted(s.items())) for s in selectors if s and s.items() <= own}
    return _selectors(pod.metadata.namespace, tuple(sorted(matching)))


@lru_cache(maxsize=4096)
def _selectors(namespace: str, selectors: tuple[tuple[tuple[str, str], ...], ...]) -> Selectors:
    return AnyOf(tuple(Pods(from_map(dict(each)), frozenset((namespace,))) for each in selectors))
