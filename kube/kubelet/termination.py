"""What a container says at its end: the file at its terminationMessagePath, or the end of its log.

The file lies in the pod's directory, one for each attempt, and is mounted into the container; it is read when the
container has ended. With the policy FallbackToLogsOnError, a container that failed and left its file empty speaks by
the last lines of its log. The limits are upstream's (pkg/kubelet/container/runtime.go).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kube.api.core import Container, Pod
from kube.kubelet.pod_state import dead
from kube.kubelet.runtime import ContainerStatus, EngineUnavailable, Mount, Runtime, RuntimeFailure
from kube.kubelet.spec import find_container

log = logging.getLogger(__name__)

MAX_MESSAGE = 4096
"""Bytes of a message, the last of its file."""
MAX_FROM_LOG, MAX_LINES = 2048, 80
"""Bytes, and lines, of a message that is taken from the log."""
MAX_OF_POD = 12 * 1024
"""Bytes that the containers of a pod share, in equal parts."""
FALLBACK = "FallbackToLogsOnError"


class TerminationLogs:
    """The files of this node's containers. `root` None: there are none (a hollow node has no files)."""

    def __init__(self, root: Path | None) -> None:
        self._root = root

    @property
    def kept(self) -> bool:
        """Whether there are any."""
        return self._root is not None

    def mount(self, pod: Pod, container: Container, attempt: int) -> list[Mount]:
        """An empty file for a container that is about to be made; none if it has its own mount there."""
        target = container.terminationMessagePath
        if self._root is None or not target or any(mount.mountPath == target for mount in container.volumeMounts):
            return []
        path = self._path(self._root, pod, container.name, attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            os.fchmod(file.fileno(), 0o666)  # whoever the container runs as may write
        return [Mount(str(path), target, termination_log=True)]

    def read(self, pod: Pod, name: str, attempt: int) -> str:
        """What is in the file of a container; nothing if it has none."""
        if self._root is None:
            return ""
        path = self._path(self._root, pod, name, attempt)
        try:
            with path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - MAX_MESSAGE))
                return file.read(MAX_MESSAGE).decode(errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"Error on reading termination log {path}: {error.strerror}"

    @staticmethod
    def _path(root: Path, pod: Pod, name: str, attempt: int) -> Path:
        return root / "pods" / pod.metadata.uid / "containers" / name / str(attempt)


class Messages:
    """What the containers of one pod said at their end. Each is looked up once."""

    def __init__(self, runtime: Runtime, logs: TerminationLogs) -> None:
        self._runtime = runtime
        self._logs = logs
        self._known: dict[str, str] = {}

    async def added(self, pod: Pod, containers: Sequence[ContainerStatus]) -> list[ContainerStatus]:
        """These containers, those that have ended with their messages."""
        self._known = {c.id: self._known[c.id] for c in containers if c.id in self._known}
        return [replace(c, message=await self._of(pod, c)) if dead(c) else c for c in containers]

    async def _of(self, pod: Pod, status: ContainerStatus) -> str:
        if status.id not in self._known:
            said = ""
            if self._logs.kept:
                said = await asyncio.to_thread(self._logs.read, pod, status.name, status.attempt)
            container = find_container(pod, status.name)
            if not said and container is not None and _wants_log(container, status):
                said = await self._end_of_log(status)
            self._known[status.id] = said
        return self._known[status.id]

    async def _end_of_log(self, status: ContainerStatus) -> str:
        kept = b""
        try:
            async for chunk in self._runtime.logs(status.id, tail=MAX_LINES):
                kept = (kept + chunk)[-MAX_FROM_LOG:]
        except EngineUnavailable:
            raise
        except RuntimeFailure as error:
            log.debug("no log to take a message from", extra={"pod": status.pod, "error": error})
        return kept.decode(errors="replace")


def _wants_log(container: Container, status: ContainerStatus) -> bool:
    """Whether the log stands in for a file that is empty."""
    return container.terminationMessagePolicy == FALLBACK and status.exit_code != 0 and not status.error


def shortened(message: str, containers: int) -> str:
    """As much of a message as a container of a pod with so many may have."""
    return message.encode()[: MAX_OF_POD // max(1, containers)].decode(errors="ignore")
