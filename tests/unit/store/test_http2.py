"""Calls over HTTP/2: beside one another, within the windows, and what becomes of them when the peer will not.

The peer is the library h2, which is strict: what breaks a rule of the protocol ends the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from h2.settings import SettingCodes

from kube.store import http2
from kube.store.calls import CallFailed, Status, framed
from kube.store.http2 import Wire, request_head
from tests.http2_peer import ENDED, STARTED, Peer

HEAD = request_head("http", "etcd:2379", "/etcdserverpb.KV/Range", {"grpc-timeout": "5000m"})


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    server = await asyncio.get_running_loop().create_server(lambda: peer, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    yield peer
    server.close()


async def connect(peer: Peer) -> Wire:
    _, wire = await asyncio.get_running_loop().create_connection(Wire, "127.0.0.1", peer.port)
    await wire.settled
    return wire


@pytest.fixture
async def wire(peer: Peer) -> AsyncIterator[Wire]:
    wire = await connect(peer)
    yield wire
    wire.close()


async def call(wire: Wire, message: bytes = b"question", timeout: float = 20.0) -> bytes:
    return await wire.unary(HEAD, message, asyncio.get_running_loop().time() + timeout)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_call_is_a_grpc_request(wire: Wire, peer: Peer) -> None:
    assert await call(wire) == b"question"
    (request,) = peer.requests.values()
    assert request == {
        ":method": "POST", ":scheme": "http", ":path": "/etcdserverpb.KV/Range", ":authority": "etcd:2379",
        "te": "trailers", "content-type": "application/grpc", "grpc-timeout": "5000m",
    }  # fmt: skip
    assert list(peer.bodies.values()) == [framed(b"question")]


async def test_calls_beside_one_another_have_each_their_answer(wire: Wire) -> None:
    questions = [b"%d" % n * n for n in range(50)]
    assert [*await asyncio.gather(*(call(wire, question) for question in questions))] == questions


async def test_messages_larger_than_the_peers_windows_wait_for_their_turn(wire: Wire, peer: Peer) -> None:
    large = bytes(range(256)) * 1200

    def pieces(stream: int, body: bytes) -> None:
        peer.h2.send_headers(stream, STARTED)
        peer.send(stream, body)
        peer.h2.send_headers(stream, ENDED, end_stream=True)

    peer.on_request = pieces
    answers = await asyncio.gather(call(wire, large), call(wire, b"small"), call(wire, large[1:]))
    assert [*answers] == [large, b"small", large[1:]]


async def test_a_window_that_the_peer_makes_smaller_is_kept_to(wire: Wire, peer: Peer) -> None:
    peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100})
    peer.flush()
    await call(wire, b"")  # the settings came before its answer
    assert await call(wire, b"x" * 1000) == b"x" * 1000


async def test_there_are_no_more_calls_at_once_than_the_peer_allows(wire: Wire, peer: Peer) -> None:
    peer.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    peer.flush()
    await call(wire, b"")
    assert len(await asyncio.gather(*(call(wire, b"%d" % n) for n in range(20)))) == 20


async def test_an_error_has_its_status_and_its_message(wire: Wire, peer: Peer) -> None:
    def refuse(stream: int, body: bytes) -> None:
        headers = [*STARTED, ("grpc-status", "11"), ("grpc-message", "etcdserver: 50%25 gone: gr%C3%BC%C3%9Fe")]
        peer.h2.send_headers(stream, headers, end_stream=True)

    peer.on_request = refuse
    with pytest.raises(CallFailed) as caught:
        await call(wire)
    assert (caught.value.code, caught.value.details) == (Status.OUT_OF_RANGE, "etcdserver: 50% gone: grüße")


async def test_headers_may_come_in_several_frames(wire: Wire, peer: Peer) -> None:
    def refuse(stream: int, body: bytes) -> None:
        headers = [*STARTED, ("grpc-status", "3"), ("grpc-message", "x~" * 20_000)]
        peer.h2.send_headers(stream, headers, end_stream=True)

    peer.on_request = refuse
    with pytest.raises(CallFailed) as caught:
        await call(wire)
    assert caught.value.details == "x~" * 20_000


async def test_frames_may_be_padded(wire: Wire, peer: Peer) -> None:
    def padded(stream: int, body: bytes) -> None:
        peer.h2.send_headers(stream, STARTED)
        peer.h2.send_data(stream, body, pad_length=7)
        peer.h2.send_headers(stream, ENDED, end_stream=True)

    peer.on_request = padded
    assert await call(wire) == b"question"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", Status.INTERNAL, id="no message"),
        pytest.param(framed(b"a") * 2, Status.INTERNAL, id="two"),
        pytest.param(b"\1" + framed(b"a")[1:], Status.INTERNAL, id="a compressed one"),
    ],
)
async def test_an_answer_is_one_message(wire: Wire, peer: Peer, body: bytes, status: Status) -> None:
    peer.on_request = lambda stream, _: peer.answer(stream, body)
    with pytest.raises(CallFailed) as caught:
        await call(wire)
    assert caught.value.code == status


async def test_an_answer_without_a_status_is_none(wire: Wire, peer: Peer) -> None:
    def forget(stream: int, body: bytes) -> None:
        peer.h2.send_headers(stream, STARTED)
        peer.h2.send_data(stream, body, end_stream=True)

    peer.on_request = forget
    with pytest.raises(CallFailed, match="the answer has no status"):
        await call(wire)


async def test_who_is_no_grpc_server_is_not_taken_for_one(wire: Wire, peer: Peer) -> None:
    peer.on_request = lambda stream, _: peer.h2.send_headers(stream, [(":status", "404")])
    with pytest.raises(CallFailed, match="HTTP status 404"):
        await call(wire)


async def test_a_call_that_the_peer_ends_takes_no_other_along(wire: Wire, peer: Peer) -> None:
    peer.on_request = lambda stream, _: None
    other = asyncio.create_task(call(wire, b"other"))
    one = asyncio.create_task(call(wire, b"one"))
    await until(lambda: len(peer.requests) == 2)
    peer.h2.reset_stream(3, error_code=7)
    peer.answer(1, bytes(peer.bodies[1]))
    peer.flush()
    with pytest.raises(CallFailed) as caught:
        await one
    assert caught.value.code == Status.UNAVAILABLE
    assert await other == b"other"


async def test_a_deadline_ends_a_call_and_the_peer_is_told(wire: Wire, peer: Peer) -> None:
    peer.on_request = lambda stream, _: None
    with pytest.raises(CallFailed) as caught:
        await call(wire, timeout=0.01)
    assert caught.value.code == Status.DEADLINE_EXCEEDED
    await until(lambda: peer.resets == {1: http2.CANCEL})
    peer.on_request = peer.answer
    assert await call(wire) == b"question"


async def test_who_gives_up_tells_the_peer(wire: Wire, peer: Peer) -> None:
    peer.on_request = lambda stream, _: None
    calling = asyncio.create_task(call(wire))
    await until(lambda: peer.requests)
    calling.cancel()
    await until(lambda: peer.resets == {1: http2.CANCEL})


async def test_a_peer_that_goes_away_answers_what_it_has_begun(wire: Wire, peer: Peer) -> None:
    peer.on_request = lambda stream, _: None
    begun = asyncio.create_task(call(wire, b"begun"))
    late = asyncio.create_task(call(wire, b"late"))
    await until(lambda: len(peer.requests) == 2)
    # What h2 sends would say that both are taken care of.
    peer.transport.write(b"\0\0\x0b\x07\0\0\0\0\0" + (1).to_bytes(4, "big") + bytes(4) + b"bye")
    with pytest.raises(CallFailed, match=r"going away .*bye"):
        await late
    assert not wire.usable
    with pytest.raises(CallFailed) as caught:
        await call(wire)
    assert caught.value.code == Status.UNAVAILABLE
    peer.answer(1, bytes(peer.bodies[1]))
    peer.flush()
    assert await begun == b"begun"
    await until(wire._transport.is_closing)


async def test_calls_fail_when_the_connection_is_lost(wire: Wire, peer: Peer) -> None:
    peer.on_request = lambda stream, _: peer.transport.abort()
    with pytest.raises(CallFailed) as caught:
        await call(wire)
    assert caught.value.code == Status.UNAVAILABLE
    assert not wire.usable


async def test_a_peer_that_does_not_speak_http2_is_left(wire: Wire, peer: Peer) -> None:
    peer.on_request = lambda stream, _: peer.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(CallFailed, match="no HTTP/2"):
        await call(wire)


async def test_a_peer_that_gives_no_sign_of_life_is_left(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "KEEPALIVE", 0.05)
    monkeypatch.setattr(http2, "KEEPALIVE_TIMEOUT", 0.05)
    wire = await connect(peer)
    peer.mute = True
    with pytest.raises(CallFailed, match="no sign of life"):
        await call(wire)


async def test_a_peer_that_says_it_is_there_is_waited_for(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "KEEPALIVE", 0.05)
    wire = await connect(peer)
    pings = []
    peer.on_request = lambda stream, _: pings.append(stream)
    calling = asyncio.create_task(call(wire))
    await until(lambda: pings)
    heard = wire._heard
    await until(lambda: wire._heard > heard)  # its answer to a ping: nothing else is said
    peer.answer(1, bytes(peer.bodies[1]))
    peer.flush()
    assert await calling == b"question"
    wire.close()


# Streams


async def test_a_stream_has_many_messages(wire: Wire, peer: Peer) -> None:
    stream = await wire.stream(HEAD, b"watch", asyncio.get_running_loop().time() + 20)
    await until(lambda: peer.bodies.get(1, b"") == framed(b"watch"))
    peer.h2.send_headers(1, STARTED)
    messages = [b"", b"a", b"b" * 100_000, b"c"]
    everything = b"".join(map(framed, messages))
    for at in range(0, len(everything), 999):
        peer.send(1, everything[at : at + 999])
    assert [await stream.read() for _ in messages] == messages
    peer.h2.send_headers(1, ENDED, end_stream=True)
    peer.flush()
    assert await stream.read() is None


async def test_a_stream_that_is_given_up_is_ended(wire: Wire, peer: Peer) -> None:
    stream = await wire.stream(HEAD, b"watch", asyncio.get_running_loop().time() + 20)
    await until(lambda: peer.requests)
    stream.cancel()
    await until(lambda: peer.resets == {1: http2.CANCEL})
    with pytest.raises(CallFailed):
        await stream.read()


async def test_a_reader_that_lags_behind_holds_up_its_own_stream_alone(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2, "OUR_WINDOW", 100_000)
    monkeypatch.setattr(http2, "DUE", 50_000)
    wire = await connect(peer)
    stream = await wire.stream(HEAD, b"watch", asyncio.get_running_loop().time() + 20)
    await until(lambda: peer.requests)
    peer.h2.send_headers(1, STARTED)
    messages = [b"%03d" % n * 300 for n in range(500)]
    peer.send(1, b"".join(map(framed, messages)))
    for _ in range(20):
        assert await call(wire, b"x" * 10_000) == b"x" * 10_000
    assert len(peer.unsent[1]) > 250_000
    assert [await stream.read() for _ in messages] == messages
    # A message larger than the window comes through, for who reads on.
    reading = asyncio.create_task(stream.read())
    peer.send(1, framed(b"x" * 1_000_000))
    assert await reading == b"x" * 1_000_000
    wire.close()
