"""core/v1: ServiceAccount."""

from __future__ import annotations

from typing import ClassVar

from kube.api.meta import Object
from kube.api.references import LocalObjectReference, ObjectReference


class ServiceAccount(Object):
    """Who a pod is, for the API and for image registries."""

    kind: ClassVar[str] = "ServiceAccount"

    secrets: list[ObjectReference] = []
    """Secrets that its pods may use. Only their names count."""
    imagePullSecrets: list[LocalObjectReference] = []
    """Secrets with which its pods' images are pulled."""
    automountServiceAccountToken: bool | None = None
    """Whether its pods get a token; a pod may say otherwise."""
