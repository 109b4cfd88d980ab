"""What a call of gRPC is beside the HTTP/2 that carries it (http2.py): its answer's messages, its end, its errors."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from enum import IntEnum
from typing import Protocol

_message_head = struct.Struct(">BL")
"""Whether a message is compressed, and its length."""


def framed(message: bytes) -> bytes:
    """A message, as it is sent."""
    return _message_head.pack(0, len(message)) + message


class Status(IntEnum):
    """gRPC's statuses that mean something to us."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    OUT_OF_RANGE = 11
    INTERNAL = 13
    UNAVAILABLE = 14


class CallFailed(Exception):
    """A call did not end well: gRPC's status and message."""

    def __init__(self, code: int, details: str) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details


class Carrier(Protocol):
    """The connection that carries a stream."""

    def end(self, call: Call, failure: CallFailed | None, *, tell: bool = False) -> None:
        """Forget a call that is over; `tell`: the peer does not know."""

    def acknowledge(self, call: Call) -> None:
        """Let the peer send more of an answer, if there is much that it does not know we have taken."""


class Call:
    """One call. What comes for it is handed to `received`; then `ended` is called, once."""

    __slots__ = ("due", "number", "unsent", "window")
    half_closes = True
    """We send one message, and no more."""
    keeps_up = True
    """Whoever reads the answer has taken what came."""

    def __init__(self) -> None:
        self.number = 0
        self.window = 0
        """Bytes that we may send."""
        self.unsent: memoryview | None = None
        self.due = 0
        """Bytes received, and not acknowledged."""

    def received(self, payload: bytes) -> None:
        """Take a piece of the answer."""
        raise NotImplementedError

    def ended(self, failure: CallFailed | None) -> None:
        """Nothing more comes."""
        raise NotImplementedError


class Unary(Call):
    """A call that is answered by one message."""

    __slots__ = ("_parts", "answer")

    def __init__(self, answer: asyncio.Future[bytes]) -> None:
        super().__init__()
        self.answer = answer
        self._parts: list[bytes] = []

    def received(self, payload: bytes) -> None:
        self._parts.append(payload)

    def ended(self, failure: CallFailed | None) -> None:
        if self.answer.done():
            return
        if failure is None:
            body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            if len(body) >= 5 and _message_head.unpack_from(body) == (0, len(body) - 5):
                self.answer.set_result(body[5:])
                return
            failure = CallFailed(Status.INTERNAL, "the answer is not one message as it is")
        self.answer.set_exception(failure)


class Stream(Call):
    """A call that is answered by many messages."""

    __slots__ = ("_carrier", "_ended", "_failure", "_messages", "_part", "_reader")
    half_closes = False

    def __init__(self, carrier: Carrier) -> None:
        super().__init__()
        self._carrier = carrier
        self._messages: deque[bytes] = deque()
        self._part = bytearray()
        self._reader: asyncio.Future[None] | None = None
        self._ended = False
        self._failure: CallFailed | None = None

    async def read(self) -> bytes | None:
        """The next message; None: there are no more. Raises CallFailed."""
        while not self._messages:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        message = self._messages.popleft()
        if not self._messages:
            self._carrier.acknowledge(self)
        return message

    def cancel(self) -> None:
        """Nobody wants the rest."""
        self._carrier.end(self, CallFailed(Status.CANCELLED, "the call was cancelled"), tell=True)

    @property
    def keeps_up(self) -> bool:  # type: ignore[override]  # what others always do
        return not self._messages

    def received(self, payload: bytes) -> None:
        part = self._part
        part += payload
        while len(part) >= 5:
            compressed, size = _message_head.unpack_from(part)
            if compressed:
                raise ValueError("a message is compressed")
            if len(part) < 5 + size:
                return
            self._messages.append(bytes(part[5 : 5 + size]))
            del part[: 5 + size]
            self._wake()

    def ended(self, failure: CallFailed | None) -> None:
        self._ended, self._failure = True, failure
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
