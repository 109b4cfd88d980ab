"""The garbage collector: an object goes when none of the owners it names is left.

An owner is the object of that UID: another one of the same name is somebody else. That an owner is absent is never
taken from a cache, which may be behind: the API is asked. The three ways of deleting an owner are upstream's:

* background: it goes at once, its dependents after it.
* orphan (finalizer `orphan`): its dependents are told that they have no owner, then it goes.
* foreground (finalizer `foregroundDeletion`): its dependents go first, those that block its deletion before it.

Kinds that this house does not know cannot be judged; an owner of such a kind counts as present.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from enum import Enum
from typing import Any

from kube.api import errors, resources
from kube.api.core import Event
from kube.api.meta import Object, OwnerReference
from kube.api.meta import key as key_of
from kube.api.resources import RESOURCES, Resource
from kube.client.informer import Informer, Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller
from kube.controller_manager.ownership import set_owners

log = logging.getLogger(__name__)

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
BY_OWNER = "owner"
ABSENT_KEPT = 1000


class Owner(Enum):
    """What became of an owner."""

    PRESENT = "present"
    WAITING = "waiting for its dependents to go"
    ABSENT = "absent"


class GarbageCollector(Controller):
    """Deletes what nobody owns any more. Its keys are `apiVersion|Kind|namespace/name`."""

    def __init__(self, client: Client, informers: Informers, *, workers: int = 20) -> None:
        super().__init__("garbagecollector", workers)
        self._client = client
        self._informers: dict[Resource, Informer[Any]] = {}
        self._absent: OrderedDict[str, None] = OrderedDict()
        """UIDs that are gone for good: a UID never comes back."""
        for resource in RESOURCES:
            # Events are of short life and have no owners; there are too many of them to be watched for nothing.
            if resource.model is not Event and "watch" in resource.verbs:
                self._watch(resource, informers.of(resource.model))

    def _watch(self, resource: Resource, informer: Informer[Any]) -> None:
        self._informers[resource] = informer
        informer.add_index(BY_OWNER, lambda obj: [owner.uid for owner in obj.metadata.ownerReferences])
        informer.on_change(lambda old, new: self._changed(resource, old, new))

    # What wakes it

    def _changed(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._gone(old)
            old = None
        if new is None:
            return
        if new.metadata.deletionTimestamp is not None:
            if {ORPHAN, FOREGROUND} & set(new.metadata.finalizers):
                self.queue.add(_key(resource, new))
        elif new.metadata.ownerReferences and (
            old is None or old.metadata.ownerReferences != new.metadata.ownerReferences
        ):
            self.queue.add(_key(resource, new))

    def _gone(self, obj: Object) -> None:
        if obj.metadata.uid:
            self._remember_absent(obj.metadata.uid)
        for resource, dependent in self._dependents(obj):
            self.queue.add(_key(resource, dependent))
        for owner in obj.metadata.ownerReferences:
            found = self._cached_owner(obj.namespace, owner)
            if found is not None and FOREGROUND in found[1].metadata.finalizers:
                self.queue.add(_key(*found))

    # What it does

    async def reconcile(self, key: str) -> float | None:
        resource, obj = self._cached(key)
        if resource is None or obj is None:
            return None
        if obj.metadata.deletionTimestamp is not None:
            if ORPHAN in obj.metadata.finalizers:
                await self._orphan_dependents(resource, obj)
            elif FOREGROUND in obj.metadata.finalizers:
                return await self._delete_dependents(resource, obj)
            return None
        owners = obj.metadata.ownerReferences
        if owners and not all(self._surely_present(obj.namespace, owner) for owner in owners):
            await self._judge(resource, obj)
        return None

    async def _judge(self, resource: Resource, obj: Object) -> None:
        """Decide about an object some of whose owners may be gone, by what the API says now."""
        try:
            live: Object = await self._client.get(resource.model, obj.name, obj.namespace)
        except errors.NotFound:
            return
        if live.metadata.uid != obj.metadata.uid or live.metadata.deletionTimestamp is not None:
            return
        owners = [(owner, await self._state(live.namespace, owner)) for owner in live.metadata.ownerReferences]
        present = [owner for owner, state in owners if state is Owner.PRESENT]
        if not owners or len(present) == len(owners):
            return
        if present:
            log.info("dropping owners that are gone", extra={"kind": resource.kind, "key": live.key})
            await set_owners(self._client, live, present)
            return
        log.info("deleting, its owners are gone", extra={"kind": resource.kind, "key": live.key})
        await self._delete(resource, live)

    async def _orphan_dependents(self, resource: Resource, owner: Object) -> None:
        for _, dependent in self._dependents(owner):
            others = [ref for ref in dependent.metadata.ownerReferences if ref.uid != owner.metadata.uid]
            await set_owners(self._client, dependent, others)
        await self._remove_finalizer(resource, owner, ORPHAN)

    async def _delete_dependents(self, resource: Resource, owner: Object) -> float | None:
        blocking = 0
        for kind, dependent in self._dependents(owner):
            ref = next(ref for ref in dependent.metadata.ownerReferences if ref.uid == owner.metadata.uid)
            blocking += bool(ref.blockOwnerDeletion)
            if dependent.metadata.deletionTimestamp is None:
                await self._judge(kind, dependent)
        if not blocking:
            await self._remove_finalizer(resource, owner, FOREGROUND)
            return None
        # Each dependent that goes brings the owner back; this is for one that is let go instead.
        return 5.0

    async def _delete(self, resource: Resource, live: Object) -> None:
        try:
            await self._client.delete(
                resource.model,
                live.name,
                live.namespace,
                uid=live.metadata.uid,
                # Somebody may be adopting it at this very moment.
                resource_version=live.metadata.resourceVersion,
            )
        except errors.NotFound:
            log.debug("gone already", extra={"kind": resource.kind, "key": live.key})

    async def _remove_finalizer(self, resource: Resource, obj: Object, finalizer: str) -> None:
        try:
            live: Object = await self._client.get(resource.model, obj.name, obj.namespace)
            if live.metadata.uid != obj.metadata.uid or finalizer not in live.metadata.finalizers:
                return
            rest = [each for each in live.metadata.finalizers if each != finalizer]
            metadata = {"resourceVersion": live.metadata.resourceVersion, "finalizers": rest or None}
            await self._client.patch(resource.model, obj.name, obj.namespace, {"metadata": metadata})
        except errors.NotFound:
            log.debug("gone already", extra={"kind": resource.kind, "key": obj.key})

    # Who is there

    def _cached(self, key: str) -> tuple[Resource | None, Object | None]:
        api_version, kind, name = key.split("|")
        resource = resources.by_kind(api_version, kind)
        informer = self._informers.get(resource) if resource else None
        return resource, informer.get(name) if informer else None

    def _dependents(self, owner: Object) -> list[tuple[Resource, Object]]:
        uid = owner.metadata.uid
        if not uid:
            return []
        return [
            (resource, obj)
            for resource, informer in self._informers.items()
            for obj in informer.indexed(BY_OWNER, uid)
            # An owner is of the same namespace, or of none.
            if owner.namespace in ("", obj.metadata.namespace)
        ]

    def _cached_owner(self, namespace: str, owner: OwnerReference) -> tuple[Resource, Object] | None:
        resource = resources.by_kind(owner.apiVersion, owner.kind)
        informer = self._informers.get(resource) if resource else None
        if resource is None or informer is None:
            return None
        obj = informer.get(key_of(namespace if resource.namespaced else "", owner.name))
        return (resource, obj) if obj is not None and obj.metadata.uid == owner.uid else None

    def _surely_present(self, namespace: str, owner: OwnerReference) -> bool:
        """By the cache alone. If it is behind, the owner's deletion will be seen, and brings the dependents back."""
        found = self._cached_owner(namespace, owner)
        return found is not None and not _waiting(found[1])

    async def _state(self, namespace: str, owner: OwnerReference) -> Owner:
        if owner.uid in self._absent:
            return Owner.ABSENT
        resource = resources.by_kind(owner.apiVersion, owner.kind)
        if resource is None:
            log.debug("an owner of an unknown kind", extra={"kind": owner.kind, "owner": owner.name})
            return Owner.PRESENT
        try:
            live: Object = await self._client.get(resource.model, owner.name, namespace if resource.namespaced else "")
        except errors.NotFound:
            live_uid = ""
        else:
            live_uid = live.metadata.uid
            if live_uid == owner.uid:
                return Owner.WAITING if _waiting(live) else Owner.PRESENT
        self._remember_absent(owner.uid)
        return Owner.ABSENT

    def _remember_absent(self, uid: str) -> None:
        self._absent[uid] = None
        if len(self._absent) > ABSENT_KEPT:
            self._absent.popitem(last=False)


def _waiting(owner: Object) -> bool:
    return owner.metadata.deletionTimestamp is not None and FOREGROUND in owner.metadata.finalizers


def _key(resource: Resource, obj: Object) -> str:
    return f"{resource.api_version}|{resource.kind}|{obj.key}"
