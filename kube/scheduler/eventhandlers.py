"""What every change of the cluster means to the cache and to the queue.

A pod that is bound, by whomever, counts on its node; one that has ended or is gone does not. A pod without a node that
names one of our profiles waits for one. Anything that makes room wakes the pods that it can help.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar

from kube.api import resources
from kube.api.core import Namespace, Node, Pod, ReplicationController, Service
from kube.api.meta import Object
from kube.client.informer import Informer, Informers
from kube.scheduler.cache import Cache
from kube.scheduler.changes import ClusterChange, node_changes
from kube.scheduler.podinfo import PodInfo
from kube.scheduler.queue import SchedulingQueue
from kube.scheduler.scores import Selectors, matching_selectors

DEFAULT_SCHEDULER = "default-scheduler"


def ended(pod: Pod) -> bool:
    """Whether the pod uses nothing any more."""
    return pod.status.phase in ("Succeeded", "Failed")


class EventHandlers:
    """Keeps a cache and a queue up to date."""

    def __init__(
        self, cache: Cache, queue: SchedulingQueue, scheduler_names: Collection[str] = (DEFAULT_SCHEDULER,)
    ) -> None:
        self._cache, self._queue, self._names = cache, queue, scheduler_names

    def watch(self, informers: Informers) -> None:
        """Handle what the informers see, from their first list on."""
        informers.of(Namespace).on_change(self.namespace_changed)
        for each in (resources.PERSISTENT_VOLUME_CLAIMS, resources.PERSISTENT_VOLUMES, resources.STORAGE_CLASSES):
            informers.of(each.model).on_change(self.volume_changed)
        informers.of(Pod).on_change(self.pod_changed)
        informers.of(Node).on_change(self.node_changed)

    def node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None
            self._cache.remove_node(old.name)
            # A constraint that counts domains may hold without it.
            self._queue.happened(ClusterChange.NODE_LABELS, old.name)
            return
        self._cache.set_node(new)
        if changes := node_changes(old, new):
            self._queue.happened(changes, new.name)

    def namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        name = (new or old or Namespace()).name
        self._cache.set_namespace(name, new.metadata.labels if new is not None else None)
        # One that is new may have pods already: each kind is watched on its own, in no order among them.
        if new is not None and (old is None or old.metadata.labels != new.metadata.labels):
            self._queue.happened(ClusterChange.NAMESPACE)

    def volume_changed(self, old: Object | None, new: Object | None) -> None:
        self._queue.happened(ClusterChange.VOLUME)

    def pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._gone(old)
        if new is None:
            return
        if ended(new):
            self._gone(new)
        elif new.spec.nodeName:
            self._bound(new)
        elif new.metadata.deletionTimestamp is not None or new.spec.schedulingGates:
            self._gone(new)
        elif (new.spec.schedulerName or DEFAULT_SCHEDULER) in self._names:
            if old is None and new.status.nominatedNodeName:  # by whoever scheduled before us
                self._cache.nominate(new.key, new.status.nominatedNodeName, PodInfo.of(new))
            self._queue.add(new)

    def _bound(self, pod: Pod) -> None:
        self._queue.remove(pod.key)
        before, node = self._cache.pod(pod.key), self._cache.node_of(pod.key)
        confirmed = self._cache.assumed(pod)
        self._cache.set_pod(pod)
        after = self._cache.pod(pod.key)
        assert after is not None
        if before is not None and node != pod.spec.nodeName:
            self._queue.happened(ClusterChange.POD_REMOVED, node or "")
        if before is None or confirmed or node != pod.spec.nodeName:
            self._queue.happened(ClusterChange.POD_ADDED)
        elif before.cls is not after.cls or before.living != after.living:
            # Resized, labelled anew, or asked to go: it counts for less, or for something else.
            self._queue.happened(ClusterChange.POD_REMOVED | ClusterChange.POD_ADDED, pod.spec.nodeName)

    def _gone(self, pod: Pod) -> None:
        self._queue.remove(pod.key)
        node = self._cache.node_of(pod.key)
        held_back = self._cache.nominated_node(pod.key)
        if self._cache.remove_pod(pod.key):
            self._queue.happened(ClusterChange.POD_REMOVED, node or "")
        elif held_back is not None:
            self._queue.happened(ClusterChange.POD_REMOVED, held_back)


class SpreadSelectors:
    """The selectors of the services and replication controllers that a pod belongs to."""

    def __init__(self, informers: Informers) -> None:
        self._services = informers.of(Service)
        self._controllers = informers.of(ReplicationController)
        self._services.add_index(BY_LABEL, lambda s: _first_label(s.namespace, s.spec.selector))
        self._controllers.add_index(BY_LABEL, lambda rc: _first_label(rc.namespace, rc.spec.selector))

    def of(self, pod: Pod) -> Selectors:
        """Those of both."""
        keys = self._keys(pod)
        return matching_selectors(
            pod,
            [service.spec.selector for service in _indexed(self._services, keys)]
            + [controller.spec.selector for controller in _indexed(self._controllers, keys)],
        )

    def of_services(self, pod: Pod) -> Selectors:
        """Those of the services alone."""
        return matching_selectors(pod, [s.spec.selector for s in _indexed(self._services, self._keys(pod))])

    @staticmethod
    def _keys(pod: Pod) -> list[str]:
        return [_label_key(pod.namespace, *label) for label in pod.metadata.labels.items()]


BY_LABEL = "spread selector"


def _label_key(namespace: str, key: str, value: str) -> str:
    return f"{namespace}/{key}={value}"


def _first_label(namespace: str, selector: dict[str, str]) -> Iterable[str]:
    """One of the labels that a selector asks for: enough to find all selectors that may match a pod by its labels."""
    return [_label_key(namespace, *min(selector.items()))] if selector else []


Selecting = TypeVar("Selecting", Service, ReplicationController)


def _indexed(informer: Informer[Selecting], keys: list[str]) -> list[Selecting]:
    return [found for key in keys for found in informer.indexed(BY_LABEL, key)]
