"""Service accounts' tokens: who a pod is to the API, signed.

Two kinds, both JSON web tokens. A *bound* token is asked for (`serviceaccounts/<name>/token`), is meant for an
audience, expires, and dies with the pod it was made for. A *legacy* one is the content of a Secret of type
`kubernetes.io/service-account-token`, and lives as long as that. Whoever holds the private key signs: the apiserver
the first, the controller manager the second; whoever holds the public key can check.

Here is what a token says and how it is signed. Whether what it says is still true, is the apiserver's to ask
(apiserver/tokens.py). `cryptography` and `jwt` are imported with the first key: they take as long as a tenth of a
start. (pkg/serviceaccount/{claims,legacy,jwt}.go)
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kube.daemon import Fatal

ISSUER = "https://kubernetes.default.svc.cluster.local"
LEGACY_ISSUER = "kubernetes/serviceaccount"
PREFIX = "system:serviceaccount:"
ALL_GROUP = "system:serviceaccounts"

Claims = dict[str, Any]


class Named(NamedTuple):
    """An object that a token names."""

    name: str
    uid: str


class NotValid(Exception):
    """The token is one of ours to look at, and is not good; the text says why."""


def username(namespace: str, name: str) -> str:
    """The user that a service account is."""
    return f"{PREFIX}{namespace}:{name}"


def groups(namespace: str) -> list[str]:
    """The groups that a service account is in."""
    return [ALL_GROUP, f"{ALL_GROUP}:{namespace}"]


def split_username(user: str) -> tuple[str, str] | None:
    """The namespace and the name of the service account that a user is; None if it is none."""
    namespace, colon, name = user.removeprefix(PREFIX).partition(":")
    return (namespace, name) if user.startswith(PREFIX) and colon and namespace and name else None


# What a token says


def legacy_claims(namespace: str, account: Named, secret: str) -> Claims:
    """Of a token in a Secret: it has no end."""
    return {
        "iss": LEGACY_ISSUER,
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": secret,
        "kubernetes.io/serviceaccount/service-account.name": account.name,
        "kubernetes.io/serviceaccount/service-account.uid": account.uid,
        "sub": username(namespace, account.name),
    }


def bound_claims(
    namespace: str,
    account: Named,
    *,
    issuer: str,
    audiences: Sequence[str],
    now: int,
    seconds: int,
    warn_after: int = 0,
    bound: Mapping[str, Named] | None = None,
) -> Claims:
    """Of a token that was asked for. `bound`: the pod, node or secret with which it dies, by `pod`, `node`, `secret`.

    `seconds`: until it expires; `warn_after`: seconds until its holder ought to have a newer one, 0: as it expires.
    """
    private: dict[str, Any] = {"namespace": namespace, "serviceaccount": account._asdict()}
    for kind, named in (bound or {}).items():
        private[kind] = named._asdict() if named.uid else {"name": named.name}  # a node that is not there
    if warn_after:
        private["warnafter"] = now + warn_after
    return {
        "aud": list(audiences),
        "exp": now + seconds,
        "iat": now,
        "iss": issuer,
        "jti": str(uuid.uuid4()),
        "kubernetes.io": private,
        "nbf": now,
        "sub": username(namespace, account.name),
    }


# How it is signed


@dataclass(frozen=True, slots=True)
class Signer:
    """Who makes tokens."""

    key: Any
    algorithm: str
    kid: str

    @classmethod
    def load(cls, path: Path) -> Signer:
        """The private key in a file. Raises Fatal."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(_read(path), None)
        except (ValueError, TypeError) as error:
            encrypted = isinstance(error, TypeError)
            why = "it is encrypted: give one without a passphrase" if encrypted else "it holds no private key in PEM"
            raise Fatal(f"cannot sign service accounts' tokens with {path}: {why}") from None
        return cls(key, _algorithm(key, path), _kid(key.public_key()))

    def sign(self, claims: Claims) -> str:
        """The token that says so."""
        import jwt

        return jwt.encode(claims, self.key, self.algorithm, {"kid": self.kid, "typ": None})


class Verifier:
    """Who believes tokens: those that one of some keys has signed."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """The public keys in files, or those of the private keys there. Raises Fatal."""
        self._keys: dict[str, tuple[Any, str]] = {}
        for path in paths:
            for key in _public_keys(path):
                self._keys[_kid(key)] = key, _algorithm(key, path)

    @property
    def algorithms(self) -> list[str]:
        """With which the keys sign."""
        return sorted({algorithm for _, algorithm in self._keys.values()})

    def claims(self, token: str) -> Claims:
        """What a token says. Its time and audience are not looked at. Raises NotValid."""
        import jwt

        try:
            kid = jwt.get_unverified_header(token).get("kid")
            keys = [self._keys[kid]] if kid in self._keys else list(self._keys.values())
        except jwt.InvalidTokenError as error:
            raise NotValid(str(error).lower()) from None
        for key, algorithm in keys:
            try:
                claims: Claims = jwt.decode(token, key, [algorithm], options=_SIGNATURE_ONLY)
            except jwt.InvalidTokenError:
                continue
            return claims
        raise NotValid("invalid signature")

    def key_set(self) -> dict[str, Any]:
        """The public keys as a JSON web key set."""
        from cryptography.hazmat.primitives.asymmetric import rsa
        from jwt.algorithms import ECAlgorithm, RSAAlgorithm

        found = []
        for kid, (key, algorithm) in self._keys.items():
            kind = RSAAlgorithm if isinstance(key, rsa.RSAPublicKey) else ECAlgorithm
            material = kind.to_jwk(key, as_dict=True)
            material.pop("key_ops", None)
            found.append({"use": "sig", **material, "kid": kid, "alg": algorithm})
        return {"keys": found}


_SIGNATURE_ONLY: Any = {
    "verify_signature": True, "verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False,
    "verify_iss": False, "verify_sub": False, "verify_jti": False,
}  # fmt: skip


def issuer_of(token: str) -> str:
    """Who says that it has made the token; empty for what is no JSON web token. Nothing is verified."""
    import jwt

    try:
        return str(jwt.decode(token, options={"verify_signature": False}).get("iss", ""))
    except jwt.InvalidTokenError:
        return ""


def _public_keys(path: Path) -> list[Any]:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
    from cryptography.x509 import load_pem_x509_certificate

    found: list[Any] = []
    for block in _blocks(_read(path)):
        try:
            if b"PRIVATE KEY" in block.splitlines()[0]:
                found.append(load_pem_private_key(block, None).public_key())
            elif b"CERTIFICATE" in block.splitlines()[0]:
                found.append(load_pem_x509_certificate(block).public_key())
            else:
                found.append(load_pem_public_key(block))
        except (ValueError, TypeError):
            raise Fatal(f"cannot check service accounts' tokens with {path}: a key in it cannot be read") from None
    if not found:
        raise Fatal(f"cannot check service accounts' tokens with {path}: it holds no key in PEM")
    return found


def _blocks(text: bytes) -> list[bytes]:
    """The PEM blocks of a file."""
    begin = b"-----BEGIN "
    blocks = [begin + rest.strip() + b"\n" for rest in text.split(begin)[1:]]
    return [block for block in blocks if b"EC PARAMETERS" not in block.splitlines()[0]]


def _algorithm(key: Any, path: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return "RS256"
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        by_curve = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
        if found := by_curve.get(key.curve.name):
            return found
    raise Fatal(f"cannot use {path} for service accounts' tokens: keys are RSA, or on the curve P-256, P-384 or P-521")


def _kid(key: Any) -> str:
    """The name that a key goes by: its hash (pkg/serviceaccount/jwt.go: keyIDFromPublicKey)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise Fatal(f"cannot read {path}: {why}") from None
