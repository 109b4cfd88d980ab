"""Periodic compaction: etcd keeps every revision until it is told to forget, so somebody has to tell it.

Every apiserver does, every interval, and with the key `compact_rev_key` as a clock only one of them succeeds, as in
Kubernetes (apiserver/pkg/storage/etcd3/compact.go), whose apiservers may take part: whoever finds the key as it left it
writes the revision that was current an interval ago and compacts up to it; whoever finds it changed learns from that
when the last compaction was, and tries again an interval later. So history is kept for one interval at least, and for
two when the one who compacted has died. (Upstream compares the key's version where we compare its mod_revision.)
"""

from __future__ import annotations

import asyncio
import logging

from kube.store.store import Compare, Put, Store, Unavailable

log = logging.getLogger(__name__)

KEY = "compact_rev_key"


class Compactor:
    """One of those who take turns to compact a store."""

    def __init__(self, store: Store, interval: float) -> None:
        self._store = store
        self._interval = interval
        self._time = 0
        """The key's revision as we know it: the compact time."""
        self._revision = 0
        """The store's revision when we last looked: what a compaction now may go up to."""

    async def run(self) -> None:
        """Compact every interval, for ever; with an interval of 0, never."""
        while self._interval:
            await asyncio.sleep(self._interval)
            try:
                await self.compact()
            except Unavailable as error:
                log.warning("compaction failed, trying again in %g s: %s", self._interval, error)

    async def compact(self) -> int:
        """One turn: returns the revision that was compacted up to; 0 if it was another's turn, or the first."""
        mark = Put(KEY, str(self._revision).encode())
        result = await self._store.txn([Compare(KEY, self._time)], [mark])
        before, self._revision = self._revision, result.revision
        if not result.succeeded:
            present = result.current.get(KEY)
            self._time = present.revision if present else 0
            return 0
        self._time = result.revision
        if before:
            await self._store.compact(before)
            log.debug("compacted", extra={"revision": before})
        return before
