"""Sources whose objects are without what the proxy never looks at: it holds all services and endpoints of a cluster.

Most of an Endpoints object is which pods its addresses belong to. Who managed which field is of no use here either.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TypeVar

from kube.api import core
from kube.api.meta import Object
from kube.client.source import Batch, Source, Sources

T = TypeVar("T", bound=Object)


class LeanSource(Source[T]):
    """A source, trimmed."""

    def __init__(self, source: Source[T]) -> None:
        self._source = source

    async def list(self) -> tuple[list[T], int]:
        objects, revision = await self._source.list()
        for obj in objects:
            trim(obj)
        return objects, revision

    async def watch(self, revision: int) -> AsyncGenerator[Batch[T], None]:
        async for batch in self._source.watch(revision):
            for event in batch:
                if event.object is not None:
                    trim(event.object)
            yield batch


class LeanSources:
    """Gives trimmed sources."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def of(self, model: type[T], namespace: str = "") -> Source[T]:
        return LeanSource(self._sources.of(model, namespace))

    def one(self, model: type[T], namespace: str, name: str) -> Source[T]:
        return LeanSource(self._sources.one(model, namespace, name))

    def bound_pods(self, node: str) -> Source[core.Pod]:
        return self._sources.bound_pods(node)


def trim(obj: Object) -> None:
    """Take away what the proxy does not look at."""
    if obj.metadata.managedFields:
        obj.metadata.managedFields = []
    if isinstance(obj, core.Endpoints):
        for subset in obj.subsets:
            if subset.notReadyAddresses:
                subset.notReadyAddresses = []
            for address in subset.addresses:
                address.targetRef = None
