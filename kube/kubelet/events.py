"""Events about a pod and its containers, as `kubectl describe pod` shows them."""

from __future__ import annotations

from typing import Literal, Protocol

from kube.api.core import Container, ObjectReference, Pod
from kube.api.meta import Object

Type = Literal["Normal", "Warning"]


class Recorder(Protocol):
    """What the kubelet needs of client.events.EventRecorder."""

    def event(self, obj: Object | ObjectReference, type: Type, reason: str, message: str) -> None:
        """Record an event; never blocks or raises."""


class PodEvents:
    """Events of one pod."""

    def __init__(self, recorder: Recorder, pod: Pod) -> None:
        self._recorder = recorder
        self._pod = pod

    def pod(self, type: Type, reason: str, message: str) -> None:
        """An event about the pod as a whole."""
        self._recorder.event(reference(self._pod), type, reason, message)

    def container(self, container: Container | str, type: Type, reason: str, message: str) -> None:
        """An event about one container: its fieldPath is `spec.containers{name}`."""
        name = container if isinstance(container, str) else container.name
        inits = {c.name for c in self._pod.spec.initContainers}
        path = f"spec.{'initContainers' if name in inits else 'containers'}{{{name}}}"
        self._recorder.event(reference(self._pod, path), type, reason, message)


def reference(pod: Pod, field_path: str = "") -> ObjectReference:
    """How an event names a pod, or a part of it."""
    return ObjectReference(
        kind="Pod",
        apiVersion="v1",
        namespace=pod.namespace,
        name=pod.name,
        uid=pod.metadata.uid,
        resourceVersion=pod.metadata.resourceVersion,
        fieldPath=field_path,
    )
