"""A process of the fake runtime: what it does is a script, a coroutine that has the other ends of its streams."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

from kube.kubelet.runtime import STDOUT

PIPE = 64 * 1024
"""Bytes that a pipe holds before its writer waits."""


class _Pipe:
    """Bytes one way, each piece with the number of its stream."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, bytes]] = deque()
        self._size = 0
        self.closed = False
        self._changed = asyncio.Event()

    async def put(self, data: bytes, stream: int = STDOUT) -> None:
        while self._size >= PIPE and not self.closed:
            await self._change()
        if self.closed:
            raise BrokenPipeError("the other end is closed")
        if data:
            self._pieces.append((stream, data))
            self._size += len(data)
        self._changed.set()

    async def get(self) -> tuple[int, bytes] | None:
        while not self._pieces:
            if self.closed:
                return None
            await self._change()
        stream, data = self._pieces.popleft()
        self._size -= len(data)
        self._changed.set()
        return stream, data

    def close(self) -> None:
        self.closed = True
        self._changed.set()

    async def _change(self) -> None:
        self._changed = asyncio.Event() if self._changed.is_set() else self._changed
        await self._changed.wait()


class Console:
    """What a script has: its standard streams and its terminal's size."""

    def __init__(self, *, tty: bool) -> None:
        self.tty = tty
        self.size = (0, 0)
        """The terminal's columns and rows."""
        self.resized = asyncio.Event()
        self.stdin, self.out = _Pipe(), _Pipe()

    async def read(self) -> bytes:
        """From the standard input; empty at its end."""
        piece = await self.stdin.get()
        return b"" if piece is None else piece[1]

    async def write(self, data: bytes, stream: int = STDOUT) -> None:
        """To STDOUT or STDERR; waits while nobody reads."""
        await self.out.put(data, STDOUT if self.tty else stream)


Script = Callable[[Console], Awaitable[int]]
"""What a process does; returns its exit code."""


class FakeProcess:
    """A runtime.Process that runs a script."""

    def __init__(self, script: Script, *, stdin: bool, streams: tuple[int, ...], tty: bool, attached: bool) -> None:
        self._console = Console(tty=tty)
        self._streams = streams
        self._attached = attached
        if not stdin:
            self._console.stdin.close()
        self._task = asyncio.create_task(self._run(script))

    async def _run(self, script: Script) -> int:
        try:
            return await script(self._console)
        finally:
            self._console.out.close()
            self._console.stdin.close()

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        while (piece := await self._console.out.get()) is not None:
            if piece[0] in self._streams:
                yield piece

    async def write(self, data: bytes) -> None:
        await self._console.stdin.put(data)

    async def close_stdin(self) -> None:
        self._console.stdin.close()

    async def resize(self, width: int, height: int) -> None:
        self._console.size = (width, height)
        self._console.resized.set()

    async def exit_code(self) -> int | None:
        code = await self._task
        return None if self._attached else code

    async def aclose(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def connected_pair(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], keep: set[asyncio.Task[None]]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """One end of a connection whose other end is served; the server's task is kept in `keep` while it runs."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=theirs)

    async def run() -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    task = asyncio.create_task(run())
    keep.add(task)
    task.add_done_callback(keep.discard)
    return await asyncio.open_connection(sock=ours)
