"""Servers that belong to a benchmark: an etcd, an apiserver, and a plain ASGI callable as the floor of both."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.benchmarks import cpu_seconds
from deploy.cluster import machine
from deploy.cluster.settings import CHECKOUT
from deploy.cluster.steps import Failed, last_lines

TOKEN = "benchmark"
START_SECONDS = 60.0


class Server:
    """A process that answers by HTTP at a URL."""

    def __init__(self, command: list[str], url: str, *, ready: str, log: Path) -> None:
        """Start it. `ready`: the path that answers 200 as soon as it can be used."""
        self.url = url
        self.began = time.monotonic()
        self.ready_after = 0.0
        """Seconds from its start until it could be used."""
        self._log, self._ready = log, ready
        # What runs for the first time on a machine is compiled; a start is measured as it is from then on.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd=CHECKOUT, env=environment)

    @property
    def pid(self) -> int:
        return self._process.pid

    def pids(self) -> list[int]:
        """It, and the processes that it started."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [self.pid, *map(int, children.split())]

    def cpu_seconds(self) -> float:
        """Seconds of CPU that it and its processes have used."""
        return sum(map(cpu_seconds, self.pids()))

    def wait(self) -> None:
        """Wait until it is ready."""
        while time.monotonic() < self.began + START_SECONDS:
            with contextlib.suppress(OSError, urllib.error.URLError, http.client.HTTPException):
                urllib.request.urlopen(self.url + self._ready, timeout=5).close()
                self.ready_after = time.monotonic() - self.began
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.005)
        raise Failed(f"{self._process.args} does not become ready:\n{last_lines(self._log, 10)}")  # type: ignore[str-bytes-safe]

    def stop(self) -> None:
        """Stop it, and wait until it has ended."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    @contextlib.contextmanager
    def running(self) -> Iterator[Server]:
        """Ready within the block, stopped behind it."""
        try:
            self.wait()
            yield self
        finally:
            self.stop()


def etcd(directory: Path, port: int) -> Server:
    """Start an etcd with its data in a directory, on a port and the next one."""
    for each in (port, port + 1):
        machine.require_free(each, "etcd")
    url, peer = (f"http://127.0.0.1:{each}" for each in (port, port + 1))
    command = [
        str(machine.which("etcd")), f"--data-dir={directory / 'etcd'}", "--log-level=error",
        f"--listen-client-urls={url}", f"--advertise-client-urls={url}", f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
    ]  # fmt: skip
    return Server(command, url, ready="/health", log=directory / "etcd.log")


def apiserver(directory: Path, etcd: str, port: int, *flags: str) -> Server:
    """Start an apiserver over an etcd, on a port and, by TLS and for who shows the TOKEN, the next one."""
    for each in (port, port + 1):
        machine.require_free(each, "kube-apiserver")
    tokens = directory / "tokens.csv"
    tokens.write_text(f"{TOKEN},benchmark,1\n")
    command = [
        sys.executable, "-m", "kube.apiserver", f"--etcd-servers={etcd}", f"--insecure-port={port}",
        "--bind-address=127.0.0.1", f"--secure-port={port + 1}", f"--cert-dir={directory / 'pki'}",
        f"--token-auth-file={tokens}", "--disable-admission-plugins=ServiceAccount", *flags,
    ]  # fmt: skip
    return Server(command, f"http://127.0.0.1:{port}", ready="/readyz", log=directory / "apiserver.log")


def plain(directory: Path, port: int, body: Path, *tls: Path) -> Server:
    """Start a callable that answers everything with the content of a file, on the apiserver's own HTTP server.

    `tls`: certificate and key, to serve on the next port as well.
    """
    command = [sys.executable, "-m", "deploy.benchmarks._plain", str(port), str(body), *map(str, tls)]
    return Server(command, f"http://127.0.0.1:{port}", ready="/", log=directory / "plain.log")


def request(method: str, url: str, body: Any = None) -> bytes:
    """The answer to a request. Raises Failed."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=60) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise Failed(f"{method} {url}: {error.code} {error.read().decode(errors='replace')}") from None
