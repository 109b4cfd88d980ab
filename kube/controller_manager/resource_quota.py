"""The resource quota controller: `status.used` is what there really is.

What is created is added to it by the apiserver, in the transaction that creates it; here what has gone is taken off,
and a quota that is new or was changed is counted for the first time. What there is is asked of the API, *after* the
quota was read: so it holds everything that is charged to the quota as it was read, and whatever is charged later makes
the write fail and be computed again. A count that lags would let too much in. What is not in force yet
(`status.hard`) is not charged: so it is counted twice, before and after it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from kube.api import errors, usage
from kube.api.core import Pod, ResourceQuota, Service
from kube.api.meta import Object, now
from kube.api.resources import PERSISTENT_VOLUME_CLAIMS, RESOURCES, Resource, of
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller
from kube.controller_manager.pod import ended

log = logging.getLogger(__name__)

SYNC_PERIOD = 300.0
GATHER = 0.1
"""Seconds in which what goes is gathered."""
_OF_PODS = ("pods", "count/pods", "cpu", "memory", "ephemeral-storage", "requests.", "limits.", "hugepages-")


class ResourceQuotaController(Controller):
    """Counts what namespaces with quotas use. Its keys are the quotas'."""

    def __init__(
        self, client: Client, informers: Informers, *, workers: int = 5, sync_period: float = SYNC_PERIOD
    ) -> None:
        super().__init__("resourcequota", workers)
        self._client, self._sync_period = client, sync_period
        self._quotas = informers.of(ResourceQuota)
        self._quotas.on_change(self._quota_changed)
        for resource in countable():
            informers.of(resource.model).on_change(self._object_changed)

    async def reconcile(self, key: str) -> float | None:
        cached = self._quotas.get(key)
        if cached is None:
            return None
        try:
            quota = await self._client.get(ResourceQuota, cached.name, cached.namespace)
        except errors.NotFound:
            return None
        objects: list[Object] = []
        for resource in countable():
            if wanted(resource, quota.spec.hard):
                objects += (await self._client.list(resource.model, quota.namespace)).items
        used = usage.total(quota, objects, now())
        in_force = quota.status.hard == quota.spec.hard
        if not in_force or quota.status.used != used:
            quota.status.hard, quota.status.used = dict(quota.spec.hard), used
            try:
                await self._client.update(quota, "status")
            except errors.NotFound:
                return None
            log.info("quota counted", extra={"quota": key, "used": used})
        # What was created before it was in force was charged to nothing, and may have come after it was listed.
        return self._sync_period if in_force else GATHER

    # What wakes it

    def _quota_changed(self, old: ResourceQuota | None, new: ResourceQuota | None) -> None:
        if new is not None and (old is None or new.spec != old.spec or new.status.hard != new.spec.hard):
            self.queue.add(new.key)

    def _object_changed(self, old: Object | None, new: Object | None) -> None:
        """What goes, or uses another amount than it did; what comes has been charged."""
        obj = new or old
        assert obj is not None
        if old is None or (new is not None and not _uses_other(old, new)):
            return
        for quota in self._quotas.list(obj.metadata.namespace):
            if wanted(of(type(obj)), quota.spec.hard):
                self.queue.add_after(quota.key, GATHER)


def countable() -> Iterable[Resource]:
    """The kinds that a quota can count."""
    return filter(usage.countable, RESOURCES)


def wanted(resource: Resource, hard: Iterable[str]) -> bool:
    """Whether a quota on these names counts this kind."""
    if resource.model is Pod:
        return any(name.startswith(_OF_PODS) for name in hard)
    names = {f"count/{resource.plural}.{resource.group}" if resource.group else f"count/{resource.plural}"}
    if not resource.group and resource.plural in usage.COUNTED_BY_NAME:
        names.add(resource.plural)
    if resource.model is Service:
        names |= {"services.nodeports", "services.loadbalancers"}
    claims = resource.plural == "persistentvolumeclaims"
    return any(name in names or (claims and ("storage" in name)) for name in hard)


def _uses_other(old: Object, new: Object) -> bool:
    """Whether a change of an object changes what it uses."""
    if isinstance(old, Pod) and isinstance(new, Pod):
        return ended(new) and not ended(old)
    if isinstance(old, Service) or of(type(old)) is PERSISTENT_VOLUME_CLAIMS:
        return usage.of_object(old) != usage.of_object(new)
    return False
