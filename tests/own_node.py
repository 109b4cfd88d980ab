"""A node name and a pod network of a test's own, in a real Docker engine. What it made, it removes."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound

from kube.kubelet.docker import DockerRuntime
from kube.kubelet.runtime import NODE_NAME

BUILD_IMAGES = Path(__file__).parents[1] / "deploy/images/build"


@dataclass(frozen=True)
class OwnNode:
    """Names that nobody else uses."""

    client: docker.APIClient
    socket: str
    name: str
    network: str
    cidr: str
    bridge: str

    def runtime(self, **options: Any) -> DockerRuntime:
        """A runtime for this node; further options as its constructor's."""
        own: dict[str, Any] = {
            "socket": self.socket,
            "network": self.network,
            "pod_cidr": self.cidr,
            "bridge": self.bridge,
        }
        return DockerRuntime(self.name, **(own | options))

    def containers(self) -> list[str]:
        """The ids of all that the node has."""
        found = self.client.containers(all=True, filters={"label": f"{NODE_NAME}={self.name}"})
        return [item["Id"] for item in found]

    def remove_containers(self) -> None:
        for id in self.containers():
            with contextlib.suppress(APIError):
                self.client.remove_container(id, v=True, force=True)


@contextlib.contextmanager
def own_node(socket: str) -> Iterator[OwnNode]:
    """A node in the engine at this socket, with the images kube/pause and kube/web there."""
    client = docker.APIClient(f"unix://{socket}", timeout=60)
    tag = secrets.token_hex(3)
    node = OwnNode(
        client,
        socket,
        name=f"test-{tag}",
        network=f"kube-test-{tag}",
        cidr=f"10.{248 + secrets.randbelow(4)}.{secrets.randbelow(256)}.0/24",
        bridge=f"kt{tag}",
    )
    try:
        client.inspect_image("kube/pause")  # type: ignore[no-untyped-call]  # the stubs lack its types
        client.inspect_image("kube/web")  # type: ignore[no-untyped-call]  # the stubs lack its types
    except NotFound:
        subprocess.run([BUILD_IMAGES], check=True, env={"DOCKER_HOST": f"unix://{socket}", "PATH": "/usr/bin:/bin"})
    try:
        yield node
    finally:
        node.remove_containers()
        with contextlib.suppress(NotFound):
            client.remove_network(node.network)
        client.close()
