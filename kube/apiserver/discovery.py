"""What there is: the documents from which a client learns the groups, versions and resources.

All are made once, from the table of kinds. (apiserver/pkg/endpoints/discovery)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from kube.api.resources import SERVED, Resource
from kube.apiserver.request import JSON, Response

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


GROUPS = (
    "", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch",
    "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io",
    "admissionregistration.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io",
    "resource.k8s.io",
)  # fmt: skip
"""In this order: a client that is asked for `events` takes the first group that has some. (kube-apiserver's
apiVersionPriorities) Groups of another kind come last."""
_PLACES = {group: place for place, group in enumerate(GROUPS)}


class Discovery:
    """The documents, by path."""

    def __init__(self, resources: Iterable[Resource] = SERVED, address: str = "") -> None:
        """`address`: host and port at which clients find the server."""
        by_group: dict[str, dict[str, list[Resource]]] = {}
        for resource in sorted(resources, key=lambda each: _PLACES.get(each.group, len(GROUPS))):
            by_group.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
        core = by_group.pop("", {})
        self._documents: dict[str, bytes] = {}
        self._aggregated: dict[str, bytes] = {}
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}] if address else []
        self._add("/api", {"kind": "APIVersions", "versions": list(core), "serverAddressByClientCIDRs": addresses})
        groups = [_group(name, list(versions)) for name, versions in by_group.items()]
        self._add("/apis", {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        for group in groups:
            self._add(f"/apis/{group['name']}", {"kind": "APIGroup", "apiVersion": "v1", **group})
        for name, versions in {"": core, **by_group}.items():
            for version, members in versions.items():
                group_version = f"{name}/{version}" if name else version
                document = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
                            "resources": [entry for member in members for entry in _entries(member)]}  # fmt: skip
                self._add(f"/apis/{group_version}" if name else f"/api/{version}", document)
        self._aggregated["/api"] = _aggregate({"": core})
        self._aggregated["/apis"] = _aggregate(by_group)

    def _add(self, path: str, document: dict[str, Any]) -> None:
        self._documents[path] = orjson.dumps(document)

    def paths(self) -> list[str]:
        """All paths, as the root shows them."""
        around = ("/docs", "/healthz", "/livez", "/metrics", "/openapi/v3", "/readyz", "/version")
        return sorted([*self._documents, *around])

    def find(self, path: str, accept: str) -> Response | None:
        """The document at a path, in the form that the client prefers."""
        path = path.rstrip("/")
        if path in self._aggregated and any(_asks_aggregated(kind) for kind in accept.split(",")):
            return Response(self._aggregated[path], content_type=AGGREGATED)
        found = self._documents.get(path)
        return None if found is None else Response(found, content_type=JSON)


def _asks_aggregated(media_type: str) -> bool:
    parameters = {part.strip() for part in media_type.split(";")}
    return {"as=APIGroupDiscoveryList", "v=v2", "g=apidiscovery.k8s.io"} <= parameters


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _entries(resource: Resource) -> list[dict[str, Any]]:
    """A resource and its subresources, as APIResource objects."""
    own: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        own["shortNames"] = list(resource.short_names)
    if resource.categories:
        own["categories"] = list(resource.categories)
    entries = [own]
    for sub in resource.subresources:
        entry: dict[str, Any] = {
            "name": f"{resource.plural}/{sub.name}", "singularName": "", "namespaced": resource.namespaced,
            "kind": sub.kind, "verbs": sorted(sub.verbs),
        }  # fmt: skip
        if sub.group:
            entry |= {"group": sub.group, "version": sub.version}
        entries.append(entry)
    return entries


def _aggregate(groups: dict[str, dict[str, list[Resource]]]) -> bytes:
    """All groups in one document (apidiscovery.k8s.io/v2)."""
    items = [
        {
            "metadata": {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None},
            "versions": [
                {"version": version, "freshness": "Current", "resources": [_aggregated(member) for member in members]}
                for version, members in versions.items()
            ],
        }
        for name, versions in groups.items()
    ]
    return orjson.dumps(
        {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}
    )


def _kind(resource: Resource, kind: str, group: str = "", version: str = "") -> dict[str, str]:
    return {"group": group or resource.group, "version": version or resource.version, "kind": kind}


def _aggregated(resource: Resource) -> dict[str, Any]:
    subresources = [
        {"subresource": sub.name, "responseKind": _kind(resource, sub.kind, sub.group, sub.version),
         "verbs": sorted(sub.verbs)}
        for sub in resource.subresources
    ]  # fmt: skip
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": _kind(resource, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if subresources:
        entry["subresources"] = subresources
    return entry
