"""A node that runs a pod for tests of streams: real etcd, apiserver, kubelet and Docker, and every kubectl there is."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kube import certificates
from kube.certificates import Pair
from tests.conftest import unavailable
from tests.integration.client.own_apiserver import OwnApiserver
from tests.own_etcd import OwnEtcd
from tests.own_node import OwnNode, own_node

MINORS = range(20, 40)
TOKEN = "a-token-of-these-tests"
SECURE = "secure"
"""The context of the apiserver's secure port."""


def kubectls() -> list[str]:
    """The kubectl on the PATH, and those of other versions beside it."""
    found = shutil.which("kubectl")
    if found is None:
        return ["kubectl"]
    beside = Path(found).resolve().parent
    return ["kubectl", *(str(path) for minor in MINORS if (path := beside / f"kubectl.1.{minor}").exists())]


@pytest.fixture(scope="session", params=kubectls(), ids=lambda path: Path(path).name)
def kubectl_path(request: pytest.FixtureRequest) -> str:
    """Each kubectl in turn."""
    path: str = request.param
    if shutil.which(path) is None:
        unavailable(path)
    return path


@dataclass(frozen=True)
class Streams:
    """An apiserver with a node on which the pods `web` (kube/web) and `cat` (reads and writes) run."""

    url: str
    directory: Path

    def command(self, kubectl: str, *args: str) -> list[str]:
        """A command line for the apiserver."""
        return [kubectl, f"--kubeconfig={self.directory / 'kubeconfig'}", f"--cache-dir={self.directory}", *args]

    def run(self, kubectl: str, *args: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run kubectl to its end."""
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        return subprocess.run(self.command(kubectl, *args), capture_output=True, timeout=60, **given)


@pytest.fixture(scope="session")
def node(docker_engine: str) -> Iterator[OwnNode]:
    with own_node(docker_engine) as node:
        yield node


@pytest.fixture(scope="session")
def streams(scratch_etcd: OwnEtcd, node: OwnNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streams]:
    """The running pods."""
    if os.geteuid() != 0:
        unavailable("root")
    directory = tmp_path_factory.mktemp("streams")
    (directory / "tokens.csv").write_text(f'{TOKEN},tester,1,"system:masters"\n')
    authority, client = make_keys(directory)
    apiserver = OwnApiserver(
        scratch_etcd, directory / "apiserver.log", f"--token-auth-file={directory / 'tokens.csv'}",
        f"--kubelet-certificate-authority={authority}", f"--kubelet-client-certificate={client.certificate}",
        f"--kubelet-client-key={client.key}",
    )  # fmt: skip
    kubelet: subprocess.Popen[bytes] | None = None
    try:
        apiserver.start()
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "users": [{"name": "u", "user": {}}, {"name": "s", "user": {"token": TOKEN}}],
            "clusters": [
                {"name": "c", "cluster": {"server": apiserver.url}},
                {"name": "s", "cluster": {"server": apiserver.secure_url,
                                          "certificate-authority": str(apiserver.ca_file)}},
            ],
            "contexts": [
                {"name": "c", "context": {"cluster": "c", "user": "u"}},
                {"name": SECURE, "context": {"cluster": "s", "user": "s"}},
            ],
        }  # fmt: skip
        (directory / "kubeconfig").write_text(json.dumps(config))
        kubelet = start_kubelet(node, scratch_etcd, apiserver, directory)
        _run_pods(apiserver.url, node.name, directory)
        yield Streams(apiserver.url, directory)
    finally:
        if kubelet is not None:
            kubelet.terminate()
            kubelet.wait(10)
        apiserver.kill()


def make_keys(directory: Path) -> tuple[Path, Pair]:
    """An authority, what the kubelet serves with, and what the apiserver shows it."""
    files = Pair(directory / "ca.crt", directory / "ca.key")
    authority = certificates.make_authority("test", files)
    client, kubelet = (Pair(directory / f"{name}.crt", directory / f"{name}.key") for name in ("client", "kubelet"))
    certificates.make_certificate(authority, client, "apiserver", organizations=["system:masters"])
    certificates.make_certificate(authority, kubelet, "kubelet", hosts=["127.0.0.1"])
    return files.certificate, client


def start_kubelet(node: OwnNode, etcd: OwnEtcd, apiserver: OwnApiserver, directory: Path) -> subprocess.Popen[bytes]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (directory / "kubelet.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "kube.kubelet", f"--etcd-servers={etcd.endpoint}", f"--master={apiserver.url}",
             f"--hostname-override={node.name}", "--node-ip=127.0.0.1", "--address=127.0.0.1", f"--port={port}",
             f"--docker-endpoint=unix://{node.socket}", f"--network={node.network}", f"--pod-cidr={node.cidr}",
             f"--bridge={node.bridge}", f"--root-dir={directory / 'kubelet'}", "-v2",
             "--healthz-port=0", f"--client-ca-file={directory / 'ca.crt'}", "--anonymous-auth=false",
             "--authorization-mode=Webhook", f"--tls-cert-file={directory / 'kubelet.crt'}",
             f"--tls-private-key-file={directory / 'kubelet.key'}"],
            stdout=log, stderr=log,
        )  # fmt: skip


def _run_pods(url: str, node: str, directory: Path) -> None:
    pods = f"{url}/api/v1/namespaces/default/pods"
    for name, more in (("web", {}), ("cat", {"command": ["cat"], "stdin": True})):
        container = {"name": name, "image": "kube/web", "imagePullPolicy": "IfNotPresent", **more}
        spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
        _post(pods, {"metadata": {"name": name}, "spec": spec})
        _post(f"{pods}/{name}/binding", {"metadata": {"name": name}, "target": {"kind": "Node", "name": node}})
    deadline = time.monotonic() + 60
    while any(pod["status"].get("phase") != "Running" for pod in _get(pods)["items"]):
        said = (directory / "kubelet.log").read_text(errors="replace")[-4000:]
        assert time.monotonic() < deadline, f"the pods do not run:\n{said}"
        time.sleep(0.05)


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def _post(url: str, body: Any) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10):
        pass
