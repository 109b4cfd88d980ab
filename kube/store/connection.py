"""The connection to etcd's members: which one a call goes to, how long it may take, what its errors mean.

Calls go to one member until it fails; then to whichever is connected first. A call made while none is connected waits,
until its deadline, so that a restart of etcd is a pause and not an error; once etcd has been away for longer than that,
calls fail soon, so that whoever tries again and again does not wait each time. A request is sent a second time only if
it changes nothing: after a lost connection nobody knows what became of a write.

No error of gRPC leaves this module: a caller sees what kube/store/store.py declares.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from kube.store import messages
from kube.store.calls import CallFailed, Status, Stream
from kube.store.http2 import Wire, request_head
from kube.store.store import Compacted, LeaseNotFound, TooLarge, Unavailable

PAUSE = 0.05
"""Seconds before a request is sent again."""

GRACE = 0.5
"""Seconds that a call waits for an etcd that has been away for longer than the timeout."""

CONNECT = 5.0
"""Seconds that an attempt to connect may take."""

FIRST_RETRY, LONGEST_RETRY = 0.1, 1.0
"""Seconds between attempts to connect: an etcd that is back is found within a second."""


class Method(NamedTuple):
    """A method of etcd's API."""

    path: str
    answer: Callable[[bytes], Any]
    """Reads an answer."""
    headers: dict[str, str] = {}


RANGE = Method("/etcdserverpb.KV/Range", messages.RangeResponse.FromString)
TXN = Method("/etcdserverpb.KV/Txn", messages.TxnResponse.FromString)
COMPACT = Method("/etcdserverpb.KV/Compact", messages.CompactionResponse.FromString)
GRANT = Method("/etcdserverpb.Lease/LeaseGrant", messages.LeaseGrantResponse.FromString)
# A member that lost its leader ends the stream, where it would otherwise be silent.
WATCH = Method("/etcdserverpb.Watch/Watch", messages.WatchResponse.FromString, {"hasleader": "true"})


class Endpoint(NamedTuple):
    """Where a member listens."""

    host: str
    port: int
    secure: bool

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Member:
    """One member, and the connection to it."""

    def __init__(self, endpoint: Endpoint, tls: ssl.SSLContext | None, timeout: float) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._timeout = timeout
        self._wire: Wire | None = None
        self._wires: set[Wire] = set()
        """That one, and those that carry their last calls."""
        self._heads: dict[str, bytes] = {}
        self.failure = ""
        """Why it could not be connected, when that was last tried."""

    @property
    def ready(self) -> bool:
        """Whether it is connected."""
        return self._wire is not None and self._wire.usable

    async def connect(self) -> None:
        """Be connected: try it, however often it takes."""
        delay = FIRST_RETRY
        while not self.ready:
            try:
                async with asyncio.timeout(CONNECT):
                    self._wire = await self._connected()
            except TimeoutError:
                self.failure = "no answer"
            except OSError as error:
                known = isinstance(error, ConnectionError) and error.errno
                self.failure = os.strerror(known) if known else str(error)
            else:
                return
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_RETRY)

    async def _connected(self) -> Wire:
        host, port, _ = self._endpoint
        _, wire = await asyncio.get_running_loop().create_connection(Wire, host, port, ssl=self._tls)
        self._wires.add(wire)
        wire.lost.add_done_callback(lambda _: self._wires.discard(wire))
        try:
            await wire.settled
        except BaseException:
            wire.close()
            raise
        return wire

    async def call(self, method: Method, request: bytes, deadline: float) -> bytes:
        """The answer to a request. Raises CallFailed."""
        return await self._connection().unary(self._head(method), request, deadline)

    async def stream(self, method: Method, request: bytes, deadline: float) -> Stream:
        """The answers to a request. Raises CallFailed."""
        return await self._connection().stream(self._head(method), request, deadline)

    def _connection(self) -> Wire:
        if self._wire is None:
            raise CallFailed(Status.UNAVAILABLE, "not connected")
        return self._wire

    def _head(self, method: Method) -> bytes:
        head = self._heads.get(method.path)
        if head is None:
            scheme = "https" if self._endpoint.secure else "http"
            headers = method.headers
            if method is not WATCH:
                headers = {"grpc-timeout": f"{self._timeout * 1000:.0f}m"}
            head = request_head(scheme, self._endpoint.authority, method.path, headers)
            self._heads[method.path] = head
        return head

    async def close(self) -> None:
        """Break every call, and disconnect."""
        wires = list(self._wires)
        for wire in wires:
            wire.close()
        await asyncio.gather(*(wire.lost for wire in wires))


class Connection:
    """etcd, whichever of its members answers."""

    def __init__(
        self, endpoints: Sequence[str], *, timeout: float, ca: str = "", cert: str = "", key: str = ""
    ) -> None:
        if not endpoints:
            raise ValueError("no etcd endpoint is given")
        parsed = [_endpoint(endpoint) for endpoint in endpoints]
        self.timeout = timeout
        self.closed = False
        self._endpoints = list(endpoints)
        tls = _tls(ca, cert, key) if ca or cert or any(each.secure for each in parsed) else None
        self._members = [Member(each, tls if each.secure else None, timeout) for each in parsed]
        self._current: Member | None = None
        self._connecting: asyncio.Task[Member] | None = None
        self._lost = 0.0
        """Loop time since when no member is connected, while that is so."""

    def __str__(self) -> str:
        return f"etcd at {','.join(self._endpoints)}"

    async def call(self, method: Method, request: Any, *, repeatable: bool) -> Any:
        """The answer to a request, within the timeout. `repeatable`: sending it twice does no harm (a read)."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout
        content = request.SerializeToString()
        while True:
            member = self._current
            if member is None or not member.ready:
                member = await self.member(deadline)
            try:
                return method.answer(await member.call(method, content, deadline))
            except CallFailed as error:
                failure = self.failure(error)
                if error.code in (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED):
                    self.avoid(member)
                # The member is gone, or is there and refuses (it has no leader, say): do not spin.
                if not repeatable or error.code != Status.UNAVAILABLE or loop.time() + PAUSE >= deadline:
                    raise failure from None
            await asyncio.sleep(PAUSE)

    async def member(self, deadline: float) -> Member:
        """A member that is connected. Raises Unavailable when there is none by the deadline."""
        current = self._current
        if current is not None and current.ready:
            return current
        self._raise_if_closed()
        now = asyncio.get_running_loop().time()
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect(), name=f"connect to {self}")
            self._lost = now
        elif now - self._lost > self.timeout:
            deadline = min(deadline, now + GRACE)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(self._connecting)
        except TimeoutError:
            away = asyncio.get_running_loop().time() - self._lost
            why = next((f": {member.failure}" for member in self._members if member.failure), "")
            raise Unavailable(f"{self}: no connection for {away:.1f} s{why}") from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                self._raise_if_closed()  # and that was what cancelled it
            raise

    async def _connect(self) -> Member:
        """Wait for the first member that is connected, those behind the last used one first, and use it from now on."""
        waiting = {asyncio.create_task(member.connect()): member for member in self._members}
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        self._current = next(member for task, member in waiting.items() if task in done)
        return self._current

    def avoid(self, member: Member) -> None:
        """Prefer the other members from now on: this one failed."""
        if member is self._current:
            self._current = None
            self._members.remove(member)
            self._members.append(member)

    def _raise_if_closed(self) -> None:
        if self.closed:
            raise Unavailable(f"{self}: the connection is closed") from None

    def failure(self, error: CallFailed) -> Exception:
        """What an error of gRPC means in the store's words."""
        code, details = error.code, error.details
        if code == Status.OUT_OF_RANGE and "compacted" in details:
            return Compacted(0)
        if code == Status.NOT_FOUND and "lease" in details:
            return LeaseNotFound(details)
        if "request is too large" in details or "message larger than max" in details:
            return TooLarge(details)
        if code == Status.INVALID_ARGUMENT:
            return ValueError(details)
        if code == Status.DEADLINE_EXCEEDED:
            return Unavailable(f"{self}: no answer within {self.timeout:g} s")
        return Unavailable(f"{self}: {details or f'gRPC status {code}'}")

    async def close(self) -> None:
        """Break every call, and disconnect."""
        self.closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        for member in self._members:
            await member.close()
        self._current = None
        await asyncio.sleep(0)  # for a connection that was being made


def _tls(ca: str, cert: str, key: str) -> ssl.SSLContext:
    """What https needs. Raises OSError for a file that cannot be read, or holds something else."""
    for name in filter(None, (ca, cert, key)):
        Path(name).open().close()  # its error names the file, which that of OpenSSL does not
    context = ssl.create_default_context(cafile=ca or None)
    if cert:
        context.load_cert_chain(cert, key or None)
    context.set_alpn_protocols(["h2"])
    return context


def _endpoint(endpoint: str) -> Endpoint:
    """An endpoint, read. Raises ValueError."""
    with contextlib.suppress(ValueError):  # the port is none
        url = urlsplit(endpoint)
        if url.scheme in ("http", "https") and url.hostname and not url.path.strip("/"):
            return Endpoint(url.hostname, url.port or 2379, url.scheme == "https")
    raise ValueError(f"etcd endpoint {endpoint!r}: must be http://host:port or https://host:port")
