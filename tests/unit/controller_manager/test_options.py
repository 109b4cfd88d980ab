"""Which controllers run."""

from __future__ import annotations

import argparse

import pytest

from kube.controller_manager import options


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        pytest.param(["*"], options.NAMES, id="all"),
        pytest.param(
            ["*", "-gc"], tuple(name for name in options.NAMES if name != "garbagecollector"), id="all but one"
        ),
        pytest.param(
            ["-endpoint", "gc", "-ns", "rc", "endpoint"], ("replicationcontroller", "garbagecollector"), id="any order"
        ),
        pytest.param(["gc", "-gc", "*", "-rc", "rc"], tuple(n for n in options.NAMES if n != "replicationcontroller"),
                     id="what is said first of one counts"),
        pytest.param(["endpoint", "replication"], ("replicationcontroller", "endpoint"), id="these only"),
        pytest.param(["endpoints-controller"], ("endpoint",), id="by upstream's newer names"),
        pytest.param([], (), id="none"),
    ],
)  # fmt: skip
def test_controllers(chosen: list[str], expected: tuple[str, ...]) -> None:
    assert options.enabled(chosen) == expected


def test_a_controller_that_is_none() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no controller 'nope': there are replicationcontroller"):
        options.enabled(["-nope"])


def test_the_command_line() -> None:
    given = options.parser().parse_args(["--controllers=*,-gc", "--node-monitor-grace-period=1m", "--port=0"])
    parsed = options.from_args(given)
    assert parsed.node_monitor_grace_period == 60
    assert parsed.port == 0
    assert "garbagecollector" not in parsed.controllers
    assert options.from_args(options.parser().parse_args([])) == options.Options()
