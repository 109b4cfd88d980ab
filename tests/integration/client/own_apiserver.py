"""A kube-apiserver that belongs to a test, which may kill it and start it again."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.own_etcd import OwnEtcd


class OwnApiserver:
    """One kube-apiserver process on free ports of the loopback."""

    def __init__(self, etcd: OwnEtcd, log: Path, *flags: str) -> None:
        self.etcd = etcd
        self.log_file = log
        self._flags = flags
        with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as secure:
            self._port, self._secure_port = free.getsockname()[1], secure.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.secure_url = f"https://127.0.0.1:{self._secure_port}"
        self.cert_dir = log.parent / "certs"
        self.ca_file = self.cert_dir / "apiserver.crt"
        """Vouches for the secure port, unless other flags say what is served."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(self._command(*self._flags), stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not self.ready():
            assert self._process.poll() is None, f"the apiserver does not start:\n{self.log()}"
            assert time.monotonic() < deadline, f"the apiserver is not ready:\n{self.log()}"
            time.sleep(0.02)

    def _command(self, *flags: str) -> list[str]:
        return [
            sys.executable, "-m", "kube.apiserver", f"--etcd-servers={self.etcd.endpoint}",
            f"--insecure-port={self._port}", f"--secure-port={self._secure_port}", "--bind-address=127.0.0.1",
            f"--cert-dir={self.cert_dir}", "--endpoint-reconciler-type=none", "-v2",
            "--disable-admission-plugins=ServiceAccount",  # there is no controller that makes accounts
            *flags,
        ]  # fmt: skip

    def start_another(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """Try to start one more on the same ports, and wait until it has given up."""
        return subprocess.run(self._command(*flags), capture_output=True, text=True, timeout=120)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def terminate(self) -> int:
        """SIGTERM; the code that it ends with."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(60)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ready(self) -> bool:
        """Whether it says so."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def log(self) -> str:
        """The last of what it wrote."""
        return self.log_file.read_text(errors="replace")[-4000:]


async def eventually(condition: Callable[[], bool], what: str, seconds: float = 15) -> None:
    """Wait until something is so, and fail if it does not come to be."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within {seconds:g} s: {what}")
