"""The containers of a pod that were asked to end, each by a task of its own for as long as its grace lasts.

The grace is one for all: the preStop hook, the wait of a sidecar for those that it outlives, and what is left of it
between SIGTERM and SIGKILL, which is never less than two seconds. A kill that goes on is not begun again, but one of a
shorter grace takes its place (its hook goes on); a container that is still there a while after it was killed is killed
again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from kube.kubelet.actions import Kill
from kube.kubelet.runtime import ContainerStatus, NoSuchContainer, Runtime, RuntimeFailure

log = logging.getLogger(__name__)

MIN_GRACE = 2.0
"""Seconds that even a container without any grace gets between SIGTERM and SIGKILL."""
AGAIN = 1.0
"""Seconds after which a container that is still there is killed again."""

PreStop = Callable[[ContainerStatus], Awaitable[None] | None]
"""Runs the preStop hook of a container; None if it has none. Tells what goes wrong by itself."""


@dataclass(slots=True)
class _Killing:
    grace: float
    task: asyncio.Task[None]
    hook: asyncio.Task[None] | None
    over_at: float | None = None

    def cancel(self) -> None:
        self.task.cancel()
        if self.hook is not None:
            self.hook.cancel()


class Kills:
    """The kills of one pod. `over` is called when one has come to its end."""

    def __init__(self, runtime: Runtime, pod: str, over: Callable[[], None], pre_stop: PreStop) -> None:
        self._runtime = runtime
        self._pod = pod
        self._over = over
        self._pre_stop = pre_stop
        self._killing: dict[str, _Killing] = {}
        self._alive: frozenset[str] = frozenset()
        self._news = asyncio.Event()
        """Set, and replaced, whenever it is known anew which containers are alive."""

    def is_due(self, kill: Kill, now: float) -> bool:
        """Whether this kill is to be begun: none goes on, or only one of a longer grace."""
        killing = self._killing.get(kill.container.id)
        if killing is None or kill.grace < killing.grace:
            return True
        return killing.over_at is not None and now >= killing.over_at + AGAIN

    def begin(self, kill: Kill) -> bool:
        """Ask the container to end, beside everything else. Whether it is the first time."""
        id, name = kill.container.id, kill.container.name
        before = self._killing.get(id)
        hook = None
        if before is not None:
            before.task.cancel()
            hook = before.hook
        elif kill.grace > 0 and (running := self._pre_stop(kill.container)) is not None:
            hook = asyncio.ensure_future(running)
        log.info("killing a container", extra={"pod": self._pod, "container": name, "grace": kill.grace})
        task = asyncio.create_task(self._stop(kill, hook), name=f"stop {self._pod}/{name}")
        self._killing[id] = _Killing(kill.grace, task, hook)
        return before is None

    def keep(self, alive: Iterable[str]) -> None:
        """Note which containers are alive, and forget those that are over and are not."""
        self._alive = frozenset(alive)
        self._news.set()
        self._news = asyncio.Event()
        for id, killing in list(self._killing.items()):
            if killing.over_at is not None and id not in self._alive:
                killing.cancel()
                del self._killing[id]

    def look_again(self) -> list[float]:
        """When to see whether what was killed is gone."""
        return [k.over_at + AGAIN for k in self._killing.values() if k.over_at is not None]

    def cancel(self) -> None:
        """Wait for none of them any more."""
        for killing in self._killing.values():
            killing.cancel()

    async def _stop(self, kill: Kill, hook: asyncio.Task[None] | None) -> None:
        loop, id = asyncio.get_running_loop(), kill.container.id
        deadline = loop.time() + kill.grace
        if hook is not None:
            await asyncio.wait((hook,), timeout=kill.grace)
        try:
            async with asyncio.timeout_at(deadline):
                while self._alive.intersection(kill.after):
                    await self._news.wait()
        except TimeoutError:
            pass  # its time is over, whoever else is still there
        try:
            await self._runtime.stop_container(id, max(MIN_GRACE, deadline - loop.time()))
        except NoSuchContainer:
            pass
        except RuntimeFailure as error:
            log.warning("cannot stop a container, will retry", extra={"pod": self._pod, "id": id, "error": error})
        self._killing[id].over_at = loop.time()
        self._over()
