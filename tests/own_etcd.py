"""An etcd that belongs to a test, which may kill it and start it again with the same data."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path


class OwnEtcd:
    """One etcd process on free ports of the loopback, its data in a directory of the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        client, peer = _free_ports(2)
        self.endpoint = f"http://127.0.0.1:{client}"
        self._peer = f"http://127.0.0.1:{peer}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *flags: str) -> None:
        """Start it, and wait until it is healthy."""
        assert self._process is None, "etcd runs already"
        with (self.directory / "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "etcd",
                    f"--data-dir={self.directory / 'data'}",
                    f"--listen-client-urls={self.endpoint}",
                    f"--advertise-client-urls={self.endpoint}",
                    f"--listen-peer-urls={self._peer}",
                    f"--initial-advertise-peer-urls={self._peer}",
                    f"--initial-cluster=default={self._peer}",
                    *flags,
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while not self.healthy():
            assert self._process.poll() is None, f"etcd does not start:\n{self.log()}"
            assert time.monotonic() < deadline, f"etcd is not healthy:\n{self.log()}"
            time.sleep(0.02)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """kill -9, and start it again with the same data."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Make it silent, as a machine that lost its power: connections stay, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def healthy(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self.endpoint}/health", timeout=1) as answer:
                return b'"true"' in answer.read()
        except (OSError, urllib.error.URLError):
            return False

    def log(self) -> str:
        """The last of what it wrote."""
        return (self.directory / "etcd.log").read_text(errors="replace")[-4000:]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports
