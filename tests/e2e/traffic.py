"""Requests to services: one at a time, and a steady stream that remembers every failure."""

from __future__ import annotations

import threading
import time
from collections import Counter

from deploy.cluster.example import ask
from tests.e2e.waiting import eventually


def backends(address: str, requests: int, port: int = 80) -> Counter[str]:
    """Who answered how many of some requests. Raises OSError when one is not answered."""
    return Counter(ask(address, port) for _ in range(requests))


def wait_backends(address: str, names: set[str], port: int = 80, seconds: float = 15.0) -> None:
    """Wait until exactly these pods answer."""
    rounds = 2 * max(len(names), 1)
    eventually(lambda: set(backends(address, rounds, port)) == names, f"{address} answers from {names}", seconds)


class Stream:
    """About 50 requests a second, each on a new connection, from entering to leaving the context."""

    def __init__(self, address: str, port: int = 80) -> None:
        self.answered: Counter[str] = Counter()
        self.failed: list[str] = []
        self.slowest = 0.0
        self._address, self._port = address, port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(0.02):
            sent = time.monotonic()
            try:
                self.answered[ask(self._address, self._port)] += 1
            except OSError as error:
                self.failed.append(f"after {sent - began:.2f} s: {error!r}")
            self.slowest = max(self.slowest, time.monotonic() - sent)

    def wait_more(self, requests: int = 20) -> None:
        """Wait until so many more requests were answered."""
        wanted = self.answered.total() + requests
        eventually(lambda: self.answered.total() >= wanted, f"{requests} more requests are answered", 15)
