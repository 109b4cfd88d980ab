"""The taints that a node is to have for what its conditions say, and how fast evictions may go: pure decisions.

The rules are upstream's (pkg/controller/nodelifecycle): a NoSchedule taint for each condition that is not well, at
once; a NoExecute taint for a node that is not ready or cannot be reached, one after another at a bounded rate, and none
at all when every zone is dark: then it is more likely we who see nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from kube.api.core import Node, Taint

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
BY_CONDITION = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
EVICTING = {"False": NOT_READY, "Unknown": UNREACHABLE}
"""The NoExecute taint for a status of the Ready condition."""
_OURS = {*BY_CONDITION.values(), UNSCHEDULABLE}

EXCLUDED = "node.kubernetes.io/exclude-disruption"
"""A label: the node does not count when a zone is judged."""
ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
UNHEALTHY_ZONE = 0.55
LARGE_CLUSTER = 50


class ZoneState(Enum):
    """How many of a zone's nodes are well."""

    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


@dataclass(frozen=True, slots=True)
class Rates:
    """Nodes a second that may be tainted with NoExecute."""

    normal: float = 0.1
    secondary: float = 0.01
    unhealthy_zone: float = UNHEALTHY_ZONE
    large_cluster: int = LARGE_CLUSTER

    def of(self, state: ZoneState, size: int, *, all_dark: bool) -> float:
        """For a zone of so many nodes; 0: none at all."""
        if all_dark:
            return 0.0
        if state is ZoneState.PARTIAL:
            return self.secondary if size > self.large_cluster else 0.0
        # A dark zone beside others is emptied at the full rate: it is the zone that is ill.
        return self.normal


def zone_of(node: Node) -> str:
    """The failure domain of a node; nodes without labels are of one."""
    return f"{node.metadata.labels.get(REGION, '')}:{node.metadata.labels.get(ZONE, '')}"


def zone_state(ready: int, not_ready: int, unhealthy: float = UNHEALTHY_ZONE) -> ZoneState:
    """The state of a zone with so many nodes that are ready, and not."""
    if not ready and not_ready:
        return ZoneState.FULL
    if not_ready > 2 and not_ready / (ready + not_ready) >= unhealthy:
        return ZoneState.PARTIAL
    return ZoneState.NORMAL


def with_no_schedule(node: Node, moment: datetime) -> list[Taint]:
    """The node's taints, with the NoSchedule ones that its conditions ask for, and none that they do not."""
    asked = {BY_CONDITION[key] for c in node.status.conditions if (key := (c.type, c.status)) in BY_CONDITION}
    if node.spec.unschedulable:
        asked.add(UNSCHEDULABLE)
    kept = [t for t in node.spec.taints if t.effect != "NoSchedule" or t.key not in _OURS or t.key in asked]
    present = {taint.key for taint in kept if taint.effect == "NoSchedule"}
    return kept + [Taint(key=key, effect="NoSchedule", timeAdded=moment) for key in sorted(asked - present)]


def evicting(taints: Iterable[Taint]) -> list[str]:
    """The keys of our NoExecute taints."""
    return [taint.key for taint in taints if taint.effect == "NoExecute" and taint.key in (NOT_READY, UNREACHABLE)]


def with_no_execute(taints: Iterable[Taint], key: str, moment: datetime) -> list[Taint]:
    """The taints with this one of our NoExecute taints, and no other; none with an empty key."""
    taints = list(taints)
    if key in evicting(taints):
        return [t for t in taints if t.key == key or t.key not in evicting([t])]
    others = [taint for taint in taints if not evicting([taint])]
    return [*others, Taint(key=key, effect="NoExecute", timeAdded=moment)] if key else others
