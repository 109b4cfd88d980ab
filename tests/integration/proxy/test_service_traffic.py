"""Traffic to services through the real proxy and the real iptables: from a pod, from the node, from outside."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple

import pytest

from tests.integration.proxy.network import Namespace, Network, tcp_backend, wait_for

HTTP = {"name": "http", "protocol": "TCP", "port": 80}
DNS = {"name": "dns", "protocol": "UDP", "port": 53}
TARGET = {"name": "http", "protocol": "TCP", "port": 80}
DNS_TARGET = {"name": "dns", "protocol": "UDP", "port": 80}

AT_ONCE = 1.0
"""Seconds; a connection that is not refused gives up after many more."""

pytestmark = pytest.mark.usefixtures("backends")


class Connection:
    """A TCP connection from a namespace."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    async def open(cls, source: Namespace, ip: str, port: int = 80) -> Connection:
        sock = source.socket()
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, (ip, port)), 10)
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    async def ask(self, text: str = "?") -> str:
        """Say a line; the answer without its end."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.sock, f"{text}\n".encode())
        answer = await asyncio.wait_for(loop.sock_recv(self.sock, 65536), 10)
        return answer.decode().rstrip("\n")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


async def ask(source: Namespace, ip: str, port: int = 80) -> str:
    """Which backend answers a new connection."""
    with await Connection.open(source, ip, port) as connection:
        return (await connection.ask()).split(" ")[0]


async def ask_udp(source: Namespace, ip: str, port: int = 53) -> str:
    """Which backend answers a datagram. Raises OSError when it is refused."""
    loop = asyncio.get_running_loop()
    with source.socket(socket.SOCK_DGRAM) as sock:
        sock.connect((ip, port))
        sock.send(b"?")
        return (await asyncio.wait_for(loop.sock_recv(sock, 65535), 10)).decode().split(" ")[0]


async def assert_refused(asked: Awaitable[str]) -> None:
    """It is refused, and soon. (A datagram that is refused on its way out is EPERM to its own sender.)"""
    started = time.monotonic()
    with pytest.raises((ConnectionRefusedError, PermissionError)):
        await asked
    assert time.monotonic() - started < AT_ONCE


class Failure(NamedTuple):
    """A request that failed."""

    begun: float
    ended: float
    why: str


class Load:
    """What became of many requests."""

    def __init__(self) -> None:
        self.served: Counter[str] = Counter()
        """How many each backend answered."""
        self.failed: list[Failure] = []

    @property
    def count(self) -> int:
        return self.served.total() + len(self.failed)

    async def answered_by(self, names: set[str]) -> None:
        """Wait until each of these backends has answered."""
        async with asyncio.timeout(60):
            while not names <= self.served.keys():
                await asyncio.sleep(0.01)

    async def answered(self) -> None:
        """Wait until a request that begins now has been answered."""
        seen = self.served.total() + 20
        async with asyncio.timeout(60):
            while self.served.total() < seen:
                await asyncio.sleep(0.01)


Way = tuple[Namespace, str, int]
"""From where, to which address and port."""


@contextlib.asynccontextmanager
async def requests(*ways: Way, rate: int = 200) -> AsyncIterator[Load]:
    """So many requests a second, by each way in turn, each a connection of its own, as long as one is inside."""
    load, stop = Load(), asyncio.Event()

    async def request(way: Way) -> None:
        begun = time.monotonic()
        try:
            answer = await asyncio.wait_for(ask(*way), 10)
            if not answer:
                raise ConnectionError("the connection ended without an answer")
            load.served[answer] += 1
        except (OSError, TimeoutError) as error:
            load.failed.append(Failure(begun, time.monotonic(), f"{way[0].name} to {way[1]}:{way[2]}: {error!r}"))

    async def client() -> None:
        async with asyncio.TaskGroup() as tasks:
            for way in itertools.cycle(ways):
                if stop.is_set():
                    return
                tasks.create_task(request(way))
                await asyncio.sleep(1 / rate)

    sending = asyncio.ensure_future(client())
    try:
        yield load
    finally:
        stop.set()
        await sending


ROLLING = "10.96.0.150"
BACKEND = """
import asyncio, sys

async def serve(reader, writer):
    writer.write(sys.argv[1].encode() + b" " + await reader.readline())
    await writer.drain()
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "0.0.0.0", int(sys.argv[2]), backlog=1000)
    await server.serve_forever()

asyncio.run(main())
"""
"""A backend that can be killed: a process that answers a line with its name and the line."""


@pytest.fixture(params=["pod", "node"])
def source(request: pytest.FixtureRequest, network: Network) -> Namespace:
    """Where a client is."""
    return network.client if request.param == "pod" else network.node


@pytest.fixture
def web(network: Network) -> Iterator[str]:
    """The address of a service with the backends a, b, c on TCP 80 and UDP 53."""
    ip = "10.96.0.9"
    network.service("web", ip, [HTTP, DNS])
    network.endpoints("web", "abc", [TARGET, DNS_TARGET])
    network.wait_for_service("web", 2)
    yield ip
    network.remove("web")
    network.wait_for_rule("default/web", gone=True)


async def test_connections_are_spread_exactly(network: Network, source: Namespace, web: str) -> None:
    answers = [await ask(source, web) for _ in range(12)]
    assert Counter(answers) == {"a": 4, "b": 4, "c": 4}
    assert answers[:3] == answers[3:6] == answers[6:9], "in turn"


async def test_concurrent_connections_are_spread_exactly(network: Network, source: Namespace, web: str) -> None:
    answers = await asyncio.gather(*(ask(source, web) for _ in range(90)))
    assert Counter(answers) == {"a": 30, "b": 30, "c": 30}


async def test_datagrams_are_answered_from_the_cluster_ip(network: Network, source: Namespace, web: str) -> None:
    # The socket is connected: an answer from any other address would not reach it.
    assert Counter([await ask_udp(source, web) for _ in range(9)]) == {"a": 3, "b": 3, "c": 3}


async def test_much_passes_unchanged(network: Network, source: Namespace, web: str) -> None:
    line = "x" * 60000
    with await Connection.open(source, web) as connection:
        reader, writer = await asyncio.open_connection(sock=connection.sock)
        for _ in range(50):
            writer.write(f"{line}\n".encode())
        for _ in range(50):
            assert (await reader.readuntil(b"\n")).decode().split(" ")[1] == line + "\n"
        writer.close()


async def test_a_service_without_backends_is_refused_at_once(network: Network, source: Namespace) -> None:
    network.service("empty", "10.96.0.20", [HTTP, DNS])
    network.wait_for_rule("default/empty:http has no endpoints")
    await assert_refused(ask(source, "10.96.0.20"))
    await assert_refused(ask_udp(source, "10.96.0.20"))
    network.endpoints("empty", "a", [TARGET, DNS_TARGET])
    network.wait_for_service("empty", 2)
    assert await ask(source, "10.96.0.20") == "a"
    assert await ask_udp(source, "10.96.0.20") == "a"
    network.endpoints("empty", "", [])
    network.wait_for_rule("default/empty:http has no endpoints")
    await assert_refused(ask(source, "10.96.0.20"))
    await assert_refused(ask_udp(source, "10.96.0.20"))
    network.remove("empty")
    network.wait_for_rule("default/empty", gone=True)


@pytest.fixture
def uplink(network: Network) -> Iterator[Callable[[], list[str]]]:
    """Destinations in the service range of packets that have left the node, as they are seen outside."""
    everything = 3  # ETH_P_ALL
    sniffer = network.outside.socket(socket.SOCK_DGRAM, socket.AF_PACKET, socket.htons(everything))

    def seen() -> list[str]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while packet := sniffer.recv(65535):
                if packet[0] >> 4 == 4:
                    found.append(socket.inet_ntoa(packet[16:20]))
        return [ip for ip in found if ip.startswith("10.96.")]

    with sniffer:
        yield seen


async def test_an_address_that_no_service_holds_is_refused_and_does_not_leave(
    network: Network, source: Namespace, web: str, uplink: Callable[[], list[str]]
) -> None:
    await assert_refused(ask(source, "10.96.77.77"))
    await assert_refused(ask_udp(source, "10.96.77.78"))
    await assert_refused(ask(source, web, 81))
    await assert_refused(ask_udp(source, web, 81))
    assert uplink() == []


async def test_nothing_leaves_when_the_redirections_are_lost(
    network: Network, source: Namespace, web: str, uplink: Callable[[], list[str]]
) -> None:
    network.pause_proxy()
    try:
        network.iptables("-t", "nat", "-F")
        await assert_refused(ask(source, web))
        assert uplink() == []
    finally:
        network.resume_proxy()
    network.wait_for_service("web", 2)
    assert await ask(source, web) in "abc"


@pytest.mark.modes("userspace")
async def test_a_backend_that_refuses_is_skipped(network: Network, source: Namespace) -> None:
    async with tcp_backend(network.pods["b"], "b", 8080):
        network.service("half", "10.96.0.30", [HTTP])
        network.endpoints("half", "abc", [{**TARGET, "port": 8080}])  # a and c do not listen there
        network.wait_for_service("half")
        assert [await ask(source, "10.96.0.30") for _ in range(6)] == ["b"] * 6
    network.remove("half")
    network.wait_for_rule("default/half", gone=True)


async def test_affinity_goes_by_the_clients_address(network: Network) -> None:
    network.service("sticky", "10.96.0.40", [HTTP], sessionAffinity="ClientIP")
    network.endpoints("sticky", "abc", [TARGET])
    network.wait_for_service("sticky")
    from_pod = {await ask(network.client, "10.96.0.40") for _ in range(4)}
    from_node = {await ask(network.node, "10.96.0.40") for _ in range(4)}
    assert len(from_pod) == len(from_node) == 1
    assert from_pod != from_node
    network.remove("sticky")
    network.wait_for_rule("default/sticky", gone=True)


async def test_a_pod_reaches_itself_through_its_service(network: Network) -> None:
    network.service("self", "10.96.0.50", [HTTP])
    network.endpoints("self", "a", [TARGET])
    network.wait_for_service("self")
    assert await ask(network.pods["a"], "10.96.0.50") == "a"
    network.remove("self")
    network.wait_for_rule("default/self", gone=True)


async def test_a_node_port_is_served_at_every_address_of_the_node(network: Network) -> None:
    ports = [{**HTTP, "nodePort": 30080}, {**DNS, "nodePort": 30053}]
    network.service("nodeport", "10.96.0.60", ports, type="NodePort")
    network.endpoints("nodeport", "abc", [TARGET, DNS_TARGET])
    network.wait_for_service("nodeport", 2)
    for source, ip in (
        (network.outside, "198.51.100.10"),
        (network.client, "10.244.0.1"),
        (network.node, "198.51.100.10"),
        (network.node, "127.0.0.1"),
    ):
        assert await ask(source, ip, 30080) in "abc"
        assert await ask_udp(source, ip, 30053) in "abc"
    network.endpoints("nodeport", "", [])
    network.wait_for_rule("--dport 30080 -j REJECT")
    await assert_refused(ask(network.outside, "198.51.100.10", 30080))
    network.remove("nodeport")
    network.wait_for_rule("default/nodeport", gone=True)


@pytest.mark.modes("userspace")
async def test_the_proxys_own_ports_are_closed_to_those_who_come_directly(network: Network, web: str) -> None:
    for protocol, asked in (("tcp", ask), ("udp", ask_udp)):
        port = network.local_port(web, protocol)
        for source, ip in (
            (network.outside, "198.51.100.10"),
            (network.client, "10.244.0.1"),
            (network.node, "127.0.0.1"),
        ):
            await assert_refused(asked(source, ip, port))


async def test_established_connections_outlive_updates_and_resyncs(
    network: Network, source: Namespace, web: str
) -> None:
    with await Connection.open(source, web) as connection:
        first = (await connection.ask()).split(" ")[0]
        network.endpoints("web", "abc".replace(first, ""), [TARGET, DNS_TARGET])
        network.service("other", "10.96.0.70", [HTTP])
        network.wait_for_rule("default/other:http has no endpoints")
        assert (await connection.ask()).split(" ")[0] == first, "its backend is no endpoint any more, and still there"
        assert first not in {await ask(source, web) for _ in range(4)}
        for chain in network.first_chains:
            network.iptables("-t", "nat", "-F", chain)
        assert (await connection.ask()).split(" ")[0] == first
        network.wait_for_service("web", 2)
        assert (await connection.ask()).split(" ")[0] == first
    network.remove("other")
    network.wait_for_rule("default/other", gone=True)


@pytest.mark.modes("userspace")
async def test_a_removed_service_ends_its_connections(network: Network, source: Namespace) -> None:
    network.service("brief", "10.96.0.80", [HTTP])
    network.endpoints("brief", "a", [TARGET])
    network.wait_for_service("brief")
    with await Connection.open(source, "10.96.0.80") as connection:
        assert await connection.ask("hello") == "a hello"
        network.remove("brief")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(connection.sock, 1), 10)
    network.wait_for_rule("default/brief", gone=True)
    await assert_refused(ask(source, "10.96.0.80"))


async def test_a_backend_that_breaks_ends_its_connections_only(network: Network, source: Namespace, web: str) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        reset = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        writer.transport.abort()

    listener = network.pods["a"].socket()
    listener.bind(("0.0.0.0", 9090))
    breaking = await asyncio.start_server(break_off, sock=listener)
    network.service("breaking", "10.96.0.90", [HTTP])
    network.endpoints("breaking", "a", [{**TARGET, "port": 9090}])
    network.wait_for_service("breaking")
    with await Connection.open(source, web) as other, await Connection.open(source, "10.96.0.90") as connection:
        assert (await other.ask("1")).endswith(" 1")
        with pytest.raises(ConnectionResetError):
            await connection.ask()
        assert (await other.ask("2")).endswith(" 2")
    breaking.close()
    network.remove("breaking")
    network.wait_for_rule("default/breaking", gone=True)


# What only the mode iptables has


async def answers(source: Namespace, ip: str, port: int = 80, count: int = 12) -> Counter[str]:
    return Counter([await ask(source, ip, port) for _ in range(count)])


async def seen_from(source: Namespace, ip: str, port: int = 80) -> str:
    """The address that the backend sees a client at."""
    with await Connection.open(source, ip, port) as connection:
        return (await connection.ask("who")).split(" ")[1]


@pytest.mark.modes("iptables")
async def test_a_backend_sees_its_clients_own_address_where_the_answer_finds_back(network: Network, web: str) -> None:
    assert await seen_from(network.client, web) == "10.244.0.10", "a pod's"
    assert await seen_from(network.node, web) == "10.244.0.1", "the node's, on the pods' bridge"
    assert await seen_from(network.outside, web) == "10.244.0.1", "who comes from outside is masqueraded"
    assert {await seen_from(network.pods["a"], web) for _ in range(3)} == {"10.244.0.11", "10.244.0.1"}, (
        "a pod that reaches itself is, and only then"
    )


@pytest.mark.modes("iptables")
async def test_external_traffic_policy_local_keeps_the_clients_address_and_stays_on_the_node(network: Network) -> None:
    ports = [{**HTTP, "nodePort": 30090}]
    network.service("local", "10.96.0.110", ports, type="NodePort", externalTrafficPolicy="Local")
    network.endpoints("local", "ab", [TARGET], elsewhere="c")
    network.wait_for_service("local")
    assert await answers(network.outside, "198.51.100.10", 30090) == {"a": 6, "b": 6}
    assert await seen_from(network.outside, "198.51.100.10", 30090) == "198.51.100.1"
    assert await answers(network.client, "198.51.100.10", 30090) == {"a": 4, "b": 4, "c": 4}, "pods are not outside"
    assert await answers(network.node, "10.96.0.110") == {"a": 4, "b": 4, "c": 4}, "nor is the cluster IP concerned"
    network.endpoints("local", "", [TARGET], elsewhere="c")
    network.wait_for_rule("default/local:http has no local endpoints")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(network.outside, "198.51.100.10", 30090), AT_ONCE)
    network.remove("local")
    network.wait_for_rule("default/local:", gone=True)


@pytest.mark.modes("iptables")
async def test_a_load_balancers_address_is_served_to_those_it_is_for(network: Network) -> None:
    vip, sources = "198.51.100.77", ["10.244.0.0/24", "198.51.100.10/32"]
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30999,
            "loadBalancerSourceRanges": sources}  # fmt: skip
    network.service("balanced", "10.96.0.120", [{**HTTP, "nodePort": 30091}], ingress=vip, **spec)
    network.endpoints("balanced", "a", [TARGET], elsewhere="b")
    network.wait_for_service("balanced")
    network.outside.run("ip", "route", "replace", f"{vip}/32", "via", "198.51.100.10")
    assert await answers(network.client, vip) == {"a": 6, "b": 6}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(network.outside, vip), AT_ONCE)
    network.service("balanced", "10.96.0.120", [{**HTTP, "nodePort": 30091}], ingress=vip,
                    **{**spec, "loadBalancerSourceRanges": [*sources, "198.51.100.1/32"]})  # fmt: skip
    network.wait_for_rule("-s 198.51.100.1/32")
    assert await answers(network.outside, vip) == {"a": 12}
    assert await seen_from(network.outside, vip) == "198.51.100.1"
    assert '"localEndpoints": 1' in network.get("198.51.100.10", 30999, "/healthz")
    network.endpoints("balanced", "", [TARGET], elsewhere="b")
    wait_for(lambda: '"localEndpoints": 0' in network.get("198.51.100.10", 30999, "/healthz"), "it is told")
    network.remove("balanced")
    network.wait_for_rule("default/balanced", gone=True)


@pytest.mark.modes("iptables")
async def test_internal_traffic_policy_local_stays_on_the_node(network: Network) -> None:
    network.service("inside", "10.96.0.130", [HTTP], internalTrafficPolicy="Local")
    network.endpoints("inside", "b", [TARGET], elsewhere="ac")
    network.wait_for_service("inside")
    assert await answers(network.client, "10.96.0.130") == {"b": 12}
    network.remove("inside")
    network.wait_for_rule("default/inside", gone=True)


async def test_an_external_ip_is_served(network: Network) -> None:
    network.service("external", "10.96.0.140", [HTTP], externalIPs=["198.51.100.78"])
    network.endpoints("external", "abc", [TARGET])
    wait_for(lambda: "-d 198.51.100.78/32" in network.nat(), "the external IP is served")
    network.wait_for_sync()
    network.outside.run("ip", "route", "replace", "198.51.100.78/32", "via", "198.51.100.10")
    for source in (network.client, network.node, network.outside):
        assert await answers(source, "198.51.100.78") == {"a": 4, "b": 4, "c": 4}
    network.remove("external")
    network.wait_for_rule("default/external", gone=True)


@pytest.mark.modes("iptables")
async def test_a_udp_client_that_never_pauses_is_taken_from_a_backend_that_went(network: Network, web: str) -> None:
    loop = asyncio.get_running_loop()
    with network.client.socket(socket.SOCK_DGRAM) as sock:
        sock.connect((web, 53))

        async def backend() -> str:
            sock.send(b"?")
            return (await asyncio.wait_for(loop.sock_recv(sock, 65535), 10)).decode().split(" ")[0]

        first = await backend()
        assert {await backend() for _ in range(5)} == {first}, "connection tracking keeps a flow together"
        network.endpoints("web", "abc".replace(first, ""), [TARGET, DNS_TARGET])
        network.wait_for_rule("--every 3", gone=True)
        network.wait_for_sync()
        assert await backend() != first


GENERATIONS = (8081, 8082, 8083)
"""Ports of the backends of the first, second, third generation."""


def ways_to_rolling(network: Network) -> list[Way]:
    """From a pod, from the node, from outside; at the cluster IP, node ports, external IPs, a load balancer's."""
    return [
        (network.client, ROLLING, 80),
        (network.node, ROLLING, 80),
        (network.outside, ROLLING, 80),
        (network.client, "10.244.0.1", 30150),
        (network.node, "127.0.0.1", 30150),
        (network.outside, "198.51.100.10", 30150),
        (network.outside, "198.51.100.79", 80),
        (network.outside, "198.51.100.80", 80),
    ]


@contextlib.asynccontextmanager
async def rolling(network: Network) -> AsyncIterator[Callable[[Sequence[int]], Awaitable[None]]]:
    """The service `rolling`; gives what has a, b, c behind it, each at its port, and waits until the rules say so."""
    external, balanced = "198.51.100.79", "198.51.100.80"
    network.service(
        "rolling", ROLLING, [{**HTTP, "nodePort": 30150}], ingress=balanced, type="LoadBalancer", externalIPs=[external]
    )
    for ip in (external, balanced):
        network.outside.run("ip", "route", "replace", f"{ip}/32", "via", "198.51.100.10")

    async def settled(ports: Sequence[int]) -> None:
        await asyncio.to_thread(network.endpoints_at, "rolling", dict(zip("abc", ports, strict=True)))
        backends = [f"10.244.0.{11 + number}:{port}" for number, port in enumerate(ports)]
        await asyncio.to_thread(network.wait_for_served, "rolling", backends)

    yield settled
    network.remove("rolling")
    network.wait_for_rule("default/rolling", gone=True)


async def test_no_request_fails_while_all_backends_are_replaced(network: Network) -> None:
    """200 requests a second by every way, while one backend after the other goes and another comes in its place.

    Each goes as a pod goes gracefully: it is no endpoint any more, and serves until the rules are without it.
    """
    async with contextlib.AsyncExitStack() as stack:
        settled = await stack.enter_async_context(rolling(network))
        serving: dict[str, contextlib.AsyncExitStack] = {}
        for pod in "abc":
            serving[pod] = await stack.enter_async_context(contextlib.AsyncExitStack())
            await serving[pod].enter_async_context(tcp_backend(network.pods[pod], f"{pod}0", GENERATIONS[0]))
        ports = [GENERATIONS[0]] * 3
        await settled(ports)
        async with requests(*ways_to_rolling(network)) as load:
            await load.answered_by({"a0", "b0", "c0"})
            for generation, port in enumerate(GENERATIONS[1:], start=1):
                for number, pod in enumerate("abc"):
                    old, new = serving[pod], await stack.enter_async_context(contextlib.AsyncExitStack())
                    await new.enter_async_context(tcp_backend(network.pods[pod], f"{pod}{generation}", port))
                    ports[number] = port
                    await settled(ports)
                    await load.answered_by({f"{pod}{generation}"})
                    await old.aclose()
                    serving[pod] = new
    assert not load.failed, f"{len(load.failed)} of {load.count}: {load.failed[:3]}"


async def test_when_backends_are_killed_those_in_flight_fail_at_most(network: Network) -> None:
    """The same, but each is killed first and replaced then, as it is found out.

    In the mode `userspace` the next backend takes what a dead one refuses; in the mode `iptables` what is sent to it is
    in flight until the rules are without it.
    """
    async with contextlib.AsyncExitStack() as stack:
        settled = await stack.enter_async_context(rolling(network))

        async def backend(pod: str, name: str, port: int) -> subprocess.Popen[bytes]:
            process = network.start_in(network.pods[pod], sys.executable, "-c", BACKEND, name, str(port))
            stack.callback(network.stop, process)
            await asyncio.to_thread(wait_for, lambda: network.pods[pod].listens(port), f"{name} listens")
            return process

        serving = {pod: await backend(pod, f"{pod}0", GENERATIONS[0]) for pod in "abc"}
        ports = [GENERATIONS[0]] * 3
        await settled(ports)
        excused: list[tuple[float, float]] = []
        """From when to when a request may have been in flight to a backend that was killed."""
        async with requests(*ways_to_rolling(network)) as load:
            await load.answered_by({"a0", "b0", "c0"})
            for number, pod in enumerate("abc"):
                await backend(pod, f"{pod}1", GENERATIONS[1])
                alive = time.monotonic()
                network.stop(serving[pod])  # no request begins meanwhile
                dead = time.monotonic()
                ports[number] = GENERATIONS[1]
                await settled(ports)
                excused.append((alive, dead if network.mode == "userspace" else time.monotonic()))
                await load.answered_by({f"{pod}1"})

    def is_excused(failure: Failure) -> bool:
        return any(failure.begun <= until and failure.ended >= since for since, until in excused)

    assert not [failure for failure in load.failed if not is_excused(failure)]
