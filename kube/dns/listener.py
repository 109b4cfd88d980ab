"""DNS by UDP and TCP on one port.

A datagram is a question; a TCP connection carries many, each with its length before it, and is closed when it falls
silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

from kube import daemon

log = logging.getLogger(__name__)

Respond = Callable[[bytes, str], Awaitable[bytes | None]]
IDLE_SECONDS = 10.0
"""Silence after which a TCP connection is closed."""
IP_FREEBIND = 15
"""linux/in.h; Python's socket module does not name it."""
MOST_IN_FLIGHT = 5000
"""Datagrams that are being answered at most; more are dropped, and the clients ask again."""


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._transport: asyncio.DatagramTransport | None = None
        self._answering: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(self._answering) >= MOST_IN_FLIGHT:
            return
        task = asyncio.ensure_future(self._answer(data, addr))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            response = await self._respond(data, "udp")
        except Exception:
            # The boundary: whatever a client sends, the next is answered.
            log.exception("cannot answer", extra={"client": addr[0]})
            return
        if response is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(response, addr)


@contextlib.asynccontextmanager
async def listening(address: str, port: int, respond: Respond) -> AsyncIterator[int]:
    """Serve while inside; gives the port (that was chosen, if `port` is 0). Raises daemon.Fatal."""

    connections: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast(asyncio.Task[None], asyncio.current_task())
        connections.add(task)
        try:
            await _answer_all(reader, writer, respond)
        except Exception:
            log.exception("cannot answer", extra={"client": writer.get_extra_info("peername")})  # as for datagrams
        finally:
            connections.discard(task)
            writer.close()

    loop = asyncio.get_running_loop()
    stream = _socket(socket.SOCK_STREAM, address, port)
    bound: int = stream.getsockname()[1]
    datagram = _socket(socket.SOCK_DGRAM, address, bound)
    server = await asyncio.start_server(connection, sock=stream)
    try:
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(respond), sock=datagram)
        try:
            yield bound
        finally:
            transport.close()
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, respond: Respond) -> None:
    """Answer one question of a connection after the other, until it ends or falls silent."""
    with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                length = int.from_bytes(await reader.readexactly(2))
                query = await reader.readexactly(length)
            response = await respond(query, "tcp")
            if response is None:
                break
            writer.write(len(response).to_bytes(2) + response)
            await writer.drain()


def _socket(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    """A bound socket; the address need not be there yet: the pods' bridge is made by the kubelet. Raises Fatal."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    try:
        if kind is socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ":" not in address:
            sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        why = (error.strerror or str(error)).lower()
        name = "TCP" if kind is socket.SOCK_STREAM else "UDP"
        raise daemon.Fatal(f"cannot listen on {address}:{port} ({name}): {why}: choose another --port") from None
    sock.setblocking(False)
    return sock
