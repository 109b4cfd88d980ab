"""kubeconfig files, as kubectl writes them and as people get them wrong."""

from __future__ import annotations

import base64
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube.client.kubeconfig import KubeconfigError, load
from kube.client.rest import Client
from tests.conftest import unavailable


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key."""
    if shutil.which("openssl") is None:
        unavailable("the command openssl")
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = directory / "tls.crt", directory / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=test"],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def write(
    tmp_path: Path, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **replaced: Any
) -> Path:
    data = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "other", "context": {}}, {"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:8080", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        **replaced,
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(data))
    return path


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_a_plain_server(tmp_path: Path) -> None:
    access = load(write(tmp_path, {"server": "http://127.0.0.1:8080/"}))
    assert access == ("http://127.0.0.1:8080", "", None)


def test_a_token_and_a_token_file(tmp_path: Path) -> None:
    assert load(write(tmp_path, user={"token": "secret"})).token == "secret"
    (tmp_path / "token").write_text("from a file\n")
    assert load(write(tmp_path, user={"tokenFile": "token"})).token == "from a file"


def test_certificates_as_data_and_as_files(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    as_data = write(
        tmp_path,
        {"server": "https://h:6443", "certificate-authority-data": encoded(certificate)},
        {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)},
    )
    as_files = [
        {"server": "https://h:6443", "certificate-authority": str(certificate)},
        {"client-certificate": str(certificate), "client-key": str(key)},
    ]
    for path in (as_data, write(tmp_path, *as_files)):
        context = load(path).ssl
        assert context is not None
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname


def test_only_the_cluster_s_own_authority_is_trusted(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    path = write(tmp_path, {"server": "https://h:6443", "certificate-authority": str(pair[0])})
    context = load(path).ssl
    assert context is not None
    assert [authority["subject"] for authority in context.get_ca_certs()] == [((("commonName", "test"),),)]


def test_insecure_skip_tls_verify(tmp_path: Path) -> None:
    context = load(write(tmp_path, {"server": "https://h:6443", "insecure-skip-tls-verify": True})).ssl
    assert context is not None
    assert context.verify_mode == ssl.CERT_NONE


def test_the_master_flag_overrides_the_server(tmp_path: Path) -> None:
    path = write(tmp_path, user={"token": "secret"})
    assert Client.from_flags("", str(path)).server == "http://127.0.0.1:8080"
    assert Client.from_flags("http://other:1", str(path)).server == "http://other:1"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        pytest.param({"replaced": {"current-context": ""}}, "current-context: is not set", id="no current context"),
        pytest.param({"replaced": {"contexts": None}}, "contexts: has no entry named 'here'", id="no contexts"),
        pytest.param({"replaced": {"clusters": "x"}}, "clusters: is not a list", id="clusters are no list"),
        pytest.param({"replaced": {"users": []}}, "users: has no entry named 'u'", id="the user is missing"),
        pytest.param(
            {"replaced": {"contexts": [{"name": "here", "context": {"user": "u"}}]}},
            "contexts[here].context.cluster: is not set",
            id="no cluster in the context",
        ),
        pytest.param(
            {"cluster": {"server": "127.0.0.1"}},
            "clusters[c].cluster.server: '127.0.0.1' is not an http:// or https:// address",
            id="a server that is no URL",
        ),
        pytest.param(
            {"cluster": {"server": "https://h", "certificate-authority-data": "?"}},
            "clusters[c].cluster.certificate-authority-data: is not base64",
            id="an authority that is not base64",
        ),
        pytest.param(
            {"cluster": {"server": "https://h", "certificate-authority-data": "eHh4"}},
            "clusters[c].cluster.certificate-authority: is no certificate",
            id="an authority that is no certificate",
        ),
        pytest.param(
            {"cluster": {"server": "https://h", "certificate-authority": "missing.crt"}},
            "missing.crt cannot be read: No such file or directory",
            id="an authority's file that is not there",
        ),
        pytest.param(
            {"cluster": {"server": "https://h"}, "user": {"client-certificate-data": "eHh4"}},
            "users[u].user.client-key: is not set, but client-certificate is",
            id="a certificate without its key",
        ),
        pytest.param(
            {
                "cluster": {"server": "https://h"},
                "user": {"client-certificate-data": "eHh4", "client-key-data": "eHh4"},
            },
            "users[u].user.client-certificate: does not work with the key",
            id="a certificate that is none",
        ),
        pytest.param({"user": {"exec": {"command": "x"}}}, "users[u].user.exec: is not supported", id="exec"),
    ],
)
def test_errors_name_the_file_and_the_field(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    path = write(tmp_path, change.get("cluster"), change.get("user"), **change.get("replaced", {}))
    with pytest.raises(KubeconfigError) as raised:
        load(path)
    assert str(raised.value).startswith(f"kubeconfig {path}: ")
    assert complaint in str(raised.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param(None, "cannot be read: No such file or directory", id="a file that is not there"),
        pytest.param(b"a: [", "is not YAML", id="no YAML"),
        pytest.param(b"\xff\xfe\x00", "is not YAML", id="no text"),
        pytest.param(b"- a", "the file: is not a mapping", id="a list"),
        pytest.param(b"", "the file: is not a mapping", id="an empty file"),
    ],
)
def test_files_that_are_no_kubeconfig(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KubeconfigError, match=complaint):
        load(path)
