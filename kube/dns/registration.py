"""The service `kube-system/kube-dns`: the address that pods have as their name server leads here.

The service has no selector, as what is behind it is no pod; its Endpoints name the processes that answer, one a node.
Each keeps its own entry as it is to be, whoever changes it, and takes out those of nodes that are gone or are not heard
of. An entry stays when its process ends: the next one on that node takes its place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from kube.api import errors
from kube.api.core import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    Node,
    Service,
    ServicePort,
    ServiceSpec,
)
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


class Answering(NamedTuple):
    """Where a process answers."""

    node: str
    """Empty: not on a node that the cluster knows."""
    ip: str
    port: int


class Registration:
    """Keeps the service and this process' entry in its endpoints."""

    def __init__(
        self,
        client: Client,
        services: Informer[Service],
        endpoints: Informer[Endpoints],
        cluster_ip: str,
        nodes: Informer[Node] | None = None,
    ) -> None:
        """`nodes`: tells which nodes' entries still count; not needed by a process that is on none."""
        self._client, self._services, self._endpoints, self._nodes = client, services, endpoints, nodes
        self._cluster_ip = cluster_ip
        self._queue = WorkQueue("kube-dns")
        services.on_change(self._changed)
        endpoints.on_change(self._changed)
        if nodes is not None:
            nodes.on_change(self._node_changed)

    async def run(self, me: Answering) -> None:
        """Keep them until cancelled. The informers must have synced."""
        self._queue.add(KEY)
        await work(self._queue, lambda key: self._reconcile(me))

    async def _reconcile(self, me: Answering) -> None:
        if self._services.get(KEY) is None:
            await self._create(service(self._cluster_ip, me))
        there = self._endpoints.get(KEY)
        subsets = joined(there.subsets if there is not None else (), me, self._counts)
        if there is None:
            await self._create(Endpoints(metadata=_metadata(), subsets=subsets))
        elif there.subsets != subsets:
            changed = there.clone()
            changed.subsets = subsets
            await self._client.update(changed)
            log.info("endpoints written", extra={"key": KEY, "addresses": ",".join(a.ip for a in _addresses(subsets))})

    async def _create(self, obj: Service | Endpoints) -> None:
        try:
            await self._client.create(obj)
            log.info("created", extra={"kind": obj.kind, "key": KEY})
        except errors.AlreadyExists:
            await asyncio.sleep(0.1)  # the cache will show it

    def _counts(self, node: str) -> bool:
        if self._nodes is None or not node:
            return True
        found = self._nodes.get(node)
        return found is not None and heard_of(found)

    def _changed(self, old: Service | Endpoints | None, new: Service | Endpoints | None) -> None:
        obj = new or old
        assert obj is not None
        if obj.key == KEY:
            self._queue.add(KEY)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if old is None or new is None or heard_of(old) != heard_of(new):
            self._queue.add(KEY)


def heard_of(node: Node) -> bool:
    """Whether a node is in touch. One that says it is not ready is: its engine's trouble is none of ours."""
    return not any(condition.type == "Ready" and condition.status == "Unknown" for condition in node.status.conditions)


def joined(
    present: Iterable[EndpointSubset], me: Answering, counts: Callable[[str], bool] = lambda node: True
) -> list[EndpointSubset]:
    """The endpoints with this process among them. `counts`: whether the entry of a node is to stay.

    Two processes never write against each other: what `counts` says of a node, its own process keeps to as well.
    """
    found = {
        Answering(address.nodeName or "", address.ip, port.port)
        for subset in present
        for address in subset.addresses
        for port in subset.ports
    }
    wanted = {each for each in found if each.node != me.node and counts(each.node)}
    if counts(me.node):
        wanted.add(me)
    return [
        EndpointSubset(
            addresses=[
                EndpointAddress(ip=each.ip, nodeName=each.node or None) for each in sorted(wanted) if each.port == port
            ],
            ports=[EndpointPort(name=name, port=port, protocol=protocol) for name, protocol in PORTS],
        )
        for port in sorted({each.port for each in wanted})
    ]


def service(cluster_ip: str, me: Answering) -> Service:
    """The service, as it is made where there is none. On nodes, each node's pods ask their own."""
    spec = ServiceSpec(
        clusterIP=cluster_ip,
        ports=[ServicePort(name=name, port=53, targetPort=me.port, protocol=protocol) for name, protocol in PORTS],
        trafficDistribution="PreferSameNode" if me.node else None,
    )
    return Service(metadata=_metadata(), spec=spec)


def _metadata() -> ObjectMeta:
    return ObjectMeta(name=NAME, namespace=NAMESPACE, labels=dict(LABELS))


def _addresses(subsets: Sequence[EndpointSubset]) -> list[EndpointAddress]:
    return [address for subset in subsets for address in subset.addresses]
