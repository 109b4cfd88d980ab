"""How an answer is shown: as the object, as a Table (kubectl get), or as its metadata alone; in JSON or YAML.

The client names what it takes in `Accept`, best first; the first that we can make is taken. Protobuf is only read
(body.py), not made, and every client that asks for it takes JSON, too.
(apiserver/pkg/endpoints/handlers/{negotiation,response.go})
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Protocol

import orjson
import yaml

from kube.api import errors
from kube.api.resources import Resource
from kube.apiserver import printers
from kube.apiserver.request import JSON, Large

YAML = "application/yaml"
META = "meta.k8s.io/v1"
ACCEPTED = "application/json, application/yaml"


class View(Protocol):
    """One way to show objects; each method gives JSON."""

    plain: bool
    """Objects are shown as the bytes that they are."""

    def one(self, resource: Resource, value: bytes) -> bytes:
        """One object."""

    def many(self, resource: Resource, meta: Mapping[str, Any], values: Iterable[bytes]) -> bytes:
        """A list, with its metadata."""

    def follow(self, resource: Resource) -> Callable[[bytes], bytes]:
        """What shows the objects of one watch, one after the other."""


class Plain:
    """As it is."""

    plain = True

    def one(self, resource: Resource, value: bytes) -> bytes:
        return value

    def many(self, resource: Resource, meta: Mapping[str, Any], values: Iterable[bytes]) -> bytes:
        return _listed(f"{resource.kind}List", resource.api_version, meta, values)

    def follow(self, resource: Resource) -> Callable[[bytes], bytes]:
        return partial(self.one, resource)


class Table:
    """Rows and columns; `include` says how much of each object goes with its row: None, Metadata or Object."""

    plain = False

    def __init__(self, include: str) -> None:
        if include not in ("None", "Metadata", "Object"):
            found = [errors.not_supported("includeObject", include, ["None", "Metadata", "Object"])]
            raise errors.invalid_object("TableOptions", "", found, "meta.k8s.io")
        self._include = include

    def one(self, resource: Resource, value: bytes) -> bytes:
        return orjson.dumps(self._table(resource, value))

    def _table(self, resource: Resource, value: bytes) -> dict[str, Any]:
        obj = resource.model.parse(value)
        return printers.table(resource, [obj], obj.metadata.resourceVersion, self._include)

    def many(self, resource: Resource, meta: Mapping[str, Any], values: Iterable[bytes]) -> bytes:
        objects = [resource.model.parse(value) for value in values]
        table = printers.table(resource, objects, str(meta["resourceVersion"]), self._include)
        return orjson.dumps({**table, "metadata": meta})

    def follow(self, resource: Resource) -> Callable[[bytes], bytes]:
        """Only the first table names the columns (handlers/watch.go: NoHeaders)."""
        named = False

        def show(value: bytes) -> bytes:
            nonlocal named
            table = self._table(resource, value)
            if named:
                table["columnDefinitions"] = None
            named = True
            return orjson.dumps(table)

        return show


class Metadata:
    """PartialObjectMetadata: for controllers that only look at labels and owners."""

    plain = False

    def one(self, resource: Resource, value: bytes) -> bytes:
        head = {"kind": "PartialObjectMetadata", "apiVersion": META}
        return orjson.dumps({**head, "metadata": orjson.loads(value)["metadata"]})

    def many(self, resource: Resource, meta: Mapping[str, Any], values: Iterable[bytes]) -> bytes:
        return _listed("PartialObjectMetadataList", META, meta, (self.one(resource, value) for value in values))

    def follow(self, resource: Resource) -> Callable[[bytes], bytes]:
        return partial(self.one, resource)


def _listed(kind: str, api_version: str, meta: Mapping[str, Any], values: Iterable[bytes]) -> bytes:
    return _head(kind, api_version, meta) + b",".join(values) + b"]}"


def _head(kind: str, api_version: str, meta: Mapping[str, Any]) -> bytes:
    head = orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": meta})
    return head[:-1] + b',"items":['


def large(resource: Resource, meta: Mapping[str, Any], values: Sequence[bytes]) -> Large:
    """The plain list as `many` and `written` give it, not put together."""
    return Large(_head(f"{resource.kind}List", resource.api_version, meta), values, b"]}\n")


PLAIN = Plain()
_METADATA = Metadata()


@lru_cache(maxsize=256)
def negotiate(accept: str, include: str = "Metadata") -> tuple[View, str]:
    """The view and media type for an `Accept` header. Raises NotAcceptable."""
    if not accept:
        return PLAIN, JSON
    for offer in accept.split(","):
        media, *rest = (part.strip() for part in offer.split(";"))
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        media_type = {JSON: JSON, "*/*": JSON, "application/*": JSON, YAML: YAML}.get(media)
        if media_type is None:
            continue
        wanted = parameters.get("as", "")
        if not wanted:
            return PLAIN, media_type
        if (parameters.get("g"), parameters.get("v")) != ("meta.k8s.io", "v1"):
            continue
        if wanted == "Table":
            return Table(include or "Metadata"), media_type
        if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList"):
            return _METADATA, media_type
    why = f"only the following media types are accepted: {ACCEPTED}"
    raise errors.NotAcceptable(why)


def written(value: bytes, media_type: str, *, pretty: bool) -> bytes:
    """JSON bytes as the client wants to read them."""
    if media_type == YAML:
        text: str = yaml.dump(orjson.loads(value), Dumper=yaml.CSafeDumper, sort_keys=False)
        return text.encode()
    if pretty:
        return orjson.dumps(orjson.loads(value), option=orjson.OPT_INDENT_2) + b"\n"
    return value + b"\n"
