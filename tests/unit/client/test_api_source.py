"""List and watch over HTTP, at a server that sends what each test says."""

from __future__ import annotations

import asyncio
import contextlib

import orjson
import pytest
from aiohttp import web

from kube.api import errors
from kube.api.core import Pod
from kube.client import rest
from kube.client.informer import Informer
from kube.client.rest import Client
from kube.client.source import ApiSources, WatchEvent
from tests.unit.client.apiserver import FakeApiserver, Respond, json, serve, stream
from tests.unit.client.cluster import cached, make_pod


def event(kind: str, name: str, revision: int) -> bytes:
    """A line as a kube-apiserver writes it."""
    pod = make_pod(name, uid=f"uid-{name}")
    pod.metadata.resourceVersion = str(revision)
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), pod.to_json())


BOOKMARK = (
    b'{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"12746",'
    b'"creationTimestamp":null},"spec":{"containers":null},"status":{}}}\n'
)
EXPIRED = b'{"type":"ERROR","object":%s}\n' % orjson.dumps(errors.expired(5, 100).to_dict())


async def watched(*answers: web.Response | Respond, node: str = "") -> tuple[list[WatchEvent[Pod]], FakeApiserver]:
    found: list[WatchEvent[Pod]] = []
    async with serve(*answers) as server, Client(server.url) as client:
        sources = ApiSources(client)
        source = sources.bound_pods(node) if node else sources.of(Pod)
        async for batch in source.watch(7):
            found += batch
    return found, server


def worded(events: list[WatchEvent[Pod]]) -> list[str]:
    return [f"{e.type} {e.object.name if e.object else ''} {e.revision}" for e in events]


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
async def test_lines_may_be_cut_anywhere(size: int) -> None:
    body = event("ADDED", "a", 8) + event("MODIFIED", "a", 9) + BOOKMARK + event("DELETED", "ä", 12750)
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    found, _ = await watched(stream(*chunks))
    assert worded(found) == ["ADDED a 8", "MODIFIED a 9", "BOOKMARK  12746", "DELETED ä 12750"]


async def test_members_in_another_order_and_blank_lines_are_read_too() -> None:
    line = orjson.loads(event("ADDED", "a", 8))
    other = orjson.dumps({"object": line["object"], "type": "ADDED"})
    found, _ = await watched(stream(b"\n" + other + b"\n\n"))
    assert worded(found) == ["ADDED a 8"]


async def test_a_line_of_a_megabyte_is_read() -> None:
    big = make_pod("big")
    big.metadata.resourceVersion = "8"
    big.metadata.annotations = {"big": "x" * 1_000_000}
    found, _ = await watched(stream(b'{"type":"ADDED","object":%s}\n' % big.to_json()))
    assert worded(found) == ["ADDED big 8"]


async def test_what_the_watch_asks_for() -> None:
    _, server = await watched(stream(), node="node-1")
    query = server.asked[0].query
    assert query["watch"] == "true"
    assert query["resourceVersion"] == "7"
    assert query["allowWatchBookmarks"] == "true"
    assert query["fieldSelector"] == "spec.nodeName=node-1"
    assert rest.WATCH_SECONDS <= int(query["timeoutSeconds"]) <= 2 * rest.WATCH_SECONDS


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(json(errors.expired(5, 100).to_dict(), 410), id="as the answer"),
        pytest.param(stream(event("ADDED", "a", 8), EXPIRED), id="in the stream"),
    ],
)
async def test_too_old_is_expired(answer: web.Response | Respond) -> None:
    with pytest.raises(errors.Expired, match="too old resource version"):
        await watched(answer)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(stream(event("ADDED", "a", 8), cut=True), id="the connection breaks"),
        pytest.param(stream(b"what is this\n"), id="what is sent is no event"),
        pytest.param(json({}, 503), id="the server cannot answer"),
    ],
)
async def test_trouble_is_service_unavailable(answer: web.Response | Respond) -> None:
    with pytest.raises(errors.ServiceUnavailable):
        await watched(answer)


async def test_an_object_that_cannot_be_read_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    bad = b'{"type":"ADDED","object":{"metadata":{"name":"bad","resourceVersion":"8"},"spec":{"containers":7}}}\n'
    found, _ = await watched(stream(bad + event("ADDED", "good", 9)))
    assert worded(found) == ["ADDED good 9"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_silent_watch_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "SILENCE", 0.05)

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(event("ADDED", "a", 8))
        await asyncio.sleep(3600)
        return response

    found, _ = await watched(silent)
    assert worded(found) == ["ADDED a 8"]


async def test_an_informer_lists_watches_resumes_and_lists_again() -> None:
    done = asyncio.Event()

    async def rest_of_it(request: web.Request) -> web.StreamResponse:
        done.set()
        return await stream(EXPIRED)(request)

    async def silence(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    first = {"metadata": {"resourceVersion": "7"}, "items": [orjson.loads(event("", "a", 3))["object"]]}
    second = {"metadata": {"resourceVersion": "20"}, "items": [orjson.loads(event("", "c", 15))["object"]]}
    async with (
        serve(
            json(first),
            stream(event("ADDED", "b", 8), event("DELETED", "a", 9)),
            stream(event("MODIFIED", "b", 10), BOOKMARK),
            rest_of_it,
            json(second),
            silence,
        ) as server,
        Client(server.url) as client,
    ):
        informer = Informer(ApiSources(client).of(Pod))
        changes: list[str] = []
        listed_again = asyncio.Event()

        def told(old: Pod | None, new: Pod | None) -> None:
            changes.append(
                f"{old.metadata.resourceVersion if old else ''}>{new.metadata.resourceVersion if new else ''}"
            )
            if new is not None and new.name == "c":
                listed_again.set()

        informer.on_change(told)
        running = asyncio.ensure_future(informer.run())
        async with asyncio.timeout(10):
            await listed_again.wait()
            while len(server.asked) < 6:
                await asyncio.sleep(0.001)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert changes == [">3", ">8", "3>", "8>10", "10>", ">15"]
    assert cached(informer) == {"default/c": "15"}
    assert [asked.query.get("resourceVersion", "list") for asked in server.asked] == [
        "list",
        "7",
        "9",
        "12746",
        "list",
        "20",
    ]


async def test_an_apiserver_that_has_not_come_so_far_is_listed_again() -> None:
    """Its store was put back to an earlier state: the revision that we have seen may never come."""
    why = "Too large resource version: 7, current: 3"
    causes = [{"reason": "ResourceVersionTooLarge", "message": why}]
    status = errors.Timeout(why, details={"causes": causes, "retryAfterSeconds": 1}).to_dict()
    for answer in (json(status, 504), stream(b'{"type":"ERROR","object":%s}\n' % orjson.dumps(status))):
        with pytest.raises(errors.Expired, match="Too large resource version"):
            await watched(answer)
    with pytest.raises(errors.Timeout):
        await watched(json(errors.Timeout("etcdserver: request timed out").to_dict(), 504))
