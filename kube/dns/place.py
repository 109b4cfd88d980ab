"""Where kube-dns answers on a node: at the node's own address among its pods, which pods of all nodes can reach.

It is the first of the range that the controller manager gave the Node, and that of the bridge which the kubelet makes
of the range. Until there is a range there is nowhere to answer, and no pod either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from ipaddress import IPv4Network
from typing import Any

from kube.api.core import Node
from kube.client.informer import Informer


class Place:
    """Follows the address of a node among its pods."""

    def __init__(self, nodes: Informer[Node], node: str) -> None:
        self._nodes, self._node = nodes, node
        self._news = asyncio.Event()
        nodes.on_change(self._changed)

    async def follow(self, answer: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        """Have `answer` run with the address: from when there is one, and anew when it is another."""
        address = ""
        while True:
            address = await self._other_than(address)
            async with asyncio.TaskGroup() as tasks:
                answering = tasks.create_task(answer(address), name=f"answering at {address}")
                await self._other_than(address)
                answering.cancel()

    async def _other_than(self, address: str) -> str:
        """The address, once it is known and not this one."""
        while True:
            self._news.clear()
            node = self._nodes.get(self._node)
            now = address_of(node) if node is not None else ""
            if now not in ("", address):
                return now
            await self._news.wait()

    def _changed(self, old: Node | None, new: Node | None) -> None:
        if (new or old).name == self._node:  # type: ignore[union-attr]  # one of them is there
            self._news.set()


def address_of(node: Node) -> str:
    """A node's own address in its range of pods; empty if it has none."""
    try:
        return str(IPv4Network(node.spec.podCIDR)[1])
    except (ValueError, IndexError):
        return ""
