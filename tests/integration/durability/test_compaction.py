"""Periodic compaction of a real etcd, and how clients come over it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import kubernetes as official
import pytest

from kube.store.compaction import KEY
from kube.store.etcd import EtcdStore
from tests.integration.client.own_apiserver import OwnApiserver
from tests.own_etcd import OwnEtcd

kubernetes: Any = official  # it has no types

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def http(apiserver: OwnApiserver) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=apiserver.url, timeout=30) as http:
        yield http


async def compacted_past(etcd: OwnEtcd, revision: int) -> None:
    """Wait until etcd has forgotten what came right after a revision."""
    store = EtcdStore([etcd.endpoint])
    try:
        async with asyncio.timeout(15):
            while True:
                mark, _ = await store.get(KEY)
                if mark is not None and int(mark.value) > revision:
                    return
                await asyncio.sleep(0.05)
    finally:
        await store.close()


async def write(http: httpx.AsyncClient, name: str) -> int:
    made = (await http.post(MAPS, json={"metadata": {"name": name}})).json()
    return int(made["metadata"]["resourceVersion"])


async def test_what_is_older_than_the_compaction_is_gone(
    own_etcd: OwnEtcd, apiserver: OwnApiserver, http: httpx.AsyncClient
) -> None:
    first = await write(http, "a")
    await write(http, "b")
    page = (await http.get(MAPS, params={"limit": 1})).json()["metadata"]
    await write(http, "c")
    await compacted_past(own_etcd, int(page["resourceVersion"]))
    exact = {"resourceVersion": str(first), "resourceVersionMatch": "Exact"}
    answer = await http.get(MAPS, params=exact)
    assert (answer.status_code, answer.json()["reason"]) == (410, "Expired")
    assert answer.json()["message"] == "The resourceVersion for the provided list is too old."

    answer = await http.get(MAPS, params={"continue": page["continue"], "limit": 1})
    assert (answer.status_code, answer.json()["reason"]) == (410, "Expired")
    assert answer.json()["message"].startswith("The provided continue parameter is too old to display a consistent")
    # As upstream: what has a page already may go on from its end, on what is there now.
    onward = await http.get(MAPS, params={"continue": answer.json()["metadata"]["continue"]})
    assert [item["metadata"]["name"] for item in onward.json()["items"]] == ["b", "c", "kube-root-ca.crt"][:2]

    # The window of this apiserver knows better than etcd; that of one that has just been started does not.
    apiserver.kill()
    apiserver.start()
    answer = await http.get(MAPS, params={"watch": "1", "resourceVersion": str(first), "timeoutSeconds": "1"})
    assert (answer.status_code, answer.json()["reason"]) == (410, "Expired")
    assert answer.json()["message"].startswith(f"too old resource version: {first} (")


async def test_the_python_client_comes_over_it(
    own_etcd: OwnEtcd, apiserver: OwnApiserver, http: httpx.AsyncClient
) -> None:
    """As its documentation tells to: list again when the watch raises 410."""
    first = await write(http, "a")
    await compacted_past(own_etcd, await write(http, "b"))
    apiserver.kill()
    apiserver.start()
    configuration = kubernetes.client.Configuration(host=apiserver.url)

    def follow() -> list[str]:
        with kubernetes.client.ApiClient(configuration) as client:
            core = kubernetes.client.CoreV1Api(client)
            version, seen = str(first), []
            end = time.monotonic() + 20
            while time.monotonic() < end:
                try:
                    for event in kubernetes.watch.Watch().stream(
                        core.list_namespaced_config_map, "default", resource_version=version, timeout_seconds=10
                    ):
                        seen.append(event["object"].metadata.name)
                        if "late" in seen:
                            return seen
                except kubernetes.client.ApiException as error:
                    seen.append(str(error.status))
                    listed = core.list_namespaced_config_map("default")
                    seen += [*(item.metadata.name for item in listed.items)]
                    version = listed.metadata.resource_version
                    core.create_namespaced_config_map("default", {"metadata": {"name": "late"}})
            return seen

    assert await asyncio.to_thread(follow) == ["410", "a", "b", "late"]
