"""Rules for what all objects have: metadata, labels, selectors (apimachinery/pkg/api/validation)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from kube.api import names
from kube.api.errors import FieldError, Verbatim, field_forbidden, invalid, not_supported, required, too_long
from kube.api.meta import LabelSelector, Model, ObjectMeta, OwnerReference

Errors = Iterator[FieldError]
NameRule = Callable[[str], list[str]]

IMMUTABLE = "field is immutable"
NEGATIVE = "must be greater than or equal to 0"
NOT_POSITIVE = "must be greater than zero"
ANNOTATIONS_LIMIT = 256 * 1024


def shown(*models: Model) -> Verbatim:
    """Models as they are printed inside a message."""
    return Verbatim(", ".join(model.to_json().decode() for model in models))


def each(field: str, value: object, problems: Iterable[str]) -> Errors:
    """One error for each thing that is wrong with a value."""
    for problem in problems:
        yield invalid(field, value, problem)


def non_negative(field: str, value: int) -> Errors:
    """A number that must not be below zero."""
    if value < 0:
        yield invalid(field, value, NEGATIVE)


def one_of(field: str, value: str, supported: Sequence[str]) -> Errors:
    """A value that must be set, and be one of a few."""
    if not value:
        yield required(field)
    elif value not in supported:
        yield not_supported(field, value, supported)


def unchanged(field: str, new: object, old: object) -> Errors:
    """A field that must stay what it was."""
    if new != old:
        yield invalid(field, new, IMMUTABLE)


def object_meta(meta: ObjectMeta, name_rule: NameRule, *, namespaced: bool = True, path: str = "metadata") -> Errors:
    """The metadata of any object, by the rule for its kind's names."""
    if meta.generateName:
        # A name will be made by appending to the prefix, so it may end in a dash.
        prefix = meta.generateName
        stem = prefix[:-1] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix
        yield from each(f"{path}.generateName", prefix, name_rule(stem))
    if not meta.name:
        yield required(f"{path}.name", "name or generateName is required")
    else:
        yield from each(f"{path}.name", meta.name, name_rule(meta.name))
    if namespaced:
        if not meta.namespace:
            yield required(f"{path}.namespace")
        else:
            yield from each(f"{path}.namespace", meta.namespace, names.dns_label(meta.namespace))
    elif meta.namespace:
        yield field_forbidden(f"{path}.namespace", "not allowed on this type")
    yield from non_negative(f"{path}.generation", meta.generation)
    yield from labels(f"{path}.labels", meta.labels)
    yield from annotation_map(f"{path}.annotations", meta.annotations)
    yield from _owner_references(f"{path}.ownerReferences", meta.ownerReferences)
    yield from _finalizers(f"{path}.finalizers", meta.finalizers)


def object_meta_update(new: ObjectMeta, old: ObjectMeta, path: str = "metadata") -> Errors:
    """What must stay, and what may not be added, when metadata changes."""
    if old.deletionTimestamp is not None:
        added = sorted(set(new.finalizers) - set(old.finalizers))
        if added:
            listed = "[]string{" + ", ".join(f'"{name}"' for name in added) + "}"
            yield field_forbidden(
                f"{path}.finalizers",
                f"no new finalizers can be added if the object is being deleted, found new finalizers {listed}",
            )
    if new.generation < old.generation:
        yield invalid(f"{path}.generation", new.generation, "must not be decremented")
    fixed = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
    for name in fixed:
        yield from unchanged(f"{path}.{name}", getattr(new, name), getattr(old, name))
    yield from labels(f"{path}.labels", new.labels)
    yield from annotation_map(f"{path}.annotations", new.annotations)
    yield from _owner_references(f"{path}.ownerReferences", new.ownerReferences)
    yield from _finalizers(f"{path}.finalizers", new.finalizers)


def labels(field: str, values: Mapping[str, str]) -> Errors:
    """Keys and values of labels."""
    for name, value in values.items():
        if problems := names.qualified(name):
            yield from each(field, name, problems)
        if problems := names.label_value(value):
            yield from each(field, value, problems)


def label_name(field: str, name: str) -> Errors:
    """The key of a label."""
    yield from each(field, name, names.qualified(name))


def annotation_map(field: str, values: Mapping[str, str]) -> Errors:
    """Keys of annotations, for which case does not matter, and their whole size."""
    for name in values:
        yield from each(field, name, names.qualified(name.lower()))
    if sum(len(name.encode()) + len(value.encode()) for name, value in values.items()) > ANNOTATIONS_LIMIT:
        yield too_long(field, "", ANNOTATIONS_LIMIT)


def label_selector(field: str, selector: LabelSelector | None) -> Errors:
    """A selector over labels."""
    if selector is None:
        return
    yield from labels(f"{field}.matchLabels", selector.matchLabels)
    for i, expression in enumerate(selector.matchExpressions):
        path = f"{field}.matchExpressions[{i}]"
        if expression.operator in ("In", "NotIn"):
            if not expression.values:
                yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif expression.operator in ("Exists", "DoesNotExist"):
            if expression.values:
                detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield field_forbidden(f"{path}.values", detail)
        else:
            yield invalid(f"{path}.operator", expression.operator, "not a valid selector operator")
        yield from label_name(f"{path}.key", expression.key)
        for j, value in enumerate(expression.values):
            yield from each(f"{path}.values[{j}]", value, names.label_value(value))


def finalizer_name(field: str, name: str) -> Errors:
    """The name of a finalizer."""
    yield from each(field, name, names.qualified(name))


def _finalizers(field: str, finalizers: list[str]) -> Errors:
    for name in finalizers:
        yield from finalizer_name(field, name)
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        yield invalid(field, finalizers, "finalizer foregroundDeletion and orphan cannot be both set")


def _owner_references(field: str, references: list[OwnerReference]) -> Errors:
    controller = ""
    for reference in references:
        if not reference.apiVersion:
            yield invalid(f"{field}.apiVersion", reference.apiVersion, "version must not be empty")
        for name in ("kind", "name", "uid"):
            if not getattr(reference, name):
                yield invalid(f"{field}.{name}", getattr(reference, name), "must not be empty")
        if (reference.apiVersion, reference.kind) == ("v1", "Event"):
            detail = "/v1, Kind=Event is disallowed from being an owner"
            yield invalid(field, shown(reference), detail)
        if reference.controller:
            this = f"{reference.kind}/{reference.name}"
            if controller:
                detail = (
                    'Only one reference can have Controller set to true. Found "true" in references '
                    f"for {controller} and {this}"
                )
                yield invalid(field, shown(*references), detail)
            controller = controller or this
