"""events.k8s.io/v1: Event, the newer form. It is another view of core/v1's events: see conversion.py."""

from __future__ import annotations

from typing import ClassVar

from kube.api.event import EventSource, NullableMicroTime
from kube.api.meta import Model, Object, always
from kube.api.references import ObjectReference
from kube.api.scalars import AlwaysInt32, Int32, NullableTime, Present, null_time


class EventSeries(Model):
    """How an event goes on."""

    count: AlwaysInt32 = always()
    """How often it happened."""
    lastObservedTime: NullableMicroTime = null_time()
    """When it last happened."""


class Event(Object):
    """Something that happened to an object."""

    kind: ClassVar[str] = "Event"
    apiVersion: ClassVar[str] = "events.k8s.io/v1"

    eventTime: NullableMicroTime = null_time()
    """When it first happened."""
    series: EventSeries | None = None
    """How it goes on."""
    reportingController: str = ""
    """Who reported it, as `kubernetes.io/kubelet`."""
    reportingInstance: str = ""
    """Which instance of it."""
    action: str = ""
    """What was done or failed."""
    reason: str = ""
    """What happened, as one word."""
    regarding: Present[ObjectReference] = always()
    """The object it happened to."""
    related: ObjectReference | None = None
    """Another object that has to do with it."""
    note: str = ""
    """What happened, in words."""
    type: str = ""
    """`Normal` or `Warning`."""
    deprecatedSource: Present[EventSource] = always()
    """Who reported it, in the older form."""
    deprecatedFirstTimestamp: NullableTime = null_time()
    """When it first happened, in the older form."""
    deprecatedLastTimestamp: NullableTime = null_time()
    """When it last happened, in the older form."""
    deprecatedCount: Int32 = 0
    """How often it happened, in the older form."""
