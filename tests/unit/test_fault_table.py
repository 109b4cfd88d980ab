"""The report of the failure tests: a line for each fault, however often it was tried, and one of all."""

from __future__ import annotations

from tests.lab.table import Row, Table


def test_tries_of_one_fault_are_one_line() -> None:
    rows = [
        Row("kill it", 100, 2, 0, 0, 1.04),
        Row("cut it off", 50, 0, 1, 3, 7.0),
        Row("kill it", 30, 1, 0, 0, 2.5),
    ]
    assert str(Table(rows)).splitlines()[2:] == [
        "| kill it | 2 | 130 | 3 | 0 | 0 | 1.0-2.5 |",
        "| cut it off | 1 | 50 | 0 | 1 | 3 | 7.0 |",
        "| **all** | 3 | 180 | 3 | 1 | 3 | 1.0-7.0 |",
    ]


def test_nothing_tried_is_an_empty_table() -> None:
    assert str(Table()).splitlines()[2:] == ["| **all** | 0 | 0 | 0 | 0 | 0 |  |"]
