"""kube-controller-manager's flags, under the names that Kubernetes gives them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from kube import daemon
from kube.client import flags, leaderelection
from kube.client.flags import ClientOptions
from kube.client.leaderelection import ElectionOptions

ALIASES = {
    "replicationcontroller": ("replication", "rc", "replicationcontroller-controller"),
    "endpoint": ("endpoints", "endpoints-controller"),
    "endpointslice": ("endpointslice-controller",),
    "endpointslicemirroring": ("endpointslice-mirroring-controller",),
    "garbagecollector": ("gc", "garbage-collector-controller"),
    "namespace": ("ns", "namespace-controller"),
    "nodeipam": ("node-ipam-controller",),
    "nodelifecycle": ("node-lifecycle-controller",),
    "taint-eviction": ("taint-eviction-controller",),
    "podgc": ("pod-garbage-collector-controller",),
    "resourcequota": ("resourcequota-controller",),
    "service": ("service-lb-controller",),
    "serviceaccount": ("serviceaccount-controller",),
    "serviceaccount-token": ("serviceaccount-token-controller",),
    "root-ca-cert-publisher": ("root-ca-certificate-publisher-controller",),
}
"""The controllers, and what else they may be called in --controllers: upstream renamed them once."""

NAMES = tuple(ALIASES)


@dataclass(frozen=True, slots=True)
class Options:
    """What kube-controller-manager was asked to do."""

    client: ClientOptions = field(default_factory=ClientOptions)
    election: ElectionOptions = field(default_factory=lambda: ElectionOptions(resource_name="kube-controller-manager"))
    address: str = "127.0.0.1"
    port: int = 10252
    controllers: tuple[str, ...] = NAMES
    concurrent_rc_syncs: int = 5
    concurrent_endpoint_syncs: int = 5
    concurrent_service_endpoint_syncs: int = 5
    mirroring_concurrent_service_endpoint_syncs: int = 5
    max_endpoints_per_slice: int = 100
    concurrent_gc_syncs: int = 20
    concurrent_namespace_syncs: int = 10
    endpoint_updates_batch_period: float = 0.1
    concurrent_resource_quota_syncs: int = 5
    resource_quota_sync_period: float = 300.0
    concurrent_serviceaccount_token_syncs: int = 5
    service_account_private_key_file: str = ""
    root_ca_file: str = ""
    load_balancer_ip_range: IPv4Network | None = None
    node_eviction_rate: float = 0.1
    secondary_node_eviction_rate: float = 0.01
    unhealthy_zone_threshold: float = 0.55
    large_cluster_size_threshold: int = 50
    terminated_pod_gc_threshold: int = 12500
    node_monitor_period: float = 5.0
    node_monitor_grace_period: float = 40.0
    node_startup_grace_period: float = 60.0
    allocate_node_cidrs: bool = False
    cluster_cidr: IPv4Network = field(default_factory=lambda: IPv4Network("10.244.0.0/16"))
    node_cidr_mask_size: int = 24


def enabled(chosen: list[str]) -> tuple[str, ...]:
    """The controllers that `--controllers` chooses: `*` is all, `name` one, `-name` all but one. Of what is said of one
    the first counts.

    Raises argparse.ArgumentTypeError for a name that is none.
    """
    canonical = {alias: name for name, aliases in ALIASES.items() for alias in (name, *aliases)}
    on: dict[str, bool] = {}
    for each in chosen:
        if each == "*":
            continue
        name = canonical.get(each.removeprefix("-"))
        if name is None:
            raise argparse.ArgumentTypeError(f"no controller {each.removeprefix('-')!r}: there are {', '.join(NAMES)}")
        on.setdefault(name, not each.startswith("-"))
    return tuple(name for name in NAMES if on.get(name, "*" in chosen))


def parser() -> argparse.ArgumentParser:
    """kube-controller-manager's command line."""
    parser = daemon.flags("kube-controller-manager", "Make the cluster be what its objects say.")
    flags.add_flags(parser)
    leaderelection.add_flags(parser, "kube-controller-manager")
    parser.add_argument("--address", default="127.0.0.1", metavar="IP", help="where to serve health and metrics")
    parser.add_argument("--port", type=int, default=10252, metavar="PORT", help="port of /healthz and /metrics")
    parser.add_argument(
        "--controllers", type=lambda text: enabled(daemon.comma_separated(text)), default=NAMES, metavar="NAME[,NAME]",
        help="controllers to run: * is all of them, -NAME all but that one, as in '*,-garbagecollector'",
    )  # fmt: skip
    parser.add_argument(
        "--concurrent-rc-syncs", type=_positive, default=5, metavar="COUNT",
        help="replication controllers worked on at once",
    )  # fmt: skip
    parser.add_argument(
        "--concurrent-endpoint-syncs", type=_positive, default=5, metavar="COUNT",
        help="services whose endpoints are worked on at once",
    )  # fmt: skip
    parser.add_argument(
        "--concurrent-service-endpoint-syncs", type=_positive, default=5, metavar="COUNT",
        help="services whose endpoint slices are worked on at once",
    )  # fmt: skip
    parser.add_argument(
        "--mirroring-concurrent-service-endpoint-syncs", type=_positive, default=5, metavar="COUNT",
        help="hand-made endpoints that are mirrored at once",
    )  # fmt: skip
    parser.add_argument(
        "--max-endpoints-per-slice", type=_positive, default=100, metavar="COUNT",
        help="endpoints in an endpoint slice at most; up to 1000",
    )  # fmt: skip
    parser.add_argument(
        "--concurrent-gc-syncs", type=_positive, default=20, metavar="COUNT",
        help="objects that the garbage collector works on at once",
    )  # fmt: skip
    parser.add_argument(
        "--concurrent-namespace-syncs", type=_positive, default=10, metavar="COUNT",
        help="namespaces that are emptied at once",
    )  # fmt: skip
    parser.add_argument(
        "--endpoint-updates-batch-period", type=daemon.duration, default=0.1, metavar="TIME",
        help="how long changes of a service's endpoints are gathered after one was written",
    )  # fmt: skip
    parser.add_argument(
        "--concurrent-resource-quota-syncs", type=_positive, default=5, metavar="COUNT",
        help="quotas that are counted at once",
    )  # fmt: skip
    parser.add_argument(
        "--resource-quota-sync-period", type=daemon.duration, default=300.0, metavar="TIME",
        help="how often a quota is counted although nothing has gone",
    )  # fmt: skip
    parser.add_argument(
        "--concurrent-serviceaccount-token-syncs", type=_positive, default=5, metavar="COUNT",
        help="service accounts whose tokens are worked on at once",
    )  # fmt: skip
    parser.add_argument(
        "--service-account-private-key-file", default="", metavar="FILE",
        help="key with which the tokens of service accounts are signed; without it none are made",
    )  # fmt: skip
    parser.add_argument(
        "--root-ca-file", default="", metavar="FILE",
        help="certificate authority of the apiserver: goes into every namespace (kube-root-ca.crt) and token",
    )  # fmt: skip
    parser.add_argument(
        "--load-balancer-ip-range", type=_network, default=None, metavar="CIDR",
        help="addresses for services of type LoadBalancer; without it somebody else gives them out",
    )  # fmt: skip
    parser.add_argument(
        "--node-eviction-rate", type=float, default=0.1, metavar="RATE",
        help="nodes a second whose pods are evicted, in a zone that is well",
    )  # fmt: skip
    parser.add_argument(
        "--secondary-node-eviction-rate", type=float, default=0.01, metavar="RATE",
        help="the same in a large zone of which too many nodes are ill; in a small one it is 0",
    )  # fmt: skip
    parser.add_argument(
        "--unhealthy-zone-threshold", type=float, default=0.55, metavar="SHARE",
        help="share of a zone's nodes (at least 3) that must be ill for the zone to be ill",
    )  # fmt: skip
    parser.add_argument(
        "--large-cluster-size-threshold", type=int, default=50, metavar="COUNT",
        help="nodes from more than which on a zone is large",
    )  # fmt: skip
    parser.add_argument(
        "--terminated-pod-gc-threshold", type=int, default=12500, metavar="COUNT",
        help="pods that have ended and may stay; of more the oldest are deleted. 0: all stay",
    )  # fmt: skip
    parser.add_argument(
        "--node-monitor-period", type=daemon.duration, default=5.0, metavar="TIME",
        help="how late a look at a node may be; later, this process has been asleep and no node is to blame",
    )  # fmt: skip
    parser.add_argument(
        "--node-monitor-grace-period", type=daemon.duration, default=40.0, metavar="TIME",
        help="silence after which the status of a node is unknown",
    )  # fmt: skip
    parser.add_argument(
        "--node-startup-grace-period", type=daemon.duration, default=60.0, metavar="TIME",
        help="the same for a node that has never posted its status",
    )  # fmt: skip
    daemon.add_bool(parser, "--allocate-node-cidrs", False, "give every node a range of --cluster-cidr for its pods")
    parser.add_argument(
        "--cluster-cidr", type=_network, default="10.244.0.0/16", metavar="CIDR", help="addresses of all pods"
    )
    parser.add_argument(
        "--node-cidr-mask-size", type=int, default=24, metavar="BITS", help="size of a node's range, as a prefix length"
    )
    return parser


def from_args(args: argparse.Namespace) -> Options:
    """The options that the flags stand for. Raises daemon.Fatal."""
    if not args.cluster_cidr.prefixlen <= args.node_cidr_mask_size <= 30:
        raise daemon.Fatal(
            f"--node-cidr-mask-size={args.node_cidr_mask_size} must be from {args.cluster_cidr.prefixlen}, the size of "
            f"--cluster-cidr={args.cluster_cidr}, to 30"
        )
    return Options(
        client=flags.from_args(args),
        election=leaderelection.from_args(args),
        address=args.address,
        port=args.port,
        controllers=args.controllers,
        concurrent_rc_syncs=args.concurrent_rc_syncs,
        concurrent_endpoint_syncs=args.concurrent_endpoint_syncs,
        concurrent_service_endpoint_syncs=args.concurrent_service_endpoint_syncs,
        mirroring_concurrent_service_endpoint_syncs=args.mirroring_concurrent_service_endpoint_syncs,
        max_endpoints_per_slice=min(args.max_endpoints_per_slice, 1000),
        concurrent_gc_syncs=args.concurrent_gc_syncs,
        concurrent_namespace_syncs=args.concurrent_namespace_syncs,
        endpoint_updates_batch_period=args.endpoint_updates_batch_period,
        concurrent_resource_quota_syncs=args.concurrent_resource_quota_syncs,
        resource_quota_sync_period=args.resource_quota_sync_period,
        concurrent_serviceaccount_token_syncs=args.concurrent_serviceaccount_token_syncs,
        service_account_private_key_file=args.service_account_private_key_file,
        root_ca_file=args.root_ca_file,
        load_balancer_ip_range=args.load_balancer_ip_range,
        node_eviction_rate=args.node_eviction_rate,
        secondary_node_eviction_rate=args.secondary_node_eviction_rate,
        unhealthy_zone_threshold=args.unhealthy_zone_threshold,
        large_cluster_size_threshold=args.large_cluster_size_threshold,
        terminated_pod_gc_threshold=args.terminated_pod_gc_threshold,
        node_monitor_period=args.node_monitor_period,
        node_monitor_grace_period=args.node_monitor_grace_period,
        node_startup_grace_period=args.node_startup_grace_period,
        allocate_node_cidrs=args.allocate_node_cidrs,
        cluster_cidr=args.cluster_cidr,
        node_cidr_mask_size=args.node_cidr_mask_size,
    )


def _network(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IPv4 range such as 10.244.0.0/16: {error}") from None


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number
