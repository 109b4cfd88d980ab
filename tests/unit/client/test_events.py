"""What becomes of events; and that telling them never hurts."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from kube.api import errors
from kube.api.core import Event, EventSource, Node, ObjectReference
from kube.api.meta import ObjectMeta, now
from kube.client import events
from kube.client.events import BURST, Correlated, Correlator, EventRecorder, Pace
from kube.client.rest import Client
from tests.memory_api import MemoryApi
from tests.unit.client.apiserver import Asked, FakeApiserver, json, serve
from tests.unit.client.cluster import make_pod

POD = make_pod("web", "shop", uid="u1")


def event(reason: str = "Pulled", message: str = "pulled it", about: str = "web", component: str = "kubelet") -> Event:
    return Event(
        metadata=ObjectMeta(namespace="shop"),
        involvedObject=ObjectReference(kind="Pod", namespace="shop", name=about, uid=f"uid-{about}"),
        reason=reason,
        message=message,
        source=EventSource(component=component),
        firstTimestamp=now(),
        lastTimestamp=now(),
        count=1,
        type="Normal",
    )


class TestCorrelator:
    @staticmethod
    def correlate(correlator: Correlator, what: Event, at: float = 0) -> Correlated:
        result = correlator.correlate(what, at)
        assert result is not None
        return result

    def test_an_event_that_happened_before_raises_the_count(self) -> None:
        correlator = Correlator()
        first = self.correlate(correlator, event())
        again = self.correlate(correlator, event(), 5)
        assert (first.is_new, again.is_new) == (True, False)
        assert (first.event.count, again.event.count) == (1, 2)
        assert first.event.name == again.event.name
        assert first.event.firstTimestamp == again.event.firstTimestamp

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(event(reason="Started"), id="another reason"),
            pytest.param(event(message="pulled another"), id="another message"),
            pytest.param(event(about="db"), id="another object"),
            pytest.param(event(component="scheduler"), id="another source"),
        ],
    )
    def test_an_event_that_differs_is_another(self, other: Event) -> None:
        correlator = Correlator()
        first = self.correlate(correlator, event())
        second = self.correlate(correlator, other)
        assert second.is_new
        assert second.event.name != first.event.name

    def test_its_name_is_the_object_s_and_a_time_in_hex(self) -> None:
        names = [self.correlate(Correlator(), event()).event.name for _ in range(100)]
        assert all(re.fullmatch(r"web\.[0-9a-f]{15,16}", name) for name in names)

    def test_ten_that_differ_in_their_message_only_are_combined_from_then_on(self) -> None:
        correlator = Correlator()
        results = [self.correlate(correlator, event(message=f"try {n}"), n) for n in range(12)]
        assert [result.is_new for result in results] == [True] * 10 + [False] * 2
        assert results[8].event.message == "try 8"
        assert results[11].event.message == "(combined from similar events): try 11"
        assert results[11].event.count == 3

    def test_but_not_if_ten_minutes_have_passed(self) -> None:
        correlator = Correlator()
        for n in range(12):
            self.correlate(correlator, event(message=f"try {n}"), n)
        assert self.correlate(correlator, event(message="later"), 700).event.message == "later"

    def test_an_object_has_25_events_and_then_one_every_five_minutes(self) -> None:
        correlator = Correlator()
        assert all(correlator.correlate(event(), 0) for _ in range(BURST))
        assert correlator.correlate(event(), 1) is None
        assert correlator.correlate(event(about="db"), 1) is not None
        assert correlator.correlate(event(component="scheduler"), 1) is not None
        later = correlator.correlate(event(), 302)
        assert later is not None
        assert later.event.count == BURST + 2
        assert correlator.correlate(event(), 303) is None

    def test_the_containers_of_a_pod_share_what_the_pod_may_have(self) -> None:
        """The keys of the spam filter and of the aggregation have no fieldPath (client-go, events_cache.go)."""
        correlator = Correlator()

        def of_container(n: int, message: str) -> Event:
            made = event(message=message)
            made.involvedObject.fieldPath = f"spec.containers{{c{n}}}"
            return made

        results = [correlator.correlate(of_container(n, f"try {n}"), n) for n in range(12)]
        assert [result is not None and result.event.message for result in results[8:]] == [
            "try 8", "(combined from similar events): try 9", "(combined from similar events): try 10",
            "(combined from similar events): try 11",
        ]  # fmt: skip
        assert all(correlator.correlate(of_container(n, "x"), 20) for n in range(BURST - 12))
        assert correlator.correlate(of_container(99, "x"), 21) is None

    def test_but_the_same_of_two_containers_are_two_events(self) -> None:
        correlator, names = Correlator(), set()
        for container in "ab":
            made = event()
            made.involvedObject.fieldPath = f"spec.containers{{{container}}}"
            names.add(self.correlate(correlator, made).event.name)
        assert len(names) == 2


@asynccontextmanager
async def recording(
    *answers: web.Response, component: str = "kubelet", host: str = "node-1"
) -> AsyncIterator[tuple[EventRecorder, FakeApiserver, Callable[[int], asyncio.Future[list[Asked]]]]]:
    async with serve(*answers) as server, Client(server.url) as client:
        recorder = EventRecorder(client, component, host)
        running = asyncio.ensure_future(recorder.run())

        async def asked(count: int) -> list[Asked]:
            async with asyncio.timeout(10):
                while len(server.asked) < count:
                    await asyncio.sleep(0.001)
            return server.asked

        try:
            yield recorder, server, lambda count: asyncio.ensure_future(asked(count))
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


STORED = json(event().to_json(), 201)


async def test_an_event_is_posted_and_a_repeated_one_patched() -> None:
    async with recording(STORED) as (recorder, _, asked):
        for _ in range(3):
            recorder.event(POD, "Warning", "BackOff", "restarting failed container")
        first, *again = await asked(3)
    assert (first.method, first.path) == ("POST", "/api/v1/namespaces/shop/events")
    about = {"kind": "Pod", "apiVersion": "v1", "namespace": "shop", "name": "web", "uid": "u1"}
    assert first.body["involvedObject"] == about, "the very object"
    assert first.body["source"] == {"component": "kubelet", "host": "node-1"}
    assert first.body["reportingComponent"] == "kubelet"
    assert first.body["type"] == "Warning"
    assert first.body["count"] == 1
    name = first.body["metadata"]["name"]
    for number, patch in enumerate(again, 2):
        assert (patch.method, patch.path) == ("PATCH", f"/api/v1/namespaces/shop/events/{name}")
        assert patch.body["count"] == number
        assert set(patch.body) == {"count", "lastTimestamp", "message"}


async def test_an_event_about_a_cluster_scoped_object_is_in_the_default_namespace() -> None:
    async with recording(STORED) as (recorder, _, asked):
        recorder.event(Node(metadata=ObjectMeta(name="node-1", uid="n")), "Normal", "Starting", "Starting kubelet.")
        [only] = await asked(1)
    assert only.path == "/api/v1/namespaces/default/events"
    assert "namespace" not in only.body["involvedObject"]


async def test_one_that_is_no_longer_stored_is_posted_again_with_its_count() -> None:
    gone = json(errors.not_found("events", "x").to_dict(), 404)
    async with recording(STORED, gone, STORED) as (recorder, _, asked):
        recorder.event(POD, "Normal", "Pulled", "pulled")
        recorder.event(POD, "Normal", "Pulled", "pulled")
        requests = await asked(3)
    assert [request.method for request in requests] == ["POST", "PATCH", "POST"]
    assert requests[2].body["count"] == 2


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(errors.not_found("namespaces", "shop"), id="the namespace is gone"),
        pytest.param(
            errors.forbidden("events", "x", "namespace shop is being terminated"), id="the namespace is going"
        ),
    ],
)
async def test_an_event_of_what_is_deleted_is_dropped_quietly(
    error: errors.ApiError, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kube")
    async with recording(json(error.to_dict(), error.code), STORED) as (recorder, _, asked):
        recorder.event(POD, "Normal", "Killing", "stopping")
        recorder.event(POD, "Normal", "Killed", "stopped")
        await asked(2)
    assert {record.levelname for record in caplog.records} == {"DEBUG"}


async def test_while_the_apiserver_is_away_events_wait_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SHORTEST_WAIT", 0.001)
    async with recording(json({}, 503), json({}, 503), STORED) as (recorder, _, asked):
        recorder.event(POD, "Normal", "First", "1")
        recorder.event(POD, "Normal", "Second", "2")
        requests = await asked(4)
    assert [request.body["reason"] for request in requests] == ["First", "First", "First", "Second"]


async def test_when_too_many_wait_more_are_dropped_and_that_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Client("http://127.0.0.1:9") as client:
        recorder = EventRecorder(client, "kubelet", most=5)
        for number in range(50):
            recorder.event(POD, "Normal", "Pulled", f"{number}")
    assert [record.getMessage() for record in caplog.records] == ["events are dropped: too many wait to be written"]


async def test_telling_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    async with recording(STORED) as (recorder, _, _):
        recorder.event(None, "Normal", "Odd", "x")  # type: ignore[arg-type]  # on purpose
        recorder.event(POD, "Normal", "Odd", 7)  # type: ignore[arg-type]  # on purpose
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


@pytest.mark.looptime
async def test_recorders_that_share_a_pace_are_together_no_faster_and_take_turns() -> None:
    api, pace = MemoryApi(), Pace(qps=10, burst=20)
    recorders = [EventRecorder(api, "kubelet", f"node-{number}", pace=pace) for number in range(4)]
    running = [asyncio.ensure_future(recorder.run()) for recorder in recorders]
    for recorder, number in itertools.product(recorders, range(40)):
        recorder.event(make_pod(f"p{number}"), "Normal", "Pulled", "pulled")
    for seconds, written in ((0.05, 20), (1.0, 30), (3.0, 60), (10.0, 160), (100.0, 160)):
        await asyncio.sleep(seconds)
        assert abs(len(api.writes) - written) <= 4
        told = Counter(event.source.host for event in (await api.list(Event)).items)
        assert max(told.values()) - min(told.values()) <= 1
    for each in running:
        each.cancel()
    await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.looptime
async def test_a_hundred_are_written_at_once_and_then_fifty_a_second() -> None:
    api = MemoryApi()
    recorder = EventRecorder(api, "kubelet")
    running = asyncio.ensure_future(recorder.run())
    for number in range(400):
        recorder.event(make_pod(f"p{number}"), "Normal", "Pulled", "pulled")
    for seconds, written in ((0.1, 100), (1.0, 150), (3.0, 300), (2.0, 400), (100.0, 400)):
        await asyncio.sleep(seconds)
        assert abs(len(api.writes) - written) <= 6
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
