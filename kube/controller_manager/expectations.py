"""What a controller has asked for and its cache does not show yet.

The cache lags behind our own writes. A controller that has just made three pods still sees none; looking again, it
would make three more. So it writes down which pods it made or deleted, and does not count again until all of them
have been seen, or five minutes have passed (upstream's ExpectationsTimeout: an event was lost; better late than never).

Upstream counts creations, because the server chooses the names. Here the controller chooses them, and each pod is
waited for by name: a pod seen twice is one pod.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

TIMEOUT = 300.0


@dataclass(slots=True)
class _Expected:
    since: float
    created: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)


class Expectations:
    """For each key (a controller object), the keys of the pods whose creation or deletion is still to be seen."""

    def __init__(self, clock: Callable[[], float], timeout: float = TIMEOUT) -> None:
        """`clock`: seconds, as of the event loop."""
        self._clock, self._timeout = clock, timeout
        self._by_key: dict[str, _Expected] = {}

    def expect_creation(self, key: str, pods: Iterable[str]) -> None:
        """These are about to be created. Say so before the request: the event may overtake the answer."""
        self._renew(key).created.update(pods)

    def expect_deletion(self, key: str, pods: Iterable[str]) -> None:
        """These are about to be deleted."""
        self._renew(key).deleted.update(pods)

    def creation_observed(self, key: str, pod: str) -> None:
        """It was seen, or it will never come."""
        if expected := self._by_key.get(key):
            expected.created.discard(pod)

    def deletion_observed(self, key: str, pod: str) -> None:
        """It was seen to go, or it will stay."""
        if expected := self._by_key.get(key):
            expected.deleted.discard(pod)

    def created(self, key: str) -> list[str]:
        """Those whose creation is still to be seen."""
        expected = self._by_key.get(key)
        return list(expected.created) if expected else []

    def deleted(self, key: str) -> list[str]:
        """Those whose deletion is still to be seen."""
        expected = self._by_key.get(key)
        return list(expected.deleted) if expected else []

    def wait(self, key: str) -> float:
        """Seconds for which the cache is not to be believed, at most; 0 if it shows everything that was asked for."""
        expected = self._by_key.get(key)
        if expected is None or not (expected.created or expected.deleted):
            return 0.0
        return max(0.0, expected.since + self._timeout - self._clock())

    def forget(self, key: str) -> None:
        """The object is gone, or another one took its name."""
        self._by_key.pop(key, None)

    def _renew(self, key: str) -> _Expected:
        now = self._clock()
        expected = self._by_key.get(key)
        if expected is None or not self.wait(key):
            expected = self._by_key[key] = _Expected(now)
        expected.since = now
        return expected
