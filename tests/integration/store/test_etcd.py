"""The store over a real etcd passes the contract's suite."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kube.store.etcd import EtcdStore
from kube.store.store import Store
from tests.own_etcd import OwnEtcd
from tests.store_contract import StoreContract


class TestEtcdStore(StoreContract):
    @pytest.fixture
    async def store(self, scratch_etcd: OwnEtcd) -> AsyncIterator[Store]:
        store = EtcdStore([scratch_etcd.endpoint])
        yield store
        await store.close()
