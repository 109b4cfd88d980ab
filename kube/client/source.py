"""Where a daemon reads the cluster: etcd itself, or an apiserver. Whoever reads cannot tell which.

A Source is one kind's objects: list them, then watch what changes from there on. Both sources answer with the errors
of kube.api.errors: Expired (or Gone) means list again, any other means try again. A stored value that cannot be read
is reported once and left out; it must not keep a daemon from all the others.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Protocol, TypeVar, cast

from pydantic import ValidationError

from kube.api import errors, resources
from kube.api.core import Pod
from kube.api.meta import Object, ObjectMeta
from kube.client.rest import Client
from kube.client.watch import EventType, WatchEvent, problem, revision_of
from kube.store import keys
from kube.store.codec import decode
from kube.store.store import Change, Compacted, KeyValue, Page, Store, Unavailable

__all__ = ["ApiSources", "EtcdSources", "EventType", "Source", "Sources", "WatchEvent"]

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Object)
Batch = list[WatchEvent[T]]

SLICE = 200
"""Values that are parsed before other tasks get a turn."""


def _as_it_is(obj: T) -> T:
    return obj


class Source(Protocol[T]):
    """The objects of one kind, or some of them. Any call may raise an ApiError."""

    transform: Callable[[T], T] = staticmethod(_as_it_is)
    """What is kept of each object, right when it is read. Set it before the first one is: whoever holds many may leave
    out what it never looks at, and will never have held it."""

    async def list(self) -> tuple[list[T], int]:
        """All objects as they are, and the revision they are of."""

    def watch(self, revision: int) -> AsyncGenerator[Batch[T], None]:
        """What changes after a revision, in order, until the stream ends (then watch again, from the last revision).

        Raises Expired when that is too long ago: list again.
        """


class Sources(Protocol):
    """Gives the source of any kind."""

    def of(self, model: type[T], namespace: str = "") -> Source[T]:
        """All objects of a kind, or those in one namespace."""

    def one(self, model: type[T], namespace: str, name: str) -> Source[T]:
        """One object, which may come and go: for a daemon that may read no others, or has no need of them."""

    def bound_pods(self, node: str) -> Source[Pod]:
        """The pods that are bound to a node."""


class EtcdSources:
    """Reads the store directly. All its sources share one connection."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, model: type[T], namespace: str = "") -> Source[T]:
        return EtcdSource(self._store, model, keys.prefix(resources.of(model), namespace))

    def one(self, model: type[T], namespace: str, name: str) -> Source[T]:
        key = keys.object_key(resources.of(model), namespace, name)
        return EtcdSource(self._store, model, key, exact=True)

    def bound_pods(self, node: str) -> Source[Pod]:
        """Here a pod's resourceVersion is that of its key below the node: no precondition for an update."""
        return EtcdSource(self._store, Pod, keys.bound_pods_prefix(node))


class EtcdSource(Source[T]):
    """The objects under one prefix of the store; `exact`: the one at this key."""

    def __init__(self, store: Store, model: type[T], prefix: str, *, exact: bool = False) -> None:
        self._store = store
        self._model = model
        self._prefix = prefix
        self._exact = exact
        self._unreadable: dict[str, int] = {}
        """Keys whose value could not be read, and the revision that was reported."""

    async def list(self) -> tuple[list[T], int]:
        try:
            page = await self._page()
        except Unavailable as error:
            raise errors.ServiceUnavailable(str(error)) from None
        objects = []
        for number, kv in enumerate(page.items):
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            obj = self._decode(kv)
            if obj is not None:
                objects.append(obj)
        return objects, page.revision

    async def _page(self) -> Page:
        if not self._exact:
            return await self._store.list(self._prefix)
        found, revision = await self._store.get(self._prefix)
        return Page([found] if found is not None else [], revision)

    async def watch(self, revision: int) -> AsyncGenerator[Batch[T], None]:
        try:
            # A watch from a revision that is still to come waits in silence. One that we have seen and the store has
            # not means that the store was put back to an earlier state.
            now = await self._store.revision()
            if now < revision:
                raise errors.expired(revision, now)
            async for batch in self._store.watch(self._prefix, revision + 1, exact=self._exact):
                events = [event for change in batch.changes if (event := self._event(change)) is not None]
                yield events or [WatchEvent("BOOKMARK", None, batch.revision)]
        except Compacted as error:
            raise errors.expired(revision, error.oldest) from None
        except Unavailable as error:
            raise errors.ServiceUnavailable(str(error)) from None

    def _event(self, change: Change) -> WatchEvent[T] | None:
        if change.value is None:
            return WatchEvent("DELETED", self._named(change.key, change.revision), change.revision)
        obj = self._decode(KeyValue(change.key, change.value, change.revision))
        if obj is None:
            return None
        return WatchEvent("ADDED" if change.created else "MODIFIED", obj, change.revision)

    def _named(self, key: str, revision: int) -> T:
        """The object that was deleted, by its name: whoever follows it knows what it was."""
        self._unreadable.pop(key, None)
        *_, namespace, name = key.split("/")
        metadata = ObjectMeta(
            namespace=namespace if resources.of(self._model).namespaced else "",
            name=name,
            resourceVersion=str(revision),
        )
        return cast(T, self._model.model_construct(metadata=metadata))

    def _decode(self, kv: KeyValue) -> T | None:
        try:
            return self.transform(decode(self._model, kv))
        except ValidationError as error:
            if self._unreadable.get(kv.key) != kv.revision:
                log.error("left out a value that cannot be read", extra={"key": kv.key, "error": problem(error)})
                self._unreadable[kv.key] = kv.revision
            return None


class ApiSources:
    """Lists and watches at an apiserver."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def of(self, model: type[T], namespace: str = "") -> Source[T]:
        return ApiSource(self._client, model, namespace)

    def one(self, model: type[T], namespace: str, name: str) -> Source[T]:
        return ApiSource(self._client, model, namespace, fields=f"metadata.name={name}")

    def bound_pods(self, node: str) -> Source[Pod]:
        return ApiSource(self._client, Pod, fields=f"spec.nodeName={node}")


class ApiSource(Source[T]):
    """The objects that an apiserver lists."""

    def __init__(self, client: Client, model: type[T], namespace: str = "", *, fields: str = "") -> None:
        self._client = client
        self._model = model
        self._namespace = namespace
        self._fields = fields

    async def list(self) -> tuple[list[T], int]:
        found = await self._client.list(self._model, self._namespace, fields=self._fields, lenient=True)
        return [self.transform(obj) for obj in found.items], revision_of(found.resourceVersion)

    async def watch(self, revision: int) -> AsyncGenerator[Batch[T], None]:
        changes = self._client.watch(self._model, self._namespace, resource_version=str(revision), fields=self._fields)
        try:
            async for event in changes:
                if event.object is not None:
                    event = dataclasses.replace(event, object=self.transform(event.object))
                yield [event]
        except errors.Timeout as error:
            if not _is_too_large(error):
                raise
            # As in EtcdSource.watch: what we have seen, the store may never come to.
            raise errors.Expired(error.message) from None


def _is_too_large(error: errors.Timeout) -> bool:
    """The apiserver has not come to the version that it was asked for (errors.IsTooLargeResourceVersionError)."""
    causes = error.details.get("causes") if error.details else None
    return any(isinstance(cause, dict) and cause.get("reason") == "ResourceVersionTooLarge" for cause in causes or ())
