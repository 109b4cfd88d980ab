"""gRPC over one HTTP/2 connection, as much of it as a client of etcd needs: many calls at once, each a stream.

grpc.aio takes 150 µs of CPU for a call, half of what the apiserver takes to create a pod, and as much for each message
of a watch. Here a call is one write of two frames, and the three frames of its answer. What makes it small: the headers
of a request never change, so they are encoded once; and we announce a header table without entries (RFC 7541, 4.2), so
a block of headers means the same wherever it stands, and is decoded once.

Flow control: what we send keeps to the peer's windows. What we receive is acknowledged as it comes, except of a stream
whose reader lags behind: that one waits, and no other. (RFC 9113; grpc's PROTOCOL-HTTP2.md)
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Mapping
from urllib.parse import unquote

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple

from kube.store.calls import Call, CallFailed, Status, Stream, Unary, framed

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 2, 3, 4, 5
REFUSED_STREAM, CANCEL = 7, 8

FRAME = 16 * 1024
"""Bytes of payload that a frame has at most, unless its receiver allows more; we do not."""
WINDOW = 64 * 1024 - 1
"""Bytes that may be on their way, of a stream and of all together, unless their receiver allows more."""
OUR_WINDOW = 16 * 1024 * 1024
DUE = OUR_WINDOW // 2
"""Bytes that we have received, and not acknowledged, when it is time to."""
LAST_STREAM = 2**31 - 1

KEEPALIVE = 6.0
"""Seconds of silence after which the peer is asked for a sign of life, if a call is open. (etcd takes a client for
hostile that asks more often than every 5 s, or without a call: --grpc-keepalive-min-time.)"""
KEEPALIVE_TIMEOUT = 4.0
"""Seconds that it has to give one."""

_frame_head = struct.Struct(">HBBBL")
_setting = struct.Struct(">HL")
_number = struct.Struct(">L")


def request_head(scheme: str, authority: str, path: str, headers: Mapping[str, str]) -> bytes:
    """The header block of a request: literals that leave no trace, so it may be sent again and again."""
    all_headers = {":method": "POST", ":scheme": scheme, ":path": path, ":authority": authority, "te": "trailers",
                   "content-type": "application/grpc", **headers}  # fmt: skip
    head: bytes = Encoder().encode([NeverIndexedHeaderTuple(*each) for each in all_headers.items()], huffman=False)
    return head


class Wire(asyncio.Protocol):
    """One connection. No call may begin when it is not `usable` any more; those that are open may still end well."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.settled: asyncio.Future[None] = self._loop.create_future()
        """Done when each side knows what the other allows: it is usable."""
        self.usable = False
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done when it is disconnected."""
        self._transport: asyncio.Transport
        self._calls: dict[int, Call] = {}
        self._next = 1
        self._rest = b""
        self._block: tuple[int, int, bytes] | None = None
        """A header block that is not complete: of which stream, with which flags, and what there is of it."""
        self._decoder = Decoder()
        self._decoder.header_table_size = self._decoder.max_allowed_table_size = 0
        self._blocks: dict[bytes, dict[str, str]] = {}
        """What the usual header blocks mean."""
        self._window = self._stream_window = WINDOW
        """Bytes that we may send in all, and of a new stream."""
        self._frame = FRAME
        self._most_calls = LAST_STREAM
        self._blocked: deque[Call] = deque()
        """Calls that have more to send than the windows allow."""
        self._due = 0
        self._out: list[bytes] = []
        """Frames of this turn of the event loop: they are sent together, as a write costs as much as a call."""
        self._why = "the connection was lost"
        self._heard = 0.0
        self._timer: asyncio.TimerHandle

    # Calls

    async def unary(self, head: bytes, message: bytes, deadline: float) -> bytes:
        """The answer to a message, by a deadline of the loop's clock. Raises CallFailed."""
        call = Unary(self._loop.create_future())
        if len(self._calls) >= self._most_calls:
            await self._turn(deadline)
        self._start(call, head, message)
        timer = self._loop.call_at(deadline, self._expire, call)
        try:
            return await call.answer
        finally:
            timer.cancel()
            if call.number in self._calls:
                self.end(call, None, tell=True)

    async def stream(self, head: bytes, message: bytes, deadline: float) -> Stream:
        """The answers to a message, without an end; the call begins by a deadline. Raises CallFailed."""
        call = Stream(self)
        if len(self._calls) >= self._most_calls:
            await self._turn(deadline)
        self._start(call, head, message)
        return call

    def end(self, call: Call, failure: CallFailed | None, *, tell: bool = False) -> None:
        """Forget a call that is over; `tell`: the peer does not know."""
        if self._calls.pop(call.number, None) is None:
            return
        if tell or call.unsent is not None:
            self._write(RST_STREAM, 0, call.number, _number.pack(CANCEL))
        call.unsent = None
        call.ended(failure)
        if not self._calls and not self.usable:
            self._transport.abort()

    def acknowledge(self, call: Call) -> None:
        """Let the peer send more of an answer, if there is much that it does not know we have taken."""
        if call.due > DUE and call.number in self._calls:
            self._write(WINDOW_UPDATE, 0, call.number, _number.pack(call.due))
            call.due = 0

    def close(self, why: str = "the connection is closed") -> None:
        """Disconnect. Open calls fail."""
        self.usable = False
        self._why = why
        self._transport.abort()

    def _expire(self, call: Call) -> None:
        self.end(call, CallFailed(Status.DEADLINE_EXCEEDED, "no answer in time"), tell=True)

    async def _turn(self, deadline: float) -> None:
        """Wait until there are fewer calls. (etcd allows as many as there can be, unless it is told otherwise.)"""
        while self.usable and len(self._calls) >= self._most_calls:
            if self._loop.time() > deadline:
                raise CallFailed(Status.DEADLINE_EXCEEDED, "too many calls")
            await asyncio.sleep(0.01)

    def _start(self, call: Call, head: bytes, message: bytes) -> None:
        if not self.usable:
            raise CallFailed(Status.UNAVAILABLE, self._why)
        call.number = number = self._next
        call.window = self._stream_window
        self._calls[number] = call
        self._next = number + 2
        if self._next > LAST_STREAM:
            self.usable = False
        size = len(message) + 5
        begin = _frame_head.pack(len(head) >> 8, len(head) & 255, HEADERS, END_HEADERS, number) + head
        if self._blocked or size > self._frame or size > self._window or size > call.window:
            self._send(begin)
            call.unsent = memoryview(framed(message))
            self._blocked.append(call)
            self._send_blocked()
            return
        self._window -= size
        call.window -= size
        data = _frame_head.pack(size >> 8, size & 255, DATA, END_STREAM if call.half_closes else 0, number)
        self._send(begin + data + framed(message))

    def _send_blocked(self) -> None:
        """Send as much as the windows allow, in turn."""
        for _ in range(len(self._blocked)):
            call = self._blocked.popleft()
            while call.unsent is not None:
                size = min(self._frame, self._window, call.window, len(call.unsent))
                if size <= 0:
                    self._blocked.append(call)
                    break
                self._window -= size
                call.window -= size
                piece, rest = call.unsent[:size], call.unsent[size:]
                self._write(DATA, END_STREAM if call.half_closes and not rest else 0, call.number, bytes(piece))
                call.unsent = rest or None

    def _write(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._send(_frame_head.pack(size >> 8, size & 255, kind, flags, number) + payload)

    def _send(self, frames: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(frames)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if not self._transport.is_closing():
            self._transport.write(b"".join(out))

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # what it is for TCP
        self._transport = transport
        settings = ((HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, OUR_WINDOW))
        self._send(PREFACE)
        self._write(SETTINGS, 0, 0, b"".join(_setting.pack(*each) for each in settings))
        self._write(WINDOW_UPDATE, 0, 0, _number.pack(OUR_WINDOW - WINDOW))
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(KEEPALIVE, self._keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._timer.cancel()
        why = f"{self._why}: {exc}" if exc else self._why
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.ended(CallFailed(Status.UNAVAILABLE, why))
        if not self.settled.done():
            self.settled.set_exception(ConnectionError(why))
        self.lost.set_result(None)

    def _keep_alive(self) -> None:
        silent = self._loop.time() - self._heard
        if self._calls and silent >= KEEPALIVE:
            self._write(PING, 0, 0, bytes(8))
            self._timer = self._loop.call_later(KEEPALIVE_TIMEOUT, self._expect_life, self._heard)
        else:
            self._timer = self._loop.call_later(max(KEEPALIVE - silent, 1.0), self._keep_alive)

    def _expect_life(self, heard: float) -> None:
        if self._heard == heard:
            self.close(f"no sign of life for {KEEPALIVE + KEEPALIVE_TIMEOUT:g} s")
        else:
            self._keep_alive()

    # What comes

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        try:
            while end - at >= 9:
                high, low, kind, flags, number = _frame_head.unpack_from(data, at)
                size = high << 8 | low
                if size > FRAME:
                    raise ValueError(f"a frame of {size} bytes")
                if end - at < 9 + size:
                    break
                at += 9 + size
                self._take(kind, flags, number & LAST_STREAM, data[at - size : at])
        except (ValueError, IndexError, struct.error, HPACKError) as error:
            self.close(f"what was received is no HTTP/2: {error}")
            return
        self._rest = data[at:]

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if (kind == CONTINUATION) != (self._block is not None):
            raise ValueError("a header block is not complete")
        if kind == DATA:
            self._take_data(flags, number, payload)
        elif kind == HEADERS:
            if flags & (PADDED | PRIORITY):
                payload = _unpadded(flags, payload)[5 if flags & PRIORITY else 0 :]
            self._take_headers(flags, number, payload)
        elif kind == CONTINUATION:
            assert self._block is not None
            (of, first, begin), self._block = self._block, None
            if of != number or len(begin) > 8 * FRAME:
                raise ValueError("a header block is not complete")
            self._take_headers(first | flags, number, begin + payload)
        elif kind == WINDOW_UPDATE:
            self._take_window(number, *_number.unpack(payload))
        elif kind == PING and not flags & ACK:
            self._write(PING, ACK, 0, payload)
        elif kind == SETTINGS:
            self._take_settings(flags, payload)
        elif kind == RST_STREAM and (call := self._calls.get(number)) is not None:
            (code,) = _number.unpack(payload)
            status = Status.UNAVAILABLE if code == REFUSED_STREAM else Status.INTERNAL
            call.unsent = None
            self.end(call, CallFailed(status, f"the call was ended by HTTP/2's error {code}"))
        elif kind == GOAWAY:
            self._take_goaway(payload)

    def _take_data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._due += size
        if self._due > DUE:
            self._write(WINDOW_UPDATE, 0, 0, _number.pack(self._due))
            self._due = 0
        call = self._calls.get(number)
        if call is None:
            return
        call.due += size
        call.received(_unpadded(flags, payload) if flags & PADDED else payload)
        if flags & END_STREAM:
            self.end(call, CallFailed(Status.UNKNOWN, "the answer has no status"))
        elif call.keeps_up:
            self.acknowledge(call)

    def _take_headers(self, flags: int, number: int, block: bytes) -> None:
        if not flags & END_HEADERS:
            self._block = number, flags, block
            return
        headers = self._blocks.get(block)
        if headers is None:
            headers = {str(name): str(value) for name, value in self._decoder.decode(block)}
            if len(self._blocks) < 100:
                self._blocks[block] = headers
        call = self._calls.get(number)
        if call is None:
            return
        if headers.get(":status", "200") != "200":
            self.end(call, CallFailed(Status.UNAVAILABLE, f"answered with HTTP status {headers[':status']}"), tell=True)
        elif flags & END_STREAM:
            code = headers.get("grpc-status", "")
            failure = None
            if code != "0":
                details = unquote(headers.get("grpc-message", "")) if code else "the answer has no status"
                failure = CallFailed(int(code or Status.UNKNOWN), details)
            self.end(call, failure)

    def _take_window(self, number: int, size: int) -> None:
        if number == 0:
            self._window += size
        elif (call := self._calls.get(number)) is not None:
            call.window += size
        if self._blocked:
            self._send_blocked()

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            self.usable = True
            if not self.settled.done():
                self.settled.set_result(None)
            return
        for name, value in _setting.iter_unpack(payload):
            if name == INITIAL_WINDOW_SIZE:
                for call in self._calls.values():
                    call.window += value - self._stream_window
                self._stream_window = value
            elif name == MAX_FRAME_SIZE:
                self._frame = value
            elif name == MAX_CONCURRENT_STREAMS:
                self._most_calls = value
        self._write(SETTINGS, ACK, 0, b"")
        if self._blocked:
            self._send_blocked()

    def _take_goaway(self, payload: bytes) -> None:
        last, code = struct.unpack_from(">LL", payload)
        self._why = f"the server is going away (HTTP/2's error {code}{payload[8:].decode('latin-1') and ': '}" \
                     f"{payload[8:].decode('latin-1')})"  # fmt: skip
        self.usable = False
        for call in [call for number, call in self._calls.items() if number > last & LAST_STREAM]:
            self.end(call, CallFailed(Status.UNAVAILABLE, self._why))
        if not self._calls:
            self._transport.abort()


def _unpadded(flags: int, payload: bytes) -> bytes:
    return payload[1 : len(payload) - payload[0]] if flags & PADDED else payload
