"""The floor of a read: an ASGI callable that sends one body, on the apiserver's own HTTP server and settings.

`python -m deploy.benchmarks._plain PORT FILE [CERTIFICATE KEY]`; with a certificate, by TLS on the next port, too.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path

import uvloop

from kube import daemon
from kube.apiserver.asgi import Receive, Scope, Send
from kube.apiserver.protocol import HttpProtocol
from kube.apiserver.server import Server


async def serve(port: int, body: bytes, *tls: str) -> None:
    """Answer until the process is ended."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    servers = [Server(answer, HttpProtocol).serve([daemon.listen("127.0.0.1", port)])]
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*tls)
        servers.append(Server(answer, HttpProtocol, context).serve([daemon.listen("127.0.0.1", port + 1)]))
    await asyncio.gather(*servers)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2]).read_bytes(), *sys.argv[3:]))
