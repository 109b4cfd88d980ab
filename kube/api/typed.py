"""What can be done with values whose shape is known (schema.py): which fields one has, how two differ, one merged into
the other, one without some of its fields.

Values are JSON-ready data; arguments are left alone, results may share parts with them. This is the package `typed` of
structured-merge-diff, v4, with its rules for corner cases: a field that is absent on one side and empty on the other
counts as plain, an item that stands twice in a stored list is owned but not looked into.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kube.api import fieldset
from kube.api.fieldset import FieldSet, Path
from kube.api.schema import KEY_DEFAULTS, Shape


class _Missing:
    """The other side of a value that only one side has (None is JSON's null)."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()


class SchemaError(ValueError):
    """The value does not fit its shape: `<path>: <why>`."""


def check(value: Any, shape: Shape, path: Path = ()) -> Iterator[str]:
    """What is wrong with a value: fields that nobody knows, items that stand twice, a list for a map."""
    where = fieldset.path_text(path)
    if value is None:
        return
    if isinstance(value, dict):
        if shape.keys or shape.values:
            yield f"{where}: expected list, got map"
            return
        for name, part in value.items():
            below = (*path, fieldset.field(name))
            try:
                of = shape.of(name) if shape.fields or shape.element is not None else None
            except KeyError:
                yield f"{fieldset.path_text(below)}: field not declared in schema"
                continue
            if of is not None:
                yield from check(part, of, below)
    elif isinstance(value, list):
        if shape.fields and not (shape.keys or shape.values):
            yield f"{where}: expected map, got list"
            return
        seen = set()
        for index, part in enumerate(value):
            element = f"i:{index}"
            if shape.keys or shape.values:
                try:
                    element = _element(part, shape)
                except SchemaError as error:
                    yield f"{where}: element {index}: {error}"
                    return
                if element in seen:
                    yield f"{where}: duplicate entries for key {fieldset.path_text((element,))}"
                seen.add(element)
            if shape.element is not None:
                yield from check(part, shape.element, (*path, element))
    elif shape.fields or shape.keys or shape.values:
        yield f"{where}: expected {'map' if shape.fields else 'list'}, got {value!r}"


def field_set(value: Any, shape: Shape) -> FieldSet:
    """The fields that a value has: its leaves, the items of its lists, the entries of its maps."""
    result = FieldSet()
    _collect(value, shape, (), result)
    return result


def _collect(value: Any, shape: Shape, path: Path, result: FieldSet) -> None:
    if shape.atomic or not isinstance(value, dict | list):
        result.insert(path)
    elif isinstance(value, dict):
        for name, part in value.items():
            below = (*path, fieldset.field(name))
            _collect(part, shape.of(name), below, result)
            if name not in shape.fields or part is None or part == {}:
                result.insert(below)
    elif shape.keys or shape.values:
        assert shape.element is not None
        for element, items in _index(value, shape).items():
            if len(items) == 1:
                _collect(items[0], shape.element, (*path, element), result)
            result.insert((*path, element))
    else:
        result.insert(path)


@dataclass(slots=True)
class Comparison:
    """How a value differs from an older one; no path is in two of the sets."""

    added: FieldSet = field(default_factory=FieldSet)
    modified: FieldSet = field(default_factory=FieldSet)
    removed: FieldSet = field(default_factory=FieldSet)

    @property
    def same(self) -> bool:
        """There is no difference."""
        return not (self.added or self.modified or self.removed)

    def without(self, ignored: FieldSet) -> Comparison:
        """The differences elsewhere than in some parts of the object."""
        return Comparison(*(part.without_trees(ignored) for part in (self.added, self.modified, self.removed)))


def compare(old: Any, new: Any, shape: Shape) -> Comparison:
    """What was added, modified and removed."""
    result = Comparison()
    _compare(old, new, shape, (), result)
    return result


def _compare(old: Any, new: Any, shape: Shape, path: Path, result: Comparison) -> None:
    present = new if _is_empty(old) else old
    if not _same_kind(old, new) or _is_empty(present) or _is_leaf(present, shape):
        if old is MISSING:
            result.added.insert(path)
        elif new is MISSING:
            result.removed.insert(path)
        elif not equal(old, new):
            result.modified.insert(path)
        return
    if isinstance(old, dict) or isinstance(new, dict):
        before, after = _mapping(old), _mapping(new)
        for name in {**before, **after}:
            below = (*path, fieldset.field(name))
            _compare(before.get(name, MISSING), after.get(name, MISSING), shape.of(name), below, result)
    else:
        _compare_items(_index(_sequence(old), shape), _index(_sequence(new), shape), shape, path, result)
    if old is MISSING:
        result.added.insert(path)
    elif new is MISSING:
        result.removed.insert(path)


def _compare_items(
    before: Mapping[str, list[Any]], after: Mapping[str, list[Any]], shape: Shape, path: Path, result: Comparison
) -> None:
    assert shape.element is not None
    for element in {**before, **after}:
        olds, news = before.get(element, []), after.get(element, [])
        below = (*path, element)
        old, new = (olds or [MISSING])[0], (news or [MISSING])[0]
        if len(olds) <= 1 and len(news) <= 1:
            _compare(old, new, shape.element, below, result)
        elif len(olds) > 1 and len(news) > 1:
            if not equal(olds, news):
                result.modified.insert(below)
        elif len(olds) > 1:
            if news:
                _compare(MISSING, new, shape.element, below, result)
            result.removed.insert(below)
        else:
            if olds:
                _compare(old, MISSING, shape.element, below, result)
            result.added.insert(below)


def merge(live: Any, config: Any, shape: Shape) -> Any:
    """The live value with the configured one laid over it. A merged list keeps the order of the configured items; one
    that is only live stays before the configured item that it stood before.
    """
    if config is MISSING:
        return live
    if live is MISSING or _is_leaf(live if live is not None else config, shape):
        return config
    if isinstance(live, dict) and isinstance(config, dict | None):
        over = _mapping(config)
        return {
            name: merge(live.get(name, MISSING), over.get(name, MISSING), shape.of(name)) for name in {**live, **over}
        }
    if isinstance(live, list) and isinstance(config, list | None):
        return _merge_items(live, _sequence(config), shape)
    return config


def _merge_items(live: Sequence[Any], config: Sequence[Any], shape: Shape) -> list[Any]:
    assert shape.element is not None
    left, right = [_element(i, shape) for i in live], [_element(i, shape) for i in config]
    lives, configs = _index(live, shape), _index(config, shape)
    shared = [element for element in right if element in lives]
    result: list[Any] = []
    done: set[str] = set()
    l = r = 0  # noqa: E741  # the left side's place, and the right's
    while l < len(left) or r < len(right):
        if l < len(left):
            element = left[l]
            if element not in configs:
                result.append(live[l])
                l += 1  # noqa: E741
                continue
            following = next((e for e in shared if e not in done), None)
            if element in done or element != following:
                l += 1  # noqa: E741  # it stands where the configuration wants it
                continue
        element = right[r]
        twins = lives.get(element, [])
        # Of an item that stands twice nobody knows which is meant: the configured one takes their place.
        result.append(merge(twins[0] if len(twins) == 1 else MISSING, config[r], shape.element))
        done.add(element)
        r += 1
    return result


def remove(value: Any, gone: FieldSet, shape: Shape) -> Any:
    """The value without some fields; None for a map or list of which nothing is left, and that goes, too."""
    if shape.atomic or not value or not isinstance(value, dict | list):
        return value
    if isinstance(value, dict):
        fields = ((name, _remains(part, fieldset.field(name), gone, shape.of(name))) for name, part in value.items())
        return {name: part for name, part in fields if part is not MISSING} or None
    if not (shape.keys or shape.values):
        return value
    assert shape.element is not None
    items = (_remains(part, _element(part, shape), gone, shape.element) for part in value)
    return [part for part in items if part is not MISSING] or None


def _remains(part: Any, element: str, gone: FieldSet, shape: Shape) -> Any:
    if element in gone.members:
        return MISSING
    below = gone.children.get(element)
    if below is None:
        return part
    rest = remove(part, below, shape)
    return MISSING if rest is None and part is not None else rest


def with_structs(fields: FieldSet, shape: Shape | None) -> FieldSet:
    """The set, and in it every struct's field that holds one of its paths (EnsureNamedFieldsAreMembers).

    A struct is no field of its own; so it goes with the last of its fields.
    """
    members, children = set(fields.members), {}
    for element, below in fields.children.items():
        inner: Shape | None = None
        if shape is not None and element.startswith("f:"):
            name = element[2:]
            inner = shape.fields.get(name, shape.element)
            if name in shape.fields:
                members.add(element)
        elif shape is not None:
            inner = shape.element
        children[element] = with_structs(below, inner)
    return FieldSet(members, children)


def equal(one: Any, other: Any) -> bool:
    """JSON's equality, to which true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _is_leaf(value: Any, shape: Shape) -> bool:
    if shape.atomic or not isinstance(value, dict | list):
        return True
    return isinstance(value, list) and not (shape.keys or shape.values)


def _is_empty(value: Any) -> bool:
    return value is MISSING or value is None or value == {} or value == []


def _same_kind(old: Any, new: Any) -> bool:
    if old is MISSING or new is MISSING or old is None or new is None:
        return True
    return isinstance(old, dict) == isinstance(new, dict) and isinstance(old, list) == isinstance(new, list)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _index(items: Sequence[Any], shape: Shape) -> dict[str, list[Any]]:
    result: dict[str, list[Any]] = {}
    for part in items:
        result.setdefault(_element(part, shape), []).append(part)
    return result


def _element(part: Any, shape: Shape) -> str:
    """The path element of an item of a list that is merged. Raises SchemaError."""
    if shape.values:
        if isinstance(part, dict | list | None):
            raise SchemaError("associative list without keys has an element that's no plain value")
        return fieldset.value(part)
    if not isinstance(part, dict):
        raise SchemaError("associative list with keys may not have non-map elements")
    return fieldset.item({key: part.get(key, KEY_DEFAULTS.get(key, "")) for key in shape.keys})
