"""kube-proxy's wiring.

When the proxy ends its rules stay: they are right for the next one, which listens on the same ports, and until then
traffic is refused instead of led astray. `--cleanup` removes them.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import resource

from aiohttp import web

from kube import daemon
from kube.api import core
from kube.client import flags
from kube.client.informer import Informers
from kube.proxy import rules, tables
from kube.proxy.iptables import Iptables, IptablesFailed
from kube.proxy.options import Options
from kube.proxy.proxier import Proxier, Services, portals
from kube.proxy.roundrobin import RoundRobin

log = logging.getLogger(__name__)

RENDERED_PORT = 40000
"""Local port of the first service in what `--render` prints."""


async def run(options: Options) -> None:
    """Serve the cluster's services on this node until cancelled. Raises daemon.Fatal."""
    if options.cleanup:
        await cleanup()
    elif options.render:
        print(await render(options), end="")  # noqa: T201  # this is what was asked for
    else:
        await serve(options)


async def serve(options: Options) -> None:
    """Be the proxy."""
    iptables = Iptables()
    await _check_iptables(iptables)
    _allow_many_connections()
    async with flags.connect(options.client, user_agent="kube-proxy") as (_client, sources):
        informers = Informers(sources)
        proxier = Proxier(
            informers.of(core.Service),
            informers.of(core.Endpoints),
            iptables,
            service_range=options.service_cluster_ip_range,
            bind_address=options.bind_address,
            port_range=options.proxy_port_range,
            udp_timeout=options.udp_timeout,
            sync_period=options.iptables_sync_period,
            min_sync_period=options.iptables_min_sync_period,
        )

        async def proxy_mode(_request: web.Request) -> web.Response:
            return web.Response(text=options.proxy_mode)

        async with (
            daemon.serve_health(
                options.healthz_bind_address,
                options.healthz_port,
                {"rules": proxier.check},
                [web.get("/proxyMode", proxy_mode)],
                flag="--healthz-port",
            ),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(informers.run(), name="informers")
            tasks.create_task(proxier.run(), name="proxier")


async def cleanup() -> None:
    """Remove every chain, jump and rule of the proxy from this network namespace."""
    try:
        removed = await Iptables().ensure(rules.nothing())
    except IptablesFailed as failure:
        raise daemon.Fatal(f"cannot remove the rules: {failure}: be root, and have iptables installed") from None
    log.info("all rules removed" if removed else "there were no rules to remove")


async def render(options: Options) -> str:
    """The rules for the services there are now. Local ports are made up: a running proxy has its own."""
    async with flags.connect(options.client, user_agent="kube-proxy") as (_client, sources):
        informers = Informers(sources)
        services, endpoints = informers.of(core.Service), informers.of(core.Endpoints)
        following = asyncio.ensure_future(informers.run())
        try:
            await informers.synced()
        finally:
            following.cancel()
        known = Services(services, endpoints, RoundRobin())
        for service in sorted(services.list(), key=lambda service: service.key):
            known.update(service.key)
        ports = itertools.count(RENDERED_PORT)
        plan = portals(known.all(), known.has_backends, lambda port: next(ports) if known.has_backends(port) else 0)
        return tables.render(rules.userspace(plan, options.service_cluster_ip_range, options.bind_address))


async def _check_iptables(iptables: Iptables) -> None:
    try:
        await iptables.read()
    except IptablesFailed as failure:
        raise daemon.Fatal(f"cannot use iptables: {failure}: be root, and have iptables installed") from None


def _allow_many_connections() -> None:
    """A connection takes two file descriptors; the usual soft limit of 1,024 is soon reached."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
