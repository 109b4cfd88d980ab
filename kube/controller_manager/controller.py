"""What every controller is: a name, a queue of keys, and a `reconcile` that makes the world fit one key.

A controller's handlers only say which keys to look at; what has happened does not matter, only what is. `reconcile`
may be called at any time, for any key, also for one that no longer exists; it never runs twice at once for one key.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from kube.client.workqueue import WorkQueue, work

T = TypeVar("T")


class Controller(ABC):
    """A loop of the controller manager."""

    def __init__(self, name: str, workers: int = 1) -> None:
        self.name = name
        self.workers = workers
        self.queue = WorkQueue(name)

    @abstractmethod
    async def reconcile(self, key: str) -> float | None:
        """Make the world fit one key. Raises to be called again, later each time; returns seconds to be called then."""

    async def run(self) -> None:
        """Work until cancelled. The informers must have synced before."""
        await work(self.queue, self.reconcile, workers=self.workers, name=self.name)


AT_ONCE = 16
"""Requests that one reconcile has in flight."""


async def together(do: Callable[[T], Awaitable[object]], items: Iterable[T]) -> None:
    """Do something with each of these, `AT_ONCE` at a time. Raises the first failure, when all have ended."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: T) -> None:
        async with gate:
            await do(item)

    for failed in await asyncio.gather(*map(one, items), return_exceptions=True):
        if failed is not None:
            raise failed
