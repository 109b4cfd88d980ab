"""autoscaling/v1: Scale, the view of an object that has replicas and nothing else."""

from __future__ import annotations

from typing import ClassVar

from kube.api.meta import Model, Object, always
from kube.api.scalars import AlwaysInt32, Int32, Present


class ScaleSpec(Model):
    """How many are wanted."""

    replicas: Int32 = 0
    """Number of replicas."""


class ScaleStatus(Model):
    """How many there are."""

    replicas: AlwaysInt32 = always()
    """Number of replicas."""
    selector: str = ""
    """Which pods, as the text of a label selector."""


class Scale(Object):
    """The replicas of an object. Served as a subresource, never stored."""

    kind: ClassVar[str] = "Scale"
    apiVersion: ClassVar[str] = "autoscaling/v1"

    spec: Present[ScaleSpec] = always()
    """How many are wanted."""
    status: Present[ScaleStatus] = always()
    """How many there are."""
