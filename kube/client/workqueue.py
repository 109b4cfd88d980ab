"""A queue of keys for reconcilers (client-go's workqueue): what to look at, never why.

* Fair: keys are handed out in the order in which they were added.
* Stingy: a key that is added many times before it is handed out is handed out once.
* One worker per key at a time: a key that is added while it is being worked on is handed out again after `done`.
* A key that failed comes back after a time that doubles with each failure, until it is forgotten.
* Shut down: no more keys are taken in; those that wait are still handed out, and then `get` raises ShutDown.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from prometheus_client import Counter, Gauge, Histogram

from kube.api import errors

log = logging.getLogger(__name__)

_BUCKETS = tuple(10.0**exponent for exponent in range(-8, 4))
_DEPTH = Gauge("workqueue_depth", "Current depth of workqueue", ["name"])
_ADDS = Counter("workqueue_adds_total", "Total number of adds handled by workqueue", ["name"])
_RETRIES = Counter("workqueue_retries_total", "Total number of retries handled by workqueue", ["name"])
_WAITED = Histogram(
    "workqueue_queue_duration_seconds", "How long in seconds an item stays in workqueue before being requested",
    ["name"], buckets=_BUCKETS,
)  # fmt: skip
_WORKED = Histogram(
    "workqueue_work_duration_seconds", "How long in seconds processing an item from workqueue takes",
    ["name"], buckets=_BUCKETS,
)  # fmt: skip


class ShutDown(Exception):
    """The queue is shut down, and empty."""


class WorkQueue:
    """Keys to work on. For one event loop; only `get` waits."""

    def __init__(self, name: str = "", *, shortest_wait: float = 0.005, longest_wait: float = 60.0) -> None:
        """`name` labels the metrics. A failed key waits `shortest_wait` seconds, doubled up to `longest_wait`."""
        self.name = name or "queue"
        self._shortest_wait = shortest_wait
        self._longest_wait = longest_wait
        self._queue: deque[str] = deque()
        self._dirty: dict[str, float] = {}
        """Keys that wait to be handed out, also those that are still being worked on; since when."""
        self._working: dict[str, float] = {}
        """Keys that are handed out; since when."""
        self._later: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._shut_down = False
        self._depth = _DEPTH.labels(self.name)
        self._adds = _ADDS.labels(self.name)
        self._retries = _RETRIES.labels(self.name)
        self._waited = _WAITED.labels(self.name)
        self._worked = _WORKED.labels(self.name)
        self._depth.set_function(lambda: len(self._queue))

    def __len__(self) -> int:
        """How many keys could be handed out now."""
        return len(self._queue)

    def add(self, key: str) -> None:
        """Have a key worked on."""
        if self._shut_down or key in self._dirty:
            return
        self._adds.inc()
        self._dirty[key] = _time()
        if key not in self._working:
            self._push(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Add a key later. Of several such times the earliest counts."""
        if self._shut_down:
            return
        if seconds <= 0:
            self.add(key)
            return
        due = _time() + seconds
        earlier = self._later.get(key)
        if earlier is not None:
            if earlier.when() <= due:
                return
            earlier.cancel()
        self._later[key] = asyncio.get_running_loop().call_at(due, self._ripe, key)

    def retry(self, key: str) -> None:
        """Add a key that failed, after its back-off."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._retries.inc()
        self.add_after(key, min(self._shortest_wait * 2 ** min(failures, 64), self._longest_wait))

    def forget(self, key: str) -> None:
        """The key did not fail: its next back-off is the shortest again."""
        self._failures.pop(key, None)

    def failures(self, key: str) -> int:
        """How often the key failed since it was last forgotten."""
        return self._failures.get(key, 0)

    async def get(self) -> str:
        """The next key; it is the caller's until `done`. Raises ShutDown."""
        while not self._queue:
            if self._shut_down:
                raise ShutDown
            getter = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake()  # the call was ours, and somebody else must answer it
                elif getter in self._getters:
                    self._getters.remove(getter)
                raise
        key = self._queue.popleft()
        now = _time()
        self._waited.observe(now - self._dirty.pop(key))
        self._working[key] = now
        return key

    def done(self, key: str) -> None:
        """The caller has worked on the key. If it was added meanwhile, it is handed out again."""
        self._worked.observe(_time() - self._working.pop(key))
        if key in self._dirty:
            self._push(key)

    def shut_down(self) -> None:
        """Take in no more keys, and end what waits for them."""
        self._shut_down = True
        for timer in self._later.values():
            timer.cancel()
        self._later.clear()
        while self._getters:
            self._wake()

    def _push(self, key: str) -> None:
        self._queue.append(key)
        self._wake()

    def _ripe(self, key: str) -> None:
        del self._later[key]
        self.add(key)

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return


async def work(
    queue: WorkQueue, reconcile: Callable[[str], Awaitable[float | None]], *, workers: int = 1, name: str = ""
) -> None:
    """Reconcile the keys of a queue, `workers` at a time, until it is shut down.

    `reconcile(key)` returns None (good), or the seconds after which it wants to look again. If it raises, that is
    logged and the key is tried again after its back-off.
    """
    name = name or queue.name

    async def worker() -> None:
        while True:
            try:
                key = await queue.get()
            except ShutDown:
                return
            try:
                again = await reconcile(key)
                queue.forget(key)
                if again is not None:
                    queue.add_after(key, again)
            except Exception as error:  # noqa: BLE001  # the boundary: one object's trouble is not the others'
                _log_failure(name, key, error, queue.failures(key))
                queue.retry(key)
            finally:
                queue.done(key)

    async with asyncio.TaskGroup() as tasks:
        for number in range(workers):
            tasks.create_task(worker(), name=f"{name} worker {number}")


def _log_failure(name: str, key: str, error: Exception, failures: int) -> None:
    """A conflict is the normal course of things, an API error is somebody's answer, and anything else is a bug."""
    extra = {"controller": name, "key": key, "error": error}
    if isinstance(error, errors.Conflict) and failures < 3:
        log.debug("conflict, will retry", extra=extra)
    elif isinstance(error, errors.ApiError):
        log.warning("cannot reconcile, will retry", extra=extra)
    else:
        log.error("cannot reconcile, will retry", extra=extra, exc_info=error)


def _time() -> float:
    return asyncio.get_running_loop().time()
