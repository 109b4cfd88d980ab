"""Which pod has to leave when the node runs out of something: pure functions, from upstream's pkg/kubelet/eviction.

A threshold (`memory.available<100Mi`, `nodefs.available<10%`) is met when less than that is left; a soft one counts
once it has been met for its grace period, and lets the pod end in peace. The pods are ranked: first those that use more
than they requested, then by priority, then by how much more they use; critical pods stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kube.api import quantity
from kube.api.container import AnyContainer
from kube.api.core import Pod, Taint
from kube.api.qos import BEST_EFFORT, qos_class
from kube.api.tolerations import tolerates
from kube.kubelet.static_pods import is_static

DEFAULTS = "imagefs.available<15%,memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%"
MEMORY, DISK, PIDS = "MemoryPressure", "DiskPressure", "PIDPressure"
PRESSURE = {
    "memory.available": MEMORY,
    "nodefs.available": DISK,
    "nodefs.inodesFree": DISK,
    "imagefs.available": DISK,
    "imagefs.inodesFree": DISK,
    "pid.available": PIDS,
}
"""The node's condition that a signal means."""
RESOURCE = {MEMORY: "memory", DISK: "ephemeral-storage", PIDS: "pids"}
CRITICAL_PRIORITY = 2_000_000_000
"""Pods from here on are critical to the cluster: never evicted."""

_OF_MEMORY = Taint(key="node.kubernetes.io/memory-pressure", effect="NoSchedule")
_THRESHOLD = re.compile(r"\s*([a-zA-Z.]+)\s*<\s*([0-9.]+%|[0-9.]+[a-zA-Z]*)\s*")


@dataclass(frozen=True, slots=True)
class Level:
    """How much of something is left, and how much there is."""

    available: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """How little of something is too little: an amount, or a share of what there is."""

    signal: str
    amount: int = 0
    share: float = 0.0
    grace: float | None = None
    """Seconds that a soft one must be met; None: it is hard."""

    def value(self, capacity: int) -> int:
        """As an amount."""
        return int(capacity * self.share) if self.share else self.amount


def soft(thresholds: Iterable[Threshold], graces: Mapping[str, float]) -> tuple[Threshold, ...]:
    """Thresholds as soft ones, with the grace period of each signal. Raises ValueError, with upstream's words."""
    found = tuple(thresholds)
    for threshold in found:
        if threshold.signal not in graces:
            raise ValueError(f"grace period must be specified for the soft eviction threshold {threshold.signal}")
    return tuple(replace(threshold, grace=graces[threshold.signal]) for threshold in found)


def thresholds(text: str) -> tuple[Threshold, ...]:
    """`memory.available<100Mi,nodefs.available<10%`; a threshold of zero is none. Raises ValueError."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _THRESHOLD.fullmatch(part)
        if match is None or match[1] not in PRESSURE:
            known = ", ".join(PRESSURE)
            raise ValueError(f"{part!r} is no threshold such as memory.available<100Mi (signals: {known})")
        if match[2].endswith("%"):
            found.append(Threshold(match[1], share=float(match[2][:-1]) / 100))
        else:
            found.append(Threshold(match[1], amount=quantity.integer(match[2])))
    return tuple(threshold for threshold in found if threshold.amount or threshold.share)


def met(wanted: Iterable[Threshold], levels: Mapping[str, Level]) -> list[Threshold]:
    """The thresholds that are met now, memory's first: it is what kills."""
    found = [
        threshold
        for threshold in wanted
        if (level := levels.get(threshold.signal)) is not None and level.available < threshold.value(level.capacity)
    ]
    return sorted(found, key=lambda threshold: (PRESSURE[threshold.signal] != MEMORY, threshold.signal))


def is_critical(pod: Pod) -> bool:
    """Whether the cluster, or the node, depends on a pod."""
    return is_static(pod) or (pod.spec.priority or 0) >= CRITICAL_PRIORITY


def rank(pods: Iterable[Pod], pressure: str, usage: Callable[[Pod, str], int]) -> list[Pod]:
    """Who leaves first. `usage`: bytes, or processes, that a container of a pod uses of what is short."""
    resource = RESOURCE[pressure]

    def order(pod: Pod) -> tuple[bool, int, int]:
        if pressure == PIDS:  # nobody can request any
            return True, pod.spec.priority or 0, -sum(usage(pod, c.name) for c in pod.spec.containers)
        over = sum(usage(pod, c.name) - _request(c, resource) for c in pod.spec.containers)
        return over <= 0, pod.spec.priority or 0, -over

    return sorted((pod for pod in pods if not is_critical(pod)), key=order)


def message(threshold: Threshold, level: Level, pod: Pod, usage: Callable[[Pod, str], int]) -> str:
    """What a pod is told that leaves for want of something."""
    resource = RESOURCE[PRESSURE[threshold.signal]]
    text = f"The node was low on resource: {resource}. "
    text += f"Threshold quantity: {_text(threshold.value(level.capacity))}, available: {_text(level.available)}. "
    for container in () if resource == RESOURCE[PIDS] else pod.spec.containers:
        used, requested = usage(pod, container.name), _request(container, resource)
        if used > requested:
            text += f"Container {container.name} was using {_text(used)}, request is {_text(requested)}, "
            text += f"has larger consumption of {resource}. "
    return text


def refusal_message(pressures: Sequence[str]) -> str:
    """What a pod is told that comes to a node which is short of something."""
    return f"The node had condition: [{' '.join(pressures)}]. "


def is_refused(pod: Pod, pressures: Iterable[str]) -> bool:
    """Whether a node under pressure takes no such pod.

    Of memory only those are kept out that promised nothing, and do not tolerate it either.
    """
    under = set(pressures)
    if not under or is_critical(pod):
        return False
    if under != {MEMORY}:
        return True
    best_effort = (pod.status.qosClass or qos_class(pod)) == BEST_EFFORT
    return best_effort and not tolerates(pod.spec.tolerations, _OF_MEMORY)


def _request(container: AnyContainer, resource: str) -> int:
    text = container.resources.requests.get(resource) or container.resources.limits.get(resource)
    return quantity.integer(text) if text else 0


def _text(amount: int) -> str:
    """As Kubernetes prints it in these messages: a quantity with a binary suffix, if one is exact."""
    return quantity.text(amount, "1Ki")
