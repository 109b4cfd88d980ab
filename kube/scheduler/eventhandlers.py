"""What every change of the cluster means to the cache and to the queue.

A pod that is bound, by whomever, counts on its node; one that has ended or is gone does not. A pod without a node that
names this scheduler waits for one. Anything that makes room wakes the pods that it can help.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from kube.api.core import Node, Pod, ReplicationController, Service
from kube.client.informer import Informer, Informers
from kube.scheduler.changes import ClusterChange, node_changes
from kube.scheduler.nodeinfo import Cache, Selectors
from kube.scheduler.queue import SchedulingQueue
from kube.scheduler.scores import matching_selectors

DEFAULT_SCHEDULER = "default-scheduler"


def ended(pod: Pod) -> bool:
    """Whether the pod uses nothing any more."""
    return pod.status.phase in ("Succeeded", "Failed")


class EventHandlers:
    """Keeps a cache and a queue up to date."""

    def __init__(self, cache: Cache, queue: SchedulingQueue, scheduler_name: str = DEFAULT_SCHEDULER) -> None:
        self._cache, self._queue, self._name = cache, queue, scheduler_name

    def watch(self, informers: Informers) -> None:
        """Handle what the informers see, from their first list on."""
        informers.of(Pod).on_change(self.pod_changed)
        informers.of(Node).on_change(self.node_changed)

    def node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None
            self._cache.remove_node(old.name)
            return
        self._cache.set_node(new)
        if changes := node_changes(old, new):
            self._queue.happened(changes)

    def pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._gone(old)
        if new is None:
            return
        if ended(new):
            self._gone(new)
        elif new.spec.nodeName:
            self._queue.remove(new.key)
            before = self._cache.node_of(new.key)
            self._cache.set_pod(new)
            if before not in (None, new.spec.nodeName):
                self._queue.happened(ClusterChange.POD_REMOVED)
        elif new.metadata.deletionTimestamp is not None or new.spec.schedulingGates:
            self._gone(new)
        elif (new.spec.schedulerName or DEFAULT_SCHEDULER) == self._name:
            self._queue.add(new)

    def _gone(self, pod: Pod) -> None:
        self._queue.remove(pod.key)
        if self._cache.remove_pod(pod.key):
            self._queue.happened(ClusterChange.POD_REMOVED)


class SpreadSelectors:
    """The selectors of the services and replication controllers that a pod belongs to."""

    def __init__(self, informers: Informers) -> None:
        self._services = informers.of(Service)
        self._controllers = informers.of(ReplicationController)
        self._services.add_index(BY_LABEL, lambda s: _first_label(s.namespace, s.spec.selector))
        self._controllers.add_index(BY_LABEL, lambda rc: _first_label(rc.namespace, rc.spec.selector))

    def of(self, pod: Pod) -> Selectors:
        keys = [_label_key(pod.namespace, *label) for label in pod.metadata.labels.items()]
        return matching_selectors(
            pod,
            [service.spec.selector for service in _indexed(self._services, keys)]
            + [controller.spec.selector for controller in _indexed(self._controllers, keys)],
        )


BY_LABEL = "spread selector"


def _label_key(namespace: str, key: str, value: str) -> str:
    return f"{namespace}/{key}={value}"


def _first_label(namespace: str, selector: dict[str, str]) -> Iterable[str]:
    """One of the labels that a selector asks for: enough to find all selectors that may match a pod by its labels."""
    return [_label_key(namespace, *min(selector.items()))] if selector else []


Selecting = TypeVar("Selecting", Service, ReplicationController)


def _indexed(informer: Informer[Selecting], keys: list[str]) -> list[Selecting]:
    return [found for key in keys for found in informer.indexed(BY_LABEL, key)]
