"""The namespace controller: a namespace that is being deleted is emptied, and then let go.

What is in it is asked of the API, not of a cache: nothing may be left behind. Nothing new can come meanwhile, since the
apiserver refuses to create anything in a terminating namespace. Pods go first, and all else when they are gone (what
they rely on, as network policies, stays as long as they do). What does not go at once (a pod has its grace, an object
its finalizers) is looked at again a little later; the namespace's conditions tell what is waited for, in upstream's
words (pkg/controller/namespace/deletion).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from kube.api import errors
from kube.api.core import Namespace, NamespaceCondition, Pod
from kube.api.meta import Object, now
from kube.api.resources import PODS, RESOURCES, Resource
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller, together

log = logging.getLogger(__name__)

FINALIZER = "kubernetes"

CONTENTS = [resource for resource in RESOURCES if resource.namespaced and "delete" in resource.verbs]
"""What a namespace may hold."""

AGAIN = 1.0
"""Seconds after which what remains is looked at again, at least."""


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
        content = await self._empty(key, [PODS])
        if not content.remaining.get(PODS):
            content.add(await self._empty(key, [each for each in CONTENTS if each is not PODS]))
        content.look(namespace, now())
        namespace = await self._tell(namespace, conditions(content))
        if content.remaining or content.failures:
            return wait(content.remaining)
        namespace.spec.finalizers = [name for name in namespace.spec.finalizers if name != FINALIZER]
        await self._client.update(namespace, "finalize")
        log.info("namespace is empty and gone", extra={"namespace": key})
        return None

    async def _empty(self, namespace: str, resources: Sequence[Resource]) -> Content:
        """Delete what there is of some resources; returns what is there still."""
        content = Content()
        for resource in resources:
            try:
                left = await self._delete_all(resource, namespace)
            except errors.NotFound:
                continue  # an apiserver that does not have this kind
            except errors.ApiError as error:
                content.failures.append(str(error))
                continue
            if left:
                content.remaining[resource] = left
        return content

    async def _delete_all(self, resource: Resource, namespace: str) -> list[Object]:
        found = (await self._client.list(resource.model, namespace)).items

        async def delete(obj: Object) -> None:
            try:
                await self._client.delete(
                    resource.model, obj.name, namespace, uid=obj.metadata.uid, propagation="Background"
                )
            except (errors.NotFound, errors.Conflict):
                return  # somebody else was faster

        await together(delete, [obj for obj in found if obj.metadata.deletionTimestamp is None])
        return (await self._client.list(resource.model, namespace)).items if found else []

    async def _tell(self, namespace: Namespace, wanted: Sequence[NamespaceCondition]) -> Namespace:
        merged = merge(namespace.status.conditions, wanted)
        if merged == namespace.status.conditions:
            return namespace
        namespace.status.conditions = merged
        return await self._client.update(namespace, "status")


@dataclass(slots=True)
class Content:
    """What is left of a namespace."""

    remaining: dict[Resource, list[Object]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    """Why something could not be deleted."""

    def add(self, other: Content) -> None:
        self.remaining |= other.remaining
        self.failures += other.failures

    def look(self, namespace: Namespace, at: datetime) -> None:
        """What has no reason to be there any more, neither a finalizer nor a pod's time to end, counts as a failure."""
        deleted = namespace.metadata.deletionTimestamp or at
        for resource, left in self.remaining.items():
            grace = max((_grace(obj) for obj in left), default=0)
            if at - deleted >= timedelta(seconds=grace) and not any(obj.metadata.finalizers for obj in left):
                gvr = f"{resource.group}/{resource.version}, Resource={resource.plural}"
                self.failures.append(f"unexpected items still remain in namespace: {namespace.name} for gvr: {gvr}")


def _grace(obj: Object) -> int:
    """Seconds that an object may take to end: a pod's own, unless it has ended."""
    if not isinstance(obj, Pod) or obj.status.phase in ("Succeeded", "Failed"):
        return 0
    return obj.spec.terminationGracePeriodSeconds or 0


def conditions(content: Content) -> list[NamespaceCondition]:
    """What keeps a namespace (upstream's status_condition_utils.go).

    Which kinds there are stands in our own table: the two conditions of discovery never fail.
    """
    remaining = content.remaining
    contents = sorted(
        f"{resource.plural}.{resource.group} has {len(left)} resource instances" for resource, left in remaining.items()
    )
    finalizers = Counter(name for left in remaining.values() for obj in left for name in obj.metadata.finalizers)
    held = sorted(f"{name} in {count} resource instances" for name, count in finalizers.items())
    return [
        _condition(
            "NamespaceDeletionDiscoveryFailure", [], "DiscoveryFailed", "ResourcesDiscovered",
            "{listed}", "All resources successfully discovered",
        ),
        _condition(
            "NamespaceDeletionGroupVersionParsingFailure", [], "GroupVersionParsingFailed", "ParsedGroupVersions",
            "{listed}", "All legacy kube types successfully parsed",
        ),
        _condition(
            "NamespaceDeletionContentFailure", sorted(content.failures), "ContentDeletionFailed", "ContentDeleted",
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
    """The conditions to write: those that are new come last, and the time of one moves only with its status."""
    news = {condition.type: condition for condition in wanted}
    merged = []
    for old in before:
        new = news.pop(old.type, old)
        since = old.lastTransitionTime if old.status == new.status else now()
        merged.append(new.model_copy(update={"lastTransitionTime": since}))
    return [*merged, *(new.model_copy(update={"lastTransitionTime": now()}) for new in news.values())]


def wait(remaining: Mapping[Resource, Sequence[Object]]) -> float:
    """Seconds until it is worth looking again: half the longest grace that a pod has, as upstream estimates."""
    graces = [
        obj.metadata.deletionGracePeriodSeconds or 0
        for left in remaining.values()
        for obj in left
        if isinstance(obj, Pod)
    ]
    return max(AGAIN, min(max(graces, default=0) / 2, 5.0))
