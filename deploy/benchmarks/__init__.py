"""deploy/bench: measure what a person waits for, beside what it could cost at best, and print a table.

`deploy/bench` runs every suite, `deploy/bench cluster …` those named. A suite is a module of this package with a
`bench()`, and its first docstring line says what it measures; it starts what it needs, on ports and in network
namespaces of its own, and stops it again. A figure is worth something only beside a floor of the same run: the same
work done by the part underneath (Docker, etcd, a plain socket) without us. `row` prints both, and their ratio beside
the goal.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

WIDTH = 62


def row(what: str, figure: float, unit: str = "s", note: str = "") -> None:
    """A line of the table: what was measured, the figure, and what it is to be held against."""
    digits = 2 if abs(figure) < 100 else 0
    print(f"{what:<{WIDTH}}{figure:>10,.{digits}f} {unit:<6} {note}".rstrip(), flush=True)


def timed(work: Callable[[], object]) -> float:
    """Seconds that some work takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def median(tries: int, measure: Callable[[int], float]) -> float:
    """The median of some measurements, after one (numbered -1) that does not count."""
    measure(-1)
    return statistics.median(measure(number) for number in range(tries))


def resident(pid: int) -> float:
    """Megabytes of a process in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that a process has used since its start, in user and kernel mode."""
    # The command's name, in parentheses, may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
