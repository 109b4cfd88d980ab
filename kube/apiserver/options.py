"""The apiserver's flags, named as kube-apiserver names them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from ipaddress import IPv4Network

from kube import daemon


@dataclass(frozen=True, slots=True)
class Options:
    """What the apiserver is told at its start."""

    etcd_servers: tuple[str, ...]
    insecure_bind_address: str
    insecure_port: int
    service_cluster_ip_range: IPv4Network
    service_node_port_range: range
    max_requests_inflight: int


def _ports(text: str) -> range:
    low, dash, high = text.partition("-")
    try:
        ports = range(int(low), int(high if dash else low) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a range of ports such as 30000-32767") from None
    if not ports or ports.start < 1 or ports.stop > 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a range of ports between 1 and 65535")
    return ports


def _network(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IPv4 range such as 10.96.0.0/16: {error}") from None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    flags = daemon.flags("kube-apiserver", "Serves the Kubernetes API from etcd.")
    flags.add_argument("--etcd-servers", default="http://127.0.0.1:2379", metavar="URLS",
                       help="etcd servers to connect to, comma separated (default %(default)s)")  # fmt: skip
    flags.add_argument("--insecure-bind-address", default="127.0.0.1", metavar="IP",
                       help="address to serve plain HTTP on; whoever reaches it is trusted, so keep it on loopback "
                       "(default %(default)s)")  # fmt: skip
    flags.add_argument("--insecure-port", type=int, default=8080, metavar="PORT",
                       help="port to serve plain HTTP on (default %(default)s)")  # fmt: skip
    flags.add_argument("--service-cluster-ip-range", type=_network, default="10.96.0.0/16", metavar="CIDR",
                       help="IP range that services' cluster IPs are taken from; must not overlap any range of pods "
                       "or nodes (default %(default)s)")  # fmt: skip
    flags.add_argument("--service-node-port-range", type=_ports, default="30000-32767", metavar="LOW-HIGH",
                       help="ports reserved for services of type NodePort, both ends included "
                       "(default %(default)s)")  # fmt: skip
    flags.add_argument("--max-requests-inflight", type=int, default=400, metavar="N",
                       help="requests (watches and logs not counted) answered at once; more get 429 "
                       "(default %(default)s)")  # fmt: skip
    return flags


def from_args(args: argparse.Namespace) -> Options:
    """Options from the parsed command line."""
    return Options(
        etcd_servers=tuple(url.strip() for url in args.etcd_servers.split(",") if url.strip()),
        insecure_bind_address=args.insecure_bind_address,
        insecure_port=args.insecure_port,
        service_cluster_ip_range=args.service_cluster_ip_range,
        service_node_port_range=args.service_node_port_range,
        max_requests_inflight=args.max_requests_inflight,
    )
