"""The columns of the kinds that are only stored, read off their plain data."""

from __future__ import annotations

from kube.apiserver.columns import Printer

PRINTERS: dict[str, Printer] = {}
