"""metadata.managedFields: how the owners of fields are written into an object, and kept there.

An object is tracked from the first time that it is applied server-side: what it has by then belongs to
`before-first-apply`, and to `kubectl-client-side-apply` what kubectl noted that it had applied. Other objects have no
managedFields, and writing them costs nothing. (Upstream tracks every object from its creation, but has this rule, too,
for objects whose managedFields were emptied: managedfields/internal/skipnonapplied.go.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from kube.api import schema, typed
from kube.api.apply import APPLY, UPDATE, Conflicts, Manager, apply, update
from kube.api.fieldset import FieldSet
from kube.api.fieldset import field as f
from kube.api.meta import ManagedFieldsEntry, Model, Object
from kube.api.schema import Shape
from kube.api.unstructured import Unstructured

BEFORE_FIRST_APPLY = "before-first-apply"
CLIENT_SIDE_APPLY = "kubectl-client-side-apply"
ANCIENT_CHANGES = "ancient-changes"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
LAST_APPLIED_PATH = (f("metadata"), f("annotations"), f(LAST_APPLIED))
MAX_UPDATERS = 10

_META = ("name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields",
         "resourceVersion")  # fmt: skip
STRIPPED = FieldSet.of(
    (f("apiVersion"),), (f("kind"),), (f("metadata"),), *((f("metadata"), f(name)) for name in _META)
)
"""What nobody owns: it names the object, or is the server's."""

Times = Mapping[Manager, datetime | None]


@dataclass(frozen=True, slots=True)
class Managed:
    """The owners of an object's fields, and when each last changed."""

    fields: Mapping[Manager, FieldSet] = field(default_factory=dict)
    times: Times = field(default_factory=dict)


def decode(entries: Sequence[ManagedFieldsEntry]) -> Managed:
    """The owners that the entries tell of. Raises ValueError."""
    fields: dict[Manager, FieldSet] = {}
    times: dict[Manager, datetime | None] = {}
    for index, entry in enumerate(entries):
        if entry.operation not in (APPLY, UPDATE):
            raise ValueError("operation must be `Apply` or `Update`")
        if not entry.apiVersion:
            raise ValueError("apiVersion must not be empty")
        if entry.fieldsType != "FieldsV1":
            raise ValueError(f"invalid fieldsType {entry.fieldsType!r} in managed fields entry {index}")
        version = "" if entry.operation == APPLY else entry.apiVersion
        manager = Manager(entry.manager, entry.operation, version, entry.subresource)
        fields[manager] = FieldSet.from_fields(entry.fieldsV1 or {})
        times[manager] = entry.time
    return Managed(fields, times)


def encode(managed: Managed, api_version: str) -> list[ManagedFieldsEntry]:
    """The entries, in upstream's order: appliers first, then by time."""
    entries = [
        ManagedFieldsEntry(
            manager=manager.name,
            operation=manager.operation,
            apiVersion=manager.apiVersion or api_version,
            time=managed.times.get(manager),
            fieldsType="FieldsV1",
            fieldsV1=fields.to_fields(),
            subresource=manager.subresource,
        )
        for manager, fields in managed.fields.items()
    ]
    return sorted(
        entries,
        key=lambda e: (e.operation, e.time.timestamp() if e.time else 0, e.manager, e.apiVersion, e.subresource),
    )


def ignored_fields(model: type[Model], subresource: str) -> FieldSet:
    """What a path of the API does not write: the object's own not its status, that of the status nothing else."""
    names = set(schema.of(model).fields)
    if issubclass(model, Unstructured):
        names |= {"data", "rules"}
    if "status" not in names:
        return FieldSet()
    if not subresource:
        return FieldSet.of((f("status"),))
    if subresource != "status":
        return FieldSet()
    meta = ("labels", "deletionTimestamp", "ownerReferences")
    return FieldSet.of(
        *((f(name),) for name in names - {"status", "metadata", "kind", "apiVersion"}),
        *((f("metadata"), f(name)) for name in meta),
    )


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a write, and through which subresource."""

    manager: str
    subresource: str = ""


def record(new: Object, old: Object | None, author: Author, moment: datetime) -> None:
    """Note in the new object who changed what, if the object is tracked. For every write but an apply.

    managedFields that the writer sent take the place of the stored ones, unless they are sent to a subresource, empty
    or unreadable; a list of one empty entry ends the tracking.
    """
    sent, stored = new.metadata.managedFields, old.metadata.managedFields if old is not None else []
    if not sent and not stored:
        return
    managed = _sent_or_stored(sent, stored, author.subresource)
    new.metadata.managedFields = []
    if not managed.fields:
        return
    model = type(new)
    me = Manager(author.manager, UPDATE, model.apiVersion, author.subresource)
    # Under another name first, to see whether this very write changed anything.
    current = Manager("current-operation", UPDATE, model.apiVersion, author.subresource)
    after = _data(new)
    before = _data(old) if old is not None else _nothing(model, after)
    fields = update(before, after, schema.of(model), _of_version(managed, model).fields, current,
                    ignored_fields(model, author.subresource))  # fmt: skip
    times = dict(managed.times)
    mine = fields.pop(current, FieldSet()) - STRIPPED
    if mine:
        fields[me] = fields.get(me, FieldSet()) | mine
        times[me] = moment
    new.metadata.managedFields = encode(_capped(Managed(fields, times)), model.apiVersion)


def _sent_or_stored(
    sent: Sequence[ManagedFieldsEntry], stored: Sequence[ManagedFieldsEntry], subresource: str
) -> Managed:
    if not subresource:
        if list(sent) == [ManagedFieldsEntry()]:
            return Managed()
        try:
            managed = decode(sent)
        except ValueError:
            managed = Managed()
        if managed.fields:
            return managed
    try:
        return decode(stored)
    except ValueError:
        return Managed()


def applied(
    live: Object | None,
    config: Mapping[str, Any],
    model: type[Object],
    author: Author,
    moment: datetime,
    *,
    force: bool = False,
) -> dict[str, Any]:
    """The object's data after the manager has applied its configuration, with its managedFields.

    Raises Conflicts; ValueError if the stored managedFields cannot be read.
    """
    shape = schema.of(model)
    data = _data(live) if live is not None else _nothing(model)
    managed = _of_version(decode(live.metadata.managedFields if live is not None else []), model)
    if live is not None and not managed.fields:
        managed = _first_owners(data, model, moment)
    me = Manager(author.manager, APPLY, "", author.subresource)
    ignored = ignored_fields(model, author.subresource)

    def attempt(*, force: bool) -> tuple[Any, dict[Manager, FieldSet]]:
        return apply(data, config, shape, managed.fields, me, force=force, ignored=ignored)

    try:
        wanted, fields = attempt(force=force)
    except Conflicts as found:
        # What kubectl had applied from the client, and nobody has changed since, it may go on to apply from here.
        if author.manager != "kubectl" or live is None:
            raise
        mine = _last_applied(data, model)
        rest = [conflict for conflict in found.conflicts if conflict.path not in mine]
        if rest:
            raise Conflicts(rest) from None
        wanted, fields = attempt(force=True)
    if me in fields:
        fields[me] = fields[me] - STRIPPED
    fields = {owner: owned for owner, owned in fields.items() if owned}
    times = dict(managed.times)
    if wanted is not data or fields.get(me) != managed.fields.get(me):
        times[me] = moment
    result = {**wanted, "metadata": dict(wanted.get("metadata") or {})}
    if entries := encode(Managed(fields, times), model.apiVersion):
        result["metadata"]["managedFields"] = [entry.to_dict() for entry in entries]
    return result


def _first_owners(data: Mapping[str, Any], model: type[Object], moment: datetime) -> Managed:
    """Who owns the fields of an object that was not tracked until now."""
    existing = typed.compare(_nothing(model, data), data, schema.of(model)).added - STRIPPED
    kubectl = _last_applied(data, model) & existing
    if kubectl:
        kubectl.insert(LAST_APPLIED_PATH)
    owners = {
        Manager(CLIENT_SIDE_APPLY, UPDATE, model.apiVersion): kubectl,
        Manager(BEFORE_FIRST_APPLY, UPDATE, model.apiVersion): existing - kubectl,
    }
    fields = {manager: owned for manager, owned in owners.items() if owned}
    return Managed(fields, dict.fromkeys(fields, moment))


def _last_applied(data: Mapping[str, Any], model: type[Object]) -> FieldSet:
    """The fields that kubectl noted to have applied from the client, and that still are as it wanted them."""
    text = (data.get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED)
    shape: Shape = schema.of(model)
    try:
        last = orjson.loads(text or "null")
        if not isinstance(last, dict) or last.get("apiVersion") != model.apiVersion:
            return FieldSet()
        difference = typed.compare(last, data, shape)
        return typed.field_set(last, shape) - difference.modified - difference.added - difference.removed
    except (ValueError, KeyError):
        return FieldSet()  # somebody else's annotation, or one of a version whose schema was another


def _data(obj: Object) -> dict[str, Any]:
    """The object as data, without what is not compared."""
    data = obj.to_dict()
    for name in ("managedFields", "resourceVersion"):
        data["metadata"].pop(name, None)
    return data


def _nothing(model: type[Object], like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An object that is not there yet: like Go's empty struct, it has the parts of the other, which are empty."""
    parts: dict[str, Any] = {name: {} for name in ("spec", "status") if like is not None and name in like}
    return {"kind": model.kind, "apiVersion": model.apiVersion, "metadata": {}, **parts}


def _of_version(managed: Managed, model: type[Object]) -> Managed:
    """Without owners in versions that there are not."""
    fields = {m: owned for m, owned in managed.fields.items() if m.apiVersion in ("", model.apiVersion)}
    return Managed(fields, managed.times)


def _capped(managed: Managed) -> Managed:
    """At most ten updaters: the oldest become one, `ancient-changes`."""
    times = dict(managed.times)

    def age(manager: Manager) -> tuple[float, Manager]:
        moment = times.get(manager)
        return moment.timestamp() if moment else 0, manager

    updaters = sorted((m for m in managed.fields if m.operation == UPDATE), key=age)
    surplus = len(updaters) - MAX_UPDATERS
    if surplus <= 0:
        return managed
    old = updaters[: surplus + 1]
    bucket = Manager(ANCIENT_CHANGES, UPDATE, old[-1].apiVersion)
    fields = {manager: owned for manager, owned in managed.fields.items() if manager not in old}
    for manager in old:
        fields[bucket] = fields.get(bucket, FieldSet()) | managed.fields[manager]
    return Managed(fields, {**times, bucket: times.get(old[-1])})
