"""The paths of a kind in the OpenAPI documents: what may be asked, with which parameters, and what is answered.

Names, actions and extensions are upstream's (`listCoreV1NamespacedPod`, `x-kubernetes-action`), as generators of client
libraries and kubectl read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kube.api.meta import Object
from kube.api.resources import Resource, Subresource
from kube.api.unstructured import Unstructured

SchemaOf = Callable[[str], dict[str, Any]]
"""The reference to the schema of a kind of this document (or `DeleteOptions`), by its name."""

_STRING, _INTEGER, _BOOLEAN = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_DRY_RUN = {"dryRun": _STRING}
_WRITE = {**_DRY_RUN, "fieldManager": _STRING, "fieldValidation": _STRING}
_DELETE = {**_DRY_RUN, "gracePeriodSeconds": _INTEGER, "orphanDependents": _BOOLEAN, "propagationPolicy": _STRING}
_LIST = {
    "allowWatchBookmarks": _BOOLEAN, "continue": _STRING, "fieldSelector": _STRING, "labelSelector": _STRING,
    "limit": _INTEGER, "resourceVersion": _STRING, "resourceVersionMatch": _STRING, "sendInitialEvents": _BOOLEAN,
    "timeoutSeconds": _INTEGER, "watch": _BOOLEAN,
}  # fmt: skip
_JSON = "application/json"
_FORMS = (_JSON, "application/yaml")
_PATCHES = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json")
_STRATEGIC = "application/strategic-merge-patch+json"
"""Not told of kinds that are only stored, although it is taken: kubectl would look for its rules in their schema, and
not find them; those that it was built with are better.
"""


def gvk(model: type[Object]) -> dict[str, str]:
    """`x-kubernetes-group-version-kind` of a kind."""
    group, _, version = model.apiVersion.rpartition("/")
    return {"group": group, "version": version, "kind": model.kind}


def paths(resource: Resource, schema: SchemaOf) -> dict[str, Any]:
    """The path items of a kind: collection, object, the collection of all namespaces, subresources."""
    described = _Paths(resource, schema)
    namespace = "{namespace}" if resource.namespaced else ""
    found = {resource.path(namespace): described.collection()}
    if "get" in resource.verbs:
        found[resource.path(namespace, "{name}")] = described.item()
    if resource.namespaced and "list" in resource.verbs:
        found[resource.path()] = described.everywhere()
    for sub in resource.subresources:
        found[resource.path(namespace, "{name}", sub.name)] = described.subresource(sub)
    return found


class _Paths:
    def __init__(self, resource: Resource, schema: SchemaOf) -> None:
        self._resource, self._schema = resource, schema
        group = resource.group.removesuffix(".k8s.io") or "core"
        prefix = "".join(part[:1].upper() + part[1:] for part in group.split("."))
        self._version = f"{prefix}{resource.version[:1].upper()}{resource.version[1:]}"
        self._tag = f"{group.replace('.', '')}_{resource.version}"
        if group != "core":
            self._tag = f"{prefix[:1].lower()}{prefix[1:]}_{resource.version}"
        self._patches = _PATCHES if issubclass(resource.model, Unstructured) else (*_PATCHES, _STRATEGIC)
        self._scope = "Namespaced" if resource.namespaced else ""

    def collection(self) -> dict[str, Any]:
        kind, verbs = self._resource.kind, self._resource.verbs
        found: dict[str, Any] = {"parameters": _of_path(namespaced=self._resource.namespaced)}
        if "list" in verbs:
            found["get"] = self._operation("list", "list", f"{self._scope}{kind}", f"{kind}List", _LIST)
        if "create" in verbs:
            found["post"] = self._operation("create", "post", f"{self._scope}{kind}", kind, _WRITE, takes=kind)
        if "deletecollection" in verbs:
            found["delete"] = self._operation(
                "delete", "deletecollection", f"Collection{self._scope}{kind}", "", {**_LIST, **_DELETE},
                takes="DeleteOptions",
            )  # fmt: skip
        return found

    def item(self) -> dict[str, Any]:
        kind, verbs = self._resource.kind, self._resource.verbs
        where = f"{self._scope}{kind}"
        found: dict[str, Any] = {"parameters": _of_path(namespaced=self._resource.namespaced, named=True)}
        found["get"] = self._operation("read", "get", where, kind)
        if "update" in verbs:
            found["put"] = self._operation("replace", "put", where, kind, _WRITE, takes=kind)
        if "patch" in verbs:
            found["patch"] = self._operation("patch", "patch", where, kind, {**_WRITE, "force": _BOOLEAN}, takes="")
        if "delete" in verbs:
            found["delete"] = self._operation("delete", "delete", where, "", _DELETE, takes="DeleteOptions")
        return found

    def everywhere(self) -> dict[str, Any]:
        kind = self._resource.kind
        return {
            "parameters": _of_path(),
            "get": self._operation("list", "list", f"{kind}ForAllNamespaces", f"{kind}List", _LIST),
        }

    def subresource(self, sub: Subresource) -> dict[str, Any]:
        where = f"{self._scope}{self._resource.kind}{sub.name[:1].upper()}{sub.name[1:]}"
        known = sub.kind if sub.kind == self._resource.kind else ""
        kind = {"group": sub.group or self._resource.group, "version": sub.version or self._resource.version,
                "kind": sub.kind}  # fmt: skip
        connects = sub.kind.endswith("Options")
        found: dict[str, Any] = {"parameters": _of_path(namespaced=self._resource.namespaced, named=True)}
        for verb, method, name in (
            ("get", "get", "read"), ("update", "put", "replace"), ("patch", "patch", "patch"),
            ("create", "post", "create"), ("delete", "delete", "delete"),
        ):  # fmt: skip
            if verb not in sub.verbs:
                continue
            action = "connect" if connects else method
            prefix, named = ("connect", method.capitalize() + where) if connects else (name, where)
            options = _WRITE if method in ("put", "patch", "post") and not connects else {}
            takes = None if connects or method == "get" else known if method in ("put", "post") else ""
            found[method] = self._operation(prefix, action, named, known, options, takes=takes, kind=kind)
        return found

    def _operation(
        self,
        verb: str,
        action: str,
        where: str,
        answer: str,
        parameters: dict[str, dict[str, str]] | None = None,
        *,
        takes: str | None = None,
        kind: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """`answer`, `takes`: names of schemas; "" is any. `takes` None: no body."""
        shown = {form: {"schema": self._schema(answer)} for form in _FORMS} if answer else {_JSON: {}}
        code = "201" if action == "post" else "200"
        described: dict[str, Any] = {
            "tags": [self._tag],
            "operationId": f"{verb}{self._version}{where}",
            "parameters": [
                {"name": name, "in": "query", "schema": {**schema, "uniqueItems": True}}
                for name, schema in (parameters or {}).items()
            ],
            "responses": {code: {"description": "OK", "content": shown}, "401": {"description": "Unauthorized"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind or gvk(self._resource.model),
        }
        if takes is not None:
            described["requestBody"] = _body(self._patches if action == "patch" else (_JSON,), takes, self._schema)
        return described


def _body(forms: Sequence[str], takes: str, schema: SchemaOf) -> dict[str, Any]:
    content = {form: {"schema": schema(takes)} if takes else {} for form in forms}
    return {"content": content} if takes == "DeleteOptions" else {"content": content, "required": True}


def _of_path(*, namespaced: bool = False, named: bool = False) -> list[dict[str, Any]]:
    names: Iterable[str] = [name for name, wanted in (("namespace", namespaced), ("name", named)) if wanted]
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {**_STRING, "uniqueItems": True}} for name in names
    ]
    return [*found, {"name": "pretty", "in": "query", "schema": {**_STRING, "uniqueItems": True}}]
