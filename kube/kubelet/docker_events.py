"""News from the engine: one event stream for all who want to know, kept up across the engine's restarts.

Events are hints to look, never the truth itself: whenever the stream was not there, everybody is told to look at
everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import docker

from kube.kubelet.changes import Changes
from kube.kubelet.docker_engine import Engine, Stream, json_lines, open_stream
from kube.kubelet.docker_objects import pod_id
from kube.kubelet.runtime import Change, EngineUnavailable, RuntimeFailure

ACTIONS = ("start", "die", "oom", "destroy")
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between attempts to reach an engine that went away."""

log = logging.getLogger(__name__)


class Events:
    """The engine's container events, for those with a given label."""

    def __init__(self, engine: Engine, label: str, forget: Callable[[str | None], None]) -> None:
        self._engine = engine
        self._filters = {"label": [label], "type": ["container"], "event": list(ACTIONS)}
        self._forget = forget
        self._changes = Changes()
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None

    def changes(self) -> AsyncIterator[Change]:
        """News from now on. First a Change(None), once the stream is open: what comes later is not missed."""
        self._ensure_running()
        return self._changes.listen()

    @contextlib.contextmanager
    def exit_of(self, id: str) -> Iterator[asyncio.Event]:
        """An event that is set when this container ends (or when its end may have been missed)."""
        event = asyncio.Event()
        self._waiting.setdefault(id, set()).add(event)
        self._ensure_running()
        try:
            yield event
        finally:
            waiting = self._waiting[id]
            waiting.discard(event)
            if not waiting:
                del self._waiting[id]

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _ensure_running(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="docker-events")
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        self._changes.fail(error or EngineUnavailable("the runtime is closed"))

    async def _run(self) -> None:
        pause, lost = FIRST_PAUSE, False
        while True:
            try:
                async with contextlib.aclosing(self._engine.stream(self._open)) as stream:
                    async for batch in stream:
                        if not self._changes.connected:
                            log.log(logging.INFO if lost else logging.DEBUG, "listening to the engine's events")
                            pause, self._changes.connected = FIRST_PAUSE, True
                            self._all()
                        for event in batch:
                            self._one(event)
                reason = "the engine closed it"
            except RuntimeFailure as error:
                reason = str(error)
            finally:
                self._changes.connected = False
            log.log(
                logging.DEBUG if lost and pause > FIRST_PAUSE else logging.WARNING,
                "the engine's event stream is lost, trying again: %s",
                reason,
            )
            lost = True
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _open(self, client: docker.APIClient) -> Stream[dict[str, Any]]:
        return open_stream(client, "GET", "/events", json_lines, params={"filters": json.dumps(self._filters)})

    def _all(self) -> None:
        self._forget(None)
        for events in self._waiting.values():
            for event in events:
                event.set()
        self._changes.tell(None)

    def _one(self, event: dict[str, Any]) -> None:
        id, labels = event["Actor"]["ID"], event["Actor"].get("Attributes") or {}
        self._forget(id)
        if event.get("Action") in ("die", "destroy"):
            for waiting in self._waiting.get(id, ()):
                waiting.set()
        self._changes.tell(pod_id(labels))
