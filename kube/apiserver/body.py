"""Reading bodies: bytes of some media type become an object of the kind that the path names, or an error that says
where it is wrong. (apiserver/pkg/endpoints/handlers/{create,patch}.go, apimachinery/pkg/runtime/serializer)
"""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
import yaml
from pydantic import BaseModel, ValidationError

from kube.api import errors, validation
from kube.api.meta import Object

T = TypeVar("T", bound=Object)

YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")
# What curl -d sends unless told otherwise: taken for JSON or YAML (docs/differences.md).
CURL_DEFAULT = "application/x-www-form-urlencoded"


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: what looks like a date is a string."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def parse(body: bytes, content_type: str) -> dict[str, Any]:
    """The JSON object that a body is. Raises BadRequest, UnsupportedMediaType."""
    if content_type in ("", "application/json"):
        data = _json(body)
    elif content_type in YAML_TYPES or content_type == CURL_DEFAULT:
        data = _json(body) if body.lstrip()[:1] == b"{" else _yaml(body)
    else:
        raise errors.UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json, application/yaml"
        )
    if not isinstance(data, dict):
        raise errors.BadRequest("the body of the request must be one JSON or YAML object")
    return without_nulls(data) if b"null" in body or b"~" in body or content_type != "application/json" else data


def _json(body: bytes) -> Any:
    if not body.strip():
        raise errors.BadRequest("the body of the request is empty: an object is expected")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise errors.BadRequest(f"the body of the request is not valid JSON: {error}") from None


def _yaml(body: bytes) -> Any:
    try:
        documents = list(yaml.load_all(body, _Loader))  # noqa: S506  (_Loader is a safe loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise errors.BadRequest(f"the body of the request is not valid YAML: {' '.join(str(error).split())}") from None
    documents = [document for document in documents if document is not None]
    if not documents:
        raise errors.BadRequest("the body of the request is empty: an object is expected")
    if len(documents) > 1:
        raise errors.BadRequest(f"the body holds {len(documents)} YAML documents: send one object a request")
    return documents[0]


def without_nulls(data: Any) -> Any:
    """JSON null is the same as an absent field, as for Go's decoder."""
    if isinstance(data, dict):
        return {str(key): without_nulls(value) for key, value in data.items() if value is not None}
    if isinstance(data, list):
        return [without_nulls(value) for value in data if value is not None]
    return data


def check_kind(data: dict[str, Any], model: type[Object]) -> None:
    """The object must be of the kind that the path is for; empty fields stand for it. Raises BadRequest."""
    kind, api_version = data.get("kind") or model.kind, data.get("apiVersion") or model.apiVersion
    if (kind, api_version) != (model.kind, model.apiVersion):
        group, _, version = str(api_version).rpartition("/")
        want_group, _, want_version = model.apiVersion.rpartition("/")
        raise errors.BadRequest(
            f"{kind} in version {errors.quote(version)} cannot be handled as a {model.kind}: "
            f"the path expects /{want_group or ''}, Kind={model.kind}, version {want_version}, "
            f"the body says /{group}, Kind={kind}, version {version}"
        )


def decode(data: dict[str, Any], model: type[T]) -> T:
    """The object. Raises BadRequest with the field that is of the wrong type."""
    try:
        return model.model_validate_json(orjson.dumps(data))
    except ValidationError as error:
        raise validation.decode_error(model, error) from None
    except (TypeError, RecursionError) as error:
        raise errors.BadRequest(f"the body of the request cannot be read: {error}") from None


def unknown_fields(data: Any, model: type[BaseModel], path: str = "") -> list[str]:
    """The paths of fields that the model does not have, as upstream's strict decoder lists them."""
    unknown: list[str] = []
    for key, value in data.items():
        if not path and key in ("kind", "apiVersion"):
            continue
        field = model.model_fields.get(key) or model.model_fields.get(f"{key}_")
        here = f"{path}.{key}" if path else key
        if field is None:
            unknown.append(here)
            continue
        inner = _model_in(field.annotation)
        if inner is None:
            continue
        if isinstance(value, dict):
            unknown += unknown_fields(value, inner, here)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    unknown += unknown_fields(item, inner, f"{here}[{index}]")
    return unknown


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside `X | None`, `list[X]` or `X` itself; none for plain data (maps of strings among it)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    arguments = getattr(annotation, "__args__", ())
    if getattr(annotation, "__origin__", None) is dict:
        return None
    return next((found for argument in arguments if (found := _model_in(argument))), None)
