"""Forwarding over real sockets on loopback: what clients of a service see."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import cast

import pytest

from kube.proxy import tcp
from kube.proxy.roundrobin import RoundRobin
from kube.proxy.services import Backend, ServicePort, ServicePortName
from kube.proxy.userspace import Listeners

WEB = ServicePort(ServicePortName("default", "web"), "10.96.0.9", 80)
DNS = ServicePort(ServicePortName("default", "dns"), "10.96.0.10", 53, "UDP")
UDP_TIMEOUT = 0.2

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Node:
    """A proxy without rules: clients are brought to its local ports by hand."""

    def __init__(self) -> None:
        self.balancer = RoundRobin()
        self.listeners = Listeners(self.balancer, bind_address=IPv4Address("127.0.0.1"), udp_timeout=UDP_TIMEOUT)

    def serve(self, service: ServicePort, *backends: Backend) -> int:
        """Have a service port; the local port it is served at."""
        self.balancer.set_affinity(service.name, service.affinity_seconds)
        self.balancer.set_backends(service.name, backends)
        self.listeners.open([service], {})
        self.listeners.backends_changed(service.name)
        return self.listeners.local_port(service)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    yield node
    node.listeners.close_others(())


@contextlib.asynccontextmanager
async def pod(serve: Serve) -> AsyncIterator[Backend]:
    """A backend that treats its connections so."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield Backend(*server.sockets[0].getsockname())
    finally:
        server.close()


def saying(name: str) -> Serve:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name.encode())

    return serve


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@contextlib.contextmanager
def refusing() -> Iterator[Backend]:
    """An address at which connections are refused: bound, so that nobody else gets it, and not listening."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield Backend(*sock.getsockname())


async def ask(port: int) -> str:
    """What a connection that says nothing is told."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return (await reader.read()).decode()
    finally:
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_connections_go_round_the_backends(node: Node) -> None:
    async with pod(saying("a")) as a, pod(saying("b")) as b, pod(saying("c")) as c:
        port = node.serve(WEB, a, b, c)
        assert [await ask(port) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


async def test_a_backend_that_refuses_is_not_shown_to_the_client(node: Node) -> None:
    async with pod(saying("a")) as a, pod(saying("b")) as b:
        with refusing() as dead, refusing() as dead_too:
            port = node.serve(WEB, dead, a, dead_too, b)
            assert [await ask(port) for _ in range(6)] == ["a", "b", "a", "b", "a", "b"]


async def test_one_that_lives_is_found_among_many_that_refuse(node: Node) -> None:
    async with pod(saying("alive")) as alive:
        with contextlib.ExitStack() as stack:
            dead = [stack.enter_context(refusing()) for _ in range(20)]
            port = node.serve(WEB, *dead, alive)
            assert [await ask(port) for _ in range(3)] == ["alive"] * 3


async def test_a_backend_that_does_not_answer_is_passed_over(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "DIAL_TIMEOUTS", (0.05,))
    async with pod(saying("a")) as a:
        with socket.socket() as full, contextlib.ExitStack() as stack:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for _ in range(4):  # more than its backlog holds: further connections get no answer
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
            port = node.serve(WEB, Backend(*full.getsockname()), a)
            assert await ask(port) == "a"


async def test_when_all_refuse_the_client_is_reset_and_not_answered_emptily(node: Node) -> None:
    with refusing() as dead:
        port = node.serve(WEB, dead)
        with pytest.raises(ConnectionResetError):
            await ask(port)


async def test_a_client_that_has_said_all_still_gets_its_answer(node: Node) -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d" % len(await reader.read()))

    async with pod(count) as backend:
        port = node.serve(WEB, backend)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * 1000)
        writer.write_eof()
        assert await reader.read() == b"1000"
        writer.close()


async def test_a_backend_that_has_said_all_still_hears_the_client(node: Node) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"go on")
        writer.write_eof()
        heard.set_result(await reader.read())

    async with pod(listen) as backend:
        port = node.serve(WEB, backend)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"go on"
        writer.write(b"and on")
        writer.close()
        assert await heard == b"and on"


async def test_much_goes_both_ways_at_once_unchanged(node: Node) -> None:
    payload = bytes(range(256)) * 32768  # 8 MiB
    async with pod(echo) as backend:
        port = node.serve(WEB, backend)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def send() -> None:
            writer.write(payload)
            await writer.drain()
            writer.write_eof()

        _, received = await asyncio.gather(send(), reader.read())
        assert received == payload
        writer.close()


async def test_a_reader_that_pauses_stops_the_writer_and_loses_nothing(node: Node) -> None:
    sent = 0
    block = b"x" * 65536

    async def pour(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < 1024 * len(block):
            writer.write(block)
            sent += len(block)
            await writer.drain()

    async with pod(pour) as backend:
        port = node.serve(WEB, backend)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        stalled = -1
        async with asyncio.timeout(10):
            while stalled != sent:  # nobody reads: the backend must come to a stop
                stalled = sent
                await asyncio.sleep(0.1)
        assert sent < 1024 * len(block)
        total = 0
        while data := await reader.read(1 << 20):
            total += len(data)
        assert total == 1024 * len(block)
        writer.close()


async def test_a_backend_that_breaks_mid_answer_resets_that_connection_only(node: Node) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"half")
        await reader.readexactly(1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with pod(break_off) as breaking, pod(echo) as other:
        port = node.serve(WEB, breaking, other)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.readexactly(4) == b"half"
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
        other_writer.write(b"hello")
        assert await other_reader.readexactly(5) == b"hello"

        writer.write(b"!")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        other_writer.write(b"again")
        assert await other_reader.readexactly(5) == b"again"
        writer.close()
        other_writer.close()


async def test_a_client_that_breaks_off_is_told_to_the_backend(node: Node) -> None:
    broken = asyncio.get_running_loop().create_future()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        try:
            await reader.read()
        except ConnectionResetError as error:
            broken.set_result(error)

    async with pod(wait) as backend:
        port = node.serve(WEB, backend)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.readexactly(5) == b"hello"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        assert isinstance(await asyncio.wait_for(broken, 5), ConnectionResetError)


async def test_established_connections_and_the_local_port_outlive_an_update(node: Node) -> None:
    async with pod(echo) as old, pod(saying("new")) as new:
        port = node.serve(WEB, old)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        assert node.serve(WEB, new) == port
        assert await ask(port) == "new"
        writer.write(b"two")
        assert await reader.readexactly(3) == b"two"
        writer.close()


async def test_a_removed_service_is_closed_with_its_connections(node: Node) -> None:
    async with pod(echo) as backend:
        port = node.serve(WEB, backend)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        node.listeners.close_others([DNS])
        with pytest.raises(ConnectionResetError):
            await reader.read()
        with pytest.raises(ConnectionRefusedError):
            await ask(port)
        assert node.listeners.local_port(WEB) == 0
        writer.close()


async def test_affinity_keeps_a_client_with_its_backend(node: Node) -> None:
    sticky = ServicePort(WEB.name, WEB.cluster_ip, WEB.port, affinity_seconds=60)
    async with pod(saying("a")) as a, pod(saying("b")) as b:
        port = node.serve(sticky, a, b)
        assert [await ask(port) for _ in range(4)] == ["a"] * 4


async def test_the_port_of_a_former_proxy_is_taken_again() -> None:
    with refusing() as free:
        port = free.port
    listeners = Listeners(RoundRobin(), bind_address=IPv4Address("127.0.0.1"))
    listeners.open([WEB], {("10.96.0.9", "TCP", 80): port})
    assert listeners.local_port(WEB) == port
    listeners.close_others(())


async def test_a_port_that_is_taken_is_replaced_by_another() -> None:
    with refusing() as taken:
        listeners = Listeners(RoundRobin(), bind_address=IPv4Address("127.0.0.1"))
        listeners.open([DNS, WEB], {("10.96.0.9", "TCP", 80): taken.port})
        assert listeners.local_port(WEB) not in (0, taken.port)
        listeners.close_others(())


async def test_ports_come_from_the_range_that_is_given() -> None:
    listeners = Listeners(RoundRobin(), bind_address=IPv4Address("127.0.0.1"), port_range=range(38211, 38213))
    third = ServicePort(ServicePortName("default", "third"), "10.96.0.11", 80)
    listeners.open([WEB, DNS, third], {})
    assert {listeners.local_port(WEB), listeners.local_port(DNS)} == {38211, 38212}
    assert listeners.local_port(third) == 0, "the range is used up"
    listeners.close_others(())


class Datagrams(asyncio.DatagramProtocol):
    """A UDP backend that answers `name: <datagram>` and remembers who asked; without a name it keeps silent."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.clients: list[tuple[str, int]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)  # it is none by inheritance, in either loop

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.clients.append(addr)
        if self.name:
            self.transport.sendto(f"{self.name}: ".encode() + data, addr)


@contextlib.asynccontextmanager
async def udp_pod(protocol: Datagrams) -> AsyncIterator[Backend]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: protocol, local_addr=("127.0.0.1", 0)
    )
    try:
        yield Backend(*transport.get_extra_info("sockname"))
    finally:
        transport.close()


@contextlib.contextmanager
def udp_refusing() -> Iterator[Backend]:
    """An address at which datagrams are refused: free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        backend = Backend(*sock.getsockname())
    yield backend


class Client:
    """A UDP client with one address."""

    def __init__(self, port: int) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.sock.connect(("127.0.0.1", port))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    async def ask(self, text: str) -> str:
        loop = asyncio.get_running_loop()
        self.sock.send(text.encode())
        return (await asyncio.wait_for(loop.sock_recv(self.sock, 65535), 5)).decode()


async def test_udp_clients_go_round_the_backends_and_stay_while_they_talk(node: Node) -> None:
    async with udp_pod(Datagrams("a")) as a, udp_pod(Datagrams("b")) as b:
        port = node.serve(DNS, a, b)
        with Client(port) as one, Client(port) as two:
            assert [await one.ask("1"), await two.ask("1")] == ["a: 1", "b: 1"]
            assert [await one.ask("2"), await two.ask("2")] == ["a: 2", "b: 2"]


async def test_a_udp_session_ends_when_it_is_idle(node: Node) -> None:
    first = Datagrams("a")
    async with udp_pod(first) as a, udp_pod(Datagrams("b")) as b:
        port = node.serve(DNS, a, b)
        with Client(port) as client:
            assert await client.ask("1") == "a: 1"
            await asyncio.sleep(UDP_TIMEOUT * 2)  # the idle time itself is what is tested
            assert await client.ask("2") == "b: 2"


async def test_udp_affinity_outlives_the_session(node: Node) -> None:
    sticky = ServicePort(DNS.name, DNS.cluster_ip, DNS.port, "UDP", affinity_seconds=60)
    async with udp_pod(Datagrams("a")) as a, udp_pod(Datagrams("b")) as b:
        port = node.serve(sticky, a, b)
        with Client(port) as one, Client(port) as two:
            assert [await one.ask("1"), await two.ask("1")] == ["a: 1", "a: 1"]


async def test_a_udp_backend_that_refuses_is_not_shown_to_the_client(node: Node) -> None:
    async with udp_pod(Datagrams("a")) as a:
        with udp_refusing() as dead:
            port = node.serve(DNS, dead, a)
            with Client(port) as client:
                assert await client.ask("1") == "a: 1"


async def test_datagrams_of_any_size_pass(node: Node) -> None:
    async with udp_pod(Datagrams("a")) as a:
        port = node.serve(DNS, a)
        with Client(port) as client:
            for size in (0, 1, 1500, 60000):
                assert await client.ask("x" * size) == "a: " + "x" * size


async def test_udp_clients_of_a_backend_that_went_go_elsewhere(node: Node) -> None:
    async with udp_pod(Datagrams("a")) as a, udp_pod(Datagrams("b")) as b:
        port = node.serve(DNS, a, b)
        with Client(port) as client:
            assert await client.ask("1") == "a: 1"
            assert node.serve(DNS, b) == port
            assert await client.ask("2") == "b: 2"


async def test_tcp_and_udp_of_one_service_port_number_do_not_mix(node: Node) -> None:
    other = ServicePort(ServicePortName("default", "dns", "tcp"), DNS.cluster_ip, DNS.port)
    async with udp_pod(Datagrams("udp")) as udp, pod(saying("tcp")) as tcp_pod:
        udp_port, tcp_port = node.serve(DNS, udp), node.serve(other, tcp_pod)
        assert await ask(tcp_port) == "tcp"
        with Client(udp_port) as client:
            assert await client.ask("1") == "udp: 1"


def pipes() -> int:
    """How many ends of pipes this process has open."""
    return sum(os.path.lexists(end) and os.readlink(end).startswith("pipe:") for end in Path("/proc/self/fd").glob("*"))


async def test_a_long_transfer_goes_through_a_pipe_that_is_given_back(node: Node) -> None:
    before, block = pipes(), b"x" * (4 * tcp.BULK)

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(block))
        writer.write(str(pipes() - before).encode())
        await writer.drain()

    async with pod(swallow) as backend:
        port = node.serve(WEB, backend)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(block)
        assert await reader.read() == b"2", "both ends of one: the answer was short"
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(10):
            while pipes() > before:
                await asyncio.sleep(0.01)


async def test_without_pipes_bytes_are_copied(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_flags: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pipe2", none_left)
    await test_much_goes_both_ways_at_once_unchanged(node)
