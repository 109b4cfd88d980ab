"""The containers of a pod that were asked to end, each by a task of its own for as long as its grace lasts.

A kill that goes on is not begun again, but one of a shorter grace takes its place; and a container that is still there
a while after it was killed is killed again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kube.kubelet.actions import Kill
from kube.kubelet.runtime import NoSuchContainer, Runtime, RuntimeFailure

log = logging.getLogger(__name__)

AGAIN = 1.0
"""Seconds after which a container that is still there is killed again."""


@dataclass(slots=True)
class _Killing:
    grace: float
    task: asyncio.Task[None]
    over_at: float | None = None


class Kills:
    """The kills of one pod. `over` is called when one has come to its end."""

    def __init__(self, runtime: Runtime, pod: str, over: Callable[[], None]) -> None:
        self._runtime = runtime
        self._pod = pod
        self._over = over
        self._killing: dict[str, _Killing] = {}

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
        if before is not None:
            before.task.cancel()
        log.info("killing a container", extra={"pod": self._pod, "container": name, "grace": kill.grace})
        task = asyncio.create_task(self._stop(id, kill.grace), name=f"stop {self._pod}/{name}")
        self._killing[id] = _Killing(kill.grace, task)
        return before is None

    def keep(self, alive: Iterable[str]) -> None:
        """Forget those that are over and whose container is not among these."""
        present = set(alive)
        self._killing = {id: k for id, k in self._killing.items() if k.over_at is None or id in present}

    def look_again(self) -> list[float]:
        """When to see whether what was killed is gone."""
        return [k.over_at + AGAIN for k in self._killing.values() if k.over_at is not None]

    def cancel(self) -> None:
        """Wait for none of them any more."""
        for killing in self._killing.values():
            killing.task.cancel()

    async def _stop(self, id: str, grace: float) -> None:
        try:
            await self._runtime.stop_container(id, grace)
        except NoSuchContainer:
            pass
        except RuntimeFailure as error:
            log.warning("cannot stop a container, will retry", extra={"pod": self._pod, "id": id, "error": error})
        self._killing[id].over_at = asyncio.get_running_loop().time()
        self._over()
