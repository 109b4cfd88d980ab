"""Forwarding TCP: a listener for a service port, and a relay for each of its connections.

The client's connection is accepted, a backend is dialled, and bytes are handed over both ways until both ends are
done. A side that has said all it has to say (FIN) has that passed on, and may go on listening. A side that breaks
breaks the other too, by a reset: never is a cut answer made to look like a whole one.

A backend that refuses or does not answer is passed over for the next one. Kubernetes' proxy tries four in all; ours
tries each backend in every round, so that one that lives is found among many that do not.

Sockets are driven directly by the loop's readiness callbacks: a relay needs no task and no buffer while it is idle.
What is long is not copied: after the first few chunks, the kernel moves the bytes through a pipe (splice).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import socket
import struct
from collections.abc import Callable

from kube.proxy import metrics
from kube.proxy.roundrobin import RoundRobin
from kube.proxy.services import Backend, ServicePortName

log = logging.getLogger(__name__)

DIAL_TIMEOUTS = (0.25, 0.5, 1.0, 2.0)
"""Seconds a backend has to answer, round by round (pkg/proxy/userspace: EndpointDialTimeouts)."""
DIAL_DEADLINE = 10.0
"""Seconds after which no further backend is tried."""
BACKLOG = 1024
ACCEPTS = 64
"""Connections taken in one turn of the loop, so that others have their turn."""
CHUNK = 256 * 1024
BULK = 512 * 1024
"""Bytes one way after which a pipe pays off: it takes two file descriptors and some system calls to make."""
PIPE = 1024 * 1024
"""Bytes that a pipe is to hold; what the kernel gives to anybody (fs.pipe-max-size)."""

_RESET = struct.pack("ii", 1, 0)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class TCPPortal:
    """Listens for one service port and forwards each connection to a backend."""

    def __init__(self, name: ServicePortName, listener: socket.socket, balancer: RoundRobin) -> None:
        self.name = name
        self.port: int = listener.getsockname()[1]
        self._listener = listener
        self._balancer = balancer
        self._loop = asyncio.get_running_loop()
        self._dials: set[asyncio.Task[None]] = set()
        self._relays: set[Relay] = set()
        listener.listen(BACKLOG)
        self._loop.add_reader(listener, self._accept)

    def backends_changed(self) -> None:
        """Established connections stay with their backend, whatever becomes of the endpoints."""

    def close(self) -> None:
        """Stop listening, and reset all connections."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for task in self._dials:
            task.cancel()
        for relay in tuple(self._relays):
            relay.abort()

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            try:
                client, (address, _port) = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    log.debug("%s: a connection broke before it was accepted: %s", self.name, error)
                    return
                log.warning("%s: cannot accept: %s; trying again in a second", self.name, error)
                self._loop.remove_reader(self._listener)
                self._loop.call_later(1.0, self._resume)
                return
            metrics.ACCEPTED.labels("tcp").inc()
            task = self._loop.create_task(self._connect(client, address))
            self._dials.add(task)
            task.add_done_callback(self._dials.discard)

    def _resume(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    async def _connect(self, client: socket.socket, address: str) -> None:
        backend: socket.socket | None = None
        try:
            _prepare(client)
            backend = await dial(self._balancer, self.name, address)
        finally:
            if backend is None:
                _reset(client)
        if backend is None:
            metrics.NO_BACKEND.labels("tcp").inc()
            return
        relay = Relay(client, backend, self._relays.discard)
        self._relays.add(relay)


async def dial(balancer: RoundRobin, name: ServicePortName, client: str) -> socket.socket | None:
    """A connection to the backend whose turn it is, or to the next that takes one; None if none does."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    for timeout in DIAL_TIMEOUTS:
        tried: set[Backend] = set()
        while loop.time() - started < DIAL_DEADLINE:
            backend = balancer.next(name, client, loop.time(), avoid=tried)
            if backend is None:
                break
            try:
                return await _dial(backend, timeout)
            except OSError as error:  # TimeoutError is one
                metrics.DIAL_FAILURES.labels("tcp").inc()
                log.debug("%s: backend %s: %s; trying the next", name, backend, str(error) or "no answer")
                tried.add(backend)
        if not tried:
            return None
    log.warning("%s: no backend takes a connection of %s", name, client)
    return None


async def _dial(backend: Backend, timeout: float) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _prepare(sock)
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().sock_connect(sock, backend)
    except BaseException:
        sock.close()
        raise
    return sock


class Relay:
    """Two connections joined. Owns both sockets; calls `done` once, when they are closed."""

    __slots__ = ("_done", "_open", "_pumps")

    def __init__(self, client: socket.socket, backend: socket.socket, done: Callable[[Relay], None]) -> None:
        self._done = done
        self._open = True
        self._pumps = (_Pump(self, client, backend), _Pump(self, backend, client))
        metrics.CONNECTIONS.labels("tcp").inc()

    def pump_done(self) -> None:
        """One way is finished: when both are, so is the relay."""
        if all(pump.finished for pump in self._pumps):
            self._close()

    def abort(self) -> None:
        """Reset both connections."""
        if self._open:
            for pump in self._pumps:
                pump.stop()
                pump.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._close()

    def _close(self) -> None:
        self._open = False
        for pump in self._pumps:
            pump.close()
        metrics.CONNECTIONS.labels("tcp").dec()
        self._done(self)


class _Pump:
    """One way of a relay: reads when the source has something, and not while the sink is full."""

    __slots__ = ("_in_pipe", "_loop", "_passed", "_pipe", "_relay", "_rest", "finished", "sink", "source")

    def __init__(self, relay: Relay, source: socket.socket, sink: socket.socket) -> None:
        self._relay = relay
        self.source = source
        self.sink = sink
        self._rest = memoryview(b"")
        """Read and not yet written; while there is any, nothing more is read."""
        self._passed = 0
        """Bytes that were copied, until there are enough for a pipe."""
        self._pipe: tuple[int, int] | None = None
        """Where the kernel moves bytes through: read end, write end."""
        self._in_pipe = 0
        """Bytes in it; as for `_rest`."""
        self.finished = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(source, self._readable)

    def stop(self) -> None:
        """Do nothing more."""
        self._loop.remove_reader(self.source)
        self._loop.remove_writer(self.sink)

    def close(self) -> None:
        """Give back what it holds, the source among it."""
        self.source.close()
        if self._pipe is not None:
            for end in self._pipe:
                os.close(end)
            self._pipe = None

    def _readable(self) -> None:
        try:
            size = self._take()
            if size and not self._give():
                self._loop.remove_reader(self.source)
                self._loop.add_writer(self.sink, self._writable)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._relay.abort()
            return
        if not size:
            self._finish()

    def _writable(self) -> None:
        try:
            done = self._give()
        except OSError:
            self._relay.abort()
            return
        if done:
            self._loop.remove_writer(self.sink)
            self._loop.add_reader(self.source, self._readable)

    def _take(self) -> int:
        """Bytes that came from the source; 0: its end. Raises OSError."""
        if self._pipe is None:
            size = self.source.recv_into(_scratch)
            self._rest = _scratch[:size]
            self._passed += size
            if self._passed >= BULK:
                self._pipe = _open_pipe()
                self._passed = 0
            return size
        self._in_pipe = os.splice(self.source.fileno(), self._pipe[1], PIPE, flags=_SPLICE)
        return self._in_pipe

    def _give(self) -> bool:
        """Hand the sink what it takes; whether that was all. Raises OSError, but for a sink that is full."""
        try:
            if self._rest:
                self._rest = self._rest[self.sink.send(self._rest) :]
            while self._in_pipe and self._pipe is not None and not self._rest:
                self._in_pipe -= os.splice(self._pipe[0], self.sink.fileno(), self._in_pipe, flags=_SPLICE)
        except (BlockingIOError, InterruptedError):
            pass
        if self._rest and self._rest.obj is _scratch.obj:
            self._rest = memoryview(bytes(self._rest))  # the next relay needs the place
        return not (self._rest or self._in_pipe)

    def _finish(self) -> None:
        """The source has said all: say so to the sink, which may go on answering."""
        self._loop.remove_reader(self.source)
        self.finished = True
        try:
            self.sink.shutdown(socket.SHUT_WR)
        except OSError:
            self._relay.abort()
            return
        self._relay.pump_done()


_SPLICE = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


def _open_pipe() -> tuple[int, int] | None:
    """A pipe; None if there are no more file descriptors: then bytes are copied as before."""
    try:
        ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with contextlib.suppress(OSError):  # many of them: the kernel gives less
        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PIPE)
    return ends


_scratch = memoryview(bytearray(CHUNK))
"""Where bytes are between one socket and the other. One for all relays: a loop's callbacks never overlap."""


def _prepare(sock: socket.socket) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A peer that vanished without a word is noticed, and its connection given up, within minutes.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)


def _reset(sock: socket.socket) -> None:
    """Close so that the peer sees a failure, and not an empty answer."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
