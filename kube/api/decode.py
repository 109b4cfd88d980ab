"""From the bytes of a request to an object, with the API server's refusals: all of them 400.

A wrong type is refused in the words of Go's JSON decoder (`cannot unmarshal number into Go struct field
Container.spec.containers.image of type string`), made from the model and the path. A field that no model knows is
dropped; with `strict` (the parameter `fieldValidation=Strict`, which kubectl sends) it is refused, and
`unknown_fields` names it for the warning that `fieldValidation=Warn` asks for.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin

import orjson
from pydantic import ValidationError

from kube.api import resources
from kube.api.binary import Base64
from kube.api.errors import BadRequest
from kube.api.meta import Model, Object
from kube.api.scalars import Quantity
from kube.api.unstructured import Unstructured

T = TypeVar("T", bound=Model)
_RFC3339 = "2006-01-02T15:04:05Z07:00"


def decode(
    model: type[T], data: bytes | str | Mapping[str, Any], *, strict: bool = False, repeated: Sequence[str] = ()
) -> T:
    """The object that a body describes; its kind and apiVersion, if it has any, must be the model's.

    `strict`: unknown fields are refused, and so are the keys that stand there twice, of which `repeated` tells. Raises
    BadRequest.
    """
    content = load(model, data)
    if issubclass(model, Object):
        _check_type(model, content)
    try:
        result = model.parse(content)
    except ValidationError as error:
        raise wire_error(model, error) from None
    if strict and (wrong := [*repeated, *(f'unknown field "{path}"' for path in unknown_fields(model, content))]):
        listed = ", ".join(wrong)
        raise BadRequest(f"{_cannot(model)}strict decoding error: {listed}")
    return result


def load(model: type[Model], data: bytes | str | Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON object that a body holds. Raises BadRequest."""
    if isinstance(data, Mapping):
        return data
    kind = _kind(model)
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        text = "unexpected end of JSON input" if error.pos >= len(data.strip()) else str(error)
        raise BadRequest(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; "
            f"json parse error: {text} ({_summary(data)})"
        ) from None
    if not isinstance(content, dict):
        raise BadRequest(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse "
            f"error: json: cannot unmarshal {json_type(content)} into Go value of type struct {{ APIVersion string "
            f'"json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }} ({_summary(data)})'
        )
    return content


def _check_type(model: type[Object], content: Mapping[str, Any]) -> None:
    api_version, kind = content.get("apiVersion") or "", content.get("kind") or ""
    for field, value in (("apiVersion", api_version), ("kind", kind)):
        if not isinstance(value, str):
            raise BadRequest(
                f"the object provided is unrecognized (must be of type {model.kind}): couldn't get version/kind; json "
                f"parse error: json: cannot unmarshal {json_type(value)} into Go struct field .{field} of type string"
            )
    if kind and kind != model.kind:
        version = api_version or model.apiVersion
        if any(kind == m.kind for m in _KINDS):
            raise BadRequest(
                f'{kind} in version "{version}" cannot be handled as a {model.kind}: converting '
                f"({_go_package(version)}.{kind}) to ({_internal(model)}): unknown conversion"
            )
        raise _unknown(model, kind, version)
    if api_version and api_version != model.apiVersion:
        if (model.kind, api_version) not in _TYPES:
            raise _unknown(model, model.kind, api_version)
        raise BadRequest(
            f"the API version in the data ({api_version}) does not match the expected API version ({model.apiVersion})"
        )


_KINDS: tuple[type[Object], ...] = (*(resource.model for resource in resources.SERVED), *resources.UNSTORED)


_TYPES = frozenset((model.kind, model.apiVersion) for model in _KINDS)


def _unknown(model: type[Object], kind: str, version: str) -> BadRequest:
    why = f'no kind "{kind}" is registered for version "{version}" in scheme "pkg/api/legacyscheme/scheme.go:30"'
    return BadRequest(f'{kind} in version "{_go_package(version)}" cannot be handled as a {model.kind}: {why}')


def _summary(data: bytes | str) -> str:
    """The beginning of a body that cannot be read, as it is told of: in hexadecimal if it is no object."""
    raw = data.encode() if isinstance(data, str) else data
    if not raw:
        return "<empty>"
    shown = raw[:30].decode(errors="replace") if raw.startswith(b"{") else raw[:30].hex()
    return f"{shown} ..." if len(raw) > 30 else shown


def _kind(model: type[Model]) -> str:
    return model.kind if issubclass(model, Object) else model.__name__


def _go_package(api_version: str) -> str:
    return api_version.rpartition("/")[2]


def _internal(model: type[Object]) -> str:
    group = model.apiVersion.rpartition("/")[0].partition(".")[0]
    return f"{group or 'core'}.{model.kind}"


def _cannot(model: type[Model]) -> str:
    version = model.apiVersion if issubclass(model, Object) else "v1"
    return f'{_kind(model)} in version "{version}" cannot be handled as a {_kind(model)}: '


def wire_error(model: type[Model], error: ValidationError) -> BadRequest:
    """What the API server answers to a body that does not fit the model: the first thing that is wrong."""
    found = error.errors(include_url=False)
    first = next((e for e in found if e["input"] is not None), found[0])
    return BadRequest(_cannot(model) + _explain(model, first["loc"], first["type"], first["input"], first))


def _explain(model: type[Model], loc: Sequence[int | str], kind: str, value: object, error: Mapping[str, Any]) -> str:
    if kind == "value_error":
        return str(error["ctx"]["error"])
    place = _place(model, loc)
    if isinstance(value, str) and place.annotation is datetime:
        return f'parsing time "{value}" as "{_RFC3339}": cannot parse "{value}" as "2006"'
    found = json_type(value)
    if found == "number" and place.go_type.startswith("int"):
        found = f"number {value}"
    if place.struct is None:
        return f"json: cannot unmarshal {found} into Go value of type {place.go_type}"
    where = f"{place.struct.__name__}.{'.'.join(place.path)}"
    return f"json: cannot unmarshal {found} into Go struct field {where} of type {place.go_type}"


def json_type(value: object) -> str:
    """What Go calls the type of a JSON value."""
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case None:
            return "null"
        case _:
            return "object"


class _Place:
    """Where in the model a path of a validation error ends."""

    def __init__(self, struct: type[Model] | None, path: list[str], annotation: Any, field: str) -> None:
        self.struct, self.path, self.annotation = struct, path, annotation
        self.go_type = _go_type(annotation, struct, field)


def _place(model: type[Model], loc: Sequence[int | str]) -> _Place:
    struct: type[Model] | None = None
    path: list[str] = []
    annotation: Any = model
    field = ""
    for step in loc:
        annotation = plain(annotation)
        origin = get_origin(annotation)
        if origin is list:
            annotation = get_args(annotation)[0]
        elif origin is dict:
            annotation = get_args(annotation)[1]
        elif isinstance(annotation, type) and issubclass(annotation, Model) and isinstance(step, str):
            info = fields(annotation).get(step)
            if info is None:
                break
            struct, field, annotation = annotation, step, info
            path.append(step)
        else:
            break
    return _Place(struct, path, plain(annotation), field)


@cache
def fields(model: type[Model]) -> dict[str, Any]:
    """The types of a model's fields, by their names on the wire."""
    return {info.alias or name: info.annotation for name, info in model.model_fields.items()}


def plain(annotation: Any) -> Any:
    """The type itself: without metadata, and without None beside it."""
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [arg for arg in get_args(annotation) if arg is not type(None)]
        if len(rest) == 1:
            return plain(rest[0])
    return annotation


# The named string types that upstream's structs use, by the field.
_NAMED_STRINGS = {
    "restartPolicy": "RestartPolicy",
    "dnsPolicy": "DNSPolicy",
    "imagePullPolicy": "PullPolicy",
    "terminationMessagePolicy": "TerminationMessagePolicy",
    "protocol": "Protocol",
    "phase": "PodPhase",
    "sessionAffinity": "ServiceAffinity",
    "externalTrafficPolicy": "ServiceExternalTrafficPolicy",
    "internalTrafficPolicy": "ServiceInternalTrafficPolicy",
    "scheme": "URIScheme",
    "qosClass": "PodQOSClass",
}
_INT64 = {"terminationGracePeriodSeconds", "activeDeadlineSeconds", "generation", "observedGeneration", "sizeBytes",
          "runAsUser", "runAsGroup", "fsGroup", "tolerationSeconds", "deletionGracePeriodSeconds",
          "expirationSeconds", "gracePeriodSeconds"}  # fmt: skip


def _go_type(annotation: Any, struct: type[Model] | None, field: str) -> str:
    if annotation is str:
        named = _NAMED_STRINGS.get(field)
        return f"v1.{named}" if named else "string"
    if annotation is int:
        return "int64" if field in _INT64 else "int32"
    if annotation is bool:
        return "bool"
    if annotation is datetime:
        return "string"
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is list:
        return "[]" + _go_type(plain(args[0]), struct, "")
    if origin is dict:
        if args[1] == Quantity:
            return "v1.ResourceList"
        return "map[string]" + ("[]uint8" if args[1] == Base64 else _go_type(args[1], struct, ""))
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return f"v1.{annotation.__name__}"
    return "string"


def unknown_fields(model: type[Model], content: Mapping[str, Any]) -> list[str]:
    """The paths of the fields that the model does not know, as `spec.containers[0].imagePulPolicy`."""
    if issubclass(model, Unstructured):
        return []  # whatever it has is its own affair
    found: list[str] = []
    known = ("kind", "apiVersion") if issubclass(model, Object) else ()
    _find_unknown(_shape(model), content, "", known, found)
    return found


_Shape = dict[str, "type[Model] | None"]
"""The fields of a model, each with the model that it, or its list's items, are of."""


@cache
def _shape(model: type[Model]) -> _Shape:
    shape: _Shape = {}
    for name, annotation in fields(model).items():
        inner = plain(annotation)
        if get_origin(inner) is list:
            inner = plain(get_args(inner)[0])
        shape[name] = inner if isinstance(inner, type) and issubclass(inner, Model) else None
    return shape


def _find_unknown(shape: _Shape, content: Mapping[str, Any], path: str, known: Sequence[str], found: list[str]) -> None:
    # On the way of every write: paths are put together only where there is something below.
    for name, value in content.items():
        if name not in shape:
            if name not in known:
                found.append(path + name)
            continue
        model = shape[name]
        if model is None:
            continue
        if isinstance(value, dict):
            _find_unknown(_shape(model), value, f"{path}{name}.", (), found)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    _find_unknown(_shape(model), item, f"{path}{name}[{index}].", (), found)
