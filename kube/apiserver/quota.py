"""ResourceQuota admission: nothing is created that a quota of its namespace has no room for.

What an object uses is added to the quotas' `status.used` in the transaction that creates it, which holds only if they
are still as they were read: of two creations that both saw the last free place one is computed again, and refused.
(Upstream writes the quota first and then the object; what failed in between is counted until the controller looks.)
The controller that counts anew what has gone is kube/controller_manager/resource_quota.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kube.api import errors, quantity, usage
from kube.api.core import Pod, ResourceQuota
from kube.api.meta import Object
from kube.api.resources import RESOURCE_QUOTAS, Resource
from kube.api.usage import Amounts
from kube.apiserver.cache import Cache
from kube.apiserver.registry.strategy import Companions
from kube.store import codec, keys
from kube.store.store import Compare, KeyValue, Put, Store


class Quotas:
    """Charges creations to the quotas of their namespace."""

    def __init__(self, store: Store, cache: Cache) -> None:
        self._store, self._cache = store, cache

    async def charge(
        self, resource: Resource, namespace: str, obj: Object, newer: Mapping[str, KeyValue]
    ) -> Companions:
        """What is to be written with the new object. `newer`: what a transaction has found newer than the cache is.

        Raises Forbidden, with upstream's words, but never for a cache that lags: then the store is asked.
        """
        companions = Companions()
        prefix = keys.prefix(RESOURCE_QUOTAS, namespace)
        if not namespace or not self._cache.of(RESOURCE_QUOTAS).entries or not usage.countable(resource):
            return companions
        for entry in self._cache.of(RESOURCE_QUOTAS).select(prefix):
            kv = newer.get(entry.key) or KeyValue(entry.key, entry.value, entry.revision)
            try:
                quota, charged = self._charged(resource, kv, obj)
            except errors.Forbidden:
                fresh, _ = await self._store.get(entry.key)
                if fresh is None:
                    continue
                kv = fresh
                quota, charged = self._charged(resource, kv, obj)
            if charged is not None or counts_soon(quota, obj):
                companions.compares.append(Compare(kv.key, kv.revision))
            if charged is not None:
                companions.ops.append(Put(kv.key, codec.encode(charged)))
        return companions

    @staticmethod
    def _charged(resource: Resource, kv: KeyValue, obj: Object) -> tuple[ResourceQuota, ResourceQuota | None]:
        """The quota, and the same with the object's use added; None if it does not count it."""
        quota = codec.decode(ResourceQuota, kv)
        charged = charge(resource, quota, obj)
        if charged is not None:
            charged.metadata.resourceVersion = ""
        return quota, charged


def charge(resource: Resource, quota: ResourceQuota, obj: Object) -> ResourceQuota | None:
    """The quota with the object's use added; None if it does not count it. Raises Forbidden if there is no room.

    What holds is what the controller has put in force: nothing, until it has counted for the first time.
    """
    hard, used = quota.status.hard, quota.status.used
    if not usage.counts(quota, obj):
        return None
    asked = {name: value for name, value in usage.of_object(obj).items() if name in hard and quantity.parse(value)}
    must_say = usage.unnamed(obj, hard) if isinstance(obj, Pod) else {}
    if not asked and not must_say:
        return None

    def refused(why: str) -> errors.Forbidden:
        name = obj.metadata.name or obj.metadata.generateName
        return errors.forbidden(resource.plural, name, why, resource.group)

    if must_say:
        said = "; ".join(f"{name} for: {','.join(sorted(where))}" for name, where in sorted(must_say.items()))
        raise refused(f"failed quota: {quota.name}: must specify {said}")
    unknown = [name for name in asked if name not in used]
    if unknown:
        raise refused(f"status unknown for quota: {quota.name}, resources: {','.join(sorted(unknown))}")
    after = {name: quantity.add((used[name], value)) for name, value in asked.items()}
    over = sorted(name for name, value in after.items() if quantity.compare(value, hard[name]) > 0)
    if over:
        raise refused(
            f"exceeded quota: {quota.name}, requested: {_listed(asked, over)}, used: {_listed(used, over)}, "
            f"limited: {_listed(hard, over)}"
        )
    charged = quota.clone()
    charged.status.used = {**used, **after}
    return charged


def counts_soon(quota: ResourceQuota, obj: Object) -> bool:
    """Whether the object will count for the quota once the controller has put in force what it is to be.

    It must be there before that, else nobody would count it: the controller counts once more when it has done so.
    """
    soon = quota.spec.hard.keys() - quota.status.hard.keys()
    return bool(soon) and usage.counts(quota, obj) and not soon.isdisjoint(usage.of_object(obj))


def _listed(amounts: Mapping[str, str] | Amounts, names: Iterable[str]) -> str:
    return ",".join(f"{name}={amounts[name]}" for name in names)
