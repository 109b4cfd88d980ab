"""Field selectors: `spec.nodeName=n1,status.phase!=Running`, over the few fields that a kind offers (resources.py).

Unlike labels there is only equality. A value may hold `,`, `=` and a backslash, each with a backslash before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kube.api import resources
from kube.api.errors import BadRequest
from kube.api.meta import Object

OBJECT_NAME = "metadata.name"
OBJECT_NAMESPACE = "metadata.namespace"


class SelectorError(ValueError):
    """The text is no field selector."""


@dataclass(frozen=True, slots=True)
class Term:
    """One field that must equal, or must not equal, a value."""

    field: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.field}{'!=' if self.negated else '='}{_escape(self.value)}"


@dataclass(frozen=True, slots=True)
class Selector:
    """Terms that must all hold; without any it selects everything."""

    terms: tuple[Term, ...] = ()

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether an object with these fields is selected; a field that is missing counts as empty."""
        return all((fields.get(term.field, "") == term.value) != term.negated for term in self.terms)

    @property
    def empty(self) -> bool:
        """Whether it selects everything."""
        return not self.terms

    def required(self, field: str) -> str | None:
        """The value that the field must have, if the selector demands one."""
        return next((term.value for term in self.terms if term.field == field and not term.negated), None)

    def __str__(self) -> str:
        return ",".join(str(term) for term in self.terms)


EVERYTHING = Selector()


def parse(text: str) -> Selector:
    """The selector that a text (a `fieldSelector` parameter) means. Raises SelectorError."""
    terms = []
    for part in _split(text):
        if not part:
            continue
        operator = re.search("!=|==|=", part)
        if operator is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
        value = _unescape(part[operator.end() :])
        terms.append(Term(part[: operator.start()], value, operator[0] == "!="))
    return Selector(tuple(terms))


def check(selector: Selector, resource: resources.Resource) -> None:
    """Raise BadRequest if the selector names a field that the resource does not offer."""
    for term in selector.terms:
        if term.field not in (OBJECT_NAME, OBJECT_NAMESPACE, *resource.fields):
            raise BadRequest(_unsupported(term.field, resource))


# Kinds without a conversion of their own upstream, where the refusal is worded differently.
_GENERIC = ("Endpoints", "Lease")


def _unsupported(field: str, resource: resources.Resource) -> str:
    if resource.kind in _GENERIC:
        return f'"{field}" is not a known field selector: only "{OBJECT_NAME}", "{OBJECT_NAMESPACE}"'
    return f"field label not supported: {field}"


def of_object(obj: Object) -> dict[str, str]:
    """The fields of an object that a selector may name, as text."""
    fields = {OBJECT_NAME: obj.metadata.name, OBJECT_NAMESPACE: obj.metadata.namespace}
    for path in resources.of(type(obj)).fields:
        fields[path] = _text(_lookup(obj, path))
    return fields


def _lookup(obj: Object, path: str) -> Any:
    if path == "source":
        # An event's source is its component, or who reports it in the newer form.
        event: Any = obj
        return event.source.component or event.reportingComponent
    value: Any = obj
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _split(text: str) -> Iterator[str]:
    """The text at its commas, but for those behind a backslash."""
    part, escaped = "", False
    for char in text:
        if char == "," and not escaped:
            yield part
            part = ""
            continue
        part += char
        escaped = char == "\\" and not escaped
    yield part


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _unescape(value: str) -> str:
    result, chars = "", iter(value)
    for char in chars:
        if char == "\\":
            following = next(chars, "")
            if following not in ("\\", ",", "=") or not following:
                raise SelectorError(f"invalid field selector: invalid escape sequence: \\{following}")
            result += following
        elif char in ",=":
            raise SelectorError(f"invalid field selector: unescaped character in value: {char}")
        else:
            result += char
    return result
