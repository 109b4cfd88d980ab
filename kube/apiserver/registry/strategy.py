"""The rules of a kind, as far as they differ from every other kind's: what the generic verbs ask while they write.

A strategy is pure but for what it reads from the cache. The order in which verbs.py calls it is upstream's
(apiserver/pkg/registry/rest): default, prepare, allocate, validate, companions, store.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from kube.api import errors, validation
from kube.api.meta import Object
from kube.api.resources import Resource
from kube.store.store import Compare, Op


@dataclass(slots=True)
class Companions:
    """Keys that belong to an object and are written in its transaction."""

    compares: list[Compare] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)


class Strategy:
    """The default: an object with spec and status of which a writer may change one at a time."""

    create_on_update = False
    """A PUT on an absent name creates it."""
    unconditional_update = True
    """A PUT that names no resourceVersion replaces whatever is there."""
    returns_deleted = False
    """DELETE answers with the object instead of a Status."""
    allocates = False
    """The cluster gives it something (addresses, ports) when it is created."""
    counts_generations = False
    """metadata.generation starts at 1 and is raised by every change of the spec."""
    orphans = False
    """A deletion that does not say what becomes of the dependents lets them stay."""
    collected = True
    """The garbage collector looks at it: it may be held until its dependents are seen to."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.has_status = any(sub.name == "status" for sub in resource.subresources)

    def prepare_create(self, obj: Any) -> None:
        """Clear what a creator may not set."""
        if self.has_status:
            obj.status = type(obj.status)()
        if self.counts_generations:
            obj.metadata.generation = 1

    def admit(self, obj: Any) -> None:
        """Complete or refuse a new object by what else there is: the admission that Kubernetes has built in.

        Raises Forbidden. It is called again with a newer cache before a refusal stands.
        """

    def patience(self, obj: Any) -> float:
        """Seconds for which a refusal by `admit` does not stand yet: what it is for want of is made by a controller."""
        return 0.0

    def prepare_update(self, new: Any, old: Any) -> None:
        """Keep what a PUT or PATCH of the object itself may not change: its status."""
        if self.has_status:
            new.status = old.status
        if self.counts_generations and new.spec != old.spec:
            new.metadata.generation = old.metadata.generation + 1

    def prepare_status(self, new: Any, old: Any) -> None:
        """Keep what a write of the status may not change: everything else but metadata that controllers use."""
        if hasattr(old, "spec"):
            new.spec = old.spec
        new.metadata.labels = old.metadata.labels
        new.metadata.deletionTimestamp = old.metadata.deletionTimestamp
        new.metadata.ownerReferences = old.metadata.ownerReferences

    def allocate(self, new: Any, old: Any | None, taken: Collection[str]) -> None:
        """Fill in what the cluster gives out (addresses, ports), avoiding claims whose keys are in `taken`.

        Raises Invalid when something that the user asked for is taken.
        """

    def validate(self, obj: Any) -> list[errors.FieldError]:
        """What is wrong with a new object."""
        return validation.validate(obj)

    def validate_update(self, new: Any, old: Any) -> list[errors.FieldError]:
        """What is wrong with the change of an object."""
        return validation.validate_update(new, old)

    def validate_status(self, new: Any, old: Any) -> list[errors.FieldError]:
        """What is wrong with the change of an object's status."""
        return validation.validate_status_update(new, old)

    def companions(self, new: Any | None, old: Any | None, value: bytes = b"") -> Companions:
        """What is written together with the object. `new` None: it is deleted; `old` None: it is created.

        `value`: the bytes that are stored for `new`.
        """
        return Companions()

    def grace(self, obj: Any, asked: int | None) -> int:
        """Seconds that a deletion leaves the object; 0: it goes at once."""
        return 0

    def on_delete(self, obj: Any) -> None:
        """Mark an object that stays for a while although its deletion was asked for. It shares its parts with the one
        that it was: put others in their place."""

    def name(self, obj: Object) -> str:
        return obj.metadata.name
