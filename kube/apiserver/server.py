"""The apiserver's wiring, top to bottom."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import ssl
from collections.abc import Iterator
from ipaddress import IPv4Address

import uvicorn
from prometheus_client import REGISTRY

from kube import daemon
from kube.api.resources import RESOURCES
from kube.api.unstructured import Unstructured
from kube.apiserver import certificates, metrics, openid, policy, workers
from kube.apiserver.access import Access
from kube.apiserver.app import Api, App
from kube.apiserver.asgi import Application
from kube.apiserver.bootstrap import create_namespaces, create_priority_classes
from kube.apiserver.cache import Cache
from kube.apiserver.discovery import Discovery
from kube.apiserver.handlers import Handlers
from kube.apiserver.kubernetes_service import Address, KubernetesService
from kube.apiserver.nodes import NodeClient
from kube.apiserver.options import Options
from kube.apiserver.pages import pages
from kube.apiserver.protocol import HttpProtocol
from kube.apiserver.registry import strategies
from kube.apiserver.secure import Secure, SecureProtocol
from kube.apiserver.timed_store import TimedStore
from kube.apiserver.verbs import Verbs
from kube.store.compaction import Compactor
from kube.store.etcd import EtcdStore

log = logging.getLogger(__name__)

SHUTDOWN = 2
"""Seconds that requests have to end when the apiserver stops; watches are ended at once."""


PATIENCE = 3.0
"""Seconds that a worker's clients wait for it to be ready; when etcd is away, they have to be told."""

ETCD_CHECK = 2.0
"""Seconds that etcd has to answer when its health is asked for (upstream's --etcd-healthcheck-timeout)."""


class Server(uvicorn.Server):
    """uvicorn, with signals left to the daemon shell."""

    def __init__(self, app: Application, protocol: type[HttpProtocol], tls: ssl.SSLContext | None = None) -> None:
        """`protocol`: what speaks HTTP on a connection; with `tls`, inside of that."""
        config = uvicorn.Config(
            app,
            http=protocol,
            log_config=None,
            access_log=False,
            # Nobody's word is taken for where he comes from.
            proxy_headers=False,
            lifespan="off",
            timeout_graceful_shutdown=SHUTDOWN,
        )
        config.load()
        config.ssl = tls
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run(options: Options) -> None:
    """Serve the API until cancelled."""
    listener, *secure_listeners = workers.inherited(options) if options.worker_sockets else _listen(options)
    store = EtcdStore(options.etcd_servers)
    nodes = NodeClient(certificates.kubelet_context(options))
    cache = Cache(store)
    metrics.watch_stored(cache)
    rules = strategies(
        cache,
        options.service_cluster_ip_range,
        options.service_node_port_range,
        options.disable_admission_plugins,
    )
    timed = TimedStore(store)
    REGISTRY.register(timed)
    verbs = Verbs(timed, cache, rules)
    access = Access.of(options, verbs)
    handlers = Handlers(verbs, cache, nodes, access=access)
    address = f"{options.advertise_address}:{options.secure_port}" if options.secure_port else ""
    discovery = Discovery(address=address)
    in_flight = -(-options.max_requests_inflight // options.workers)
    api = Api(handlers, discovery, max_in_flight=in_flight, timeout=options.request_timeout)
    service = kubernetes_service(options, verbs)
    prepared = asyncio.Event()
    rest = pages(discovery, _checks(store, cache, prepared))
    app = App(api, rest)
    if access.tokens is not None:
        openid.add_pages(rest, access.tokens, f"{options.advertise_address}:{options.secure_port}")
    servers = [(Server(app, HttpProtocol), listener)]
    for secure_listener in secure_listeners:
        secure = Secure(app, access)
        servers.append((Server(secure, SecureProtocol, certificates.server_context(options)), secure_listener))
    try:
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(cache.run(), name="cache")
            progress = tasks.create_task(cache.progress(), name="progress")
            compactor = Compactor(store, options.etcd_compaction_interval)
            compacting = tasks.create_task(compactor.run(), name="compaction")
            bootstrap = tasks.create_task(_prepare(options, cache, verbs, service, prepared), name="bootstrap")
            if access.tokens is not None:
                # What is wrong with a key is told now; and it takes long.
                tasks.create_task(access.tokens.load(), name="service-account-keys")
            if options.worker_sockets:
                # Its ports answer already, by the other workers: it joins them when it can.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE):
                        await prepared.wait()
            serving = [tasks.create_task(server.serve([sock]), name="http") for server, sock in servers]
            log.info("serving address=%s port=%d", options.insecure_bind_address, options.insecure_port)
            if options.secure_port:
                log.info("serving securely address=%s port=%d", options.bind_address, options.secure_port)
            try:
                await asyncio.wait(serving, return_when=asyncio.FIRST_COMPLETED)
            finally:
                handlers.stopping.set()
                for objects in cache.resources.values():
                    objects.wake()
                for server, _ in servers:
                    server.should_exit = True
                await asyncio.wait(serving)
                following.cancel()
                progress.cancel()
                compacting.cancel()
                bootstrap.cancel()
                if service is not None:
                    await service.leave()
    finally:
        await nodes.close()
        await store.close()


def _listen(options: Options) -> list[socket.socket]:
    """The ports, the plain one first. Raises Fatal."""
    listeners = [daemon.listen(options.insecure_bind_address, options.insecure_port, flag="--insecure-port")]
    if options.secure_port:
        listeners.append(daemon.listen(options.bind_address, options.secure_port, flag="--secure-port"))
    return listeners


def kubernetes_service(options: Options, verbs: Verbs) -> KubernetesService | None:
    """Our part in the service `kubernetes`; None: pods cannot reach us, or shall not."""
    if not options.secure_port or options.endpoint_reconciler_type == "none":
        return None
    if IPv4Address(options.advertise_address).is_loopback:
        log.warning("there is no address by which pods could reach the apiserver: see --advertise-address")
        return None
    first = str(options.service_cluster_ip_range[1])
    return KubernetesService(verbs, Address(options.advertise_address, options.secure_port, first))


async def _prepare(
    options: Options, cache: Cache, verbs: Verbs, service: KubernetesService | None, prepared: asyncio.Event
) -> None:
    await cache.ready.wait()
    await create_namespaces(verbs)
    await create_priority_classes(verbs)
    if "RBAC" in options.authorization_mode:
        await policy.ensure(verbs)
    if service is not None:
        await service.try_reconcile()
    prepared.set()
    # Models are built at first use (kube/api/meta.py): better now than when somebody waits.
    for resource in RESOURCES:
        if not issubclass(resource.model, Unstructured):
            resource.model.model_rebuild()
            await asyncio.sleep(0)
    # What is there by now stays. To look through all of it once more is a pause of a tenth of a second.
    gc.freeze()
    # A request leaves no cycles behind, only hundreds of objects that go by themselves: looking for some after each is
    # a fifth of what a GET costs.
    gc.set_threshold(20_000, 20, 20)
    if service is not None:
        await service.run()


def _checks(store: EtcdStore, cache: Cache, prepared: asyncio.Event) -> dict[str, daemon.Check]:
    async def ping() -> None:
        return

    async def etcd() -> None:
        try:
            async with asyncio.timeout(ETCD_CHECK):
                await store.revision()
        except TimeoutError:
            raise RuntimeError(f"no answer within {ETCD_CHECK:g} s") from None

    async def synced() -> None:
        if not cache.ready.is_set():
            raise RuntimeError("the cache has not been filled yet")
        if not prepared.is_set():
            raise RuntimeError("the first namespaces have not been created yet")

    return {"ping": ping, "etcd": etcd, "poststarthook/start-cache": synced}
