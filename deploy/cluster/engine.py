"""Docker, as the deployment needs it: does it answer, are our images there, what did a node leave behind."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound

from deploy.cluster.machine import PATH
from deploy.cluster.settings import CHECKOUT
from deploy.cluster.steps import Failed
from kube.kubelet.runtime import NODE_NAME

SOCKET = Path("/var/run/docker.sock")
PID_FILE = Path("/var/run/docker.pid")
IMAGES = ("kube/pause", "kube/web")
NETWORK_SECONDS = 5.0
"""How long the engine has to let go of a network."""


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(SOCKET))


def version() -> str:
    """The engine's version; empty when none answers."""
    connection = _Connection("docker", timeout=5)
    try:
        connection.request("GET", "/version")
        return str(json.loads(connection.getresponse().read()).get("Version", ""))
    except (OSError, ValueError):
        return ""
    finally:
        connection.close()


def forget_dead_pid() -> None:
    """Remove dockerd's pid file if it names no dockerd that lives.

    dockerd refuses to start while the pid exists, though it be another's, or a killed dockerd's that nobody has reaped.
    """
    try:
        status = Path(f"/proc/{int(PID_FILE.read_text())}/status").read_text()
    except (OSError, ValueError):
        status = ""
    if not status.startswith("Name:\tdockerd\n") or "State:\tZ" in status:
        PID_FILE.unlink(missing_ok=True)


def client() -> docker.DockerClient:
    """A client of the engine. Raises Failed when it does not answer."""
    try:
        return docker.DockerClient(base_url=f"unix://{SOCKET}", timeout=60)
    except DockerException as error:
        raise Failed(f"Docker does not answer on {SOCKET}: {error}") from error


def missing_images() -> list[str]:
    """Those of our images that the engine does not have."""
    engine = client()
    names = {tag.removesuffix(":latest") for image in engine.images.list() for tag in image.tags}
    return [name for name in IMAGES if name not in names]


def build_images() -> None:
    """Build kube/pause and kube/web."""
    result = subprocess.run(
        [str(CHECKOUT / "deploy/images/build")], capture_output=True, text=True, env=os.environ | {"PATH": PATH}
    )
    if result.returncode:
        raise Failed(f"deploy/images/build failed:\n{result.stderr.strip() or result.stdout.strip()}")


def remove_node(node: str) -> int:
    """Remove a node's containers. How many there were."""
    containers = client().containers.list(all=True, filters={"label": f"{NODE_NAME}={node}"}, ignore_removed=True)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(_remove, containers))
    return len(containers)


def remove_network(name: str) -> str:
    """Remove the network that a node's pods were on, unless other containers are. What is wrong if it stays.

    The engine may hold it for a container that it is just removing, which no list shows any more; and one that was
    killed in the wrong moment may hold it until it is started anew.
    """
    deadline = time.monotonic() + NETWORK_SECONDS
    while True:
        found = [network for network in client().networks.list(names=[name]) if network.name == name]
        if not found:
            return ""
        if not _is_unused(found[0]):
            return "containers are on it"
        try:
            found[0].remove()
        except NotFound:
            return ""
        except APIError as error:
            if time.monotonic() > deadline:
                return str(error.explanation)
            time.sleep(0.1)


def _remove(container: Any) -> None:
    with suppress(NotFound):
        container.remove(force=True, v=True)


def _is_unused(network: Any) -> bool:
    network.reload()
    return not network.attrs.get("Containers")


def stop_all_containers() -> list[str]:
    """Stop what still runs in an engine that is about to be stopped. Their names."""
    running = client().containers.list(ignore_removed=True)
    for container in running:
        container.stop()
    return [str(container.name) for container in running]


def remove_images() -> None:
    """Remove the images that build_images made."""
    engine = client()
    for name in IMAGES:
        try:
            engine.images.remove(name)
        except DockerException:  # not there, or in use by somebody else's container
            continue
