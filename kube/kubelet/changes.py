"""Hands a runtime's news to whoever listens. A slow listener hears of a pod once, however often it changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from kube.kubelet.runtime import Change, PodId


class Changes:
    """All who listen to one runtime."""

    def __init__(self, *, connected: bool = False) -> None:
        self.connected = connected
        """Whether news come in now. Who starts to listen meanwhile is told to look at everything at once."""
        self._listeners: set[_Listener] = set()
        self._error: BaseException | None = None

    async def listen(self) -> AsyncIterator[Change]:
        """News from now on."""
        listener = _Listener()
        if self.connected:
            listener.tell(None)
        if self._error:
            listener.fail(self._error)
        self._listeners.add(listener)
        try:
            while True:
                for pod in await listener.take():
                    yield Change(pod)
        finally:
            self._listeners.discard(listener)

    def tell(self, pod: PodId | None) -> None:
        """Something happened to a pod's containers; None: to any."""
        for listener in self._listeners:
            listener.tell(pod)

    def fail(self, error: BaseException) -> None:
        """There will be no more news: every listener, now and later, gets the error."""
        self._error = error
        for listener in self._listeners:
            listener.fail(error)


class _Listener:
    def __init__(self) -> None:
        self._news: dict[PodId | None, None] = {}
        self._ready = asyncio.Event()
        self._error: BaseException | None = None

    def tell(self, pod: PodId | None) -> None:
        self._news[pod] = None
        self._ready.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._ready.set()

    async def take(self) -> list[PodId | None]:
        await self._ready.wait()
        if self._error:
            raise self._error
        self._ready.clear()
        news, self._news = self._news, {}
        return list(news)
