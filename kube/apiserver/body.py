"""Reading bodies: bytes of some media type become JSON-ready data. What the data means is kube/api/decode.py's.

(apimachinery/pkg/runtime/serializer)
"""

from __future__ import annotations

from typing import Any

import yaml

from kube.api import decode, errors, protobuf
from kube.api.meta import Model, Object
from kube.apiserver.repeated import in_json, in_yaml
from kube.apiserver.request import Request

YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")
# What curl -d sends unless told otherwise: taken for JSON or YAML (docs/differences.md).
CURL_DEFAULT = "application/x-www-form-urlencoded"


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: what looks like a date is a string."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def read(request: Request, model: type[Object]) -> tuple[dict[str, Any], list[str]]:
    """The body as data of the right kind, and warnings about it."""
    data = parse(request.body, request.content_type, model)
    warnings: list[str] = []
    check_fields(request, data, model, warnings, of_body=True)
    return data, warnings


def check_fields(
    request: Request, data: dict[str, Any], model: type[Object], warnings: list[str], *, of_body: bool = False
) -> None:
    """Unknown fields, and keys that stand twice in a body, are an error (`fieldValidation=Strict`), a warning (the
    default), or nothing (`Ignore`).
    """
    level = request.query.text("fieldValidation", "Warn") or "Warn"
    if level == "Ignore":
        return
    if level not in ("Strict", "Warn"):
        found = [errors.not_supported("fieldValidation", level, ["", "Ignore", "Strict", "Warn"])]
        kind = {"PUT": "UpdateOptions", "PATCH": "PatchOptions"}.get(request.method, "CreateOptions")
        raise errors.invalid_object(kind, "", found, "meta.k8s.io")
    repeated, of_yaml = _repeated(request, data) if of_body else ([], False)
    if level == "Strict":
        lines = ["yaml: unmarshal errors:\n  " + "\n  ".join(repeated)] if of_yaml and repeated else repeated
        decode.decode(model, data, strict=True, repeated=lines)
    warnings += repeated
    warnings += [f'unknown field "{path}"' for path in decode.unknown_fields(model, data)]


def _repeated(request: Request, data: dict[str, Any]) -> tuple[list[str], bool]:
    """The keys that a body holds twice, as they are told of, and whether it is YAML."""
    if request.content_type == protobuf.MEDIA_TYPE:
        return [], False
    if request.content_type in ("", "application/json") or request.body.lstrip()[:1] in b"{[":
        # Without nulls, which are left out, the data are all that the decoder made of it.
        return in_json(request.body, None if b"null" in request.body else data), False
    return in_yaml(request.body), True


def parse(body: bytes, content_type: str, model: type[Model]) -> dict[str, Any]:
    """The JSON object that a body is, without nulls. Raises BadRequest, UnsupportedMediaType."""
    if content_type in ("", "application/json"):
        data = decode.load(model, body)
    elif content_type in YAML_TYPES or content_type == CURL_DEFAULT:
        data = decode.load(model, body) if body.lstrip()[:1] in b"{[" else _yaml(body)
    elif content_type == protobuf.MEDIA_TYPE:
        data = protobuf.decode(body, model)
    else:
        raise errors.UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            f"application/json, application/yaml, {protobuf.MEDIA_TYPE}"
        )
    if b"null" not in body and isinstance(data, dict) and content_type in ("", "application/json"):
        return data
    result: dict[str, Any] = without_nulls(data)
    return result


def _yaml(body: bytes) -> dict[str, Any]:
    try:
        documents = list(yaml.load_all(body, _Loader))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise errors.BadRequest(f"the body of the request is not valid YAML: {' '.join(str(error).split())}") from None
    documents = [document for document in documents if document is not None]
    if not documents:
        raise errors.BadRequest("the body of the request is empty: an object is expected")
    if len(documents) > 1:
        raise errors.BadRequest(f"the body holds {len(documents)} YAML documents: send one object a request")
    if not isinstance(documents[0], dict):
        raise errors.BadRequest("the body of the request is not an object")
    document: dict[str, Any] = documents[0]
    _check_unfolded(document, len(body))
    return document


def _check_unfolded(document: object, length: int) -> None:
    """Refuse what aliases blow up: each is a reference now, and would be a copy from here on."""
    left = 10 * length + 1000
    waiting: list[object] = [document]
    while waiting:
        node = waiting.pop()
        left -= 1
        if left < 0:
            raise errors.BadRequest("the body of the request is not valid YAML: document contains excessive aliasing")
        if isinstance(node, dict):
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def without_nulls(data: Any) -> Any:
    """JSON null is the same as an absent field, as for Go's decoder."""
    if isinstance(data, dict):
        return {str(key): without_nulls(value) for key, value in data.items() if value is not None}
    if isinstance(data, list):
        return [without_nulls(value) for value in data if value is not None]
    return data
