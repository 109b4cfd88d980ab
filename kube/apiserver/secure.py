"""The secure port: TLS, and between it and the API the questions who is asking, and who may do what.

The same application answers on the plain port; a request that comes by this one has a user (authentication.USER)
before it gets there. The order of the steps is upstream's (pkg/server/config.go: DefaultBuildHandlerChain).
"""

from __future__ import annotations

from asyncio import Transport
from typing import Any

from kube.api import errors
from kube.api.authentication import UserInfo
from kube.apiserver import authorization, impersonation, websocket
from kube.apiserver.access import Access
from kube.apiserver.app import error_response, send_response, without_store
from kube.apiserver.asgi import Application, Receive, Scope, Send
from kube.apiserver.authentication import USER, Peer
from kube.apiserver.protocol import HttpProtocol
from kube.store.store import Unavailable

PEER = "kube.peer"
"""Where a scope has its connection's Peer."""


class Secure:
    """The application, for those who may use it."""

    def __init__(self, app: Application, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            user = await self._admit(scope)
        except errors.ApiError as error:
            await _refuse(error, scope, receive, send)
            return
        except Unavailable as error:
            await _refuse(without_store(error), scope, receive, send)
            return
        # Nobody behind needs the credentials; a pod that is asked through the proxy must not see them.
        scope["headers"] = [each for each in scope["headers"] if each[0] != b"authorization"
                            and not each[0].startswith(impersonation.PREFIX)]  # fmt: skip
        token = USER.set(user)
        try:
            await self._app(scope, receive, send)
        finally:
            USER.reset(token)

    async def _admit(self, scope: Scope) -> UserInfo:
        """Who asks, and may. Raises Unauthorized, Forbidden, Unavailable."""
        headers = scope["headers"]
        asker = await self._access.authentication.user(scope.get(PEER), headers)
        user = impersonation.impersonated(asker, headers, self._access.authorizer)
        wanted = authorization.of_request(user, scope.get("method", "GET"), scope["path"], scope["query_string"])
        decision = self._access.authorizer.decide(wanted)
        if not decision.allowed:
            raise authorization.forbidden(wanted, decision.reason)
        return user


async def _refuse(error: errors.ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    response = error_response(error)
    if scope["type"] == "http":
        await send_response(response, scope["method"], dict(scope["headers"]), receive, send)
    else:
        await websocket.refuse(response, receive, send)


class SecureProtocol(HttpProtocol):
    """HTTP over TLS: each request is given the certificate of the connection that it came by."""

    _peer: Peer | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        subject = tls.getpeercert() if tls is not None else None
        if subject:
            self._peer = Peer(subject, tls.getpeercert(binary_form=True))
        app, websockets = self.app, self.ws_protocol_class

        async def with_peer(scope: Scope, receive: Receive, send: Send) -> None:
            scope[PEER] = self._peer
            await app(scope, receive, send)

        def websocket_protocol(**arguments: Any) -> Any:
            assert websockets is not None
            protocol: Any = websockets(**arguments)
            protocol.app = with_peer
            return protocol

        self.app = with_peer
        self.ws_protocol_class = websocket_protocol  # type: ignore[assignment]  # a way to make one
