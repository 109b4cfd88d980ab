"""The endpointslice controller: what the endpoints controller says in one object, in slices of a hundred.

Kubernetes' own proxies read nothing else. Bursts are gathered and nothing is written twice, as endpoints.py does it.
Slices of a service that is gone are the garbage collector's: the service owns them.
"""

from __future__ import annotations

import asyncio

from kube.api import errors
from kube.api.core import Node, Pod, Service
from kube.api.discovery import EndpointSlice
from kube.api.meta import ObjectMeta, OwnerReference
from kube.client.events import EventRecorder
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager import slice_writer
from kube.controller_manager.controller import Controller
from kube.controller_manager.endpoints import BATCH_PERIOD, MOMENT, matters
from kube.controller_manager.indexes import BY_SELECTOR, label_keys, selected_pods
from kube.controller_manager.slice_writer import SliceWriter
from kube.controller_manager.slices import CONTROLLER, MANAGED_BY, MOST, SERVICE_NAME, of_service, plan, service_labels
from kube.controller_manager.subsets import has_endpoints
from kube.controller_manager.trigger_times import TriggerTimes

ZONE = "topology.kubernetes.io/zone"


class EndpointSliceController(Controller):
    """Keeps the EndpointSlices of every service that selects pods."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        workers: int = 5,
        batch_period: float = BATCH_PERIOD,
        most: int = MOST,
    ) -> None:
        super().__init__("endpointslice", workers)
        self._recorder = recorder
        self._batch_period, self._most = batch_period, most
        self._pods, self._services, self._nodes = informers.of(Pod), informers.of(Service), informers.of(Node)
        slices = slice_writer.watch(informers)
        self._writer = SliceWriter(client, slices, CONTROLLER)
        self._times = TriggerTimes()
        self._zones: dict[str, str] = {}
        self._quiet_until: dict[str, float] = {}
        self._pods.on_change(self._pod_changed)
        self._services.on_change(self._service_changed)
        self._nodes.on_change(self._node_changed)
        slices.on_change(self._slice_changed)

    async def reconcile(self, key: str) -> float | None:
        service = self._services.get(key)
        if service is None or not has_endpoints(service) or service.metadata.deletionTimestamp is not None:
            self._quiet_until.pop(key, None)
            self._writer.forget(key)
            self._times.forget(key)
            return None
        wait = max(self._quiet_until.get(key, 0.0) - asyncio.get_running_loop().time(), self._writer.wait(key))
        if wait > MOMENT:
            return wait
        self._quiet_until.pop(key, None)
        pods = list(selected_pods(self._pods, service.namespace, service.spec.selector))
        wanted = of_service(service, pods, self._zones)
        owner = OwnerReference(
            apiVersion="v1", kind="Service", name=service.name, uid=service.metadata.uid,
            controller=True, blockOwnerDeletion=True,
        )  # fmt: skip
        metadata = ObjectMeta(
            generateName=f"{service.name}-", namespace=service.namespace, labels=service_labels(service)
        )
        since = self._times.of(service, pods)
        todo = plan(owner, metadata, self._writer.existing(key), wanted, most=self._most)
        try:
            written = await self._writer.carry_out(key, todo, since)
        except errors.ApiError as why:
            # Of what the cache does not show yet nobody need be told.
            if not isinstance(why, errors.Conflict | errors.AlreadyExists | errors.NotFound):
                message = f"Error updating Endpoint Slices for Service {key}: {why}"
                self._recorder.event(service, "Warning", "FailedToUpdateEndpointSlices", message)
            raise
        if written:
            self._quiet_until[key] = asyncio.get_running_loop().time() + self._batch_period
        return None

    # What wakes it

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        service = new or old
        assert service is not None
        self.queue.add(service.key)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for each in (old, new):
            if each is not None and each.metadata.labels.get(MANAGED_BY) == CONTROLLER:
                self.queue.add(f"{each.namespace}/{each.metadata.labels.get(SERVICE_NAME, '')}")

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        before, after = (node.metadata.labels.get(ZONE, "") if node else "" for node in (old, new))
        node = new or old
        assert node is not None
        if before == after:
            return
        self._zones.pop(node.name, None)
        if after:
            self._zones[node.name] = after
        for service in self._services.list():
            self.queue.add(service.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and matters(old) == matters(new):
            return
        for pod in (old, new):
            if pod is None:
                continue
            for key in label_keys(pod.namespace, pod.metadata.labels):
                for service in self._services.indexed(BY_SELECTOR, key):
                    if service.spec.selector.items() <= pod.metadata.labels.items():
                        self.queue.add(service.key)
