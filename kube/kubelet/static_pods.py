"""Static pods: those that a file, a directory or a URL on the node says, and no apiserver.

A source is read again and again; what it cannot say now stays as it said it last. A pod is the node's own: its name
has the node's behind it, and its uid is made from what it says and where, so that a changed one is another pod (as
upstream's pkg/kubelet/config). One that no apiserver would take is left out, and logged.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import yaml

from kube.api import decode, defaults, validation
from kube.api.core import Pod, Toleration
from kube.api.errors import BadRequest

log = logging.getLogger(__name__)

MIRROR = "kubernetes.io/config.mirror"
HASH = "kubernetes.io/config.hash"
SOURCE = "kubernetes.io/config.source"
SEEN = "kubernetes.io/config.seen"
GLANCE = 1.0
"""Seconds between looks at whether a file has changed at all."""

Handler = Callable[[Pod | None, Pod | None], None]


class Unreadable(Exception):
    """A source cannot be read; the message says why."""


def is_mirror(pod: Pod) -> bool:
    """Whether a pod in the API stands for a static pod."""
    return MIRROR in pod.metadata.annotations


def is_static(pod: Pod) -> bool:
    """Whether a pod comes from a source on the node."""
    return pod.metadata.annotations.get(SOURCE, "api") != "api"


def parse(text: bytes, node: str, source: str, origin: str) -> list[Pod]:
    """The pods in a manifest: one, or a list of them, in YAML or JSON. Raises Unreadable.

    `source`: `file` or `http`; `origin`: the file's path, or the URL.
    """
    try:
        documents = [document for document in yaml.load_all(text, Loader=_Loader) if document]
    except yaml.YAMLError as error:
        raise Unreadable(f"{origin}: not YAML: {' '.join(str(error).split())}") from None
    pods = []
    for document in documents:
        listed = document.get("items") if isinstance(document, dict) and "items" in document else [document]
        for content in listed or []:
            pods.append(_pod(content, node, source, origin))
    return pods


def _pod(content: Any, node: str, source: str, origin: str) -> Pod:
    if not isinstance(content, dict) or content.get("kind", "Pod") != "Pod":
        raise Unreadable(f"{origin}: no Pod")
    try:
        pod = decode.decode(Pod, content)
    except BadRequest as error:
        raise Unreadable(f"{origin}: {error}") from None
    meta = pod.metadata
    meta.namespace = meta.namespace or "default"
    meta.name = f"{meta.name}-{node.lower()}"
    pod.spec.nodeName = node
    # A node that is unwell keeps its own pods: they are perhaps what makes it well again.
    pod.spec.tolerations = [*pod.spec.tolerations, Toleration(operator="Exists", effect="NoExecute")]
    digest = hashlib.md5(usedforsecurity=False)
    for part in (node, source, origin, pod.to_json().decode()):
        digest.update(f"{part}\0".encode())
    meta.uid = meta.uid or digest.hexdigest()
    meta.annotations = {
        **meta.annotations,
        HASH: meta.uid,
        SOURCE: source,
        SEEN: datetime.now(UTC).isoformat().replace("+00:00", "Z"),
    }
    defaults.apply(pod)
    if problems := validation.validate(pod):
        raise Unreadable(f"{origin}: Pod {meta.name} is invalid: {'; '.join(map(str, problems))}")
    pod.status.phase = "Pending"
    return pod


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: a date is a text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


class Source(Protocol):
    """Where manifests are."""

    async def read(self) -> list[Pod]:
        """All pods that it says now. Raises Unreadable."""

    async def changed(self) -> None:
        """Returns when it is time to read it again."""


class FileSource:
    """A file, or all files of a directory but those whose names begin with a dot."""

    def __init__(self, path: Path, node: str, frequency: float) -> None:
        self._path, self._node, self._frequency = path, node, frequency
        self._glance: list[tuple[str, int, int]] = []

    async def read(self) -> list[Pod]:
        self._glance = self._look()
        if not self._path.exists():
            return []
        pods: list[Pod] = []
        for name, *_ in self._glance:
            try:
                pods += parse(await asyncio.to_thread(Path(name).read_bytes), self._node, "file", name)
            except OSError as error:
                raise Unreadable(f"{name}: {error.strerror}") from None
            except Unreadable as error:
                log.error("left out a manifest", extra={"error": error})
        return pods

    async def changed(self) -> None:
        for _ in range(max(1, int(self._frequency / GLANCE))):
            await asyncio.sleep(GLANCE)
            if self._look() != self._glance:
                return

    def _look(self) -> list[tuple[str, int, int]]:
        """The files, with what changes when they do."""
        paths = sorted(self._path.iterdir()) if self._path.is_dir() else [self._path]
        found = []
        for path in paths:
            try:
                stat = os.stat(path)
            except OSError:
                continue  # it has just been removed
            if path.is_file() and not path.name.startswith("."):
                found.append((str(path), stat.st_mtime_ns, stat.st_size))
        return found


class UrlSource:
    """A manifest on a web server."""

    def __init__(self, url: str, headers: Mapping[str, str], node: str, frequency: float) -> None:
        self._url, self._headers, self._node, self._frequency = url, headers, node, frequency

    async def read(self) -> list[Pod]:
        timeout = aiohttp.ClientTimeout(total=10)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session,
                session.get(self._url) as answer,
            ):
                text = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreadable(f"{self._url}: {error or 'no answer'}") from None
        if answer.status != 200:
            raise Unreadable(f"{self._url}: {answer.status} {answer.reason}")
        if not text.strip():
            raise Unreadable(f"{self._url}: zero-length data received")
        return parse(text, self._node, "http", self._url)

    async def changed(self) -> None:
        await asyncio.sleep(self._frequency)


class StaticPods:
    """The pods of all sources on this node."""

    def __init__(self, sources: Sequence[Source] = ()) -> None:
        self._sources = sources
        self._pods: dict[str, Pod] = {}
        self._of: dict[int, set[str]] = {}
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()
        if not sources:
            self._synced.set()

    @property
    def has_synced(self) -> bool:
        """Whether every source has been read once."""
        return self._synced.is_set()

    async def synced(self) -> None:
        """Wait until `has_synced`."""
        await self._synced.wait()

    def list(self) -> list[Pod]:
        """All pods."""
        return [*self._pods.values()]

    def get(self, key: str) -> Pod | None:
        """The pod of a namespace and name, as `namespace/name`."""
        return next((pod for pod in self._pods.values() if pod.key == key), None)

    def on_change(self, handler: Handler) -> None:
        """Call `handler(old, new)` for each pod there is, and then for each that comes or goes."""
        self._handlers.append(handler)
        for pod in self.list():
            handler(None, pod)

    async def run(self) -> None:
        """Follow the sources until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number, source in enumerate(self._sources):
                tasks.create_task(self._follow(number, source), name=f"static pods {number}")

    async def _follow(self, number: int, source: Source) -> None:
        told = ""
        while True:
            try:
                pods = await source.read()
            except Unreadable as error:
                if str(error) != told:
                    told = str(error)
                    log.warning("cannot read static pods, will retry", extra={"error": error})
            else:
                told = ""
                self._replace(number, pods)
            await source.changed()

    def _replace(self, number: int, pods: Sequence[Pod]) -> None:
        wanted = {pod.metadata.uid: pod for pod in pods}
        for uid in self._of.get(number, set()) - set(wanted):
            old = self._pods.pop(uid)
            for handler in self._handlers:
                handler(old, None)
        for uid, pod in wanted.items():
            if uid not in self._pods:
                self._pods[uid] = pod
                log.info("a static pod", extra={"pod": pod.key, "source": pod.metadata.annotations[SOURCE]})
                for handler in self._handlers:
                    handler(None, pod)
        self._of[number] = set(wanted)
        if len(self._of) == len(self._sources):
            self._synced.set()
