"""Pods that are deleted and made up for, all the time, so that scheduler and controller manager always have to act."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.e2e.api import Api, Refused, container, controller, is_ready
from tests.e2e.waiting import eventually


class Churn:
    """Deletes a pod of a controller's again and again. What fails meanwhile is tried again."""

    REPLICAS = 2
    EVERY = 1.5
    """Seconds between deletions."""

    def __init__(self, server: str, namespace: str) -> None:
        self._api = Api(server, namespace)
        self._stop = threading.Event()
        self.deleted: set[str] = set()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within it pods come and go; before and after, there are exactly as many as are wanted, all Ready."""
        self._api.create(
            "replicationcontrollers", controller("churn", self.REPLICAS, container(), terminationGracePeriodSeconds=1)
        )
        self._api.wait_pods("app=churn", self.REPLICAS)
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            self._api.close()

    def goes_on(self, seconds: float) -> None:
        """Wait until one more pod was deleted, and one is Ready in its place that was not there before. Asserts."""
        there, deleted = self._names(), len(self.deleted)
        eventually(lambda: len(self.deleted) > deleted, "a pod of the churn is deleted", seconds)
        eventually(lambda: self._names() - there, "another takes its place", seconds)

    def _names(self) -> set[str]:
        return {pod["metadata"]["name"] for pod in self._api.pods("app=churn") if is_ready(pod)}

    def _run(self) -> None:
        api = Api(self._api.server, self._api.namespace)
        while not self._stop.wait(self.EVERY):
            try:
                ready = sorted(pod["metadata"]["name"] for pod in api.pods("app=churn") if is_ready(pod))
                if ready:
                    api.delete("pods", ready[0])
                    self.deleted.add(ready[0])
            except (httpx.HTTPError, Refused):
                continue
        api.close()
