"""The endpointslicemirroring controller: Endpoints that were made by hand, in slices too.

Only for services without a selector: the slices of the others are endpoint_slices.py's. Not mirrored are Endpoints
that say so (label `endpointslice.kubernetes.io/skip-mirror: "true"`), election locks, and those without a service.
"""

from __future__ import annotations

from collections.abc import Iterable

from kube.api import errors
from kube.api.core import Endpoints, Service
from kube.api.discovery import EndpointSlice
from kube.api.meta import ObjectMeta, OwnerReference
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager import slice_writer
from kube.controller_manager.controller import Controller
from kube.controller_manager.endpoints import LEADER
from kube.controller_manager.slice_writer import SliceWriter
from kube.controller_manager.slices import MANAGED_BY, MIRRORING, SERVICE_NAME, SlicePlan, of_subsets, plan
from kube.controller_manager.trigger_times import ANNOTATION

SKIP = "endpointslice.kubernetes.io/skip-mirror"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
MOST = 1000
"""Endpoints in a mirrored slice, as upstream's --mirroring-max-endpoints-per-subset."""


class EndpointSliceMirroringController(Controller):
    """Keeps slices of hand-made Endpoints."""

    def __init__(self, client: Client, informers: Informers, *, workers: int = 5) -> None:
        super().__init__("endpointslicemirroring", workers)
        self._endpoints, self._services = informers.of(Endpoints), informers.of(Service)
        slices = slice_writer.watch(informers)
        self._writer = SliceWriter(client, slices, MIRRORING)
        self._endpoints.on_change(self._changed)
        self._services.on_change(self._changed)
        slices.on_change(self._slice_changed)

    async def reconcile(self, key: str) -> float | None:
        if wait := self._writer.wait(key):
            return wait
        endpoints, service = self._endpoints.get(key), self._services.get(key)
        existing = self._writer.existing(key)
        if endpoints is None or service is None or not mirrored(endpoints, service):
            todo = SlicePlan(delete=existing)
        else:
            owner = OwnerReference(
                apiVersion="v1", kind="Endpoints", name=endpoints.name, uid=endpoints.metadata.uid,
                controller=True, blockOwnerDeletion=True,
            )  # fmt: skip
            labels = {**endpoints.metadata.labels, SERVICE_NAME: endpoints.name, MANAGED_BY: MIRRORING}
            metadata = ObjectMeta(
                generateName=f"{endpoints.name}-", namespace=endpoints.namespace, labels=labels,
                annotations=mirrored_annotations(endpoints),
            )  # fmt: skip
            wanted = of_subsets(endpoints.subsets)
            todo = plan(owner, metadata, existing, wanted, most=MOST) if wanted else SlicePlan(delete=existing)
            annotate(todo, existing, metadata.annotations)
        try:
            await self._writer.carry_out(key, todo, None)
        except errors.NotFound:
            return 1.0  # a slice that the cache still shows is gone
        return None

    def _changed(self, old: Endpoints | Service | None, new: Endpoints | Service | None) -> None:
        obj = new or old
        assert obj is not None
        self.queue.add(obj.key)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for each in (old, new):
            if each is not None and each.metadata.labels.get(MANAGED_BY) == MIRRORING:
                self.queue.add(f"{each.namespace}/{each.metadata.labels.get(SERVICE_NAME, '')}")


def mirrored(endpoints: Endpoints, service: Service) -> bool:
    """Whether Endpoints are to be shown in slices."""
    return (
        not service.spec.selector
        and endpoints.metadata.labels.get(SKIP) != "true"
        and LEADER not in endpoints.metadata.annotations
        and endpoints.metadata.deletionTimestamp is None
    )


def mirrored_annotations(endpoints: Endpoints) -> dict[str, str]:
    """The annotations of mirrored slices: those of the Endpoints, but for what is said of these alone."""
    own = (ANNOTATION, LAST_APPLIED)
    return {key: value for key, value in endpoints.metadata.annotations.items() if key not in own}


def annotate(todo: SlicePlan, existing: Iterable[EndpointSlice], wanted: dict[str, str]) -> None:
    """Have a plan give the slices that stay these annotations, too."""
    planned = {each.name for each in (*todo.update, *todo.delete)}
    todo.update.extend(
        each.clone() for each in existing if each.name not in planned and each.metadata.annotations != wanted
    )
    for each in todo.update:
        each.metadata.annotations = dict(wanted)
