"""Resources that show another resource's objects in a version of their own: there and back again.

One kind needs it so far: `events.k8s.io/v1` shows core/v1's events, which is the form that Kubernetes stores. The two
differ in the names of a few fields and in nothing else (pkg/apis/events/v1/conversion.go), so that what goes in comes
out again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kube.api import fields
from kube.api.meta import Object
from kube.api.resources import EVENTS_V1, Resource


@dataclass(frozen=True, slots=True)
class Renaming:
    """A conversion that is nothing but other names for top-level fields, and for what selectors name."""

    stored: Mapping[str, str]
    """From the name in the view to the name that is stored."""
    selectable: Mapping[str, str]
    """From the field of a selector on the view to that of one on what is stored."""

    def backward(self) -> dict[str, str]:
        return {name: view for view, name in self.stored.items()}


_RENAMINGS: dict[Resource, Renaming] = {
    EVENTS_V1: Renaming(
        stored={
            "regarding": "involvedObject",
            "note": "message",
            "reportingController": "reportingComponent",
            "deprecatedSource": "source",
            "deprecatedFirstTimestamp": "firstTimestamp",
            "deprecatedLastTimestamp": "lastTimestamp",
            "deprecatedCount": "count",
        },
        selectable={
            **{f"regarding.{part}": f"involvedObject.{part}" for part in
               ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")},
            "reportingController": "reportingComponent",
        },
    ),
}  # fmt: skip


def to_stored(resource: Resource, obj: Object) -> Object:
    """An object as it is stored."""
    if resource.shows is None:
        return obj
    stored = resource.shows.model
    data = _renamed(obj.to_dict(), _RENAMINGS[resource].stored, stored.apiVersion)
    return stored.parse(data)


def from_stored(resource: Resource, obj: Object) -> Object:
    """A stored object as the resource shows it."""
    if resource.shows is None:
        return obj
    return resource.model.parse(_renamed(obj.to_dict(), _RENAMINGS[resource].backward(), resource.api_version))


def shown(resource: Resource, value: bytes) -> bytes:
    """The bytes of a stored object as the resource shows them; the very same if it has objects of its own."""
    if resource.shows is None:
        return value
    return from_stored(resource, resource.shows.model.parse(value)).to_json()


def _renamed(data: dict[str, Any], renaming: Mapping[str, str], api_version: str) -> dict[str, Any]:
    result = {renaming.get(name, name): value for name, value in data.items()}
    return {**result, "apiVersion": api_version}


def stored_selector(resource: Resource, selector: fields.Selector) -> fields.Selector:
    """What a field selector on the resource means for the stored objects."""
    if resource.shows is None:
        return selector
    renaming = _RENAMINGS[resource].selectable
    terms = (fields.Term(renaming.get(t.field, t.field), t.value, t.negated) for t in selector.terms)
    return fields.Selector(tuple(terms))
