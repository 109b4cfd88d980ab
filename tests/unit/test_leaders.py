"""The judgement itself: an act is wrong when another held the lease."""

from __future__ import annotations

from tests.lab.leaders import Held, acts, wrong

HELD = [Held(0, "s-1_7_a"), Held(100, "s-2_9_b")]


def test_who_leads_may_act() -> None:
    assert wrong(HELD, [(50, "s-1"), (150, "s-2")]) == []


def test_who_led_a_moment_ago_may_hear_its_answer_late() -> None:
    assert wrong(HELD, [(101, "s-1")]) == []


def test_who_no_longer_leads_and_who_does_not_yet_is_found() -> None:
    assert wrong(HELD, [(103, "s-1"), (99, "s-2")]) == [
        "s-2 acted at 99.000, and s-1_7_a led",
        "s-1 acted at 103.000, and s-2_9_b led",
    ]


def test_acts_are_read_from_the_log() -> None:
    lines = [
        "1970-01-01T00:01:40.500Z INFO scheduler.scheduler: bound pod=default/a node=n",
        "1970-01-01T00:01:41.000Z INFO controller_manager.replication: too few pods, creating rc=default/a count=1",
        "1970-01-01T00:01:42.000Z INFO scheduler.scheduler: not bound pod=default/a",
    ]
    assert acts("s-1", lines) == [(100.5, "s-1"), (101.0, "s-1")]
