"""Endpoints are checked before anything is connected, and https ones are spoken to with certificates."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from kube import certificates
from kube.certificates import Pair
from kube.store import messages
from kube.store.calls import framed
from kube.store.connection import _endpoint
from kube.store.etcd import EtcdStore
from kube.store.store import Unavailable
from tests.http2_peer import Peer


@pytest.mark.parametrize(
    ("endpoint", "parsed", "authority"),
    [
        ("http://127.0.0.1:2379", ("127.0.0.1", 2379, False), "127.0.0.1:2379"),
        ("http://etcd:4001/", ("etcd", 4001, False), "etcd:4001"),
        ("https://[::1]:2379", ("::1", 2379, True), "[::1]:2379"),
        ("https://etcd.example", ("etcd.example", 2379, True), "etcd.example:2379"),
    ],
)
def test_an_endpoint_is_a_url(endpoint: str, parsed: tuple[str, int, bool], authority: str) -> None:
    assert _endpoint(endpoint) == parsed
    assert _endpoint(endpoint).authority == authority


@pytest.mark.parametrize(
    "endpoints",
    [
        pytest.param([], id="none"),
        pytest.param(["ftp://127.0.0.1:2379"], id="another scheme"),
        pytest.param(["127.0.0.1:2379"], id="no scheme"),
        pytest.param(["http://"], id="no host"),
        pytest.param(["http://etcd:port"], id="a port that is no number"),
        pytest.param(["http://etcd:2379/v3"], id="a path"),
    ],
)
def test_what_cannot_be_an_endpoint_is_an_error_at_once(endpoints: list[str]) -> None:
    with pytest.raises(ValueError, match="etcd endpoint"):
        EtcdStore(endpoints)


def test_a_certificate_that_cannot_be_read_is_an_error_at_once() -> None:
    with pytest.raises(FileNotFoundError):
        EtcdStore(["https://127.0.0.1:2379"], ca="/nonexistent/ca.pem")


async def test_an_https_endpoint_is_asked_for_its_certificate_and_shown_ours(tmp_path: Path) -> None:
    pairs = {name: Pair(tmp_path / f"{name}.crt", tmp_path / f"{name}.key") for name in ("ca", "etcd", "client")}
    authority = certificates.make_authority("etcd-ca", pairs["ca"])
    certificates.make_certificate(authority, pairs["etcd"], "etcd", hosts=["127.0.0.1"])
    certificates.make_certificate(authority, pairs["client"], "kube-apiserver")
    context = certificates.server_context(pairs["etcd"], pairs["ca"].certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    peer, answer = Peer(), messages.RangeResponse()
    answer.header.revision = 7
    peer.on_request = lambda stream, _: peer.answer(stream, framed(answer.SerializeToString()))
    server = await asyncio.get_running_loop().create_server(lambda: peer, "127.0.0.1", 0, ssl=context)
    endpoint = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    ca, cert, key = (str(path) for path in (pairs["ca"].certificate, pairs["client"].certificate, pairs["client"].key))

    store = EtcdStore([endpoint], ca=ca, cert=cert, key=key)
    assert await store.revision() == 7
    (request,) = peer.requests.values()
    assert (request[":scheme"], request[":path"]) == ("https", "/etcdserverpb.KV/Range")
    await store.close()

    stranger = EtcdStore([endpoint], timeout=0.5)
    with pytest.raises(Unavailable, match="certificate verify failed"):
        await stranger.revision()
    await stranger.close()
    server.close()
