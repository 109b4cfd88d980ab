"""Whether ever two acted at once: the leases as they changed, and what each process says that it did, and when."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

ANSWER = 2.0
"""Seconds that an answer may be on its way: who acted as the leader may tell of it after it was one."""
_ACT = re.compile(r"(\S+Z) INFO (?:scheduler\.scheduler: bound|controller_manager\.replication: too)")


@dataclass(frozen=True, slots=True)
class Held:
    """From when on a lease was whose."""

    time: float
    holder: str


def acts(container: str, lines: Iterable[str]) -> list[tuple[float, str]]:
    """When a scheduler or controller manager acted, from its log."""
    return [
        (datetime.fromisoformat(match[1].replace("Z", "+00:00")).timestamp(), container)
        for line in lines
        if (match := _ACT.match(line))
    ]


def wrong(held: Sequence[Held], done: Iterable[tuple[float, str]]) -> list[str]:
    """Every act of who did not lead at the time. A holder is named `<container>_…`."""
    found = []
    for time, container in sorted(done):
        led = [each for each in held if each.time <= time]
        recent = {each.holder for each in led if time - each.time < ANSWER} | {each.holder for each in led[-1:]}
        before = [each for each in led if time - each.time >= ANSWER][-1:]
        if not any(holder.partition("_")[0] == container for holder in recent | {each.holder for each in before}):
            found.append(f"{container} acted at {time:.3f}, and {led[-1].holder if led else 'nobody'} led")
    return found
