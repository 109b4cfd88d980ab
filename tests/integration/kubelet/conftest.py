"""A node of the tests' own in the real engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from kube.kubelet.docker import DockerRuntime
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
