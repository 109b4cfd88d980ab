"""core/v1: ReplicationController."""

from __future__ import annotations

from typing import ClassVar

from kube.api.meta import AlwaysStr, Model, Object, always
from kube.api.pod import PodTemplateSpec
from kube.api.scalars import AlwaysInt32, Int32, Int64, NullableTime, Present, null_time


class ReplicationControllerSpec(Model):
    """What a replication controller keeps up."""

    replicas: Int32 | None = None
    """How many pods there are to be."""
    minReadySeconds: Int32 = 0
    """Seconds a pod must be ready before it counts as available."""
    selector: dict[str, str] = {}
    """Labels of the pods that count."""
    template: PodTemplateSpec | None = None
    """What missing pods are made from."""


class ReplicationControllerCondition(Model):
    """One aspect of a replication controller's state."""

    type: AlwaysStr = always()
    """`ReplicaFailure`."""
    status: AlwaysStr = always()
    """`True`, `False` or `Unknown`."""
    lastTransitionTime: NullableTime = null_time()
    """When `status` last changed."""
    reason: str = ""
    """Why, as one word."""
    message: str = ""
    """Why, in words."""


class ReplicationControllerStatus(Model):
    """How a replication controller is."""

    replicas: AlwaysInt32 = always()
    """Pods there are."""
    fullyLabeledReplicas: Int32 = 0
    """Of them, those with all the template's labels."""
    readyReplicas: Int32 = 0
    """Of them, those that are ready."""
    availableReplicas: Int32 = 0
    """Of them, those that were ready for `minReadySeconds`."""
    observedGeneration: Int64 = 0
    """Generation of the spec that the status was computed from."""
    conditions: list[ReplicationControllerCondition] = []
    """Aspects of its state."""


class ReplicationController(Object):
    """Keeps a number of equal pods running."""

    kind: ClassVar[str] = "ReplicationController"

    spec: Present[ReplicationControllerSpec] = always()
    """What it keeps up."""
    status: Present[ReplicationControllerStatus] = always()
    """How it is, as its controller last said."""
