"""A real apiserver on a real etcd: one that tests share, and one that a test may kill."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from kube.api.core import Namespace
from kube.api.meta import ObjectMeta
from kube.client.rest import Client
from tests.integration.client.own_apiserver import OwnApiserver
from tests.own_etcd import OwnEtcd

_numbers = count(1)


@pytest.fixture(scope="session")
def shared_apiserver(scratch_etcd: OwnEtcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnApiserver]:
    """A running apiserver that the tests of a session share; each keeps to a namespace of its own."""
    yield from _apiserver(scratch_etcd, tmp_path_factory.mktemp("apiserver"))


@pytest.fixture
def own_apiserver(own_etcd: OwnEtcd, tmp_path: Path) -> Iterator[OwnApiserver]:
    """A running apiserver, on an etcd of its own, that the test may kill and restart."""
    yield from _apiserver(own_etcd, tmp_path)


def _apiserver(etcd: OwnEtcd, directory: Path) -> Iterator[OwnApiserver]:
    apiserver = OwnApiserver(etcd, directory / "apiserver.log")
    try:
        apiserver.start()
        yield apiserver
    finally:
        apiserver.kill()


@pytest.fixture
async def client(shared_apiserver: OwnApiserver) -> AsyncIterator[Client]:
    """A client of the apiserver that the tests share."""
    async with Client(shared_apiserver.url) as client:
        yield client


@pytest.fixture
async def namespace(client: Client) -> str:
    """A namespace of the test's own."""
    name = f"test-{next(_numbers)}"
    await client.create(Namespace(metadata=ObjectMeta(name=name)))
    return name
