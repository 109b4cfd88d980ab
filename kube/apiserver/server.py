"""The apiserver's wiring, top to bottom."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import uvicorn

from kube import daemon
from kube.api.resources import NAMESPACES
from kube.apiserver.app import Api, App
from kube.apiserver.bootstrap import create_namespaces
from kube.apiserver.cache import Cache
from kube.apiserver.discovery import Discovery
from kube.apiserver.handlers import Handlers
from kube.apiserver.nodes import NodeClient
from kube.apiserver.options import Options
from kube.apiserver.pages import pages
from kube.apiserver.registry import strategies
from kube.apiserver.upgrade import HttpProtocol
from kube.apiserver.verbs import Verbs
from kube.store.etcd import EtcdStore

log = logging.getLogger(__name__)

SHUTDOWN = 2
"""Seconds that requests have to end when the apiserver stops; watches are ended at once."""


class Server(uvicorn.Server):
    """uvicorn, with signals left to the daemon shell."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run(options: Options) -> None:
    """Serve the API until cancelled."""
    listener = daemon.listen(options.insecure_bind_address, options.insecure_port, flag="--insecure-port")
    store = EtcdStore(options.etcd_servers)
    nodes = NodeClient()
    cache = Cache(store)
    verbs = Verbs(store, cache, strategies(cache, options.service_cluster_ip_range, options.service_node_port_range))
    handlers = Handlers(verbs, cache, nodes)
    discovery = Discovery()
    api = Api(handlers, discovery, max_in_flight=options.max_requests_inflight)
    server = Server(
        uvicorn.Config(
            App(api, pages(discovery, _checks(store, cache))),
            http=HttpProtocol,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=SHUTDOWN,
        )
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(cache.run(), name="cache")
            progress = tasks.create_task(cache.progress(), name="progress")
            tasks.create_task(_prepare(cache, verbs), name="bootstrap")
            serving = tasks.create_task(server.serve([listener]), name="http")
            log.info("serving address=%s port=%d", options.insecure_bind_address, options.insecure_port)
            try:
                await asyncio.shield(serving)
            finally:
                handlers.stopping.set()
                for objects in cache.resources.values():
                    objects.wake()
                server.should_exit = True
                if not serving.done():
                    await asyncio.wait([serving])
                following.cancel()
                progress.cancel()
    finally:
        await nodes.close()
        await store.close()


async def _prepare(cache: Cache, verbs: Verbs) -> None:
    await cache.ready.wait()
    await create_namespaces(verbs)


def _checks(store: EtcdStore, cache: Cache) -> dict[str, daemon.Check]:
    async def ping() -> None:
        return

    async def etcd() -> None:
        await store.revision()

    async def synced() -> None:
        if not cache.ready.is_set():
            raise RuntimeError("the cache has not been filled yet")
        if not cache.of(NAMESPACES).entries:
            raise RuntimeError("the first namespaces have not been created yet")

    return {"ping": ping, "etcd": etcd, "poststarthook/start-cache": synced}
