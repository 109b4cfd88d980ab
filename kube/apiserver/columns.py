"""What the columns of tables are made of: their heads, spans of time, and the words for nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

NONE = "<none>"
UNKNOWN = "<unknown>"
UNSET = "<unset>"

Row = tuple[Any, ...]
Printer = tuple[list[dict[str, Any]], Callable[[Any, datetime], Row]]
"""The columns of a kind, and what makes a row of an object."""


def duration(seconds: float) -> str:
    """A span as a person reads it: `45s`, `3m5s`, `12m`, `5h20m`, `27h`, `3d4h`, `10d`, `2y30d`."""
    s = int(seconds)
    if s < -1:
        return "<invalid>"
    if s < 0:
        return "0s"
    minutes, hours, days = s // 60, s // 3600, s // 86400
    if s < 120:
        return f"{s}s"
    if minutes < 10:
        return f"{minutes}m" + (f"{s % 60}s" if s % 60 else "")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d" + (f"{hours % 24}h" if hours % 24 else "")
    if days < 730:
        return f"{days}d"
    years = days // 365
    if years < 8:
        return f"{years}y" + (f"{days % 365}d" if days % 365 else "")
    return f"{years}y"


def age(since: datetime | None, moment: datetime) -> str:
    """How long ago something was."""
    return UNKNOWN if since is None else duration((moment - since).total_seconds())


def _column(name: str, priority: int = 0, type_: str = "string") -> dict[str, Any]:
    return {"name": name, "type": type_, "format": "name" if name == "Name" else "", "description": name,
            "priority": priority}  # fmt: skip


def columns(names: str, wide: str = "", numbers: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The columns of a table: those that are always shown, and those with `-o wide`; names between bars."""

    def some(text: str, priority: int) -> list[dict[str, Any]]:
        return [_column(n, priority, "integer" if n in numbers else "string") for n in text.split("|") if n]

    return some(names, 0) + some(wide, 1)
