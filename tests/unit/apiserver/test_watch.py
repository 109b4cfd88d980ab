"""Watches: what a watcher sees, from where it starts, and when it is cut off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from kube.api import errors, labels
from kube.api.core import Container, Pod, PodSpec
from kube.api.meta import DeleteOptions, Object, ObjectMeta
from kube.api.resources import PODS
from kube.apiserver.app import Api
from kube.apiserver.cache import Cache, Entry, Lagging, ResourceCache
from kube.apiserver.discovery import Discovery
from kube.apiserver.request import Query, Request, parse_path
from kube.apiserver.watch import watch
from kube.store import keys
from kube.store.memory import MemoryStore
from kube.store.store import KeyValue, Put


def a_pod(name: str, **pod_labels: str) -> Pod:
    meta = ObjectMeta(name=name, labels=pod_labels)
    return Pod(metadata=meta, spec=PodSpec(containers=[Container(name="c", image="i")]))


async def create(server: Any, name: str, **pod_labels: str) -> None:
    await server.verbs.create(PODS, "default", a_pod(name, **pod_labels))


async def relabel(server: Any, name: str, **pod_labels: str) -> None:
    def change(pod: Object) -> Object:
        pod.metadata.labels = pod_labels
        return pod

    await server.verbs.update(PODS, "default", name, change)


class Ended(Exception):
    """The server has ended the watch."""


class Watching:
    """Reads a watch event by event."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        self._lines = lines
        self._ready: list[dict[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        while not self._ready:
            async with asyncio.timeout(5):
                chunk = await anext(self._lines, None)
            if chunk is None:
                raise Ended
            self._ready = [json.loads(line) for line in chunk.splitlines()]
        return self._ready.pop(0)

    async def seen(self, count: int) -> list[tuple[str, str]]:
        events = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"]["name"]) for event in events]


async def start(server: Any, **options: Any) -> Watching:
    options.setdefault("namespace", "default")
    return Watching(await watch(server.cache, PODS, stopping=server.handlers.stopping, **options))


async def test_a_watch_begins_with_what_there_is(server: Any) -> None:
    await create(server, "b")
    await create(server, "a")
    watching = await start(server)
    assert await watching.seen(2) == [("ADDED", "b"), ("ADDED", "a")], "in the order of their revisions"
    await create(server, "c")
    assert await watching.seen(1) == [("ADDED", "c")]


async def test_a_watch_goes_on_after_a_revision(server: Any) -> None:
    await create(server, "a")
    revision = await server.cache.fresh()
    await relabel(server, "a", x="1")
    await server.verbs.delete(PODS, "default", "a", DeleteOptions())
    watching = await start(server, resource_version=str(revision))
    assert await watching.seen(2) == [("MODIFIED", "a"), ("DELETED", "a")]


async def test_a_deleted_object_has_the_revision_of_its_deletion(server: Any) -> None:
    await create(server, "a")
    watching = await start(server)
    await watching.seen(1)
    await server.verbs.delete(PODS, "default", "a", DeleteOptions())
    event = await watching.next()
    assert event["type"] == "DELETED"
    assert event["object"]["metadata"]["resourceVersion"] == str(await server.cache.fresh())


async def test_an_object_that_leaves_or_joins_the_selection(server: Any) -> None:
    selector = labels.parse("app=x")
    watching = await start(server, match=lambda entry: selector.matches(entry.labels))
    await create(server, "a", app="x")
    await relabel(server, "a", app="y")
    await relabel(server, "a", app="z")
    await relabel(server, "a", app="x")
    await relabel(server, "a", app="x", more="1")
    assert await watching.seen(4) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a"), ("MODIFIED", "a")]


async def test_an_object_that_leaves_is_told_as_it_was_when_it_was_selected(server: Any) -> None:
    """ "return a delete event with the previous object content, but with the event's resource version" (cacher)"""
    selector = labels.parse("app=x")
    watching = await start(server, match=lambda entry: selector.matches(entry.labels))
    await create(server, "a", app="x")
    await watching.next()
    await relabel(server, "a", app="y", secret="others")
    event = await watching.next()
    meta = event["object"]["metadata"]
    assert (event["type"], meta["labels"]) == ("DELETED", {"app": "x"})
    assert meta["resourceVersion"] == str(await server.cache.fresh())


async def test_one_object_is_watched_by_its_name(server: Any) -> None:
    watching = await start(server, name="a")
    await create(server, "ab")
    await create(server, "a")
    assert await watching.seen(1) == [("ADDED", "a")]


async def test_initial_events_end_with_a_bookmark(server: Any) -> None:
    await create(server, "a")
    watching = await start(server, send_initial_events=True, bookmarks=True)
    assert await watching.seen(1) == [("ADDED", "a")]
    event = await watching.next()
    assert event["type"] == "BOOKMARK"
    assert event["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_ends_after_its_timeout_with_a_bookmark(server: Any) -> None:
    watching = await start(server, timeout=0.05, bookmarks=True)
    event = await watching.next()
    assert event["type"] == "BOOKMARK"
    assert int(event["object"]["metadata"]["resourceVersion"]) == server.cache.revision
    with pytest.raises(Ended):
        await watching.next()


async def test_a_stopping_server_ends_its_watches(server: Any) -> None:
    watching = await start(server)
    reading = asyncio.create_task(watching.next())
    await asyncio.sleep(0)
    server.handlers.stopping.set()
    server.cache.of(PODS).wake()
    with pytest.raises(Ended):
        await reading


async def test_a_stopping_server_tells_nobody_that_he_has_seen_what_he_was_not_sent(server: Any) -> None:
    await create(server, "a")
    watching = await start(server, bookmarks=True)
    assert await watching.seen(1) == [("ADDED", "a")]
    await create(server, "b")  # while the client takes its time
    await server.cache.fresh()
    server.handlers.stopping.set()
    with pytest.raises(Ended):
        await watching.next()


def entry_kv(name: str, revision: int) -> KeyValue:
    value = b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"%s"}}' % name.encode()
    return KeyValue(f"/registry/pods/default/{name}", value, revision)


def filled(window: int, count: int) -> ResourceCache:
    cache = ResourceCache(PODS, window)
    for revision in range(1, count + 1):
        kv = entry_kv("a", revision)
        cache.apply(kv.key, kv, revision)
        cache.trim()
    return cache


def test_a_window_forgets_its_oldest_changes() -> None:
    cache = filled(window=10, count=100)
    assert cache.oldest >= 80
    with pytest.raises(errors.Expired, match=r"too old resource version: 5 \("):
        cache.cursor(5)
    newest = cache.cursor(98)
    assert [change.revision for change in cache.read(newest)] == [99, 100]


def test_a_cursor_that_the_window_has_passed_is_cut_off() -> None:
    cache = filled(window=10, count=1)
    cursor = cache.cursor(0)
    for revision in range(2, 100):
        kv = entry_kv("a", revision)
        cache.apply(kv.key, kv, revision)
        cache.trim()
    with pytest.raises(Lagging):
        cache.read(cursor)


def test_entries_are_in_the_order_of_their_keys() -> None:
    cache = ResourceCache(PODS)
    for revision, name in enumerate(["c", "a", "b", "ab"], 1):
        kv = entry_kv(name, revision)
        cache.apply(kv.key, kv, revision)
    prefix = keys.prefix(PODS, "default")
    names = [entry.key.rpartition("/")[2] for entry in cache.select(prefix)]
    assert names == ["a", "ab", "b", "c"]
    assert [entry.key.rpartition("/")[2] for entry in cache.select(prefix, prefix + "ab")] == ["b", "c"]


async def test_a_read_waits_for_what_was_written_before_it(server: Any) -> None:
    """Consistent reads: another apiserver's write is seen by a read that begins after it."""
    key = keys.object_key(PODS, "default", "foreign")
    value = (
        b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"foreign","namespace":"default"},"spec":{},"status":{}}'
    )
    for _ in range(50):
        result = await server.store.txn([], [Put(key, value)])
        entry: Entry = await server.verbs.get(PODS, "default", "foreign")
        assert entry.revision >= result.revision


async def test_a_revision_from_outside_the_prefix_does_not_hold_up_a_read(server: Any) -> None:
    await server.store.txn([], [Put("/elsewhere", b"x")])
    async with asyncio.timeout(2):
        await server.cache.fresh()


async def test_nor_does_it_when_nothing_under_the_prefix_has_changed_since_the_start() -> None:
    store = MemoryStore()
    cache = Cache(store)
    tasks = [asyncio.create_task(cache.run()), asyncio.create_task(cache.progress())]
    await cache.ready.wait()
    await store.txn([], [Put("/elsewhere", b"x")])
    async with asyncio.timeout(2):
        await cache.fresh()
    for task in tasks:
        task.cancel()
    await store.close()


async def test_a_compacted_store_is_listed_again() -> None:
    store = MemoryStore()
    cache = Cache(store)
    running = asyncio.create_task(cache.run())
    await cache.ready.wait()
    running.cancel()
    kv = entry_kv("a", 0)
    for _ in range(5):
        await store.txn([], [Put(kv.key, kv.value)])
    await store.compact(await store.revision())
    running = asyncio.create_task(cache.run())
    async with asyncio.timeout(5):
        await cache.fresh()
    assert cache.entry(PODS, kv.key) is not None
    running.cancel()
    await store.close()


async def test_what_is_no_object_of_ours_stops_nobody_and_is_not_served() -> None:
    store, key = MemoryStore(), "/registry/pods/default/b"
    await store.txn([], [Put("/registry/pods/default/a", b"k8s\0 in protobuf")])
    await store.txn([], [Put(key, entry_kv("b", 0).value)])
    cache = Cache(store)
    following = asyncio.create_task(cache.run())
    await asyncio.wait([following, asyncio.create_task(cache.ready.wait())], return_when=asyncio.FIRST_COMPLETED)
    assert [*cache.of(PODS).entries] == [key]
    watching = Watching(await watch(cache, PODS, resource_version="3", bookmarks=True, stopping=asyncio.Event()))
    await store.txn([], [Put(key, b"nor is this")])
    assert await watching.seen(1) == [("DELETED", "b")]
    assert not cache.of(PODS).entries
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


async def test_a_cache_that_is_not_filled_yet_is_not_shown_as_an_empty_cluster() -> None:
    cache = Cache(MemoryStore())
    with pytest.raises(errors.ServiceUnavailable, match="initializing"):
        await watch(cache, PODS, resource_version="0", send_initial_events=True, stopping=asyncio.Event())


META_V1 = "g=meta.k8s.io;v=v1"


async def watched(http: httpx.AsyncClient, view: str) -> list[dict[str, Any]]:
    """The initial events of a watch, and its bookmarks, in a view."""
    query = "watch=1&sendInitialEvents=1&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1&timeoutSeconds=-1"
    accept = {"accept": f"application/json;as={view};{META_V1}"}
    answer = await http.get(f"/api/v1/namespaces/default/pods?{query}", headers=accept)
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_who_watches_metadata_can_read_the_bookmarks(server: Any, http: httpx.AsyncClient) -> None:
    await create(server, "a")
    events = await watched(http, "PartialObjectMetadata")
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK", "BOOKMARK"]
    for event in events:
        kind = event["object"]["kind"], event["object"]["apiVersion"]
        assert kind == ("PartialObjectMetadata", "meta.k8s.io/v1")
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_only_the_first_table_of_a_watch_names_the_columns(server: Any, http: httpx.AsyncClient) -> None:
    for name in "ab":
        await create(server, name)
    events = await watched(http, "Table")
    assert [event["type"] for event in events] == ["ADDED", "ADDED", "BOOKMARK", "BOOKMARK"]
    assert {event["object"]["kind"] for event in events} == {"Table"}
    assert [bool(event["object"]["columnDefinitions"]) for event in events] == [True, False, False, False]
    assert [event["object"]["rows"][0]["cells"][0] for event in events[:2]] == ["a", "b"]
    revision = str(await server.cache.fresh())
    assert events[2]["object"]["metadata"]["resourceVersion"] == revision
    assert (await watched(http, "Table"))[0]["object"]["columnDefinitions"], "each watch has its own first one"


async def test_a_server_that_knows_nothing_yet_says_of_no_version_that_it_is_too_large() -> None:
    """Or all clients of one that takes long to start would list again."""
    cache = Cache(MemoryStore())
    with pytest.raises(errors.ServiceUnavailable, match="initializing"):
        await cache.reach(7, timeout=0.01)
    cache.revision = 3
    with pytest.raises(errors.Timeout, match="Too large resource version: 7, current: 3"):
        await cache.reach(7, timeout=0.01)


async def test_a_timeout_of_nothing_is_none(server: Any) -> None:
    """ "timeout == 0 && minRequestTimeout > 0": the default (handlers/get.go)"""
    target = parse_path("/api/v1/namespaces/default/pods")
    assert target is not None
    request = Request("GET", "", target, Query(b"watch=1&timeoutSeconds=0"), {})
    response = await server.handlers.handle(request)
    watching = Watching(response.stream)
    await create(server, "a")
    assert await watching.seen(1) == [("ADDED", "a")]
    await create(server, "b")
    assert await watching.seen(1) == [("ADDED", "b")]


async def test_nothing_but_a_watch_is_let_in_as_one(server: Any) -> None:
    app = Api(server.handlers, Discovery(), max_in_flight=0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://kube") as http:
        answer = await http.post("/api/v1/namespaces/default/pods?watch=1", json={})
        assert answer.status_code == 429
        answer = await http.get("/api/v1/namespaces/default/pods?watch=1&timeoutSeconds=-1")
        assert answer.status_code == 200
