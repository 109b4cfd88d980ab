"""Server-side apply: who owns which field, and what becomes of an object when one of its managers applies its wishes.

A manager is a workflow (`kubectl`, `kube-controller-manager`) together with how it writes: `Apply` says which fields it
wants to be so, and gives up what it no longer names; any other write (`Update`) owns what it changed. What two
appliers both want belongs to both. To change what somebody else owns is a conflict, unless it is forced: then it is
taken away from the others. A field that an applier gave up, and that nobody else owns, is removed.

Pure: from data and sets to data and sets. (KEP-555; structured-merge-diff's package `merge`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from kube.api import typed
from kube.api.fieldset import FieldSet, Path, path_text
from kube.api.schema import Shape

APPLY = "Apply"
UPDATE = "Update"


@dataclass(frozen=True, slots=True, order=True)
class Manager:
    """Who owns fields, and by which kind of write."""

    name: str
    operation: str
    apiVersion: str
    """The version that an updater wrote in; empty for an applier, who is the same one in every version."""
    subresource: str = ""

    def __str__(self) -> str:
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.apiVersion}" if self.operation == UPDATE else text


Managers = Mapping[Manager, FieldSet]
"""Every manager of an object, with what it owns; none owns nothing."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field that would change, and somebody else who owns it."""

    manager: Manager
    path: Path

    @property
    def field(self) -> str:
        """The path as a person reads it."""
        return path_text(self.path)


class Conflicts(Exception):
    """Fields would change that others own."""

    def __init__(self, conflicts: list[Conflict]) -> None:
        super().__init__(message(conflicts))
        self.conflicts = conflicts


def message(conflicts: list[Conflict]) -> str:
    """The sentence that a client reads."""
    if len(conflicts) == 1:
        only = conflicts[0]
        return f"Apply failed with 1 conflict: conflict with {only.manager}: {only.field}"
    lines = []
    for manager in sorted({conflict.manager for conflict in conflicts}):
        lines.append(f"conflicts with {manager}:")
        lines += [f"- {conflict.field}" for conflict in conflicts if conflict.manager == manager]
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)


def update(
    old: Any, new: Any, shape: Shape, managers: Managers, manager: Manager, ignored: FieldSet
) -> dict[Manager, FieldSet]:
    """Who owns what after an ordinary write: its author owns what it changed, and nobody what is gone.

    `ignored` are parts of the object that this path of the API does not write.
    """
    difference = typed.compare(old, new, shape).without(ignored)
    result = _without_changes(managers, manager, difference)
    mine = result.get(manager, FieldSet()) | difference.modified | difference.added
    result[manager] = mine - difference.removed
    return _owners(result)


def apply(
    live: Any,
    config: Any,
    shape: Shape,
    managers: Managers,
    manager: Manager,
    *,
    force: bool = False,
    ignored: FieldSet,
) -> tuple[Any, dict[Manager, FieldSet]]:
    """The object as the manager wants it, and who owns what then. Raises Conflicts, SchemaError.

    The live value itself is returned if the object does not change.
    """
    last = managers.get(manager, FieldSet())
    claimed = {**managers, manager: typed.field_set(config, shape).without_trees(ignored)}
    wanted = _prune(typed.merge(live, config, shape), shape, last, claimed)
    difference = typed.compare(live, wanted, shape).without(ignored)
    taken = difference.modified | difference.added
    conflicts = [
        Conflict(other, path)
        for other in sorted(claimed)
        if other != manager
        for path in (claimed[other] & taken).paths()
    ]
    if conflicts and not force:
        raise Conflicts(conflicts)
    return live if difference.same else wanted, _owners(_without_changes(claimed, manager, difference))


def _prune(merged: Any, shape: Shape, last: FieldSet, claimed: Managers) -> Any:
    """Without the fields that the manager applied last time, and that nobody claims now."""
    if not last:
        return merged
    whole = typed.with_structs(typed.field_set(merged, shape), shape)

    def left_of(value: Any) -> FieldSet:
        return typed.with_structs(typed.field_set(value, shape), shape)

    owned = typed.with_structs(reduce(or_, claimed.values()), shape)
    pruned = typed.remove(merged, last, shape)
    # What others own below something that went comes back; and with it only what had been the manager's may stay away.
    pruned = typed.remove(merged, whole - (left_of(pruned) | owned), shape)
    return typed.remove(merged, (whole - left_of(pruned)) & typed.with_structs(last, shape), shape)


def _without_changes(managers: Managers, manager: Manager, difference: typed.Comparison) -> dict[Manager, FieldSet]:
    changed = difference.modified | difference.added | difference.removed
    return {other: fields if other == manager else fields - changed for other, fields in managers.items()}


def _owners(managers: Managers) -> dict[Manager, FieldSet]:
    return {manager: fields for manager, fields in managers.items() if fields}
