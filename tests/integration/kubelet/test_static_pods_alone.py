"""A kubelet whose etcd and apiserver are away: it runs the node's own pods. It may be they that bring both."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

POD = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "etcd", "namespace": "kube-system"},
    "spec": {"hostNetwork": True, "containers": [{"name": "etcd", "image": "kube/web", "imagePullPolicy": "Never"}]},
}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[str]:
    """The node API of a kubelet on the engine in memory."""
    ports = []
    for _ in range(4):
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            ports.append(free.getsockname()[1])
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/etcd.json").write_text(json.dumps(POD))
    with (tmp_path / "log").open("wb") as log:
        kubelet = subprocess.Popen(
            [sys.executable, "-m", "kube.kubelet", f"--etcd-servers=http://127.0.0.1:{ports[0]}",
             f"--master=http://127.0.0.1:{ports[1]}", "--container-runtime=fake", "--hostname-override=n",
             f"--root-dir={tmp_path / 'root'}", f"--pod-manifest-path={tmp_path / 'manifests'}",
             "--address=127.0.0.1", f"--port={ports[2]}", f"--healthz-port={ports[3]}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    yield f"https://127.0.0.1:{ports[2]}"
    kubelet.terminate()
    assert kubelet.wait(30) == 0, (tmp_path / "log").read_text()


def running(api: str) -> list[Any]:
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(f"{api}/runningpods/", context=unverified, timeout=5) as answer:
            items: list[Any] = json.load(answer)["items"]
            return items
    except OSError:
        return []


def test_the_nodes_own_pods_run(api: str) -> None:
    deadline = time.monotonic() + 60
    while not (found := running(api)):
        assert time.monotonic() < deadline, "no pod runs"
        time.sleep(0.1)
    assert [pod["metadata"]["name"] for pod in found] == ["etcd-n"]
