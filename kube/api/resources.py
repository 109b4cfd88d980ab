"""The table of kinds: which there are, how they are called, where they live and how they may be used.

Everything that handles objects in general (the apiserver's routes and discovery, the store's keys, the client's paths)
reads this table; adding a kind that is only stored is one row.
"""

from __future__ import annotations

from dataclasses import dataclass

from kube.api import autoscaling, coordination, core
from kube.api.meta import Object

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Subresource:
    """A path below an object."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of stored object."""

    model: type[Object]
    plural: str
    singular: str
    prefix: str
    """Where in etcd, below /registry/."""
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    subresources: tuple[Subresource, ...] = ()
    fields: tuple[str, ...] = ()
    """What a field selector may name besides metadata.name and metadata.namespace."""
    ttl: int = 0
    """Seconds after which an object goes away by itself; 0: never."""

    @property
    def kind(self) -> str:
        return self.model.kind

    @property
    def api_version(self) -> str:
        """`v1`, or `group/version`."""
        return self.model.apiVersion

    @property
    def group(self) -> str:
        """The API group; empty for the core."""
        return self.model.apiVersion.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.model.apiVersion.rpartition("/")[2]

    @property
    def base(self) -> str:
        """The path of the group's version: `/api/v1`, or `/apis/<group>/<version>`."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The REST path of an object, of a collection (no name), or of all namespaces' (no namespace)."""
        parts = [self.base]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


def _status(kind: str) -> Subresource:
    return Subresource("status", kind, ("get", "patch", "update"))


_SCALE = Subresource("scale", "Scale", ("get", "patch", "update"), group="autoscaling", version="v1")

PODS = Resource(
    core.Pod, "pods", "pod", "pods",
    short_names=("po",), categories=("all",),
    subresources=(
        Subresource("binding", "Binding", ("create",)),
        Subresource("log", "Pod", ("get",)),
        _status("Pod"),
    ),
    fields=("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
            "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName"),
)  # fmt: skip
SERVICES = Resource(
    core.Service, "services", "service", "services/specs",
    short_names=("svc",), categories=("all",), subresources=(_status("Service"),),
    fields=("spec.clusterIP", "spec.type"),
)  # fmt: skip
REPLICATION_CONTROLLERS = Resource(
    core.ReplicationController, "replicationcontrollers", "replicationcontroller", "controllers",
    short_names=("rc",), categories=("all",), subresources=(_SCALE, _status("ReplicationController")),
    fields=("status.replicas",),
)  # fmt: skip
ENDPOINTS = Resource(core.Endpoints, "endpoints", "endpoints", "services/endpoints", short_names=("ep",))
NODES = Resource(
    core.Node, "nodes", "node", "minions", namespaced=False,
    short_names=("no",), subresources=(_status("Node"),), fields=("spec.unschedulable",),
)  # fmt: skip
NAMESPACES = Resource(
    core.Namespace, "namespaces", "namespace", "namespaces", namespaced=False, short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    subresources=(Subresource("finalize", "Namespace", ("update",)), _status("Namespace")),
    fields=("status.phase",),
)  # fmt: skip
EVENTS = Resource(
    core.Event, "events", "event", "events", short_names=("ev",), ttl=3600,
    fields=("involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
            "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
            "reason", "reportingComponent", "source", "type"),
)  # fmt: skip
LEASES = Resource(coordination.Lease, "leases", "lease", "leases")

RESOURCES: tuple[Resource, ...] = (
    ENDPOINTS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    LEASES,
)

_BY_MODEL = {resource.model: resource for resource in RESOURCES}
_BY_KIND = {(resource.api_version, resource.kind): resource for resource in RESOURCES}
_BY_PLURAL = {(resource.group, resource.version, resource.plural): resource for resource in RESOURCES}

# Kinds that are sent but never stored under their own name.
UNSTORED: tuple[type[Object], ...] = (core.Binding, autoscaling.Scale)


def of(model: type[Object]) -> Resource:
    """The resource that a model's objects are stored as. Raises KeyError."""
    return _BY_MODEL[model]


def by_kind(api_version: str, kind: str) -> Resource | None:
    """The resource of a kind, as an object's own two fields name it."""
    return _BY_KIND.get((api_version, kind))


def by_plural(group: str, version: str, plural: str) -> Resource | None:
    """The resource that a path names."""
    return _BY_PLURAL.get((group, version, plural))
