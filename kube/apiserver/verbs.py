"""The verbs on stored objects: create, get, list, update, patch, delete.

Every write is one transaction that compares the revision it was computed from. A write first trusts the cache: when
the transaction finds that the object has moved on, it brings the object as it is, and the write is computed again
(upstream's GuaranteedUpdate). Nothing here knows HTTP: a verb takes an object or options and gives bytes or an object,
or raises an `errors.ApiError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kube.api import defaults, errors, managedfields
from kube.api.managedfields import Author
from kube.api.meta import DeleteOptions, Object, now
from kube.api.names import generate_name
from kube.api.resources import LIMIT_RANGES, NAMESPACES, RESOURCE_QUOTAS, Resource
from kube.apiserver import deletion, paging
from kube.apiserver.cache import Cache, Entry, Match, entries_of
from kube.apiserver.listing import Listing, ListOptions, page, parse_version
from kube.apiserver.quota import Quotas
from kube.apiserver.registry.strategy import Strategy
from kube.store import codec, keys
from kube.store.store import Compacted, Compare, Delete, KeyValue, LeaseNotFound, Op, Put, Store

GENERATED_NAME_TRIES = 8

ADMIT_AGAIN = 0.05
"""Seconds between looks at whether an object can be admitted by now."""

READ_AT_ONCE = 1000
"""Objects that are read at once to find those that a selector selects."""

LEASE_SLACK = 60.0
"""Objects that expire share a lease for so many seconds: a lease an object would cost as much as the object."""

Peek = Callable[[Resource, str], Entry | None]
"""Looks at what is known of an object without asking the store."""

Change = Callable[[Any], Object]
"""Computes the wanted object from a copy of the present one; raises ApiError to refuse."""


class Verbs:
    """The verbs, over one store and one cache."""

    def __init__(self, store: Store, cache: Cache, strategies: Mapping[Resource, Strategy]) -> None:
        self.store = store
        self.cache = cache
        self.strategies = strategies
        self._quotas = Quotas(store, cache)
        self._leases: dict[int, tuple[int, float]] = {}

    # Reads

    async def get(self, resource: Resource, namespace: str, name: str, resource_version: str = "") -> Entry:
        """An object, as of now unless a resourceVersion allows older. Raises NotFound."""
        await self._await_version(resource_version)
        entry = self.cache.entry(resource, keys.object_key(resource, namespace, name))
        if entry is None:
            raise errors.not_found(resource.plural, name, resource.group)
        return entry

    async def _await_version(self, resource_version: str) -> None:
        self.cache.check_ready()
        if resource_version == "":
            await self.cache.fresh()
        elif resource_version != "0":
            await self.cache.reach(parse_version(resource_version))

    async def list(self, resource: Resource, namespace: str, options: ListOptions) -> Listing:
        """A collection, in the order of the keys. Raises Expired for a version that is no longer kept."""
        prefix = keys.prefix(resource, namespace)
        match = options.match()
        after, exact = "", 0
        if options.continue_:
            if options.resource_version not in ("", "0"):
                raise errors.BadRequest("specifying resource version is not allowed when using continue")
            exact, after = paging.decode(options.continue_, prefix)
        elif options.exact:
            exact = parse_version(options.resource_version)
            await self._await_version(options.resource_version)
        if exact > 0:
            return await self._list_at(resource, prefix, exact, after, match, options.limit)
        await self._await_version(options.resource_version)
        revision = self.cache.revision
        found = self.cache.of(resource).select(prefix, after)
        entries = [*found] if match is None else [entry for entry in found if match(entry)]
        return page(entries, revision, prefix, options.limit, counted=match is None)

    async def _list_at(
        self, resource: Resource, prefix: str, revision: int, after: str, match: Match | None, limit: int
    ) -> Listing:
        """The page behind a key, out of the store: what is not shown is not read, but for what is not selected."""
        step = limit if match is None or not limit else max(limit, READ_AT_ONCE)
        entries: list[Entry] = []
        last = after
        while True:
            try:
                found = await self.store.list(prefix, limit=step, after=last, revision=revision)
            except Compacted:
                raise paging.expired(after, prefix) from None
            entries += (entry for entry in entries_of(resource, found.items) if match is None or match(entry))
            if match is None:
                token = paging.encode(revision, found.items[-1].key, prefix) if found.remaining else ""
                return Listing(entries, revision, token, found.remaining or None)
            if not found.remaining or len(entries) > limit:
                return page(entries, revision, prefix, limit, counted=False)
            last = found.items[-1].key

    # Writes

    async def create(
        self, resource: Resource, namespace: str, obj: Object, *, dry_run: bool = False, author: Author | None = None
    ) -> bytes:
        """Store a new object; returns its bytes. Raises AlreadyExists, Invalid, NotFound or Forbidden (namespace), and
        Unclassified for an object that has a resourceVersion already.
        """
        strategy = self.strategies[resource]
        meta = obj.metadata
        if meta.resourceVersion:
            raise errors.Unclassified("resourceVersion should not be set on objects to be created", code=500)
        meta.namespace = namespace
        generated = not meta.name and bool(meta.generateName)
        defaults.apply(obj)
        strategy.prepare_create(obj)
        home = [await self._namespace(resource, namespace, meta.name, self.cache.entry)] if namespace else []
        await self._admit(resource, strategy, obj)
        meta.uid = str(uuid.uuid4())
        meta.creationTimestamp = now()
        meta.deletionTimestamp = None
        meta.deletionGracePeriodSeconds = None
        meta.selfLink = ""
        taken: set[str] = set()
        newer: dict[str, KeyValue] = {}
        tries = 0
        while True:
            if generated:
                meta.name = generate_name(meta.generateName)
            candidate = obj
            if strategy.allocates:
                # What is given out now may have to be given out anew.
                candidate = obj.clone()
                strategy.allocate(candidate, None, taken)
            _raise_invalid(resource, candidate, strategy.validate(candidate))
            if author is not None:
                managedfields.record(candidate, None, author, meta.creationTimestamp)
            if dry_run:
                await self.cache.fresh()  # no transaction will tell whether the cache was right
            quota = await self._quotas.charge(resource, namespace, candidate, newer)
            if dry_run:
                return codec.encode(candidate)
            key = keys.object_key(resource, namespace, meta.name)
            value = codec.encode(candidate)
            companions = strategy.companions(candidate, None, value)
            put = Put(key, value, await self._lease(resource))
            compares = [Compare(key, 0), *home, *companions.compares, *quota.compares]
            try:
                result = await self.store.txn(compares, [put, *companions.ops, *quota.ops])
            except LeaseNotFound:
                self._leases.clear()  # it was revoked, or the store is another one: grant a new one
                continue
            if result.succeeded:
                await self._known(resource, result.revision)
                return codec.splice_revision(value, result.revision)
            newer |= result.current
            if namespace:
                home = [await self._namespace(resource, namespace, meta.name)]
            if key in result.current:
                tries += 1
                if not generated or tries >= GENERATED_NAME_TRIES:
                    raise errors.already_exists(resource.plural, meta.name, resource.group)
            taken |= result.current.keys() - {key}

    async def _admit(self, resource: Resource, strategy: Strategy, obj: Object) -> None:
        """Have an object admitted. What it needs may have been made a moment ago, or be about to be."""
        try:
            strategy.admit(obj)
            return
        except errors.Forbidden:
            await self.cache.fresh()
        if obj.metadata.namespace:
            # What is missing may be so because the namespace is going away: that is said first, and at once.
            await self._namespace(resource, obj.metadata.namespace, obj.metadata.name, self.cache.entry)
        clock = asyncio.get_running_loop().time
        until = clock() + strategy.patience(obj)
        while True:
            try:
                strategy.admit(obj)
                return
            except errors.Forbidden:
                if clock() >= until:
                    raise
            await asyncio.sleep(ADMIT_AGAIN)

    async def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Change,
        *,
        subresource: str = "",
        dry_run: bool = False,
        author: Author | None = None,
        create: bool = False,
        pure: bool = False,
    ) -> tuple[bytes, bool]:
        """Change an object by a function of its present state; returns its bytes, and whether it was created.

        What changed is noted as the author's; without one, managedFields are what `change` makes of them. `create`: an
        object that is not there is created, whatever its kind. `pure`: `change` leaves what it is given as it is, and
        need not be given a copy. If what `change` returns carries a resourceVersion, the object must still be of that
        version, else Conflict.
        """
        strategy = self.strategies[resource]
        key = keys.object_key(resource, namespace, name)
        kv, from_cache = self._cached(resource, key), True
        taken: set[str] = set()
        while True:
            if kv is None and from_cache:
                kv, _ = await self.store.get(key)
                from_cache = False
            try:
                if kv is None:
                    if subresource or not (create or strategy.create_on_update):
                        raise errors.not_found(resource.plural, name, resource.group)
                    wanted = change(None)
                    if wanted.metadata.resourceVersion or wanted.metadata.uid:
                        raise errors.not_found(resource.plural, name, resource.group)
                    return await self.create(resource, namespace, wanted, dry_run=dry_run, author=author), True
                old = codec.decode(resource.model, kv)
                new = change(old if pure else old.clone())
                self._prepare(resource, strategy, new, old, kv, subresource)
                strategy.allocate(new, old, taken)
                if subresource != "binding":  # which sets what nobody else may: bind() has checked it
                    check = strategy.validate_status if subresource == "status" else strategy.validate_update
                    _raise_invalid(resource, new, check(new, old))
                if author is not None:
                    managedfields.record(new, old, author, now())
            except errors.ApiError:
                if not from_cache:
                    raise
                # Perhaps only because the cache lags: look again, at the store.
                kv, _ = await self.store.get(key)
                from_cache = False
                continue
            ended = await self._store_update(resource, strategy, kv, new, old, dry_run=dry_run, from_cache=from_cache)
            if isinstance(ended, bytes):
                return ended, False
            from_cache = False
            taken |= ended.keys() - {key}
            kv = ended.get(key)

    def _cached(self, resource: Resource, key: str) -> KeyValue | None:
        entry = self.cache.entry(resource, key)
        return None if entry is None else KeyValue(key, entry.value, entry.revision)

    @staticmethod
    def _prepare(
        resource: Resource, strategy: Strategy, new: Object, old: Object, kv: KeyValue, subresource: str
    ) -> None:
        name, meta, before = old.metadata.name, new.metadata, old.metadata
        if meta.resourceVersion and meta.resourceVersion != str(kv.revision):
            raise errors.conflict(resource.plural, name, group=resource.group)
        if meta.uid and meta.uid != before.uid:
            why = f"Precondition failed: UID in precondition: {meta.uid}, UID in object meta: {before.uid}"
            raise errors.conflict(resource.plural, name, why, resource.group)
        meta.uid = before.uid
        meta.name = meta.name or before.name
        meta.namespace = before.namespace
        meta.generateName = meta.generateName or before.generateName
        meta.creationTimestamp = before.creationTimestamp
        meta.generation = before.generation
        meta.deletionTimestamp = before.deletionTimestamp
        meta.deletionGracePeriodSeconds = before.deletionGracePeriodSeconds
        meta.selfLink = ""
        # First, as upstream's decoder does it: the rules of a kind look at defaulted fields (a service's type).
        defaults.apply(new)
        if subresource == "status":
            strategy.prepare_status(new, old)
        elif not subresource:
            strategy.prepare_update(new, old)

    async def _store_update(
        self,
        resource: Resource,
        strategy: Strategy,
        kv: KeyValue,
        new: Object,
        old: Object,
        *,
        dry_run: bool,
        from_cache: bool,
    ) -> bytes | dict[str, KeyValue]:
        """The stored bytes, or, if the object or a claim has moved on, what is there now."""
        key = kv.key
        new.metadata.resourceVersion = old.metadata.resourceVersion = ""
        value = codec.encode(new)
        # The objects are compared for the sake of a value that others wrote, with its keys in another order.
        if dry_run or codec.holds(kv, value) or new == old:
            # No transaction will tell whether the cache was right about the object.
            present = (await self.store.get(key))[0] if from_cache else kv
            if present is not None and present.revision == kv.revision:
                return codec.splice_revision(value, kv.revision)
            return {} if present is None else {key: present}
        compare = Compare(key, kv.revision)
        if deletion.may_go(new):
            companions = strategy.companions(None, old)
            ops: list[Op] = [Delete(key)]
        else:
            companions = strategy.companions(new, old, value)
            ops = [Put(key, value, await self._lease(resource))]
        try:
            result = await self.store.txn([compare, *companions.compares], [*ops, *companions.ops])
        except LeaseNotFound:
            self._leases.clear()
            return {key: kv}  # once more
        if not result.succeeded:
            return result.current
        await self._known(resource, result.revision)
        return codec.splice_revision(value, result.revision)

    async def _known(self, resource: Resource, revision: int) -> None:
        """What admission looks at is known here before its writer hears that it is stored."""
        if resource in (LIMIT_RANGES, RESOURCE_QUOTAS):
            await self.cache.reach(revision)

    async def delete(self, resource: Resource, namespace: str, name: str, options: DeleteOptions) -> tuple[bytes, bool]:
        """Delete an object, at once or gracefully; returns its last bytes, and whether it is gone now."""
        strategy = self.strategies[resource]
        key = keys.object_key(resource, namespace, name)
        kv, from_cache = self._cached(resource, key), True
        dry_run = bool(options.dryRun)
        while True:
            if kv is None and from_cache:
                kv, _ = await self.store.get(key)
                from_cache = False
            try:
                if kv is None:
                    raise errors.not_found(resource.plural, name, resource.group)
                old = codec.decode(resource.model, kv)
                deletion.check_preconditions(resource, old, options)
                new = deletion.marked(strategy, old, options)
            except errors.ApiError:
                if not from_cache:
                    raise
                kv, _ = await self.store.get(key)
                from_cache = False
                continue
            value, gone = codec.encode(new), deletion.may_go(new)
            if dry_run or (not gone and new == old):
                # No transaction will tell whether the cache was right about the object.
                present = (await self.store.get(key))[0] if from_cache else kv
                if present is not None and present.revision == kv.revision:
                    return codec.splice_revision(value, kv.revision), gone
                kv, from_cache = present, False
                continue
            if gone:
                companions = strategy.companions(None, old)
                ops: list[Op] = [Delete(key)]
            else:
                companions = strategy.companions(new, old, value)
                ops = [Put(key, value)]
            result = await self.store.txn([Compare(key, kv.revision)], [*ops, *companions.ops])
            if result.succeeded:
                return codec.splice_revision(value, result.revision), gone
            kv, from_cache = result.current.get(key), False

    async def delete_collection(
        self, resource: Resource, namespace: str, selection: ListOptions, options: DeleteOptions
    ) -> Listing:
        """Delete what a list would give; returns that list."""
        listing = await self.list(resource, namespace, selection)
        gate = asyncio.Semaphore(16)

        async def one(entry: Entry) -> None:
            namespace, name = _namespace_and_name(resource, entry)
            async with gate:
                with contextlib.suppress(errors.NotFound):
                    await self.delete(resource, namespace, name, options)

        try:
            async with asyncio.TaskGroup() as tasks:
                for entry in listing.entries:
                    tasks.create_task(one(entry))
        except* errors.ApiError as failed:
            first: Exception = failed
            while isinstance(first, ExceptionGroup):
                first = first.exceptions[0]
            raise first from None
        return listing

    async def _namespace(self, resource: Resource, namespace: str, name: str, peek: Peek | None = None) -> Compare:
        """The condition that the namespace is still as it is now: it is there (or 404), and stays (or 403).

        Being a part of the transaction, it leaves no moment in which something can slip into a namespace that is
        going away. (Upstream's admission plug-in looks at a cache, and lets the namespace controller sweep again.)
        """
        key = keys.object_key(NAMESPACES, "", namespace)
        entry = peek(NAMESPACES, key) if peek else None
        if entry is None:
            kv, _ = await self.store.get(key)
            if kv is None:
                raise errors.not_found("namespaces", namespace)
            entry = Entry(NAMESPACES, kv)
        if entry.fields.get("status.phase") == "Terminating":
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            error = errors.forbidden(resource.plural, name, why, resource.group)
            cause = {"reason": "NamespaceTerminating", "field": "metadata.namespace",
                     "message": f"namespace {namespace} is being terminated"}  # fmt: skip
            error.details["causes"] = [cause]
            raise error
        return Compare(key, entry.revision)

    async def _lease(self, resource: Resource) -> int:
        if not resource.ttl:
            return 0
        clock = asyncio.get_running_loop().time()
        lease, until = self._leases.get(resource.ttl, (0, 0.0))
        if clock >= until:
            lease = await self.store.grant(resource.ttl + int(LEASE_SLACK))
            self._leases[resource.ttl] = (lease, clock + LEASE_SLACK)
        return lease


def _raise_invalid(resource: Resource, obj: Object, found: Iterable[errors.FieldError]) -> None:
    found = list(found)
    if found:
        name = obj.metadata.name or obj.metadata.generateName
        raise errors.invalid_object(resource.kind, name, found, resource.group)


def _namespace_and_name(resource: Resource, entry: Entry) -> tuple[str, str]:
    rest = entry.key.removeprefix(keys.prefix(resource))
    namespace, _, name = rest.rpartition("/")
    return namespace, name
