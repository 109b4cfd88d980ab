"""What the proxy keeps of an object."""

from __future__ import annotations

from kube.api import core
from kube.client.source import EtcdSources
from kube.proxy.lean import LeanSources
from kube.proxy.services import Backend, Endpoint, endpoints_of
from kube.store import codec
from kube.store.memory import MemoryStore
from kube.store.store import Put

ENDPOINTS = {
    "metadata": {"namespace": "default", "name": "web", "uid": "web"},
    "subsets": [
        {
            "addresses": [{"ip": "10.244.0.5", "nodeName": "one", "targetRef": {"kind": "Pod", "name": "web-1"}}],
            "notReadyAddresses": [{"ip": "10.244.0.6"}],
            "ports": [{"port": 80}],
        }
    ],
}


async def test_listed_and_watched_endpoints_come_without_their_pods() -> None:
    store = MemoryStore()
    source = LeanSources(EtcdSources(store)).of(core.Endpoints)
    key, value = "/registry/services/endpoints/default/web", codec.encode(core.Endpoints.parse(ENDPOINTS))
    await store.txn([], [Put(key, value)])
    (listed,), revision = await source.list()
    await store.txn([], [Put(key, value)])
    watch = source.watch(revision)
    (event,) = await anext(watch)
    await watch.aclose()
    for endpoints in (listed, event.object):
        assert endpoints is not None
        assert endpoints_of(endpoints) == {"": [Endpoint(Backend("10.244.0.5", 80), "one")]}
        (subset,) = endpoints.subsets
        assert subset.addresses[0].targetRef is None
        assert not subset.notReadyAddresses
