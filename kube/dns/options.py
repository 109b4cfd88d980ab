"""kube-dns' flags."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

from kube import daemon
from kube.client import flags
from kube.client.flags import ClientOptions

DOMAIN = "cluster.local"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Options:
    """What kube-dns was asked to do."""

    client: ClientOptions = field(default_factory=ClientOptions)
    address: str = LOOPBACK
    """Empty: that of this node among its pods."""
    port: int = 10053
    healthz_bind_address: str = "127.0.0.1"
    healthz_port: int = 10254
    domain: str = DOMAIN
    resolv_conf: str = "/etc/resolv.conf"
    cluster_ip: str = ""
    hostname_override: str = ""


def parser() -> argparse.ArgumentParser:
    """kube-dns' command line."""
    parser = daemon.flags("kube-dns", "Answer for the names of services and pods, and forward all others.")
    flags.add_flags(parser)
    parser.add_argument(
        "--address", default="", metavar="IP",
        help=f"where to answer, by UDP and TCP (default: {LOOPBACK}; with --cluster-ip the node's address on the "
        "bridge of its pods, the first of the range that its Node was given)",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=10053, metavar="PORT", help="port to answer on")
    parser.add_argument(
        "--healthz-bind-address", default="127.0.0.1", metavar="IP", help="where to serve health and metrics"
    )
    parser.add_argument("--healthz-port", type=int, default=10254, metavar="PORT", help="port of /healthz and /metrics")
    parser.add_argument("--domain", default=DOMAIN, metavar="DOMAIN", help="the cluster's domain")
    parser.add_argument(
        "--resolv-conf", default="/etc/resolv.conf", metavar="FILE",
        help="file that names the name servers for everything else; empty: none",
    )  # fmt: skip
    parser.add_argument(
        "--cluster-ip", default="", metavar="IP",
        help="keep the service kube-system/kube-dns at this address, with this process behind it",
    )  # fmt: skip
    parser.add_argument(
        "--hostname-override", default="", metavar="NAME", help="name of the node, if it is not the host's"
    )
    return parser


def from_args(args: argparse.Namespace) -> Options:
    """The options that the flags stand for. Raises daemon.Fatal."""
    if args.cluster_ip and (args.address.startswith("127.") or args.address == "0.0.0.0"):
        raise daemon.Fatal("--cluster-ip needs an --address that pods can reach: the node's, not loopback and not all")
    return Options(
        client=flags.from_args(args),
        address=args.address or ("" if args.cluster_ip else LOOPBACK),
        port=args.port,
        healthz_bind_address=args.healthz_bind_address,
        healthz_port=args.healthz_port,
        domain=args.domain,
        resolv_conf=args.resolv_conf,
        cluster_ip=args.cluster_ip,
        hostname_override=args.hostname_override,
    )
