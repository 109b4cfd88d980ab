"""The schema of the API as OpenAPI v3, one document a group and version, made from the models themselves.

kubectl reads it for `explain`, and to learn whether the server checks fields (`fieldValidation`). A document takes a
moment to make and is rarely asked for, so it is made at the first request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import orjson
from pydantic.json_schema import models_json_schema

from kube.api.meta import Model, Object
from kube.api.patch import MERGE_KEYS, VALUES
from kube.api.resources import SERVED, UNSTORED, Resource
from kube.apiserver import swagger
from kube.apiserver.request import Response

REF = "#/components/schemas/"
META_MODELS = {
    "Condition", "LabelSelector", "LabelSelectorRequirement", "ListMeta", "ManagedFieldsEntry", "ObjectMeta",
    "OwnerReference", "DeleteOptions", "Preconditions",
}  # fmt: skip

QUERY_PARAMETERS = {
    "dryRun": "string", "fieldManager": "string", "fieldValidation": "string", "pretty": "string",
}  # fmt: skip


class OpenApi:
    """The documents below /openapi/v3."""

    def __init__(self, resources: Iterable[Resource] = SERVED) -> None:
        self._resources = tuple(resources)

    def find(self, path: str) -> Response | None:
        """The document at a path below /openapi/v3; None if there is none."""
        if path == "":
            index = {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={_hash(text)}"}
                     for name, text in self.documents.items()}  # fmt: skip
            return Response(orjson.dumps({"paths": index}))
        document = self.documents.get(path)
        return None if document is None else Response(document)

    def find_v2(self, accept: str) -> Response:
        """The whole schema in the old form: protobuf if the client asks for it, else JSON."""
        if any(form in accept for form in (swagger.PROTOBUF, swagger.PROTOBUF_OLD_NAME)):
            return Response(self._v2_protobuf, content_type=swagger.PROTOBUF)
        return Response(self._v2)

    @cached_property
    def _v2(self) -> bytes:
        return orjson.dumps(swagger.document(self.documents))

    @cached_property
    def _v2_protobuf(self) -> bytes:
        return swagger.protobuf(swagger.document(self.documents))

    @cached_property
    def documents(self) -> dict[str, bytes]:
        """Each group and version's, by its path: `api/v1`, `apis/coordination.k8s.io/v1`."""
        by_base: dict[str, list[Resource]] = {}
        for resource in self._resources:
            by_base.setdefault(resource.base.strip("/"), []).append(resource)
        return {base: orjson.dumps(_document(members)) for base, members in by_base.items()}


def _hash(text: bytes) -> str:
    return hashlib.sha512(text).hexdigest().upper()


def _schema_name(model: str, group: str) -> str:
    if model in META_MODELS:
        return f"io.k8s.apimachinery.pkg.apis.meta.v1.{model}"
    return f"io.k8s.api.{group.partition('.')[0] or 'core'}.v1.{model}"


def _gvk(model: type[Object]) -> dict[str, str]:
    group, _, version = model.apiVersion.rpartition("/")
    return {"group": group, "version": version, "kind": model.kind}


def _document(members: list[Resource]) -> dict[str, Any]:
    group = members[0].group
    models = [member.model for member in members]
    models += [model for model in UNSTORED if model.apiVersion == members[0].api_version]
    _, schema = models_json_schema([(model, "validation") for model in models], ref_template=REF + "{model}")
    definitions: dict[str, Any] = schema.get("$defs", {})
    by_name = {model.__name__: model for model in models}
    components = {}
    for name, definition in definitions.items():
        cleaned = _cleaned(definition, group)
        for field, extensions in _patch_rules(name).items():
            cleaned["properties"][field] |= extensions
        if name in by_name:
            typed = {"kind": {"type": "string", "description": "The kind of the object."},
                     "apiVersion": {"type": "string", "description": "The version of its schema."}}  # fmt: skip
            cleaned["properties"] = typed | cleaned.get("properties", {})
            cleaned["x-kubernetes-group-version-kind"] = [_gvk(by_name[name])]
        components[_schema_name(name, group)] = cleaned
    paths: dict[str, Any] = {}
    for member in members:
        paths |= _paths(member)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.33.0-kube"},
        "paths": paths,
        "components": {"schemas": components},
    }


def _patch_rules(name: str) -> dict[str, dict[str, str]]:
    """How kubectl merges the lists of a model: `x-kubernetes-patch-merge-key` and its like, by the field."""
    rules: dict[str, dict[str, str]] = {}
    for model, keys in MERGE_KEYS.items():
        if name in _names_below(model):
            for field, key in keys.items():
                rules[field] = {"x-kubernetes-patch-strategy": "merge"}
                if key != VALUES:
                    rules[field]["x-kubernetes-patch-merge-key"] = key
    return rules


def _names_below(model: type[Model]) -> set[str]:
    return {model.__name__}.union(*(_names_below(below) for below in model.__subclasses__()))


def _cleaned(node: Any, group: str) -> Any:
    """Pydantic's schema in upstream's words: no titles, no null alternatives, upstream's names of the models."""
    if isinstance(node, list):
        return [_cleaned(item, group) for item in node]
    if not isinstance(node, dict):
        return node
    alternatives = node.get("anyOf")
    if alternatives:
        real = [item for item in alternatives if item.get("type") != "null"]
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        if {item.get("type") for item in real} == {"integer", "string"}:
            return _cleaned({**rest, "type": "string", "format": "int-or-string"}, group)
        return _cleaned({**rest, **real[0]}, group)
    if node.get("additionalProperties") is True:
        node = {**node, "x-kubernetes-preserve-unknown-fields": True}
    result: dict[str, Any] = {}
    for key, value in node.items():
        if key in ("title", "additionalProperties") and not isinstance(value, dict):
            continue
        if key == "default" and value in (None, "", 0, False, [], {}):
            continue
        if key == "$ref":
            result["allOf"] = [{"$ref": REF + _schema_name(value.removeprefix(REF), group)}]
        elif key == "properties":
            result[key] = {name: _cleaned(item, group) for name, item in value.items()}
        else:
            result[key] = _cleaned(value, group)
    return result


def _paths(resource: Resource) -> dict[str, Any]:
    gvk = _gvk(resource.model)
    item = resource.path("{namespace}" if resource.namespaced else "", "{name}")
    collection = resource.path("{namespace}" if resource.namespaced else "")
    query = [{"name": name, "in": "query", "schema": {"type": type_, "uniqueItems": True}}
             for name, type_ in QUERY_PARAMETERS.items()]  # fmt: skip

    def operation(action: str, *, writes: bool) -> dict[str, Any]:
        described: dict[str, Any] = {
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk,
        }
        if writes:
            described["parameters"] = query
        return described

    def operations(*wanted: tuple[str, str, str, bool]) -> dict[str, Any]:
        return {method: operation(action, writes=writes) for method, verb, action, writes in wanted
                if verb in resource.verbs}  # fmt: skip

    paths = {
        collection: operations(("get", "list", "list", False), ("post", "create", "post", True)),
        item: operations(
            ("get", "get", "get", False), ("put", "update", "put", True),
            ("patch", "patch", "patch", True), ("delete", "delete", "delete", False),
        ),
    }  # fmt: skip
    return {path: found for path, found in paths.items() if found}
