"""Who is asking: from a client's certificate, or a bearer token, to a user and its groups.

Each way answers with a user, with nothing (it was not used), or raises Unauthorized; the first user counts, and who
shows nothing is anonymous, where that is allowed. A token that nobody knows is refused also there: it is a mistake, and
not an anonymous client. (apiserver/pkg/authentication, plugin/pkg/auth/authenticator)

Which user a request has is carried as Go's context carries it, in a context variable: whoever answers the request may
ask. Without any, it came in by the plain port, whose clients are trusted.
"""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import io
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kube import certificates
from kube.api import errors
from kube.api.authentication import UserInfo
from kube.certificates import PeerCertificate
from kube.daemon import Fatal

AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
MASTERS = "system:masters"
ANONYMOUS = UserInfo(username="system:anonymous", groups=[UNAUTHENTICATED])
UNSECURED = UserInfo(username="system:unsecured", groups=[MASTERS, AUTHENTICATED])
"""Who asks on the plain port."""

CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
BEARER_PROTOCOL = b"base64url.bearer.authorization.k8s.io."
"""What a browser, which can set no headers, puts its token behind, among the protocols of a WebSocket."""

USER: ContextVar[UserInfo] = ContextVar("USER", default=UNSECURED)
"""Who asks for what is being answered."""


class Known(NamedTuple):
    """Somebody who is known by a token."""

    user: UserInfo
    audiences: list[str]
    """Of those that were asked for, whom the token is meant for."""


TokenAuthenticator = Callable[[str, Collection[str]], Awaitable[Known | None]]
"""Whose a token is, that is meant for one of some audiences; None: it is not one of mine.

Raises Unauthorized for one that is, and is not good; its cause is the reason.
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """The certificate that a client has shown, and OpenSSL has verified."""

    subject: PeerCertificate
    der: bytes

    def user(self) -> UserInfo | None:
        """CN is the user, each O a group (pkg/authentication/request/x509)."""
        name, groups = certificates.subject(self.subject)
        if not name:
            return None
        credential = f"X509SHA256={hashlib.sha256(self.der).hexdigest()}"
        return UserInfo(username=name, groups=groups, extra={CREDENTIAL_ID: [credential]})


class Authentication:
    """The ways in, in upstream's order."""

    def __init__(
        self, tokens: Iterable[TokenAuthenticator] = (), *, audiences: Sequence[str] = (), anonymous: bool = True
    ) -> None:
        """`audiences`: what the apiserver is called in tokens."""
        self._tokens = tuple(tokens)
        self.audiences = list(audiences)
        self._anonymous = anonymous
        self._completed: dict[int, tuple[UserInfo, UserInfo]] = {}

    async def user(self, peer: Peer | None, headers: Iterable[tuple[bytes, bytes]]) -> UserInfo:
        """Who sends a request with these headers over a connection of this peer. Raises Unauthorized."""
        found = peer.user() if peer is not None else None
        if found is None:
            token = bearer_token(headers)
            if token is None and self._anonymous:
                return ANONYMOUS
            known = await self.known_by(token, self.audiences) if token else None
            found = known.user if known is not None else None
        if found is None:
            raise unauthorized()
        return self._authenticated(found)

    def _authenticated(self, user: UserInfo) -> UserInfo:
        """The user in the group of all who are known. Of a token's user that is made once."""
        if AUTHENTICATED in user.groups:
            return user
        known, completed = self._completed.get(id(user), (None, user))
        if known is not user:
            completed = user.model_copy(update={"groups": [*user.groups, AUTHENTICATED]})
            if len(self._completed) >= 1000:
                self._completed.clear()
            self._completed[id(user)] = user, completed
        return completed

    async def known_by(self, token: str, audiences: Collection[str]) -> Known | None:
        """Whose a token is, that is meant for one of some audiences. Raises Unauthorized."""
        for authenticate in self._tokens:
            if (known := await authenticate(token, audiences)) is not None:
                return known
        return None


def unauthorized() -> errors.Unauthorized:
    """The answer to everyone who is not known: it tells nothing."""
    return errors.Unauthorized("Unauthorized")


def bearer_token(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The token that a request carries; None: it carries none.

    An `Authorization` of another scheme is none (pkg/authentication/request/bearertoken).
    """
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").strip().partition(" ")
            if scheme.lower() == "bearer" and token.strip():
                return token.strip()
        elif name == b"sec-websocket-protocol":
            for word in value.split(b","):
                if word.strip().startswith(BEARER_PROTOCOL):
                    return _unpacked(word.strip().removeprefix(BEARER_PROTOCOL))
    return None


def _unpacked(encoded: bytes) -> str:
    try:
        return base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise unauthorized() from None


def token_file(path: Path, audiences: Sequence[str] = ()) -> TokenAuthenticator:
    """The tokens of a file, `token,user,uid,"group1,group2"` in each line; read once. Raises Fatal.

    They are meant for the apiserver, which is called by some `audiences`.

    (pkg/authentication/token/tokenfile)
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
        raise Fatal(f"cannot read --token-auth-file={path}: {why}") from None
    users = _users(path, text)

    async def authenticate(token: str, wanted: Collection[str]) -> Known | None:
        user, common = users.get(token), [audience for audience in wanted if audience in audiences]
        return None if user is None or (wanted and not common) else Known(user, common)

    return authenticate


def _users(path: Path, text: str) -> Mapping[str, UserInfo]:
    users = {}
    rows = csv.reader(io.StringIO(text), skipinitialspace=True)
    for row in rows:
        if not row or row[0].startswith("#"):
            continue
        if len(row) < 3 or not row[0] or not row[1]:
            raise Fatal(
                f"cannot use --token-auth-file={path}: line {rows.line_num} is not `token,user,uid` or `token,user,uid,"
                f'"group1,group2"`'
            )
        groups = [group.strip() for group in row[3].split(",") if group.strip()] if len(row) > 3 else []
        users[row[0]] = UserInfo(username=row[1], uid=row[2], groups=groups)
    return users
