"""The HTTP face: /api and /apis are one plain ASGI callable, everything around them is FastAPI (pages.py).

The API itself is dispatched by its path, as upstream's RequestInfo is: a route a kind would be slower, and say the same
thing thirty times.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
import zlib
from collections.abc import Mapping
from contextlib import aclosing, nullcontext

import orjson
from fastapi import FastAPI

from kube.api import errors
from kube.apiserver import metrics, websocket
from kube.apiserver.asgi import Receive, Scope, Send
from kube.apiserver.deadlines import Deadlines
from kube.apiserver.discovery import Discovery
from kube.apiserver.handlers import Handlers
from kube.apiserver.protocol import whole_of
from kube.apiserver.request import Query, Request, Response, Target, parse_path
from kube.apiserver.streams import SUBRESOURCES
from kube.apiserver.upgrade import upgrade_of
from kube.store.store import TooLarge, Unavailable

log = logging.getLogger(__name__)

MAX_BODY = 3 * 1024 * 1024
"""Bytes a request may have (upstream's limit)."""

GZIP_FROM = 128 * 1024
"""Bodies of so many bytes are compressed if the client asks (upstream's threshold)."""

UPGRADED = (*SUBRESOURCES, "proxy")
"""Subresources of which the connection itself may be passed on."""

LONG_RUNNING = ("log", "proxy")
"""Subresources whose requests last as long as there is something to say (like watches, and connections)."""


class Api:
    """The ASGI callable of /api and /apis."""

    def __init__(
        self, handlers: Handlers, discovery: Discovery, *, max_in_flight: int = 400, timeout: float = 60.0
    ) -> None:
        """`timeout`: seconds that a request may take, its body included, unless it is a long-running one."""
        self._handlers = handlers
        self._discovery = discovery
        self._max_in_flight = max_in_flight
        self._deadlines = Deadlines(timeout)
        self._in_flight = self._mutating = 0
        metrics.IN_FLIGHT.labels("mutating").set_function(lambda: self._mutating)
        metrics.IN_FLIGHT.labels("readOnly").set_function(lambda: self._in_flight - self._mutating)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        path: str = scope["path"]
        method: str = scope.get("method", "GET")  # a WebSocket has none
        target = parse_path(path)
        headers = dict(scope["headers"])
        try:
            response = await self._answer(scope, receive, path, target, method, headers)
        except errors.ApiError as error:
            response = error_response(error)
        except Unavailable as error:
            response = error_response(without_store(error))
        except TooLarge as error:
            response = error_response(errors.RequestEntityTooLarge(f"the object is too large for the store: {error}"))
        except Exception:
            # The boundary: whatever else goes wrong is our fault; the client learns that, the log learns why.
            log.exception("%s %s failed", method, path)
            response = error_response(errors.InternalError("an error on the server has prevented the request from "
                                                           "succeeding: see the log of the apiserver"))  # fmt: skip
        measured = None
        if target is not None:
            watching = response.stream is not None and target.subresource == ""
            measured = metrics.of(target, method, watching=watching)
        if measured is not None:
            measured.answered(response.status, time.perf_counter() - began)
        if response.plain and len(response.body) < GZIP_FROM:
            whole = whole_of(scope)
            if whole is not None and whole(response.status, response.content_type, response.body):
                return
        lasting = response.tunnel is not None or response.stream is not None
        with measured.open.track_inprogress() if measured is not None and lasting else nullcontext():
            await self._send(response, scope, method, headers, receive, send)

    async def _send(
        self, response: Response, scope: Scope, method: str, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        if response.tunnel is not None:
            await response.tunnel.run()
        elif scope["type"] == "http":
            await send_response(response, method, headers, receive, send)
        elif response.stream is not None:
            await websocket.send_stream(response, receive, send)
        else:
            await websocket.refuse(response, receive, send)

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        path: str,
        target: Target | None,
        method: str,
        headers: dict[bytes, bytes],
    ) -> Response:
        if target is None:
            if method not in ("GET", "HEAD"):
                raise errors.no_such_method() if self._discovery.find(path, "") else errors.no_such_path()
            accept = headers.get(b"accept", b"").decode("latin-1")
            found = self._discovery.find(path, accept)
            if found is None:
                raise errors.no_such_path()
            return found
        query = Query(scope["query_string"])
        upgrade = upgrade_of(scope) if target.subresource in UPGRADED else None
        watching = method in ("GET", "HEAD") and (target.watch or query.flag("watch"))
        if upgrade is not None or watching or target.subresource in LONG_RUNNING:
            reads = upgrade is None and method not in ("GET", "HEAD")
            body = await _read_body(receive, headers) if reads else b""
            return await self._handlers.handle(Request(method, path, target, query, headers, body, upgrade))
        if self._in_flight >= self._max_in_flight:
            raise errors.TooManyRequests("Too many requests, please try again later.", details={"retryAfterSeconds": 1})
        mutating = method not in ("GET", "HEAD")
        self._in_flight += 1
        self._mutating += mutating
        try:
            return await self._deadlines.keep(self._handle(Request(method, path, target, query, headers), receive))
        except TimeoutError:
            raise errors.Timeout("Timeout: request did not complete within the allotted timeout", details={}) from None
        finally:
            self._in_flight -= 1
            self._mutating -= mutating

    async def _handle(self, request: Request, receive: Receive) -> Response:
        if request.method not in ("GET", "HEAD"):
            request.body = await _read_body(receive, request.headers)
        return await self._handlers.handle(request)


async def _read_body(receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > MAX_BODY:
        raise _too_large()
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise errors.BadRequest("the client went away before the body was complete")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            raise _too_large()
        if not message.get("more_body"):
            break
    content = b"".join(parts)
    if headers.get(b"content-encoding", b"") == b"gzip":
        # No more than the limit is ever unpacked, however much there is.
        unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            content = unpacking.decompress(content, MAX_BODY + 1)
        except zlib.error as error:
            raise errors.BadRequest(f"the body is not valid gzip: {error}") from None
        if len(content) > MAX_BODY:
            raise _too_large()
        if not unpacking.eof:
            raise errors.BadRequest("the body is not valid gzip: it ends too early")
    return content


def _too_large() -> errors.RequestEntityTooLarge:
    return errors.RequestEntityTooLarge(f"Request entity too large: limit is {MAX_BODY}")


def without_store(error: Unavailable) -> errors.ServiceUnavailable:
    """The answer while the store is away."""
    return errors.ServiceUnavailable(f"etcd is unavailable: {error}", details={"retryAfterSeconds": 1})


def error_response(error: errors.ApiError) -> Response:
    """A `Status` body with its code."""
    headers = [(b"retry-after", str(error.retry_after).encode())] if error.retry_after else []
    if isinstance(error, errors.MethodNotAllowed) and error.allowed:
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    return Response(orjson.dumps(error.to_dict()) + b"\n", error.code, headers=headers)


async def send_response(
    response: Response, method: str, request_headers: dict[bytes, bytes], receive: Receive, send: Send
) -> None:
    """Send an answer by HTTP, whole or as a stream."""
    headers = [(b"content-type", response.content_type.encode()), *response.headers]
    if response.stream is not None:
        await _send_stream(response, headers, receive, send)
        return
    body, large = response.body, response.large
    size = large.size if large is not None else len(body)
    if size >= GZIP_FROM and b"gzip" in request_headers.get(b"accept-encoding", b""):
        body = await asyncio.to_thread(lambda: gzip.compress(b"".join(large.chunks()) if large else response.body, 1))
        large, size = None, len(body)
        headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
    headers.append((b"content-length", str(size).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if method == "HEAD":
        await send({"type": "http.response.body", "body": b""})
    elif large is None:
        await send({"type": "http.response.body", "body": body})
    else:
        for chunk in large.chunks():
            # Waits, too, while the client has not taken what was sent before; and others have their turn.
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})


async def _send_stream(response: Response, headers: list[tuple[bytes, bytes]], receive: Receive, send: Send) -> None:
    """Chunks as they come, until the stream ends or the client goes away."""
    assert response.stream is not None
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    # An empty chunk lets the headers out before the first event.
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    sending = asyncio.current_task()
    assert sending is not None
    gone = asyncio.create_task(_cancel_when_gone(receive, sending))
    try:
        async with aclosing(response.stream) as stream:
            async for chunk in stream:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    except asyncio.CancelledError:
        if not gone.done() or gone.cancelled() or sending.uncancel():
            raise  # by somebody else
    finally:
        gone.cancel()


async def _cancel_when_gone(receive: Receive, sending: asyncio.Task[object]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    sending.cancel()


class App:
    """The whole server: the API by the plain callable, everything else by FastAPI."""

    def __init__(self, api: Api, rest: FastAPI) -> None:
        self._api = api
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        if path.startswith(("/api/", "/apis/")) or path in ("/api", "/apis"):
            await self._api(scope, receive, send)
        else:
            await self._rest(scope, receive, send)
