"""Carries out a plan for EndpointSlices, and knows when the cache does not show yet what was written.

A slice's name is chosen by the server: who looked too early would not find the one it has just made, and make another.
So each write is remembered with its resourceVersion, and the slices of a service are believed when the cache has come
so far (upstream's EndpointSliceTracker); after some seconds they are believed anyway: an event was lost.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

from kube.api import errors
from kube.api.discovery import EndpointSlice
from kube.client.informer import Informer, Informers
from kube.client.rest import Client
from kube.client.watch import revision_of
from kube.controller_manager import trigger_times
from kube.controller_manager.slices import MANAGED_BY, SERVICE_NAME, SlicePlan

log = logging.getLogger(__name__)

BY_SERVICE = "service"
PATIENCE = 5.0
"""Seconds after which a cache is believed that does not show what was written."""


def watch(informers: Informers) -> Informer[EndpointSlice]:
    """The informer of slices, with its index."""
    slices = informers.of(EndpointSlice)
    slices.add_index(BY_SERVICE, lambda s: [f"{s.namespace}/{s.metadata.labels.get(SERVICE_NAME, '')}"])
    return slices


class SliceWriter:
    """Writes the slices of one manager."""

    def __init__(self, client: Client, slices: Informer[EndpointSlice], manager: str) -> None:
        self._client, self._slices, self._manager = client, slices, manager
        self._written: dict[str, dict[str, int]] = {}
        """By service, the slices that were written: the version that the cache is to show, or 0 for those deleted."""
        self._patience: dict[str, float] = {}

    def existing(self, key: str) -> list[EndpointSlice]:
        """The slices of a service that are this manager's and not going away."""
        return [
            each
            for each in self._slices.indexed(BY_SERVICE, key)
            if each.metadata.labels.get(MANAGED_BY) == self._manager and each.metadata.deletionTimestamp is None
        ]

    def wait(self, key: str) -> float:
        """Seconds for which the cache is not to be believed; each change of a slice is a reason to ask again."""
        written = self._written.get(key, {})
        for slice_key, version in [*written.items()]:
            seen = self._slices.get(slice_key)
            if (
                seen is None
                if version == 0
                else seen is not None and revision_of(seen.metadata.resourceVersion) >= version
            ):
                del written[slice_key]
        left = self._patience.get(key, 0.0) - _clock()
        if not written or left <= 0:
            self.forget(key)
            return 0.0
        return left

    def forget(self, key: str) -> None:
        """Nothing is awaited for this service."""
        self._written.pop(key, None)
        self._patience.pop(key, None)

    async def carry_out(self, key: str, todo: SlicePlan, since: datetime | None) -> bool:
        """Write what is planned, stamped with the moment of the change; whether there was something to write."""
        if not (todo.create or todo.update or todo.delete):
            return False
        written = self._written.setdefault(key, {})
        self._patience[key] = _clock() + PATIENCE
        for each in (*todo.create, *todo.update):
            each.metadata.annotations.pop(trigger_times.ANNOTATION, None)
            if since is not None:
                each.metadata.annotations[trigger_times.ANNOTATION] = trigger_times.text(since)
        for each in todo.update:
            self._note(written, await self._client.update(each))
        for each in todo.create:
            try:
                self._note(written, await self._client.create(each))
            except errors.ApiError as why:
                if not errors.namespace_is_ending(why):
                    raise
                # Nothing is lost, and trying again helps nobody.
                log.debug("not written", extra={"service": key, "reason": why})
        for each in todo.delete:
            written[each.key] = 0
            try:
                await self._client.delete(EndpointSlice, each.name, each.namespace, uid=each.metadata.uid)
            except errors.NotFound:
                log.debug("gone already", extra={"slice": each.key})
        counts = {"added": len(todo.create), "changed": len(todo.update), "removed": len(todo.delete)}
        log.info("endpoint slices written", extra={"service": key, **counts})
        return True

    @staticmethod
    def _note(written: dict[str, int], made: EndpointSlice) -> None:
        written[made.key] = revision_of(made.metadata.resourceVersion)


def _clock() -> float:
    return asyncio.get_running_loop().time()
