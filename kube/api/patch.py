"""The three kinds of patch: JSON patch (RFC 6902), merge patch (RFC 7396) and Kubernetes' strategic merge patch.

All work on JSON-ready data and leave their arguments alone. A strategic merge patch knows from the model which lists
are merged item by item, and by which key; MERGE_KEYS is that table, as the `patchMergeKey` tags of upstream's types
have it. Lists that are not in it are replaced as a whole. Directives in the patch steer it:

* `$patch: delete | replace | merge` in a map or in an item of a list,
* `$retainKeys` in a map: fields that are not listed go away,
* `$deleteFromPrimitiveList/<field>`: values to remove from a list of plain values,
* `$setElementOrder/<field>`: the order of the merged list's items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

import jsonpatch
from jsonpointer import JsonPointerException

from kube.api import core, decode
from kube.api.container import AnyContainer
from kube.api.errors import BadRequest, Invalid, RequestEntityTooLarge
from kube.api.meta import Model, ObjectMeta, copied
from kube.api.unstructured import Unstructured

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"

MAX_OPERATIONS = 10_000
REJECTED = "the server rejected our request due to an error in our request"

VALUES = ""
"""Instead of a key: the items are plain values, merged as a set."""

MERGE_KEYS: dict[type[Model], dict[str, str]] = {
    ObjectMeta: {"ownerReferences": "uid", "finalizers": VALUES},
    core.PodSpec: {
        "volumes": "name",
        "initContainers": "name",
        "containers": "name",
        "ephemeralContainers": "name",
        "imagePullSecrets": "name",
        "hostAliases": "ip",
        "topologySpreadConstraints": "topologyKey",
        "schedulingGates": "name",
        "resourceClaims": "name",
    },
    AnyContainer: {"ports": "containerPort", "env": "name", "volumeMounts": "mountPath", "volumeDevices": "devicePath"},
    core.PodStatus: {"conditions": "type", "podIPs": "ip", "hostIPs": "ip", "resourceClaimStatuses": "name"},
    core.ServiceSpec: {"ports": "port"},
    core.ServiceStatus: {"conditions": "type"},
    core.ReplicationControllerStatus: {"conditions": "type"},
    core.NodeSpec: {"podCIDRs": VALUES},
    core.NodeStatus: {"conditions": "type", "addresses": "type"},
    core.NamespaceStatus: {"conditions": "type"},
    core.ServiceAccount: {"secrets": "name"},
    core.ComponentStatus: {"conditions": "type"},
}


def json_patch(doc: Mapping[str, Any], ops: object) -> Any:
    """The document after the operations. Raises BadRequest if they are none, Invalid if one does not apply."""
    if not isinstance(ops, list):
        raise BadRequest(f"json: cannot unmarshal {decode.json_type(ops)} into Go value of type jsonpatch.Patch")
    for op in ops:
        if not isinstance(op, dict):
            raise BadRequest(f"json: cannot unmarshal {decode.json_type(op)} into Go value of type jsonpatch.Operation")
    if len(ops) > MAX_OPERATIONS:
        raise RequestEntityTooLarge(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(ops)}"
        )
    try:
        return jsonpatch.JsonPatch(ops).apply(doc)
    except (jsonpatch.JsonPatchException, JsonPointerException, TypeError, KeyError) as error:
        raise Invalid(REJECTED) from error


def merge_patch(doc: Mapping[str, Any], patch: object) -> dict[str, Any]:
    """The document with the patch merged in: null removes, maps are merged, all else replaces (RFC 7396).

    Raises BadRequest if the patch is no object.
    """
    if not isinstance(patch, Mapping):
        raise BadRequest("Invalid JSON Patch")
    return _merge(doc, patch)


def merge_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that makes the one of the other."""
    found: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if changes := merge_difference(before, value):
                found[name] = changes
        elif value != before:
            found[name] = value
    return found


def _merge(doc: object, patch: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(doc) if isinstance(doc, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            result[name] = _merge(result.get(name), value)
        else:
            result[name] = copied(value)
    return result


def strategic_merge_patch(doc: Mapping[str, Any], patch: object, model: type[Model]) -> dict[str, Any]:
    """The document, an object of this model, with the patch merged in. Raises BadRequest or Invalid."""
    if not isinstance(patch, Mapping):
        raise BadRequest(
            f"json: cannot unmarshal {decode.json_type(patch)} into Go value of type map[string]interface {{}}"
        )
    return _merge_map(copied(dict(doc)), copied(dict(patch)), model)


_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE_VALUES = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"

Json = dict[str, Any]


def _merge_map(original: Json, patch: Json, model: type[Model] | None) -> Json:
    """Merge in place. A patch that is made for a field that is not there yet is cleaned of its directives too."""
    directive = patch.pop(_DIRECTIVE, None)
    if directive == "replace":
        return patch
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise Invalid(REJECTED)
    if (retain := patch.pop(_RETAIN, None)) is not None:
        original = _retain(original, patch, retain)
    orders = {name.removeprefix(_ORDER): patch.pop(name) for name in list(patch) if name.startswith(_ORDER)}
    for name, order in orders.items():
        _check_order(order, patch.get(name), _merge_key(model, name))
    for name in [name for name in patch if name.startswith(_DELETE_VALUES)]:
        field, gone = name.removeprefix(_DELETE_VALUES), patch.pop(name)
        if not isinstance(gone, list):
            raise BadRequest("invalid patch format of primitive list")
        if isinstance(original.get(field), list):
            original[field] = [value for value in original[field] if value not in gone]
    for name, value in patch.items():
        if value is None:
            original.pop(name, None)
            continue
        present = original.get(name)
        if isinstance(value, dict):
            before = present if isinstance(present, dict) else {}
            original[name] = _merge_map(before, value, _model_of(model, name))
        elif isinstance(value, list):
            before_list = present if isinstance(present, list) else []
            original[name] = _merge_list(before_list, value, model, name, orders.get(name))
        else:
            original[name] = value
    for name, order in orders.items():
        if name not in patch and isinstance(original.get(name), list):
            key = _merge_key(model, name)
            if key is not None:
                items = original[name]
                original[name] = _arrange(items, order, items, key)
    return original


def _retain(original: Json, patch: Json, retain: object) -> Json:
    if not isinstance(retain, list):
        raise BadRequest("invalid patch format of retainKeys")
    for name, value in patch.items():
        if value is not None and not name.startswith((_DELETE_VALUES, _ORDER)) and name not in retain:
            raise BadRequest("invalid patch format of retainKeys")
    return {name: value for name, value in original.items() if name in retain}


def _merge_list(original: list[Any], patch: list[Any], model: type[Model] | None, field: str, order: Any) -> list[Any]:
    key, item_model = _merge_key(model, field), _model_of(model, field)
    if key is None:
        return patch
    if key == VALUES:
        merged = list(dict.fromkeys([*original, *patch])) if all(map(_plain, [*original, *patch])) else patch
        return _arrange(merged, order or patch, original, key)
    items: list[Json] = []
    replace, size = False, len(original)
    for item in patch:
        if not isinstance(item, dict):
            raise Invalid(REJECTED)
        directive = item.get(_DIRECTIVE)
        if directive == "delete":
            gone = _key_of(item, key)
            original = [present for present in original if present.get(key) != gone]
        elif directive == "replace":
            replace = True
        elif directive in (None, "merge"):
            items.append({name: value for name, value in item.items() if name != _DIRECTIVE})
        else:
            raise Invalid(REJECTED)
    if replace:
        return items
    merged = list(original)
    for item in items:
        wanted = _key_of(item, key)
        index = next((i for i, present in enumerate(merged) if present.get(key) == wanted), None)
        if index is None:
            merged.append(_merge_map({}, item, item_model))
        else:
            merged[index] = _merge_map(merged[index], item, item_model)
    if order is None:
        return _arrange(merged, items, original, key)
    # Upstream looks up the old order in a list in which new items have taken the places of deleted ones.
    return _arrange(merged, order, merged[:size], key)


def _plain(value: object) -> bool:
    return not isinstance(value, dict | list)


def _key_of(item: Json, key: str) -> Any:
    if key not in item:
        raise Invalid(REJECTED)
    return item[key]


def _check_order(order: object, patch: object, key: str | None) -> None:
    """Every item of the patch (but those that are deleted) stands in the order, and in that order."""
    if not isinstance(order, list):
        raise BadRequest("invalid patch format of setElementOrder list")
    if not isinstance(patch, list) or key is None:
        return
    wanted = [_identity(item, key) for item in order]
    listed = [_identity(item, key) for item in patch if not (isinstance(item, dict) and _DIRECTIVE in item)]
    positions = [wanted.index(identity) if identity in wanted else -1 for identity in listed]
    if -1 in positions or positions != sorted(positions):
        raise BadRequest(f"The order in patch list:\n{listed}\n doesn't match $setElementOrder list:\n{wanted}\n")


def _identity(item: Any, key: str) -> Any:
    """What an item is known by; of what cannot be one (a map, say), its text, so that it can be compared at all."""
    identity = item.get(key) if key != VALUES and isinstance(item, dict) else item
    return repr(identity) if isinstance(identity, dict | list) else identity


def _arrange(merged: list[Any], order: Sequence[Any], live: Sequence[Any], key: str) -> list[Any]:
    """The merged items: those of the patch in the patch's order, the rest as they were.

    One of the rest stands before one of the patch's only if both were there before, in that order.
    """
    ranks = {_identity(item, key): rank for rank, item in reversed(list(enumerate(order)))}
    places = {_identity(item, key): place for place, item in reversed(list(enumerate(live)))}
    named = sorted((i for i in merged if _identity(i, key) in ranks), key=lambda item: ranks[_identity(item, key)])
    rest = [item for item in merged if _identity(item, key) not in ranks]
    result: list[Any] = []
    while named and rest:
        mine, other = places.get(_identity(named[0], key)), places.get(_identity(rest[0], key))
        first = rest if mine is not None and other is not None and other < mine else named
        result.append(first.pop(0))
    return result + named + rest


class _Workload(Model):
    """What the kinds that are only stored have in common with those that have a model: pods made from a template."""

    template: core.PodTemplateSpec | None = None
    jobTemplate: _Job | None = None


class _Job(Model):
    spec: _Workload | None = None


_Workload.model_rebuild()


def _merge_key(model: type[Model] | None, field: str) -> str | None:
    """The key by which a list's items are merged; VALUES for plain values; None if the list is replaced."""
    for base in model.__mro__ if model is not None else ():
        if field in MERGE_KEYS.get(base, {}):
            return MERGE_KEYS[base][field]
    return None


def _model_of(model: type[Model] | None, field: str) -> type[Model] | None:
    """The model of a field, or of a list's items; None where there is none: plain data is merged as it comes."""
    if model is None:
        return None
    if issubclass(model, Unstructured) and field == "spec":
        return _Workload
    annotation = decode.plain(decode.fields(model).get(field))
    if get_origin(annotation) is list:
        annotation = decode.plain(get_args(annotation)[0])
    return annotation if isinstance(annotation, type) and issubclass(annotation, Model) else None
