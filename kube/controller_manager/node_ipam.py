"""The node IPAM controller: every node gets a range of its own out of the cluster's, for its pods' addresses.

A range is given once, in `spec.podCIDR`, and stays the node's until the Node object is gone. What is given is what the
Node objects say: nothing else is kept, so nothing can leak. One worker gives them out, the lowest free one first.

Source of the rule: kube-controller-manager's `--allocate-node-cidrs`, `--cluster-cidr`, `--node-cidr-mask-size`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network

from kube.api import errors
from kube.api.core import Node
from kube.client.events import EventRecorder
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller

log = logging.getLogger(__name__)

RETRY = 10.0
"""Seconds until a node that found no range is looked at again: nodes may have left."""


@dataclass(slots=True)
class _Given:
    """A range that a node gets from this process."""

    uid: str
    """The node's: another one of its name gets another range."""
    cidr: str
    written: bool = False
    """Whether the node is known to have it; if not, it may have it all the same, for the answer may be lost."""


class NodeIpamController(Controller):
    """Gives nodes their ranges."""

    def __init__(
        self, client: Client, informers: Informers, recorder: EventRecorder, *, cluster: IPv4Network, mask_size: int
    ) -> None:
        super().__init__("nodeipam")
        self._client, self._recorder = client, recorder
        self._cluster, self._mask_size = cluster, mask_size
        self._nodes = informers.of(Node)
        self._nodes.on_change(self._node_changed)
        self._given: dict[str, _Given] = {}
        """By node, the ranges that the cache does not show yet."""

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        node = new or old
        assert node is not None
        if new is None or ranges(new):
            self._given.pop(node.name, None)
        else:
            self.queue.add(new.name)

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None or ranges(node):
            return None
        given = self._given.get(key)
        if given is None or given.uid != node.metadata.uid:
            cidr = self._free()
            if cidr is None:
                log.warning("no range is left for a node", extra={"node": key, "cluster": str(self._cluster)})
                message = f"Node {key} status is now: CIDRNotAvailable"
                self._recorder.event(node, "Normal", "CIDRNotAvailable", message)
                return RETRY
            # Before it is written: whatever becomes of the request, nobody else may get it.
            given = self._given[key] = _Given(node.metadata.uid, str(cidr))
        if given.written:
            return None
        changed = node.clone()
        changed.spec.podCIDR, changed.spec.podCIDRs = given.cidr, [given.cidr]
        try:
            await self._client.update(changed)  # refused, if it is not the node that we looked at
        except errors.NotFound:
            return None
        given.written = True
        log.info("gave a node its range", extra={"node": key, "cidr": given.cidr})
        return None

    def _free(self) -> IPv4Network | None:
        taken = [cidr for each in self._nodes.list() for cidr in ranges(each)]
        taken += [given.cidr for given in self._given.values()]
        return lowest_free(self._cluster, self._mask_size, taken)


def ranges(node: Node) -> list[str]:
    """The ranges that a node has."""
    return node.spec.podCIDRs or ([node.spec.podCIDR] if node.spec.podCIDR else [])


def lowest_free(cluster: IPv4Network, mask_size: int, taken: Iterable[str]) -> IPv4Network | None:
    """The lowest range of this size that overlaps none of those taken; None if there is none left.

    Those taken may have another size, or lie elsewhere: they were given under other flags, or by hand. Those that are
    no IPv4 ranges take nothing.
    """
    held = sorted(network for text in taken if (network := _network(text)) and network.overlaps(cluster))
    size = 1 << (32 - mask_size)
    start, end = int(cluster.network_address), int(cluster.broadcast_address)
    for network in held:
        if start + size <= int(network.network_address):
            break
        # Behind this one, on the next boundary.
        start = max(start, -(-(int(network.broadcast_address) + 1) // size) * size)
    return IPv4Network((start, mask_size)) if start + size - 1 <= end else None


@lru_cache(maxsize=16384)  # those of all nodes are looked at for each node that comes
def _network(text: str) -> IPv4Network | None:
    try:
        return IPv4Network(text, strict=False)
    except ValueError:
        return None
