"""kube-dns over real sockets on loopback: UDP, TCP, truncation, forwarding, and what strangers send."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from kube import daemon
from kube.api.core import EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Node, Service
from kube.api.meta import ObjectMeta
from kube.client.informer import Informers
from kube.client.source import EtcdSources
from kube.dns.listener import listening
from kube.dns.options import Options
from kube.dns.place import Place
from kube.dns.records import Records
from kube.dns.registration import Answering, Registration, joined
from kube.dns.resolver import REQUESTS, Resolver
from kube.dns.server import known, upstreams
from tests.memory_api import MemoryApi
from tests.objects import node, service

HOST = "127.0.0.1"


@contextlib.asynccontextmanager
async def outside() -> AsyncIterator[int]:
    """A name server that knows example.com, and many addresses of big.example.com."""

    async def respond(wire: bytes, proto: str) -> bytes | None:
        query = dns.message.from_wire(wire)
        response = dns.message.make_response(query, recursion_available=True)
        name = query.question[0].name.to_text()
        if name == "example.com.":
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "198.51.100.7"))
        elif name == "big.example.com.":
            if proto == "udp":
                response.flags |= dns.flags.TC
            else:
                addresses = [f"198.51.100.{number}" for number in range(100)]
                response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", *addresses))
        else:
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire(max_size=65535)

    async with listening(HOST, 0, respond) as port:
        yield port


@contextlib.asynccontextmanager
async def serving(api: MemoryApi) -> AsyncIterator[int]:
    """kube-dns over the API in memory."""
    informers = Informers(EtcdSources(api.store))
    records = Records("cluster.local", known(informers.of(Service), informers.of(Endpoints)))
    following = asyncio.ensure_future(informers.run())
    try:
        await informers.synced()
        async with outside() as upstream:
            resolver = Resolver(records, [(HOST, 1), (HOST, upstream)])  # nobody answers at the first
            async with listening(HOST, 0, resolver.respond) as port:
                yield port
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def ask(port: int, name: str, type_: str = "A", *, tcp: bool = False, edns: int = -1) -> dns.message.Message:
    query = dns.message.make_query(name, type_, use_edns=edns if edns >= 0 else False)
    send = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await send(query, HOST, port=port, timeout=10)


def data(response: dns.message.Message) -> list[str]:
    return sorted(str(item) for rrset in response.answer for item in rrset)


@pytest.fixture
async def api() -> MemoryApi:
    made = MemoryApi()
    await made.create(service("web", cluster_ip="10.96.0.9"))
    for name, count in (("few", 7), ("many", 200), ("huge", 2000)):
        addresses = [EndpointAddress(ip=f"10.244.{number // 256}.{number % 256}") for number in range(count)]
        subset = EndpointSubset(addresses=addresses, ports=[EndpointPort(name="http", port=80, protocol="TCP")])
        await made.create(service(name, cluster_ip="None"))
        await made.create(Endpoints(metadata=ObjectMeta(name=name, namespace="default"), subsets=[subset]))
    out = service("out", type="ExternalName", cluster_ip="")
    out.spec.externalName = "example.com"
    await made.create(out)
    within = service("alias", type="ExternalName", cluster_ip="")
    within.spec.externalName = "web.default.svc.cluster.local"
    await made.create(within)
    return made


async def test_udp_and_tcp(api: MemoryApi) -> None:
    async with serving(api) as port:
        for tcp in (False, True):
            response = await ask(port, "Web.Default.svc.cluster.local", tcp=tcp)
            assert data(response) == ["10.96.0.9"]
            assert response.flags & dns.flags.AA
            assert response.answer[0].name.to_text() == "Web.Default.svc.cluster.local.", "as it was asked"


async def test_nothing_is_not_the_same_as_no_such_name(api: MemoryApi) -> None:
    async with serving(api) as port:
        nothing = await ask(port, "web.default.svc.cluster.local", "AAAA")
        assert (nothing.rcode(), data(nothing)) == (dns.rcode.NOERROR, [])
        absent = await ask(port, "nope.default.svc.cluster.local")
        assert absent.rcode() == dns.rcode.NXDOMAIN
        for response in (nothing, absent):
            assert [rrset.rdtype for rrset in response.authority] == [dns.rdatatype.SOA]


async def test_a_new_service_has_its_name_at_once(api: MemoryApi) -> None:
    async with serving(api) as port:
        await api.create(service("late", cluster_ip="10.96.0.77"))
        async with asyncio.timeout(10):
            while data(await ask(port, "late.default.svc.cluster.local")) != ["10.96.0.77"]:
                await asyncio.sleep(0.01)


async def test_what_does_not_fit_is_asked_again_by_tcp(api: MemoryApi) -> None:
    async with serving(api) as port:
        short = await ask(port, "many.default.svc.cluster.local", edns=0)
        assert short.flags & dns.flags.TC
        assert len(short.to_wire()) <= 1232
        assert len(data(short)) > 70, "as many as fit, for a client that does not ask again"
        assert len(data(await ask(port, "many.default.svc.cluster.local", tcp=True))) == 200


async def test_what_merely_comes_along_is_left_out_before_an_answer_is_cut_short(api: MemoryApi) -> None:
    async with serving(api) as port:
        few = await ask(port, "_http._tcp.few.default.svc.cluster.local", "SRV")
        assert (len(data(few)), few.additional) == (7, [])
        assert not few.flags & dns.flags.TC
        full = await ask(port, "_http._tcp.few.default.svc.cluster.local", "SRV", tcp=True)
        assert (len(data(full)), len(full.additional)) == (7, 7)


async def test_even_what_does_not_fit_tcp_is_answered(api: MemoryApi) -> None:
    async with serving(api) as port:
        long = await ask(port, "_http._tcp.huge.default.svc.cluster.local", "SRV", tcp=True)
        assert long.flags & dns.flags.TC
        assert 1000 < len(data(long)) < 2000


async def test_everything_else_is_forwarded(api: MemoryApi) -> None:
    async with serving(api) as port:
        assert data(await ask(port, "example.com")) == ["198.51.100.7"]
        assert len(data(await ask(port, "big.example.com", tcp=True))) == 100
        assert (await ask(port, "big.example.com")).flags & dns.flags.TC
        assert (await ask(port, "nope.example.com")).rcode() == dns.rcode.NXDOMAIN


async def test_an_alias_is_followed_out_of_the_cluster_and_within(api: MemoryApi) -> None:
    async with serving(api) as port:
        assert data(await ask(port, "out.default.svc.cluster.local")) == ["198.51.100.7", "example.com."]
        assert data(await ask(port, "alias.default.svc.cluster.local")) == [
            "10.96.0.9",
            "web.default.svc.cluster.local.",
        ]


async def test_without_name_servers_it_says_that_it_cannot() -> None:
    resolver = Resolver(Records("cluster.local", known(*_informers(MemoryApi()))))
    wire = await resolver.respond(dns.message.make_query("example.com", "A").to_wire())
    assert wire is not None
    assert dns.message.from_wire(wire).rcode() == dns.rcode.SERVFAIL


async def test_a_name_server_that_hangs_up_is_passed_over() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2)
        writer.close()

    async with await asyncio.start_server(hang_up, HOST, 0) as rude, outside() as upstream:
        first = rude.sockets[0].getsockname()[1]
        resolver = Resolver(
            Records("cluster.local", known(*_informers(MemoryApi()))), [(HOST, first), (HOST, upstream)]
        )
        wire = await resolver.respond(dns.message.make_query("example.com", "A").to_wire(), "tcp")
    assert wire is not None
    assert data(dns.message.from_wire(wire)) == ["198.51.100.7"]


def test_name_servers_are_the_addresses_that_resolv_conf_names_but_ourselves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(
        "# nameserver 198.51.100.1\nsearch example.com\nnameserver\nnameserver dns.example.com\n"
        "nameserver 10.96.0.10\nnameserver 10.244.0.1\nnameserver 198.51.100.53\nnameserver fe80::1%eth0\n"
    )
    options = Options(cluster_ip="10.96.0.10", resolv_conf=str(file))
    assert upstreams(options, "10.244.0.1") == [("198.51.100.53", 53), ("fe80::1%eth0", 53)]
    assert "nameserver dns.example.com is not an address" in caplog.text
    assert upstreams(replace(options, resolv_conf=""), "10.244.0.1") == []
    with pytest.raises(daemon.Fatal, match=r"cannot read --resolv-conf=.*: no such file"):
        upstreams(replace(options, resolv_conf=str(tmp_path / "none")), "10.244.0.1")


async def test_what_goes_wrong_with_a_question_ends_its_connection_and_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def respond(wire: bytes, proto: str) -> bytes | None:
        if proto == "tcp":
            raise RuntimeError("a bug")
        return dns.message.make_response(dns.message.from_wire(wire)).to_wire()

    async with listening(HOST, 0, respond) as port:
        for _ in range(2):
            with pytest.raises(EOFError):
                await ask(port, "example.com", tcp=True)
        assert (await ask(port, "example.com")).rcode() == dns.rcode.NOERROR
    assert caplog.text.count("RuntimeError: a bug") == 2


async def test_types_that_nobody_knows_are_counted_together() -> None:
    resolver = Resolver(Records("cluster.local", known(*_informers(MemoryApi()))))
    for type_ in ("TYPE65280", "TYPE65281"):
        await resolver.respond(dns.message.make_query("web.default.svc.cluster.local", type_).to_wire())
    counted = {sample.labels["type"] for metric in REQUESTS.collect() for sample in metric.samples}
    assert "other" in counted
    assert not any(type_.startswith("TYPE") for type_ in counted)


@pytest.mark.parametrize(
    "junk", [b"", b"\0" * 5, b"\x12\x34\x01\x00\x00\x01" + b"\xff" * 20], ids=["none", "few", "bad"]
)
async def test_junk_is_answered_with_an_error_or_not_at_all(junk: bytes) -> None:
    resolver = Resolver(Records("cluster.local", known(*_informers(MemoryApi()))))
    answer = await resolver.respond(junk)
    if answer is not None:
        assert answer[:2] == junk[:2]
        assert dns.message.from_wire(answer).rcode() == dns.rcode.FORMERR


async def test_a_response_is_never_answered() -> None:
    resolver = Resolver(Records("cluster.local", known(*_informers(MemoryApi()))))
    query = dns.message.make_query("web.default.svc.cluster.local", "A")
    query.flags |= dns.flags.QR
    assert await resolver.respond(query.to_wire()) is None


def _informers(api: MemoryApi) -> tuple:  # type: ignore[type-arg]  # two informers
    informers = Informers(EtcdSources(api.store))
    return informers.of(Service), informers.of(Endpoints)


@pytest.mark.looptime
async def test_the_service_and_its_endpoints_are_kept() -> None:
    api = MemoryApi()
    informers = Informers(EtcdSources(api.store))
    registration = Registration(api, informers.of(Service), informers.of(Endpoints), "10.96.0.10")
    tasks = [asyncio.ensure_future(informers.run())]
    await informers.synced()
    tasks.append(asyncio.ensure_future(registration.run(Answering("", "10.1.2.3", 10053))))
    await asyncio.sleep(1)
    made = await api.get(Service, "kube-dns", "kube-system")
    assert (made.spec.clusterIP, made.spec.selector) == ("10.96.0.10", {})
    await api.delete(Endpoints, "kube-dns", "kube-system")
    await asyncio.sleep(1)
    (subset,) = (await api.get(Endpoints, "kube-dns", "kube-system")).subsets
    assert [address.ip for address in subset.addresses] == ["10.1.2.3"]
    assert {(port.name, port.port, port.protocol) for port in subset.ports} == {
        ("dns", 10053, "UDP"),
        ("dns-tcp", 10053, "TCP"),
    }
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def addresses(subsets: list[EndpointSubset]) -> list[tuple[str, str | None]]:
    return [(address.ip, address.nodeName) for subset in subsets for address in subset.addresses]


def test_each_process_keeps_its_own_entry_and_takes_out_those_of_lost_nodes() -> None:
    one, two, lost = Answering("one", "10.1.0.1", 53), Answering("two", "10.2.0.1", 53), Answering("x", "10.3.0.1", 53)
    everyone = joined(joined(joined([], one), lost), two)
    assert addresses(everyone) == [("10.1.0.1", "one"), ("10.2.0.1", "two"), ("10.3.0.1", "x")]
    assert joined(everyone, two) == everyone, "nothing to write"
    without = joined(everyone, one, counts=lambda node: node != "x")
    assert without == joined(joined([], two), one)
    assert joined(without, lost, counts=lambda node: node != "x") == without, "nor does the lost one write against it"
    assert addresses(joined(everyone, two._replace(ip="10.9.0.1"))) == [
        ("10.1.0.1", "one"),
        ("10.9.0.1", "two"),
        ("10.3.0.1", "x"),
    ]
    assert joined([], one._replace(node="")) == joined(joined([], two._replace(node="")), one._replace(node=""))


@pytest.mark.looptime
async def test_on_nodes_it_answers_where_each_nodes_pods_are() -> None:
    api = MemoryApi()
    informers = Informers(EtcdSources(api.store))
    nodes, services, endpoints = informers.of(Node), informers.of(Service), informers.of(Endpoints)
    tasks = [asyncio.ensure_future(informers.run())]
    await informers.synced()
    for name in ("one", "two"):
        registration = Registration(api, services, endpoints, "10.96.0.10", nodes)

        async def answer(address: str, name: str = name, registration: Registration = registration) -> None:
            await registration.run(Answering(name, address, 10053))

        tasks.append(asyncio.ensure_future(Place(nodes, name).follow(answer)))

    async def registered() -> list[tuple[str, str | None]]:
        await asyncio.sleep(1)
        return addresses((await api.get(Endpoints, "kube-dns", "kube-system")).subsets)

    await api.create(node("one"))
    await asyncio.sleep(1)
    assert not (await api.list(Endpoints)).items, "no range of pods yet"
    await api.patch(Node, "one", "", {"spec": {"podCIDR": "10.244.3.0/24", "podCIDRs": ["10.244.3.0/24"]}})
    assert await registered() == [("10.244.3.1", "one")]
    made = await api.get(Service, "kube-dns", "kube-system")
    assert made.spec.trafficDistribution == "PreferSameNode"
    second = node("two")
    second.spec.podCIDR, second.spec.podCIDRs = "10.244.7.0/24", ["10.244.7.0/24"]
    await api.create(second)
    assert await registered() == [("10.244.3.1", "one"), ("10.244.7.1", "two")]
    heard = {"type": "Ready", "status": "Unknown"}
    await api.patch(Node, "two", "", {"status": {"conditions": [heard]}}, subresource="status")
    assert await registered() == [("10.244.3.1", "one")]
    await api.patch(Node, "two", "", {"status": {"conditions": [{**heard, "status": "False"}]}}, subresource="status")
    assert await registered() == [("10.244.3.1", "one"), ("10.244.7.1", "two")]
    await api.delete(Node, "one")
    assert await registered() == [("10.244.7.1", "two")]
    second.spec.podCIDR, second.spec.podCIDRs = "10.244.8.0/24", ["10.244.8.0/24"]
    await api.delete(Node, "two")
    await api.create(second)
    assert await registered() == [("10.244.8.1", "two")]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
