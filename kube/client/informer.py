"""A read-only cache of one kind's objects that follows a source, and tells what changes.

Three generators, each with one care (as kopf has them): `_forever` tries again, with back-off, whatever fails;
`_list_then_watch` goes on from where it was, and lists again when that is too long ago; `_stream` is one stream, given
up when it is silent for too long. What they yield is applied by `run`, so the cache and its indexes change, and the
handlers are called, at one place and in one order.

A change is told once. After a new list only differences are told, an object that was deleted and created again
meanwhile as both. A handler that raises takes the daemon down: a notification that was lost could never be made good.

Differs from Kubernetes in that there is no resync: who wants to look again says so to a work queue (add_after).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kube.api import errors
from kube.api.core import Pod
from kube.api.meta import Object
from kube.client.source import Batch, Source, Sources
from kube.client.watch import WatchEvent, revision_of

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Object)
Handler = Callable[[T | None, T | None], None]

SHORTEST_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Seconds between tries at a source that fails: doubled from the one to the other."""
SILENCE = 900.0
"""Seconds without a word after which a stream is given up. etcd reports progress every ten minutes."""


@dataclass(frozen=True, slots=True)
class _Replace(Generic[T]):
    """A new list: what is not in it is gone."""

    objects: list[T]
    revision: int


_Objects = list[T]
_Step = _Replace[T] | Batch[T]


class Informer(Generic[T]):
    """The cache of one source. What it gives out is shared: clone() before changing it."""

    def __init__(self, source: Source[T], name: str = "") -> None:
        self.name = name or "informer"
        self._source = source
        self._revision = 0
        """Everything up to here is in the cache; 0: list."""
        self._objects: dict[str, T] = {}
        self._by_namespace: dict[str, dict[str, T]] = {}
        self._indexes: dict[str, _Index[T]] = {}
        self._handlers: list[Handler[T]] = []
        self._has_synced = asyncio.Event()

    # Reading

    @property
    def has_synced(self) -> bool:
        """True once the cache has been filled, and its handlers have been told."""
        return self._has_synced.is_set()

    async def synced(self) -> None:
        """Wait until `has_synced`."""
        await self._has_synced.wait()

    def get(self, key: str) -> T | None:
        """The object of a key (`namespace/name`, or `name`)."""
        return self._objects.get(key)

    def list(self, namespace: str = "") -> list[T]:
        """All objects, or those in one namespace, in no particular order."""
        return [*(self._by_namespace.get(namespace, {}) if namespace else self._objects).values()]

    def indexed(self, name: str, key: str) -> _Objects[T]:
        """The objects that an index has under a key."""
        return [*self._indexes[name].objects.get(key, {}).values()]

    # Wiring

    def keep(self, transform: Callable[[T], T]) -> None:
        """Keep of each object what `transform` makes of it. Say so before `run`."""
        self._source.transform = transform

    def add_index(self, name: str, keys: Callable[[T], Iterable[str]]) -> None:
        """Keep the objects findable by what `keys` says of each (in `indexed`)."""
        self._indexes[name] = index = _Index(keys)
        for key, obj in self._objects.items():
            index.add(key, obj)

    def on_change(self, handler: Handler[T]) -> None:
        """Call `handler(old, new)` after each change; (None, new) is an addition, (old, None) a deletion.

        Handlers are called in the order of the events and of their registration. One that comes late is told of every
        object there is.
        """
        self._handlers.append(handler)
        for obj in self.list():
            handler(None, obj)

    # Following

    async def run(self) -> None:
        """Follow the source until cancelled."""
        async with contextlib.aclosing(self._forever()) as steps:
            async for step in steps:
                if isinstance(step, _Replace):
                    self._replace(step)
                else:
                    for event in step:
                        self._apply(event)

    async def _forever(self) -> AsyncGenerator[_Step[T], None]:
        """Steps without end: what fails is tried again, with back-off. A stream that works ends the back-off."""
        loop = asyncio.get_running_loop()
        wait, failed_at = SHORTEST_WAIT, loop.time()
        while True:
            try:
                async with contextlib.aclosing(self._list_then_watch()) as steps:
                    async for step in steps:
                        if not isinstance(step, _Replace):
                            wait = SHORTEST_WAIT
                        yield step
            except errors.ApiError as error:
                if loop.time() - failed_at > 2 * LONGEST_WAIT:
                    wait = SHORTEST_WAIT
                if isinstance(error, errors.Gone):
                    log.info("listing again", extra={"informer": self.name, "reason": error})
                    self._revision = 0
                else:
                    log.warning(
                        "cannot read, will retry", extra={"informer": self.name, "after": f"{wait:g}s", "error": error}
                    )
            failed_at = loop.time()
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _list_then_watch(self) -> AsyncGenerator[_Step[T], None]:
        """A list, unless there has been one, and then stream after stream, each from where the last one ended."""
        if not self._revision:
            objects, revision = await self._source.list()
            yield _Replace(objects, revision)
        while True:
            async with contextlib.aclosing(self._stream(self._revision)) as batches:
                async for batch in batches:
                    yield batch

    async def _stream(self, revision: int) -> AsyncGenerator[Batch[T], None]:
        """One stream. It ends when it is silent for too long; one that ends without a word at once has failed."""
        begun = asyncio.get_running_loop().time()
        said_something = False
        async with contextlib.aclosing(self._source.watch(revision)) as batches:
            while True:
                try:
                    async with asyncio.timeout(SILENCE):
                        batch = await anext(batches, None)
                except TimeoutError:
                    log.info("a silent watch was given up", extra={"informer": self.name, "after": f"{SILENCE:g}s"})
                    return
                if batch is None:
                    break
                said_something = True
                yield batch
        if not said_something and asyncio.get_running_loop().time() - begun < 1:
            raise errors.ServiceUnavailable("the watch ended as soon as it had begun")

    # Applying

    def _replace(self, new: _Replace[T]) -> None:
        present = {obj.key for obj in new.objects}
        for key in [key for key in self._objects if key not in present]:
            self._set(key, None)
        for obj in new.objects:
            old = self._objects.get(obj.key)
            if old is not None and old.metadata.uid != obj.metadata.uid:
                self._set(obj.key, None)
            elif old is not None and old.metadata.resourceVersion == obj.metadata.resourceVersion:
                continue
            self._set(obj.key, obj)
        self._revision = new.revision
        if not self.has_synced:
            log.debug("synced", extra={"informer": self.name, "objects": len(self._objects)})
            self._has_synced.set()

    def _apply(self, event: WatchEvent[T]) -> None:
        obj = event.object
        if obj is not None:
            old = self._objects.get(obj.key)
            known = revision_of(old.metadata.resourceVersion) if old is not None else 0
            if event.type == "DELETED":
                if old is not None and event.revision >= known:
                    self._set(obj.key, None)
            elif event.revision > known:
                self._set(obj.key, obj)
        self._revision = max(self._revision, event.revision)

    def _set(self, key: str, new: T | None) -> None:
        """Change the cache, then tell."""
        old = self._objects.pop(key, None)
        for index in self._indexes.values():
            if old is not None:
                index.remove(key)
            if new is not None:
                index.add(key, new)
        if new is not None:
            self._objects[key] = new
            self._by_namespace.setdefault(new.namespace, {})[key] = new
        elif old is not None:
            namespace = self._by_namespace[old.namespace]
            del namespace[key]
            if not namespace:
                del self._by_namespace[old.namespace]
        for handler in self._handlers:
            handler(old, new)


class _Index(Generic[T]):
    """Objects by what a function says of each."""

    def __init__(self, keys: Callable[[T], Iterable[str]]) -> None:
        self._keys = keys
        self._keys_of: dict[str, tuple[str, ...]] = {}
        self.objects: dict[str, dict[str, T]] = {}

    def add(self, key: str, obj: T) -> None:
        self._keys_of[key] = tuple(self._keys(obj))
        for each in self._keys_of[key]:
            self.objects.setdefault(each, {})[key] = obj

    def remove(self, key: str) -> None:
        for each in self._keys_of.pop(key):
            found = self.objects[each]
            found.pop(key, None)  # an index that names one key twice
            if not found:
                del self.objects[each]


class Informers:
    """The informers of a process: one a kind, shared by all who read it."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._informers: dict[Any, Informer[Any]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def of(self, model: type[T]) -> Informer[T]:
        """The informer of a kind. Its indexes and handlers are best added before `run`."""
        if model not in self._informers:
            self._add(model, Informer(self._sources.of(model), model.kind))
        return self._informers[model]

    def bound_pods(self, node: str) -> Informer[Pod]:
        """The informer of the pods that are bound to a node."""
        if node not in self._informers:
            self._add(node, Informer(self._sources.bound_pods(node), "bound pods"))
        return self._informers[node]

    async def run(self) -> None:
        """Run all informers, also those that are asked for later, until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            for informer in self._informers.values():
                self._start(self._tasks, informer)
            await asyncio.Event().wait()

    async def synced(self) -> None:
        """Wait until all of them have synced."""
        for informer in [*self._informers.values()]:
            await informer.synced()

    def _add(self, key: Any, informer: Informer[Any]) -> None:
        self._informers[key] = informer
        if self._tasks is not None:
            self._start(self._tasks, informer)

    @staticmethod
    def _start(tasks: asyncio.TaskGroup, informer: Informer[Any]) -> None:
        tasks.create_task(informer.run(), name=f"informer {informer.name}")
