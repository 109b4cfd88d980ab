"""Which zone each node is in, for services whose traffic is to stay in the zone it comes from.

Nodes are followed from when the first such service is seen: most clusters have none, and nodes change often.
"""

from __future__ import annotations

from collections.abc import Callable

from kube.client.informer import Informer, Informers
from kube.proxy import lean


class Zones:
    """The zones of nodes."""

    def __init__(self, informers: Informers) -> None:
        self._informers = informers
        self._nodes: Informer[lean.Node] | None = None
        self.on_change: Callable[[], None] = lambda: None
        """Called when a node's zone has become another."""

    def of(self, node: str) -> str:
        """A node's zone; empty if it is not known, or not yet."""
        if self._nodes is None:
            self._nodes = self._informers.of(lean.Node)
            self._nodes.on_change(self._changed)
        found = self._nodes.get(node)
        return found.zone if found is not None else ""

    def _changed(self, old: lean.Node | None, new: lean.Node | None) -> None:
        if (old.zone if old else "") != (new.zone if new else ""):
            self.on_change()
