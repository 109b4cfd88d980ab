"""Forwarding UDP: a socket for a service port, and a session for each client address.

A session is a socket of its own, connected to one backend: what the client sends goes there, what the backend sends
goes back to the client. It ends when nothing has passed for `--udp-timeout`, or its backend goes. A backend that
refuses before it has answered anything is passed over, and the datagram goes to the next.

Answers leave from the very address at which the client's datagram arrived (IP_PKTINFO): after REDIRECT that is one of
several, and the kernel would otherwise choose another, which connection tracking does not know.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct

from kube.proxy import metrics
from kube.proxy.roundrobin import RoundRobin
from kube.proxy.services import Backend, ServicePortName

log = logging.getLogger(__name__)

DATAGRAMS = 64
"""Datagrams taken in one turn of the loop, so that others have their turn."""
MAX_DATAGRAM = 65535

_IP_PKTINFO = 8  # linux/in.h; the module socket does not name it before Python 3.14
_PKTINFO = struct.Struct("=i4s4s")  # interface index, local address to answer from, address in the header

Address = tuple[str, int]


class UDPPortal:
    """Takes the datagrams of one service port and forwards each client's to a backend."""

    def __init__(self, name: ServicePortName, sock: socket.socket, balancer: RoundRobin, timeout: float) -> None:
        self.name = name
        self.port: int = sock.getsockname()[1]
        self.balancer = balancer
        self.timeout = timeout
        self._sock = sock
        self._sessions: dict[Address, _Session] = {}
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        asyncio.get_running_loop().add_reader(sock, self._readable)

    def backends_changed(self) -> None:
        """End the sessions of backends that went: their clients' next datagrams go elsewhere."""
        present = set(self.balancer.backends(self.name))
        for session in [session for session in self._sessions.values() if session.backend not in present]:
            session.close()

    def close(self) -> None:
        """Stop listening, and end all sessions."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()
        for session in tuple(self._sessions.values()):
            session.close()

    def answer(self, data: memoryview, client: Address, local: bytes) -> None:
        """Send a datagram to a client, from the address that it had sent to."""
        source = (socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, local, bytes(4)))
        try:
            self._sock.sendmsg([data], [source], 0, client)
        except OSError as error:  # as the network would, lose it
            log.debug("%s: answer to %s:%d is lost: %s", self.name, *client, error)

    def forget(self, session: _Session) -> None:
        """The session has ended."""
        if self._sessions.get(session.client) is session:
            del self._sessions[session.client]

    def _readable(self) -> None:
        for _ in range(DATAGRAMS):
            try:
                size, ancillary, _flags, client = self._sock.recvmsg_into([_scratch], socket.CMSG_SPACE(_PKTINFO.size))
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.debug("%s: %s", self.name, error)
                return
            local = next(
                (_PKTINFO.unpack(data)[1] for level, kind, data in ancillary if (level, kind) == (0, _IP_PKTINFO)),
                bytes(4),
            )
            session = self._sessions.get(client)
            if session is not None and session.local != local:
                session.close()
                session = None
            if session is None:
                session = _Session(self, client, local)
                self._sessions[client] = session
            session.send(_scratch[:size])


class _Session:
    """One client's exchange with one backend."""

    __slots__ = ("_answered", "_last", "_loop", "_open", "_pending", "_portal", "_sock", "_timer", "_tried", "backend",
                 "client", "local")  # fmt: skip

    def __init__(self, portal: UDPPortal, client: Address, local: bytes) -> None:
        self.client = client
        self.local = local
        self.backend: Backend | None = None
        self._portal = portal
        self._loop = asyncio.get_running_loop()
        self._sock: socket.socket | None = None
        self._open = True
        self._answered = False
        self._pending = b""
        """The last datagram, while no answer has come: it may have to go to another backend."""
        self._tried: set[Backend] = set()
        self._last = self._loop.time()
        self._timer = self._loop.call_at(self._last + portal.timeout, self._expire)
        metrics.ACCEPTED.labels("udp").inc()
        metrics.CONNECTIONS.labels("udp").inc()

    def send(self, data: memoryview | bytes) -> None:
        """Pass a datagram on to the backend; it is lost if no backend takes it."""
        self._last = self._loop.time()
        if not self._answered:
            self._pending = bytes(data)
        while self._sock is not None or self._connect():
            assert self._sock is not None
            try:
                self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                pass  # as the network would, lose it
            except OSError as error:
                self._fail(error)
                continue
            return
        metrics.NO_BACKEND.labels("udp").inc()
        self.close()

    def close(self) -> None:
        """End the session."""
        if self._open:
            self._open = False
            self._timer.cancel()
            self._disconnect()
            metrics.CONNECTIONS.labels("udp").dec()
            self._portal.forget(self)

    def _connect(self) -> bool:
        portal = self._portal
        while backend := portal.balancer.next(portal.name, self.client[0], self._loop.time(), avoid=self._tried):
            self.backend = backend
            sock = None
            try:
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
                sock.connect(backend)
            except OSError as error:
                if sock is not None:
                    sock.close()
                self._fail(error)
                continue
            self._sock = sock
            self._loop.add_reader(sock, self._readable)
            return True
        return False

    def _disconnect(self) -> None:
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def _fail(self, error: OSError) -> None:
        """The backend refuses: leave it."""
        metrics.DIAL_FAILURES.labels("udp").inc()
        log.debug("%s: backend %s: %s", self._portal.name, self.backend, error)
        if self.backend is not None:
            self._tried.add(self.backend)
        self._answered = False
        self._disconnect()

    def _readable(self) -> None:
        for _ in range(DATAGRAMS):
            if self._sock is None:
                return
            try:
                size = self._sock.recv_into(_scratch)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                again = b"" if self._answered else self._pending
                self._fail(error)
                if again:
                    self.send(again)
                else:
                    self.close()
                return
            self._answered, self._pending = True, b""
            self._tried.clear()
            self._last = self._loop.time()
            self._portal.answer(_scratch[:size], self.client, self.local)

    def _expire(self) -> None:
        due = self._last + self._portal.timeout
        if self._loop.time() >= due:
            self.close()
        else:
            self._timer = self._loop.call_at(due, self._expire)


_scratch = memoryview(bytearray(MAX_DATAGRAM))
"""Where a datagram is between one socket and the other. One for all: a loop's callbacks never overlap."""
