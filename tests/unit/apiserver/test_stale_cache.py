"""Writes through an apiserver whose cache has fallen behind: decided on what the store holds."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from ipaddress import IPv4Network
from typing import Any

import pytest

from kube.api import errors
from kube.api.core import ConfigMap, Event
from kube.api.meta import DeleteOptions, ObjectMeta
from kube.api.references import ObjectReference
from kube.api.resources import CONFIG_MAPS, EVENTS
from kube.apiserver.cache import Cache
from kube.apiserver.registry import strategies
from kube.apiserver.verbs import Verbs
from kube.store.memory import MemoryStore


def config_map(**meta: Any) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name="a", **meta))


async def behind(store: MemoryStore) -> Verbs:
    """An apiserver that sees nothing of what happens from now on."""
    cache = Cache(store)
    task = asyncio.create_task(cache.run())
    await cache.ready.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return Verbs(store, cache, strategies(cache, IPv4Network("10.96.0.0/24"), range(30000, 30010), ["ServiceAccount"]))


async def test_a_deletion_that_seems_done_is_done_to_what_is_there_now(server: Any) -> None:
    """The object waits for its finalizers in the cache; in truth it has gone, and another has come."""
    await server.verbs.create(CONFIG_MAPS, "default", config_map(finalizers=["example.com/wait"]))
    await server.verbs.delete(CONFIG_MAPS, "default", "a", DeleteOptions())
    late = await behind(server.store)

    def release(present: ConfigMap) -> ConfigMap:
        present.metadata.finalizers = []
        return present

    await server.verbs.update(CONFIG_MAPS, "default", "a", release)
    await server.verbs.create(CONFIG_MAPS, "default", config_map())
    _, gone = await late.delete(CONFIG_MAPS, "default", "a", DeleteOptions())
    assert gone
    with pytest.raises(errors.NotFound):
        await server.verbs.get(CONFIG_MAPS, "default", "a")


async def test_a_lease_that_the_store_has_lost_is_granted_anew(server: Any) -> None:
    def event(name: str) -> Event:
        about = ObjectReference(kind="Pod", name="p", namespace="default")
        return Event(metadata=ObjectMeta(name=name), involvedObject=about, reason="Tested")

    await server.verbs.create(EVENTS, "default", event("a"))
    server.store.revoke_all()
    await server.verbs.create(EVENTS, "default", event("b"))
    assert (await server.verbs.get(EVENTS, "default", "b")).key.endswith("/b")
