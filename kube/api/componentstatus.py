"""core/v1: ComponentStatus, whether the daemons of the control plane are well. Deprecated, and computed when asked."""

from __future__ import annotations

from typing import ClassVar

from kube.api.meta import AlwaysStr, Model, Object, always


class ComponentCondition(Model):
    """One aspect of a component's state."""

    type: AlwaysStr = always()
    """`Healthy`."""
    status: AlwaysStr = always()
    """`True`, `False` or `Unknown`."""
    message: str = ""
    """What it answered."""
    error: str = ""
    """Why it did not answer, or what is wrong."""


class ComponentStatus(Object):
    """Whether one component is well."""

    kind: ClassVar[str] = "ComponentStatus"

    conditions: list[ComponentCondition] = []
    """Aspects of its state."""
