"""A node's name belongs to one kubelet: a second one would end the first one's containers as orphans, and be ended so.

On one machine the engine is what they would fight over, so the name is claimed there for each engine, with a socket
that the kernel frees when its process ends, however it ends. Of another machine only the API tells: a Node that says it
is another machine, and whose Lease is being renewed, has a living kubelet. That is looked at, not computed from clocks.
(Kubernetes leaves it to whoever names the nodes.)
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
from collections.abc import Iterator
from typing import Protocol, TypeVar

from kube import daemon
from kube.api import errors
from kube.api.coordination import Lease
from kube.api.core import Node
from kube.api.meta import Object
from kube.kubelet.node import LEASE_NAMESPACE, NodeFacts

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Object)

PATIENCE = 15.0
"""Seconds for another kubelet to give a sign of life: it renews its Lease every 10 s."""
LOOK = 1.0


class Api(Protocol):
    """What is needed of client.rest.Client."""

    async def get(self, model: type[T], name: str, namespace: str = "") -> T: ...


@contextlib.contextmanager
def held(node: str, engine: str) -> Iterator[None]:
    """Hold the name of a node on an engine of this machine. Raises Fatal if another kubelet has it."""
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            # An abstract name: it is in no file system, so nothing of it can be left behind.
            claim.bind(f"\0kube/kubelet/{hashlib.sha256(f'{engine} {node}'.encode()).hexdigest()}")
        except OSError:
            raise daemon.Fatal(
                f"another kubelet on this machine is the node {node} already: stop it, or give this one another name "
                f"(--hostname-override)"
            ) from None
        yield


async def refuse_a_second(api: Api, facts: NodeFacts) -> None:
    """See that no other machine is this node. Raises Fatal if one is; without an answer of the API nobody knows."""
    try:
        node = await api.get(Node, facts.name)
        if _is_this(node, facts):
            return
        log.info("the node was another machine, which may be alive", extra={"node": facts.name})
        if not await _is_renewed(api, facts.name):
            return
    except errors.NotFound:
        return
    except errors.ApiError as error:
        log.warning("cannot see whether another kubelet is this node", extra={"node": facts.name, "error": error})
        return
    address = next((a.address for a in node.status.addresses if a.type == "InternalIP"), "an unknown address")
    raise daemon.Fatal(
        f"the node {facts.name} belongs to a kubelet at {address}, which is alive: stop it, or give this one another "
        f"name (--hostname-override)"
    )


def _is_this(node: Node, facts: NodeFacts) -> bool:
    """Whether a Node is this machine, as far as it says what it is."""
    addresses = [address.address for address in node.status.addresses if address.type == "InternalIP"]
    id = node.status.nodeInfo.machineID
    return (not id or id == facts.machine.machine_id) and (not addresses or facts.ip in addresses)


async def _is_renewed(api: Api, name: str) -> bool:
    """Whether somebody renews the Lease of this name."""
    before = (await api.get(Lease, name, LEASE_NAMESPACE)).spec.renewTime
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while loop.time() < begin + PATIENCE:
        await asyncio.sleep(LOOK)
        if (await api.get(Lease, name, LEASE_NAMESPACE)).spec.renewTime != before:
            return True
    return False
