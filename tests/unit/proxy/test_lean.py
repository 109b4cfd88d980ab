"""What the proxy reads of an object, from etcd and through the API."""

from __future__ import annotations

import orjson

from kube.api import core
from kube.client.rest import Client
from kube.client.source import ApiSources, EtcdSources
from kube.client.watch import parse_line
from kube.proxy import lean
from kube.proxy.services import Backend, Endpoint
from kube.store import codec
from kube.store.memory import MemoryStore
from kube.store.store import Delete, Put
from tests.unit.client.apiserver import json, serve

KEY = "/registry/services/endpoints/default/web"
ENDPOINTS = {
    "metadata": {
        "namespace": "default",
        "name": "web",
        "uid": "u",
        "labels": {"app": "web"},
        "annotations": {lean.LAST_CHANGE: "2026-01-01T00:00:00Z", "other": "none of ours"},
    },
    "subsets": [
        {
            "addresses": [{"ip": "10.244.0.5", "nodeName": "one", "targetRef": {"kind": "Pod", "name": "web-1"}}],
            "notReadyAddresses": [{"ip": "10.244.0.6"}],
            "ports": [{"port": 80}],
        }
    ],
}


def check(endpoints: lean.Endpoints | None, revision: int) -> None:
    assert endpoints is not None
    assert (endpoints.key, endpoints.metadata.uid) == ("default/web", "u")
    assert endpoints.metadata.resourceVersion == str(revision)
    assert endpoints.metadata.annotations == {lean.LAST_CHANGE: "2026-01-01T00:00:00Z"}
    assert endpoints.by_port == {"": (Endpoint(Backend("10.244.0.5", 80), "one"),)}


async def test_what_is_listed_and_watched_in_etcd() -> None:
    store = MemoryStore()
    source = EtcdSources(store).of(lean.Endpoints)
    value = codec.encode(core.Endpoints.parse(ENDPOINTS))
    await store.txn([], [Put(KEY, value)])
    (listed,), revision = await source.list()
    check(listed, revision)
    watch = source.watch(revision)
    await store.txn([], [Put(KEY, value)])
    (changed,) = await anext(watch)
    await store.txn([], [Delete(KEY)])
    (deleted,) = await anext(watch)
    await watch.aclose()
    check(changed.object, changed.revision)
    assert (deleted.type, deleted.object and deleted.object.key) == ("DELETED", "default/web")


def test_what_a_watch_of_the_apiserver_sends() -> None:
    obj = {**ENDPOINTS, "metadata": {**ENDPOINTS["metadata"], "resourceVersion": "7"}}  # type: ignore[dict-item]
    event = parse_line(lean.Endpoints, orjson.dumps({"type": "MODIFIED", "object": obj}))
    assert event is not None
    check(event.object, 7)


async def test_a_value_that_is_no_such_object_does_not_keep_it_from_the_others() -> None:
    store = MemoryStore()
    wrong = orjson.dumps({**ENDPOINTS, "subsets": [{"addresses": [{"ip": 5}]}]})
    await store.txn([], [Put(KEY, codec.encode(core.Endpoints.parse(ENDPOINTS))), Put(f"{KEY}-2", wrong)])
    listed, _revision = await EtcdSources(store).of(lean.Endpoints).list()
    assert [each.name for each in listed] == ["web"]


async def test_what_the_apiserver_lists() -> None:
    items = [{**ENDPOINTS, "metadata": {**ENDPOINTS["metadata"], "resourceVersion": "7"}}]  # type: ignore[dict-item]
    answer = json({"metadata": {"resourceVersion": "9"}, "items": items})
    async with serve(answer) as server, Client(server.url) as client:
        (listed,), revision = await ApiSources(client).of(lean.Endpoints).list()
    assert (server.asked[0].path, revision) == ("/api/v1/endpoints", 9)
    check(listed, 7)
