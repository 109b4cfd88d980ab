"""SPDY/3.1 frames, to and from bytes: what kubectl before 1.31 speaks for exec, attach and port-forward.

No I/O and no streams here, see spdy_connection.py. A frame has an eight byte head:

    control   1 | version 3 (15 bits) | type (16) | flags (8) | length (24)
    data      0 | stream (31)                     | flags (8) | length (24)

Headers are compressed with zlib, one context for a connection's direction, primed with SPDY's dictionary: frames must
be encoded in the order in which they are sent. (https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_CONTROL = 64 * 1024
"""Bytes of a control frame; more is not ours."""
MAX_HEADERS = 256 * 1024
"""Bytes of a header block, inflated."""

_FIN, _UNIDIRECTIONAL = 1, 2
_WORDS = """
options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow
authorization cache-control connection content-base content-encoding content-language content-length content-location
content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match
if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range
referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get
status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin
"""
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 "
    "Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec "
    "00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8"
    "charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack("!I", len(word)) + word.replace("_", " ").encode() for word in _WORDS.split()) + _TEXT.encode()
)
"""What both sides take as said before the first header block."""


class ProtocolError(Exception):
    """The peer does not speak SPDY/3.1: nothing that follows can be understood."""


@dataclass(frozen=True, slots=True)
class SynStream:
    """The sender opens a stream."""

    stream: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False
    unidirectional: bool = False
    associated: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class SynReply:
    """The receiver takes it."""

    stream: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class RstStream:
    """The stream ends here, in both directions."""

    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Wishes, by their number."""

    values: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ping:
    """To be sent back as it is."""

    id: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """No more streams after this one."""

    last: int
    status: int = 0


@dataclass(frozen=True, slots=True)
class Headers:
    """More headers of an open stream."""

    stream: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class WindowUpdate:
    """The sender has room for more."""

    stream: int
    delta: int


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream; `fin`: the last from this side."""

    stream: int
    data: bytes
    fin: bool = False


Frame = SynStream | SynReply | RstStream | Settings | Ping | GoAway | Headers | WindowUpdate | Data

PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL = 1, 2, 3, 5
"""Statuses of RST_STREAM."""
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _HEADERS, _WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9


class Encoder:
    """Frames to bytes, for one direction of one connection."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def encode(self, frame: Frame) -> bytes:
        """The frame's bytes, to be sent in the order of the calls."""
        match frame:
            case Data(stream, data, fin):
                return struct.pack("!II", stream, fin << 24 | len(data)) + data
            case SynStream(stream, headers, fin, unidirectional, associated, priority):
                flags = fin * _FIN | unidirectional * _UNIDIRECTIONAL
                head = struct.pack("!IIBB", stream, associated, priority << 5, 0)
                return _control(_SYN_STREAM, flags, head + self._block(headers))
            case SynReply(stream, headers, fin):
                return _control(_SYN_REPLY, fin, struct.pack("!I", stream) + self._block(headers))
            case Headers(stream, headers, fin):
                return _control(_HEADERS, fin, struct.pack("!I", stream) + self._block(headers))
            case RstStream(stream, status):
                return _control(_RST_STREAM, 0, struct.pack("!II", stream, status))
            case Settings(values):
                pairs = b"".join(struct.pack("!II", *pair) for pair in values.items())
                return _control(_SETTINGS, 0, struct.pack("!I", len(values)) + pairs)
            case Ping(id):
                return _control(_PING, 0, struct.pack("!I", id))
            case GoAway(last, status):
                return _control(_GOAWAY, 0, struct.pack("!II", last, status))
            case WindowUpdate(stream, delta):
                return _control(_WINDOW_UPDATE, 0, struct.pack("!II", stream, delta))

    def _block(self, headers: Mapping[str, str]) -> bytes:
        parts = [struct.pack("!I", len(headers))]
        for pair in headers.items():
            for text in pair:
                data = text.encode()
                parts += [struct.pack("!I", len(data)), data]
        return self._deflate.compress(b"".join(parts)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _control(type: int, flags: int, payload: bytes) -> bytes:
    return struct.pack("!HHI", 0x8003, type, flags << 24 | len(payload)) + payload


class Decoder:
    """Bytes to frames, for one direction of one connection."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._rest = bytearray()
        self._data: tuple[int, bool] | None = None  # of the data frame that is coming in: its stream, and whether FIN
        self._left = 0  # bytes of it that are still to come

    def feed(self, data: bytes) -> list[Frame]:
        """What is complete by now. A data frame comes out in pieces, as they arrive. Raises ProtocolError."""
        self._rest += data
        frames: list[Frame] = []
        while True:
            if self._data is not None:
                if self._left and not self._rest:
                    return frames
                frames.append(self._piece(*self._data))
                continue
            if len(self._rest) < 8:
                return frames
            first, second = struct.unpack_from("!II", self._rest)
            flags, length = second >> 24, second & 0xFFFFFF
            if not first >> 31:
                del self._rest[:8]
                self._data, self._left = (first, bool(flags & _FIN)), length
                continue
            if first >> 16 != 0x8003:
                raise ProtocolError(f"version {first >> 16 & 0x7FFF} of SPDY is not spoken here")
            if length > MAX_CONTROL:
                raise ProtocolError(f"a control frame of {length} bytes is too large")
            if len(self._rest) < 8 + length:
                return frames
            payload = bytes(self._rest[8 : 8 + length])
            del self._rest[: 8 + length]
            try:
                frame = self._control(first & 0xFFFF, flags, payload)
            except (struct.error, zlib.error, UnicodeDecodeError) as error:
                raise ProtocolError(f"a malformed control frame of type {first & 0xFFFF}: {error}") from None
            if frame is not None:
                frames.append(frame)

    def _piece(self, stream: int, fin: bool) -> Data:
        piece = bytes(self._rest[: self._left])
        del self._rest[: self._left]
        self._left -= len(piece)
        if self._left:
            return Data(stream, piece)
        self._data = None
        return Data(stream, piece, fin)

    def _control(self, type: int, flags: int, payload: bytes) -> Frame | None:
        fin = bool(flags & _FIN)
        match type:
            case 1:  # SYN_STREAM
                stream, associated, priority, _ = struct.unpack_from("!IIBB", payload)
                headers = self._headers(payload[10:])
                return SynStream(stream, headers, fin, bool(flags & _UNIDIRECTIONAL), associated, priority >> 5)
            case 2 | 8:  # SYN_REPLY, HEADERS
                (stream,) = struct.unpack_from("!I", payload)
                return (SynReply if type == _SYN_REPLY else Headers)(stream, self._headers(payload[4:]), fin)
            case 3:  # RST_STREAM
                return RstStream(*struct.unpack("!II", payload))
            case 4:  # SETTINGS
                (count,) = struct.unpack_from("!I", payload)
                pairs = (struct.unpack_from("!II", payload, 4 + 8 * at) for at in range(min(count, len(payload))))
                return Settings({id & 0xFFFFFF: value for id, value in pairs})
            case 6:  # PING
                return Ping(*struct.unpack("!I", payload))
            case 7:  # GOAWAY
                return GoAway(*struct.unpack("!II", payload))
            case 9:  # WINDOW_UPDATE
                return WindowUpdate(*struct.unpack("!II", payload))
            case _:
                return None  # a later version's: to be passed over

    def _headers(self, block: bytes) -> dict[str, str]:
        data = self._inflate.decompress(block, MAX_HEADERS)
        if self._inflate.unconsumed_tail:
            raise ProtocolError("the headers are too large")
        (count,) = struct.unpack_from("!I", data)
        at, texts = 4, []
        for _ in range(2 * min(count, len(data))):
            (length,) = struct.unpack_from("!I", data, at)
            if at + 4 + length > len(data):
                raise ProtocolError("the headers end in the middle of a word")
            texts.append(data[at + 4 : at + 4 + length].decode())
            at += 4 + length
        return dict(zip(texts[::2], texts[1::2], strict=True))
