"""kube-dns' wiring.

A process of its own, and not a part of every node's proxy: the proxy writes iptables as root and must not stop for
anything, and what parses the packets of strangers is better apart from it. One is enough for a cluster; as it keeps
nothing, a second is a second.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from kube import daemon
from kube.api.core import Endpoints, Service
from kube.client import flags
from kube.client.informer import Informer, Informers
from kube.dns.listener import listening
from kube.dns.options import Options
from kube.dns.records import Known, Records
from kube.dns.registration import Registration
from kube.dns.resolver import Resolver

log = logging.getLogger(__name__)

BY_IP = "ip"


async def run(options: Options) -> None:
    """Answer until cancelled. Raises daemon.Fatal."""
    async with flags.connect(options.client, user_agent="kube-dns") as (client, sources):
        informers = Informers(sources)
        services, endpoints = informers.of(Service), informers.of(Endpoints)
        resolver = Resolver(Records(options.domain, known(services, endpoints)), _upstreams(options))
        registration = Registration(client, services, endpoints, options.cluster_ip) if options.cluster_ip else None

        def in_sync() -> None:
            if not (services.has_synced and endpoints.has_synced):
                raise RuntimeError("the caches are not filled yet")

        async with (
            daemon.serve_health(
                options.healthz_bind_address, options.healthz_port, {"informers": in_sync}, flag="--healthz-port"
            ),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(informers.run(), name="informers")
            await informers.synced()
            async with listening(options.address, options.port, resolver.respond) as port:
                log.info("answering", extra={"address": options.address, "port": port, "domain": options.domain})
                if registration is not None:
                    await registration.run(options.address, port)
                else:
                    await asyncio.Event().wait()


def known(services: Informer[Service], endpoints: Informer[Endpoints]) -> Known:
    """The caches, as records look them up."""
    services.add_index(BY_IP, lambda service: [service.spec.clusterIP])
    endpoints.add_index(BY_IP, lambda each: {a.ip for subset in each.subsets for a in subset.addresses})
    return Known(
        service=services.get,
        endpoints=endpoints.get,
        has_services=lambda namespace: bool(services.list(namespace)),
        services_of_ip=lambda ip: services.indexed(BY_IP, ip),
        endpoints_of_ip=lambda ip: endpoints.indexed(BY_IP, ip),
    )


def _upstreams(options: Options) -> list[tuple[str, int]]:
    """The node's name servers, without this process itself: a question would go round for ever."""
    if not options.resolv_conf:
        return []
    try:
        lines = Path(options.resolv_conf).read_text().splitlines()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise daemon.Fatal(f"cannot read --resolv-conf={options.resolv_conf}: {why}") from None
    servers = [words[1] for line in lines if len(words := line.split()) > 1 and words[0] == "nameserver"]
    return [(server, 53) for server in servers if server not in (options.cluster_ip, options.address)]
