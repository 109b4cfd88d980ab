"""kube-proxy's wiring.

When the proxy ends its rules stay: they are right for the next one, and until then the kernel goes on by them (in the
mode `userspace` traffic is refused meanwhile instead of led astray). `--cleanup` removes them.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import resource
import socket

from aiohttp import web

from kube import daemon
from kube.client import flags
from kube.client.informer import Informers
from kube.proxy import explain, lean, rules, tables
from kube.proxy.health import HealthChecks
from kube.proxy.iptables import Iptables, IptablesFailed
from kube.proxy.kernel import KernelMode
from kube.proxy.node import NodeNetwork
from kube.proxy.options import Options
from kube.proxy.proxier import Proxier
from kube.proxy.services import ServicePort
from kube.proxy.state import Services
from kube.proxy.userspace import UserspaceMode
from kube.proxy.zones import Zones

log = logging.getLogger(__name__)

RENDERED_PORT = 40000
"""Local port of the first service in what `--render` prints for the mode `userspace`."""


async def run(options: Options) -> None:
    """Serve the cluster's services on this node until cancelled. Raises daemon.Fatal."""
    if options.cleanup:
        await cleanup()
    elif options.render:
        print(tables.render(await present(options)), end="")  # noqa: T201  # this is what was asked for
    elif options.explain is not None:
        local = is_local(options.explain.ip)
        told = explain.explain(await present(options), *options.explain, pods=options.cluster_cidr, local=local)
        print(told, end="")  # noqa: T201  # likewise
    else:
        await serve(options)


async def serve(options: Options) -> None:
    """Be the proxy."""
    iptables = Iptables()
    await _check_iptables(iptables)
    _allow_many_connections()
    async with flags.connect(options.client, user_agent="kube-proxy") as (_client, sources):
        informers = Informers(sources)
        services, endpoints = informers.of(lean.Service), informers.of(lean.Endpoints)
        health, zones = HealthChecks(), Zones(informers)
        proxier = Proxier(
            mode(options, Services(services, endpoints), iptables, health, zones),
            services,
            endpoints,
            sync_period=options.iptables_sync_period,
            min_sync_period=options.iptables_min_sync_period,
        )
        health.healthy = lambda: proxier.healthy
        zones.on_change = proxier.zones_changed

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


def mode(
    options: Options, services: Services, iptables: Iptables, health: HealthChecks, zones: Zones
) -> UserspaceMode | KernelMode:
    """The mode that was asked for."""
    if options.proxy_mode == "userspace":
        return UserspaceMode(
            services,
            iptables,
            service_range=options.service_cluster_ip_range,
            bind_address=options.bind_address,
            port_range=options.proxy_port_range,
            udp_timeout=options.udp_timeout,
            node_port_addresses=options.nodeport_addresses,
        )
    settings = settings_of(options)
    return KernelMode(
        services,
        iptables,
        settings,
        node=options.hostname_override or socket.gethostname().lower(),
        health=health,
        network=NodeNetwork(settings),
        zone_of=zones.of,
    )


def settings_of(options: Options) -> rules.Settings:
    """What of the flags the rules depend on, and the node's address: unless --bind-address names it, the one by which
    others reach this machine."""
    bound = options.bind_address
    return rules.Settings(
        service_range=options.service_cluster_ip_range,
        cluster_cidr=options.cluster_cidr,
        masquerade_all=options.masquerade_all,
        node_port_addresses=options.nodeport_addresses,
        localhost_node_ports=options.iptables_localhost_nodeports,
        node_ip=daemon.own_address() if bound.is_unspecified or bound.is_loopback else str(bound),
    )


async def cleanup() -> None:
    """Remove every chain, jump and rule of the proxy from this network namespace."""
    try:
        removed = await Iptables().ensure(rules.nothing())
    except IptablesFailed as failure:
        raise daemon.Fatal(f"cannot remove the rules: {failure}: be root, and have iptables installed") from None
    log.info("all rules removed" if removed else "there were no rules to remove")


async def present(options: Options) -> tuple[tables.Table, ...]:
    """The rules for the services there are now. Userspace's local ports are made up: a running proxy has its own."""
    async with flags.connect(options.client, user_agent="kube-proxy") as (_client, sources):
        informers = Informers(sources)
        services, endpoints = informers.of(lean.Service), informers.of(lean.Endpoints)
        informers.of(lean.Node)
        following = asyncio.ensure_future(informers.run())
        try:
            await informers.synced()
        finally:
            following.cancel()
        chosen = mode(options, Services(services, endpoints), Iptables(), HealthChecks(), Zones(informers))
        for service in sorted(services.list(), key=lambda service: service.key):
            chosen.update(service.key)
        ports = itertools.count(RENDERED_PORT)

        def local_port(_service: ServicePort) -> int:
            return next(ports)

        return chosen.tables(local_port) if isinstance(chosen, UserspaceMode) else chosen.tables()


def is_local(ip: str) -> bool:
    """Whether an address is one of this machine's: a socket can have it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((ip, 0))
        except OSError:
            return False
    return True


async def _check_iptables(iptables: Iptables) -> None:
    try:
        await iptables.read()
    except IptablesFailed as failure:
        raise daemon.Fatal(f"cannot use iptables: {failure}: be root, and have iptables installed") from None


def _allow_many_connections() -> None:
    """A connection takes two file descriptors; the usual soft limit of 1,024 is soon reached."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
