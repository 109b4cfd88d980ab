"""An apiserver over the memory store, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Network

import httpx
import pytest

from kube.apiserver.app import Api, App
from kube.apiserver.bootstrap import create_namespaces
from kube.apiserver.cache import Cache
from kube.apiserver.discovery import Discovery
from kube.apiserver.handlers import Handlers
from kube.apiserver.nodes import NodeClient
from kube.apiserver.pages import pages
from kube.apiserver.registry import strategies
from kube.apiserver.verbs import Verbs
from kube.store.memory import MemoryStore


class Server:
    """The parts of one apiserver, to test them one by one."""

    def __init__(self, store: MemoryStore, disabled: Collection[str] = ("ServiceAccount",)) -> None:
        """`disabled`: admission plug-ins; no controller makes service accounts here."""
        self.store = store
        self.cache = Cache(store)
        rules = strategies(self.cache, IPv4Network("10.96.0.0/24"), range(30000, 30010), disabled)
        self.verbs = Verbs(store, self.cache, rules)
        self.nodes = NodeClient()
        self.handlers = Handlers(self.verbs, self.cache, self.nodes)
        discovery = Discovery()
        self.app = App(Api(self.handlers, discovery), pages(discovery, {}))

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app), base_url="http://kube")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running(Server(MemoryStore())) as made:
        yield made


@asynccontextmanager
async def running(made: Server) -> AsyncIterator[Server]:
    """The server, with a cache that follows its store, and its first namespaces."""
    tasks = [asyncio.create_task(made.cache.run()), asyncio.create_task(made.cache.progress())]
    await made.cache.ready.wait()
    await create_namespaces(made.verbs)
    yield made
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await made.nodes.close()
    await made.store.close()


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with server.client() as client:
        yield client
