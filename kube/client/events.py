"""Events: what a daemon tells about an object, for `kubectl describe` to show.

As Kubernetes does it (client-go, tools/record): an event that happened before (same object, reason, message, type and
source) raises the count of the one that is stored; events of one object that differ only in their message are, after
ten in ten minutes, combined into one; and an object has 25 events and then one every five minutes. What `event()` is
told waits in a bounded queue and is written in the background, 50 a second after a burst of 100 (the rate of upstream's
clients, of which a process is one): telling never blocks, never raises, and is no promise, and what is told does not
slow down what is done.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

from kube.api import errors
from kube.api.core import Event, EventSource, ObjectReference
from kube.api.meta import Object, ObjectMeta, Time, now
from kube.client.rest import Client

log = logging.getLogger(__name__)

EventKind = Literal["Normal", "Warning"]

QUEUE = 1000
"""Events that may wait to be written."""
QPS, QPS_BURST = 50, 100
"""Events that are written a second, and so many at once after a silence (kubelet's --event-qps, --event-burst)."""
REMEMBERED = 4096
"""Objects and events that the correlator keeps in mind."""
SIMILAR, SIMILAR_SECONDS = 10, 600.0
"""So many events that differ in their message only, each within this time of the last, are combined from then on."""
BURST, REFILL_SECONDS = 25, 300.0
"""Events that one object may have at once from one source, and after how long it may have another."""
SHORTEST_WAIT, LONGEST_WAIT = 0.5, 10.0
"""Seconds between tries to write an event while the apiserver cannot be reached: doubled from the one to the other."""

LONGEST_MESSAGE = 1024
"""Characters of a message that are kept, as many as the newer form of events allows."""

K = TypeVar("K")
V = TypeVar("V")


def _about(obj: Object | ObjectReference) -> tuple[str, str, str, str, str, str, str]:
    """What a reference to an object says, in the order of `_event`."""
    if isinstance(obj, ObjectReference):
        return obj.kind, obj.apiVersion, obj.namespace, obj.name, obj.uid, obj.resourceVersion, obj.fieldPath
    meta = obj.metadata
    return obj.kind, obj.apiVersion, meta.namespace, meta.name, meta.uid, meta.resourceVersion, ""


class _Recent(Generic[K, V]):
    """A mapping that remembers what was used last."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        if key not in self._entries:
            self._entries[key] = make()
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        return self._entries[key]

    def forget(self, key: K) -> None:
        self._entries.pop(key, None)


@dataclass(slots=True)
class _Similar:
    """Events of an object that differ in their message only."""

    messages: set[str]
    last: float


@dataclass(slots=True)
class _Bucket:
    """Tokens that events are paid with."""

    tokens: float
    filled: float

    def fill(self, at: float, rate: float, most: float) -> float:
        """The tokens that there are now."""
        self.tokens = min(most, self.tokens + (at - self.filled) * rate)
        self.filled = at
        return self.tokens


@dataclass(slots=True)
class _Known:
    """An event that was written."""

    name: str = ""
    first: Time | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class Correlated:
    """What to write: a new event, or a higher count of one that is there."""

    event: Event
    is_new: bool
    key: tuple[str, ...]


class Correlator:
    """Decides what becomes of an event. No I/O; times are in seconds of any clock that goes forward."""

    def __init__(self) -> None:
        self._similar: _Recent[tuple[str, ...], _Similar] = _Recent(REMEMBERED)
        self._buckets: _Recent[tuple[str, ...], _Bucket] = _Recent(REMEMBERED)
        self._known: _Recent[tuple[str, ...], _Known] = _Recent(REMEMBERED)
        self._last_name = 0

    def correlate(self, event: Event, at: float) -> Correlated | None:
        """What to write for an event; None if its object has had too many."""
        about, source = event.involvedObject, event.source
        of_object = (
            source.component, source.host,
            about.kind, about.namespace, about.name, about.uid, about.apiVersion,
        )  # fmt: skip
        what = (*of_object, event.type, event.reason, event.reportingComponent, event.reportingInstance)
        # A pod has one measure for all its containers, each of which has events of its own.
        key: tuple[str, ...] = (*what, about.fieldPath, event.message)
        if self._is_one_of_many(what, event.message, at):
            event.message = f"(combined from similar events): {event.message}"
            key = what
        known = self._known.get(key, _Known)
        is_new = not known.count
        if is_new:
            known.name, known.first = self._name(about.name), event.firstTimestamp
        known.count += 1
        if not self._pay(of_object, at):
            return None
        event.metadata.name, event.firstTimestamp, event.count = known.name, known.first, known.count
        return Correlated(event, is_new, key)

    def forget(self, key: tuple[str, ...]) -> None:
        """The event is no longer stored: the next such one is new."""
        self._known.forget(key)

    def _is_one_of_many(self, what: tuple[str, ...], message: str, at: float) -> bool:
        similar = self._similar.get(what, lambda: _Similar(set(), at))
        if at - similar.last > SIMILAR_SECONDS:
            similar.messages.clear()
        similar.last = at
        similar.messages.add(message)
        if len(similar.messages) < SIMILAR:
            return False
        similar.messages.remove(message)
        return True

    def _pay(self, of_object: tuple[str, ...], at: float) -> bool:
        bucket = self._buckets.get(of_object, lambda: _Bucket(float(BURST), at))
        if bucket.fill(at, 1 / REFILL_SECONDS, BURST) < 1:
            return False
        bucket.tokens -= 1
        return True

    def _name(self, of: str) -> str:
        """`<object>.<time in hex>`: unique, as two events are never of one nanosecond here."""
        self._last_name = max(time.time_ns(), self._last_name + 1)
        return f"{of}.{self._last_name:x}"


class _Told(NamedTuple):
    """An event that waits: as little of it as tells it all, for thousands may."""

    about: tuple[str, str, str, str, str, str, str]
    type: EventKind
    reason: str
    message: str
    at: Time
    component: str
    """Empty: that of the recorder."""


class Pace:
    """How fast events are written, by all the recorders that share it."""

    def __init__(self, qps: int = 0, burst: int = 0) -> None:
        """`qps`: events a second, after `burst` at once; 0: as many as by default."""
        self._qps, self._burst = float(qps or QPS), float(burst or QPS_BURST)
        self._bucket: _Bucket | None = None

    async def turn(self) -> None:
        """Wait until the caller may write one."""
        at = asyncio.get_running_loop().time()
        if self._bucket is None:
            self._bucket = _Bucket(self._burst, at)
        # Whoever waits has had its token already, so that turns are taken in the order in which they were asked for.
        left = self._bucket.fill(at, self._qps, self._burst) - 1
        self._bucket.tokens = left
        if left < 0:
            await asyncio.sleep(-left / self._qps)


class EventRecorder:
    """Tells events in the name of one component. `run` writes them."""

    def __init__(
        self, client: Client, component: str, host: str = "", *, most: int | None = None, pace: Pace | None = None
    ) -> None:
        """`most`: events that may wait to be written, further ones are dropped; `pace`: that of its own, if None."""
        self._client = client
        self._pace = pace or Pace()
        own = EventSource(component=component, host=host)
        self._sources = {"": own, component: own}
        self._correlator = Correlator()
        self._queue: deque[_Told] = deque()
        self._most = most or QUEUE
        self._news = asyncio.Event()
        self._dropped = 0

    def event(
        self, obj: Object | ObjectReference, type: EventKind, reason: str, message: str, *, component: str = ""
    ) -> None:
        """Tell that something happened to an object. Never blocks, never raises.

        `component`: in whose name, if not in that of all: a process may act for several.
        """
        if len(self._queue) >= self._most:
            if not self._dropped:
                log.warning("events are dropped: too many wait to be written", extra={"waiting": self._most})
            self._dropped += 1
            return
        try:
            self._queue.append(_Told(_about(obj), type, reason, message[:LONGEST_MESSAGE], now(), component))
        except Exception:  # the promise: what cannot be told is logged, whatever it is
            log.exception("cannot tell an event", extra={"reason": reason})
        else:
            self._news.set()

    def _event(self, told: _Told) -> Event:
        kind, api_version, namespace, name, uid, version, field_path = told.about
        source = self._sources.get(told.component)
        if source is None:
            own = self._sources[""]
            source = self._sources[told.component] = EventSource(component=told.component, host=own.host)
        return Event(
            metadata=ObjectMeta(namespace=namespace or "default"),
            involvedObject=ObjectReference(
                kind=kind,
                apiVersion=api_version,
                namespace=namespace,
                name=name,
                uid=uid,
                resourceVersion=version,
                fieldPath=field_path,
            ),
            reason=told.reason,
            message=told.message,
            source=source,
            firstTimestamp=told.at,
            lastTimestamp=told.at,
            count=1,
            type=told.type,
            reportingComponent=source.component,
            reportingInstance=source.host,
        )

    async def run(self) -> None:
        """Write what is told, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._queue:
                self._news.clear()
                await self._news.wait()
            correlated = self._correlated(self._queue[0], loop.time())
            if correlated is not None:
                await self._pace.turn()
                await self._write_until_answered(correlated)
            self._queue.popleft()
            if self._dropped and len(self._queue) < self._most // 2:
                log.warning("events were dropped", extra={"dropped": self._dropped})
                self._dropped = 0

    def _correlated(self, told: _Told, at: float) -> Correlated | None:
        try:
            return self._correlator.correlate(self._event(told), at)
        except Exception:  # the promise, as above
            log.exception("cannot tell an event", extra={"reason": told.reason})
            return None

    async def _write_until_answered(self, correlated: Correlated) -> None:
        wait = SHORTEST_WAIT
        while True:
            try:
                await self._write(correlated)
                return
            except (errors.ServiceUnavailable, errors.Timeout, errors.TooManyRequests) as error:
                log.debug("cannot write an event, will retry", extra={"after": f"{wait:g}s", "error": error})
            except errors.AlreadyExists:
                return  # by a try whose answer was lost
            except (errors.NotFound, errors.Forbidden) as error:
                # The namespace is gone, or going: so is the object, and nobody will ask.
                log.debug("dropped an event", extra={"event": correlated.event.key, "error": error})
                self._correlator.forget(correlated.key)
                return
            except errors.ApiError as error:
                log.warning("dropped an event", extra={"event": correlated.event.key, "error": error})
                self._correlator.forget(correlated.key)
                return
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _write(self, correlated: Correlated) -> None:
        event = correlated.event
        if not correlated.is_new:
            changes = {key: event.to_dict()[key] for key in ("count", "lastTimestamp", "message")}
            try:
                await self._client.patch(Event, event.name, event.namespace, changes)
                return
            except errors.NotFound:
                pass  # it was an hour ago: it begins anew
        await self._client.send(event)
