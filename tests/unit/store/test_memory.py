"""The fake passes the contract's suite, in virtual time; and it fails on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from kube.store.memory import MemoryStore
from kube.store.store import Store, Unavailable
from tests.store_contract import StoreContract, changes, put, settle

pytestmark = pytest.mark.looptime


class TestMemoryStore(StoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        store = MemoryStore()
        yield store
        await store.close()


async def test_while_it_is_down_every_call_is_unavailable() -> None:
    store = MemoryStore()
    await put(store, "/a")
    store.down = True
    with pytest.raises(Unavailable):
        await store.get("/a")
    with pytest.raises(Unavailable):
        await put(store, "/a")
    store.down = False
    found, _ = await store.get("/a")
    assert found is not None


async def test_an_interrupted_watch_is_unavailable_and_can_be_resumed() -> None:
    store = MemoryStore()
    revision = await put(store, "/a")
    task = asyncio.create_task(changes(store, "/", revision + 1, 1))
    await settle()
    store.interrupt()
    with pytest.raises(Unavailable):
        await task
    await put(store, "/b")
    assert [change.key for change in await changes(store, "/", revision + 1, 1)] == ["/b"]
