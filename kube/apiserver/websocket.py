"""A watch over a WebSocket: each event is one text frame (apiserver/pkg/endpoints/handlers/watch.go).

Browsers use it, and clients behind proxies that hold back chunked answers.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from kube.apiserver.asgi import Receive, Send
from kube.apiserver.request import Response


async def send_stream(response: Response, receive: Receive, send: Send) -> None:
    """Accept the connection and send the lines of a stream, until it ends or the client goes away."""
    assert response.stream is not None
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    gone = asyncio.create_task(_disconnected(receive))
    sending = asyncio.create_task(_send_lines(response, send))
    try:
        await asyncio.wait((gone, sending), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (gone, sending):
            task.cancel()
        await asyncio.wait((gone, sending))
    if not gone.cancelled():
        return
    await send({"type": "websocket.close", "code": 1000})


async def refuse(response: Response, receive: Receive, send: Send) -> None:
    """Answer the handshake with an ordinary response: an error, or what is no stream."""
    await receive()
    headers = [(b"content-type", response.content_type.encode()), *response.headers]
    await send({"type": "websocket.http.response.start", "status": response.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": response.body})


async def _send_lines(response: Response, send: Send) -> None:
    assert response.stream is not None
    async with aclosing(response.stream) as stream:
        async for chunk in stream:
            for line in chunk.splitlines():
                await send({"type": "websocket.send", "text": line.decode()})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass
