"""The table of kinds: which there are, how they are called, where they live and how they may be used.

Everything that handles objects in general (the apiserver's routes and discovery, the store's keys, the client's paths)
reads this table; adding a kind that is only stored is one row.
"""

from __future__ import annotations

from dataclasses import dataclass

from kube.api import (
    authentication,
    authorization,
    autoscaling,
    coordination,
    core,
    discovery,
    events,
    policy,
    unstructured,
)
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


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One kind of stored object. There is one instance of each, so that one is equal to itself alone: they are the
    keys of every cache and table, and looked up with every request.
    """

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
    shows: Resource | None = None
    """The resource whose objects this one shows in another version (conversion.py); None: it has objects of its own."""

    @property
    def stored(self) -> Resource:
        """Where the objects are: another resource, or this one."""
        return self.shows or self

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


def _proxy(options: str) -> Subresource:
    return Subresource("proxy", options, ("create", "delete", "get", "patch", "update"))


_SCALE = Subresource("scale", "Scale", ("get", "patch", "update"), group="autoscaling", version="v1")

PODS = Resource(
    core.Pod, "pods", "pod", "pods",
    short_names=("po",), categories=("all",),
    subresources=(
        Subresource("attach", "PodAttachOptions", ("create", "get")),
        Subresource("binding", "Binding", ("create",)),
        Subresource("eviction", "Eviction", ("create",), group="policy", version="v1"),
        Subresource("exec", "PodExecOptions", ("create", "get")),
        Subresource("log", "Pod", ("get",)),
        Subresource("portforward", "PodPortForwardOptions", ("create", "get")),
        _proxy("PodProxyOptions"),
        _status("Pod"),
    ),
    fields=("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
            "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName"),
)  # fmt: skip
SERVICES = Resource(
    core.Service, "services", "service", "services/specs",
    short_names=("svc",), categories=("all",), subresources=(_proxy("ServiceProxyOptions"), _status("Service")),
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
    short_names=("no",), subresources=(_proxy("NodeProxyOptions"), _status("Node")), fields=("spec.unschedulable",),
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
CONFIG_MAPS = Resource(core.ConfigMap, "configmaps", "configmap", "configmaps", short_names=("cm",))
LIMIT_RANGES = Resource(core.LimitRange, "limitranges", "limitrange", "limitranges", short_names=("limits",))
POD_TEMPLATES = Resource(core.PodTemplate, "podtemplates", "podtemplate", "podtemplates")
RESOURCE_QUOTAS = Resource(
    core.ResourceQuota, "resourcequotas", "resourcequota", "resourcequotas",
    short_names=("quota",), subresources=(_status("ResourceQuota"),),
)  # fmt: skip
SECRETS = Resource(core.Secret, "secrets", "secret", "secrets", fields=("type",))
SERVICE_ACCOUNTS = Resource(
    core.ServiceAccount, "serviceaccounts", "serviceaccount", "serviceaccounts", short_names=("sa",),
    subresources=(Subresource("token", "TokenRequest", ("create",), group="authentication.k8s.io", version="v1"),),
)  # fmt: skip
ENDPOINT_SLICES = Resource(discovery.EndpointSlice, "endpointslices", "endpointslice", "endpointslices")
LEASES = Resource(coordination.Lease, "leases", "lease", "leases")


def _stored(
    kind: str,
    plural: str,
    group_version: str,
    short_names: str = "",
    *,
    prefix: str = "",
    namespaced: bool = True,
    status: bool = False,
    scale: bool = False,
    categories: tuple[str, ...] = (),
) -> Resource:
    """A kind that is only stored. In etcd it is where Kubernetes keeps it: under its plural, with few exceptions."""
    subresources = (*((_SCALE,) if scale else ()), *((_status(kind),) if status else ()))
    return Resource(
        unstructured.kind(group_version, kind), plural, kind.lower(), prefix or plural, namespaced,
        tuple(short_names.split()), categories, subresources=subresources,
    )  # fmt: skip


_APPS, _BATCH, _STORAGE = "apps/v1", "batch/v1", "storage.k8s.io/v1"
_RBAC, _NETWORKING, _DRA = "rbac.authorization.k8s.io/v1", "networking.k8s.io/v1", "resource.k8s.io/v1"
_ADMISSION = "admissionregistration.k8s.io/v1"
_ALL = ("all",)

PERSISTENT_VOLUMES = _stored("PersistentVolume", "persistentvolumes", "v1", "pv", namespaced=False, status=True)
PERSISTENT_VOLUME_CLAIMS = _stored("PersistentVolumeClaim", "persistentvolumeclaims", "v1", "pvc", status=True)
STORAGE_CLASSES = _stored("StorageClass", "storageclasses", _STORAGE, "sc", namespaced=False)
PRIORITY_CLASSES = _stored("PriorityClass", "priorityclasses", "scheduling.k8s.io/v1", "pc", namespaced=False)
POD_DISRUPTION_BUDGETS = _stored("PodDisruptionBudget", "poddisruptionbudgets", "policy/v1", "pdb", status=True)
CLUSTER_ROLES = _stored("ClusterRole", "clusterroles", _RBAC, namespaced=False)
CLUSTER_ROLE_BINDINGS = _stored("ClusterRoleBinding", "clusterrolebindings", _RBAC, namespaced=False)
ROLES = _stored("Role", "roles", _RBAC)
ROLE_BINDINGS = _stored("RoleBinding", "rolebindings", _RBAC)

# What Kubernetes' own scheduler and controller manager list when they start, so that they can run against this API.
STORED_ONLY: tuple[Resource, ...] = (
    PERSISTENT_VOLUMES,
    PERSISTENT_VOLUME_CLAIMS,
    _stored("ControllerRevision", "controllerrevisions", _APPS),
    _stored("DaemonSet", "daemonsets", _APPS, "ds", status=True, categories=_ALL),
    _stored("Deployment", "deployments", _APPS, "deploy", status=True, scale=True, categories=_ALL),
    _stored("ReplicaSet", "replicasets", _APPS, "rs", status=True, scale=True, categories=_ALL),
    _stored("StatefulSet", "statefulsets", _APPS, "sts", status=True, scale=True, categories=_ALL),
    _stored("HorizontalPodAutoscaler", "horizontalpodautoscalers", "autoscaling/v2", "hpa", status=True,
            categories=_ALL),
    _stored("CronJob", "cronjobs", _BATCH, "cj", status=True, categories=_ALL),
    _stored("Job", "jobs", _BATCH, status=True, categories=_ALL),
    _stored("CertificateSigningRequest", "certificatesigningrequests", "certificates.k8s.io/v1", "csr",
            namespaced=False, status=True),
    _stored("Ingress", "ingresses", _NETWORKING, "ing", prefix="ingress", status=True),
    _stored("IngressClass", "ingressclasses", _NETWORKING, namespaced=False),
    _stored("IPAddress", "ipaddresses", _NETWORKING, "ip", namespaced=False),
    _stored("NetworkPolicy", "networkpolicies", _NETWORKING, "netpol"),
    _stored("ServiceCIDR", "servicecidrs", _NETWORKING, namespaced=False, status=True),
    _stored("RuntimeClass", "runtimeclasses", "node.k8s.io/v1", namespaced=False),
    POD_DISRUPTION_BUDGETS,
    CLUSTER_ROLES,
    CLUSTER_ROLE_BINDINGS,
    ROLES,
    ROLE_BINDINGS,
    PRIORITY_CLASSES,
    _stored("CSIDriver", "csidrivers", _STORAGE, namespaced=False),
    _stored("CSINode", "csinodes", _STORAGE, namespaced=False),
    _stored("CSIStorageCapacity", "csistoragecapacities", _STORAGE),
    STORAGE_CLASSES,
    _stored("VolumeAttachment", "volumeattachments", _STORAGE, namespaced=False, status=True),
    _stored("VolumeAttributesClass", "volumeattributesclasses", _STORAGE, "vac", namespaced=False),
    _stored("DeviceClass", "deviceclasses", _DRA, namespaced=False),
    _stored("ResourceClaim", "resourceclaims", _DRA, status=True),
    _stored("ResourceClaimTemplate", "resourceclaimtemplates", _DRA),
    _stored("ResourceSlice", "resourceslices", _DRA, namespaced=False),
    _stored("MutatingAdmissionPolicy", "mutatingadmissionpolicies", _ADMISSION, namespaced=False),
    _stored("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", _ADMISSION, namespaced=False),
    _stored("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", _ADMISSION, namespaced=False),
    _stored("ValidatingAdmissionPolicy", "validatingadmissionpolicies", _ADMISSION, namespaced=False, status=True),
    _stored("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", _ADMISSION, namespaced=False),
    _stored("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", _ADMISSION, namespaced=False),
)  # fmt: skip

RESOURCES: tuple[Resource, ...] = (
    CONFIG_MAPS,
    ENDPOINTS,
    EVENTS,
    LIMIT_RANGES,
    NAMESPACES,
    NODES,
    PODS,
    POD_TEMPLATES,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICES,
    SERVICE_ACCOUNTS,
    ENDPOINT_SLICES,
    LEASES,
    *STORED_ONLY,
)
"""What has objects of its own, which are stored."""

EVENTS_V1 = Resource(
    events.Event, "events", "event", EVENTS.prefix, short_names=("ev",), shows=EVENTS,
    fields=("regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid", "regarding.apiVersion",
            "regarding.resourceVersion", "regarding.fieldPath", "reason", "reportingController", "type"),
)  # fmt: skip

VIEWS: tuple[Resource, ...] = (EVENTS_V1,)
"""What shows the objects of another resource (`shows`) in a version of its own."""


def _question(model: type[Object], plural: str, *, namespaced: bool = False) -> Resource:
    return Resource(model, plural, model.kind.lower(), "", namespaced=namespaced, verbs=("create",))


BINDINGS = Resource(core.Binding, "bindings", "binding", "", verbs=("create",))
COMPONENT_STATUSES = Resource(
    core.ComponentStatus, "componentstatuses", "componentstatus", "", namespaced=False, short_names=("cs",),
    verbs=("get", "list"),
)  # fmt: skip

ANSWERED: tuple[Resource, ...] = (
    BINDINGS,
    COMPONENT_STATUSES,
    _question(authentication.SelfSubjectReview, "selfsubjectreviews"),
    _question(authentication.TokenReview, "tokenreviews"),
    _question(authorization.LocalSubjectAccessReview, "localsubjectaccessreviews", namespaced=True),
    _question(authorization.SelfSubjectAccessReview, "selfsubjectaccessreviews"),
    _question(authorization.SelfSubjectRulesReview, "selfsubjectrulesreviews"),
    _question(authorization.SubjectAccessReview, "subjectaccessreviews"),
)
"""Of which nothing is stored: each request is answered for itself."""

SERVED: tuple[Resource, ...] = (*RESOURCES, *VIEWS, *ANSWERED)
"""All that the API has."""

_BY_MODEL = {resource.model: resource for resource in SERVED}
_BY_KIND = {(resource.api_version, resource.kind): resource for resource in SERVED}
_BY_PLURAL = {(resource.group, resource.version, resource.plural): resource for resource in SERVED}

# Kinds that only subresources have.
UNSTORED: tuple[type[Object], ...] = (autoscaling.Scale, policy.Eviction, authentication.TokenRequest)


def of(model: type[Object]) -> Resource:
    """The resource that a model's objects, or parts of objects, are stored as. Raises KeyError."""
    try:
        return _BY_MODEL[model]
    except KeyError:
        return _BY_KIND[model.apiVersion, getattr(model, "kind", "")]


def by_kind(api_version: str, kind: str) -> Resource | None:
    """The resource of a kind, as an object's own two fields name it."""
    return _BY_KIND.get((api_version, kind))


def by_plural(group: str, version: str, plural: str) -> Resource | None:
    """The resource that a path names."""
    return _BY_PLURAL.get((group, version, plural))
