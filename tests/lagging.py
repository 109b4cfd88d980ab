"""Sources that are late and break off, as a network's are: caches that read them are stale, and at times start anew."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TypeVar

from kube.api import errors
from kube.api.core import Pod
from kube.api.meta import Object
from kube.client.source import Batch, Source, Sources

T = TypeVar("T", bound=Object)


class LaggingSources(Sources):
    """Gives the sources of others, each event up to `lag` seconds late, and one in `cut` lost with its stream."""

    def __init__(self, sources: Sources, seed: int, *, lag: float = 1.0, cut: int = 20) -> None:
        self._sources, self._random, self._lag, self._cut = sources, random.Random(seed), lag, cut

    def of(self, model: type[T], namespace: str = "") -> Source[T]:
        return _Lagging(self._sources.of(model, namespace), self._random, self._lag, self._cut)

    def one(self, model: type[T], namespace: str, name: str) -> Source[T]:
        return _Lagging(self._sources.one(model, namespace, name), self._random, self._lag, self._cut)

    def bound_pods(self, node: str) -> Source[Pod]:
        return _Lagging(self._sources.bound_pods(node), self._random, self._lag, self._cut)


class _Wrapped(Source[T]):
    """Another source, as it is."""

    def __init__(self, source: Source[T]) -> None:
        self._source = source

    @property
    def transform(self) -> Callable[[T], T]:
        return self._source.transform

    @transform.setter
    def transform(self, transform: Callable[[T], T]) -> None:
        self._source.transform = transform

    async def list(self) -> tuple[list[T], int]:
        return await self._source.list()


class _Lagging(_Wrapped[T]):
    def __init__(self, source: Source[T], rng: random.Random, lag: float, cut: int) -> None:
        super().__init__(source)
        self._random, self._lag, self._cut = rng, lag, cut

    async def list(self) -> tuple[list[T], int]:
        found = await self._source.list()
        await asyncio.sleep(self._random.uniform(0, self._lag))
        return found

    async def watch(self, revision: int) -> AsyncGenerator[Batch[T], None]:
        async for batch in self._source.watch(revision):
            await asyncio.sleep(self._random.uniform(0, self._lag))
            match self._random.randrange(self._cut):
                case 0:
                    raise errors.ServiceUnavailable("the stream broke")
                case 1:
                    raise errors.expired(revision, revision)
            yield batch


class LateSources(Sources):
    """Gives the sources of others, what happens to some kinds so many seconds late: races can be told in advance."""

    def __init__(self, sources: Sources, late: Mapping[type[Object], float]) -> None:
        self._sources, self._late = sources, late

    def of(self, model: type[T], namespace: str = "") -> Source[T]:
        source = self._sources.of(model, namespace)
        return _Late(source, self._late[model]) if model in self._late else source

    def one(self, model: type[T], namespace: str, name: str) -> Source[T]:
        return self._sources.one(model, namespace, name)

    def bound_pods(self, node: str) -> Source[Pod]:
        return self._sources.bound_pods(node)


class _Late(_Wrapped[T]):
    def __init__(self, source: Source[T], seconds: float) -> None:
        super().__init__(source)
        self._seconds = seconds

    async def watch(self, revision: int) -> AsyncGenerator[Batch[T], None]:
        async for batch in self._source.watch(revision):
            await asyncio.sleep(self._seconds)
            yield batch
