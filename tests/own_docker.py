"""A Docker engine that belongs to a test, which may kill it and start it again with the same data.

It runs in a network namespace of its own, so that it disturbs no other engine of the machine (an engine that is told to
have no bridge removes docker0). Its containers survive its death, as under `deploy/up` (--live-restore).
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
from docker.errors import APIError, DockerException

from kube.kubelet.docker_engine import connect


class OwnDocker:
    """One dockerd, its data in a directory of the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # Short, and so not below `directory`: a socket's path has at most 107 characters.
        self._run = tempfile.TemporaryDirectory(prefix="kube-dockerd-")
        self.socket = f"{self._run.name}/docker.sock"
        (directory / "daemon.json").write_text("{}")  # not the machine's own
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._process is None, "dockerd runs already"
        # The containerd of one that was killed died with it, but may not be reaped yet: dockerd would wait for it.
        (Path(self._run.name) / "exec/containerd/containerd.pid").unlink(missing_ok=True)
        with (self.directory / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "unshare",
                    "--net",
                    "dockerd",
                    f"--config-file={self.directory / 'daemon.json'}",
                    f"--data-root={self.directory / 'data'}",
                    f"--exec-root={self._run.name}/exec",
                    f"--pidfile={self._run.name}/docker.pid",
                    f"--host=unix://{self.socket}",
                    "--live-restore",
                    "--bridge=none",
                    "--iptables=false",
                    "--ip6tables=false",
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while not self.answers():
            assert self._process.poll() is None, f"dockerd does not start:\n{self.log()}"
            assert time.monotonic() < deadline, f"dockerd does not answer:\n{self.log()}"
            time.sleep(0.05)

    def answers(self) -> bool:
        with contextlib.suppress(DockerException, OSError), self.client() as client:
            return bool(client.ping())
        return False

    @contextlib.contextmanager
    def client(self) -> Iterator[docker.APIClient]:
        with contextlib.closing(connect(self.socket, timeout=60, connections=1)) as client:
            yield client

    def kill(self) -> None:
        """kill -9. Its containers run on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It is there, but does not answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it and all that it started. The data goes with the test's directory."""
        if self._process is None:
            self.start()
        assert self._process is not None
        self.resume()
        with self.client() as client:
            for container in client.containers(all=True):
                with contextlib.suppress(APIError):
                    client.remove_container(container["Id"], force=True)
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)
        self._process = None
        # What dockerd mounts, and leaves mounted.
        for mounted in (f"{self._run.name}/exec/netns/default", self.directory / "data"):
            subprocess.run(["umount", str(mounted)], capture_output=True, check=False)
        self._run.cleanup()

    def copy_images(self, source: str, *names: str) -> None:
        """Give it images of another engine."""
        with subprocess.Popen(["docker", "-H", f"unix://{source}", "save", *names], stdout=subprocess.PIPE) as saved:
            load = ["docker", "-H", f"unix://{self.socket}", "load"]
            subprocess.run(load, stdin=saved.stdout, check=True, capture_output=True)
        assert saved.returncode == 0

    def log(self) -> str:
        """The end of its log."""
        return (self.directory / "dockerd.log").read_text(errors="replace")[-4000:]
