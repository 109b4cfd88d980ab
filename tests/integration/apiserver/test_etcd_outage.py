"""The apiserver over a real etcd that goes away and comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from ipaddress import IPv4Network
from typing import Any

import httpx
import pytest

from kube.api.core import Container, Pod, PodSpec
from kube.api.meta import ObjectMeta
from kube.api.resources import PODS
from kube.apiserver.app import Api, App
from kube.apiserver.bootstrap import create_namespaces
from kube.apiserver.cache import Cache
from kube.apiserver.discovery import Discovery
from kube.apiserver.handlers import Handlers
from kube.apiserver.nodes import NodeClient
from kube.apiserver.pages import pages
from kube.apiserver.registry import strategies
from kube.apiserver.verbs import Verbs
from kube.apiserver.watch import watch
from kube.store.etcd import EtcdStore
from kube.store.store import Put
from tests.own_etcd import OwnEtcd

PODS_PATH = "/api/v1/namespaces/default/pods"


class Apiserver:
    """An apiserver's parts in this process; several may share one etcd."""

    def __init__(self, endpoint: str) -> None:
        self.store = EtcdStore([endpoint])
        self.cache = Cache(self.store)
        rules = strategies(self.cache, IPv4Network("10.96.0.0/24"), range(30000, 30010), ["ServiceAccount"])
        self.verbs = Verbs(self.store, self.cache, rules)
        self.handlers = Handlers(self.verbs, self.cache, NodeClient())
        discovery = Discovery()
        self.app = App(Api(self.handlers, discovery), pages(discovery, {}))
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app), base_url="http://kube")
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self.tasks = [asyncio.create_task(self.cache.run()), asyncio.create_task(self.cache.progress())]
        await self.cache.ready.wait()
        await create_namespaces(self.verbs)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.http.aclose()
        await self.store.close()


@pytest.fixture
async def two(own_etcd: OwnEtcd) -> AsyncIterator[tuple[Apiserver, Apiserver]]:
    servers = Apiserver(own_etcd.endpoint), Apiserver(own_etcd.endpoint)
    for server in servers:
        await server.start()
    yield servers
    for server in servers:
        await server.stop()


def pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


async def test_without_etcd_requests_fail_with_503_and_work_again_after_it(
    two: tuple[Apiserver, Apiserver], own_etcd: OwnEtcd
) -> None:
    server = two[0]
    assert (await server.http.post(PODS_PATH, json=pod("before"))).status_code == 201
    own_etcd.kill()
    for answer in (await server.http.get(PODS_PATH), await server.http.post(PODS_PATH, json=pod("during"))):
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.json()["reason"] == "ServiceUnavailable"
    assert (await server.http.get(PODS_PATH, params={"resourceVersion": "0"})).status_code == 200, "as old as it may be"
    own_etcd.start()
    async with asyncio.timeout(10):
        while (await server.http.get(PODS_PATH)).status_code != 200:
            await asyncio.sleep(0.05)
    names = [item["metadata"]["name"] for item in (await server.http.get(PODS_PATH)).json()["items"]]
    assert names == ["before"]
    assert (await server.http.post(PODS_PATH, json=pod("after"))).status_code == 201


async def test_a_watch_goes_on_over_a_restart_of_etcd(two: tuple[Apiserver, Apiserver], own_etcd: OwnEtcd) -> None:
    server = two[0]
    lines = await watch(server.cache, PODS, namespace="default", stopping=server.handlers.stopping)
    await server.http.post(PODS_PATH, json=pod("a"))
    own_etcd.kill()
    own_etcd.start()
    async with asyncio.timeout(10):
        while (await server.http.post(PODS_PATH, json=pod("b"))).status_code == 503:
            await asyncio.sleep(0.05)
        seen: list[str] = []
        async for chunk in lines:
            seen += [json.loads(line)["object"]["metadata"]["name"] for line in chunk.splitlines()]
            if len(seen) == 2:
                break
    assert seen == ["a", "b"], "each once"


async def test_a_read_of_one_apiserver_sees_every_write_of_another(two: tuple[Apiserver, Apiserver]) -> None:
    one, other = two
    for number in range(100):
        made = await one.http.post(PODS_PATH, json=pod(f"p{number}"))
        seen = await other.http.get(f"{PODS_PATH}/p{number}")
        assert seen.status_code == 200
        assert seen.json() == made.json()


async def test_two_apiservers_never_give_one_address_twice(two: tuple[Apiserver, Apiserver]) -> None:
    """254 addresses, claimed from both sides at once: each is given, and none twice."""

    async def create(server: Apiserver, number: int) -> str:
        body = {"metadata": {"name": f"s{number}"}, "spec": {"ports": [{"port": 80}]}}
        answer = await server.http.post("/api/v1/namespaces/default/services", json=body)
        assert answer.status_code == 201, answer.text
        ip: str = answer.json()["spec"]["clusterIP"]
        return ip

    given = await asyncio.gather(*(create(two[number % 2], number) for number in range(254)))
    assert len(set(given)) == 254


async def test_of_two_writers_from_one_version_one_wins(two: tuple[Apiserver, Apiserver]) -> None:
    made = (await two[0].http.post(PODS_PATH, json=pod("a"))).json()

    async def relabel(server: Apiserver, value: str) -> int:
        body = {**made, "metadata": {**made["metadata"], "labels": {"by": value}}}
        return (await server.http.put(f"{PODS_PATH}/a", json=body)).status_code

    assert sorted(await asyncio.gather(relabel(two[0], "0"), relabel(two[1], "1"))) == [200, 409]


async def test_patches_from_both_sides_are_all_kept(two: tuple[Apiserver, Apiserver]) -> None:
    """A patch names no version, so it is tried again on what is there."""
    await two[0].http.post(PODS_PATH, json=pod("a"))
    headers = {"content-type": "application/merge-patch+json"}

    async def patch(number: int) -> int:
        body = {"metadata": {"labels": {f"k{number}": "v"}}}
        return (await two[number % 2].http.patch(f"{PODS_PATH}/a", json=body, headers=headers)).status_code

    assert set(await asyncio.gather(*(patch(number) for number in range(40)))) == {200}
    labels = (await two[0].http.get(f"{PODS_PATH}/a")).json()["metadata"]["labels"]
    assert len(labels) == 40


async def test_what_kubernetes_wrote_is_served(two: tuple[Apiserver, Apiserver]) -> None:
    """A value as a kube-apiserver stores it as JSON, a line break at its end included."""
    meta = ObjectMeta(name="k8s", namespace="default", uid="u")
    value = Pod(metadata=meta, spec=PodSpec(containers=[Container(name="c", image="i")])).to_json() + b"\n"
    result = await two[0].store.txn([], [Put("/registry/pods/default/k8s", value)])
    seen = (await two[1].http.get(f"{PODS_PATH}/k8s")).json()
    assert seen["metadata"]["resourceVersion"] == str(result.revision)
