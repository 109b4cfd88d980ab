"""Progress on the terminal: a line when a step has something to say, with the time it took."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

NAME_WIDTH = 25
HEARTBEAT = 5.0
"""Seconds after which a long command shows what it last said."""


class Failed(Exception):
    """A step cannot work. The message says which, why, and what to do."""


class Step:
    """A step that has begun."""

    def __init__(self, name: str, quiet: bool) -> None:
        self._name = name
        self._quiet = quiet
        self._began = time.monotonic()
        self._last = ""

    def say(self, text: str, *, timed: bool = False) -> None:
        """A line about this step, unless it is the line it said last."""
        if text == self._last:
            return
        self._last = text
        took = f"  {self.seconds:.1f} s" if timed else ""
        if not self._quiet:
            print(f"{self._name:<{NAME_WIDTH}}{text}{took}", flush=True)

    def add(self, text: str) -> None:
        """One line more of what was said last."""
        if not self._quiet:
            print(f"{'':<{NAME_WIDTH}}{text}", flush=True)

    def done(self, text: str) -> None:
        """The step's result, with the time it took if that is worth mentioning."""
        self.say(text, timed=self.seconds >= 0.1)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began


class Steps:
    """Says what happens, step by step, on standard output."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """A named step."""
        yield Step(name, self._quiet)


def run_logged(step: Step, command: Sequence[str], log: Path, env: dict[str, str] | None = None) -> bool:
    """Run a command that takes its time; its words are appended to `log`. Whether it succeeded."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        began = output.tell()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env)
        while True:
            try:
                return process.wait(HEARTBEAT) == 0
            except subprocess.TimeoutExpired:
                said = last_lines(log, 1, since=began)
                step.say(f"… {step.seconds:.0f} s: {said[:90]}")


def last_lines(log: Path, count: int, since: int = 0) -> str:
    """The last lines of a log, from a position of the file on; empty if there are none."""
    try:
        with log.open("rb") as text:
            text.seek(max(since, log.stat().st_size - 64 * 1024))
            lines = text.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join([line for line in lines if line.strip()][-count:])
