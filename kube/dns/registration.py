"""The service `kube-system/kube-dns`: the address that pods have as their name server leads here.

The service has no selector, as what is behind it is no pod; its Endpoints name this process. It is kept as it is to be,
whoever changes it, and left when the process ends: the next one takes its place.
"""

from __future__ import annotations

import asyncio
import logging

from kube.api import errors
from kube.api.core import EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Service, ServicePort, ServiceSpec
from kube.api.meta import ObjectMeta
from kube.client.informer import Informer
from kube.client.rest import Client
from kube.client.workqueue import WorkQueue, work

log = logging.getLogger(__name__)

NAME, NAMESPACE = "kube-dns", "kube-system"
KEY = f"{NAMESPACE}/{NAME}"
LABELS = {
    "k8s-app": "kube-dns",
    "kubernetes.io/cluster-service": "true",
    "kubernetes.io/name": "KubeDNS",
}
PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))


class Registration:
    """Keeps the service and its endpoints."""

    def __init__(
        self, client: Client, services: Informer[Service], endpoints: Informer[Endpoints], cluster_ip: str
    ) -> None:
        self._client, self._services, self._endpoints = client, services, endpoints
        self._cluster_ip = cluster_ip
        self._queue = WorkQueue("kube-dns")
        services.on_change(self._changed)
        endpoints.on_change(self._changed)

    async def run(self, address: str, port: int) -> None:
        """Keep them until cancelled; this process answers at `address` and `port`. The informers must have synced."""
        self._queue.add(KEY)
        await work(self._queue, lambda key: self._reconcile(address, port))

    async def _reconcile(self, address: str, port: int) -> None:
        service, endpoints = wanted(self._cluster_ip, address, port)
        present = self._services.get(KEY)
        if present is None:
            await self._create(service)
        there = self._endpoints.get(KEY)
        if there is None:
            await self._create(endpoints)
        elif there.subsets != endpoints.subsets:
            changed = there.clone()
            changed.subsets = endpoints.subsets
            await self._client.update(changed)

    async def _create(self, obj: Service | Endpoints) -> None:
        try:
            await self._client.create(obj)
            log.info("created", extra={"kind": obj.kind, "key": KEY})
        except errors.AlreadyExists:
            await asyncio.sleep(0.1)  # the cache will show it

    def _changed(self, old: Service | Endpoints | None, new: Service | Endpoints | None) -> None:
        obj = new or old
        assert obj is not None
        if obj.key == KEY:
            self._queue.add(KEY)


def wanted(cluster_ip: str, address: str, port: int) -> tuple[Service, Endpoints]:
    """The service and its endpoints, as they are to be."""

    def metadata() -> ObjectMeta:
        return ObjectMeta(name=NAME, namespace=NAMESPACE, labels=dict(LABELS))

    service = Service(
        metadata=metadata(),
        spec=ServiceSpec(
            clusterIP=cluster_ip,
            ports=[ServicePort(name=name, port=53, targetPort=port, protocol=protocol) for name, protocol in PORTS],
        ),
    )
    subset = EndpointSubset(
        addresses=[EndpointAddress(ip=address)],
        ports=[EndpointPort(name=name, port=port, protocol=protocol) for name, protocol in PORTS],
    )
    return service, Endpoints(metadata=metadata(), subsets=[subset])
