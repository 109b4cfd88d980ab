"""Keys and certificates: what is made works, and what a person has mixed up is told."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from kube import certificates
from kube.certificates import Authority, Pair
from kube.daemon import Fatal

HOSTS = ["localhost", "127.0.0.1"]


def pair(directory: Path, name: str) -> Pair:
    return Pair(directory / f"{name}.crt", directory / f"{name}.key")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return certificates.make_authority("test-ca", pair(tmp_path, "ca"))


def test_a_key_is_its_owners_alone_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    certificates.make_self_signed(pair(tmp_path, "self"), "host", HOSTS)
    certificates.make_key(tmp_path / "deep/sa.key")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {"self.crt": 0o644, "self.key": 0o600, "sa.key": 0o600}


def test_what_is_made_is_fit_to_serve(tmp_path: Path, authority: Authority) -> None:
    signed, own = pair(tmp_path, "signed"), pair(tmp_path, "self")
    certificates.make_certificate(authority, signed, "server", hosts=HOSTS)
    certificates.make_self_signed(own, "host", HOSTS)
    assert (certificates.problem(signed), certificates.problem(own)) == ("", "")


def test_an_authority_that_was_read_signs_as_the_one_that_was_made(tmp_path: Path, authority: Authority) -> None:
    read = Authority.load(pair(tmp_path, "ca"))
    assert read.certificate == authority.certificate
    certificates.make_certificate(read, pair(tmp_path, "x"), "x", hosts=HOSTS)
    assert certificates.problem(pair(tmp_path, "x")) == ""


def test_a_server_refuses_to_be_what_it_is_not_made_for(tmp_path: Path, authority: Authority) -> None:
    old, client = pair(tmp_path, "old"), pair(tmp_path, "client")
    certificates.make_certificate(authority, old, "old", hosts=HOSTS, lifetime=timedelta(seconds=-1))
    certificates.make_certificate(authority, client, "client")
    assert certificates.problem(old) == "certificate has expired"
    assert "purpose" in certificates.problem(client)


def mixed_up(directory: Path, authority: Authority) -> Pair:
    certificates.make_certificate(authority, pair(directory, "a"), "a", hosts=HOSTS)
    certificates.make_certificate(authority, pair(directory, "b"), "b", hosts=HOSTS)
    return Pair(directory / "a.crt", directory / "b.key")


def test_mistakes_are_told_with_the_file(tmp_path: Path, authority: Authority) -> None:
    wrong = mixed_up(tmp_path, authority)
    (tmp_path / "text").write_text("hello\n")
    text, certificate, key = tmp_path / "text", wrong.certificate, tmp_path / "a.key"
    said = {
        Pair(wrong.certificate, wrong.key): f"cannot use {wrong.key}: it is not the key of the certificate "
        f"{wrong.certificate}",
        Pair(tmp_path / "none", key): f"cannot read {tmp_path / 'none'}: no such file or directory",
        Pair(certificate, tmp_path / "none"): f"cannot read {tmp_path / 'none'}: no such file or directory",
        Pair(text, key): f"cannot use {text}: it holds no certificate in PEM",
        Pair(certificate, text): f"cannot use {text}: it holds no private key in PEM",
        Pair(key, certificate): f"cannot use {key}: it holds no certificate in PEM",
        Pair(certificate, certificate): f"cannot use {certificate}: it holds no private key in PEM",
        Pair(certificate, tmp_path): f"cannot read {tmp_path}: is a directory",
    }
    for given, words in said.items():
        with pytest.raises(Fatal) as refused:
            certificates.server_context(given)
        assert str(refused.value) == words


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_passphrase(
    tmp_path: Path, authority: Authority
) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
    )

    encrypted = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "encrypted").write_bytes(encrypted)
    with pytest.raises(Fatal, match="it is encrypted: give a key without a passphrase"):
        certificates.server_context(Pair(tmp_path / "ca.crt", tmp_path / "encrypted"))


@pytest.mark.parametrize(
    "content",
    [pytest.param(b"", id="empty"), pytest.param(b"hello", id="text"), pytest.param(b"\xff\xfe", id="binary")],
)
def test_a_file_without_authorities_is_refused(tmp_path: Path, authority: Authority, content: bytes) -> None:
    (tmp_path / "cas").write_bytes(content)
    with pytest.raises(Fatal, match=f"cannot use the authorities of {tmp_path / 'cas'}: .*: give certificates in PEM"):
        certificates.server_context(pair(tmp_path, "ca"), tmp_path / "cas")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Fatal, match=f"cannot write {tmp_path}/file/sa.key: "):
        certificates.make_key(tmp_path / "file/sa.key")
