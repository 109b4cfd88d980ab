"""By what the controllers find objects in the caches, so that no reconcile walks through all of a kind.

A selector asks for several labels; an object that it selects has each of them, so any one finds it. Objects that are
selected are indexed by every label they have; objects that select are indexed by one label of their selector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kube.api.core import Pod, ReplicationController, Service
from kube.api.meta import Object
from kube.client.informer import Informer, Informers
from kube.controller_manager.replicas import selector

BY_LABEL = "label"
BY_SELECTOR = "selector"
BY_CONTROLLER = "controller"
ORPHANS_BY_LABEL = "label, without a controller"
BY_NODE = "node"


def install(informers: Informers) -> None:
    """Add the indexes that the controllers share. Call it once, before the informers run."""
    pods = informers.of(Pod)
    pods.add_index(BY_LABEL, lambda pod: label_keys(pod.namespace, pod.metadata.labels))
    pods.add_index(BY_CONTROLLER, _controller)
    pods.add_index(ORPHANS_BY_LABEL, lambda p: [] if _controller(p) else label_keys(p.namespace, p.metadata.labels))
    pods.add_index(BY_NODE, lambda pod: [pod.spec.nodeName] if pod.spec.nodeName else [])
    informers.of(Service).add_index(BY_SELECTOR, lambda s: selector_keys(s.namespace, s.spec.selector))
    informers.of(ReplicationController).add_index(BY_SELECTOR, lambda rc: selector_keys(rc.namespace, selector(rc)))


def label_keys(namespace: str, labels: Mapping[str, str]) -> list[str]:
    """The index keys of every label."""
    return [f"{namespace}/{key}={value}" for key, value in labels.items()]


def selector_keys(namespace: str, labels: Mapping[str, str]) -> list[str]:
    """The index key of one label of a selector: always the same one. An empty selector has none."""
    return label_keys(namespace, dict([min(labels.items())])) if labels else []


def selected_pods(
    pods: Informer[Pod], namespace: str, labels: Mapping[str, str], index: str = BY_LABEL
) -> Iterator[Pod]:
    """The pods that a selector selects; with `ORPHANS_BY_LABEL`, those without a controller."""
    for key in selector_keys(namespace, labels):
        for pod in pods.indexed(index, key):
            if labels.items() <= pod.metadata.labels.items():
                yield pod


def _controller(obj: Object) -> list[str]:
    owner = obj.metadata.controller()
    return [owner.uid] if owner else []
