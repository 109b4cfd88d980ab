"""A watch: changes of a collection as lines of JSON, without end. (apiserver/pkg/storage/cacher)

A selector turns changes: an object that comes to match is ADDED for this watcher, one that no longer matches is
DELETED, whatever happened to it in the store.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable

import orjson

from kube.api import errors
from kube.api.resources import Resource
from kube.apiserver import metrics
from kube.apiserver.cache import MOST, Cache, Change, Entry, Lagging, Match, event_line
from kube.apiserver.replay import reach_back
from kube.store import keys

BOOKMARK_PERIOD = 60.0
"""Seconds between bookmarks."""

DEFAULT_TIMEOUT = (1800.0, 3600.0)
"""A watch that names no timeout ends after a random time between these, so that clients spread over apiservers."""

INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}

Render = Callable[[bytes], bytes]
"""How an object is shown: as it is, or as a Table."""


def turned(change: Change, match: Match) -> tuple[str, bytes] | None:
    """The event a watcher with a selector sees: its type and the object's bytes; None if it does not concern it."""
    now = change.current is not None and match(change.current)
    before = change.previous is not None and match(change.previous)
    if now:
        assert change.current is not None
        return ("MODIFIED" if before else "ADDED"), change.current.value
    if before:
        # It may live on, but not for this watcher, who does not see the state that made it leave the selection.
        return "DELETED", change.last_state()
    return None


def bookmark(
    resource: Resource, revision: int, annotations: dict[str, str] | None = None, render: Render | None = None
) -> bytes:
    """A line that says: you have seen everything up to here."""
    meta: dict[str, object] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if annotations:
        meta["annotations"] = annotations
    value = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}
    line = orjson.dumps(value)
    return event_line("BOOKMARK", line if render is None else render(line))


def error_line(error: errors.ApiError) -> bytes:
    """An error within a stream whose status was already sent."""
    return event_line("ERROR", orjson.dumps(error.to_dict()))


async def watch(
    cache: Cache,
    resource: Resource,
    *,
    namespace: str = "",
    name: str = "",
    match: Match | None = None,
    resource_version: str = "",
    send_initial_events: bool | None = None,
    bookmarks: bool = False,
    timeout: float | None = None,
    render: Render | None = None,
    render_bookmark: Render | None = None,
    shown_as: Resource | None = None,
    stopping: asyncio.Event,
) -> AsyncGenerator[bytes, None]:
    """The lines of a watch. Raises Expired, ServiceUnavailable before the first line; later errors are lines.

    `resource_version` "" or "0" begins with the present objects as ADDED; N goes on after revision N. Bookmarks are of
    the kind `shown_as`, and shown by `render_bookmark`.
    """
    objects = cache.of(resource)
    prefix = keys.object_key(resource, namespace, name) if name else keys.prefix(resource, namespace)
    initial = send_initial_events if send_initial_events is not None else resource_version in ("", "0")
    if resource_version == "":
        await cache.fresh()
    elif resource_version == "0":
        cache.check_ready()
    else:
        await cache.reach(int(resource_version))
    start: list[Entry] = []
    if initial:
        start = [entry for entry in objects.select(prefix) if match is None or match(entry)]
        start = [entry for entry in start if not name or entry.key == prefix]
        start.sort(key=lambda entry: entry.revision)
        cursor, seen = objects.end(), cache.revision
    else:
        seen = cache.revision if resource_version in ("", "0") else int(resource_version)
        if seen < objects.oldest:
            await reach_back(cache, objects, seen)
        cursor = objects.end() if resource_version in ("", "0") else objects.cursor(seen)
    return _stream(
        cache, resource, prefix, bool(name), match, cursor, seen, start,
        initial_end=bool(send_initial_events), bookmarks=bookmarks,
        timeout=random.uniform(*DEFAULT_TIMEOUT) if timeout is None else timeout,
        render=render, render_bookmark=render_bookmark, shown_as=shown_as or resource, stopping=stopping,
    )  # fmt: skip


async def _stream(
    cache: Cache,
    resource: Resource,
    prefix: str,
    exact: bool,
    match: Match | None,
    cursor: int,
    seen: int,
    start: list[Entry],
    *,
    initial_end: bool,
    bookmarks: bool,
    timeout: float,
    render: Render | None,
    render_bookmark: Render | None,
    shown_as: Resource,
    stopping: asyncio.Event,
) -> AsyncGenerator[bytes, None]:
    objects = cache.of(resource)
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    next_bookmark = loop.time() + BOOKMARK_PERIOD
    show = render or (lambda value: value)
    sent = metrics.EVENTS.labels(shown_as.group, shown_as.version, shown_as.plural)
    if start:
        sent.inc(len(start))
        yield b"".join(event_line("ADDED", show(entry.value)) for entry in start)
    if initial_end and bookmarks:
        yield bookmark(shown_as, seen, INITIAL_EVENTS_END, render_bookmark)
    while not stopping.is_set():
        try:
            changes = objects.read(cursor)
        except Lagging:
            yield error_line(errors.expired(seen, objects.oldest))
            return
        cursor += len(changes)
        lines = []
        for change in changes:
            key = (change.current or change.previous).key  # type: ignore[union-attr]  # one of both is there
            if not (key == prefix if exact else key.startswith(prefix)):
                continue
            if match is None and render is None:
                lines.append(change.line)
                continue
            event = turned(change, match or _everything)
            if event is not None:
                lines.append(event_line(event[0], show(event[1])))
        if changes:
            seen = changes[-1].revision
        if lines:
            sent.inc(len(lines))
            yield b"".join(lines)
        if len(changes) == MOST:
            # Other tasks' turn, however much there is to send.
            await asyncio.sleep(0)
            continue
        if objects.end() > cursor or stopping.is_set():
            continue  # it came while the client was waited for
        now = loop.time()
        if now >= end:
            break
        if bookmarks and now >= next_bookmark:
            yield bookmark(shown_as, max(seen, cache.revision), render=render_bookmark)
            next_bookmark = now + BOOKMARK_PERIOD
        await objects.wait(min(end, next_bookmark if bookmarks else end) - now)
    # Not to who lags behind when the server stops: it would go on from there, and never hear of what it was not sent.
    if bookmarks and cursor == objects.end():
        yield bookmark(shown_as, max(seen, cache.revision), render=render_bookmark)


def _everything(entry: Entry) -> bool:
    return True
