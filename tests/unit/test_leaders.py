"""The judgement itself: an act is wrong when another held the lease."""

from __future__ import annotations

from typing import Any

from deploy.compose.hops import Change
from tests.lab.leaders import Act, Held, acts, bindings, held, wrong

LEASE = "/registry/leases/kube-system/kube-scheduler"
HELD = [Held(0, 10, "s-1_7_a"), Held(100, 20, "s-2_9_b")]


def test_who_leads_may_act() -> None:
    assert wrong(HELD, [Act(50, "s-1"), Act(150, "s-2")]) == []


def test_who_led_a_moment_ago_may_tell_of_it_late() -> None:
    assert wrong(HELD, [Act(101, "s-1")]) == []


def test_who_no_longer_leads_and_who_does_not_yet_is_found() -> None:
    assert wrong(HELD, [Act(99, "s-2"), Act(103, "s-1")]) == [
        f"s-2 acted at 99.000 (revision unknown), and led had ['s-1_7_a'] of {HELD}",
        f"s-1 acted at 103.000 (revision unknown), and led had ['s-2_9_b'] of {HELD}",
    ]


def test_where_the_revision_is_known_the_clock_does_not_matter() -> None:
    assert wrong(HELD, [Act(130, "s-1", 19), Act(90, "s-2", 21)]) == []
    assert wrong(HELD, [Act(101, "s-1", 21)]) != []


def test_nobody_may_act_on_a_lease_that_was_given_back() -> None:
    assert wrong([*HELD, Held(110, 30, "")], [Act(111, "s-2", 31)])


def test_what_was_before_the_first_lease_is_not_judged() -> None:
    assert wrong(HELD[1:], [Act(50, "s-1"), Act(50, "s-1", 15)]) == []


def test_acts_are_read_from_the_log() -> None:
    lines = [
        "1970-01-01T00:01:40.500Z INFO scheduler.scheduler: bound pod=default/a node=n",
        "1970-01-01T00:01:41.000Z INFO controller_manager.replication: too few pods, creating rc=default/a count=1",
        "1970-01-01T00:01:42.000Z INFO scheduler.scheduler: not bound pod=default/a",
        '{"ts": "1970-01-01T00:01:43.000Z", "level": "info", "logger": "scheduler.scheduler", "msg": "bound", '
        '"pod": "default/b", "node": "n"}',
    ]
    assert acts("s-1", lines, {"default/a": 7}) == [Act(100.5, "s-1", 7), Act(101.0, "s-1"), Act(103.0, "s-1")]


def test_leases_and_bindings_are_read_from_etcd() -> None:
    unbound: dict[str, Any] = {"spec": {}}
    bound = {"spec": {"nodeName": "n"}}
    changes = [
        Change(1.0, 1, LEASE, {"spec": {"holderIdentity": "s-1_7_a"}}),
        Change(2.0, 2, "/registry/pods/default/a", unbound),
        Change(3.0, 3, "/registry/pods/default/a", bound),
        Change(4.0, 4, "/registry/pods/default/a", bound),
        Change(5.0, 5, "/registry/pods/default/a", None),
        Change(6.0, 6, LEASE, {"spec": {}}),
    ]
    assert bindings(changes) == {"default/a": 3}
    assert held(changes, LEASE) == [Held(1.0, 1, "s-1_7_a"), Held(6.0, 6, "")]


def test_a_lease_is_held_from_when_its_holder_says_however_late_that_is_seen() -> None:
    taken = {"holderIdentity": "s-2_9_b", "acquireTime": "1970-01-01T00:01:40.250000Z"}
    renewed = {**taken, "renewTime": "1970-01-01T00:01:50.000000Z"}
    changes = [Change(time, int(time), LEASE, {"spec": spec}) for time, spec in ((103.0, taken), (110.0, renewed))]
    assert held(changes, LEASE) == [Held(100.25, 103, "s-2_9_b")]
    assert wrong([HELD[0], *held(changes, LEASE)], [Act(101.0, "s-2")]) == []
