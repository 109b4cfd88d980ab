"""Keys and certificates: made where there are none, loaded with words for what is wrong with them.

Everything is in PEM files, as Kubernetes' flags name them. A key is readable by its owner only, and a file is written
beside its place and moved there, so nobody ever reads half of one. Keys are of the curve P-256: an RSA key of the same
strength takes a hundred times as long to make.

What a daemon does at each start is left to OpenSSL alone, by the standard library; `cryptography` is imported where
something is made, or where a person has to be told which of two files is wrong. (It takes as long as a tenth of a
start.)
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kube.daemon import Fatal

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

YEAR = timedelta(days=365)
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of 1.3 are all good. (Upstream's default also has what old clients need, without forward secrecy
nothing.)"""

PeerCertificate = dict[str, Any]
"""A certificate that OpenSSL has verified, as `ssl.SSLSocket.getpeercert` gives it."""


def subject(peer: PeerCertificate) -> tuple[str, list[str]]:
    """Whom a client's certificate is of: CN is the user (empty: of nobody), each O a group.

    (apiserver/pkg/authentication/request/x509)
    """
    attributes = [pair for rdn in peer.get("subject", ()) for pair in rdn]
    names = [value for key, value in attributes if key == "commonName"]
    return names[-1] if names else "", [value for key, value in attributes if key == "organizationName"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate (and the chain behind it) and its key, in two files."""

    certificate: Path
    key: Path


# Made


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs certificates."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, pair: Pair) -> Authority:
        """The authority in two files. Raises Fatal."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            certificate = x509.load_pem_x509_certificate(_read(pair.certificate))
            key = load_pem_private_key(_read(pair.key), None)
        except (ValueError, TypeError) as error:
            raise Fatal(f"cannot use the authority {pair.certificate} with {pair.key}: {error}") from None
        return cls(certificate, key)  # type: ignore[arg-type]  # only such keys are made here; any kind can sign


def make_authority(name: str, pair: Pair, lifetime: timedelta = 10 * YEAR) -> Authority:
    """A new authority, written to its files. Raises Fatal."""
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    made = Authority(_sign(_name(name), key, None, lifetime, authority=True), key)
    _write_pair(pair, [made.certificate], key)
    return made


def make_certificate(
    authority: Authority,
    pair: Pair,
    name: str,
    *,
    organizations: Iterable[str] = (),
    hosts: Iterable[str] = (),
    lifetime: timedelta = YEAR,
) -> None:
    """A certificate with its key, signed and written to its files. Raises Fatal.

    `name` and `organizations` are the user and its groups, to an apiserver; `hosts` (names and addresses) make it one
    of a server, too.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign(_name(name, organizations), key, authority, lifetime, hosts=list(dict.fromkeys(hosts)))
    _write_pair(pair, [certificate], key)


def make_self_signed(pair: Pair, host: str, hosts: Iterable[str], lifetime: timedelta = YEAR) -> None:
    """A server's certificate that nobody vouches for: signed by an authority that is made for it, and forgotten.

    (client-go/util/cert: GenerateSelfSignedCertKey) The authority's certificate follows in the file: a client that is
    given the file as its certificate-authority trusts the server. Raises Fatal.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    stamp = int(datetime.now(UTC).timestamp())
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _name(f"{host}-ca@{stamp}")
    authority = Authority(_sign(authority_name, authority_key, None, lifetime, authority=True), authority_key)
    certificate = _sign(_name(f"{host}@{stamp}"), key, authority, lifetime, hosts=list(dict.fromkeys(hosts)))
    _write_pair(pair, [certificate, authority.certificate], key)


def make_key(path: Path) -> None:
    """A private key for signing tokens, written to its file. Raises Fatal."""
    from cryptography.hazmat.primitives.asymmetric import ec

    _write(path, _key_text(ec.generate_private_key(ec.SECP256R1())), secret=True)


def _name(common: str, organizations: Iterable[str] = ()) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _sign(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: Authority | None,
    lifetime: timedelta,
    *,
    hosts: list[str] | None = None,
    authority: bool = False,
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now = datetime.now(UTC).replace(microsecond=0)
    signer_key = signer.key if signer else key
    signer_public = signer_key.public_key()
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=authority, crl_sign=False, content_commitment=False,
                key_encipherment=False, data_encipherment=False, key_agreement=False,
                encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_public), critical=False)
    )  # fmt: skip
    if not authority:
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
        built = built.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if hosts:
        names = [_general_name(host) for host in hosts]
        built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return built.sign(signer_key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_pair(pair: Pair, chain: list[x509.Certificate], key: ec.EllipticCurvePrivateKey) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    # The key first: a certificate that is there tells that its key is.
    _write(pair.key, _key_text(key), secret=True)
    _write(pair.certificate, b"".join(each.public_bytes(Encoding.PEM) for each in chain), secret=False)


def _key_text(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, *, secret: bool) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644), "wb") as file:
            file.write(content)
        beside.rename(path)
    except OSError as error:
        raise Fatal(f"cannot write {path}: {_why(error)}") from None


# Loaded


NOT_TLS = frozenset({"HTTP_REQUEST", "WRONG_VERSION_NUMBER"})
"""Why OpenSSL refuses what is not even the beginning of a handshake."""


class _Outspoken(ssl.SSLObject):
    """Says why it refuses a handshake.

    OpenSSL has an alert for the other side, and event loops close the connection before it is sent: so the failure is
    told to the loop one step later. Not to who speaks no TLS: he would wait for ever, and so would we.
    """

    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if error.reason in NOT_TLS:
                raise
            self._failure = error
            raise ssl.SSLWantReadError from None


def server_context(pair: Pair, client_ca: Path | None = None) -> ssl.SSLContext:
    """What a server speaks TLS with: 1.2 or newer, forward secrecy, HTTP/1.1.

    With `client_ca`, clients are asked for a certificate, and one that the authority has not signed ends the
    connection. Raises Fatal, which names the file at fault.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _Outspoken
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_SINGLE_ECDH_USE
    load_chain(context, pair)
    if client_ca is not None:
        load_authorities(context, client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def client_context(authorities: Path | None, pair: Pair | None = None) -> ssl.SSLContext:
    """What a client speaks TLS with, that trusts these authorities only (None: whoever answers). Raises Fatal."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authorities is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        load_authorities(context, authorities)
    if pair is not None:
        load_chain(context, pair)
    return context


def load_chain(context: ssl.SSLContext, pair: Pair) -> None:
    """Take a certificate and its key. Raises Fatal, which tells which of the two files is wrong, and how."""
    for path in (pair.certificate, pair.key):
        _read(path)
    try:
        context.load_cert_chain(pair.certificate, pair.key, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        raise Fatal(_diagnosis(pair) or f"cannot use {pair.certificate} with {pair.key}: {_why(error)}") from None


def load_authorities(context: ssl.SSLContext, path: Path) -> None:
    """Trust the authorities of a file. Raises Fatal."""
    try:
        text = _read(path).decode("ascii")
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        why = "it holds no certificate" if isinstance(error, UnicodeDecodeError) else _why(error)
        raise Fatal(f"cannot use the authorities of {path}: {why}: give certificates in PEM") from None


def problem(pair: Pair) -> str:
    """What a client would find wrong with a server's certificate at this moment; empty: nothing.

    It shakes hands with itself, trusting that certificate: so OpenSSL says whether it is valid now, and fit for a
    server.
    """
    server, client = server_context(pair), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    load_authorities(client, pair.certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_side=False),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for turn in range(6):
        try:
            sides[turn % 2].do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            return str(error.verify_message)
        except ssl.SSLError as error:
            return _why(error)
    return ""


def _diagnosis(pair: Pair) -> str:
    """What is wrong with the two files, if it is one of the usual mistakes."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificate = x509.load_pem_x509_certificate(_read(pair.certificate))
    except ValueError:
        return f"cannot use {pair.certificate}: it holds no certificate in PEM"
    try:
        key = load_pem_private_key(_read(pair.key), None)
    except TypeError:
        return f"cannot use {pair.key}: it is encrypted: give a key without a passphrase"
    except ValueError:
        return f"cannot use {pair.key}: it holds no private key in PEM"
    if certificate.public_key() != key.public_key():
        return f"cannot use {pair.key}: it is not the key of the certificate {pair.certificate}"
    return ""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Fatal(f"cannot read {path}: {_why(error)}") from None


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)
