"""Label selectors: `app=web,tier in (front,back),!canary`, as apimachinery's labels package reads and writes them.

A selector is a conjunction of requirements. Parsing keeps them sorted by key, so `str()` of a selector is canonical:
two texts that mean the same requirements print the same. Errors carry upstream's words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kube.api import names
from kube.api.errors import FieldError, invalid, not_supported
from kube.api.meta import LabelSelector

IN, NOT_IN, EXISTS, DOES_NOT_EXIST = "in", "notin", "exists", "!"
EQUALS, DOUBLE_EQUALS, NOT_EQUALS, GREATER, LESS = "=", "==", "!=", "gt", "lt"
_OPERATORS = (IN, NOT_IN, EQUALS, DOUBLE_EQUALS, NOT_EQUALS, GREATER, LESS)
_VALID = (IN, NOT_IN, EQUALS, DOUBLE_EQUALS, NOT_EQUALS, EXISTS, GREATER, LESS, DOES_NOT_EXIST)
_INTEGER = re.compile(r"[+-]?[0-9]+")


class SelectorError(ValueError):
    """The text is no selector."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet it."""
        value = labels.get(self.key)
        operator = self.operator
        if operator in (IN, EQUALS, DOUBLE_EQUALS):
            return value is not None and value in self.values
        if operator in (NOT_IN, NOT_EQUALS):
            return value is None or value not in self.values
        if operator == EXISTS:
            return value is not None
        if operator == DOES_NOT_EXIST:
            return value is None
        if value is None or not _INTEGER.fullmatch(value):
            return False
        (bound,) = self.values
        return int(value) > int(bound) if operator == GREATER else int(value) < int(bound)

    def __str__(self) -> str:
        if self.operator == EXISTS:
            return self.key
        if self.operator == DOES_NOT_EXIST:
            return f"!{self.key}"
        values = ",".join(sorted(self.values))
        if self.operator in (IN, NOT_IN):
            return f"{self.key} {self.operator} ({values})"
        return f"{self.key}{ {GREATER: '>', LESS: '<'}.get(self.operator, self.operator) }{values}"


@dataclass(frozen=True, slots=True)
class Selector:
    """A conjunction of requirements; without any it selects everything."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False
    """Selects nothing at all, whatever the requirements."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return not self.nothing and all(requirement.matches(labels) for requirement in self.requirements)

    def predicate(self) -> Callable[[Mapping[str, str]], bool]:
        """`matches`, made for being asked about thousands of objects."""
        if self.nothing or not self.requirements:
            return self.matches
        first, *others = self.requirements
        if first.operator not in (IN, EQUALS, DOUBLE_EQUALS):
            return self.matches
        key, values = first.key, first.values
        if not others:
            return lambda labels: labels.get(key) in values
        rest = Selector(tuple(others)).predicate()
        return lambda labels: labels.get(key) in values and rest(labels)

    @property
    def empty(self) -> bool:
        """Whether it selects everything."""
        return not self.nothing and not self.requirements

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)


def from_map(labels: Mapping[str, str]) -> Selector:
    """Selects what has all of these labels; an empty map selects everything. Not validated."""
    return Selector(tuple(Requirement(key, EQUALS, frozenset((labels[key],))) for key in sorted(labels)))


_FROM_API = {"In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": DOES_NOT_EXIST}


def from_label_selector(selector: LabelSelector | None) -> Selector:
    """The selector that an object's field describes: None selects nothing, an empty one everything.

    Raises SelectorError.
    """
    if selector is None:
        return NOTHING
    requirements = [requirement(key, EQUALS, (value,)) for key, value in selector.matchLabels.items()]
    for expression in selector.matchExpressions:
        operator = _FROM_API.get(expression.operator)
        if operator is None:
            raise SelectorError(f'"{expression.operator}" is not a valid label selector operator')
        requirements.append(requirement(expression.key, operator, expression.values))
    return Selector(tuple(sorted(requirements, key=lambda r: r.key)))


def requirement(key: str, operator: str, values: Sequence[str] = ()) -> Requirement:
    """A checked requirement. Raises SelectorError."""
    problems: list[FieldError] = []
    if texts := names.qualified(key):
        problems.append(invalid("key", key, "; ".join(texts)))
    shown = sorted(set(values))
    if operator in (IN, NOT_IN):
        if not values:
            problems.append(invalid("values", shown, "for 'in', 'notin' operators, values set can't be empty"))
    elif operator in (EQUALS, DOUBLE_EQUALS, NOT_EQUALS):
        if len(values) != 1:
            problems.append(invalid("values", shown, "exact-match compatibility requires one single value"))
    elif operator in (EXISTS, DOES_NOT_EXIST):
        if values:
            problems.append(invalid("values", shown, "values set must be empty for exists and does not exist"))
    elif operator in (GREATER, LESS):
        if len(values) != 1:
            problems.append(invalid("values", shown, "for 'Gt', 'Lt' operators, exactly one value is required"))
        problems += [
            invalid(f"values[{i}]", value, "for 'Gt', 'Lt' operators, the value must be an integer")
            for i, value in enumerate(shown)
            if not _INTEGER.fullmatch(value)
        ]
    else:
        problems.append(not_supported("operator", operator, _VALID))
    for i, value in enumerate(shown):
        if texts := names.label_value(value):
            problems.append(invalid(f"values[{i}][{key}]", value, "; ".join(texts)))
    if problems:
        lines = list(dict.fromkeys(str(problem) for problem in problems))
        raise SelectorError(lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]")
    return Requirement(key, operator, frozenset(values))


def parse(text: str) -> Selector:
    """The selector that a text (a `labelSelector` parameter) means. Raises SelectorError."""
    return Selector(tuple(sorted(_Parser(text).requirements(), key=lambda r: r.key)))


class _Token(NamedTuple):
    kind: str
    """`id`, `end`, or the symbol itself."""
    text: str


_SYMBOLS = {"=": "=", "==": "==", "!=": "!=", "!": "!", "(": "(", ")": ")", ",": ",", ">": ">", "<": "<"}


def _scan(text: str) -> Iterator[_Token]:
    i = 0
    while i < len(text):
        char = text[i]
        if char in " \t\r\n":
            i += 1
        elif char in "=!(),><":
            symbol = text[i : i + 2] if text[i : i + 2] in _SYMBOLS else char
            yield _Token(_SYMBOLS[symbol], symbol)
            i += len(symbol)
        else:
            start = i
            while i < len(text) and text[i] not in " \t\r\n=!(),><":
                i += 1
            yield _Token("id", text[start:i])


_END = _Token("end", "")


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_scan(text))
        self._next = 0

    def _peek(self) -> _Token:
        return self._tokens[self._next] if self._next < len(self._tokens) else _END

    def _take(self) -> _Token:
        token = self._peek()
        self._next += 1
        return token

    def requirements(self) -> Iterator[Requirement]:
        while (token := self._peek()) != _END:
            if token.kind not in ("id", "!"):
                raise SelectorError(f"found '{token.text}', expected: !, identifier, or 'end of string'")
            try:
                yield self._requirement()
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from None
            token = self._take()
            if token == _END:
                return
            if token.kind != ",":
                raise SelectorError(f"found '{token.text}', expected: ',' or 'end of string'")
            if self._peek().kind not in ("id", "!"):
                raise SelectorError(f"found '{self._peek().text}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        token, absent = self._take(), False
        if token.kind == "!":
            token, absent = self._take(), True
        if token.kind != "id":
            raise SelectorError(f"found '{token.text}', expected: identifier")
        key = token.text
        if texts := names.qualified(key):
            raise SelectorError(str(invalid("<nil>", key, "; ".join(texts))))
        if absent:
            return requirement(key, DOES_NOT_EXIST)
        if self._peek().kind in ("end", ","):
            return requirement(key, EXISTS)
        operator = self._operator()
        values = self._set() if operator in (IN, NOT_IN) else self._single()
        return requirement(key, operator, values)

    def _operator(self) -> str:
        token = self._take()
        operator = {">": GREATER, "<": LESS}.get(token.kind, token.text)
        if operator not in _OPERATORS or token.text in (GREATER, LESS):
            raise SelectorError(f"found '{token.text}', expected: {', '.join(_OPERATORS)}")
        return operator

    def _single(self) -> list[str]:
        if self._peek().kind in ("end", ","):
            return [""]
        token = self._take()
        if token.kind != "id":
            raise SelectorError(f"found '{token.text}', expected: identifier")
        return [token.text]

    def _set(self) -> list[str]:
        if (token := self._take()).kind != "(":
            raise SelectorError(f"found '{token.text}' expected: '('")
        token = self._peek()
        if token.kind == ")":
            self._take()
            return []
        if token.kind not in ("id", ","):
            raise SelectorError(f"found '{token.text}', expected: ',', ')' or identifier")
        # An empty place between commas (or before the first, or behind the last) is the empty value.
        values: set[str] = set()
        expect_value = True
        while True:
            token = self._peek()
            if token.kind == "id" and expect_value:
                values.add(token.text)
                expect_value = False
            elif token.kind == ",":
                if expect_value:
                    values.add("")
                expect_value = True
            elif token.kind == ")":
                if expect_value:
                    values.add("")
                self._take()
                return sorted(values)
            elif expect_value:
                raise SelectorError(f"found '{token.text}', expected: ',', or identifier")
            else:
                raise SelectorError(f"found '{token.text}', expected: ',' or ')'")
            self._take()
