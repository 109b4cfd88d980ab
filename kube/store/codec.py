"""An object as bytes: how it is stored, served and read back.

A value is the object's JSON without its resourceVersion, and begins `{"kind":"Pod","apiVersion":"v1","metadata":{`, as
kube-apiserver writes it too (with a newline at the end). So serving one is a splice, without parsing it; only a value
that somebody else wrote with its keys in another order is parsed.
"""

from __future__ import annotations

import re
from typing import TypeVar

import orjson

from kube.api.meta import Object
from kube.store.store import KeyValue

T = TypeVar("T", bound=Object)

_head = re.compile(rb'\{"kind":"\w+","apiVersion":"[\w./-]+","metadata":\{').match


def splice_revision(value: bytes, revision: int) -> bytes:
    """The stored value with its resourceVersion: what a client sees. Raises ValueError for what is no object.

    One line, without a newline: a client may split a watch's events at the lines' ends.
    """
    head = _head(value)
    if head is None or value[-1] != _BRACE:
        return _insert_revision(value, revision)
    at = head.end()
    rest = value[at:]
    if rest[0] == _BRACE:
        return b'%b"resourceVersion":"%d"%b' % (value[:at], revision, rest)
    return b'%b"resourceVersion":"%d",%b' % (value[:at], revision, rest)


def holds(kv: KeyValue, value: bytes) -> bool:
    """Whether a key has this very value, as it is stored or as it is served."""
    return kv.value in (value, splice_revision(value, kv.revision))


_BRACE = ord("}")


def _insert_revision(value: bytes, revision: int) -> bytes:
    stripped = value.rstrip()
    if len(stripped) < len(value) and _head(stripped) and stripped[-1] == _BRACE:
        return splice_revision(stripped, revision)
    data = orjson.loads(value)
    if not isinstance(data, dict) or not isinstance(data.get("metadata"), dict):
        raise ValueError("not an API object: it has no metadata")
    head = {"kind": data.pop("kind", ""), "apiVersion": data.pop("apiVersion", "")}
    meta = {"resourceVersion": str(revision), **data.pop("metadata")}
    meta["resourceVersion"] = str(revision)
    return orjson.dumps({**head, "metadata": meta, **data})


def encode(obj: Object) -> bytes:
    """The value to store: the object without its resourceVersion, which is the key's revision."""
    if not obj.metadata.resourceVersion:
        return obj.to_json()
    meta = obj.metadata.model_copy(update={"resourceVersion": ""})
    return obj.model_copy(update={"metadata": meta}).to_json()


def decode(model: type[T], kv: KeyValue) -> T:
    """The object that a key holds, at the key's revision. Raises pydantic.ValidationError."""
    obj = model.parse(kv.value)
    obj.metadata.resourceVersion = str(kv.revision)
    return obj
