"""From services and endpoints to a node that serves them: the loop, which is the same in every mode.

News of a service or its endpoints reaches the mode at once, in the informer's own turn; what has to be written to the
kernel follows in `sync`, which is level-triggered: it compares all that is wanted with all that is there. Changes that
come while one sync runs, or within `min_sync_period`, are gathered for the next.

The informers keep what they know when the apiserver or etcd dies, and so does the proxy.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime
from typing import Protocol

from kube.client.informer import Informer
from kube.proxy import lean, metrics
from kube.proxy.iptables import IptablesFailed
from kube.proxy.state import Services

log = logging.getLogger(__name__)

RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0)
"""How long to wait after the first, second, ... failure in a row to write the rules."""


class Mode(Protocol):
    """How traffic gets to the backends."""

    services: Services

    def update(self, key: str) -> None:
        """The service or the endpoints of this key changed."""

    def zones_changed(self) -> None:
        """A node is in another zone than it was."""

    async def sync(self, *, resync: bool) -> None:
        """Make the node as wanted. `resync`: whatever it was before may not be so any more. Raises IptablesFailed."""

    def close(self) -> None:
        """The proxy ends. Its rules stay."""


class Proxier:
    """Serves the services of the cluster on this node."""

    def __init__(
        self,
        mode: Mode,
        services: Informer[lean.Service],
        endpoints: Informer[lean.Endpoints],
        *,
        sync_period: float = 30.0,
        min_sync_period: float = 0.1,
    ) -> None:
        self._informers = (services, endpoints)
        self._mode = mode
        self._sync_period = sync_period
        self._min_sync_period = min_sync_period
        self._wake = asyncio.Event()
        self._triggers: list[datetime] = []
        self._failure = "the rules have not been written yet"
        self._synced_at: float | None = None
        services.on_change(self._service_changed)
        endpoints.on_change(self._endpoints_changed)

    async def run(self) -> None:
        """Keep the node as wanted until cancelled. The rules stay when it ends."""
        loop = asyncio.get_running_loop()
        for informer in self._informers:
            await informer.synced()
        failures, resync_at = 0, loop.time()
        try:
            while True:
                started = loop.time()
                self._wake.clear()
                resync = failures > 0 or started >= resync_at
                try:
                    await self._sync(resync)
                except IptablesFailed as failure:
                    pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                    failures += 1
                    self._failure = str(failure)
                    log.warning("cannot write the rules, trying again in %g s: %s", pause, failure)
                    await asyncio.sleep(pause)
                    continue
                failures, self._failure, self._synced_at = 0, "", loop.time()
                if resync:
                    resync_at = started + self._sync_period
                await asyncio.sleep(self._min_sync_period)
                await _wait(self._wake, resync_at - loop.time())
        finally:
            self._mode.close()

    def zones_changed(self) -> None:
        """A node is in another zone than it was: look again at the services that care."""
        self._mode.zones_changed()
        self._wake.set()

    def check(self) -> None:
        """Raises if the rules have not been written for two sync periods."""
        now = asyncio.get_running_loop().time()
        if self._synced_at is None or now - self._synced_at > 2 * self._sync_period:
            raise RuntimeError(self._failure or "no sync of the rules has ended")

    @property
    def healthy(self) -> bool:
        """Whether `check` would not raise."""
        try:
            self.check()
        except RuntimeError:
            return False
        return True

    def _service_changed(self, old: lean.Service | None, new: lean.Service | None) -> None:
        metrics.SERVICE_CHANGES.inc()
        metrics.SERVICES_PENDING.inc()
        self._changed(new or old)

    def _endpoints_changed(self, old: lean.Endpoints | None, new: lean.Endpoints | None) -> None:
        metrics.ENDPOINTS_CHANGES.inc()
        metrics.ENDPOINTS_PENDING.inc()
        self._changed(new or old)
        if new is not None and self._synced_at is not None:
            self._triggers += _moment(new.metadata.annotations.get(lean.LAST_CHANGE, ""))

    def _changed(self, changed: lean.Service | lean.Endpoints | None) -> None:
        assert changed is not None
        self._mode.update(changed.key)
        metrics.LAST_QUEUED.set_to_current_time()
        self._wake.set()

    async def _sync(self, resync: bool) -> None:
        kind = metrics.FULL_SYNC_SECONDS if resync else metrics.PARTIAL_SYNC_SECONDS
        with metrics.SYNC_SECONDS.time(), kind.time():
            metrics.SERVICES_PENDING.set(0)
            metrics.ENDPOINTS_PENDING.set(0)
            triggers, self._triggers = self._triggers, []
            await self._mode.sync(resync=resync)
        metrics.LAST_SYNC.set_to_current_time()
        for trigger in triggers:
            metrics.NETWORK_PROGRAMMING_SECONDS.observe(max(0.0, time.time() - trigger.timestamp()))


async def _wait(event: asyncio.Event, timeout: float) -> None:
    """Until the event is set, or that many seconds have passed."""
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        pass


def _moment(text: str) -> list[datetime]:
    try:
        return [datetime.fromisoformat(text)] if text else []
    except ValueError:
        return []
