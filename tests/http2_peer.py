"""A gRPC server of a test's own, over the library h2, which is strict: who breaks a rule of HTTP/2 is disconnected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, WindowUpdated

STARTED = [(":status", "200"), ("content-type", "application/grpc")]
ENDED = [("grpc-status", "0"), ("grpc-message", "")]


class Peer(asyncio.Protocol):
    """A server: what it received, and what to do about it."""

    def __init__(self) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.requests: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytearray] = {}
        self.resets: dict[int, int] = {}
        self.unsent: dict[int, bytes] = {}
        self.on_request: Callable[[int, bytes], None] = self.answer
        self.mute = False
        self.port = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            if isinstance(event, RequestReceived):
                self.requests[event.stream_id] = {str(name): str(value) for name, value in event.headers}
                self.bodies[event.stream_id] = bytearray()
            elif isinstance(event, DataReceived):
                self.bodies[event.stream_id] += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self.on_request(event.stream_id, bytes(self.bodies[event.stream_id]))
            elif isinstance(event, StreamReset):
                self.resets[event.stream_id] = int(event.error_code)
            elif isinstance(event, WindowUpdated):
                for stream in list(self.unsent):
                    self.send(stream, b"")
        self.flush()

    def flush(self) -> None:
        if not self.mute:
            self.transport.write(self.h2.data_to_send())

    def answer(self, stream: int, body: bytes) -> None:
        """Echo."""
        self.h2.send_headers(stream, STARTED)
        self.h2.send_data(stream, body)
        self.h2.send_headers(stream, ENDED, end_stream=True)

    def send(self, stream: int, data: bytes) -> None:
        """Send as much as the windows allow, now and later."""
        data = self.unsent.pop(stream, b"") + data
        while data and (size := min(self.h2.local_flow_control_window(stream), 16384, len(data))) > 0:
            self.h2.send_data(stream, data[:size])
            data = data[size:]
        if data:
            self.unsent[stream] = data
        self.flush()
