"""The server's side of a SPDY connection, with a client that speaks in frames."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from kube.kubelet import spdy
from kube.kubelet.pipe import Pipe
from kube.kubelet.spdy_connection import BUFFER, Connection, Stream


class Peer:
    """A client: the wire, and frames put in and taken out of it."""

    def __init__(self) -> None:
        self._encoder, self._decoder = spdy.Encoder(), spdy.Decoder()
        self._in, self._out = Pipe(), Pipe(10_000_000)
        self._frames: list[spdy.Frame] = []

    async def read(self) -> bytes:
        return await self._in.get()

    async def write(self, data: bytes) -> None:
        await self._out.put(data)

    async def send(self, *frames: spdy.Frame) -> None:
        for frame in frames:
            await self._in.put(self._encoder.encode(frame))

    async def raw(self, data: bytes) -> None:
        await self._in.put(data)

    async def hears(self) -> spdy.Frame:
        while not self._frames:
            self._frames = self._decoder.feed(await self._out.get())
        return self._frames.pop(0)

    def leave(self) -> None:
        self._in.close()


@pytest.fixture
async def peer() -> Peer:
    return Peer()


@pytest.fixture
async def connection(peer: Peer) -> AsyncIterator[Connection]:
    connection = Connection(peer)
    running = asyncio.create_task(connection.run())
    async with asyncio.timeout(10):
        yield connection
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError, spdy.ProtocolError):
        await running


async def opened(connection: Connection, peer: Peer, id: int = 1, **headers: str) -> Stream:
    await peer.send(spdy.SynStream(id, headers))
    stream = await connection.accept()
    assert stream is not None
    assert await peer.hears() == spdy.SynReply(id)
    return stream


async def test_a_stream_is_taken_with_its_headers(connection: Connection, peer: Peer) -> None:
    stream = await opened(connection, peer, streamtype="stdin")
    assert stream.headers == {"streamtype": "stdin"}


async def test_bytes_go_both_ways_and_each_way_ends_by_itself(connection: Connection, peer: Peer) -> None:
    stream = await opened(connection, peer)
    await peer.send(spdy.Data(1, b"to", fin=True))
    assert await stream.read() == b"to"
    assert await stream.read() == b""
    await stream.write(b"fro")
    assert await peer.hears() == spdy.Data(1, b"fro")
    await stream.close()
    assert await peer.hears() == spdy.Data(1, b"", fin=True)
    with pytest.raises(ConnectionError):
        await stream.write(b"more")


async def test_a_ping_comes_back(connection: Connection, peer: Peer) -> None:
    await peer.send(spdy.Ping(1), spdy.Ping(2), spdy.Ping(3))
    assert await peer.hears() == spdy.Ping(1)
    assert await peer.hears() == spdy.Ping(3), "2 would be an answer to one of ours"


async def test_a_stream_that_is_reset_breaks_off(connection: Connection, peer: Peer) -> None:
    stream = await opened(connection, peer)
    await peer.send(spdy.RstStream(1, spdy.CANCEL))
    with pytest.raises(ConnectionError):
        await stream.read()
    with pytest.raises(ConnectionError):
        await stream.write(b"x")


async def test_when_the_client_leaves_all_breaks_off(connection: Connection, peer: Peer) -> None:
    stream = await opened(connection, peer)
    peer.leave()
    assert await connection.accept() is None
    with pytest.raises(ConnectionError):
        await stream.read()


async def test_a_stream_that_nobody_reads_makes_the_client_wait(connection: Connection, peer: Peer) -> None:
    stream = await opened(connection, peer)
    frames: list[spdy.Frame] = [*(spdy.Data(1, b"x" * 32_000) for _ in range(40)), spdy.Ping(1)]
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(peer.send(*frames))
        await asyncio.sleep(0.05)
        assert not sending.done()
        read = 0
        while read < 40 * 32_000:
            read += len(await stream.read())
    assert await peer.hears() == spdy.Ping(1)


async def test_what_is_discarded_holds_nobody_up(connection: Connection, peer: Peer) -> None:
    stream = await opened(connection, peer)
    stream.discard()
    await peer.send(*(spdy.Data(1, b"x" * 32_000) for _ in range(2 * BUFFER // 32_000)), spdy.Ping(1))
    assert await peer.hears() == spdy.Ping(1)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([spdy.SynStream(2)], id="a stream with the number of a server's"),
        pytest.param([spdy.SynStream(3), spdy.SynStream(1)], id="a stream with a number that has passed"),
    ],
)
async def test_a_client_that_breaks_the_rules_is_left(peer: Peer, frames: list[spdy.Frame]) -> None:
    await peer.send(*frames)
    with pytest.raises(spdy.ProtocolError):
        await Connection(peer).run()
