"""The server's side of a SPDY/3.1 connection: streams that the client opens, over any wire of bytes.

As in the library that Kubernetes uses (moby/spdystream) there is no flow control for a stream, only the wire's own: a
stream that nobody reads holds up the others once its buffer is full. Its PINGs are answered, so a client's keepalive
works.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Protocol

from kube.kubelet import spdy
from kube.kubelet.pipe import Pipe

CHUNK = 32 * 1024
"""Bytes of a data frame, at most."""
BUFFER = 256 * 1024
"""Bytes that a stream holds for its reader before the connection waits."""
MAX_STREAMS = 2000
"""Streams open at once; more are refused."""


class Wire(Protocol):
    """Bytes in order, both ways."""

    async def read(self) -> bytes:
        """What has come; empty at the end."""

    async def write(self, data: bytes) -> None:
        """Send; waits while the peer is behind. Raises ConnectionError."""


class Stream:
    """One stream that the client has opened."""

    def __init__(self, connection: Connection, id: int, headers: Mapping[str, str], *, ended: bool) -> None:
        self.id = id
        self.headers = headers
        self._connection = connection
        self._inbox = Pipe(BUFFER)
        self._ended = ended  # the client sends no more
        self._closed = False  # nor do we
        self._reset = False
        if ended:
            self._inbox.close()

    async def read(self) -> bytes:
        """What has come; empty when the client has said that this was all. Raises ConnectionError if it broke off."""
        data = await self._inbox.get()
        if not data and self._reset:
            raise ConnectionResetError("the stream was reset")
        return data

    async def write(self, data: bytes) -> None:
        """Send. Raises ConnectionError if the stream, or the connection, has ended."""
        for at in range(0, len(data), CHUNK):
            if self._closed:
                raise ConnectionResetError("the stream is closed")
            await self._connection.send(spdy.Data(self.id, data[at : at + CHUNK]))

    async def close(self) -> None:
        """Nothing more comes from us. No error if that is so already."""
        if not self._closed:
            self._closed = True
            self._connection.settle(self)
            with contextlib.suppress(ConnectionError):
                await self._connection.send(spdy.Data(self.id, b"", fin=True))

    def discard(self) -> None:
        """What still comes is dropped."""
        self._inbox.close()

    @property
    def over(self) -> bool:
        return self._ended and self._closed

    # The connection's side.

    async def feed(self, data: bytes, fin: bool) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody wants it
            await self._inbox.put(data)
        if fin:
            self._ended = True
            self._inbox.close()

    def cut(self) -> None:
        self._ended = self._closed = self._reset = True
        self._inbox.close()


class Connection:
    """The streams of one wire. `run` must be running for anything to come in."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._encoder, self._decoder = spdy.Encoder(), spdy.Decoder()
        self._sending = asyncio.Lock()  # the compressed headers must leave in the order in which they were compressed
        self._streams: dict[int, Stream] = {}
        self._opened: asyncio.Queue[Stream | None] = asyncio.Queue()
        self._last = 0
        self._over = False

    async def run(self) -> None:
        """Read until the client goes away; then every stream is at its end. Raises ProtocolError."""
        try:
            while data := await self._wire.read():
                for frame in self._decoder.feed(data):
                    await self._take(frame)
        except ConnectionError:
            return
        finally:
            self._over = True
            for stream in self._streams.values():
                stream.cut()
            self._opened.put_nowait(None)

    async def accept(self) -> Stream | None:
        """The next stream that the client opens; None when it has gone away."""
        stream = await self._opened.get()
        if stream is None:
            self._opened.put_nowait(None)
        return stream

    async def send(self, frame: spdy.Frame) -> None:
        """Raises ConnectionError."""
        if self._over:
            raise ConnectionResetError("the connection is closed")
        async with self._sending:
            await self._wire.write(self._encoder.encode(frame))

    async def go_away(self) -> None:
        """Tell the client that this was all."""
        with contextlib.suppress(ConnectionError):
            await self.send(spdy.GoAway(self._last))

    def settle(self, stream: Stream) -> None:
        """Forget a stream that is over."""
        if stream.over:
            self._streams.pop(stream.id, None)

    async def _take(self, frame: spdy.Frame) -> None:
        match frame:
            case spdy.SynStream():
                await self._open(frame)
            case spdy.Data(id, data, fin):
                if stream := self._streams.get(id):
                    await stream.feed(data, fin)
                    self.settle(stream)
            case spdy.SynReply(id, _, True) | spdy.Headers(id, _, True):
                if stream := self._streams.get(id):
                    await stream.feed(b"", True)
                    self.settle(stream)
            case spdy.RstStream(id):
                if stream := self._streams.pop(id, None):
                    stream.cut()
            case spdy.Ping(id):
                if id % 2:  # one of the client's; ours would be even
                    await self.send(frame)
            case _:
                pass  # SETTINGS and WINDOW_UPDATE: see above; GOAWAY: the client opens no more

    async def _open(self, frame: spdy.SynStream) -> None:
        if frame.stream <= self._last or frame.stream % 2 == 0:
            raise spdy.ProtocolError(f"{frame.stream} is not the number of a new stream of a client")
        self._last = frame.stream
        if len(self._streams) >= MAX_STREAMS:
            await self.send(spdy.RstStream(frame.stream, spdy.REFUSED_STREAM))
            return
        stream = Stream(self, frame.stream, frame.headers, ended=frame.fin)
        self._streams[frame.stream] = stream
        await self.send(spdy.SynReply(frame.stream))
        self._opened.put_nowait(stream)
