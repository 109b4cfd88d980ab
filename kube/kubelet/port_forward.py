"""Connections to a pod's ports, carried over one connection: port-forward, once it stands.

Over SPDY the client opens two streams for each connection, `data` and `error`, with the same request id. Over a
WebSocket the ports are named in the request, each has one connection, and two channels: 2n is its data, 2n+1 its
errors; the first message of each is the port's number, as two bytes, little-endian.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import WSMsgType, web

from kube.kubelet.pipe import Pipe
from kube.kubelet.runtime import RuntimeFailure
from kube.kubelet.spdy_connection import Connection, Stream

log = logging.getLogger(__name__)

CHUNK = 64 * 1024
Connect = Callable[[int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""To a port of the pod. Raises RuntimeFailure."""


async def serve_spdy(connection: Connection, connect: Connect, pod: str) -> None:
    """Forward what the client asks for, until it goes away."""
    waiting: dict[tuple[str, str], Stream] = {}
    forwarding: set[asyncio.Task[None]] = set()
    try:
        while (stream := await connection.accept()) is not None:
            kind = stream.headers.get("streamtype", "")
            id = _request_id(stream, kind)
            other = waiting.pop((id, "data" if kind == "error" else "error"), None)
            if other is None:
                waiting[id, kind] = stream
                continue
            data, error = (stream, other) if kind == "data" else (other, stream)
            task = asyncio.create_task(_forward_stream(data, error, connect, pod), name="port-forward")
            forwarding.add(task)
            task.add_done_callback(forwarding.discard)
    finally:
        for task in forwarding:
            task.cancel()
        await asyncio.gather(*forwarding, return_exceptions=True)


def _request_id(stream: Stream, kind: str) -> str:
    """As the client names it; clients of old name none, and open the error stream right before the data stream."""
    return stream.headers.get("requestid") or str(stream.id if kind == "error" else stream.id - 2)


async def _forward_stream(data: Stream, error: Stream, connect: Connect, pod: str) -> None:
    try:
        port = int(data.headers.get("port", ""))
        await forward(port, connect, data.read, data.write)
    except (RuntimeFailure, ValueError) as why:
        with contextlib.suppress(ConnectionError):
            await error.write(f"error forwarding port {data.headers.get('port')} to pod {pod}: {why}".encode())
    except ConnectionError:
        log.debug("a forwarded connection broke off")
    finally:
        for stream in (data, error):
            stream.discard()
            await stream.close()


async def forward(
    port: int, connect: Connect, read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]]
) -> None:
    """Connect to the port and carry bytes until the pod has no more. Raises RuntimeFailure, ConnectionError."""
    reader, writer = await connect(port)

    async def send() -> None:
        while data := await read():
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def receive() -> None:
        while data := await reader.read(CHUNK):
            await write(data)

    sending, receiving = asyncio.create_task(send()), asyncio.create_task(receive())
    try:
        await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done():
            sending.result()  # the client broke off: so do we
        await receiving
    finally:
        for task in (sending, receiving):
            task.cancel()
        await asyncio.gather(sending, receiving, return_exceptions=True)
        writer.close()


async def serve_websocket(socket: web.WebSocketResponse, ports: Sequence[int], connect: Connect, pod: str) -> None:
    """One connection to each port, until all have ended or the client goes away."""
    inboxes = [Pipe() for _ in ports]

    async def one(at: int, port: int) -> None:
        async def write(data: bytes) -> None:
            await socket.send_bytes(bytes([2 * at]) + data)

        try:
            await forward(port, connect, inboxes[at].get, write)
        except RuntimeFailure as why:
            with contextlib.suppress(ConnectionError):
                said = f"error forwarding port {port} to pod {pod}: {why}"
                await socket.send_bytes(bytes([2 * at + 1]) + said.encode())
        except ConnectionError:
            log.debug("a forwarded connection broke off")
        finally:
            inboxes[at].close()

    for channel in range(2 * len(ports)):
        await socket.send_bytes(bytes([channel]) + ports[channel // 2].to_bytes(2, "little"))
    receiving = asyncio.create_task(_receive(socket, inboxes))
    forwarding = asyncio.gather(*(one(at, port) for at, port in enumerate(ports)))
    try:
        await asyncio.wait((receiving, forwarding), return_when=asyncio.FIRST_COMPLETED)
    finally:
        receiving.cancel()
        forwarding.cancel()
        await asyncio.gather(receiving, forwarding, return_exceptions=True)


async def _receive(socket: web.WebSocketResponse, inboxes: Sequence[Pipe]) -> None:
    async for message in socket:
        if message.type is WSMsgType.BINARY and message.data and message.data[0] < 2 * len(inboxes):
            channel = message.data[0]
            if channel % 2 == 0:
                with contextlib.suppress(BrokenPipeError):
                    await inboxes[channel // 2].put(message.data[1:])
