"""coordination.k8s.io/v1: Lease, by which leaders and nodes show that they live."""

from __future__ import annotations

from typing import ClassVar

from kube.api.meta import MicroTime, Model, Object, always
from kube.api.scalars import Int32, Present


class LeaseSpec(Model):
    """Who holds a lease, and for how long."""

    holderIdentity: str | None = None
    """Who holds it."""
    leaseDurationSeconds: Int32 | None = None
    """Seconds after `renewTime` from which others may take it."""
    acquireTime: MicroTime | None = None
    """When it was taken."""
    renewTime: MicroTime | None = None
    """When its holder last renewed it."""
    leaseTransitions: Int32 | None = None
    """How often its holder changed."""
    strategy: str | None = None
    """How a holder is elected, when that is coordinated."""
    preferredHolder: str | None = None
    """Who had better hold it."""


class Lease(Object):
    """A claim that must be renewed."""

    kind: ClassVar[str] = "Lease"
    apiVersion: ClassVar[str] = "coordination.k8s.io/v1"

    spec: Present[LeaseSpec] = always()
    """Who holds it."""
