"""The namespace controller: a namespace that is being deleted is emptied, and then let go.

What is in it is asked of the API, not of a cache: nothing may be left behind. Nothing new can come meanwhile, since the
apiserver refuses to create anything in a terminating namespace. What does not go at once (a pod has its grace, an
object its finalizers) is looked at again a little later; the namespace's conditions tell what is waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from kube.api import errors
from kube.api.core import Namespace, NamespaceCondition, Pod
from kube.api.meta import Object, now
from kube.api.resources import RESOURCES, Resource
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller

log = logging.getLogger(__name__)

FINALIZER = "kubernetes"

AGAIN = 1.0
"""Seconds after which what remains is looked at again, at least."""

AT_ONCE = 16
"""How many objects of a namespace are deleted at the same time."""


class NamespaceController(Controller):
    """Empties namespaces that are being deleted. Its keys are their names."""

    def __init__(self, client: Client, informers: Informers, *, workers: int = 10) -> None:
        super().__init__("namespace", workers)
        self._client = client
        self._namespaces = informers.of(Namespace)
        self._namespaces.on_change(lambda old, new: self._look(new))

    def _look(self, namespace: Namespace | None) -> None:
        if namespace is not None and namespace.metadata.deletionTimestamp is not None:
            self.queue.add(namespace.key)

    async def reconcile(self, key: str) -> float | None:
        try:
            namespace = await self._client.get(Namespace, key)
        except errors.NotFound:
            return None
        if namespace.metadata.deletionTimestamp is None or FINALIZER not in namespace.spec.finalizers:
            return None
        remaining: dict[Resource, list[Object]] = {}
        failures: list[str] = []
        for resource in RESOURCES:
            if resource.namespaced and "delete" in resource.verbs:
                try:
                    left = await self._empty(resource, key)
                except errors.ApiError as error:
                    failures.append(f"{resource.plural}: {error}")
                    continue
                if left:
                    remaining[resource] = left
        if remaining or failures:
            await self._tell(namespace, conditions(remaining, failures))
            return wait(remaining)
        namespace.spec.finalizers = [name for name in namespace.spec.finalizers if name != FINALIZER]
        await self._client.update(namespace, "finalize")
        log.info("namespace is empty and gone", extra={"namespace": key})
        return None

    async def _empty(self, resource: Resource, namespace: str) -> list[Object]:
        """Delete what there is of a resource; returns what is there still."""
        found = (await self._client.list(resource.model, namespace)).items
        gate = asyncio.Semaphore(AT_ONCE)

        async def delete(obj: Object) -> None:
            async with gate:
                try:
                    await self._client.delete(resource.model, obj.name, namespace, uid=obj.metadata.uid)
                except (errors.NotFound, errors.Conflict):
                    return  # somebody else was faster

        going = [obj for obj in found if obj.metadata.deletionTimestamp is None]
        await asyncio.gather(*map(delete, going))
        return (await self._client.list(resource.model, namespace)).items if found else []

    async def _tell(self, namespace: Namespace, wanted: Sequence[NamespaceCondition]) -> None:
        merged = merge(namespace.status.conditions, wanted)
        if merged != namespace.status.conditions:
            namespace.status.conditions = merged
            await self._client.update(namespace, "status")


def conditions(remaining: Mapping[Resource, Sequence[Object]], failures: Sequence[str]) -> list[NamespaceCondition]:
    """What keeps a namespace, in upstream's words (namespace/deletion/status_condition_utils.go)."""
    contents = [
        f"{resource.plural}.{resource.group} has {len(left)} resource instances"
        for resource, left in sorted(remaining.items(), key=lambda item: item[0].plural)
    ]
    finalizers = Counter(name for left in remaining.values() for obj in left for name in obj.metadata.finalizers)
    held = [f"{name} in {count} resource instances" for name, count in sorted(finalizers.items())]
    return [
        _condition(
            "NamespaceDeletionContentFailure", failures, "ContentDeletionFailed", "ContentDeleted",
            "Failed to delete all resource types, {count} remaining: {listed}",
            "All content successfully deleted, may be waiting on finalization",
        ),
        _condition(
            "NamespaceContentRemaining", contents, "SomeResourcesRemain", "ContentRemoved",
            "Some resources are remaining: {listed}", "All content successfully removed",
        ),
        _condition(
            "NamespaceFinalizersRemaining", held, "SomeFinalizersRemain", "ContentHasNoFinalizers",
            "Some content in the namespace has finalizers remaining: {listed}",
            "All content-preserving finalizers finished",
        ),
    ]  # fmt: skip


def _condition(
    type_: str, what: Sequence[str], bad: str, good: str, bad_message: str, good_message: str
) -> NamespaceCondition:
    message = bad_message.format(count=len(what), listed=", ".join(what)) if what else good_message
    return NamespaceCondition(
        type=type_, status="True" if what else "False", reason=bad if what else good, message=message
    )


def merge(before: Sequence[NamespaceCondition], wanted: Sequence[NamespaceCondition]) -> list[NamespaceCondition]:
    """The conditions to write: the time of a condition moves only with its status."""
    known = {condition.type: condition for condition in before}
    merged = []
    for condition in wanted:
        old = known.pop(condition.type, None)
        since = old.lastTransitionTime if old is not None and old.status == condition.status else now()
        merged.append(condition.model_copy(update={"lastTransitionTime": since}))
    return [*known.values(), *merged]


def wait(remaining: Mapping[Resource, Sequence[Object]]) -> float:
    """Seconds until it is worth looking again: half the longest grace that a pod has, as upstream estimates."""
    graces = [
        obj.metadata.deletionGracePeriodSeconds or 0
        for left in remaining.values()
        for obj in left
        if isinstance(obj, Pod)
    ]
    return max(AGAIN, min(max(graces, default=0) / 2, 5.0))
