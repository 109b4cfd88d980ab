"""The table of the failure tests: how each fault was suffered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a fault."""

    fault: str
    acknowledged: int
    """Writes that were, while it lasted and until all was well again."""
    unanswered: int
    """Writes of which nobody knows whether they happened."""
    wrong: int
    """What the checker found: lost, doubled, out of order."""
    failed: int
    """Requests to the service that were not answered."""
    seconds: float
    """From the end of the fault until all was well."""


@dataclass(slots=True)
class Table:
    """All of them, a line for each fault, however often it was tried."""

    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows.append(row)

    def __str__(self) -> str:
        by_fault: dict[str, list[Row]] = {}
        for row in self.rows:
            by_fault.setdefault(row.fault, []).append(row)
        lines = [
            "| fault | tries | writes acknowledged | unanswered | lost | requests failed | seconds to heal |",
            "|---|---|---|---|---|---|---|",
            *(_line(fault, tries) for fault, tries in by_fault.items()),
            _line("**all**", self.rows),
        ]
        return "\n".join(lines)


def _line(fault: str, tries: Iterable[Row]) -> str:
    tries = list(tries)
    seconds = sorted(row.seconds for row in tries)
    span = f"{seconds[0]:.1f}" if len(seconds) == 1 else f"{seconds[0]:.1f}-{seconds[-1]:.1f}" if seconds else ""
    sums = (
        sum(row.acknowledged for row in tries),
        sum(row.unanswered for row in tries),
        sum(row.wrong for row in tries),
        sum(row.failed for row in tries),
    )
    return f"| {' | '.join(map(str, (fault, len(tries), *sums, span)))} |"
