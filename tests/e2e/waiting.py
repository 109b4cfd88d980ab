"""Conditions that are polled to a deadline, instead of sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import httpx
from docker.errors import DockerException

T = TypeVar("T")
POLL = 0.1


def eventually(condition: Callable[[], T | None], what: str, seconds: float = 30.0) -> T:
    """Poll until the condition returns something other than None or False, and return that.

    A condition may also assert, or fail for a server that is away at the moment; what it said last is then in the
    failure.
    """
    deadline = time.monotonic() + seconds
    while True:
        value: T | None = None
        try:
            value = condition()
            last = repr(value)
        except (AssertionError, OSError, httpx.HTTPError, DockerException) as error:
            last = f"{type(error).__name__}: {error}"
        if value is not None and value is not False:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}; last: {last}")
        time.sleep(POLL)


def always(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Poll for a while and fail as soon as the condition does not hold."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        assert value, f"no longer true: {what}; {value!r}"
        time.sleep(POLL)
