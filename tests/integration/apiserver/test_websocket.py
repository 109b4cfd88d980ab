"""A watch over a WebSocket, through a real server and a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
import uvicorn

from tests.integration.apiserver.test_etcd_outage import PODS_PATH, Apiserver, pod
from tests.own_etcd import OwnEtcd


@pytest.fixture
async def url(own_etcd: OwnEtcd) -> AsyncIterator[str]:
    """An apiserver that listens."""
    apiserver = Apiserver(own_etcd.endpoint)
    await apiserver.start()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(apiserver.app, log_config=None, lifespan="off"))
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
