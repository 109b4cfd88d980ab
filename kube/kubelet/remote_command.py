"""A process and a distant person: exec and attach, once the connection stands.

The person's end is a `Client`: over SPDY a stream each for stdin, stdout, stderr, error and resize, over a WebSocket
the same as numbered channels (streaming.py makes them). The last that is sent is a `Status` on the error stream:
Success, or how it failed, with the exit code (apimachinery's remotecommand, its protocol v4).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from kube.kubelet.pipe import Pipe
from kube.kubelet.runtime import STDERR, STDOUT, Process, RuntimeFailure
from kube.kubelet.spdy_connection import Connection, Stream

log = logging.getLogger(__name__)

STDIN, ERROR, RESIZE, CLOSE = 0, 3, 4, 255
"""Channels of the WebSocket protocols; 1 and 2 are STDOUT and STDERR."""
STREAMS_WITHIN = 30.0
"""Seconds that a client has to open its streams (upstream's --streaming-connection creation timeout)."""

V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
BASE64_V4 = "v4.base64.channel.k8s.io"
WEBSOCKET_PROTOCOLS = (V5, V4, BASE64_V4, "channel.k8s.io", "base64.channel.k8s.io")
"""v5 lets the client close its stdin; before v4 the error channel carries plain text; base64 is for browsers."""


class Client(Protocol):
    """Who is at the other end."""

    async def run(self) -> None:
        """Take in what it sends, until it goes away."""

    async def read(self) -> bytes:
        """Of its stdin; empty at the end."""

    async def size(self) -> tuple[int, int] | None:
        """The next size of its terminal; None if there will be no more."""

    async def send(self, stream: int, data: bytes) -> None:
        """To its stdout or stderr; waits while it is behind. Raises ConnectionError."""

    async def finish(self, status: Mapping[str, Any]) -> None:
        """Say how it ended, and that this was all."""


def success() -> dict[str, Any]:
    """The Status of a process that exited with 0."""
    return {"metadata": {}, "status": "Success"}


def exited(code: int) -> dict[str, Any]:
    """The Status of a process that exited with another code."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failed(message: str) -> dict[str, Any]:
    """The Status when there is no exit code to tell."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


async def serve(process: Process, client: Client, *, stdin: bool) -> None:
    """Carry everything between the two until the process's output ends, or the client goes away."""
    gone = asyncio.create_task(client.run(), name="client")
    sending = asyncio.create_task(_send(process, client), name="output")
    helpers = [gone, sending, asyncio.create_task(_resize(process, client), name="resize")]
    if stdin:
        helpers.append(asyncio.create_task(_feed(process, client), name="stdin"))
    try:
        await asyncio.wait((gone, sending), return_when=asyncio.FIRST_COMPLETED)
        if sending.done() and sending.exception() is None:
            await client.finish(await _verdict(process))
    except ConnectionError:
        log.debug("the client went away before the end")
    finally:
        for task in helpers:
            task.cancel()
        for result in await asyncio.gather(*helpers, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                log.warning("a stream ended with an error", extra={"error": repr(result)})
        await process.aclose()


async def _verdict(process: Process) -> dict[str, Any]:
    try:
        code = await process.exit_code()
    except RuntimeFailure as error:
        return failed(str(error))
    return exited(code) if code else success()


async def _send(process: Process, client: Client) -> None:
    async for stream, data in process.output():
        await client.send(stream, data)


async def _feed(process: Process, client: Client) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await client.read():
            await process.write(data)
        await process.close_stdin()
        return
    # It reads no more; what the client still sends must not hold up its other streams.
    while await client.read():
        pass


async def _resize(process: Process, client: Client) -> None:
    while size := await client.size():
        await process.resize(*size)


def _size(data: bytes) -> tuple[int, int] | None:
    """`{"Width":80,"Height":24}`"""
    try:
        size = json.loads(data)
        return int(size["Width"]), int(size["Height"])
    except (ValueError, KeyError, TypeError):
        return None


class SpdyClient:
    """A client with a stream for each purpose."""

    def __init__(self, connection: Connection, streams: Mapping[str, Stream], running: asyncio.Task[None]) -> None:
        self._connection, self._streams, self._running = connection, streams, running

    @classmethod
    async def wait(cls, connection: Connection, wanted: set[str], running: asyncio.Task[None]) -> SpdyClient | None:
        """The client, once it has opened all of its streams; None if it does not."""
        streams: dict[str, Stream] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STREAMS_WITHIN):
                while set(streams) != wanted:
                    stream = await connection.accept()
                    if stream is None:
                        return None
                    kind = stream.headers.get("streamtype", "")
                    if kind not in wanted or kind in streams:
                        log.debug("a stream that was not expected", extra={"type": kind})
                        return None
                    streams[kind] = stream
                return cls(connection, streams, running)
        return None

    async def run(self) -> None:
        await asyncio.shield(self._running)

    async def read(self) -> bytes:
        with contextlib.suppress(ConnectionError):
            return await self._streams["stdin"].read()
        return b""

    async def size(self) -> tuple[int, int] | None:
        if "resize" not in self._streams:
            return None
        with contextlib.suppress(ConnectionError):
            text = b""
            while data := await self._streams["resize"].read():
                text += data
                if size := _size(text.splitlines()[-1]):  # each is a line; only the latest matters
                    return size
        return None

    async def send(self, stream: int, data: bytes) -> None:
        name = "stderr" if stream == STDERR else "stdout"
        if name in self._streams:
            await self._streams[name].write(data)

    async def finish(self, status: Mapping[str, Any]) -> None:
        for name, stream in self._streams.items():
            if name == "error":
                await stream.write(json.dumps(status).encode())
            stream.discard()
            await stream.close()


class WebSocketClient:
    """A client whose messages begin with the number of their channel."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._protocol = socket.ws_protocol or ""
        self._base64 = "base64" in self._protocol
        self._stdin = Pipe()
        self._sizes: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()

    async def run(self) -> None:
        try:
            async for message in self._socket:
                data = message.data
                if message.type is WSMsgType.TEXT:
                    data = data.encode()
                elif message.type is not WSMsgType.BINARY:
                    continue
                if data:
                    await self._take(*self._decoded(data))
        finally:
            self._stdin.close()
            self._sizes.put_nowait(None)

    def _decoded(self, data: bytes) -> tuple[int, bytes]:
        if not self._base64:
            return data[0], data[1:]
        return data[0] - ord("0"), base64.b64decode(data[1:])

    async def _take(self, channel: int, data: bytes) -> None:
        if channel == STDIN:
            with contextlib.suppress(BrokenPipeError):
                await self._stdin.put(data)
        elif channel == RESIZE:
            if size := _size(data):
                self._sizes.put_nowait(size)
        elif channel == CLOSE and self._protocol == V5 and data == bytes([STDIN]):
            self._stdin.close()

    async def read(self) -> bytes:
        return await self._stdin.get()

    async def size(self) -> tuple[int, int] | None:
        return await self._sizes.get()

    async def send(self, stream: int, data: bytes) -> None:
        if self._base64:
            await self._socket.send_str(f"{stream}{base64.b64encode(data).decode()}")
        else:
            await self._socket.send_bytes(bytes([stream]) + data)

    async def open(self) -> None:
        """Show that the channels stand (clients wait for the first message)."""
        await self.send(STDOUT, b"")

    async def finish(self, status: Mapping[str, Any]) -> None:
        if self._protocol in (V4, V5, BASE64_V4):
            await self.send(ERROR, json.dumps(status).encode())
        elif status["status"] != "Success":
            await self.send(ERROR, str(status["message"]).encode())
