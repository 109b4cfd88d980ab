"""What speaks HTTP on the apiserver's connections: uvicorn's protocol, which can also answer in one go.

By ASGI an answer is two messages, its head and its body, each of which is looked at, put together and written. Most
answers are a status, a media type and some bytes: those are one write (and one record of TLS), at a fifth of the cost.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from kube.apiserver.asgi import Scope
from kube.apiserver.upgrade import UpgradeProtocol

EXTENSION = "kube.whole"

Whole = Callable[[int, str, bytes], bool]
"""Answer with a status, a media type and a body; False: it has to be done by ASGI's messages."""


def whole_of(scope: Scope) -> Whole | None:
    """How to answer in one go, if the server can."""
    return (scope.get("extensions") or {}).get(EXTENSION)


class HttpProtocol(UpgradeProtocol):
    """uvicorn's HTTP/1.1, with a way out of it, and a short way through it."""

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        cycle = self.cycle
        if cycle is not None and cycle.scope is self.scope and "extensions" not in self.scope:
            scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # a TypedDict, to which we add
            scope["extensions"] = {EXTENSION: partial(self._answer, cycle)}

    def _answer(self, cycle: RequestResponseCycle, status: int, media_type: str, body: bytes) -> bool:
        if (cycle.response_started or not cycle.keep_alive or self.flow.write_paused
                or cycle.scope["method"] == "HEAD"):  # fmt: skip
            return False
        if cycle.disconnected:
            return True
        cycle.response_started = cycle.response_complete = True
        every = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
        self.transport.write(b"%s%scontent-length: %d\r\n\r\n%s" % (_head(status, media_type), every, len(body), body))
        cycle.message_event.set()
        cycle.on_response()
        return True


@lru_cache(maxsize=1000)
def _head(status: int, media_type: str) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {media_type}\r\n".encode("latin-1")
