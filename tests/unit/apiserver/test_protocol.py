"""Answers as they are on the wire, whichever way they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from kube import daemon
from kube.apiserver.asgi import Receive, Scope, Send
from kube.apiserver.protocol import HttpProtocol, whole_of
from kube.apiserver.server import Server

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Says which path was asked for, and `messages` if by ASGI's messages."""
    body = scope["path"].encode()
    whole = whole_of(scope)
    assert whole is not None
    if not whole(418 if body == b"/teapot" else 200, "text/plain", body):
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"messages"})


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    listener = daemon.listen("127.0.0.1", 0, flag="--port")
    server = Server(app, HttpProtocol)
    serving = asyncio.create_task(server.serve([listener]))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    yield reader, writer
    writer.close()
    server.should_exit = True
    await serving


async def answer(reader: asyncio.StreamReader, *, body: bool = True) -> tuple[bytes, dict[bytes, bytes], bytes]:
    async with asyncio.timeout(20):
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).rstrip().split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        return status, headers, await reader.readexactly(int(headers[b"content-length"])) if body else b""


async def test_an_answer_has_a_status_the_servers_headers_and_a_body(client: Client) -> None:
    reader, writer = client
    writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
    status, headers, body = await answer(reader)
    assert (status, body) == (b"HTTP/1.1 200 OK", b"/a")
    assert headers[b"content-type"] == b"text/plain"
    assert b"date" in headers
    writer.write(b"POST /teapot HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
    status, _, body = await answer(reader)
    assert (status, body) == (b"HTTP/1.1 418 I'm a Teapot", b"/teapot")


async def test_requests_that_come_together_are_answered_in_their_order(client: Client) -> None:
    reader, writer = client
    writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(5)))
    assert [(await answer(reader))[2] for _ in range(5)] == [b"/%d" % n for n in range(5)]


async def test_head_has_no_body(client: Client) -> None:
    reader, writer = client
    writer.write(b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await answer(reader, body=False))[0] == b"HTTP/1.1 200 OK"
    assert (await answer(reader))[2] == b"/b"


async def test_who_wants_no_more_is_told_and_left(client: Client) -> None:
    reader, writer = client
    writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    _, headers, body = await answer(reader)
    assert (headers[b"connection"], body) == (b"close", b"messages")
    assert await reader.read() == b""
