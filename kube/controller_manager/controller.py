"""What every controller is: a name, a queue of keys, and a `reconcile` that makes the world fit one key.

A controller's handlers only say which keys to look at; what has happened does not matter, only what is. `reconcile`
may be called at any time, for any key, also for one that no longer exists; it never runs twice at once for one key.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from kube.client.workqueue import WorkQueue, work


class Controller(ABC):
    """A loop of the controller manager."""

    def __init__(self, name: str, workers: int = 1) -> None:
        self.name = name
        self.workers = workers
        self.queue = WorkQueue(name)

    @abstractmethod
    async def reconcile(self, key: str) -> float | None:
        """Make the world fit one key. Raises to be called again, later each time; returns seconds to be called then."""

    async def run(self) -> None:
        """Work until cancelled. The informers must have synced before."""
        await work(self.queue, self.reconcile, workers=self.workers, name=self.name)
