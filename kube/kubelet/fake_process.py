"""A process of the fake runtime: what it does is a script, a coroutine that has the other ends of its streams."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

from kube.kubelet.pipe import Pipe
from kube.kubelet.runtime import STDOUT, ExecResult

PIPE = 64 * 1024
"""Bytes that a pipe holds before its writer waits."""


class Console:
    """What a script has: its standard streams and its terminal's size."""

    def __init__(self, *, tty: bool) -> None:
        self.tty = tty
        self.size = (0, 0)
        """The terminal's columns and rows."""
        self.resized = asyncio.Event()
        self.stdin = Pipe(PIPE)
        self.out = Pipe(PIPE)
        """Each piece begins with the number of its stream."""

    async def read(self) -> bytes:
        """From the standard input; empty at its end."""
        return await self.stdin.get()

    async def write(self, data: bytes, stream: int = STDOUT) -> None:
        """To STDOUT or STDERR; waits while nobody reads."""
        if data:
            await self.out.put(bytes([STDOUT if self.tty else stream]) + data)


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
        while piece := await self._console.out.get():
            if piece[0] in self._streams:
                yield piece[0], piece[1:]

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


def says(result: ExecResult | None) -> Script:
    """A command that comes to this; None: it hangs."""

    async def script(console: Console) -> int:
        if result is None:
            await asyncio.Event().wait()
        assert result is not None
        await console.write(result.output)
        return result.exit_code

    return script


async def echo(console: Console) -> int:
    """A process that says what it hears, and does not end."""
    while data := await console.read():
        await console.write(data)
    await asyncio.Event().wait()
    return 0
