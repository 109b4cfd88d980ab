"""A cluster's state in memory, and what an informer told about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from kube.api import resources
from kube.api.core import Container, Pod, PodSpec
from kube.api.meta import ObjectMeta
from kube.client.informer import Informer
from kube.store import codec, keys
from kube.store.memory import MemoryStore
from kube.store.store import Delete, Put

_uids = count(1)


def make_pod(name: str, namespace: str = "default", *, node: str = "", uid: str = "") -> Pod:
    """A pod as it is stored."""
    return Pod(
        metadata=ObjectMeta(name=name, namespace=namespace, uid=uid or f"uid-{next(_uids)}"),
        spec=PodSpec(containers=[Container(name="main", image="kube/web")], nodeName=node),
    )


class Cluster:
    """The store, and the few writes that these tests need."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self._corrupt: set[str] = set()

    @staticmethod
    def key(name: str, namespace: str = "default") -> str:
        return keys.object_key(resources.PODS, namespace, name)

    async def put(self, name: str, namespace: str = "default", *, node: str = "", uid: str = "") -> int:
        """Create or change a pod; gives the revision."""
        pod = make_pod(name, namespace, node=node, uid=uid or f"uid-{name}")
        self._corrupt.discard(name)
        return (await self.store.txn([], [Put(self.key(name, namespace), codec.encode(pod))])).revision

    async def corrupt(self, name: str) -> int:
        """Make a pod's value unreadable."""
        self._corrupt.add(name)
        return (await self.store.txn([], [Put(self.key(name), b'{"kind":"Pod","metadata":{"name":7}}')])).revision

    def is_corrupt(self, name: str) -> bool:
        return name in self._corrupt

    async def delete(self, name: str, namespace: str = "default") -> int:
        self._corrupt.discard(name)
        return (await self.store.txn([], [Delete(self.key(name, namespace))])).revision

    async def pods(self) -> dict[str, str]:
        """What the store holds: key and resourceVersion."""
        page = await self.store.list(keys.prefix(resources.PODS))
        return {"/".join(kv.key.split("/")[-2:]): str(kv.revision) for kv in page.items}

    @contextmanager
    def down(self) -> Iterator[None]:
        """The store is not there, and all watches are cut."""
        self.store.down = True
        self.store.interrupt()
        try:
            yield
        finally:
            self.store.down = False


class Told:
    """What an informer's handlers were told, and the cache as it would be by that alone."""

    def __init__(self, informer: Informer[Pod]) -> None:
        self.lines: list[str] = []
        self.replayed: dict[str, str] = {}
        self._informer = informer
        informer.on_change(self._told)

    def _told(self, old: Pod | None, new: Pod | None) -> None:
        now = new or old
        assert now is not None
        if old is None:
            assert now.key not in self.replayed, "added twice"
        else:
            assert self.replayed.pop(old.key) == old.metadata.resourceVersion, "the old one is not the one told last"
        if new is not None:
            self.replayed[new.key] = new.metadata.resourceVersion
        assert self._informer.get(now.key) is new, "the cache is changed before the handlers are called"
        sign = "+" if old is None else "-" if new is None else "~"
        self.lines.append(sign + now.key.removeprefix("default/"))

    def clear(self) -> None:
        self.lines.clear()


def cached(informer: Informer[Pod]) -> dict[str, str]:
    """What the cache holds: key and resourceVersion."""
    return {pod.key: pod.metadata.resourceVersion for pod in informer.list()}


async def settle() -> None:
    """Let everything happen that needs no time to pass."""
    for _ in range(50):
        await asyncio.sleep(0)
