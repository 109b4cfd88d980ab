"""The gRPC connection to etcd's members: which one a call goes to, how long it may take, what its errors mean.

One channel a member, opened when the first call is made (grpc.aio binds itself to the running event loop). Calls go
to one member until it fails; then to whichever is connected first. A call made while none is connected waits, until
its deadline, so that a restart of etcd is a pause and not an error; once etcd has been away for longer than that, calls
fail soon, so that whoever tries again and again does not wait each time. A request is sent a second time only if it
changes nothing: after a lost connection nobody knows what became of a write.

No exception of gRPC leaves this module: a caller sees what kube/store/store.py declares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
from aetcd import rpc

from kube.store.store import Compacted, LeaseNotFound, TooLarge, Unavailable

OPTIONS = [
    # A range or a watch of thousands of pods is far larger than gRPC's 4 MiB.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A dead peer is noticed within 10 s. etcd takes a client for hostile that pings more often than every 5 s, or
    # while no call is open (--grpc-keepalive-min-time).
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 4000),
    ("grpc.http2.ping_timeout_ms", 4000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    # An etcd that is back is found within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
    # etcd is local; a proxy that the environment names is for the world outside.
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
]

PAUSE = 0.05
"""Seconds before a request is sent again."""

GRACE = 0.5
"""Seconds that a call waits for an etcd that has been away for longer than the timeout."""

READY = grpc.ChannelConnectivity.READY
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class Member:
    """One member's channel, and the calls that the store makes over it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        kv = rpc.KVStub(self.channel)
        self.range = kv.Range
        self.txn = kv.Txn
        self.compact = kv.Compact
        self.grant = rpc.LeaseStub(self.channel).LeaseGrant
        self.watch = rpc.WatchStub(self.channel).Watch


Method = Callable[[Member], Any]
RANGE: Method = attrgetter("range")
TXN: Method = attrgetter("txn")
COMPACT: Method = attrgetter("compact")
GRANT: Method = attrgetter("grant")


class Connection:
    """etcd, whichever of its members answers."""

    def __init__(
        self, endpoints: Sequence[str], *, timeout: float, ca: str = "", cert: str = "", key: str = ""
    ) -> None:
        if not endpoints:
            raise ValueError("no etcd endpoint is given")
        self._targets = [_target(endpoint) for endpoint in endpoints]
        self.timeout = timeout
        self.closed = False
        self._endpoints = list(endpoints)
        self._root, self._chain, self._key = (Path(name).read_bytes() if name else None for name in (ca, cert, key))
        self._members: list[Member] = []
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
        while True:
            member = await self.member(deadline)
            try:
                return await method(member)(request, timeout=deadline - loop.time())
            except grpc.aio.AioRpcError as error:
                failure = self.failure(error)
                if error.code() in (UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    self.avoid(member)
                # The member is gone, or is there and refuses (it has no leader, say): do not spin.
                if not repeatable or error.code() is not UNAVAILABLE or loop.time() + PAUSE >= deadline:
                    raise failure from None
            except asyncio.CancelledError:
                self.raise_if_closed()
                raise
            await asyncio.sleep(PAUSE)

    async def member(self, deadline: float) -> Member:
        """A member that is connected. Raises Unavailable when there is none by the deadline."""
        current = self._current
        if current is not None and current.channel.get_state() is READY:
            return current
        if self.closed:
            raise Unavailable(f"{self}: the connection is closed")
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
            raise Unavailable(f"{self}: no connection for {away:.1f} s{await self._reason()}") from None
        except asyncio.CancelledError:
            self.raise_if_closed()
            raise

    async def _connect(self) -> Member:
        """Wait for the first member that is connected, those behind the last used one first, and use it from now on."""
        if not self._members:
            self._members = [Member(self._channel(*target)) for target in self._targets]
        waiting = {asyncio.create_task(_connected(member)): member for member in self._members}
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        self._current = next(member for task, member in waiting.items() if task in done)
        return self._current

    async def _reason(self) -> str:
        """Why there is no connection: a call that does not wait for one is told."""
        try:
            await self._members[0].range(rpc.RangeRequest(key=b"\0"), timeout=0.1)
        except grpc.aio.AioRpcError as error:
            if error.code() is UNAVAILABLE:
                return f": {(error.details() or '').rpartition('last error: ')[2]}"
        return ""

    def avoid(self, member: Member) -> None:
        """Prefer the other members from now on: this one failed."""
        if member is self._current:
            self._current = None
            self._members.remove(member)
            self._members.append(member)

    def _channel(self, target: str, secure: bool) -> grpc.aio.Channel:
        if not secure:
            return grpc.aio.insecure_channel(target, options=OPTIONS)
        credentials = grpc.ssl_channel_credentials(self._root, self._key, self._chain)
        return grpc.aio.secure_channel(target, credentials, options=OPTIONS)

    def raise_if_closed(self) -> None:
        """Turn the cancellation by which gRPC reports its own closing into Unavailable; a true one stays one."""
        task = asyncio.current_task()
        if self.closed and (task is None or not task.cancelling()):
            raise Unavailable(f"{self}: the connection is closed") from None

    def failure(self, error: grpc.aio.AioRpcError) -> Exception:
        """What an error of gRPC means in the store's words."""
        code, details = error.code(), error.details() or ""
        if code is grpc.StatusCode.OUT_OF_RANGE and "compacted" in details:
            return Compacted(0)
        if code is grpc.StatusCode.NOT_FOUND and "lease" in details:
            return LeaseNotFound(details)
        if "request is too large" in details or "message larger than max" in details:
            return TooLarge(details)
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return ValueError(details)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unavailable(f"{self}: no answer within {self.timeout:g} s")
        return Unavailable(f"{self}: {details or code.name}")

    async def close(self) -> None:
        """Break every call, and disconnect."""
        self.closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        for member in self._members:
            await member.channel.close(None)
        self._members, self._current = [], None


def _target(endpoint: str) -> tuple[str, bool]:
    """What gRPC calls an endpoint, and whether it is https. Raises ValueError."""
    try:
        url = urlsplit(endpoint)
        if url.scheme in ("http", "https") and url.hostname and not url.path.strip("/"):
            return f"{url.netloc}" if url.port else f"{url.netloc}:2379", url.scheme == "https"
    except ValueError:  # the port is none
        pass
    raise ValueError(f"etcd endpoint {endpoint!r}: must be http://host:port or https://host:port")


async def _connected(member: Member) -> None:
    await member.channel.channel_ready()
