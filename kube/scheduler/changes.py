"""The changes of the cluster that can make room for a pod, as few words as the filters need to tell them apart.

A pod that no node could take waits until something happens that can help it. Each filter names the changes that can
turn its "no" into a "yes"; a change of any other sort, a heartbeat above all, wakes nobody.
(Upstream's queueing hints.)
"""

from __future__ import annotations

from collections.abc import Mapping
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
    POD_ADDED = auto()
    """A pod has come to a node, or its labels have changed: others may have to be near to it."""
    NAMESPACE = auto()
    """The labels of a namespace."""
    VOLUME = auto()
    """A PersistentVolume, a claim or a StorageClass."""


NOTHING = ClusterChange(0)
NODE = (
    ClusterChange.NODE_ADDED
    | ClusterChange.NODE_ALLOCATABLE
    | ClusterChange.NODE_LABELS
    | ClusterChange.NODE_TAINTS
    | ClusterChange.NODE_READY
)
"""What happens to one node, and can only make a difference there for filters that look at one node alone."""


def conditions(node: Node) -> Mapping[str, str]:
    """The status of each of the node's conditions."""
    return {condition.type: condition.status for condition in node.status.conditions}


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
    if conditions(old) != conditions(new):
        changes |= ClusterChange.NODE_READY
    return changes
