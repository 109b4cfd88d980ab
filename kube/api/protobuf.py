"""Kubernetes' protobuf form of objects, read into the data that their JSON would be.

Typed Go clients write it: kubectl since 1.32 for `create deployment` and the like, Kubernetes' own daemons always. A
body is four magic bytes and an envelope (runtime.Unknown) that names the kind and holds the object's message. Which
fields the messages have is data: protobuf_fields.txt, read at the first protobuf body.

Go writes every field that is no pointer, zero or not, and only the struct tags tell which zeros its JSON leaves out;
that is what the table's ! is for, so that a kind that is only stored is stored the same from both forms. Unknown fields
are skipped, as Go's decoder does. Messages cannot nest deeper than the table does, which has no cycle.

(apimachinery/pkg/runtime/serializer/protobuf; nothing is written in this form here)
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn

import orjson

from kube.api.errors import BadRequest, UnsupportedMediaType
from kube.api.meta import Model, Object

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\0"

_VARINT, _BYTES = 0, 2
"""Wire types."""
_INTEGERS = ("bool", "int32", "int64")
_TEXTS = ("string", "bytes", "blob")
INLINE = "&"


class Malformed(ValueError):
    """The bytes are no message."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message."""

    name: str
    """Its name in JSON; INLINE: the fields of its message stand in its owner's place."""
    type: str
    """A scalar (bool, int32, int64, string, bytes, blob), or the message as `alias.Name`."""
    shape: Literal["one", "list", "map"]
    """Maps are by strings."""
    keep: bool
    """A zero that is there is kept."""


@dataclass(frozen=True, slots=True)
class Table:
    """What protobuf_fields.txt says."""

    messages: Mapping[str, str]
    """By `alias.Name`, the fields as text; `fields` reads it."""
    packages: Mapping[str, str]
    """By alias, upstream's package."""
    versions: Mapping[str, str]
    """By apiVersion, the alias of the package of its kinds."""


@cache
def table() -> Table:
    """All messages; their fields are made out when they are first met."""
    messages: dict[str, str] = {}
    packages: dict[str, str] = {}
    versions: dict[str, str] = {}
    alias = name = ""
    for line in Path(__file__).with_name("protobuf_fields.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("= "):
            alias, package, *version = line[2:].split()
            packages[alias] = package
            versions.update(dict.fromkeys(version, alias))
        elif line.startswith(" "):
            messages[name] += line
        else:
            first, _, rest = line.partition(" ")
            name = f"{alias}.{first}"
            messages[name] = rest
    return Table(messages, packages, versions)


@cache
def fields(message: str) -> Mapping[int, Field]:
    """The fields of a message of the table, by their numbers. Raises KeyError."""
    alias = message.partition(".")[0]
    result: dict[int, Field] = {}
    for text in table().messages[message].split():
        number, name, type_ = text.split(":")
        keep, type_ = type_.endswith("!"), type_.removesuffix("!")
        shape: Literal["one", "list", "map"] = "one"
        if type_[0] in "[{":
            shape, type_ = ("list" if type_[0] == "[" else "map"), type_[1:-1]
        if type_[0].isupper():
            type_ = f"{alias}.{type_}"
        result[int(number)] = Field(name, type_, shape, keep)
    return result


@cache
def _entry(type_: str) -> Mapping[int, Field]:
    """The fields of one entry of a map."""
    return {1: Field("key", "string", "one", True), 2: Field("value", type_, "one", True)}


def decode(body: bytes, model: type[Model]) -> dict[str, Any]:
    """The JSON object that a protobuf body means; what kind it is of, if not said, is the model's.

    Raises BadRequest, UnsupportedMediaType.
    """
    if not body.startswith(MAGIC):
        _refuse("it does not begin with the bytes 6b 38 73 00")
    try:
        envelope = _message("runtime.Unknown", body, len(MAGIC), len(body))
        said = envelope.get("typeMeta", {})
        raw = envelope.get("raw", b"")
        content = _message(_message_of(said, model), raw, 0, len(raw))
    except Malformed as error:
        _refuse(str(error))
    return {**said, **content}


def _refuse(why: str) -> NoReturn:
    raise BadRequest(f"the body of the request is not valid Kubernetes protobuf: {why}") from None


def _message_of(said: Mapping[str, str], model: type[Model]) -> str:
    """The message of a kind."""
    kind = said.get("kind") or (model.kind if issubclass(model, Object) else model.__name__)
    version = said.get("apiVersion") or (model.apiVersion if issubclass(model, Object) else "v1")
    if kind == "DeleteOptions":
        return "meta.DeleteOptions"  # which every group has as its own
    message = f"{table().versions.get(version, '')}.{kind}"
    if message not in table().messages:
        raise UnsupportedMediaType(
            f'kind "{kind}" of version "{version}" is not known in protobuf form - accepted media types include: '
            "application/json, application/yaml"
        )
    return message


# The wire format


def _message(message: str, data: bytes, at: int, end: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    _read(fields(message), data, at, end, result)
    return result


def _read(known: Mapping[int, Field], data: bytes, at: int, end: int, into: dict[str, Any]) -> None:
    """Read a message's fields into a dict. As everywhere in protobuf a later value wins, and messages are merged."""
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise Malformed(f"field number 0 before byte {at}")
        field = known.get(number)
        if field is None:
            at = _skip(wire, data, at, end)
        elif field.type in _INTEGERS:
            at = _read_integer(field, wire, data, at, end, into)
        else:
            if wire != _BYTES:
                raise Malformed(f"wire type {wire} for field {field.name} before byte {at}")
            start, at = _length(data, at, end)
            _read_bytes(field, data, start, at, into)


def _read_integer(field: Field, wire: int, data: bytes, at: int, end: int, into: dict[str, Any]) -> int:
    if wire == _VARINT:
        value, at = _varint(data, at, end)
        number = _integer(field.type, value)
        if field.shape == "list":
            into.setdefault(field.name, []).append(number)
        else:
            _put(field, number, into)
        return at
    if wire != _BYTES or field.shape != "list":
        raise Malformed(f"wire type {wire} for field {field.name} before byte {at}")
    at, stop = _length(data, at, end)  # packed
    while at < stop:
        value, at = _varint(data, at, stop)
        into.setdefault(field.name, []).append(_integer(field.type, value))
    return at


def _integer(type_: str, value: int) -> int | bool:
    if type_ == "bool":
        return value != 0
    bits = 32 if type_ == "int32" else 64
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _read_bytes(field: Field, data: bytes, at: int, end: int, into: dict[str, Any]) -> None:
    if field.name == INLINE:
        _read(fields(field.type), data, at, end, into)
    elif field.shape == "map":
        entry: dict[str, Any] = {}
        _read(_entry(field.type), data, at, end, entry)
        value = entry["value"] if "value" in entry else _value(field.type, b"", 0, 0, None)
        into.setdefault(field.name, {})[entry.get("key", "")] = value
    elif field.shape == "list":
        into.setdefault(field.name, []).append(_value(field.type, data, at, end, None))
    else:
        _put(field, _value(field.type, data, at, end, into.get(field.name)), into)


def _put(field: Field, value: Any, into: dict[str, Any]) -> None:
    """A message is there even if it is empty (Go's omitempty never holds for structs); None is JSON's null."""
    if field.keep or value or (value is not None and "." in field.type):
        into[field.name] = value
    else:
        into.pop(field.name, None)


def _value(type_: str, data: bytes, at: int, end: int, before: Any) -> Any:
    if type_ in _TEXTS:
        value = data[at:end]
        if type_ == "blob":
            return value
        try:
            return (value if type_ == "string" else b64encode(value)).decode()
        except UnicodeDecodeError:
            raise Malformed(f"a string that is not UTF-8 at byte {at}") from None
    convert = CONVERTED.get(type_)
    if convert is not None:
        return convert(_message(type_, data, at, end))
    content: dict[str, Any] = {} if before is None else before
    _read(fields(type_), data, at, end, content)
    return content


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise Malformed(f"a number of more than 64 bits before byte {at}")
    raise Malformed("unexpected end")


def _length(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the bytes that are announced begin and end."""
    length, at = _varint(data, at, end)
    if length > end - at:
        raise Malformed("unexpected end")
    return at, at + length


def _skip(wire: int, data: bytes, at: int, end: int) -> int:
    """Where the next field begins."""
    depth = 0
    while True:
        match wire:
            case 0:  # a varint
                _, at = _varint(data, at, end)
            case 1:  # 64 bits
                at += 8
            case 2:  # bytes
                _, at = _length(data, at, end)
            case 3:  # a group begins
                depth += 1
            case 4 if depth:  # and ends
                depth -= 1
            case 5:  # 32 bits
                at += 4
            case _:
                raise Malformed(f"wire type {wire} before byte {at}")
        if at > end:
            raise Malformed("unexpected end")
        if not depth:
            return at
        tag, at = _varint(data, at, end)
        wire = tag & 7


# Messages whose JSON is no object

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZERO_SECONDS = -62135596800
"""Go's zero time, the beginning of the year 1: null in JSON."""


def _moment(parts: Mapping[str, int], *, micro: bool) -> str | None:
    seconds = parts.get("seconds", _ZERO_SECONDS)
    nanos = parts.get("nanos", 0) if micro else 0
    if seconds == _ZERO_SECONDS and not nanos:
        return None
    try:
        moment = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError:
        raise Malformed(f"no time has {seconds} seconds since 1970") from None
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds" if micro else "seconds") + "Z"


def _int_or_string(parts: Mapping[str, Any]) -> int | str:
    value: int | str = parts.get("strVal", "") if parts.get("type") else parts.get("intVal", 0)
    return value


def _json(parts: Mapping[str, bytes]) -> Any:
    """Of messages that have one field."""
    try:
        return orjson.loads(b"".join(parts.values()) or b"null")
    except orjson.JSONDecodeError as error:
        raise Malformed(f"what is embedded is not JSON: {error}") from None


def _items(parts: Mapping[str, list[str]]) -> list[str]:
    return parts.get("items", [])


CONVERTED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "meta.Time": lambda parts: _moment(parts, micro=False),
    "meta.MicroTime": lambda parts: _moment(parts, micro=True),
    "meta.FieldsV1": _json,
    "runtime.RawExtension": _json,
    "quantity.Quantity": lambda parts: parts.get("string", "0"),
    "intstr.IntOrString": _int_or_string,
    "authentication.ExtraValue": _items,
    "authorization.ExtraValue": _items,
    "certificates.ExtraValue": _items,
}
