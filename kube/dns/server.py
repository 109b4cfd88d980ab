"""kube-dns' wiring.

A process of its own, and not a part of every node's proxy: the proxy writes iptables as root and must not stop for
anything, and what parses the packets of strangers is better apart from it. It keeps nothing. One is enough where all
pods are on one node; where nodes get their ranges from the controller manager one runs on each, for the pods of its
node first (`trafficDistribution: PreferSameNode`), so that a node that is lost takes nobody else's names away.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from ipaddress import ip_address
from pathlib import Path

from kube import daemon
from kube.api.core import Endpoints, Node, Service
from kube.client import flags
from kube.client.informer import Informer, Informers
from kube.dns.listener import listening
from kube.dns.options import Options
from kube.dns.place import Place
from kube.dns.records import Known, Records
from kube.dns.registration import Answering, Registration
from kube.dns.resolver import Resolver

log = logging.getLogger(__name__)

BY_IP = "ip"


async def run(options: Options) -> None:
    """Answer until cancelled. Raises daemon.Fatal."""
    async with flags.connect(options.client, user_agent="kube-dns") as (client, sources):
        informers = Informers(sources)
        services, endpoints = informers.of(Service), informers.of(Endpoints)
        nodes = informers.of(Node) if not options.address else None
        node = (options.hostname_override or socket.gethostname().lower()) if nodes is not None else ""
        place = Place(nodes, node) if nodes is not None else None
        records = Records(options.domain, known(services, endpoints))
        registration = (
            Registration(client, services, endpoints, options.cluster_ip, nodes) if options.cluster_ip else None
        )

        def in_sync() -> None:
            if not (services.has_synced and endpoints.has_synced and (nodes is None or nodes.has_synced)):
                raise RuntimeError("the caches are not filled yet")

        async def answer(address: str) -> None:
            resolver = Resolver(records, upstreams(options, address))
            async with listening(address, options.port, resolver.respond) as port:
                log.info("answering", extra={"address": address, "port": port, "domain": options.domain})
                if registration is not None:
                    await registration.run(Answering(node, address, port))
                else:
                    await asyncio.Event().wait()

        async with (
            daemon.serve_health(
                options.healthz_bind_address, options.healthz_port, {"informers": in_sync}, flag="--healthz-port"
            ),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(informers.run(), name="informers")
            await informers.synced()
            if place is None:
                await answer(options.address)
            else:
                await place.follow(answer)


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


def upstreams(options: Options, address: str) -> list[tuple[str, int]]:
    """The node's name servers, without this process itself: a question would go round for ever."""
    if not options.resolv_conf:
        return []
    try:
        lines = Path(options.resolv_conf).read_text().splitlines()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise daemon.Fatal(f"cannot read --resolv-conf={options.resolv_conf}: {why}") from None
    servers = [words[1] for line in lines if len(words := line.split()) > 1 and words[0] == "nameserver"]
    for server in servers:
        if not _is_address(server):  # the C library passes over it as well
            log.warning("%s: nameserver %s is not an address: it is not asked", options.resolv_conf, server)
    return [(server, 53) for server in servers if _is_address(server) and server not in (options.cluster_ip, address)]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
