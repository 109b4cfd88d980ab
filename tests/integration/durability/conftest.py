"""Apiservers on an etcd, all of a test's own: it may kill them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.client.own_apiserver import OwnApiserver
from tests.own_etcd import OwnEtcd


@pytest.fixture
def apiservers(own_etcd: OwnEtcd, tmp_path: Path) -> Iterator[list[OwnApiserver]]:
    """Two, on one etcd."""
    servers = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        servers.append(OwnApiserver(own_etcd, tmp_path / name / "apiserver.log"))
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.kill()


@pytest.fixture
def apiserver(own_etcd: OwnEtcd, tmp_path: Path) -> Iterator[OwnApiserver]:
    """One, whose etcd forgets what is older than a second."""
    server = OwnApiserver(own_etcd, tmp_path / "apiserver.log", "--etcd-compaction-interval=1s")
    try:
        server.start()
        yield server
    finally:
        server.kill()
