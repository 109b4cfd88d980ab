"""Connections that stop being HTTP: exec, attach and port-forward, over SPDY/3.1 or a WebSocket, and whatever a server
behind the subresource `proxy` may speak.

ASGI knows no upgrade but its own WebSocket. What runs inside these connections is the other server's business, so here
they are bytes: the request is answered as any other (who may, which pod, which node), and then the client's connection
and one to that server are joined. `UpgradeProtocol`, uvicorn's own but for this, hands the connection out with the
scope.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kube.apiserver.asgi import Scope

log = logging.getLogger(__name__)

EXTENSION = "kube.upgrade"
CHUNK = 64 * 1024
LINGER = 10.0
"""Seconds for one side to end after the other has."""
PATHS = re.compile(rb"/(exec|attach|portforward)/?(\?|$)")
"""Of these, WebSockets too are passed on as they are; all others are uvicorn's (watches)."""
PROXIED = re.compile(rb"/api/v1/(nodes/[^/?]+|namespaces/[^/?]+/(pods|services)/[^/?]+)/proxy([/?]|$)")
"""Behind these, any protocol is."""

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A request to give the connection up for another protocol."""

    method: str
    headers: list[tuple[bytes, bytes]]
    """All of them, in order: some are given more than once."""
    take: Callable[[], Pair]
    """Take the connection over; the request's answer is then the taker's. Raises ConnectionError."""


def upgrade_of(scope: Scope) -> Upgrade | None:
    """What the request asks for, if it asks for it and the server can."""
    take = (scope.get("extensions") or {}).get(EXTENSION)
    return None if take is None else Upgrade(scope["method"], list(scope["headers"]), take)


class UpgradeProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with a way out of it."""

    _early: bytearray | None = None
    """What came behind the head of a request to upgrade; None: there is no such request."""

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._asks():
            self._early = bytearray()
            scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # a TypedDict, to which we add
            scope["extensions"] = {EXTENSION: self._take}

    def data_received(self, data: bytes) -> None:
        if self._early is None:
            super().data_received(data)
        elif len(self._early) + len(data) > CHUNK:
            self.transport.close()  # nobody has allowed it to speak yet
        else:
            self._early += data

    def _asks(self) -> bool:
        upgrade = self._get_upgrade()
        if upgrade is None:
            return False
        if PROXIED.match(self.url):
            return self.scope["method"] == "GET"
        return upgrade == b"spdy/3.1" or (upgrade == b"websocket" and PATHS.search(self.url) is not None)

    def _should_upgrade(self) -> bool:
        return super()._should_upgrade() and not self._asks()

    def _unsupported_upgrade_warning(self) -> None:
        if self._early is None:
            super()._unsupported_upgrade_warning()

    def on_response_complete(self) -> None:
        if self._early is not None:
            self.transport.close()  # it was refused: what comes now may be of either protocol
        super().on_response_complete()

    def _take(self) -> Pair:
        if self.transport.is_closing():
            raise ConnectionResetError("the client went away")
        reader = asyncio.StreamReader(CHUNK, self.loop)
        protocol = _TakenOver(reader, self)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        self.transport.resume_reading()
        if self._early:
            reader.feed_data(bytes(self._early))
        self.cycle.disconnected = True  # from uvicorn: it shall not miss an answer
        return reader, asyncio.StreamWriter(self.transport, protocol, reader, self.loop)


class _TakenOver(asyncio.StreamReaderProtocol):
    def __init__(self, reader: asyncio.StreamReader, before: UpgradeProtocol) -> None:
        super().__init__(reader, loop=before.loop)
        self._before = before

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._before.connection_lost(exc)


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A client's connection, and the one that it is to be joined with."""

    upgrade: Upgrade
    server: Pair
    head: bytes
    """The server's answer to the upgrade, as it gave it."""
    stopping: asyncio.Event
    """Set when the apiserver stops, and its tunnels with it."""

    async def run(self) -> None:
        """Carry bytes both ways until both sides have ended, or one has, and the other does not follow."""
        server_reader, server_writer = self.server
        try:
            try:
                client_reader, client_writer = self.upgrade.take()
            except ConnectionError:
                return
            try:
                client_writer.write(self.head)
                down = asyncio.create_task(_carry(server_reader, client_writer), name="tunnel-down")
                up = asyncio.create_task(_carry(client_reader, server_writer), name="tunnel-up")
                stopping = asyncio.create_task(self.stopping.wait())
                try:
                    await asyncio.wait((down, up, stopping), return_when=asyncio.FIRST_COMPLETED)
                    if not stopping.done():
                        await asyncio.wait((down, up), timeout=LINGER)
                finally:
                    for task in (down, up, stopping):
                        task.cancel()
                    await asyncio.gather(down, up, stopping, return_exceptions=True)
            finally:
                client_writer.close()
        finally:
            server_writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()  # TLS has no half of a connection
