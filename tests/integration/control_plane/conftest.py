"""A whole control plane of a test's own, in processes that the test may kill; only the node is played."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kube.api.core import ServiceAccount
from kube.client.rest import Client
from kube.client.source import ApiSources
from tests.integration.client.own_apiserver import OwnApiserver
from tests.memory_node import MemoryNode
from tests.objects import node
from tests.own_etcd import OwnEtcd


class Daemon:
    """A scheduler or controller manager."""

    def __init__(self, module: str, apiserver: OwnApiserver, log: Path) -> None:
        self._module, self._apiserver, self._log = module, apiserver, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, f"--etcd-servers={self._apiserver.etcd.endpoint}",
                 f"--master={self._apiserver.url}", f"--port={port}", "-v2"],
                stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()


class ControlPlane:
    """All of its processes, and a client of it."""

    def __init__(self, apiserver: OwnApiserver, client: Client, directory: Path) -> None:
        self.apiserver, self.client = apiserver, client
        self.scheduler = Daemon("kube.scheduler", apiserver, directory / "scheduler.log")
        self.controller_manager = Daemon("kube.controller_manager", apiserver, directory / "controller-manager.log")


@pytest.fixture
def own_apiserver(own_etcd: OwnEtcd, tmp_path: Path) -> Iterator[OwnApiserver]:
    apiserver = OwnApiserver(own_etcd, tmp_path / "apiserver.log", "--disable-admission-plugins=")
    try:
        apiserver.start()
        yield apiserver
    finally:
        apiserver.kill()


@pytest.fixture
async def control_plane(own_apiserver: OwnApiserver, tmp_path: Path) -> AsyncIterator[ControlPlane]:
    """A running control plane with one node, on which pods become ready at once."""
    async with Client(own_apiserver.url) as client, contextlib.AsyncExitStack() as stack:
        plane = ControlPlane(own_apiserver, client, tmp_path)
        for daemon in (plane.scheduler, plane.controller_manager):
            stack.callback(daemon.kill)
            daemon.start()
        described = node("n", pods="500", cpu="100")
        created = await client.create(described)
        created.status = described.status
        await client.update(created, "status")
        await stack.enter_async_context(MemoryNode(client, ApiSources(client), bind=False).running())
        async with asyncio.timeout(30):
            while not (await client.list(ServiceAccount, "default")).items:  # pods run as it
                await asyncio.sleep(0.05)
        yield plane
