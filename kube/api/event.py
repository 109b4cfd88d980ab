"""core/v1: Event."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator

from kube.api.meta import AlwaysStr, MicroTime, Model, Object, always
from kube.api.references import ObjectReference
from kube.api.scalars import Int32, NullableTime, Present, null_time

NullableMicroTime = Annotated[MicroTime | None, BeforeValidator(lambda v: None if v == "" else v)]


class EventSource(Model):
    """Who reported an event."""

    component: str = ""
    """Name of the daemon."""
    host: str = ""
    """Node it runs on."""


class EventSeries(Model):
    """How an event goes on."""

    count: Int32 = 0
    """How often it happened."""
    lastObservedTime: NullableMicroTime = null_time()
    """When it last happened."""


class Event(Object):
    """Something that happened to an object."""

    kind: ClassVar[str] = "Event"

    involvedObject: Present[ObjectReference] = always()
    """The object it happened to."""
    reason: str = ""
    """What happened, as one word."""
    message: str = ""
    """What happened, in words."""
    source: Present[EventSource] = always()
    """Who reported it."""
    firstTimestamp: NullableTime = null_time()
    """When it first happened."""
    lastTimestamp: NullableTime = null_time()
    """When it last happened."""
    count: Int32 = 0
    """How often it happened."""
    type: str = ""
    """`Normal` or `Warning`."""
    eventTime: NullableMicroTime = null_time()
    """When it first happened, in the newer form of events."""
    series: EventSeries | None = None
    """How it goes on, in the newer form."""
    action: str = ""
    """What was done or failed, in the newer form."""
    related: ObjectReference | None = None
    """Another object that has to do with it."""
    reportingComponent: AlwaysStr = always()
    """Who reported it, in the newer form."""
    reportingInstance: AlwaysStr = always()
    """Which instance of it, in the newer form."""
