"""The node IPAM controller: every node gets a range of its own out of the cluster's, for its pods' addresses.

A range is given once, in `spec.podCIDR`, and stays the node's until the Node object is gone. What is given is what the
Node objects say: nothing else is kept, so nothing can leak. One worker gives them out, the lowest free one first.

Source of the rule: kube-controller-manager's `--allocate-node-cidrs`, `--cluster-cidr`, `--node-cidr-mask-size`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from ipaddress import IPv4Network

from kube.api import errors
from kube.api.core import Node, ObjectReference
from kube.client.events import EventRecorder
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller

log = logging.getLogger(__name__)

RETRY = 10.0
"""Seconds until a node that found no range is looked at again: nodes may have left."""


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
        self._given: dict[str, tuple[str, str]] = {}
        """Uid and range of nodes that got one from this process: the cache may not have heard of it yet."""

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is not None and not ranges(new):
            self.queue.add(new.name)
        if new is None and old is not None:
            self._given.pop(old.name, None)

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None or ranges(node) or self._given.get(key, ("", ""))[0] == node.metadata.uid:
            return None
        taken = [cidr for each in self._nodes.list() for cidr in ranges(each)]
        taken += [cidr for _, cidr in self._given.values()]
        cidr = lowest_free(self._cluster, self._mask_size, taken)
        if cidr is None:
            log.warning("no range is left for a node", extra={"node": key, "cluster": str(self._cluster)})
            # Upstream names a node in events by its name in place of its uid.
            reference = ObjectReference(kind="Node", name=key, uid=key)
            message = f"Node {key} status is now: CIDRNotAvailable"
            self._recorder.event(reference, "Normal", "CIDRNotAvailable", message)
            return RETRY
        changed = node.clone()
        changed.spec.podCIDR, changed.spec.podCIDRs = str(cidr), [str(cidr)]
        try:
            await self._client.update(changed)  # refused, if it is not the node that we looked at
        except errors.NotFound:
            return None
        self._given[key] = (node.metadata.uid, str(cidr))
        log.info("gave a node its range", extra={"node": key, "cidr": str(cidr)})
        return None


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


def _network(text: str) -> IPv4Network | None:
    try:
        return IPv4Network(text, strict=False)
    except ValueError:
        return None
