"""Where a pod looks names up: its resolv.conf, from its dnsPolicy and dnsConfig, the cluster's DNS and the node's own.

The rules and limits are upstream's (pkg/kubelet/network/dns/dns.go). The file is the kubelet's: Docker's own resolver,
which Docker would name first in every container of its network, has no part in it.

Where Kubernetes differs: without a cluster DNS it tells so in an event of every pod with the policy ClusterFirst.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kube.api.core import Pod

MAX_SERVERS = 3
MAX_SEARCHES, MAX_SEARCH_LENGTH = 32, 2048
"""Search domains, and characters of all of them: what a resolver takes."""


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """A resolv.conf."""

    servers: Sequence[str] = ()
    searches: Sequence[str] = ()
    options: Sequence[str] = ()

    def render(self) -> str:
        """Its text."""
        lines = [f"nameserver {server}" for server in self.servers]
        lines += [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Dns:
    """What a node's pods are told of."""

    servers: Sequence[str] = ()
    """The cluster's DNS; none: pods use the node's."""
    domain: str = ""
    node: ResolvConf = field(default_factory=ResolvConf)
    """What the node itself uses."""


def parse(lines: Iterable[str]) -> ResolvConf:
    """A resolv.conf's lines; of several `search` and `options` the last counts."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in lines:
        match line.split():
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *domains]:
                searches = [domain if domain == "." else domain.removesuffix(".") for domain in domains]
            case ["options", *words]:
                options = words
    return ResolvConf(servers, searches, options)


def resolver(pod: Pod, dns: Dns) -> tuple[ResolvConf, list[str]]:
    """A pod's resolv.conf, and what had to be left out of it: the messages of its DNSConfigForming events."""
    found = _by_policy(pod, dns)
    if (own := pod.spec.dnsConfig) is not None:
        chosen = {option.name for option in own.options}
        options = [option for option in found.options if option.partition(":")[0] not in chosen]
        options += [o.name if o.value is None else f"{o.name}:{o.value}" for o in own.options]
        found = ResolvConf([*found.servers, *own.nameservers], [*found.searches, *own.searches], options)
    return _limited(found)


def _by_policy(pod: Pod, dns: Dns) -> ResolvConf:
    policy = pod.spec.dnsPolicy or "ClusterFirst"
    if policy == "None":
        return ResolvConf()
    if policy == "Default" or not dns.servers or (policy == "ClusterFirst" and pod.spec.hostNetwork):
        return dns.node
    cluster = [f"{pod.namespace}.svc.{dns.domain}", f"svc.{dns.domain}", dns.domain] if dns.domain else []
    return ResolvConf(dns.servers, [*cluster, *dns.node.searches], ["ndots:5"])


def _limited(wanted: ResolvConf) -> tuple[ResolvConf, list[str]]:
    """As much of it as a resolver takes."""
    told = []
    servers, searches = list(dict.fromkeys(wanted.servers)), list(dict.fromkeys(wanted.searches))
    if len(servers) > MAX_SERVERS:
        servers = servers[:MAX_SERVERS]
        told.append(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
            + " ".join(servers)
        )
    fitting = searches[:MAX_SEARCHES]
    while len(" ".join(fitting)) > MAX_SEARCH_LENGTH:
        fitting.pop()
    if len(fitting) < len(searches):
        told.append(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "
            + " ".join(fitting)
        )
    return ResolvConf(servers, fitting, list(wanted.options)), told
