"""Sets of fields: which parts of an object somebody owns, as a trie of path elements.

A path element is kept in the form that `fieldsV1` has on the wire: `f:<name>` is a field, `k:{"name":"web"}` the item
of a list that has these keys, `v:"x"` a value in a list that is a set, `i:0` an index. A set may hold a path and paths
below it, each on its own: owning the item `web` of a list (`.`) is not owning its image.

The algebra is structured-merge-diff's (fieldpath.Set): `difference` takes away paths, one by one; only
`without_trees` takes away whatever is below them, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

Path = tuple[str, ...]

_SELF = "."


class FieldSet:
    """A set of paths. Its operations give new sets; only `insert` changes one."""

    __slots__ = ("children", "members")

    def __init__(self, members: Iterable[str] = (), children: Mapping[str, FieldSet] | None = None) -> None:
        self.members = set(members)
        """The elements that are in the set, at this level."""
        self.children: dict[str, FieldSet] = dict(children or {})
        """What is in the set below an element; never an empty set."""

    @classmethod
    def of(cls, *paths: Path) -> FieldSet:
        """The set of these paths."""
        result = cls()
        for path in paths:
            result.insert(path)
        return result

    def insert(self, path: Path) -> None:
        """Add a path. The empty one, which is the whole object, is no field and is left out."""
        if not path:
            return
        node = self
        for element in path[:-1]:
            child = node.children.get(element)
            if child is None:
                child = node.children[element] = FieldSet()
            node = child
        node.members.add(path[-1])

    def __contains__(self, path: Path) -> bool:
        node: FieldSet | None = self
        for element in path[:-1]:
            node = node.children.get(element) if node is not None else None
        return node is not None and path[-1] in node.members

    def __bool__(self) -> bool:
        return bool(self.members or self.children)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FieldSet):
            return NotImplemented
        return self.members == other.members and self.children == other.children

    __hash__ = None  # type: ignore[assignment]  # it can be changed

    def __repr__(self) -> str:
        return f"FieldSet({', '.join(map(path_text, self.paths()))})"

    def paths(self, prefix: Path = ()) -> Iterator[Path]:
        """Every path, those of a level before those below it."""
        for element in sorted(self.members):
            yield (*prefix, element)
        for element in sorted(self.children):
            yield from self.children[element].paths((*prefix, element))

    def below(self, element: str) -> FieldSet:
        """What is in the set below an element."""
        return self.children.get(element) or FieldSet()

    def __or__(self, other: FieldSet) -> FieldSet:
        children = dict(self.children)
        for element, child in other.children.items():
            mine = children.get(element)
            children[element] = child if mine is None else mine | child
        return FieldSet(self.members | other.members, children)

    def __and__(self, other: FieldSet) -> FieldSet:
        both = ((e, child & other.children[e]) for e, child in self.children.items() if e in other.children)
        return FieldSet(self.members & other.members, {element: child for element, child in both if child})

    def __sub__(self, other: FieldSet) -> FieldSet:
        """Without the paths of the other set; what is below them stays."""
        rest = ((e, child - other.children[e] if e in other.children else child) for e, child in self.children.items())
        return FieldSet(self.members - other.members, {element: child for element, child in rest if child})

    def without_trees(self, other: FieldSet) -> FieldSet:
        """Without the paths of the other set and everything below them (RecursiveDifference)."""
        children = {}
        for element, child in self.children.items():
            if element in other.members:
                continue
            rest = child.without_trees(other.children[element]) if element in other.children else child
            if rest:
                children[element] = rest
        return FieldSet(self.members - other.members, children)

    def to_fields(self) -> dict[str, Any]:
        """The set as `fieldsV1` has it: `{}` is a path that is in the set, `.` says so of one that has children."""
        result: dict[str, Any] = {}
        for element in sorted({*self.members, *self.children}, key=_order):
            child = self.children.get(element)
            if child is None:
                result[element] = {}
            elif element in self.members:
                result[element] = {_SELF: {}, **child.to_fields()}
            else:
                result[element] = child.to_fields()
        return result

    @classmethod
    def from_fields(cls, fields: object) -> FieldSet:
        """The set that a `fieldsV1` is. Raises ValueError."""
        if not isinstance(fields, Mapping):
            raise ValueError("fieldsV1 is not an object")
        result = cls()
        for text, below in fields.items():
            if text == _SELF:
                continue  # the parent's membership, which the caller has seen
            element = _canonical(text)
            child = cls.from_fields(below)
            if not below or _SELF in below:
                result.members.add(element)
            if child:
                result.children[element] = result.children[element] | child if element in result.children else child
        return result


def field(name: str) -> str:
    """The element of a map's or struct's field."""
    return f"f:{name}"


def item(keys: Mapping[str, Any]) -> str:
    """The element of a list's item that has these keys."""
    return f"k:{_dumps(dict(keys))}"


def value(content: Any) -> str:
    """The element of a value in a list that is a set."""
    return f"v:{_dumps(content)}"


def path_text(path: Path) -> str:
    """A path as a person reads it: `.spec.containers[name="web"].image`."""
    return "".join(map(_element_text, path))


def _element_text(element: str) -> str:
    kind, _, text = element.partition(":")
    if kind == "f":
        return f".{text}"
    if kind == "i":
        return f"[{text}]"
    if kind == "v":
        return f"[={text}]"
    return "[" + ",".join(f"{name}={_dumps(key)}" for name, key in sorted(orjson.loads(text).items())) + "]"


_ORDER = {"f": 0, "k": 1, "v": 2, "i": 3}


def _order(element: str) -> tuple[int, str]:
    return _ORDER[element[0]], element


def _dumps(content: Any) -> str:
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode()


def _canonical(text: object) -> str:
    """The one spelling of an element, so that equal ones are equal. Raises ValueError."""
    if not isinstance(text, str) or text[1:2] != ":" or text[0] not in _ORDER:
        raise ValueError(f"unknown kind of path element: {text!r}")
    kind, rest = text[0], text[2:]
    if kind == "f":
        return text
    content = orjson.loads(rest)
    if kind == "k" and not isinstance(content, dict):
        raise ValueError(f"the keys of an item are no object: {text!r}")
    if kind == "i" and not isinstance(content, int):
        raise ValueError(f"not an index: {text!r}")
    return f"{kind}:{_dumps(content)}"
