"""The kinds whose rules differ from the default in a word or two."""

from __future__ import annotations

from typing import Any

from kube.api import errors
from kube.api.core import Namespace
from kube.apiserver.registry.strategy import Strategy

IMMORTAL_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})


class ReplicationControllerStrategy(Strategy):
    """Replication controllers count the generations of their spec."""

    counts_generations = True


class CreateOnUpdate(Strategy):
    """Endpoints, events and leases: what controllers write by PUT, whether it is there or not."""

    create_on_update = True


class NodeStrategy(Strategy):
    """Nodes: the kubelet creates its own with a status."""

    returns_deleted = True

    def prepare_create(self, obj: Any) -> None:
        """A node keeps the status it is created with (pkg/registry/core/node/strategy.go)."""


class NamespaceStrategy(Strategy):
    """Namespaces: they go when the namespace controller has emptied them and taken its finalizer off the spec."""

    returns_deleted = True

    def prepare_create(self, obj: Namespace) -> None:
        super().prepare_create(obj)
        obj.status.phase = "Active"
        if "kubernetes" not in obj.spec.finalizers:
            obj.spec.finalizers = [*obj.spec.finalizers, "kubernetes"]

    def prepare_update(self, new: Namespace, old: Namespace) -> None:
        super().prepare_update(new, old)
        new.spec.finalizers = old.spec.finalizers

    def grace(self, obj: Namespace, asked: int | None) -> int:
        if obj.metadata.name in IMMORTAL_NAMESPACES:
            raise errors.forbidden("namespaces", obj.metadata.name, "this namespace may not be deleted")
        return 0

    def on_delete(self, obj: Namespace) -> None:
        obj.status.phase = "Terminating"
