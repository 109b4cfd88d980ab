"""An object as bytes: how it is stored, served and read back.

A value is the object's JSON without its resourceVersion, and begins `{"kind":"Pod","apiVersion":"v1","metadata":{`, as
kube-apiserver writes it too. So serving one is a splice at a place found once, without parsing it.
"""

from __future__ import annotations

from typing import TypeVar

import orjson

from kube.api.meta import Object
from kube.store.store import KeyValue

T = TypeVar("T", bound=Object)

_METADATA = b'"metadata":{'
_SEARCH = 200
"""Bytes in which the metadata must begin for a splice; kind and apiVersion come before it, and nothing else."""


def splice_revision(value: bytes, revision: int) -> bytes:
    """The stored value with its resourceVersion: what a client sees. Raises ValueError for what is no object."""
    at = value.find(_METADATA, 0, _SEARCH)
    if at < 0:
        return _insert_revision(value, revision)
    at += len(_METADATA)
    separator = b"" if value[at : at + 1] == b"}" else b","
    return b'%b"resourceVersion":"%d"%b%b' % (value[:at], revision, separator, value[at:])


def _insert_revision(value: bytes, revision: int) -> bytes:
    data = orjson.loads(value)
    if not isinstance(data, dict) or not isinstance(data.get("metadata"), dict):
        raise ValueError("not an API object: it has no metadata")
    head = {"kind": data.pop("kind", ""), "apiVersion": data.pop("apiVersion", "")}
    meta = {"resourceVersion": str(revision), **data.pop("metadata")}
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
