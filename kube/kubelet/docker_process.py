"""A process in a container of a Docker engine, by the connection that the engine gives up for its streams.

After the engine's `101 UPGRADED` the connection is no longer HTTP: what is sent is the standard input (its half-close
is the input's end), and what comes is the terminal's output as it is or, without a terminal, frames that name their
stream. It is read with asyncio, not with the `docker` package, whose sockets need a thread for each direction.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from kube.kubelet.runtime import STDERR, STDOUT, EngineUnavailable, NoSuchContainer, RuntimeFailure

CHUNK = 64 * 1024
PATIENCE = 30.0
"""Seconds for the engine to begin."""
FLUSH = 1.0
"""Seconds for a process that is let go of to take the rest of its input."""


async def hijack(socket: str, path: str, body: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """POST to the engine and take the connection over. Raises RuntimeFailure with the engine's words."""
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    writer = None
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_unix_connection(socket, limit=CHUNK)
            writer.write(head.encode() + content)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status = int(answer.split(" ", 2)[1])
            if status in (101, 200):
                return reader, writer
            lines = dict(line.lower().partition(": ")[::2] for line in answer.splitlines())
            said = await reader.readexactly(min(int(lines.get("content-length", 0)), CHUNK))
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError) as error:
        # (TimeoutError is an OSError.)
        if writer is not None:
            writer.close()
        raise EngineUnavailable(f"the Docker engine does not answer: {error}") from error
    except asyncio.CancelledError:
        if writer is not None:
            writer.close()
        raise
    writer.close()
    with contextlib.suppress(ValueError, KeyError, TypeError):
        said = json.loads(said)["message"].encode()
    raise (NoSuchContainer if status == 404 else RuntimeFailure)(said.decode(errors="replace").strip())


class DockerProcess:
    """A runtime.Process on a hijacked connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        framed: bool,
        resize: Callable[[int, int], Awaitable[None]],
        exit_code: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._framed = framed
        self._resize, self._exit_code = resize, exit_code
        self._ended = False

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        try:
            if not self._framed:
                while data := await self._reader.read(CHUNK):
                    yield STDOUT, data
                return
            while True:
                head = await self._reader.readexactly(8)
                left = int.from_bytes(head[4:], "big")
                while left:
                    data = await self._reader.read(min(left, CHUNK))
                    if not data:
                        return
                    left -= len(data)
                    yield (STDERR if head[0] == STDERR else STDOUT), data
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the end; or the engine's
        finally:
            self._ended = True

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close_stdin(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # the other end is closed already
            self._writer.write_eof()

    async def resize(self, width: int, height: int) -> None:
        with contextlib.suppress(RuntimeFailure):  # it has just ended, or not quite begun
            await self._resize(width, height)

    async def exit_code(self) -> int | None:
        return None if self._exit_code is None else await self._exit_code()

    async def aclose(self) -> None:
        # What it has not read by its end, it never will: to wait for that to be sent would be to wait for ever.
        if self._ended:
            self._writer.transport.abort()
        self._writer.close()
        with contextlib.suppress(OSError):  # (TimeoutError is one)
            async with asyncio.timeout(FLUSH):
                await self._writer.wait_closed()
        self._writer.transport.abort()
