"""What a controller has asked for and does not see yet."""

from __future__ import annotations

import pytest

from kube.controller_manager.expectations import Expectations


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def expectations(clock: Clock) -> Expectations:
    return Expectations(clock)


def test_without_expectations_the_cache_is_believed(expectations: Expectations) -> None:
    assert expectations.wait("ns/rc") == 0


def test_all_that_was_asked_for_must_be_seen(expectations: Expectations) -> None:
    expectations.expect_creation("ns/rc", ["ns/a", "ns/b"])
    expectations.expect_deletion("ns/rc", ["ns/c"])
    expectations.creation_observed("ns/rc", "ns/a")
    expectations.creation_observed("ns/rc", "ns/a")
    expectations.deletion_observed("ns/rc", "ns/c")
    assert expectations.wait("ns/rc") > 0, "one pod, seen twice, is one pod"
    expectations.creation_observed("ns/rc", "ns/b")
    assert expectations.wait("ns/rc") == 0


def test_after_five_minutes_the_cache_is_believed_again(expectations: Expectations, clock: Clock) -> None:
    expectations.expect_creation("ns/rc", ["ns/a"])
    clock.time += 299
    assert expectations.wait("ns/rc") == 1
    clock.time += 1
    assert expectations.wait("ns/rc") == 0
    expectations.expect_creation("ns/rc", ["ns/b"])
    assert expectations.created("ns/rc") == ["ns/b"], "what timed out is not waited for a second time"


def test_each_controller_has_its_own(expectations: Expectations) -> None:
    expectations.expect_deletion("ns/one", ["ns/a"])
    assert expectations.wait("ns/other") == 0
    expectations.deletion_observed("ns/other", "ns/a")
    assert expectations.deleted("ns/one") == ["ns/a"]
    expectations.forget("ns/one")
    assert expectations.wait("ns/one") == 0
