"""The secure port of a real apiserver: who is let in, and what is said to who is not."""

from __future__ import annotations

import json
import socket
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kube import certificates
from kube.certificates import Pair
from tests.integration.client.own_apiserver import OwnApiserver
from tests.own_etcd import OwnEtcd

TOKENS = 'tok,alice,1001,"devs"\nroot,root,1,"system:masters"\n'
REVIEW = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}


class Pki:
    """Keys and certificates in files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = certificates.make_authority("test-ca", self.pair("ca"))
        self.stranger = certificates.make_authority("another-ca", self.pair("another-ca"))
        certificates.make_certificate(self.ca, self.pair("carol"), "carol", organizations=["qa"])
        certificates.make_certificate(self.ca, self.pair("old"), "old", lifetime=timedelta(seconds=-1))
        certificates.make_certificate(self.stranger, self.pair("mallory"), "mallory")
        (directory / "tokens.csv").write_text(TOKENS)

    def pair(self, name: str) -> Pair:
        return Pair(self.directory / f"{name}.crt", self.directory / f"{name}.key")

    @property
    def flags(self) -> tuple[str, ...]:
        return (f"--client-ca-file={self.directory / 'ca.crt'}", f"--token-auth-file={self.directory / 'tokens.csv'}")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def apiserver(scratch_etcd: OwnEtcd, tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[OwnApiserver]:
    made = OwnApiserver(scratch_etcd, tmp_path_factory.mktemp("secure") / "log", *pki.flags)
    try:
        made.start()
        yield made
    finally:
        made.kill()


Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(apiserver: OwnApiserver, pki: Pki) -> Ask:
    """Sends a request to the secure port; returns the status and the body."""

    def send(path: str, body: Any = None, *, cert: str = "", token: str = "") -> tuple[int, Any]:
        context = certificates.client_context(apiserver.ca_file, pki.pair(cert) if cert else None)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(apiserver.secure_url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    return send


def who(ask: Ask, **shown: str) -> dict[str, Any]:
    code, review = ask("/apis/authentication.k8s.io/v1/selfsubjectreviews", REVIEW, **shown)
    assert code == 201, review
    found: dict[str, Any] = review["status"]["userInfo"]
    return found


def test_a_certificate_and_a_token_say_who_asks(ask: Ask) -> None:
    carol, alice = who(ask, cert="carol"), who(ask, token="tok")
    assert (carol["username"], carol["groups"]) == ("carol", ["qa", "system:authenticated"])
    assert (alice["username"], alice["uid"], alice["groups"]) == ("alice", "1001", ["devs", "system:authenticated"])


def test_a_wrong_token_is_unauthorized(ask: Ask) -> None:
    code, status = ask("/api/v1/namespaces/default/pods", token="wrong")
    assert (code, status["message"], status["reason"]) == (401, "Unauthorized", "Unauthorized")


@pytest.mark.parametrize(
    ("name", "alert"),
    [pytest.param("mallory", "unknown ca", id="unknown authority"),
     pytest.param("old", "certificate expired", id="expired")],
)  # fmt: skip
def test_a_certificate_that_is_not_believed_is_told_why(ask: Ask, name: str, alert: str) -> None:
    with pytest.raises((urllib.error.URLError, ssl.SSLError)) as refused:
        ask("/version", cert=name)
    assert alert in str(refused.value)


def test_tls_before_1_2_is_told_so(apiserver: OwnApiserver) -> None:
    port = apiserver.secure_url.rpartition(":")[2]
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    assert "alert protocol version" in result.stderr


async def test_a_watch_over_a_websocket_has_its_connections_user(apiserver: OwnApiserver, pki: Pki) -> None:
    tls = certificates.client_context(apiserver.ca_file, pki.pair("carol"))
    url = f"{apiserver.secure_url}/api/v1/namespaces?watch=1"
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, ssl=tls) as watching:
            event = await watching.receive_json(timeout=5)
            assert event["type"] == "ADDED"
        nobody = certificates.client_context(apiserver.ca_file)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url, ssl=nobody, headers={"Authorization": "Bearer wrong"})
        assert refused.value.status == 401


def test_the_plain_port_asks_nobody(apiserver: OwnApiserver) -> None:
    request = urllib.request.Request(
        f"{apiserver.url}/apis/authentication.k8s.io/v1/selfsubjectreviews",
        json.dumps(REVIEW).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer wrong"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.load(answer)["status"]["userInfo"]["username"] == "system:unsecured"


def test_the_self_signed_pair_is_kept(apiserver: OwnApiserver) -> None:
    before = apiserver.ca_file.read_bytes()
    apiserver.kill()
    apiserver.start()
    assert apiserver.ca_file.read_bytes() == before
    assert stat.S_IMODE((apiserver.cert_dir / "apiserver.key").stat().st_mode) == 0o600


def test_a_pair_that_has_expired_is_made_anew(scratch_etcd: OwnEtcd, tmp_path: Path) -> None:
    apiserver = OwnApiserver(scratch_etcd, tmp_path / "log")
    pair = Pair(apiserver.ca_file, apiserver.cert_dir / "apiserver.key")
    certificates.make_self_signed(pair, "host", ["localhost"], timedelta(seconds=-1))
    try:
        apiserver.start()
        assert certificates.problem(pair) == ""
        assert "certificate has expired" in apiserver.log()
    finally:
        apiserver.kill()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param(["--tls-cert-file={}/ca.crt"], "belong together: give both, or neither", id="half a pair"),
        pytest.param(["--tls-cert-file={}/ca.crt", "--tls-private-key-file={}/none.key"],
                     "cannot read {}/none.key: no such file or directory", id="no key"),
        pytest.param(["--tls-cert-file={}/ca.crt", "--tls-private-key-file={}/carol.key"],
                     "cannot use {}/carol.key: it is not the key of the certificate {}/ca.crt", id="another key"),
        pytest.param(["--client-ca-file={}/carol.key"], "cannot use the authorities of {}/carol.key", id="no CA"),
        pytest.param(["--service-account-signing-key-file={}/ca.crt"],
                     "cannot sign service accounts' tokens with {}/ca.crt: it holds no private key in PEM",
                     id="no signing key"),
        pytest.param(["--authorization-mode=Node"], "'Node' is none of AlwaysAllow, AlwaysDeny", id="no such mode"),
        pytest.param(["--token-auth-file={}/none"], "cannot read --token-auth-file={}/none", id="no tokens"),
        pytest.param(["--bind-address=localhost"], "'localhost' is not an IPv4 address", id="no address"),
    ],
)  # fmt: skip
def test_a_start_that_fails_says_in_one_line_why(
    scratch_etcd: OwnEtcd, pki: Pki, tmp_path: Path, flags: list[str], words: str
) -> None:
    given = [flag.format(pki.directory) for flag in flags]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    result = subprocess.run(
        [sys.executable, "-m", "kube.apiserver", f"--etcd-servers={scratch_etcd.endpoint}", "--insecure-port=0",
         f"--secure-port={port}", "--bind-address=127.0.0.1", f"--cert-dir={tmp_path}", *given],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert result.returncode in (1, 2)
    assert words.replace("{}", str(pki.directory)) in result.stderr.splitlines()[-1]
