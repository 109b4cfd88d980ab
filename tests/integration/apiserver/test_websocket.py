"""WebSockets through a real server and a real socket: watches, and what is behind the subresource `proxy`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import pytest
import uvicorn
from aiohttp import web

from kube.apiserver import relay
from kube.apiserver.protocol import HttpProtocol
from tests.integration.apiserver.test_etcd_outage import PODS_PATH, Apiserver, pod
from tests.own_etcd import OwnEtcd


@pytest.fixture
async def url(own_etcd: OwnEtcd) -> AsyncIterator[str]:
    """An apiserver that listens."""
    apiserver = Apiserver(own_etcd.endpoint)
    await apiserver.start()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(apiserver.app, http=HttpProtocol, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve([listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    apiserver.handlers.stopping.set()
    server.should_exit = True
    await serving
    await apiserver.stop()


async def test_each_event_is_a_frame(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}{PODS_PATH}?watch=1") as watching:
        for name in ("a", "b"):
            async with session.post(url + PODS_PATH, json=pod(name)) as answer:
                assert answer.status == 201
            event = await watching.receive_json(timeout=5)
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", name)


async def test_a_watch_that_ends_closes_its_socket(url: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}{PODS_PATH}?watch=1&timeoutSeconds=1") as watching,
    ):
        message = await watching.receive(timeout=5)
        assert message.type is aiohttp.WSMsgType.CLOSE


async def test_an_error_answers_the_handshake(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{url}/api/v1/nothing?watch=1")
        assert refused.value.status == 404


@pytest.fixture
async def backend(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A server that echoes what it is told by WebSocket, as the pod `p`; the URL by which the apiserver passes on."""

    async def echo(request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse(protocols=["chat"])
        await answer.prepare(request)
        await answer.send_str(f"{request.path_qs} {request.headers.get('Authorization')} {request.headers['Cookie']}")
        async for message in answer:
            await answer.send_str(message.data)
        return answer

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(text="not here", status=418)

    app = web.Application()
    app.router.add_get("/echo", echo)
    app.router.add_get("/tea", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setattr(relay, "proxyable", lambda address: True)  # it is on loopback
    async with aiohttp.ClientSession() as session:
        async with session.post(url + PODS_PATH, json=pod("p")) as answer:
            assert answer.status == 201
        patch, content_type = {"status": {"podIP": "127.0.0.1"}}, {"Content-Type": "application/merge-patch+json"}
        async with session.patch(f"{url}{PODS_PATH}/p/status", json=patch, headers=content_type) as answer:
            assert answer.status == 200
    yield f"{url}{PODS_PATH}/p:{runner.addresses[0][1]}/proxy"
    await runner.cleanup()


async def test_a_websocket_is_passed_on_to_what_is_behind_proxy(backend: str) -> None:
    headers = {"Cookie": "a=b"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{backend}/echo?q=1%202", protocols=["chat"], headers=headers) as socket,
    ):
        assert socket.protocol == "chat"
        assert await socket.receive_str(timeout=5) == "/echo?q=1+2 None a=b"
        await socket.send_str("x" * 100_000)
        assert await socket.receive_str(timeout=5) == "x" * 100_000


async def test_what_does_not_become_a_websocket_is_answered(backend: str) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{backend}/tea")
        assert refused.value.status == 418
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{backend}/echo", origin="http://elsewhere")
        assert refused.value.status == 403


async def test_a_path_that_ends_with_proxy_is_redirected_to_where_links_are_right(backend: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{backend}?a=b", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, f"{urlsplit(backend).path}/?a=b")
