"""The roles and bindings that there are from the first start, with RBAC (bootstrappolicy/policy.go).

Of upstream's, those for what is here. `admin`, `edit` and `view` hold all their rules themselves: upstream aggregates
them from roles by label, which takes a controller.

What is missing at a start is put back, unless `rbac.authorization.kubernetes.io/autoupdate` says "false" on the object;
what was added stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from kube.api import errors, resources
from kube.api.meta import Object
from kube.api.resources import Resource
from kube.apiserver.rbac import GROUP
from kube.apiserver.verbs import Verbs
from kube.store.store import Unavailable

log = logging.getLogger(__name__)

LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"

READ = "get list watch"
WRITE = "create delete deletecollection patch update"
ALL = "*"

APPS, BATCH, NETWORKING, POLICY, SCALING = "apps", "batch", "networking.k8s.io", "policy", "autoscaling"
AUTHN, AUTHZ, LEASES, DRA = "authentication.k8s.io", "authorization.k8s.io", "coordination.k8s.io", "resource.k8s.io"
DISCOVERY, STORAGE, EVENTS_GROUP = "discovery.k8s.io", "storage.k8s.io", "events.k8s.io"

Data = dict[str, Any]


def rule(verbs: str, groups: str, named: str) -> Data:
    """A rule about resources; all three are words. `core` is the group without a name."""
    names = ["" if group == "core" else group for group in groups.split()]
    return {"apiGroups": names, "resources": named.split(), "verbs": verbs.split()}


def paths(*urls: str, verbs: str = "get") -> Data:
    """A rule about other paths."""
    return {"nonResourceURLs": list(urls), "verbs": verbs.split()}


EVENTS = rule("create patch update", f"core {EVENTS_GROUP}", "events")

VIEW = [
    rule(READ, "core", "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods "
         "replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status"),
    rule(READ, "core", "bindings events limitranges namespaces/status pods/log pods/status "
         "replicationcontrollers/status resourcequotas resourcequotas/status"),
    rule(READ, "core", "namespaces"),
    rule(READ, DISCOVERY, "endpointslices"),
    rule(READ, EVENTS_GROUP, "events"),
    rule(READ, APPS, "controllerrevisions daemonsets daemonsets/status deployments deployments/scale "
         "deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale "
         "statefulsets/status"),
    rule(READ, SCALING, "horizontalpodautoscalers horizontalpodautoscalers/status"),
    rule(READ, BATCH, "cronjobs cronjobs/status jobs jobs/status"),
    rule(READ, NETWORKING, "ingresses ingresses/status networkpolicies"),
    rule(READ, POLICY, "poddisruptionbudgets poddisruptionbudgets/status"),
    rule(READ, DRA, "resourceclaims resourceclaims/status resourceclaimtemplates"),
]  # fmt: skip
EDIT = [
    rule(READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    rule("impersonate", "core", "serviceaccounts"),
    rule(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    rule("create", "core", "pods/eviction"),
    rule(WRITE, "core", "configmaps events persistentvolumeclaims replicationcontrollers "
         "replicationcontrollers/scale secrets serviceaccounts services services/proxy"),
    rule("create", "core", "serviceaccounts/token"),
    rule(WRITE, APPS, "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale "
         "statefulsets statefulsets/scale"),
    rule(WRITE, SCALING, "horizontalpodautoscalers"),
    rule(WRITE, BATCH, "cronjobs jobs"),
    rule(WRITE, NETWORKING, "ingresses networkpolicies"),
    rule(WRITE, POLICY, "poddisruptionbudgets"),
    rule(f"{READ} {WRITE}", LEASES, "leases"),
    rule(WRITE, DRA, "resourceclaims resourceclaimtemplates"),
    *VIEW,
]  # fmt: skip
ADMIN = [
    rule("create", AUTHZ, "localsubjectaccessreviews"),
    rule(f"{READ} {WRITE}", GROUP, "rolebindings roles"),
    *EDIT,
]
NODE = [
    rule("create", AUTHN, "tokenreviews"),
    rule("create", AUTHZ, "localsubjectaccessreviews subjectaccessreviews"),
    rule(READ, "core", "services"),
    rule(f"create {READ}", "core", "nodes"),
    rule("patch update", "core", "nodes/status"),
    rule("patch update", "core", "nodes"),
    EVENTS,
    rule(READ, "core", "pods"),
    rule("create delete", "core", "pods"),
    rule("patch update", "core", "pods/status"),
    rule("create", "core", "pods/eviction"),
    rule(READ, "core", "configmaps secrets"),
    rule("get", "core", "persistentvolumeclaims persistentvolumes"),
    rule("get", "core", "endpoints"),
    rule("create delete get patch update", LEASES, "leases"),
    rule("create", "core", "serviceaccounts/token"),
    rule("get", "core", "serviceaccounts"),
    rule(READ, "node.k8s.io", "runtimeclasses"),
]
SCHEDULER = [
    EVENTS,
    rule("create", LEASES, "leases"),
    rule("get list patch update watch", LEASES, "leases"),
    rule(READ, "core", "nodes"),
    rule(f"delete {READ}", "core", "pods"),
    rule("create", "core", "bindings pods/binding"),
    rule("patch update", "core", "pods/status"),
    rule(READ, "core", "namespaces persistentvolumeclaims persistentvolumes replicationcontrollers services"),
    rule(READ, APPS, "replicasets statefulsets"),
    rule(READ, POLICY, "poddisruptionbudgets"),
    rule(READ, STORAGE, "csidrivers csinodes csistoragecapacities storageclasses volumeattachments"),
    rule(READ, DRA, "deviceclasses resourceclaims resourceslices"),
    rule("patch update", DRA, "resourceclaims/status"),
    rule("create", AUTHN, "tokenreviews"),
    rule("create", AUTHZ, "subjectaccessreviews"),
]
# Upstream gives each controller a service account and a role of its own; ours are one user, with all that they need:
# the garbage collector and the namespace controller read and delete whatever there is.
CONTROLLER_MANAGER = [
    EVENTS,
    rule(f"{READ} delete deletecollection patch update", ALL, ALL),
    rule("create", "core", "configmaps endpoints nodes pods pods/eviction secrets serviceaccounts "
         "serviceaccounts/token"),
    rule("create", DISCOVERY, "endpointslices"),
    rule("create", LEASES, "leases"),
    rule("create", AUTHN, "tokenreviews"),
    rule("create", AUTHZ, "subjectaccessreviews"),
]  # fmt: skip

CLUSTER_ROLES: Mapping[str, list[Data]] = {
    "cluster-admin": [rule(ALL, ALL, ALL), paths(ALL, verbs=ALL)],
    "admin": ADMIN,
    "edit": EDIT,
    "view": VIEW,
    "system:auth-delegator": [rule("create", AUTHN, "tokenreviews"), rule("create", AUTHZ, "subjectaccessreviews")],
    "system:basic-user": [
        rule("create", AUTHZ, "selfsubjectaccessreviews selfsubjectrulesreviews"),
        rule("create", AUTHN, "selfsubjectreviews"),
    ],
    "system:discovery": [
        paths("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz",
              "/version", "/version/"),
    ],
    "system:kube-controller-manager": CONTROLLER_MANAGER,
    "system:kube-scheduler": SCHEDULER,
    "system:kubelet-api-admin": [
        rule(READ, "core", "nodes"),
        rule("proxy", "core", "nodes"),
        rule(ALL, "core", "nodes/log nodes/metrics nodes/proxy nodes/stats"),
    ],
    "system:monitoring": [
        paths("/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*"),
    ],
    "system:node": NODE,
    "system:node-proxier": [
        rule("list watch", "core", "endpoints services"),
        rule(READ, "core", "nodes"),
        EVENTS,
        rule("list watch", DISCOVERY, "endpointslices"),
    ],
    "system:public-info-viewer": [paths("/healthz", "/livez", "/readyz", "/version", "/version/")],
    "system:service-account-issuer-discovery": [
        paths("/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks",
              "/openid/v1/jwks/"),
    ],
}  # fmt: skip

BINDINGS: Mapping[str, Sequence[tuple[str, str]]] = {
    "cluster-admin": [("Group", "system:masters")],
    "system:basic-user": [("Group", AUTHENTICATED)],
    "system:discovery": [("Group", AUTHENTICATED)],
    "system:kube-controller-manager": [("User", "system:kube-controller-manager")],
    "system:kube-scheduler": [("User", "system:kube-scheduler")],
    "system:monitoring": [("Group", "system:monitoring")],
    # Upstream's is to nobody: its Node authorizer looks which node may read which secret.
    "system:node": [("Group", "system:nodes")],
    "system:node-proxier": [("User", "system:kube-proxy")],
    "system:public-info-viewer": [("Group", AUTHENTICATED), ("Group", UNAUTHENTICATED)],
    "system:service-account-issuer-discovery": [("Group", "system:serviceaccounts")],
}
"""Cluster roles, and who has each."""


def objects() -> list[tuple[Resource, Object]]:
    """All of them, as they are made."""

    def made(resource: Resource, name: str, **parts: Any) -> tuple[Resource, Object]:
        meta = {"name": name, "labels": LABELS, "annotations": {AUTOUPDATE: "true"}}
        return resource, resource.model.parse({"metadata": meta, **parts})

    found = [made(resources.CLUSTER_ROLES, name, rules=rules) for name, rules in CLUSTER_ROLES.items()]
    for name, subjects in BINDINGS.items():
        to = [{"kind": kind, "apiGroup": GROUP, "name": subject} for kind, subject in subjects]
        role = {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}
        found.append(made(resources.CLUSTER_ROLE_BINDINGS, name, roleRef=role, subjects=to))
    return found


async def ensure(verbs: Verbs) -> None:
    """Have them all. Tries until the store answers; several apiservers may do so at once."""
    await asyncio.gather(*(_ensure(verbs, resource, wanted) for resource, wanted in objects()))


async def _ensure(verbs: Verbs, resource: Resource, wanted: Any) -> None:
    part = "rules" if resource is resources.CLUSTER_ROLES else "subjects"

    def completed(present: Any) -> Any:
        if present.metadata.annotations.get(AUTOUPDATE) == "false":
            return present
        there = present.part(part) or []
        missing = [each for each in wanted.part(part) if each not in there]
        if missing:
            present.put(part, [*there, *missing])
        return present

    while True:
        try:
            try:
                found = (await verbs.get(resource, "", wanted.name, "0")).decode()
                before = found.to_dict()
                if completed(found).to_dict() != before:
                    await verbs.update(resource, "", wanted.name, completed)
                    log.info("put back what was missing", extra={"kind": resource.kind, "object": wanted.name})
            except errors.NotFound:
                await verbs.create(resource, "", wanted.clone())
            return
        except (errors.AlreadyExists, errors.NotFound):
            return  # another apiserver has done it, or somebody has just removed it
        except (Unavailable, errors.ServiceUnavailable, errors.Timeout):
            await asyncio.sleep(0.2)
