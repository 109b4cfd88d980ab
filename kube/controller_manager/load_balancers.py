"""The service controller: an address for every service of type LoadBalancer, from a pool (`--load-balancer-ip-range`).

The address stands in `status.loadBalancer.ingress`, and every node's proxy takes its traffic, so whatever leads it to
a node makes a load balancer. It goes back when the service goes or changes its type. A service may ask for one
(`spec.loadBalancerIP`) and keeps what was written by hand; one with a `loadBalancerClass` is somebody else's.
Kubernetes asks a cloud for it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv4Network

from kube.api import errors
from kube.api.core import LoadBalancerIngress, LoadBalancerStatus, Service
from kube.client.events import EventRecorder
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller

log = logging.getLogger(__name__)


class LoadBalancerController(Controller):
    """Gives out addresses. One worker, so that no address is given out twice; its keys are the services'."""

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, *, pool: IPv4Network) -> None:
        super().__init__("service")
        self._client, self._recorder, self._pool = client, recorder, pool
        self._services = informers.of(Service)
        self._services.on_change(self._changed)
        self._given: dict[str, tuple[str, str]] = {}
        """What was given out and the cache may not show yet: UID and address by the service's key."""

    async def reconcile(self, key: str) -> float | None:
        service = self._services.get(key)
        if service is None or service.metadata.deletionTimestamp is not None:
            self._given.pop(key, None)
            return None
        present = [ingress.ip for ingress in service.status.loadBalancer.ingress]
        wants = service.spec.type == "LoadBalancer"
        if (service.spec.loadBalancerClass and wants) or wants == bool(present):
            if not wants:
                self._given.pop(key, None)
            return None
        if not wants:
            await self._write(service, "")
            self._given.pop(key, None)
            return None
        uid, address = self._given.get(key, ("", ""))
        if uid != service.metadata.uid:
            address = choose(self._pool, service.spec.loadBalancerIP, self._taken(key))
        if not address:
            asked = service.spec.loadBalancerIP
            why = f"{asked} is not free in {self._pool}" if asked else f"no address is free in {self._pool}"
            self._recorder.event(
                service,
                "Warning",
                "SyncLoadBalancerFailed",
                f"Error syncing load balancer: failed to ensure load balancer: {why}",
            )
            return 60.0
        self._given[key] = (service.metadata.uid, address)
        await self._write(service, address)
        self._recorder.event(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer")
        return None

    def _taken(self, key: str) -> set[str]:
        taken = {address for other, (_, address) in self._given.items() if other != key}
        for service in self._services.list():
            if service.key != key:
                taken.update(ingress.ip for ingress in service.status.loadBalancer.ingress)
        return taken

    async def _write(self, service: Service, address: str) -> None:
        changed = service.clone()
        changed.status.loadBalancer = LoadBalancerStatus(
            ingress=[LoadBalancerIngress(ip=address, ipMode="VIP")] if address else []
        )
        try:
            await self._client.update(changed, "status")
        except errors.NotFound:
            return
        log.info("load balancer address", extra={"service": service.key, "address": address or "given back"})

    def _changed(self, old: Service | None, new: Service | None) -> None:
        service = new or old
        assert service is not None
        had, has = (each is not None and bool(each.status.loadBalancer.ingress) for each in (old, new))
        if new is None and self._given.pop(service.key, None) is not None:
            had = True  # also if it was not seen to have it yet; and before those who wait for it are looked at
        if had and not has:
            for other in self._services.list():
                if other.spec.type == "LoadBalancer" and not other.status.loadBalancer.ingress:
                    self.queue.add(other.key)
        if service.spec.type == "LoadBalancer" or service.status.loadBalancer.ingress or new is None:
            self.queue.add(service.key)


def choose(pool: IPv4Network, asked: str, taken: Collection[str]) -> str:
    """A free address of the pool, or the one that is asked for if it is free there; empty if there is none."""
    if asked:
        try:
            return asked if IPv4Address(asked) in pool and asked not in taken else ""
        except ValueError:
            return ""
    return next((address for address in _addresses(pool) if address not in taken), "")


def _addresses(pool: IPv4Network) -> Iterator[str]:
    return (str(address) for address in pool.hosts())
