"""The checker finds what it is there to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.history import Event, History, Outcome, Read, Write, check

DONE, UNKNOWN, REFUSED = Outcome.DONE, Outcome.UNKNOWN, Outcome.REFUSED


def sound() -> History:
    """Two objects: one is created, changed and deleted; of the other, one change was never answered, and happened."""
    return History(
        writes=[
            Write("create", "a", "1", 1, 2, DONE, 10),
            Write("create", "b", "2", 1, 3, DONE, 11),
            Write("update", "a", "3", 4, 5, DONE, 12),
            Write("update", "b", "4", 4, 6, UNKNOWN),
            Write("update", "a", "5", 6, 7, UNKNOWN),
            Write("delete", "a", "", 8, 9, DONE),
            Write("create", "b", "6", 10, 11, REFUSED),
        ],
        events=[
            Event("ADDED", "a", "1", 10),
            Event("ADDED", "b", "2", 11),
            Event("MODIFIED", "a", "3", 12),
            Event("MODIFIED", "b", "4", 14),
            Event("DELETED", "a", "3", 15),
        ],
        reads=[Read(5.5, 5.6, 12), Read(9, 10, 15)],
        final={"b": ("4", 14)},
    )


def test_a_history_in_which_nothing_is_lost_passes() -> None:
    assert check(sound()) == []
    assert check(History()) == []


def lose_an_event(history: History) -> None:
    del history.events[2]


def tell_twice(history: History) -> None:
    history.events.insert(3, history.events[2])


def tell_the_past_again(history: History) -> None:
    history.events += history.events[2:4]


def swap(history: History) -> None:
    history.events[1:3] = reversed(history.events[1:3])


def lose_a_write(history: History) -> None:
    """Neither told nor there."""
    del history.events[1]
    del history.events[2]
    history.final = {}


def lose_an_unacknowledged_write_that_was_told(history: History) -> None:
    history.final = {"b": ("2", 11)}


def forget_a_deletion(history: History) -> None:
    del history.events[4]
    history.final = {**history.final, "a": ("3", 12)}


def lose_the_end(history: History) -> None:
    history.final = {}


def do_the_refused(history: History) -> None:
    history.events.append(Event("ADDED", "b", "6", 16))


def do_twice(history: History) -> None:
    history.events.append(Event("MODIFIED", "b", "4", 16))
    history.final = {"b": ("4", 16)}


def invent(history: History) -> None:
    history.events.append(Event("MODIFIED", "b", "99", 16))
    history.final = {"b": ("99", 16)}


def answer_another_revision(history: History) -> None:
    history.writes[2] = replace(history.writes[2], revision=13)


def read_the_past(history: History) -> None:
    history.reads[0] = replace(history.reads[0], revision=11)


def read_backwards(history: History) -> None:
    history.reads.append(Read(11, 12, 14))


def write_in_the_past(history: History) -> None:
    """A revision that is smaller than one that had been answered before."""
    history.writes[0] = replace(history.writes[0], sent=3.5, answered=3.6)


def list_again(history: History) -> None:
    history.gaps.append("410")


DOCTORED: list[tuple[Callable[[History], None], str]] = [
    (lose_an_event, "acknowledged, and never seen: update a=3@12"),
    (tell_twice, "told twice"),
    (tell_the_past_again, "a revision went back"),
    (swap, "a revision went back"),
    (lose_a_write, "acknowledged, and never seen: create b=2@11"),
    (lose_an_unacknowledged_write_that_was_told, r"b is \('2', 11\), and was last seen as \('4', 14\)"),
    (forget_a_deletion, "acknowledged, and never seen: delete a"),
    (lose_the_end, r"b is None, and was last seen as"),
    (do_the_refused, "refused, and yet it happened: create b=6"),
    (do_twice, "happened 2 times: update b=4"),
    (invent, "nobody wrote what was seen: MODIFIED b=99@16"),
    (answer_another_revision, "acknowledged with a revision that it does not have"),
    (read_the_past, "a list@11 came after update a=3@12"),
    (read_backwards, "a list@14 came after a list@15"),
    (write_in_the_past, "create a=1@10 .* came after create b=2@11"),
    (list_again, "the watcher had to list again: 410"),
]


@pytest.mark.parametrize(("doctor", "found"), DOCTORED, ids=[doctor.__name__ for doctor, _ in DOCTORED])
def test_a_doctored_history_is_found_out(doctor: Callable[[History], None], found: str) -> None:
    history = sound()
    doctor(history)
    with pytest.raises(AssertionError, match=found):
        assert not check(history), "\n".join(check(history))
