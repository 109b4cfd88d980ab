"""Who may ask the node API."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, make_mocked_request
from yarl import URL

from kube import certificates
from kube.api import errors
from kube.api.authentication import TokenReview, TokenReviewStatus, UserInfo
from kube.api.authorization import SubjectAccessReview, SubjectAccessReviewStatus
from kube.certificates import Authority, Pair
from kube.kubelet.access import Access, AccessOptions, from_here, wanted

RIGHTS = {
    "exec": ("POST", "/exec/default/web/main", "create", "proxy"),
    "logs of a container": ("GET", "/containerLogs/default/web/main", "get", "proxy"),
    "pods": ("GET", "/pods", "get", "proxy"),
    "metrics": ("GET", "/metrics", "get", "metrics"),
    "metrics of containers": ("GET", "/metrics/cadvisor", "get", "metrics"),
    "stats": ("GET", "/stats/summary", "get", "stats"),
    "logs of the node": ("GET", "/logs/", "get", "log"),
    "what only begins so": ("GET", "/statsandmore", "get", "proxy"),
}


@pytest.mark.parametrize(("method", "path", "verb", "subresource"), RIGHTS.values(), ids=RIGHTS.keys())
def test_a_request_takes_a_right_on_the_node(method: str, path: str, verb: str, subresource: str) -> None:
    right = wanted(method, path, "n1")
    assert (right.verb, right.resource, right.subresource, right.name) == (verb, "nodes", subresource, "n1")


class Apiserver:
    """Answers reviews: `reader` may get, and has the token `good`."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.away = False

    async def create(self, review: Any) -> Any:
        self.asked.append(review)
        if self.away:
            raise errors.ServiceUnavailable("away")
        if isinstance(review, TokenReview):
            known = review.spec.token == "good"
            status = TokenReviewStatus(authenticated=known, user=UserInfo(username="reader" if known else ""))
            return review.model_copy(update={"status": status})
        assert isinstance(review, SubjectAccessReview)
        attributes = review.spec.resourceAttributes
        assert attributes is not None
        allowed = review.spec.user == "reader" and attributes.verb == "get"
        return review.model_copy(update={"status": SubjectAccessReviewStatus(allowed=allowed)})


class Node:
    """The node API, on loopback, and its clients."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.apiserver = Apiserver()
        self.authority = self.make_authority("ca")
        self.make("kubelet", hosts=["127.0.0.1"])
        self.url = ""

    def make_authority(self, name: str) -> Authority:
        return certificates.make_authority(name, self.pair(name))

    def make(self, name: str, authority: Authority | None = None, **more: Any) -> Pair:
        certificates.make_certificate(authority or self.authority, self.pair(name), name, **more)
        return self.pair(name)

    def pair(self, name: str) -> Pair:
        return Pair(self.directory / f"{name}.crt", self.directory / f"{name}.key")

    @contextlib.asynccontextmanager
    async def serving(self, **options: Any) -> AsyncIterator[Node]:
        client: Any = self.apiserver
        access = Access(AccessOptions(**options), "n1", client)

        async def answer(request: web.Request) -> web.Response:
            return web.Response(text="yes")

        app = web.Application(middlewares=[access.guard])
        app.router.add_route("*", "/{path:.*}", answer)
        server = TestServer(app, scheme="https")
        await server.start_server(ssl=certificates.server_context(self.pair("kubelet"), self.pair("ca").certificate))
        self.url = str(server.make_url(""))
        try:
            yield self
        finally:
            await server.close()

    async def ask(self, method: str, path: str, pair: Pair | None = None, token: str = "") -> tuple[int, str]:
        tls: ssl.SSLContext = certificates.client_context(self.pair("ca").certificate, pair)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with (
            aiohttp.ClientSession(self.url) as session,
            session.request(method, path, ssl=tls, headers=headers) as answer,
        ):
            return answer.status, await answer.text()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_who_shows_a_certificate_of_the_authority_is_let_in(node: Node) -> None:
    anyone = node.make("anyone")
    async with node.serving(anonymous=False):
        assert await node.ask("POST", "/exec/default/web/main", anyone) == (200, "yes")
        assert await node.ask("GET", "/pods") == (401, "Unauthorized")
        assert await node.ask("GET", "/healthz", token="good") == (401, "Unauthorized"), "nobody asks whose it is"
    assert not node.apiserver.asked


async def test_a_certificate_of_another_authority_ends_the_connection(node: Node) -> None:
    stranger = node.make("stranger", node.make_authority("other"))
    async with node.serving(anonymous=False):
        with pytest.raises(aiohttp.ClientError):
            await node.ask("GET", "/pods", stranger)


async def test_who_speaks_no_tls_is_hung_up_on(node: Node) -> None:
    async with node.serving(), asyncio.timeout(20):
        address = URL(node.url)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in await reader.read()
        writer.close()


async def test_the_apiserver_says_who_may_and_its_answers_are_kept(node: Node) -> None:
    reader = node.make("reader", organizations=["readers"])
    async with node.serving(anonymous=False, mode="Webhook"):
        for _ in range(2):
            assert await node.ask("GET", "/containerLogs/default/web/main", reader) == (200, "yes")
            assert await node.ask("POST", "/run/default/web/main", reader) == (
                403, "Forbidden (user=reader, verb=create, resource=nodes, subresource=proxy)",
            )  # fmt: skip
        assert [review.spec.groups for review in node.apiserver.asked] == [["readers", "system:authenticated"]] * 2
        node.apiserver.away = True
        status, text = await node.ask("GET", "/stats/summary", reader)
        assert (status, text) == (
            500, "Authorization error (user=reader, verb=get, resource=nodes, subresource=stats)",
        )  # fmt: skip


async def test_a_token_is_the_apiservers_to_know(node: Node) -> None:
    async with node.serving(mode="Webhook", token_webhook=True):
        assert (await node.ask("GET", "/metrics", token="good"))[0] == 200
        assert await node.ask("GET", "/metrics", token="bad") == (401, "Unauthorized")
        status, text = await node.ask("GET", "/metrics")
        assert (status, "user=system:anonymous" in text) == (403, True)


@pytest.mark.parametrize(
    ("peer", "here"),
    [("127.0.0.1", True), ("192.0.2.7", True), ("192.0.2.8", False), ("::1", True), ("fe80::1%eth0", False)],
)
def test_the_node_itself_is_known_by_its_address(peer: str, here: bool) -> None:
    transport = Mock()
    transport.get_extra_info = {"peername": (peer, 40000), "sockname": ("192.0.2.7", 10250)}.get
    assert from_here(make_mocked_request("GET", "/pods", transport=transport)) is here


async def test_who_is_not_known_is_let_in_from_the_node_only(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async with node.serving():
        assert await node.ask("GET", "/pods") == (200, "yes")
        monkeypatch.setattr("kube.kubelet.access.from_here", lambda request: False)
        assert await node.ask("GET", "/pods") == (401, "Unauthorized")
