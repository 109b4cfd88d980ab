"""The kinds whose rules differ from the default in a word or two."""

from __future__ import annotations

from typing import Any

from kube.api import errors
from kube.api.core import Namespace, ObjectReference, ServiceAccount
from kube.api.discovery import EndpointSlice
from kube.api.unstructured import Unstructured
from kube.apiserver.registry.strategy import Strategy

IMMORTAL_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})


class ReplicationControllerStrategy(Strategy):
    """Replication controllers count the generations of their spec, and leave their pods behind, as in v1 ever since."""

    counts_generations = True
    orphans = True


class CreateOnUpdate(Strategy):
    """What a PUT writes whether it is there or not."""

    create_on_update = True


class LeaseStrategy(CreateOnUpdate):
    """Leases: who claims one must say which they have seen, lest two believe to hold it."""

    unconditional_update = False


class EventStrategy(CreateOnUpdate):
    """Events: there are too many of them for the garbage collector, and nobody would let go of one that is held."""

    collected = False


class EndpointSliceStrategy(Strategy):
    """Endpoint slices count the generations of all that they hold, labels included."""

    def prepare_create(self, obj: EndpointSlice) -> None:
        super().prepare_create(obj)
        obj.metadata.generation = 1
        for endpoint in obj.endpoints:
            endpoint.deprecatedTopology = {}  # v1 cannot write it

    def prepare_update(self, new: EndpointSlice, old: EndpointSlice) -> None:
        changed = new.model_copy(update={"metadata": old.metadata}) != old
        if changed or new.metadata.labels != old.metadata.labels:
            new.metadata.generation = old.metadata.generation + 1


class ReturnsDeleted(Strategy):
    """Pod templates and quotas."""

    returns_deleted = True


class ServiceAccountStrategy(Strategy):
    """Service accounts: of the secrets that they name, only the names are kept."""

    returns_deleted = True

    def prepare_create(self, obj: ServiceAccount) -> None:
        super().prepare_create(obj)
        obj.secrets = [ObjectReference(name=reference.name) for reference in obj.secrets]

    def prepare_update(self, new: ServiceAccount, old: ServiceAccount) -> None:
        super().prepare_update(new, old)
        new.secrets = [ObjectReference(name=reference.name) for reference in new.secrets]


class StoredOnly(Strategy):
    """Kinds that are stored as they come: all that is known of them is that `status` has its own path.

    The generation is raised by every change of anything but metadata and status, as it is for a custom resource.
    """

    counts_generations = True
    create_on_update = False

    def prepare_create(self, obj: Unstructured) -> None:
        obj.metadata.generation = 1
        if self.has_status:
            obj.put("status", None)

    def prepare_update(self, new: Unstructured, old: Unstructured) -> None:
        if self.has_status:
            new.put("status", old.part("status"))
        if _content(new) != _content(old):
            new.metadata.generation = old.metadata.generation + 1

    def prepare_status(self, new: Unstructured, old: Unstructured) -> None:
        status = new.part("status")
        for name in {**(new.model_extra or {}), **(old.model_extra or {})}:
            new.put(name, old.part(name))
        new.put("status", status)
        new.metadata.labels = old.metadata.labels


def _content(obj: Unstructured) -> dict[str, Any]:
    return {name: value for name, value in (obj.model_extra or {}).items() if name != "status"}


class DisruptionBudgetStrategy(StoredOnly):
    """Disruption budgets: evictions count them down, so that a status is worth something only with its version."""

    unconditional_update = False


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
        obj.status = obj.status.model_copy(update={"phase": "Terminating"})
