"""The node API's connections that are given up for streams: exec, attach and portForward; and run, which is not.

A request asks to `Upgrade`, to a WebSocket or to SPDY/3.1, and names the protocols that it can speak in it. What is
wrong with the request itself is an ordinary answer, in upstream's words (pkg/kubelet/server/server.go); what goes wrong
afterwards is told on the error stream.

    subprotocol                  what is carried
    v4|v5.channel.k8s.io         messages of numbered channels
    SPDY/3.1+portforward.k8s.io  a SPDY connection, in a WebSocket's messages (kubectl 1.31 and later)
    (Upgrade: SPDY/3.1)          a SPDY connection (kubectl before, and where a proxy breaks WebSockets)

Who may ask for them is access.py's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web
from aiohttp.abc import AbstractStreamWriter

from kube.api.core import Pod
from kube.kubelet import port_forward, remote_command, spdy
from kube.kubelet.kubelet import Kubelet
from kube.kubelet.remote_command import SpdyClient, WebSocketClient
from kube.kubelet.runtime import ContainerStatus, Process, Runtime, RuntimeFailure, State
from kube.kubelet.spdy_connection import Connection, Wire

log = logging.getLogger(__name__)

PORT_FORWARD = "portforward.k8s.io"
TUNNEL = f"SPDY/3.1+{PORT_FORWARD}"
MAX_MESSAGE = 16 * 1024 * 1024
RUN_WITHIN = 120.0
"""Seconds for a command of /run."""
LINGER = 5.0
"""Seconds for a client to close, once it has been told that this was all."""
CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Streams:
    """Which of the standard streams a request asks for."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    @classmethod
    def parse(cls, request: web.Request) -> Streams:
        """By the node API's names, or by those of the apiserver's options. Raises HTTPBadRequest."""

        def flag(*names: str) -> bool:
            return any(request.query.get(name, "").lower() in ("1", "t", "true") for name in names)

        tty = flag("tty")
        # A terminal has one output.
        wanted = cls(flag("input", "stdin"), flag("output", "stdout"), flag("error", "stderr") and not tty, tty)
        if not (wanted.stdin or wanted.stdout or wanted.stderr):
            raise web.HTTPBadRequest(text="you must specify at least 1 of stdin, stdout, stderr")
        return wanted

    def names(self) -> set[str]:
        """The streams that a SPDY client opens for it."""
        asked = {"stdin": self.stdin, "stdout": self.stdout, "stderr": self.stderr, "resize": self.tty}
        return {"error", *(name for name, wanted in asked.items() if wanted)}


def routes(kubelet: Kubelet, runtime: Runtime) -> list[web.RouteDef]:
    """The routes of the streams."""
    api = StreamingApi(kubelet, runtime)
    found = []
    for path, handler in (
        ("/exec/{namespace}/{pod}/{container}", api.exec),
        ("/attach/{namespace}/{pod}/{container}", api.attach),
        ("/portForward/{namespace}/{pod}", api.port_forward),
    ):
        found += [web.get(path, handler), web.post(path, handler)]
    return [*found, web.post("/run/{namespace}/{pod}/{container}", api.run)]


class StreamingApi:
    """The handlers."""

    def __init__(self, kubelet: Kubelet, runtime: Runtime) -> None:
        self._kubelet = kubelet
        self._runtime = runtime

    async def exec(self, request: web.Request) -> web.StreamResponse:
        """A command in a container."""
        streams = Streams.parse(request)
        command = request.query.getall("command", [])
        if not command:
            raise web.HTTPBadRequest(text="you must specify at least one command for the container")
        id = self._container(request).id

        async def start() -> Process:
            return await self._runtime.start_exec(
                id, command, stdin=streams.stdin, stdout=streams.stdout, stderr=streams.stderr, tty=streams.tty
            )

        return await _remote_command(request, streams, start)

    async def attach(self, request: web.Request) -> web.StreamResponse:
        """The container's own process."""
        streams = Streams.parse(request)
        id = self._container(request).id

        async def start() -> Process:
            return await self._runtime.attach(id, stdin=streams.stdin, stdout=streams.stdout, stderr=streams.stderr)

        return await _remote_command(request, streams, start)

    async def port_forward(self, request: web.Request) -> web.StreamResponse:
        """Connections to a pod's ports."""
        pod = self._pod(request)
        worker = self._kubelet.workers.get(pod.metadata.uid)
        sandbox = worker.seen.sandbox() if worker is not None else None
        if sandbox is None or sandbox.state is not State.RUNNING:
            raise web.HTTPInternalServerError(text=f'pod is not running: "{pod.name}_{pod.namespace}"')
        sandbox_id = sandbox.id
        name = f"{pod.name}, uid {pod.metadata.uid}"

        async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await self._runtime.port_forward(sandbox_id, port)

        async def serve(wire: Wire) -> None:
            async with _connection(wire) as (connection, _):
                await port_forward.serve_spdy(connection, connect, name)

        if _wants_spdy(request):
            return await _spdy(request, [PORT_FORWARD], serve)
        offered = [word.strip() for word in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        if TUNNEL in offered:
            socket = await _websocket(request, [TUNNEL])
            await serve(WebSocketWire(socket))
        else:
            ports = _ports(request)
            socket = await _websocket(request, [remote_command.V4])
            await port_forward.serve_websocket(socket, ports, connect, name)
        await socket.close()
        return socket

    async def run(self, request: web.Request) -> web.Response:
        """A command, and its output as the answer."""
        id = self._container(request).id
        command = request.query.getall("command", []) or request.query.get("cmd", "").split()
        if not command:
            raise web.HTTPBadRequest(text="you must specify at least one command for the container")
        try:
            result = await self._runtime.exec(id, command, RUN_WITHIN)
        except TimeoutError:
            raise web.HTTPInternalServerError(text=f"no end of the command within {RUN_WITHIN:g} s") from None
        except RuntimeFailure as error:
            raise web.HTTPInternalServerError(text=str(error)) from None
        if result.exit_code:
            said = result.output.decode(errors="replace")
            raise web.HTTPInternalServerError(text=f"command terminated with exit code {result.exit_code}: {said}")
        return web.Response(body=result.output, content_type="text/plain")

    def _pod(self, request: web.Request) -> Pod:
        key = f"{request.match_info['namespace']}/{request.match_info['pod']}"
        pod = next((pod for pod in self._kubelet.pods() if pod.key == key), None)
        if pod is None:
            raise web.HTTPNotFound(text="pod does not exist")
        return pod

    def _container(self, request: web.Request) -> ContainerStatus:
        """The container that is meant, which must be running."""
        pod, name = self._pod(request), request.match_info["container"]
        worker = self._kubelet.workers.get(pod.metadata.uid)
        found = worker.seen.newest(name) if worker is not None else None
        if found is None or found.state is not State.RUNNING:
            raise web.HTTPNotFound(text=f'container not found ("{name}")')
        return found


async def _remote_command(
    request: web.Request, streams: Streams, start: Callable[[], Awaitable[Process]]
) -> web.StreamResponse:
    async def begin(client: remote_command.Client) -> None:
        try:
            process = await start()
        except RuntimeFailure as error:
            await client.finish(remote_command.failed(str(error)))
            return
        await remote_command.serve(process, client, stdin=streams.stdin)

    async def serve(wire: Wire) -> None:
        async with _connection(wire) as (connection, running):
            spdy_client = await SpdyClient.wait(connection, streams.names(), running)
            if spdy_client is not None:
                await begin(spdy_client)

    if _wants_spdy(request):
        return await _spdy(request, [remote_command.V4], serve)
    socket = await _websocket(request, remote_command.WEBSOCKET_PROTOCOLS)
    client = WebSocketClient(socket)
    with contextlib.suppress(ConnectionError):
        await client.open()
        await begin(client)
    await socket.close()
    return socket


def _ports(request: web.Request) -> list[int]:
    """The ports that a WebSocket's query names. Raises HTTPBadRequest, with upstream's words."""
    texts = [text for value in [*request.query.getall("port", []), *request.query.getall("ports", [])]
             for text in value.split(",")]  # fmt: skip
    if not texts or not all(texts):
        raise web.HTTPBadRequest(text='query parameter "port" is required' if not texts else "port must not be empty")
    for text in texts:
        if not text.isdecimal() or not 0 < int(text) < 65536:
            raise web.HTTPBadRequest(text=f'unable to parse "{text}" as a port')
    return [int(text) for text in texts]


def _wants_spdy(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").lower() == "spdy/3.1"


async def _websocket(request: web.Request, protocols: Sequence[str]) -> web.WebSocketResponse:
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise web.HTTPBadRequest(text="unable to upgrade: missing upgrade headers in request")
    socket = web.WebSocketResponse(protocols=protocols, max_msg_size=MAX_MESSAGE, compress=False)
    await socket.prepare(request)
    return socket


@contextlib.asynccontextmanager
async def _connection(wire: Wire) -> AsyncIterator[tuple[Connection, asyncio.Task[None]]]:
    """A SPDY connection that is read while the context lasts."""
    connection = Connection(wire)
    running = asyncio.create_task(connection.run(), name="spdy")
    try:
        yield connection, running
        await connection.go_away()
        # Closing with unread bytes would make the kernel throw away what we sent last: wait for the client to close.
        await asyncio.wait((running,), timeout=LINGER)
    finally:
        running.cancel()
        try:
            await running
        except spdy.ProtocolError as error:
            log.info("a client does not speak SPDY/3.1", extra={"error": str(error)})
        except asyncio.CancelledError:
            pass


class WebSocketWire:
    """Bytes in a WebSocket's binary messages."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        while True:
            message = await self._socket.receive()
            if message.type is not WSMsgType.BINARY:
                return b""
            if message.data:
                return bytes(message.data)

    async def write(self, data: bytes) -> None:
        await self._socket.send_bytes(data)


class StreamWire:
    """Bytes of a connection that is HTTP no more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        return await self._reader.read(CHUNK)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


async def _spdy(
    request: web.Request, protocols: Sequence[str], serve: Callable[[Wire], Awaitable[None]]
) -> web.StreamResponse:
    """Answer that the connection is SPDY's from now on, and serve it to its end."""
    header = "X-Stream-Protocol-Version"
    offered = [word.strip() for value in request.headers.getall(header, []) for word in value.split(",")]
    protocol = next((word for word in offered if word in protocols), None)
    if protocol is None:
        raise web.HTTPForbidden(
            text=f"unable to upgrade: unable to negotiate protocol: client supports {offered}, "
            f"server accepts {list(protocols)}",
            headers={"X-Accepted-Stream-Protocol-Versions": ", ".join(protocols)},
        )
    reader, writer = _take_over(request)
    head = ("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: SPDY/3.1", f"{header}: {protocol}")
    writer.write("".join(f"{line}\r\n" for line in (*head, "")).encode())
    try:
        await serve(StreamWire(reader, writer))
    finally:
        writer.close()
    return _Nothing()


def _take_over(request: web.Request) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The request's connection. The client sends nothing more before our answer, so nothing of it is lost."""
    transport, loop = request.transport, asyncio.get_running_loop()
    if transport is None:
        raise ConnectionResetError("the client went away")
    reader = asyncio.StreamReader(CHUNK, loop)
    protocol = _TakenOver(reader, request.protocol, loop)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _TakenOver(asyncio.StreamReaderProtocol):
    """Tells the protocol that had the connection of its end, so that the server forgets it."""

    def __init__(self, reader: asyncio.StreamReader, before: asyncio.Protocol, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._before = before

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._before.connection_lost(exc)


class _Nothing(web.StreamResponse):
    """Everything has been said."""

    def __init__(self) -> None:
        super().__init__(status=101)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: Any = b"") -> None:
        pass
