"""A controller manager over the API in memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kube.api.core import Event
from kube.client.informer import Informers
from kube.client.source import EtcdSources, Sources
from kube.controller_manager.controller import Controller
from kube.controller_manager.options import Options
from kube.controller_manager.server import build
from tests.memory_api import MemoryApi


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Also what a test does not look at: a log call may fail, too."""
    caplog.set_level(logging.DEBUG, "kube")


@contextlib.asynccontextmanager
async def controllers(
    api: MemoryApi, *names: str, sources: Sources | None = None, options: Options | None = None
) -> AsyncIterator[dict[str, Controller]]:
    """These controllers, at work on whatever is in the API already; killed in mid-step at the end."""
    informers = Informers(sources or EtcdSources(api.store))
    made, recorders = build(options or Options(controllers=names), api, informers)
    tasks = [asyncio.ensure_future(informers.run()), *(asyncio.ensure_future(r.run()) for r in recorders)]
    try:
        await informers.synced()
        tasks += [asyncio.ensure_future(controller.run()) for controller in made]
        yield {controller.name: controller for controller in made}
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    """Let virtual time pass until something holds."""
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.05)


async def events(api: MemoryApi, reason: str) -> list[str]:
    """The messages of the events of a reason."""
    return sorted(e.message for e in (await api.list(Event)).items if e.reason == reason)
