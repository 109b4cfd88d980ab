"""What happened before this apiserver's window began, out of the store's own history.

A cache begins with a list, and knows nothing of the changes before it. So after every restart of an apiserver every
watch would find its revision too old, and its client would list again and never hear of what came and went meanwhile.
But the store keeps every change until it is compacted: a window is extended backwards when somebody asks for it, once
for all who will. (Upstream's watch cache does not, and answers 410.)
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress

from kube.api import errors
from kube.apiserver.cache import PROGRESS_DELAY, PROGRESS_KEY, Cache, Change, Entry, ResourceCache
from kube.store import keys
from kube.store.store import Compacted, KeyValue, Put, Unavailable, WatchBatch

log = logging.getLogger(__name__)

MOST = 20_000
"""Revisions that a window is extended by at once: reading them takes about a second. Beyond that, a list is cheaper."""

TIMEOUT = 5.0
"""Seconds for it."""


async def reach_back(cache: Cache, objects: ResourceCache, revision: int) -> None:
    """Let the windows begin at a revision. Raises errors.Expired if nobody knows what came after it, Unavailable."""
    async with cache.replaying:
        began = cache.began
        if revision >= objects.oldest:
            return  # whom we have waited for wanted the same
        if objects.oldest > began or began - revision > MOST:
            raise errors.expired(revision, objects.oldest)
        try:
            async with asyncio.timeout(TIMEOUT):
                found = await _changes(cache, revision, began)
        except Compacted as gone:
            raise errors.expired(revision, gone.oldest) from None
        except TimeoutError:
            raise errors.expired(revision, began) from None
        if cache.began != began:
            raise errors.expired(revision, cache.began)  # it has listed again meanwhile
        for each in cache.resources.values():
            if each.oldest == began:
                each.extend_back(found.get(each, []), revision)
        cache.began = revision
        log.info("window extended backwards from revision %d to %d", began, revision)


async def _changes(cache: Cache, since: int, until: int) -> dict[ResourceCache, list[Change]]:
    """Everything that happened after one revision, up to and with another."""
    found: dict[ResourceCache, list[Change]] = {}
    latest: dict[str, Entry] = {}
    # Should no event be of the last revision itself, one behind it tells that all have come.
    behind = asyncio.create_task(_write_progress(cache))
    try:
        async with aclosing(cache.store.watch(keys.ROOT, since + 1, previous=True)) as batches:
            async for batch in batches:
                _take(cache, batch, until, found, latest)
                if batch.revision >= until:
                    return found
        return found
    finally:
        behind.cancel()
        with suppress(asyncio.CancelledError):
            await behind


def _take(
    cache: Cache, batch: WatchBatch, until: int, found: dict[ResourceCache, list[Change]], latest: dict[str, Entry]
) -> None:
    for change in batch.changes:
        objects = cache.cache_of(change.key)
        if objects is None or change.revision > until:
            continue
        previous = latest.pop(change.key, None)
        if previous is None and change.previous is not None:
            previous = _entry(objects, change.previous)
        current = None
        if change.value is not None:
            current = _entry(objects, KeyValue(change.key, change.value, change.revision))
        if current is not None:
            latest[change.key] = current
        elif previous is None:
            continue  # what is no object of ours came, or went
        found.setdefault(objects, []).append(Change(current, previous, change.revision))


def _entry(objects: ResourceCache, kv: KeyValue) -> Entry | None:
    try:
        return Entry(objects.resource, kv)
    except ValueError:
        return None


async def _write_progress(cache: Cache) -> None:
    await asyncio.sleep(PROGRESS_DELAY)
    with suppress(Unavailable):
        await cache.store.txn([], [Put(PROGRESS_KEY, b"{}")])
