"""The changes of the cluster that can make room for a pod, as few words as the filters need to tell them apart.

A pod that no node could take waits until something happens that can help it. Each filter names the changes that can
turn its "no" into a "yes"; a change of any other sort, a heartbeat above all, wakes nobody.
"""

from __future__ import annotations

from enum import Flag, auto

from kube.api.core import Node


class ClusterChange(Flag):
    """What happened."""

    NODE_ADDED = auto()
    NODE_ALLOCATABLE = auto()
    NODE_LABELS = auto()
    NODE_TAINTS = auto()
    NODE_READY = auto()
    POD_REMOVED = auto()


NOTHING = ClusterChange(0)


def ready(node: Node) -> str:
    """The status of the node's Ready condition; a node that has none is not known to be ready."""
    return next((c.status for c in node.status.conditions if c.type == "Ready"), "Unknown")


def node_changes(old: Node | None, new: Node) -> ClusterChange:
    """What of a node's change can matter to a pod that waits."""
    if old is None or old.metadata.uid != new.metadata.uid:
        return ClusterChange.NODE_ADDED
    changes = NOTHING
    if (old.status.allocatable, old.status.capacity) != (new.status.allocatable, new.status.capacity):
        changes |= ClusterChange.NODE_ALLOCATABLE
    if old.metadata.labels != new.metadata.labels:
        changes |= ClusterChange.NODE_LABELS
    if (old.spec.taints, old.spec.unschedulable) != (new.spec.taints, new.spec.unschedulable):
        changes |= ClusterChange.NODE_TAINTS
    if ready(old) != ready(new):
        changes |= ClusterChange.NODE_READY
    return changes
