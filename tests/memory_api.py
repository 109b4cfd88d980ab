"""An API server's rules of writing, over the store in memory: for tests of daemons, in virtual time.

It is honest about what daemons depend on (uids, versions, conflicts, graceful deletion, finalizers, bindings, bound
pods), and knows no validation, defaults or admission. `fail` makes requests fail before they take effect, or after:
then the answer is lost and the change is made.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, TypeVar

from kube.api import errors, resources
from kube.api.core import Namespace, Pod
from kube.api.meta import Object, now
from kube.api.meta import key as key_of
from kube.api.patch import merge_patch, strategic_merge_patch
from kube.client.rest import MERGE_PATCH, STRATEGIC_MERGE_PATCH, Client, ObjectList
from kube.client.source import EtcdSource
from kube.client.watch import WatchEvent
from kube.store import codec, keys
from kube.store.memory import MemoryStore
from kube.store.store import Compare, Delete, KeyValue, Op, Put

T = TypeVar("T", bound=Object)

Fault = Callable[[str, type[Object], str], Exception | None]
"""Asked with the verb, the kind and the key of each write; returns what to raise."""


class MemoryApi(Client):
    """A client whose API server is a store in memory."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        super().__init__("http://memory")
        self.store = store or MemoryStore()
        self.writes: list[tuple[str, str, str]] = []
        """Every write that took effect: verb, kind, key."""
        self.fail_before: Fault = lambda verb, model, key: None
        self.fail_after: Fault = lambda verb, model, key: None

    async def get(self, model: type[T], name: str, namespace: str = "") -> T:
        return codec.decode(model, await self._stored(model, namespace, name))

    async def list(
        self, model: type[T], namespace: str = "", *, labels: str = "", fields: str = "", lenient: bool = False
    ) -> ObjectList[T]:
        assert not labels, "MemoryApi selects by name alone"
        page = await self.store.list(keys.prefix(resources.of(model), namespace))
        items = [codec.decode(model, kv) for kv in page.items]
        return ObjectList([each for each in items if _selected(each, fields)], str(page.revision))

    async def create(self, obj: T) -> T:
        obj = obj.clone()
        meta = obj.metadata
        meta.name = meta.name or f"{meta.generateName}{uuid.uuid4().hex[:10]}"
        meta.uid = meta.uid or str(uuid.uuid4())
        meta.creationTimestamp = meta.creationTimestamp or now()
        meta.generation = meta.generation or 1
        if isinstance(obj, Pod):
            obj.status.phase = obj.status.phase or "Pending"
        return await self._write("create", obj, 0)

    async def send(self, obj: Object) -> None:
        await self.create(obj)

    async def update(self, obj: T, subresource: str = "") -> T:
        model = type(obj)
        stored = await self._stored(model, obj.namespace, obj.name)
        if obj.metadata.resourceVersion not in ("", str(stored.revision)):
            raise errors.conflict(resources.of(model).plural, obj.name)
        return await self._replace(codec.decode(model, stored), obj.clone(), subresource, stored.revision)

    async def patch(
        self,
        model: type[T],
        name: str,
        namespace: str,
        patch: Mapping[str, Any] | Sequence[Any],
        *,
        subresource: str = "",
        content_type: str = MERGE_PATCH,
    ) -> T:
        assert isinstance(patch, Mapping), "MemoryApi knows merge patches"
        assert content_type in (MERGE_PATCH, STRATEGIC_MERGE_PATCH), "MemoryApi knows merge patches"
        stored = await self._stored(model, namespace, name)
        old = codec.decode(model, stored)
        strategic = content_type == STRATEGIC_MERGE_PATCH
        merged = strategic_merge_patch(old.to_dict(), patch, model) if strategic else merge_patch(old.to_dict(), patch)
        new = model.parse(merged)
        same = (old.metadata.uid, old.metadata.resourceVersion) == (new.metadata.uid, new.metadata.resourceVersion)
        if not same:
            raise errors.conflict(resources.of(model).plural, name)
        return await self._replace(old, new, subresource, stored.revision)

    async def delete(
        self,
        model: type[T],
        name: str,
        namespace: str = "",
        *,
        grace_period: int | None = None,
        uid: str = "",
        resource_version: str = "",
        propagation: str = "",
    ) -> None:
        stored = await self._stored(model, namespace, name)
        obj = codec.decode(model, stored)
        if uid not in ("", obj.metadata.uid) or resource_version not in ("", str(stored.revision)):
            raise errors.conflict(resources.of(model).plural, name, "the precondition does not hold")
        if held := {"Orphan": "orphan", "Foreground": "foregroundDeletion"}.get(propagation):
            obj.metadata.finalizers = [*{*obj.metadata.finalizers, held}]
        graceful = isinstance(obj, Pod) and obj.spec.nodeName and grace_period != 0 and not ended(obj)
        grace = (30 if grace_period is None else grace_period) if graceful else 0
        if not grace and not held_by(obj):
            await self._remove(obj, stored.revision)
        elif obj.metadata.deletionTimestamp is None or grace < (obj.metadata.deletionGracePeriodSeconds or 0):
            obj.metadata.deletionTimestamp = obj.metadata.deletionTimestamp or now()
            obj.metadata.deletionGracePeriodSeconds = grace
            await self._write("delete", obj, stored.revision)

    async def bind(self, pod: Pod, node: str) -> None:
        stored = await self._stored(Pod, pod.namespace, pod.name)
        bound = codec.decode(Pod, stored)
        if bound.spec.nodeName:
            raise errors.conflict("pods", pod.name, f"pod {pod.name} is already assigned to node {bound.spec.nodeName}")
        if bound.metadata.deletionTimestamp is not None or pod.metadata.uid != bound.metadata.uid:
            raise errors.conflict("pods", pod.name, "it is another pod, or being deleted")
        bound.spec.nodeName = node
        await self._write("bind", bound, stored.revision)

    async def watch(
        self, model: type[T], namespace: str = "", *, resource_version: str, labels: str = "", fields: str = ""
    ) -> AsyncGenerator[WatchEvent[T], None]:
        assert not labels, "MemoryApi selects by name alone"
        store = self.store
        async for batch in EtcdSource(store, model, keys.prefix(resources.of(model), namespace)).watch(
            int(resource_version)
        ):
            if self.store is not store:
                raise errors.ServiceUnavailable("cut off")
            for event in batch:
                if event.object is None or _selected(event.object, fields):
                    yield event

    async def _stored(self, model: type[Object], namespace: str, name: str) -> KeyValue:
        resource = resources.of(model)
        stored, _ = await self.store.get(keys.object_key(resource, namespace, name))
        if stored is None:
            raise errors.not_found(resource.plural, name, resource.group)
        return stored

    async def _replace(self, old: T, new: T, subresource: str, revision: int) -> T:
        if subresource == "status":
            merged = old.clone()
            merged.status = new.status  # type: ignore[attr-defined]  # only kinds that have one are asked
            return await self._write("update status", merged, revision)
        if hasattr(new, "status"):
            new.status = old.status  # type: ignore[attr-defined]
        for field in ("uid", "creationTimestamp", "deletionTimestamp", "generation"):
            setattr(new.metadata, field, getattr(old.metadata, field))
        if getattr(old, "spec", None) != getattr(new, "spec", None):
            new.metadata.generation += 1
        if (
            new.metadata.deletionTimestamp is not None
            and not held_by(new)
            and not new.metadata.deletionGracePeriodSeconds
        ):
            await self._remove(new, revision)
            return new
        return await self._write("update", new, revision)

    async def _write(self, verb: str, obj: T, revision: int) -> T:
        resource = resources.of(type(obj))
        self.fence()
        self._check(self.fail_before, verb, obj)
        where = keys.object_key(resource, obj.namespace, obj.name)
        value = codec.encode(obj)
        ops: list[Op] = [Put(where, value)]
        if isinstance(obj, Pod) and obj.spec.nodeName and verb != "update status":
            ops.append(Put(keys.bound_pod_key(obj.spec.nodeName, obj.namespace, obj.name), value))
        result = await self.store.txn([Compare(where, revision)], ops)
        if not result.succeeded:
            if verb == "create":
                raise errors.already_exists(resource.plural, obj.name, resource.group)
            raise errors.conflict(resource.plural, obj.name)
        self.writes.append((verb, obj.kind, obj.key))
        self._check(self.fail_after, verb, obj)
        obj.metadata.resourceVersion = str(result.revision)
        return obj

    async def _remove(self, obj: Object, revision: int) -> None:
        self.fence()
        self._check(self.fail_before, "delete", obj)
        where = keys.object_key(resources.of(type(obj)), obj.namespace, obj.name)
        ops: list[Op] = [Delete(where)]
        if isinstance(obj, Pod) and obj.spec.nodeName:
            ops.append(Delete(keys.bound_pod_key(obj.spec.nodeName, obj.namespace, obj.name)))
        result = await self.store.txn([Compare(where, revision)], ops)
        if not result.succeeded:
            raise errors.conflict(resources.of(type(obj)).plural, obj.name)
        self.writes.append(("remove", obj.kind, obj.key))
        self._check(self.fail_after, "delete", obj)

    @staticmethod
    def _check(fault: Fault, verb: str, obj: Object) -> None:
        why = fault(verb, type(obj), key_of(obj.namespace, obj.name))
        if why is not None:
            raise why


def _selected(obj: Object, fields: str) -> bool:
    """`fields`: empty, or `metadata.name=…`."""
    return not fields or f"metadata.name={obj.name}" == fields


def held_by(obj: Object) -> list[str]:
    """The finalizers that keep an object; a namespace has some in its spec."""
    return [*obj.metadata.finalizers, *(obj.spec.finalizers if isinstance(obj, Namespace) else [])]


def ended(pod: Pod) -> bool:
    """Whether the pod needs no grace any more."""
    return pod.status.phase in ("Succeeded", "Failed")
