"""The pods that wait for a node: ready to be tried, backing off, or parked until something happens that can help.

A pod that does not fit is put aside and never blocks the one behind it. It is tried again when the cluster changes in
a way that one of the filters that refused it named, and in any case after five minutes; but not before its back-off is
over: 1 s after the first failure, doubled by each further one, at most 10 s. The next pod is the one of highest
priority, and among equals the one that has waited longest.

Parked pods that ask the same lie together: what happens to one node is held against them once, and not pod by pod.

As upstream's PriorityQueue (pkg/scheduler/backend/queue): podInitialBackoff, podMaxBackoff, and five minutes for
podMaxInUnschedulablePodsDuration.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from enum import Enum

from kube.api.core import Pod
from kube.scheduler.changes import ClusterChange
from kube.scheduler.podinfo import PodClass, class_of


class State(Enum):
    """Where a waiting pod is."""

    ACTIVE = "active"
    BACKOFF = "backoff"
    UNSCHEDULABLE = "unschedulable"
    IN_FLIGHT = "in flight"


@dataclass(frozen=True, slots=True)
class Lot:
    """What parked pods that wait for the same have in common."""

    cls: PodClass
    helped_by: ClusterChange
    alike: Hashable | None
    """Set if what happens to a node can only make a difference on that node: what those share whom it answers alike."""


@dataclass(slots=True, eq=False)
class Entry:
    """A pod in the queue."""

    pod: Pod
    state: State
    since: float
    """When it was first queued: its age among pods of its priority."""
    attempts: int = 0
    not_before: float = 0.0
    """When its back-off is over."""
    lot: Lot | None = None
    turn: int = 0
    """Raised whenever the state changes, so that what a heap still holds of the old one is known to be void."""


class SchedulingQueue:
    """Pods waiting for a node, each of them once. Times are the event loop's."""

    def __init__(self, initial: float = 1.0, maximum: float = 10.0, longest_wait: float = 300.0) -> None:
        self._initial, self._maximum, self._longest_wait = initial, maximum, longest_wait
        self._entries: dict[str, Entry] = {}
        self._active: list[tuple[int, float, int, int, Entry]] = []
        self._timers: list[tuple[float, int, int, Entry]] = []
        self._parked: dict[Lot, dict[str, Entry]] = {}
        self._wake = asyncio.Event()
        self._serial = 0
        self.worth_a_try: Callable[[Pod, str, ClusterChange], bool] = lambda pod, node, awaited: True
        """Whether a pod that only filters of one node have refused, and that waits for those changes, is to be tried
        again now that something has happened to a node."""
        self.nominated: Callable[[str], Iterable[str]] = lambda node: ()
        """The keys of the pods that room is being made for on a node."""

    def add(self, pod: Pod) -> None:
        """A pod that needs a node: new to the queue, or changed.

        A change of what was asked for (anything but the status) brings back a pod that was put aside.
        """
        entry = self._entries.get(pod.key)
        if entry is not None and entry.pod.metadata.uid == pod.metadata.uid:
            before, entry.pod = entry.pod, pod
            if entry.state is State.UNSCHEDULABLE and _asks(before) != _asks(pod):
                self._wake_up(entry)
            return
        self.remove(pod.key)
        entry = self._entries[pod.key] = Entry(pod, State.ACTIVE, self._now())
        self._activate(entry)

    def remove(self, key: str) -> None:
        """The pod needs no node any more."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._move(entry, State.IN_FLIGHT)

    async def pop(self) -> Pod:
        """The next pod to try; waits for one. It is then in flight: remove it, park it or retry it."""
        while True:
            self._fire_timers()
            while self._active:
                *_, turn, entry = heapq.heappop(self._active)
                if entry.turn == turn:
                    self._move(entry, State.IN_FLIGHT)
                    entry.attempts += 1
                    return entry.pod
            self._wake.clear()
            wait = self._timers[0][0] - self._now() if self._timers else None
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def park(self, pod: Pod, helped_by: ClusterChange, *, alike: Hashable | None = None) -> None:
        """Nothing could take the pod: put it aside until something happens that can help it.

        `alike`: it was refused only by filters that look at one node alone, and that answer pods alike of which this is
        the same.
        """
        entry = self._flying(pod)
        if entry is None:
            return
        self._back_off(entry)
        helped_by |= ClusterChange.NODE_ADDED
        self._move(entry, State.UNSCHEDULABLE)
        entry.lot = Lot(class_of(entry.pod), helped_by, alike)
        self._parked.setdefault(entry.lot, {})[pod.key] = entry
        self._timer(entry, self._now() + self._longest_wait)

    def retry(self, pod: Pod, *, at_once: bool = False) -> None:
        """The attempt failed for a reason that lies outside the pod: try it again, after its back-off or at once."""
        entry = self._flying(pod)
        if entry is None:
            return
        if at_once:
            self._activate(entry)
            return
        self._back_off(entry)
        self._move(entry, State.BACKOFF)
        self._timer(entry, entry.not_before)

    def wake(self, pod: Pod) -> None:
        """Try a pod that was put aside again, after its back-off."""
        entry = self._entries.get(pod.key)
        if entry is not None and entry.state is State.UNSCHEDULABLE and entry.pod.metadata.uid == pod.metadata.uid:
            self._wake_up(entry)

    def happened(self, change: ClusterChange, node: str = "") -> None:
        """Bring back the parked pods that this change can help; `node`: where it happened."""
        for lot in [lot for lot in self._parked if lot.helped_by & change]:
            entries = [*self._parked[lot].values()]
            if not node or lot.alike is None or self.worth_a_try(entries[0].pod, node, lot.helped_by):
                for entry in entries:
                    self._wake_up(entry)
        # Room that is kept for a pod is there for it alone, not for others that ask the same. And it waits for that
        # node: when it can go there no more, whatever the reason, it has to look for another.
        for kept in [self._entries[key] for key in self.nominated(node) if key in self._entries]:
            if kept.lot is not None and self.worth_a_try(kept.pod, node, kept.lot.helped_by):
                self._wake_up(kept)

    def attempts(self, key: str) -> int:
        """How often the pod has been tried."""
        entry = self._entries.get(key)
        return entry.attempts if entry else 0

    def count(self, state: State) -> int:
        """How many pods are in a state."""
        return Counter(entry.state for entry in self._entries.values())[state]

    def state(self, key: str) -> State | None:
        """Where a pod is; None if it is not in the queue."""
        entry = self._entries.get(key)
        return entry.state if entry else None

    def pod(self, key: str) -> Pod | None:
        """A pod that is in the queue."""
        entry = self._entries.get(key)
        return entry.pod if entry else None

    def __len__(self) -> int:
        return len(self._entries)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _flying(self, pod: Pod) -> Entry | None:
        """The entry of this very pod, if it is still ours to put back: it may have been deleted or replaced."""
        entry = self._entries.get(pod.key)
        if entry is None or entry.state is not State.IN_FLIGHT or entry.pod.metadata.uid != pod.metadata.uid:
            return None
        return entry

    def _back_off(self, entry: Entry) -> None:
        # 2**60 s is beyond any maximum, and the exponent must not grow with the years.
        exponent = min(max(entry.attempts - 1, 0), 60)
        entry.not_before = self._now() + min(self._initial * 2**exponent, self._maximum)

    def _wake_up(self, entry: Entry) -> None:
        if entry.not_before > self._now():
            self._move(entry, State.BACKOFF)
            self._timer(entry, entry.not_before)
        else:
            self._activate(entry)

    def _activate(self, entry: Entry) -> None:
        self._move(entry, State.ACTIVE)
        self._serial += 1
        priority = entry.pod.spec.priority or 0
        heapq.heappush(self._active, (-priority, entry.since, self._serial, entry.turn, entry))
        self._wake.set()

    def _move(self, entry: Entry, state: State) -> None:
        if entry.lot is not None:
            entries = self._parked[entry.lot]
            del entries[entry.pod.key]
            if not entries:
                del self._parked[entry.lot]
            entry.lot = None
        entry.state = state
        entry.turn += 1

    def _timer(self, entry: Entry, when: float) -> None:
        self._serial += 1
        heapq.heappush(self._timers, (when, self._serial, entry.turn, entry))
        self._wake.set()

    def _fire_timers(self) -> None:
        while self._timers and (self._timers[0][3].turn != self._timers[0][2] or self._timers[0][0] <= self._now()):
            _, _, turn, entry = heapq.heappop(self._timers)
            if entry.turn == turn:
                self._activate(entry)


def _asks(pod: Pod) -> object:
    """What of a pod decides where it fits."""
    return pod.spec, pod.metadata.labels, pod.metadata.annotations
