"""Who owns whom, for the garbage collector: by the caches as far as they may be believed, and else by the API.

An owner is known by its kind, namespace, name and UID together. A reference with the right UID and the wrong namespace
names nobody; that it names nobody there must not be held against the owner's own dependents.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from enum import Enum
from typing import Any

from kube.api import errors, resources
from kube.api.meta import Object, OwnerReference
from kube.api.meta import key as key_of
from kube.api.resources import Resource
from kube.client.events import EventRecorder
from kube.client.informer import Informer
from kube.client.rest import Client

log = logging.getLogger(__name__)

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
BY_OWNER = "owner"
REMEMBERED = 1000

Coordinates = tuple[str, str, str, str, str]
"""apiVersion, kind, namespace, name and UID."""


class Owner(Enum):
    """What became of an owner."""

    PRESENT = "present"
    WAITING = "waiting for its dependents to go"
    ABSENT = "absent"
    LET_GO = "absent, and its dependents were to stay"


class Owners:
    """The owners and dependents of everything that is watched."""

    def __init__(self, client: Client, informers: Mapping[Resource, Informer[Any]], recorder: EventRecorder) -> None:
        self._client, self._informers, self._recorder = client, informers, recorder
        self._absent: OrderedDict[Coordinates, None] = OrderedDict()
        """Who is gone for good: a UID never comes back."""
        self._let_go: OrderedDict[str, None] = OrderedDict()
        """UIDs of owners whose dependents were orphaned."""

    def gone(self, resource: Resource, obj: Object) -> None:
        """An object that the watch has seen to go."""
        meta = obj.metadata
        if meta.uid:
            _remember(self._absent, (resource.api_version, resource.kind, meta.namespace, meta.name, meta.uid))

    def let_go(self, owner: Object) -> None:
        """The owner's dependents are to stay: also those that are not seen yet."""
        _remember(self._let_go, owner.metadata.uid)

    def dependents(self, owner: Object) -> list[tuple[Resource, Object]]:
        """The objects that name an owner, as far as the caches show them."""
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

    def cached(self, namespace: str, owner: OwnerReference) -> tuple[Resource, Object] | None:
        """An owner, as the cache has it; `namespace`: the dependent's."""
        resource = resources.by_kind(owner.apiVersion, owner.kind)
        informer = self._informers.get(resource) if resource else None
        if resource is None or informer is None:
            return None
        obj = informer.get(key_of(namespace if resource.namespaced else "", owner.name))
        return (resource, obj) if obj is not None and obj.metadata.uid == owner.uid else None

    def surely_present(self, namespace: str, owner: OwnerReference) -> bool:
        """By the cache alone. If it is behind, the owner's deletion will be seen, and brings the dependents back."""
        found = self.cached(namespace, owner)
        return found is not None and not waiting(found[1])

    async def state(self, dependent: Object, owner: OwnerReference) -> Owner:
        """What became of an owner, as the API says. Raises ApiError: nobody is condemned then."""
        resource = resources.by_kind(owner.apiVersion, owner.kind)
        if resource is None:
            log.debug("an owner of an unknown kind", extra={"kind": owner.kind, "owner": owner.name})
            return Owner.PRESENT
        if resource.namespaced and not dependent.namespace:
            # What is in no namespace cannot name one: whether the owner is there is nothing that could be asked.
            self._misplaced(dependent, owner)
            return Owner.PRESENT
        namespace = dependent.namespace if resource.namespaced else ""
        where = (owner.apiVersion, owner.kind, namespace, owner.name, owner.uid)
        if where not in self._absent:
            try:
                live: Object = await self._client.get(resource.model, owner.name, namespace)
            except errors.NotFound:
                live = resource.model()
            if live.metadata.uid == owner.uid:
                return Owner.WAITING if waiting(live) else Owner.PRESENT
            _remember(self._absent, where)
            if any(each.metadata.uid == owner.uid for each in self._namesakes(resource, owner.name)):
                self._misplaced(dependent, owner)
        return Owner.LET_GO if owner.uid in self._let_go else Owner.ABSENT

    def _namesakes(self, resource: Resource, name: str) -> list[Object]:
        informer = self._informers.get(resource)
        return [each for each in informer.list() if each.metadata.name == name] if informer is not None else []

    def _misplaced(self, dependent: Object, owner: OwnerReference) -> None:
        namespace = dependent.namespace
        named = f"[{owner.apiVersion}/{owner.kind}, namespace: {namespace}, name: {owner.name}, uid: {owner.uid}]"
        message = f'ownerRef {named} does not exist in namespace "{namespace}"'
        self._recorder.event(dependent, "Warning", "OwnerRefInvalidNamespace", message)


def owner_uids(obj: Object) -> list[str]:
    """The index BY_OWNER."""
    return [owner.uid for owner in obj.metadata.ownerReferences]


def waiting(owner: Object) -> bool:
    """Whether an owner stays until its dependents are gone."""
    return owner.metadata.deletionTimestamp is not None and FOREGROUND in owner.metadata.finalizers


def blocks(dependent: Object, owner: Object) -> bool:
    """Whether a dependent keeps an owner that waits. Nothing keeps itself."""
    uid = owner.metadata.uid
    return dependent.metadata.uid != uid and any(
        ref.uid == uid and ref.blockOwnerDeletion for ref in dependent.metadata.ownerReferences
    )


def _remember(where: OrderedDict[Any, None], what: Any) -> None:
    where[what] = None
    if len(where) > REMEMBERED:
        where.popitem(last=False)
