"""The schema of the API as OpenAPI v3, one document a group and version, made from the models themselves.

kubectl reads it for `explain`, and to learn whether the server checks fields (`fieldValidation`). A document takes a
moment to make and is rarely asked for, so it is made at the first request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, get_args, get_origin

import orjson
from pydantic.json_schema import models_json_schema

from kube.api.meta import DeleteOptions, ListMeta, Model, Object
from kube.api.patch import MERGE_KEYS, VALUES
from kube.api.resources import SERVED, UNSTORED, Resource
from kube.apiserver import operations, swagger
from kube.apiserver.operations import gvk
from kube.apiserver.request import Response

REF = "#/components/schemas/"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
PACKAGES = {module: module for module in ("authentication", "authorization", "autoscaling", "coordination",
                                          "discovery", "events", "policy")}  # fmt: skip
"""The packages of models that are no kinds, by the module of kube.api; all others are core's."""

SCALARS: dict[str, dict[str, Any]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {
        "oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string",
    },
}  # fmt: skip
"""What has a name in upstream's documents although it is no object."""
QUANTITY, INT_OR_STRING = SCALARS


NOT_REQUIRED = {
    ("EndpointSlice", "ports"), ("EventSeries", "count"), ("ProjectedVolumeSource", "sources"),
    ("ServicePort", "targetPort"),
}  # fmt: skip
"""Fields that are always written, and may be left out."""


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


def schema_name(model: type[Model]) -> str:
    """What upstream calls the schema of a model: by the package of Kubernetes that declares it."""
    module = model.__module__.rpartition(".")[2]
    if module == "meta":
        return META + model.__name__
    if issubclass(model, Object):
        group, _, version = model.apiVersion.rpartition("/")
        return f"io.k8s.api.{group.partition('.')[0] or 'core'}.{version}.{model.__name__}"
    return f"io.k8s.api.{PACKAGES.get(module, 'core')}.v1.{model.__name__}"


def _models_below(models: Iterable[type[Model]]) -> dict[str, type[Model]]:
    """All models that the fields of some lead to, by their names."""
    found: dict[str, type[Model]] = {}
    waiting: list[Any] = [*models]
    while waiting:
        each = waiting.pop()
        if isinstance(each, type) and issubclass(each, Model):
            if each.__name__ not in found:
                found[each.__name__] = each
                waiting += [field.annotation for field in each.model_fields.values()]
        else:
            waiting += get_args(each)
    return found


def _document(members: list[Resource]) -> dict[str, Any]:
    models: list[type[Model]] = [member.model for member in members]
    models += [model for model in UNSTORED if model.apiVersion == members[0].api_version]
    models += [ListMeta, DeleteOptions]
    _, schema = models_json_schema([(model, "validation") for model in models], ref_template=REF + "{model}")
    definitions: dict[str, Any] = schema.get("$defs", {})
    known = _models_below(models)
    names = {name: schema_name(known[name]) for name in definitions}
    components: dict[str, Any] = dict(SCALARS)
    for name, definition in definitions.items():
        cleaned = _cleaned(definition, names)
        for field, extensions in _patch_rules(name).items():
            cleaned["properties"][field] |= extensions
        model = known[name]
        if needed := _required(model):
            cleaned["required"] = needed
        if model in models and issubclass(model, Object):
            cleaned["properties"] = _TYPED | cleaned.get("properties", {})
            cleaned["x-kubernetes-group-version-kind"] = [gvk(model)]
        components[names[name]] = cleaned
    for member in members:
        if "list" in member.verbs:
            components[f"{names[member.model.__name__]}List"] = _list_of(member, names)

    def reference(kind: str) -> dict[str, str]:
        own = kind.removesuffix("List") if kind not in names else kind
        return {"$ref": REF + names[own] + kind.removeprefix(own)}

    paths: dict[str, Any] = {}
    for member in members:
        paths |= operations.paths(member, reference)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.33.0-kube"},
        "paths": paths,
        "components": {"schemas": components},
    }


def _required(model: type[Model]) -> list[str]:
    """The fields without which an object makes no sense: those that Go writes also when they are empty.

    Structs, which are never empty, are not among them.
    """
    return [
        name
        for name, field in model.model_fields.items()
        if field.validate_default and field.default is None and _plain(field.annotation)
        if (model.__name__, name) not in NOT_REQUIRED
    ]


def _plain(annotation: Any) -> bool:
    if get_origin(annotation) is list:
        return True
    if isinstance(annotation, type):
        return issubclass(annotation, str | int)
    return bool(get_args(annotation)) and all(map(_plain, get_args(annotation)))


_TYPED = {
    "kind": {"type": "string", "description": "The kind of the object."},
    "apiVersion": {"type": "string", "description": "The version of its schema."},
}


def _list_of(member: Resource, names: Mapping[str, str]) -> dict[str, Any]:
    item, kind = {"$ref": REF + names[member.model.__name__]}, {**gvk(member.model), "kind": f"{member.kind}List"}
    return {
        "type": "object",
        "description": f"{member.kind}List is a list of {member.plural}.",
        "properties": {
            **_TYPED,
            "metadata": {"allOf": [{"$ref": REF + names["ListMeta"]}], "description": "About the list."},
            "items": {"type": "array", "items": {"allOf": [item]}, "description": "The objects."},
        },
        "required": ["items"],
        "x-kubernetes-group-version-kind": [kind],
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


def _cleaned(node: Any, names: Mapping[str, str]) -> Any:
    """Pydantic's schema in upstream's words: no titles, no null alternatives, upstream's names of the models."""
    if isinstance(node, list):
        return [_cleaned(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    alternatives = node.get("anyOf")
    if alternatives:
        real = [item for item in alternatives if item.get("type") != "null"]
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        if {item.get("type") for item in real} == {"integer", "string"}:
            return _cleaned({**rest, "$ref": INT_OR_STRING}, names)
        return _cleaned({**rest, **real[0]}, names)
    if node.get("format") == "quantity":
        node = {**{key: value for key, value in node.items() if key not in ("type", "format")}, "$ref": QUANTITY}
    if node.get("additionalProperties") is True:
        node = {**node, "x-kubernetes-preserve-unknown-fields": True}
    result: dict[str, Any] = {}
    for key, value in node.items():
        if key in ("title", "additionalProperties") and not isinstance(value, dict):
            continue
        if key == "default" and value in (None, "", 0, False, [], {}):
            continue
        if key == "$ref":
            name = value.removeprefix(REF)
            result["allOf"] = [{"$ref": REF + names.get(name, name)}]
        elif key == "properties":
            result[key] = {name: _cleaned(item, names) for name, item in value.items()}
        else:
            result[key] = _cleaned(value, names)
    return result
