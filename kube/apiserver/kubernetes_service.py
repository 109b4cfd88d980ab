"""The service `kubernetes` in `default`: how pods find the apiservers, kept by the apiservers themselves.

Its cluster IP is the first of the range. Each apiserver keeps a key with its address under `/registry/masterleases/`,
which etcd removes when it is not renewed; whoever renews its own makes the service's Endpoints and EndpointSlice what
the keys say. So an apiserver that dies leaves the service within fifteen seconds, and no two of them quarrel.
(pkg/controlplane/controller/kubernetesservice, pkg/controlplane/reconcilers/lease.go)
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from kube.api import errors
from kube.api.core import EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Service
from kube.api.discovery import EndpointSlice
from kube.api.meta import ObjectMeta
from kube.api.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES, Resource
from kube.apiserver.verbs import Verbs
from kube.store import codec, keys
from kube.store.store import Delete, Put, Unavailable

log = logging.getLogger(__name__)

NAMESPACE, NAME = "default", "kubernetes"
LABELS = {"component": "apiserver", "provider": "kubernetes"}
LEASES = f"{keys.ROOT}masterleases/"
LEASE_SECONDS = 15
INTERVAL = 10.0
"""Seconds between two renewals."""
LEAVE_SECONDS = 1.0
"""How long a regular end may wait for the store; after that, the lease runs out."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where this apiserver is, and which address the service has."""

    ip: str
    port: int
    cluster_ip: str


class KubernetesService:
    """One apiserver's part in it."""

    def __init__(self, verbs: Verbs, address: Address) -> None:
        self._verbs = verbs
        self._address = address

    async def run(self) -> None:
        """Keep the service and our place in it, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            await self.try_reconcile()

    async def try_reconcile(self) -> None:
        """Reconcile; what goes wrong is told, and tried again in time."""
        try:
            await self.reconcile()
        except (errors.ApiError, Unavailable) as error:
            log.warning("cannot keep the service default/kubernetes", extra={"error": error})

    async def reconcile(self) -> None:
        """Renew our key, and have the service with everybody's addresses. Raises ApiError, Unavailable."""
        key, lease = f"{LEASES}{self._address.ip}", await self._verbs.store.grant(LEASE_SECONDS)
        await self._verbs.store.txn([], [Put(key, codec.encode(_endpoints([self._address.ip])), lease)])
        await self._keep(SERVICES, self._service)
        await self._keep_endpoints()

    async def leave(self) -> None:
        """Take our address out, at a regular end."""
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._verbs.store.txn([], [Delete(f"{LEASES}{self._address.ip}")])
                await self._keep_endpoints()
        except (errors.ApiError, Unavailable, TimeoutError) as error:
            log.warning("cannot leave the service default/kubernetes", extra={"error": error})

    async def _keep_endpoints(self) -> None:
        page = await self._verbs.store.list(LEASES)
        ips = sorted((kv.key.removeprefix(LEASES) for kv in page.items), key=IPv4Address)
        await self._keep(ENDPOINTS, lambda present: with_addresses(present, ips, self._address.port))
        await self._keep(ENDPOINT_SLICES, lambda present: slice_with_addresses(present, ips, self._address.port))

    async def _keep(self, resource: Resource, wanted: Any) -> None:
        entry = self._verbs.cache.entry(resource, keys.object_key(resource, NAMESPACE, NAME))
        present = None if entry is None else entry.decode()
        if present is not None and wanted(present.clone()) == present:
            return
        try:
            await self._verbs.update(resource, NAMESPACE, NAME, lambda found: wanted(found), create=True)
        except errors.AlreadyExists:
            return  # by another apiserver; the next round looks at what it has made
        log.info("wrote the %s of the apiservers", resource.singular, extra={"object": f"{NAMESPACE}/{NAME}"})

    def _service(self, present: Service | None) -> Service:
        ports = [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": self._address.port}]
        if present is None:
            spec = {"clusterIP": self._address.cluster_ip, "ports": ports, "sessionAffinity": "None"}
            meta = {"name": NAME, "namespace": NAMESPACE, "labels": LABELS}
            return Service.parse({"metadata": meta, "spec": spec})
        # Of several apiservers with different ports each would have its own way, for ever: the first's stays.
        if not present.spec.ports:
            present.spec.ports = Service.parse({"spec": {"ports": ports}}).spec.ports
        return present


def _meta(labels: dict[str, str]) -> ObjectMeta:
    return ObjectMeta(name=NAME, namespace=NAMESPACE, labels=labels)


def _endpoints(ips: list[str]) -> Endpoints:
    """What a key says: an Endpoints, as upstream writes it there."""
    return Endpoints(subsets=[EndpointSubset(addresses=[EndpointAddress(ip=ip) for ip in ips])])


def with_addresses(present: Endpoints | None, ips: list[str], port: int) -> Endpoints:
    """The service's endpoints, with these addresses. (Others are not to mirror them: the slice is kept, too.)"""
    endpoints = present or Endpoints(metadata=_meta({}))
    endpoints.metadata.labels = {**endpoints.metadata.labels, "endpointslice.kubernetes.io/skip-mirror": "true"}
    subset = EndpointSubset(
        addresses=[EndpointAddress(ip=ip) for ip in ips], ports=[EndpointPort(name="https", port=port, protocol="TCP")]
    )
    endpoints.subsets = [subset] if ips else []
    return endpoints


def slice_with_addresses(present: EndpointSlice | None, ips: list[str], port: int) -> EndpointSlice:
    """The same as a slice."""
    data = {
        "addressType": "IPv4",
        "endpoints": [{"addresses": [ip], "conditions": {"ready": True}} for ip in ips],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
    wanted = EndpointSlice.parse(data)
    wanted.metadata = present.metadata if present is not None else _meta({})
    wanted.metadata.labels = {**wanted.metadata.labels, "kubernetes.io/service-name": NAME}
    return wanted
