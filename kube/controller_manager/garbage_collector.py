"""The garbage collector: an object goes when none of the owners it names is left.

An owner is the object of that kind, name and UID, in the dependent's namespace or in none: another one of the same
name is somebody else. That an owner is absent is never taken from a cache, which may be behind: the API is asked. The
three ways of deleting an owner are upstream's (pkg/controller/garbagecollector):

* background: it goes at once, its dependents after it.
* orphan (finalizer `orphan`): its dependents are told that they have no owner, then it goes. One that the cache shows
  too late is told so, too, as long as this process lives.
* foreground (finalizer `foregroundDeletion`): its dependents are deleted first, in the foreground those that have
  dependents themselves, and it goes when none is left that blocks its deletion. Two that wait for each other do not.

Kinds that this house does not know cannot be judged; an owner of such a kind counts as present.
"""

from __future__ import annotations

import logging
from typing import Any

from kube.api import errors, resources
from kube.api.core import Event
from kube.api.meta import Object
from kube.api.resources import RESOURCES, Resource
from kube.client.events import EventRecorder
from kube.client.informer import Informer, Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller, together
from kube.controller_manager.owners import BY_OWNER, FOREGROUND, ORPHAN, Owner, Owners, blocks, owner_uids, waiting
from kube.controller_manager.ownership import set_owners

log = logging.getLogger(__name__)


class GarbageCollector(Controller):
    """Deletes what nobody owns any more. Its keys are `apiVersion|Kind|namespace/name`."""

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, *, workers: int = 20) -> None:
        super().__init__("garbagecollector", workers)
        self._client = client
        self._informers: dict[Resource, Informer[Any]] = {}
        self._owners = Owners(client, self._informers, recorder)
        for resource in RESOURCES:
            # Events are of short life and have no owners; there are too many of them to be watched for nothing.
            if resource.model is not Event and "watch" in resource.verbs:
                self._watch(resource, informers.of(resource.model))

    def _watch(self, resource: Resource, informer: Informer[Any]) -> None:
        self._informers[resource] = informer
        informer.add_index(BY_OWNER, owner_uids)
        informer.on_change(lambda old, new: self._changed(resource, old, new))

    # What wakes it

    def _changed(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._gone(resource, old)
            old = None
        if new is None:
            return
        if old is not None and old.metadata.ownerReferences != new.metadata.ownerReferences:
            self._wake_owners(old)  # one of them may have been let go
        if new.metadata.deletionTimestamp is not None:
            if {ORPHAN, FOREGROUND} & set(new.metadata.finalizers):
                self.queue.add(_key(resource, new))
                if waiting(new) and not (old is not None and waiting(old)):
                    self._wake_dependents(new)
        elif new.metadata.ownerReferences and (
            old is None or old.metadata.ownerReferences != new.metadata.ownerReferences
        ):
            self.queue.add(_key(resource, new))

    def _gone(self, resource: Resource, obj: Object) -> None:
        self._owners.gone(resource, obj)
        self._wake_dependents(obj)
        self._wake_owners(obj)

    def _wake_dependents(self, owner: Object) -> None:
        for resource, dependent in self._owners.dependents(owner):
            self.queue.add(_key(resource, dependent))

    def _wake_owners(self, dependent: Object) -> None:
        """Those that wait for it to go."""
        for ref in dependent.metadata.ownerReferences:
            found = self._owners.cached(dependent.namespace, ref)
            if found is not None and waiting(found[1]):
                self.queue.add(_key(*found))

    # What it does

    async def reconcile(self, key: str) -> float | None:
        resource, obj = self._cached(key)
        if resource is None or obj is None:
            return None
        if obj.metadata.deletionTimestamp is not None:
            if ORPHAN in obj.metadata.finalizers:
                await self._orphan_dependents(resource, obj)
            elif waiting(obj):
                await self._wait_for_dependents(resource, obj)
            return None
        owners = obj.metadata.ownerReferences
        if owners and not all(self._owners.surely_present(obj.namespace, owner) for owner in owners):
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
        owners = [(owner, await self._owners.state(live, owner)) for owner in live.metadata.ownerReferences]
        states = {state for _, state in owners}
        if states <= {Owner.PRESENT}:
            return
        extra = {"kind": resource.kind, "key": live.key}
        if Owner.LET_GO in states:
            log.info("orphaned late", extra=extra)
            await set_owners(self._client, live, [owner for owner, state in owners if state is not Owner.LET_GO])
        elif Owner.PRESENT in states:
            log.info("dropping owners that are gone", extra=extra)
            await set_owners(self._client, live, [owner for owner, state in owners if state is Owner.PRESENT])
        else:
            await self._delete(resource, live, foreground=Owner.WAITING in states)

    async def _delete(self, resource: Resource, live: Object, *, foreground: bool) -> None:
        """`foreground`: somebody waits for it; so it waits for its own dependents, if it has any."""
        dependents = self._owners.dependents(live) if foreground else []
        if any(waiting(dependent) for _, dependent in dependents):
            # Owners in a circle: each would wait for the next for ever.
            live = await self._unblock(resource, live)
        policy = "Foreground" if dependents else _policy(live)
        extra = {"kind": resource.kind, "key": live.key, "propagation": policy}
        log.info("deleting, its owners are gone", extra=extra)
        try:
            await self._client.delete(
                resource.model,
                live.name,
                live.namespace,
                uid=live.metadata.uid,
                # Somebody may be adopting it at this very moment.
                resource_version=live.metadata.resourceVersion,
                propagation=policy,
            )
        except errors.NotFound:
            log.debug("gone already", extra=extra)

    async def _unblock(self, resource: Resource, live: Object) -> Object:
        """Let no owner wait for this object any more."""
        refs = [{**ref.to_dict(), "blockOwnerDeletion": False} for ref in live.metadata.ownerReferences]
        metadata = {"resourceVersion": live.metadata.resourceVersion, "ownerReferences": refs}
        return await self._client.patch(resource.model, live.name, live.namespace, {"metadata": metadata})

    async def _orphan_dependents(self, resource: Resource, owner: Object) -> None:
        self._owners.let_go(owner)

        async def let_go(dependent: Object) -> None:
            others = [ref for ref in dependent.metadata.ownerReferences if ref.uid != owner.metadata.uid]
            await set_owners(self._client, dependent, others)

        await together(let_go, [dependent for _, dependent in self._owners.dependents(owner)])
        await self._remove_finalizer(resource, owner, ORPHAN)

    async def _wait_for_dependents(self, resource: Resource, owner: Object) -> None:
        """Let the owner go, or see to it that those go that it waits for; each that does wakes it."""
        blocking = [(kind, dependent) for kind, dependent in self._owners.dependents(owner) if blocks(dependent, owner)]
        if not blocking:
            await self._remove_finalizer(resource, owner, FOREGROUND)
        for kind, dependent in blocking:
            if not waiting(dependent):
                self.queue.add(_key(kind, dependent))

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

    def _cached(self, key: str) -> tuple[Resource | None, Object | None]:
        api_version, kind, name = key.split("|", 2)
        resource = resources.by_kind(api_version, kind)
        informer = self._informers.get(resource) if resource else None
        return resource, informer.get(name) if informer else None


def _policy(obj: Object) -> str:
    """How an object is deleted that nobody waits for: as its finalizers ask, and not by its kind's default."""
    if ORPHAN in obj.metadata.finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in obj.metadata.finalizers else "Background"


def _key(resource: Resource, obj: Object) -> str:
    return f"{resource.api_version}|{resource.kind}|{obj.key}"
