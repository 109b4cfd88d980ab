"""Servers of a test's own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.own_etcd import OwnEtcd


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[OwnEtcd]:
    """A running etcd that the test may kill, pause and restart."""
    yield from _etcd(tmp_path)


@pytest.fixture(scope="session")
def scratch_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEtcd]:
    """A running etcd that the tests of a session share, and that nobody else uses: it may be compacted."""
    yield from _etcd(tmp_path_factory.mktemp("etcd"))


def _etcd(directory: Path) -> Iterator[OwnEtcd]:
    if shutil.which("etcd") is None:
        unavailable("the command etcd (Debian: etcd-server)")
    etcd = OwnEtcd(directory)
    try:
        etcd.start()
        yield etcd
    finally:
        etcd.kill()
