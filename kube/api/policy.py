"""policy/v1: Eviction, a deletion that asks the disruption budgets first."""

from __future__ import annotations

from typing import ClassVar

from kube.api.meta import DeleteOptions, Object


class Eviction(Object):
    """Asks that a pod go away, if its disruption budget allows. Sent to `pods/<name>/eviction`, never stored."""

    kind: ClassVar[str] = "Eviction"
    apiVersion: ClassVar[str] = "policy/v1"

    deleteOptions: DeleteOptions | None = None
    """How the pod is to be deleted."""
