"""Two apiservers on one etcd, one of whose watches stands still: no read by default is ever answered from the past.

A cache whose watch lags does not know of what another apiserver has acknowledged. A GET or LIST that names no
resourceVersion has to wait for it, and to fail rather than answer from what it has; only who says that the past will do
(`resourceVersion=0`) is answered from it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from ipaddress import IPv4Network
from typing import Any

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
from kube.store.etcd import EtcdStore
from kube.store.store import WatchBatch
from tests.own_etcd import OwnEtcd

MAPS = "/api/v1/namespaces/default/configmaps"


class HeldStore(EtcdStore):
    """etcd, whose watch can be held: what happens meanwhile comes when it flows again."""

    def __init__(self, endpoint: str) -> None:
        super().__init__([endpoint])
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def watch(
        self, prefix: str, revision: int, *, exact: bool = False, previous: bool = False
    ) -> AsyncGenerator[WatchBatch, None]:
        async with aclosing(super().watch(prefix, revision, exact=exact, previous=previous)) as batches:
            async for batch in batches:
                await self.flowing.wait()
                yield batch


class Apiserver:
    """An apiserver's parts in this process."""

    def __init__(self, endpoint: str) -> None:
        self.store = HeldStore(endpoint)
        self.cache = Cache(self.store)
        services = strategies(self.cache, IPv4Network("10.96.0.0/24"), range(30000, 30010), ["ServiceAccount"])
        self.verbs = Verbs(self.store, self.cache, services)
        discovery = Discovery()
        app = App(Api(Handlers(self.verbs, self.cache, NodeClient()), discovery), pages(discovery, {}))
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://kube")
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self.cache.run()), asyncio.create_task(self.cache.progress())]
        await self.cache.ready.wait()
        await create_namespaces(self.verbs)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.http.aclose()
        await self.store.close()

    async def read(self, path: str, **parameters: str) -> httpx.Response:
        return await self.http.get(path, params=parameters)

    async def write(self, name: str, value: str) -> dict[str, Any]:
        """Set the value of a ConfigMap, whether it is there or not; as it was acknowledged."""
        body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"value": value}}
        answer = await self.http.post(MAPS, json=body)
        if answer.status_code == 409:
            answer = await self.http.put(f"{MAPS}/{name}", json=body)
        assert answer.is_success, answer.text
        written: dict[str, Any] = answer.json()
        return written


@pytest.fixture
async def two(own_etcd: OwnEtcd) -> AsyncIterator[tuple[Apiserver, Apiserver]]:
    servers = Apiserver(own_etcd.endpoint), Apiserver(own_etcd.endpoint)
    for server in servers:
        await server.start()
    yield servers
    for server in servers:
        server.store.flowing.set()
        await server.stop()


async def _values(server: Apiserver, **parameters: str) -> dict[str, str]:
    answer = await server.read(MAPS, **parameters)
    assert answer.status_code == 200, answer.text
    return {item["metadata"]["name"]: item["data"]["value"] for item in answer.json()["items"]}


async def test_a_read_fails_rather_than_be_of_the_past(two: tuple[Apiserver, Apiserver]) -> None:
    one, held = two
    await one.write("a", "old")
    await one.write("gone", "old")
    assert await _values(held) == {"a": "old", "gone": "old"}
    held.store.flowing.clear()
    await one.write("a", "new")
    assert (await one.http.delete(f"{MAPS}/gone")).status_code == 200
    await one.write("b", "new")

    answers = await asyncio.gather(
        held.read(f"{MAPS}/a"),
        held.read(f"{MAPS}/b"),
        held.read(f"{MAPS}/gone"),
        held.read(MAPS),
        held.read(MAPS, limit="1"),
        held.read(MAPS, labelSelector="app=web"),
        held.read(MAPS, fieldSelector="metadata.name=a"),
        held.read("/api/v1/configmaps"),
    )
    assert {answer.status_code for answer in answers} == {504}
    assert all("Too large resource version" in answer.json()["message"] for answer in answers)
    assert await _values(held, resourceVersion="0") == {"a": "old", "gone": "old"}, "whoever says that the past will do"

    held.store.flowing.set()
    assert await _values(held) == {"a": "new", "b": "new"}
    assert (await held.read(f"{MAPS}/gone")).status_code == 404


async def test_a_read_that_waits_is_answered_as_soon_as_the_watch_goes_on(two: tuple[Apiserver, Apiserver]) -> None:
    one, held = two
    await one.write("a", "old")
    assert await _values(held) == {"a": "old"}
    held.store.flowing.clear()
    await one.write("a", "new")
    reading = asyncio.create_task(_values(held))
    while held.cache.waiting == 0:
        await asyncio.sleep(0.001)
    held.store.flowing.set()
    assert await reading == {"a": "new"}


async def test_whoever_reads_sees_all_that_was_acknowledged_before_wherever(two: tuple[Apiserver, Apiserver]) -> None:
    """Writes and reads by either, in turn, while the watches stand still and go on as they like."""
    rng = random.Random(7)

    async def disturb() -> None:
        while True:
            store = rng.choice(two).store
            store.flowing.clear()
            await asyncio.sleep(rng.uniform(0, 0.02))
            store.flowing.set()
            await asyncio.sleep(rng.uniform(0, 0.005))

    disturbing = asyncio.create_task(disturb())
    try:
        acknowledged: dict[str, str] = {}
        last = 0
        for number in range(150):
            name = f"m{rng.randrange(10)}"
            written = await rng.choice(two).write(name, str(number))
            acknowledged[name] = str(number)
            assert int(written["metadata"]["resourceVersion"]) > last
            last = int(written["metadata"]["resourceVersion"])
            seen = (await rng.choice(two).read(f"{MAPS}/{name}")).json()
            assert seen == written
            if number % 10 == 0:
                assert await _values(rng.choice(two)) == acknowledged
    finally:
        disturbing.cancel()
