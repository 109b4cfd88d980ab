"""An HTTP server that answers as a test says, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Asked:
    """A request, as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class FakeApiserver:
    """Answers with what `answers` holds, in turn; the last one stays."""

    def __init__(self, *answers: web.Response | Respond) -> None:
        self.answers: list[web.Response | Respond] = list(answers)
        self.asked: list[Asked] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append(
            Asked(
                request.method,
                request.raw_path.partition("?")[0],
                dict(request.query),
                dict(request.headers),
                orjson.loads(body) if body else None,
            )
        )
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, web.Response):
            return web.Response(body=answer.body, status=answer.status, headers=answer.headers)
        return await answer(request)


@asynccontextmanager
async def serve(*answers: web.Response | Respond) -> AsyncIterator[FakeApiserver]:
    """Run a FakeApiserver on a free port of the loopback."""
    fake = FakeApiserver(*answers)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()


def json(data: Any, status: int = 200, **headers: str) -> web.Response:
    """A JSON answer; header names with underscores for dashes."""
    body = data if isinstance(data, bytes) else orjson.dumps(data)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(body=body, status=status, headers={"Content-Type": "application/json", **given})


def stream(*chunks: bytes, status: int = 200, cut: bool = False) -> Respond:
    """A chunked answer; `cut`: the connection breaks instead of ending."""

    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        response.enable_chunked_encoding()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if cut:
            assert request.transport is not None
            request.transport.close()
        else:
            await response.write_eof()
        return response

    return respond
