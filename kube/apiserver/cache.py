"""Everything under /registry, in memory: one watch on the store keeps the latest bytes of every object and a window of
recent changes for each resource.

Two promises make it more than a cache:

* `fresh()` returns when the cache holds everything that was stored before the call. It asks the store for its revision
  (many concurrent calls share one probe, as a raft leader batches read-index) and waits until the one watch has come
  so far. So a default GET or LIST is as consistent as one from the store.
* A watcher is a cursor into the window. A slow one costs nothing but its place; when the window moves past it, it is
  cut off (upstream: a full channel) and has to list again.

Kubernetes keeps a cache per resource and decodes objects into it; here an object stays the bytes that are served.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import orjson

from kube.api import errors, fields
from kube.api.meta import Object
from kube.api.resources import RESOURCES, Resource
from kube.store import keys
from kube.store.codec import splice_revision
from kube.store.store import Compacted, KeyValue, Put, Store, Unavailable, WatchBatch

log = logging.getLogger(__name__)

WINDOW = 10_000
"""Changes kept for each resource: what a watcher may lag behind, or a client resume from."""

MOST = 1000
"""Changes that are read at once."""

PROGRESS_KEY = f"{keys.ROOT}progress"
"""Written when the store's revision moved for a reason outside /registry and no event will tell."""

PROGRESS_DELAY = 0.05

PROBES = 2
"""Questions to the store at once: who comes while one is on its way does not wait for its answer."""

FOR_EVER = 2**40
"""More changes than there will ever be."""


class Entry:
    """One object at one revision. Selectors look at `labels` and `fields`, decoded at first need."""

    __slots__ = ("_fields", "_labels", "key", "resource", "revision", "value")

    def __init__(self, resource: Resource, kv: KeyValue) -> None:
        self.resource = resource
        self.key = kv.key
        self.revision = kv.revision
        self.value = splice_revision(kv.value, kv.revision)
        """The object's JSON with its resourceVersion: what is served."""
        self._labels: dict[str, str] | None = None
        self._fields: dict[str, str] | None = None

    @property
    def labels(self) -> dict[str, str]:
        if self._labels is None:
            self._labels = orjson.loads(self.value)["metadata"].get("labels") or {}
        return self._labels

    @property
    def fields(self) -> dict[str, str]:
        if self._fields is None:
            self._fields = fields.of_object(self.decode())
        return self._fields

    def decode(self) -> Object:
        """The object; the caller owns it."""
        return self.resource.model.parse(self.value)


class Change:
    """One change of one object. The line that a plain watch sends is made once for all watchers."""

    __slots__ = ("_line", "current", "previous", "revision")

    def __init__(self, current: Entry | None, previous: Entry | None, revision: int) -> None:
        self.current = current
        self.previous = previous
        self.revision = revision
        self._line: bytes | None = None

    @property
    def type(self) -> str:
        if self.current is None:
            return "DELETED"
        return "MODIFIED" if self.previous else "ADDED"

    @property
    def line(self) -> bytes:
        """The event for a watcher that sees both sides of the change."""
        if self._line is None:
            self._line = event_line(self.type, self.current.value if self.current else self.last_state())
        return self._line

    def last_state(self) -> bytes:
        """Of an object that is deleted, or gone from a selection: its last value, at the revision of that (as upstream
        sends it)."""
        assert self.previous is not None
        old, new = (f'"resourceVersion":"{r}"'.encode() for r in (self.previous.revision, self.revision))
        return self.previous.value.replace(old, new, 1)


def event_line(type_: str, value: bytes) -> bytes:
    """One line of a watch."""
    return b'{"type":"%s","object":%s}\n' % (type_.encode(), value)


class Lagging(Exception):
    """The window has moved past this cursor."""


class ResourceCache:
    """The objects of one resource, and its window."""

    def __init__(self, resource: Resource, window: int = WINDOW) -> None:
        self.resource = resource
        self.entries: dict[str, Entry] = {}
        self._sorted: list[str] = []
        self._window: list[Change] = []
        self._dropped = 0
        """How many changes have left the window: a cursor is a count of changes since the start."""
        self._limit = window
        self.oldest = 0
        """The window holds every change after this revision."""
        self._waiting: set[asyncio.Future[None]] = set()

    def select(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """The objects whose key begins with the prefix, in order, from behind the key `after`."""
        keys_ = self._sorted
        start = bisect_left(keys_, after + "\0" if after else prefix)
        # Behind all keys that begin so.
        end = bisect_left(keys_, prefix + "\U0010ffff", start)
        return map(self.entries.__getitem__, keys_[start:end])

    def apply(self, key: str, kv: KeyValue | None, revision: int) -> None:
        """Take over one change."""
        previous = self.entries.get(key)
        current = Entry(self.resource, kv) if kv else None
        if current is None:
            if previous is None:
                return
            del self.entries[key]
            del self._sorted[bisect_left(self._sorted, key)]
        else:
            if previous is None:
                insort(self._sorted, key)
            self.entries[key] = current
        self._window.append(Change(current, previous, revision))

    def trim(self) -> None:
        """Keep the window within its size. Cutting by half a window at a time keeps the cost of a change constant."""
        if len(self._window) > self._limit * 3 // 2:
            surplus = len(self._window) - self._limit
            self.oldest = self._window[surplus - 1].revision
            del self._window[:surplus]
            self._dropped += surplus

    def restart(self, revision: int) -> None:
        """The changes up to here are not known one by one: every cursor is cut off."""
        # Far enough for the window to grow backwards (replay.py) without meeting them.
        self._dropped += len(self._window) + FOR_EVER
        self._window.clear()
        self.oldest = revision

    def extend_back(self, earlier: list[Change], revision: int) -> None:
        """Let the window begin at an earlier revision, with what happened since then, as far as there is room."""
        room = max(self._limit - len(self._window), 0)
        if len(earlier) > room:
            surplus = len(earlier) - room
            revision = earlier[surplus - 1].revision
            earlier = earlier[surplus:]
        self._window[:0] = earlier
        self._dropped -= len(earlier)
        self.oldest = revision

    def wake(self) -> None:
        """Tell the waiting watchers that there is something new."""
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            _end(future)

    def cursor(self, revision: int) -> int:
        """Where the changes after this revision begin. Raises errors.Expired."""
        if revision < self.oldest:
            raise errors.expired(revision, self.oldest)
        low, high = 0, len(self._window)
        while low < high:
            middle = (low + high) // 2
            if self._window[middle].revision <= revision:
                low = middle + 1
            else:
                high = middle
        return self._dropped + low

    def end(self) -> int:
        """The cursor behind the newest change."""
        return self._dropped + len(self._window)

    def read(self, cursor: int, most: int = MOST) -> list[Change]:
        """The changes from a cursor on, at most so many. Raises Lagging."""
        start = cursor - self._dropped
        if start < 0:
            raise Lagging
        return self._window[start : start + most]

    async def wait(self, timeout: float) -> None:
        """Until there is news, or for `timeout` seconds."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.add(future)
        timer = loop.call_later(timeout, _end, future)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.discard(future)


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Cache:
    """All resources. `run()` keeps it; `ready` says that it holds everything once."""

    def __init__(self, store: Store, resources: Iterable[Resource] = RESOURCES, window: int = WINDOW) -> None:
        self.store = store
        self.resources = {resource: ResourceCache(resource, window) for resource in resources}
        self._by_prefix = {resource.prefix: cache for resource, cache in self.resources.items()}
        self.revision = 0
        """Everything up to here is in."""
        self.began = 0
        """Every change after this revision has been in the windows. (Some may have left theirs.)"""
        self.replaying = asyncio.Lock()
        self.ready = asyncio.Event()
        self._progress: list[tuple[int, asyncio.Future[None]]] = []
        self._askers: list[asyncio.Future[int]] = []
        self._probes = 0
        self._probing: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many readers wait for a revision that is not in yet."""
        return len(self._progress)

    def of(self, resource: Resource) -> ResourceCache:
        return self.resources[resource]

    def entry(self, resource: Resource, key: str) -> Entry | None:
        """What the cache holds now; may lag behind the store."""
        return self.resources[resource].entries.get(key)

    def check_ready(self) -> None:
        """Raises ServiceUnavailable until everything is in: what the cache lacks is not therefore absent."""
        if not self.ready.is_set():
            raise errors.ServiceUnavailable("storage is (re)initializing", details={"retryAfterSeconds": 1})

    async def fresh(self) -> int:
        """Wait until everything stored before this call is in; returns the revision reached. Raises Unavailable."""
        revision = await self._current_revision()
        await self.reach(revision)
        return self.revision

    async def reach(self, revision: int, timeout: float = 3.0) -> None:
        """Wait until the cache holds everything up to a revision. Raises errors.Timeout, with upstream's message,
        or ServiceUnavailable if there is nothing yet."""
        if self.revision >= revision:
            return
        future = asyncio.get_running_loop().create_future()
        self._progress.append((revision, future))
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            if not self.revision:
                self.check_ready()  # no version is too large for who knows nothing yet
            why = f"Too large resource version: {revision}, current: {self.revision}"
            raise errors.Timeout(why, details={"causes": [{"reason": "ResourceVersionTooLarge", "message": why}],
                                               "retryAfterSeconds": 1}) from None  # fmt: skip

    async def _current_revision(self) -> int:
        """The store's revision, from a probe that began after this call did: one for all who ask meanwhile."""
        # A future for each: a caller that is cancelled must not take the others' along.
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        # Who asks already is seen to by a probe that begins now, or when the first of those on their way is back.
        if not self._askers and self._probes < PROBES:
            self._probes += 1
            probing = asyncio.create_task(self._probe())
            self._probing.add(probing)
            probing.add_done_callback(self._probing.discard)
        self._askers.append(future)
        return await future

    async def _probe(self) -> None:
        """Ask the store, again and again, for all who have asked by then."""
        asked: list[asyncio.Future[int]] = []
        try:
            while True:
                # Requests that were read from their connections together begin one after the other: wait for the last.
                await asyncio.sleep(0)
                asked, self._askers = self._askers, []
                if not asked:
                    return
                revision = await self.store.revision()
                for future in asked:
                    if not future.done():
                        future.set_result(revision)
        except Unavailable as error:
            # Those who came meanwhile are told, too: nobody waits for two time-outs.
            for future in asked + self._askers:
                if not future.done():
                    future.set_exception(Unavailable(str(error)))
            self._askers = []
        finally:
            self._probes -= 1
            # Only if it ended as it should not: nobody waits for what does not come.
            for future in asked if self._probes else asked + self._askers:
                future.cancel()

    def cache_of(self, key: str) -> ResourceCache | None:
        """Of which resource a key of the store is; None if of none."""
        first, _, rest = key.removeprefix(keys.ROOT).partition("/")
        return self._by_prefix.get(first) or self._by_prefix.get(f"{first}/{rest.partition('/')[0]}")

    async def run(self) -> None:
        """Follow the store for ever: list once, then watch; list again only when the store has forgotten our place."""
        delay = 0.05
        while True:
            try:
                if not self.ready.is_set():
                    await self._list()
                    self.ready.set()
                    log.info("cache holds everything up to revision %d", self.revision)
                async for batch in self.store.watch(keys.ROOT, self.revision + 1):
                    delay = 0.05
                    self._take(batch)
            except Compacted:
                log.warning("the store has compacted revision %d: listing again", self.revision)
                self.ready.clear()
            except Unavailable as error:
                log.warning("store unavailable, trying again in %.2f s: %s", delay, error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)

    async def progress(self) -> None:
        """Write the progress key for readers who wait for a revision that no event under /registry will bring."""
        while True:
            await asyncio.sleep(PROGRESS_DELAY)
            self._progress = [item for item in self._progress if not item[1].done()]  # who has given up
            if not self._progress:
                continue
            wanted = max(revision for revision, _ in self._progress)
            await asyncio.sleep(PROGRESS_DELAY)
            if self.revision < wanted and self._progress:
                with suppress(Unavailable):
                    if await self.store.revision() >= wanted:
                        await self.store.txn([], [Put(PROGRESS_KEY, b"{}")])

    async def _list(self) -> None:
        page = await self.store.list(keys.ROOT)
        found: dict[ResourceCache, dict[str, KeyValue]] = {cache: {} for cache in self.resources.values()}
        for kv in page.items:
            cache = self.cache_of(kv.key)
            if cache is not None:
                found[cache][kv.key] = kv
        for cache, items in found.items():
            for key in [key for key in cache.entries if key not in items]:
                cache.apply(key, None, page.revision)
            for key, kv in items.items():
                previous = cache.entries.get(key)
                if previous is None or previous.revision != kv.revision:
                    _apply(cache, key, kv, kv.revision)
            cache.restart(page.revision)
            cache.wake()
        self.began = page.revision
        self._advance(page.revision)

    def _take(self, batch: WatchBatch) -> None:
        touched: set[ResourceCache] = set()
        for change in batch.changes:
            cache = self.cache_of(change.key)
            if cache is None:
                continue
            kv = None if change.value is None else KeyValue(change.key, change.value, change.revision)
            _apply(cache, change.key, kv, change.revision)
            touched.add(cache)
        self._advance(batch.revision)
        for cache in touched:
            cache.trim()
            cache.wake()

    def _advance(self, revision: int) -> None:
        self.revision = max(self.revision, revision)
        if self._progress:
            reached = [future for wanted, future in self._progress if wanted <= self.revision]
            self._progress = [item for item in self._progress if item[0] > self.revision and not item[1].done()]
            for future in reached:
                if not future.done():
                    future.set_result(None)


def _apply(cache: ResourceCache, key: str, kv: KeyValue | None, revision: int) -> None:
    """Take over one change. What somebody else has put there, and is no object, counts as nothing."""
    try:
        cache.apply(key, kv, revision)
    except ValueError:
        log.error("%s holds no object of ours; it is not served", key)
        cache.apply(key, None, revision)


def entries_of(resource: Resource, items: Iterable[KeyValue]) -> Iterator[Entry]:
    """The objects among what the store has."""
    for kv in items:
        with suppress(ValueError):  # of somebody else; _apply() has told
            yield Entry(resource, kv)


Match = Callable[[Entry], bool]
"""What a selector comes down to."""
