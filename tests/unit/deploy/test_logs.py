"""A daemon's lines are the same in both forms; what is not a daemon's is passed over."""

from __future__ import annotations

import logging

import pytest

from deploy.compose.logs import Line, read, seconds
from kube.daemon import JSONFormatter, TextFormatter

RECORD = logging.makeLogRecord(
    {"name": "kube.kubelet.pod_actions", "levelno": logging.INFO, "levelname": "INFO", "msg": "started a container",
     "created": 100.25, "pod": "default/web", "attempt": 0}
)  # fmt: skip


@pytest.mark.parametrize("formatter", [TextFormatter(), JSONFormatter()], ids=["text", "json"])
def test_both_forms_say_the_same(formatter: logging.Formatter) -> None:
    expected = Line(100.25, "kubelet.pod_actions", "started a container pod=default/web attempt=0")
    assert list(read([formatter.format(RECORD)])) == [expected]


@pytest.mark.parametrize(
    "line",
    ["Traceback (most recent call last):", "Loaded image: kube/web", "{", '{"level": "warn", "ts": "x", "msg": "raft"}',
     "1970-01-01T00:01:40.250Z DEBUG scheduler.scheduler: bound pod=a/b",
     '{"ts": "1970-01-01T00:01:40.250Z", "level": "debug", "logger": "a", "msg": "b"}', "[1, 2]"],
)  # fmt: skip
def test_what_is_no_line_of_a_daemons_is_passed_over(line: str) -> None:
    assert list(read([line])) == []


def test_a_time_may_have_nanoseconds() -> None:
    assert seconds("1970-01-01T00:01:40.123456789Z") == pytest.approx(100.123456789)
