"""A node of the tests' own in the real engine, and an engine of the tests' own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from kube.kubelet.docker import DockerRuntime
from tests.conftest import unavailable
from tests.own_docker import OwnDocker
from tests.own_node import OwnNode, own_node


@pytest.fixture(scope="session")
def node_in_engine(docker_engine: str) -> Iterator[OwnNode]:
    with own_node(docker_engine) as node:
        yield node


@pytest.fixture
def node(node_in_engine: OwnNode) -> Iterator[OwnNode]:
    """A node without containers."""
    yield node_in_engine
    node_in_engine.remove_containers()


@pytest.fixture
async def runtime(node: OwnNode) -> AsyncIterator[DockerRuntime]:
    """The Docker runtime of a node without containers."""
    runtime = node.runtime()
    yield runtime
    await runtime.close()


@pytest.fixture(scope="session")
def engine(node_in_engine: OwnNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnDocker]:
    """An engine that a test may kill. It has no networks but the host's."""
    if shutil.which("dockerd") is None:
        unavailable("the command dockerd (Debian: docker.io), as root")
    engine = OwnDocker(tmp_path_factory.mktemp("docker"))
    try:
        engine.start()
        engine.copy_images(node_in_engine.socket, "kube/pause", "kube/web")
        yield engine
    finally:
        engine.stop()
