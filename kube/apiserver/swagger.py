"""The schema as OpenAPI v2 (Swagger), for kubectls before 1.27: as JSON, and in the protobuf form that they ask for.

It is the v3 documents turned into one. The protobuf form is gnostic's (openapiv2/OpenAPIv2.proto); of its messages only
those are declared here that the documents need, with upstream's names and field numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
PROTOBUF_OLD_NAME = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
"""How kubectls ask for it up to now; as an answer's type it would be refused, for a media type may not hold an @."""

V3_REF, V2_REF = "#/components/schemas/", "#/definitions/"


def document(v3_documents: Mapping[str, bytes]) -> dict[str, Any]:
    """One Swagger document from the v3 documents of all groups."""
    definitions: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    info: dict[str, Any] = {}
    for text in v3_documents.values():
        v3 = orjson.loads(text)
        info = v3["info"]
        schemas = v3["components"]["schemas"]
        # Of a kind that is only stored nothing is known; kubectl's own types serve it better than a half truth.
        stored = {name for name, schema in schemas.items() if schema.get("x-kubernetes-preserve-unknown-fields")}
        for name, schema in schemas.items():
            if name not in stored and name.removesuffix("List") not in stored:
                definitions[name] = _schema(schema)
        for path, operations in v3["paths"].items():
            paths[path] = {verb: _operation(each) for verb, each in operations.items() if verb != "parameters"}
    return {"swagger": "2.0", "info": info, "paths": paths, "definitions": definitions}


def _schema(node: Any) -> Any:
    if isinstance(node, list):
        return [_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "oneOf" in node:
        # v2 knows one type alone: kubectl takes a number where such a string may be.
        return {"type": "string", **{key: value for key, value in node.items() if key != "oneOf"}}
    if set(node.get("allOf", [{}])[0]) == {"$ref"}:
        # v2 lets a description stand beside a reference.
        rest = {key: value for key, value in node.items() if key != "allOf"}
        return {**rest, "$ref": node["allOf"][0]["$ref"].replace(V3_REF, V2_REF)}
    return {key: _schema(value) for key, value in node.items()}


def _operation(operation: Mapping[str, Any]) -> dict[str, Any]:
    parameters = [{"name": p["name"], "in": p["in"], "type": p["schema"]["type"], "uniqueItems": True}
                  for p in operation.get("parameters", ())]  # fmt: skip
    kept = {key: value for key, value in operation.items() if key not in ("parameters", "requestBody", "responses")}
    kept["responses"] = {code: {"description": each["description"]} for code, each in operation["responses"].items()}
    return {**kept, **({"parameters": parameters} if parameters else {})}


_STRING, _BOOL = "string", "bool"
# message: {field: (number, type, repeated)}
_MESSAGES: dict[str, dict[str, tuple[int, str, bool]]] = {
    "Any": {"yaml": (2, _STRING, False)},
    "NamedAny": {"name": (1, _STRING, False), "value": (2, "Any", False)},
    "Info": {"title": (1, _STRING, False), "version": (2, _STRING, False)},
    "TypeItem": {"value": (1, _STRING, True)},
    "ItemsItem": {"schema": (1, "Schema", True)},
    "NamedSchema": {"name": (1, _STRING, False), "value": (2, "Schema", False)},
    "Properties": {"additional_properties": (1, "NamedSchema", True)},
    "AdditionalPropertiesItem": {"schema": (1, "Schema", False), "boolean": (2, _BOOL, False)},
    "Schema": {
        "_ref": (1, _STRING, False), "format": (2, _STRING, False), "description": (4, _STRING, False),
        "required": (19, _STRING, True), "additional_properties": (21, "AdditionalPropertiesItem", False),
        "type": (22, "TypeItem", False), "items": (23, "ItemsItem", False), "properties": (25, "Properties", False),
        "vendor_extension": (31, "NamedAny", True),
    },
    "Definitions": {"additional_properties": (1, "NamedSchema", True)},
    "QueryParameterSubSchema": {
        "in": (2, _STRING, False), "name": (4, _STRING, False), "type": (6, _STRING, False),
        "unique_items": (20, _BOOL, False),
    },
    "NonBodyParameter": {"query_parameter_sub_schema": (3, "QueryParameterSubSchema", False)},
    "Parameter": {"non_body_parameter": (2, "NonBodyParameter", False)},
    "ParametersItem": {"parameter": (1, "Parameter", False)},
    "Operation": {"parameters": (8, "ParametersItem", True), "vendor_extension": (13, "NamedAny", True)},
    "PathItem": {
        "get": (2, "Operation", False), "put": (3, "Operation", False), "post": (4, "Operation", False),
        "delete": (5, "Operation", False), "patch": (8, "Operation", False),
    },
    "NamedPathItem": {"name": (1, _STRING, False), "value": (2, "PathItem", False)},
    "Paths": {"path": (2, "NamedPathItem", True)},
    "Document": {
        "swagger": (1, _STRING, False), "info": (2, "Info", False), "paths": (8, "Paths", False),
        "definitions": (9, "Definitions", False),
    },
}  # fmt: skip


@cache
def _classes() -> dict[str, Any]:
    """The message classes, from _MESSAGES."""
    file = descriptor_pb2.FileDescriptorProto(name="kube/openapi_v2.proto", package="openapi.v2", syntax="proto3")
    field_type = descriptor_pb2.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, type_, repeated) in fields.items():
            label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if type_ in (_STRING, _BOOL):
                added.type = field_type.TYPE_STRING if type_ == _STRING else field_type.TYPE_BOOL
            else:
                added.type, added.type_name = field_type.TYPE_MESSAGE, f".openapi.v2.{type_}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"openapi.v2.{name}")) for name in _MESSAGES
    }


def message(name: str) -> Any:
    """The class of one of gnostic's messages."""
    return _classes()[name]


def protobuf(swagger: Mapping[str, Any]) -> bytes:
    """The document in gnostic's protobuf form."""
    result = message("Document")(swagger=swagger["swagger"])
    result.info.title, result.info.version = swagger["info"]["title"], swagger["info"]["version"]
    for name, schema in swagger["definitions"].items():
        named = result.definitions.additional_properties.add(name=name)
        _fill_schema(named.value, schema)
    for path, operations in swagger["paths"].items():
        item = result.paths.path.add(name=path).value
        for verb, operation in operations.items():
            _fill_operation(getattr(item, verb), operation)
    content: bytes = result.SerializeToString()
    return content


def _fill_schema(target: Any, schema: Mapping[str, Any]) -> None:
    target.SetInParent()
    if "$ref" in schema:
        setattr(target, "_ref", schema["$ref"])  # noqa: B010  (mangled inside a class, and unknown to the checker)
    target.format = schema.get("format", "")
    target.description = schema.get("description", "")
    target.required.extend(schema.get("required", ()))
    if "type" in schema:
        target.type.value.append(schema["type"])
    if "items" in schema:
        _fill_schema(target.items.schema.add(), schema["items"])
    for name, value in schema.get("properties", {}).items():
        _fill_schema(target.properties.additional_properties.add(name=name).value, value)
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        _fill_schema(target.additional_properties.schema, extra)
    _fill_extensions(target, schema)


def _fill_operation(target: Any, operation: Mapping[str, Any]) -> None:
    target.SetInParent()
    for parameter in operation.get("parameters", ()):
        query = target.parameters.add().parameter.non_body_parameter.query_parameter_sub_schema
        query.name, query.type, query.unique_items = parameter["name"], parameter["type"], True
        setattr(query, "in", parameter["in"])
    _fill_extensions(target, operation)


def _fill_extensions(target: Any, node: Mapping[str, Any]) -> None:
    for name, value in node.items():
        if name.startswith("x-"):
            # JSON is YAML.
            target.vendor_extension.add(name=name).value.yaml = orjson.dumps(value).decode()
