"""kube-proxy's flags, under the names that Kubernetes gives them.

One default differs: `--iptables-min-sync-period` is 0.1 s, not 1 s, so that a burst of changes is one sync and a single
change still takes effect within moments.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from kube import daemon
from kube.client import flags
from kube.client.flags import ClientOptions
from kube.proxy.portals import ANY_ADDRESS

MODES = ("iptables", "userspace")
SERVICE_RANGE = IPv4Network("10.96.0.0/16")


class Asked(NamedTuple):
    """What `--explain` is asked about."""

    ip: str
    port: int
    protocol: str
    """In lower case."""


@dataclass(frozen=True, slots=True)
class Options:
    """What kube-proxy was asked to do."""

    client: ClientOptions = field(default_factory=ClientOptions)
    proxy_mode: str = "iptables"
    bind_address: IPv4Address = ANY_ADDRESS
    healthz_bind_address: str = "127.0.0.1"
    healthz_port: int = 10249
    hostname_override: str = ""
    proxy_port_range: range | None = None
    service_cluster_ip_range: IPv4Network = SERVICE_RANGE
    cluster_cidr: IPv4Network | None = None
    nodeport_addresses: tuple[str, ...] = ()
    iptables_localhost_nodeports: bool = True
    iptables_sync_period: float = 30.0
    iptables_min_sync_period: float = 0.1
    udp_timeout: float = 0.25
    masquerade_all: bool = False
    cleanup: bool = False
    render: bool = False
    explain: Asked | None = None


def parser() -> argparse.ArgumentParser:
    """kube-proxy's command line."""
    parser = daemon.flags("kube-proxy", "Serve the cluster's services on this node.")
    flags.add_flags(parser)
    parser.add_argument("--proxy-mode", choices=MODES, default="iptables", help="how traffic gets to the backends")
    parser.add_argument(
        "--bind-address", type=IPv4Address, default=ANY_ADDRESS, metavar="IP",
        help="address to take redirected traffic at; 0.0.0.0: at all of the node's",
    )  # fmt: skip
    parser.add_argument("--healthz-bind-address", default="127.0.0.1", metavar="IP", help="where to serve health")
    parser.add_argument(
        "--healthz-port", type=int, default=10249, metavar="PORT", help="port of /healthz, /metrics and /proxyMode"
    )
    parser.add_argument(
        "--hostname-override", default="", metavar="NAME", help="name of the node, if it is not the host's"
    )
    parser.add_argument(
        "--proxy-port-range", type=_port_range, default=None, metavar="FIRST-LAST",
        help="local ports to listen on for services; any free port unless given",
    )  # fmt: skip
    parser.add_argument(
        "--service-cluster-ip-range", type=_network, default=SERVICE_RANGE, metavar="CIDR",
        help="range of cluster IPs: what no service holds of it is refused",
    )  # fmt: skip
    parser.add_argument(
        "--cluster-cidr", type=_network, default=None, metavar="CIDR",
        help="range of all pods: whoever comes to a cluster IP from elsewhere is masqueraded, and pod traffic is let "
        "through the node",
    )  # fmt: skip
    parser.add_argument(
        "--nodeport-addresses", type=_networks, default=(), metavar="CIDR,...",
        help="serve node ports at the node's addresses in these networks only",
    )  # fmt: skip
    daemon.add_bool(parser, "--iptables-localhost-nodeports", True, "serve node ports on 127.0.0.0/8 too")
    parser.add_argument(
        "--iptables-sync-period", type=_positive_duration, default=30.0, metavar="TIME",
        help="how often to put right what others did to the rules, such as 30s or 1m",
    )  # fmt: skip
    parser.add_argument(
        "--iptables-min-sync-period", type=daemon.duration, default=0.1, metavar="TIME",
        help="least time between two syncs: changes in between are gathered",
    )  # fmt: skip
    parser.add_argument(
        "--udp-timeout", type=_positive_duration, default=0.25, metavar="TIME",
        help="how long a client of a UDP service stays with a backend when nothing passes",
    )  # fmt: skip
    daemon.add_bool(
        parser, "--masquerade-all", False,
        "let backends see the node's address as the client's for all cluster IP traffic: userspace does so anyway",
    )  # fmt: skip
    daemon.add_bool(parser, "--cleanup", False, "remove every trace of the proxy from iptables, and exit")
    daemon.add_bool(parser, "--render", False, "print the rules for the services there are, and exit; needs no root")
    parser.add_argument(
        "--explain", type=_asked, default=None, metavar="IP[:PORT][/udp]",
        help="say in words where a packet to there goes, by the rules for the services there are, and exit",
    )  # fmt: skip
    return parser


def from_args(args: argparse.Namespace) -> Options:
    """Options from parsed flags."""
    return Options(
        client=flags.from_args(args),
        proxy_mode=args.proxy_mode,
        bind_address=args.bind_address,
        healthz_bind_address=args.healthz_bind_address,
        healthz_port=args.healthz_port,
        hostname_override=args.hostname_override,
        proxy_port_range=args.proxy_port_range,
        service_cluster_ip_range=args.service_cluster_ip_range,
        cluster_cidr=args.cluster_cidr,
        nodeport_addresses=args.nodeport_addresses,
        iptables_localhost_nodeports=args.iptables_localhost_nodeports,
        iptables_sync_period=args.iptables_sync_period,
        iptables_min_sync_period=args.iptables_min_sync_period,
        udp_timeout=args.udp_timeout,
        masquerade_all=args.masquerade_all,
        cleanup=args.cleanup,
        render=args.render,
        explain=args.explain,
    )


def _network(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}: give it as 10.96.0.0/16") from None


def _networks(text: str) -> tuple[str, ...]:
    """Networks as iptables writes them; none: all. Kubernetes' word `primary` is not among them."""
    found = [_network(part) for part in daemon.comma_separated(text)]
    return () if any(network.prefixlen == 0 for network in found) else tuple(map(str, found))


def _asked(text: str) -> Asked:
    rest, _, protocol = text.partition("/")
    ip, _, port = rest.partition(":")
    try:
        return Asked(str(IPv4Address(ip)), int(port or "80"), {"": "tcp", "tcp": "tcp", "udp": "udp"}[protocol])
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an address such as 10.96.0.12:80 or 10.96.0.10:53/udp"
        ) from None


def _positive_duration(text: str) -> float:
    seconds = daemon.duration(text)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not more than 0")
    return seconds


def _port_range(text: str) -> range | None:
    """`FIRST-LAST` or `FIRST+COUNT`, as Kubernetes reads it; empty or 0-0: any port."""
    if text in ("", "0", "0-0"):
        return None
    first, sign, rest = (text.partition("+") if "+" in text else text.partition("-"))  # fmt: skip
    try:
        begin = int(first)
        end = begin + int(rest) if sign == "+" else int(rest) if sign else begin
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a range such as 40000-40999") from None
    if not 0 < begin <= end <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a range between 1 and 65535")
    return range(begin, end + 1)
