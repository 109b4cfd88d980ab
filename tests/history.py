"""What clients did and saw, and whether a store that loses nothing could have made them see it.

`check` is a pure function over a recorded history. Writers write objects of names of their own, one write after the
other, each with a value that no other write has; a watcher follows all of it, and reconnects by resourceVersion when it
is cut off. Nothing is known of a write that was not answered: it may have happened, once. Times are of one clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise


class Outcome(Enum):
    """What a writer knows of its write."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Write:
    """One request, and its answer."""

    verb: str
    """`create`, `update` or `delete`."""
    name: str
    value: str
    """What it wrote; of a delete, "". """
    sent: float
    answered: float
    outcome: Outcome
    revision: int = 0
    """The resourceVersion that was answered. (That of a deletion is not told.)"""

    def __str__(self) -> str:
        return f"{self.verb} {self.name}={self.value}@{self.revision or '?'} ({self.outcome.value})"


@dataclass(frozen=True, slots=True)
class Event:
    """What a watch said."""

    type: str
    name: str
    value: str
    revision: int

    def __str__(self) -> str:
        return f"{self.type} {self.name}={self.value}@{self.revision}"


@dataclass(frozen=True, slots=True)
class Read:
    """A list: the revision that it was of."""

    sent: float
    answered: float
    revision: int


@dataclass(slots=True)
class History:
    """All of it."""

    writes: list[Write] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    """In the order in which one watcher was told, over all its connections."""
    reads: list[Read] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    """Where the watcher was told to list again."""
    final: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """What was there in the end: value and revision by name."""


TYPES = {"create": "ADDED", "update": "MODIFIED", "delete": "DELETED"}


def check(history: History) -> list[str]:
    """What is wrong; empty if nothing is."""
    return [
        *(f"the watcher had to list again: {gap}" for gap in history.gaps),
        *_revisions_only_grow(history),
        *_every_write_has_its_event(history),
        *_every_event_has_its_write(history),
        *_every_object_has_one_life_after_the_other(history.events),
        *_time_and_revisions_agree(history),
        *_in_the_end_is_what_was_told(history),
    ]


def _revisions_only_grow(history: History) -> Iterator[str]:
    for before, after in pairwise(history.events):
        if after.revision == before.revision:
            yield f"told twice, or two changes of one revision: {before}, {after}"
        elif after.revision < before.revision:
            yield f"a revision went back: {after} after {before}"


def _every_write_has_its_event(history: History) -> Iterator[str]:
    told: dict[tuple[str, str, str], list[Event]] = {}
    for event in history.events:
        value = "" if event.type == "DELETED" else event.value
        told.setdefault((event.type, event.name, value), []).append(event)
    for write in history.writes:
        events = told.get((TYPES[write.verb], write.name, write.value), [])
        if write.outcome is Outcome.DONE and not events:
            yield f"acknowledged, and never seen: {write}"
        if write.outcome is Outcome.REFUSED and events:
            yield f"refused, and yet it happened: {write}"
        if len(events) > 1:
            yield f"happened {len(events)} times: {write}"
        if write.outcome is Outcome.DONE and write.revision and events and events[0].revision != write.revision:
            yield f"acknowledged with a revision that it does not have: {write}, {events[0]}"


def _every_event_has_its_write(history: History) -> Iterator[str]:
    known = {(TYPES[write.verb], write.name, write.value) for write in history.writes}
    for event in history.events:
        if (event.type, event.name, "" if event.type == "DELETED" else event.value) not in known:
            yield f"nobody wrote what was seen: {event}"


def _every_object_has_one_life_after_the_other(events: Iterable[Event]) -> Iterator[str]:
    alive: set[str] = set()
    for event in events:
        if (event.type == "ADDED") == (event.name in alive):
            yield f"{event}, but it {'was there' if event.name in alive else 'was not there'}"
        (alive.discard if event.type == "DELETED" else alive.add)(event.name)


def _time_and_revisions_agree(history: History) -> Iterator[str]:
    """Whatever was answered before something else was sent has the smaller revision, whoever did it."""
    acknowledged = [write for write in history.writes if write.outcome is Outcome.DONE and write.revision]
    answers = sorted(
        [(write.answered, write.revision, str(write)) for write in acknowledged]
        + [(read.answered, read.revision, f"a list@{read.revision}") for read in history.reads]
    )
    requests = sorted(
        [(write.sent, write.revision - 1, str(write)) for write in acknowledged]
        + [(read.sent, read.revision, f"a list@{read.revision}") for read in history.reads]
    )
    newest, by, position = 0, "", 0
    for sent, at_least, what in requests:
        while position < len(answers) and answers[position][0] < sent:
            _, revision, whose = answers[position]
            if revision > newest:
                newest, by = revision, whose
            position += 1
        if at_least < newest:
            yield f"{what} came after {by}, and is older"


def _in_the_end_is_what_was_told(history: History) -> Iterator[str]:
    told: dict[str, tuple[str, int]] = {}
    for event in history.events:
        if event.type == "DELETED":
            told.pop(event.name, None)
        else:
            told[event.name] = (event.value, event.revision)
    for name in sorted(told.keys() | history.final.keys()):
        if told.get(name) != history.final.get(name):
            yield f"{name} is {history.final.get(name)}, and was last seen as {told.get(name)}"
