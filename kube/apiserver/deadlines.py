"""An end to what takes too long, cheap enough for every request.

A timer a request is a tenth of what a request costs. But all requests have the same time, so whoever began first runs
out of it first: one timer, for the oldest, does for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Deadlines:
    """Gives each piece of work the same time."""

    def __init__(self, timeout: float) -> None:
        """`timeout`: seconds."""
        self._timeout = timeout
        self._running: dict[asyncio.Task[object], float] = {}
        """When each must have ended, by the loop's clock: the first to end is the first."""
        self._overdue: set[asyncio.Task[object]] = set()
        """Cancelled by us, and not aware of it yet."""
        self._timer: asyncio.TimerHandle | None = None

    async def keep(self, work: Awaitable[T]) -> T:
        """The work's result. A task may have one such work at a time. Raises TimeoutError."""
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        self._running[task] = deadline = loop.time() + self._timeout
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._expire)
        try:
            return await work
        except asyncio.CancelledError:
            # If somebody else cancelled it, too, it has to end as they want it.
            if task in self._overdue and task.cancelling() == 1:
                raise TimeoutError from None
            raise
        finally:
            self._running.pop(task, None)
            if task in self._overdue:
                self._overdue.discard(task)
                task.uncancel()

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._running:
            task, deadline = next(iter(self._running.items()))
            if deadline > loop.time():
                self._timer = loop.call_at(deadline, self._expire)
                return
            del self._running[task]
            self._overdue.add(task)
            task.cancel()
