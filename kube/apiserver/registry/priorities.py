"""Priority classes: a pod names one, and gets its priority. (plugin/pkg/admission/priority, pkg/apis/scheduling)

A pod that names none gets the class that is marked as the default, or priority 0. Whoever sets the number himself must
set what the class would give. The two classes for what the cluster itself needs are made at the first start.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kube.api import errors, resources
from kube.api.core import Pod
from kube.api.errors import FieldError
from kube.api.meta import ObjectMeta
from kube.api.resources import Resource
from kube.api.unstructured import Unstructured
from kube.apiserver.cache import Cache, Entry
from kube.apiserver.registry.others import StoredOnly
from kube.store import keys

LARGEST_OF_USERS = 1_000_000_000
SYSTEM_PREFIX = "system-"
SYSTEM_CLASSES = {
    "system-node-critical": (
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    "system-cluster-critical": (
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
}
"""Values and descriptions."""

PREEMPTS = "PreemptLowerPriority"


class _Class(NamedTuple):
    name: str
    value: int
    policy: str
    is_default: bool


_NONE = _Class("", 0, PREEMPTS, False)


class Priorities:
    """Gives pods their priority."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._read: dict[Entry, _Class] = {}

    def admit(self, pod: Pod) -> None:
        """Set what the pod's class says. Raises Forbidden."""
        spec = pod.spec
        name = pod.metadata.name or pod.metadata.generateName
        found = self._of(spec.priorityClassName) if spec.priorityClassName else self._default()
        if found is None:
            raise errors.forbidden("pods", name, f"no PriorityClass with name {spec.priorityClassName} was found")
        if spec.priority is not None and spec.priority != found.value:
            why = (
                f"the integer value of priority ({spec.priority}) must not be provided in pod spec; "
                f"priority admission controller computed {found.value} from the given PriorityClass name"
            )
            raise errors.forbidden("pods", name, why)
        if spec.preemptionPolicy is not None and spec.preemptionPolicy != found.policy:
            why = (
                f"the string value of PreemptionPolicy ({spec.preemptionPolicy}) must not be provided in pod spec; "
                f"priority admission controller computed {found.policy} from the given PriorityClass name"
            )
            raise errors.forbidden("pods", name, why)
        spec.priorityClassName, spec.priority, spec.preemptionPolicy = found.name, found.value, found.policy

    def _of(self, name: str) -> _Class | None:
        entry = self._cache.entry(resources.PRIORITY_CLASSES, keys.object_key(resources.PRIORITY_CLASSES, "", name))
        if entry is not None:
            return self._parsed(entry)
        value, _ = SYSTEM_CLASSES.get(name, (None, ""))
        return None if value is None else _Class(name, value, PREEMPTS, False)  # not made yet

    def _default(self) -> _Class:
        """Of several that are marked as the default, the one of the lowest value."""
        classes = map(self._parsed, self._cache.of(resources.PRIORITY_CLASSES).entries.values())
        return min((each for each in classes if each.is_default), key=lambda each: each.value, default=_NONE)

    def _parsed(self, entry: Entry) -> _Class:
        known = self._read.get(entry)
        if known is None:
            obj = entry.decode()
            assert isinstance(obj, Unstructured)
            if len(self._read) > 1000:
                self._read.clear()
            known = self._read[entry] = _Class(
                obj.name, _value(obj), obj.part("preemptionPolicy") or PREEMPTS, obj.part("globalDefault") is True
            )
        return known


def _value(obj: Unstructured) -> int:
    value = obj.part("value")
    return value if isinstance(value, int) else 0


class PriorityClassStrategy(StoredOnly):
    """What upstream checks of a class; anything else in it is stored as it comes."""

    def __init__(self, resource: Resource, cache: Cache) -> None:
        super().__init__(resource)
        self._cache = cache

    def prepare_create(self, obj: Unstructured) -> None:
        super().prepare_create(obj)
        _default_policy(obj)

    def prepare_update(self, new: Unstructured, old: Unstructured) -> None:
        _default_policy(new)
        super().prepare_update(new, old)

    def admit(self, obj: Unstructured) -> None:
        if obj.part("globalDefault") is not True:
            return
        for entry in self._cache.of(self.resource).entries.values():
            other = entry.decode()
            assert isinstance(other, Unstructured)
            if other.part("globalDefault") is True and other.name != obj.name:
                why = f"PriorityClass {other.name} is already marked as default. Only one default can exist"
                raise errors.forbidden(self.resource.plural, obj.name, why, self.resource.group)

    def validate(self, obj: Any) -> list[FieldError]:
        return [*super().validate(obj), *_problems(obj)]

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        found = super().validate_update(new, old)
        for field in ("value", "preemptionPolicy"):
            if new.part(field) != old.part(field):
                found.append(errors.invalid(field, new.part(field), "field is immutable"))
        if not found:
            self.admit(new)
        return found


def _default_policy(obj: Unstructured) -> None:
    if obj.part("preemptionPolicy") is None:
        obj.put("preemptionPolicy", PREEMPTS)


def _problems(obj: Unstructured) -> list[FieldError]:
    value, name, policy = obj.part("value"), obj.name, obj.part("preemptionPolicy")
    if not isinstance(value, int) or isinstance(value, bool):
        return [errors.invalid("value", value, "must be an integer")]
    found = []
    if name.startswith(SYSTEM_PREFIX):
        if name not in SYSTEM_CLASSES:
            why = (
                f"priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. "
                f"error: {name} is not a known system priority class"
            )
            found.append(errors.field_forbidden("metadata.name", why))
        elif value != SYSTEM_CLASSES[name][0]:
            why = f"value of {name} PriorityClass must be {SYSTEM_CLASSES[name][0]}"
            found.append(errors.field_forbidden("metadata.name", why))
    elif value > LARGEST_OF_USERS:
        why = f"maximum allowed value of a user defined priority is {LARGEST_OF_USERS}"
        found.append(errors.field_forbidden("value", why))
    if policy not in (None, PREEMPTS, "Never"):
        found.append(errors.not_supported("preemptionPolicy", policy, ("Never", PREEMPTS)))
    return found


def system_classes() -> list[Unstructured]:
    """The classes that exist from the first start."""
    made = []
    for name, (value, description) in SYSTEM_CLASSES.items():
        obj = resources.PRIORITY_CLASSES.model(metadata=ObjectMeta(name=name))
        assert isinstance(obj, Unstructured)
        obj.put("value", value)
        obj.put("description", description)
        made.append(obj)
    return made
