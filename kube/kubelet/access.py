"""Who may ask the node API: it holds the logs of the node's pods, and who can exec owns them.

Who asks is told by a client certificate (`--client-ca-file`) or, with `--authentication-token-webhook`, by a bearer
token; who shows neither is `system:anonymous`, where that is allowed. What a request wants is a right of RBAC's on the
node: `nodes/proxy`, or for some paths `nodes/stats`, `nodes/metrics`, `nodes/log`; with `--authorization-mode=Webhook`
the apiserver says who has it (a SubjectAccessReview), and its answers are kept for a while.
(pkg/kubelet/server/auth.go, cmd/kubelet/app/auth.go)

Upstream's default, AlwaysAllow, lets in everybody who reaches the port. Here it lets in who is known, and of those who
are not, only clients on the node itself: an apiserver on the same machine needs no certificate.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler

from kube import certificates
from kube.api import errors
from kube.api.authentication import TokenReview, TokenReviewSpec, UserInfo
from kube.api.authorization import ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec
from kube.client.rest import Client

log = logging.getLogger(__name__)

MODES = ("AlwaysAllow", "Webhook")
AUTHENTICATED = "system:authenticated"
ANONYMOUS = UserInfo(username="system:anonymous", groups=["system:unauthenticated"])
VERBS = {"POST": "create", "GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
SUBRESOURCES = {"/stats": "stats", "/metrics": "metrics", "/logs": "log"}
"""The parts of the node API that are a subresource of their own; all others are `proxy`."""

TOKENS_KEPT, ALLOWED_KEPT, FORBIDDEN_KEPT = 120.0, 300.0, 30.0
"""Seconds that answers of the apiserver are good for."""
MOST_KEPT = 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """What the flags say."""

    anonymous: bool = True
    token_webhook: bool = False
    mode: str = "AlwaysAllow"


def wanted(method: str, path: str, node: str) -> ResourceAttributes:
    """The right that a request takes."""
    inside = (name for part, name in SUBRESOURCES.items() if path == part or path.startswith(f"{part}/"))
    return ResourceAttributes(
        verb=VERBS.get(method, ""), version="v1", resource="nodes", subresource=next(inside, "proxy"), name=node
    )


class Access:
    """Asks of every request who sends it, and whether he may."""

    def __init__(self, options: AccessOptions, node: str, client: Client) -> None:
        self._options, self._node, self._client = options, node, client
        self._tokens: _Kept[UserInfo | None] = _Kept()
        self._allowed: _Kept[bool] = _Kept()

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer what is refused; have the rest answered."""
        user = await self._user(request)
        if user is None:
            raise web.HTTPUnauthorized(text="Unauthorized")
        if self._options.mode == "AlwaysAllow":
            if user is ANONYMOUS and not from_here(request):
                raise web.HTTPUnauthorized(text="Unauthorized")
        else:
            await self._authorize(user, wanted(request.method, request.path, self._node))
        return await handler(request)

    async def _user(self, request: web.Request) -> UserInfo | None:
        """Who asks; None: nobody that is let in."""
        tls = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
        name, groups = certificates.subject((tls.getpeercert() if tls is not None else None) or {})
        if name:
            return UserInfo(username=name, groups=[*groups, AUTHENTICATED])
        scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
        if self._options.token_webhook and scheme.lower() == "bearer" and token.strip():
            return await self._owner(token.strip())
        return ANONYMOUS if self._options.anonymous else None

    async def _owner(self, token: str) -> UserInfo | None:
        """Whose a token is; None: nobody's. Raises HTTPUnauthorized if the apiserver does not say."""
        known, user = self._tokens.get(token)
        if known:
            return user
        try:
            review = await self._client.create(TokenReview(spec=TokenReviewSpec(token=token)))
        except errors.ApiError as error:
            log.warning("cannot ask whose a token is", extra={"error": error})
            raise web.HTTPUnauthorized(text="Unauthorized") from None
        user = review.status.user if review.status.authenticated else None
        self._tokens.put(token, user, TOKENS_KEPT)
        return user

    async def _authorize(self, user: UserInfo, attributes: ResourceAttributes) -> None:
        """Raises HTTPForbidden, or HTTPInternalServerError if the apiserver does not say, with upstream's words."""
        about = (
            f"(user={user.username}, verb={attributes.verb}, resource={attributes.resource}, "
            f"subresource={attributes.subresource})"
        )
        spec = SubjectAccessReviewSpec(
            resourceAttributes=attributes, user=user.username, uid=user.uid, groups=user.groups, extra=user.extra
        )
        key = repr(spec)
        known, allowed = self._allowed.get(key)
        if not known:
            try:
                review = await self._client.create(SubjectAccessReview(spec=spec))
            except errors.ApiError as error:
                log.warning("cannot ask who may do what", extra={"error": error})
                raise web.HTTPInternalServerError(text=f"Authorization error {about}") from None
            allowed = review.status.allowed
            self._allowed.put(key, allowed, ALLOWED_KEPT if allowed else FORBIDDEN_KEPT)
        if not allowed:
            raise web.HTTPForbidden(text=f"Forbidden {about}")


def from_here(request: web.Request) -> bool:
    """Whether the client runs on this machine: it calls from the address that it calls."""
    transport = request.transport
    if transport is None:
        return False
    peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    return bool(peer and own) and (peer[0] == own[0] or ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback)


class _Kept(Generic[T]):
    """Answers, each for some seconds."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[float, T]] = {}

    def get(self, key: str) -> tuple[bool, T | None]:
        """Whether there is one, and it."""
        until, answer = self._answers.get(key, (0.0, None))
        there = until > asyncio.get_running_loop().time()
        return there, answer if there else None

    def put(self, key: str, answer: T, seconds: float) -> None:
        if len(self._answers) >= MOST_KEPT:
            self._answers.clear()  # whoever asks in so many ways may be asked after again
        self._answers[key] = asyncio.get_running_loop().time() + seconds, answer
