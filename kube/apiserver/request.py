"""What a request asks for, read off its path and query: Kubernetes' RequestInfo, as a pure function.

    /api/v1/namespaces/default/pods/web/log
         └─┬┘            └──┬──┘└┬─┘└┬┘└┬┘
        version         namespace │ name subresource
                                resource

(apiserver/pkg/endpoints/request/requestinfo.go)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import parse_qs, unquote

from kube.api import errors
from kube.apiserver.upgrade import Tunnel, Upgrade


@dataclass(frozen=True, slots=True)
class Target:
    """The object or collection that a path names."""

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    """What follows the subresource: the path to proxy to."""
    watch: bool = False
    """The path is one of the old `/api/v1/watch/…`."""


@lru_cache(maxsize=1000)
def parse_path(path: str) -> Target | None:
    """The target of a path below /api/<version> or /apis/<group>/<version>; None if it names no resource."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    watch = rest[0] == "watch" and len(rest) > 1
    if watch:
        rest = rest[1:]
    namespace = ""
    # /namespaces/<name> is a namespace itself, and so are its status and finalize; anything else behind is in it.
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource, *more = [*rest, "", ""][: max(3, len(rest))]
    if not plural or (namespace == "" and rest[0] == "namespaces" and len(rest) > 1 and not name):
        return None
    return Target(group, version, plural, namespace, name, subresource, "/".join(more), watch)


class Query:
    """A request's parameters; each is read with its type, and a value that is not of it is a 400."""

    __slots__ = ("_values",)

    def __init__(self, query_string: bytes) -> None:
        self._values = parse_qs(query_string.decode("latin-1"), keep_blank_values=True) if query_string else {}

    def text(self, name: str, default: str = "") -> str:
        values = self._values.get(name)
        return values[0] if values else default

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def flag(self, name: str) -> bool:
        """As Go's ParseBool; a parameter without a value is true."""
        values = self._values.get(name)
        if not values:
            return False
        if values[0] in ("", "1", "t", "T", "true", "TRUE", "True"):
            return True
        if values[0] in ("0", "f", "F", "false", "FALSE", "False"):
            return False
        raise errors.BadRequest(f'strconv.ParseBool: parsing "{values[0]}": invalid syntax')

    def integer(self, name: str) -> int | None:
        values = self._values.get(name)
        if not values or not values[0]:
            return None
        try:
            number = int(values[0])
        except ValueError:
            raise errors.BadRequest(f'strconv.ParseInt: parsing "{values[0]}": invalid syntax') from None
        if not -(2**63) <= number < 2**63:
            raise errors.BadRequest(f'strconv.ParseInt: parsing "{values[0]}": value out of range')
        return number

    def items(self) -> Mapping[str, list[str]]:
        return self._values


@dataclass(slots=True)
class Request:
    """One request, as the handlers see it."""

    method: str
    path: str
    target: Target
    query: Query
    headers: Mapping[bytes, bytes]
    body: bytes = b""
    upgrade: Upgrade | None = None
    """The client asks to give the connection up for another protocol, and the server can."""

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def content_type(self) -> str:
        """The body's media type, without parameters."""
        return self.header(b"content-type").partition(";")[0].strip().lower()


JSON = "application/json"

CHUNK = 256 * 1024
"""Bytes of a large body that are sent at once, about."""


@dataclass(frozen=True, slots=True)
class Large:
    """A body of many parts, which is nowhere in memory as a whole: between a head and a tail, with commas."""

    head: bytes
    parts: Sequence[bytes]
    tail: bytes

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.head) + sum(map(len, self.parts)) + max(len(self.parts) - 1, 0) + len(self.tail)

    def chunks(self) -> Iterator[bytes]:
        """It, a piece at a time."""
        # So many parts as make a chunk on average: to look at each of them takes longer than to copy it.
        step = max(1, CHUNK * len(self.parts) // self.size)
        yield self.head
        for at in range(0, len(self.parts), step):
            yield from _joined(self.parts[at : at + step], first=not at)
        yield self.tail


def _joined(parts: Sequence[bytes], *, first: bool) -> Iterator[bytes]:
    if len(parts) > 1 and sum(map(len, parts)) > 4 * CHUNK:
        middle = len(parts) // 2
        yield from _joined(parts[:middle], first=first)
        yield from _joined(parts[middle:], first=False)
    else:
        # A comma before it, too, if there is something before it.
        yield b",".join(parts if first else [b"", *parts])


@dataclass(slots=True)
class Response:
    """An answer: a whole body, a stream of chunks, or no HTTP any more."""

    body: bytes = b""
    status: int = 200
    content_type: str = JSON
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    large: Large | None = None
    """A large body, instead of `body`."""
    stream: AsyncGenerator[bytes, None] | None = None
    tunnel: Tunnel | None = None
    """The connection is carried on to another server from here on."""

    @property
    def plain(self) -> bool:
        """There is nothing to it but status, media type and body."""
        return self.stream is None and self.tunnel is None and self.large is None and not self.headers
