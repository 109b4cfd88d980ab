"""core/v1: ConfigMap and Secret, what pods are configured from."""

from __future__ import annotations

from typing import ClassVar

from kube.api.binary import Base64
from kube.api.meta import Object


class ConfigMap(Object):
    """Configuration by key, for pods to read as variables or files."""

    kind: ClassVar[str] = "ConfigMap"

    immutable: bool | None = None
    """True: the data can no longer be changed, and neither can this."""
    data: dict[str, str] = {}
    """Values that are text."""
    binaryData: dict[str, Base64] = {}
    """Values that are not; no key is in both."""


class Secret(Object):
    """Values by key that not everybody should see."""

    kind: ClassVar[str] = "Secret"

    immutable: bool | None = None
    """True: the data can no longer be changed, and neither can this."""
    data: dict[str, Base64] = {}
    """The values, in base64."""
    stringData: dict[str, str] = {}
    """Values as plain text, for writing only: they go into `data`, and win over what is there."""
    type: str = ""
    """What the values are for; some types need certain keys. Cannot be changed."""
