"""Bytes from one task to another, at the pace of the slower."""

from __future__ import annotations

import asyncio
from collections import deque


class Pipe:
    """Holds about `limit` bytes; whoever puts more waits. One task reads."""

    def __init__(self, limit: int = 256 * 1024) -> None:
        self.closed = False
        self._limit = limit
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._filled, self._room = asyncio.Event(), asyncio.Event()

    async def put(self, data: bytes) -> None:
        """Raises BrokenPipeError when the pipe is closed, from either end."""
        while self._size >= self._limit and not self.closed:
            self._room.clear()
            await self._room.wait()
        if self.closed:
            raise BrokenPipeError("the pipe is closed")
        if data:
            self._pieces.append(data)
            self._size += len(data)
            self._filled.set()

    async def get(self) -> bytes:
        """The next piece, as it was put; empty once the pipe is closed and all has been read."""
        while not self._pieces:
            if self.closed:
                return b""
            self._filled.clear()
            await self._filled.wait()
        data = self._pieces.popleft()
        self._size -= len(data)
        self._room.set()
        return data

    def close(self) -> None:
        """Nothing more comes; what is in it can still be read."""
        self.closed = True
        self._filled.set()
        self._room.set()
