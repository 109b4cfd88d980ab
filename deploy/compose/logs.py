"""Lines of the daemons' logs, in either form (`--log-format=text` or `json`), as one: when, who, what.

What is no line of a daemon's is passed over: a traceback, what a shell or another program says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

_LEVELS = ("INFO", "WARNING", "ERROR")
_LINE = re.compile(rf"(\S+Z) (?:{'|'.join(_LEVELS)}) (\S+?): (.*)")


@dataclass(frozen=True, slots=True)
class Line:
    """An event that a daemon tells of."""

    time: float
    """Seconds since the epoch."""
    logger: str
    """Such as `scheduler.scheduler`."""
    text: str
    """What happened, and `key=value` for each thing that it happened to."""


def read(lines: Iterable[str]) -> Iterator[Line]:
    """The lines that daemons wrote, but for those of debugging."""
    for line in lines:
        found = _json(line) if line.startswith("{") else _text(line)
        if found:
            yield found


def seconds(text: str) -> float:
    """A time as daemons and Docker write it, in seconds since the epoch."""
    # Docker writes nanoseconds, of which datetime takes six digits.
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")


def _text(line: str) -> Line | None:
    match = _LINE.match(line)
    return Line(seconds(match[1]), match[2], match[3]) if match else None


def _json(line: str) -> Line | None:
    try:
        event = json.loads(line)
        time, level, logger, message = (event.pop(name) for name in ("ts", "level", "logger", "msg"))
    except (ValueError, KeyError):  # etcd's are of another kind
        return None
    if level.upper() not in _LEVELS:
        return None
    return Line(seconds(time), logger, " ".join([message, *(f"{name}={value}" for name, value in event.items())]))
