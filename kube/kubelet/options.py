"""The kubelet's flags: Kubernetes' names where it has them."""

from __future__ import annotations

import argparse
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from kube import daemon
from kube.api import quantity
from kube.client import flags
from kube.client.events import QPS, QPS_BURST
from kube.client.flags import ClientOptions
from kube.kubelet.access import MODES, AccessOptions
from kube.kubelet.eviction import DEFAULTS, Threshold, soft, thresholds
from kube.kubelet.garbage import ContainerPolicy, ImagePolicy
from kube.kubelet.hollow import HollowOptions
from kube.kubelet.runtime import LOG_FILES, LOG_SIZE

RESOLV_CONF = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class Options:
    """What a kubelet is told."""

    client: ClientOptions = field(default_factory=ClientOptions)
    hostname_override: str = ""
    node_ip: str = ""
    node_labels: dict[str, str] = field(default_factory=dict)
    register_node: bool = True
    node_status_update_frequency: float = 10.0
    node_status_report_frequency: float = 300.0
    sync_frequency: float = 60.0
    event_qps: int = QPS
    event_burst: int = QPS_BURST
    hollow: HollowOptions = field(default_factory=HollowOptions)
    container_runtime: str = "docker"
    docker_endpoint: str = "unix:///var/run/docker.sock"
    network: str = "kube-pods"
    bridge: str = "kube0"
    pod_cidr: str = "10.244.0.0/16"
    non_masquerade_cidr: str = "10.0.0.0/8"
    pod_infra_container_image: str = "kube/pause"
    pod_manifest_path: Path | None = None
    file_check_frequency: float = 20.0
    manifest_url: str = ""
    manifest_url_header: dict[str, str] = field(default_factory=dict)
    http_check_frequency: float = 20.0
    root_dir: Path = Path("/var/lib/kubelet")
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    resolv_conf: Path = RESOLV_CONF
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    max_pods: int = 110
    kube_reserved: dict[str, str] = field(default_factory=dict)
    system_reserved: dict[str, str] = field(default_factory=dict)
    eviction_hard: tuple[Threshold, ...] = thresholds(DEFAULTS)
    eviction_soft: tuple[Threshold, ...] = ()
    eviction_max_pod_grace_period: float = 0.0
    eviction_pressure_transition_period: float = 300.0
    container_log_max_size: int = LOG_SIZE
    container_log_max_files: int = LOG_FILES
    container_gc: ContainerPolicy = field(default_factory=ContainerPolicy)
    image_gc: ImagePolicy = field(default_factory=ImagePolicy)
    max_parallel_image_pulls: int = 4
    address: str = "0.0.0.0"
    port: int = 10250
    healthz_bind_address: str = "127.0.0.1"
    healthz_port: int = 10248
    """0: health is told at the node API only."""
    tls_cert_file: Path | None = None
    tls_private_key_file: Path | None = None
    cert_dir: Path = Path("/var/lib/kubelet/pki")
    client_ca_file: Path | None = None
    access: AccessOptions = field(default_factory=AccessOptions)


def parser() -> argparse.ArgumentParser:
    """The command line of kubelet."""
    p = daemon.flags("kubelet", "Runs the pods that are bound to this node, and reports on them and on the node.")
    flags.add_flags(p)

    node = p.add_argument_group("the node")
    node.add_argument("--hostname-override", default="", metavar="NAME", help="name of the node, not the host's name")
    node.add_argument("--node-ip", default="", metavar="IP", help="address of the node (default: the default route's)")
    node.add_argument(
        "--node-labels", type=_labels, default={}, metavar="KEY=VALUE[,…]", help="labels to register the node with"
    )
    daemon.add_bool(p, "--register-node", True, "create the Node object if it is not there")
    node.add_argument(
        "--node-status-update-frequency", type=daemon.duration, default=10.0, metavar="DURATION",
        help="how often the node's lease is renewed, and its status looked at",
    )  # fmt: skip
    node.add_argument(
        "--node-status-report-frequency", type=daemon.duration, default=300.0, metavar="DURATION",
        help="how often the node's status is written even if it says nothing new",
    )  # fmt: skip
    node.add_argument("--max-pods", type=int, default=110, metavar="N", help="how many pods the node takes")

    node.add_argument(
        "--event-qps", type=_count, default=QPS, metavar="N",
        help="events that are written a second, of all hollow nodes together; 0: the default",
    )  # fmt: skip
    node.add_argument(
        "--event-burst", type=_count, default=QPS_BURST, metavar="N",
        help="events that are written at once after a silence; 0: the default",
    )  # fmt: skip
    for name, whom in (("--kube-reserved", "Kubernetes' daemons"), ("--system-reserved", "the rest of the system")):
        node.add_argument(
            name, type=_amounts, default={}, metavar="RESOURCE=QUANTITY[,…]",
            help=f"what of the node is kept for {whom}, as cpu=200m,memory=150Mi",
        )  # fmt: skip
    node.add_argument(
        "--eviction-hard", type=_thresholds, default=DEFAULTS, metavar="SIGNAL<QUANTITY[,…]",
        help="what is too little to be left of memory, disk or processes: pods are evicted; 0 switches a signal off",
    )  # fmt: skip
    node.add_argument(
        "--eviction-soft", type=_thresholds, default="", metavar="SIGNAL<QUANTITY[,…]",
        help="what is too little to be left for long",
    )  # fmt: skip
    node.add_argument(
        "--eviction-soft-grace-period", type=_graces, default={}, metavar="SIGNAL=DURATION[,…]",
        help="how long that is, for each signal of --eviction-soft",
    )  # fmt: skip
    node.add_argument(
        "--eviction-max-pod-grace-period", type=int, default=0, metavar="SECONDS",
        help="how long a pod has to end at most that is evicted for want of those",
    )  # fmt: skip
    node.add_argument(
        "--eviction-pressure-transition-period", type=daemon.duration, default=300.0, metavar="DURATION",
        help="how long the node's condition stays once the pressure is over",
    )  # fmt: skip

    pods = p.add_argument_group("pods")
    pods.add_argument(
        "--sync-frequency", type=daemon.duration, default=60.0, metavar="DURATION",
        help="how often all pods and containers are compared, beyond what news bring",
    )  # fmt: skip
    pods.add_argument(
        "--root-dir", type=Path, default=Path("/var/lib/kubelet"), metavar="DIR",
        help="where the pods' volumes are; no two kubelets may share it",
    )  # fmt: skip
    pods.add_argument(
        "--pod-infra-container-image", default="kube/pause", metavar="IMAGE",
        help="image of the container that holds a pod's network",
    )  # fmt: skip
    pods.add_argument(
        "--cluster-dns", type=daemon.comma_separated, default=[], metavar="IP[,IP]",
        help="DNS servers of the pods (default: the node's own)",
    )  # fmt: skip
    pods.add_argument(
        "--resolv-conf", type=Path, default=RESOLV_CONF, metavar="FILE",
        help="what pods with the dnsPolicy Default are told, and the search list of all",
    )  # fmt: skip
    pods.add_argument("--cluster-domain", default="cluster.local", metavar="DOMAIN", help="domain of the cluster's DNS")
    pods.add_argument(
        "--allowed-unsafe-sysctls", type=daemon.comma_separated, default=[], metavar="NAME[,NAME]",
        help="sysctls that pods may set beyond the safe ones; a * at the end stands for anything",
    )  # fmt: skip

    _add_garbage_flags(p)
    static = p.add_argument_group("static pods: the node's own, which no apiserver has to say")
    static.add_argument(
        "--pod-manifest-path", "--config", type=Path, default=None, metavar="PATH",
        help="file with static pods, or directory of such files",
    )  # fmt: skip
    static.add_argument(
        "--file-check-frequency", type=daemon.duration, default=20.0, metavar="DURATION",
        help="how often those files are read even if they have not changed",
    )  # fmt: skip
    static.add_argument("--manifest-url", default="", metavar="URL", help="URL of static pods")
    static.add_argument(
        "--manifest-url-header", type=_header, action="append", default=[], metavar="NAME:VALUE",
        help="header to send with it; may be given several times",
    )  # fmt: skip
    static.add_argument(
        "--http-check-frequency", type=daemon.duration, default=20.0, metavar="DURATION", help="how often it is read"
    )

    engine = p.add_argument_group("the container engine")
    engine.add_argument(
        "--container-runtime", choices=("docker", "fake"), default="docker",
        help="what runs containers; fake: nothing does, they exist in memory only",
    )  # fmt: skip
    engine.add_argument(
        "--docker-endpoint", default="unix:///var/run/docker.sock", metavar="URL", help="socket of the Docker engine"
    )
    engine.add_argument(
        "--network", default="kube-pods", metavar="NAME", help="Docker network of the pods, made if needed"
    )
    daemon.add_bool(p, "--serialize-image-pulls", False, "pull one image at a time")
    engine.add_argument(
        "--max-parallel-image-pulls", type=int, default=4, metavar="N", help="how many images are pulled at once"
    )
    engine.add_argument("--bridge", default="kube0", metavar="NAME", help="network interface of that network")
    engine.add_argument(
        "--pod-cidr", default="10.244.0.0/16", metavar="CIDR",
        help="addresses of the pods; empty: the range that the controller manager gives the node",
    )  # fmt: skip
    engine.add_argument(
        "--non-masquerade-cidr", default="10.0.0.0/8", metavar="CIDR",
        help="the cluster's addresses, to which pods speak under their own; only with an empty --pod-cidr",
    )  # fmt: skip

    engine.add_argument(
        "--container-log-max-size", type=_bytes, default=LOG_SIZE, metavar="QUANTITY",
        help="how large a file of a container's log grows before it is turned over (default: 10Mi)",
    )  # fmt: skip
    engine.add_argument(
        "--container-log-max-files", type=int, default=LOG_FILES, metavar="N", help="how many such files are kept"
    )

    hollow = p.add_argument_group("hollow nodes: many at once, for tests of scale (with --container-runtime=fake)")
    hollow.add_argument(
        "--hollow-nodes", type=int, default=0, metavar="N",
        help="be so many nodes, named by --hostname-override (default hollow-node) and a number; 0: be one",
    )  # fmt: skip
    hollow.add_argument("--hollow-cpus", type=int, default=8, metavar="N", help="cpus of each")
    hollow.add_argument(
        "--hollow-memory", type=_bytes, default=32 * 2**30, metavar="BYTES", help="memory of each (default: 32Gi)"
    )
    hollow.add_argument(
        "--fake-start-time", type=daemon.duration, default=0.0, metavar="DURATION",
        help="how long a sandbox takes to be made, and a container to be started",
    )  # fmt: skip
    hollow.add_argument(
        "--fake-pull-time", type=daemon.duration, default=0.0, metavar="DURATION", help="how long an image is pulled"
    )
    hollow.add_argument(
        "--fake-failures", type=float, default=0.0, metavar="SHARE", help="how many starts of containers fail, 0 to 1"
    )

    serve = p.add_argument_group("the kubelet's own API")
    serve.add_argument("--address", default="0.0.0.0", metavar="IP", help="address to listen on")
    serve.add_argument("--port", type=int, default=10250, metavar="PORT", help="port to serve HTTPS on")
    serve.add_argument(
        "--tls-cert-file", type=Path, metavar="FILE",
        help="certificate to serve with, and the chain behind it; without one a self-signed certificate is made in "
        "--cert-dir",
    )  # fmt: skip
    serve.add_argument("--tls-private-key-file", type=Path, metavar="FILE", help="key of --tls-cert-file")
    serve.add_argument(
        "--cert-dir", type=Path, metavar="DIR",
        help="where kubelet.crt and kubelet.key are made and kept (default: pki in --root-dir)",
    )  # fmt: skip
    serve.add_argument(
        "--healthz-bind-address", default="127.0.0.1", metavar="IP", help="address to tell health and metrics on"
    )
    serve.add_argument(
        "--healthz-port", type=int, default=10248, metavar="PORT",
        help="port to tell them on by plain HTTP, to everybody; 0: do not",
    )  # fmt: skip
    serve.add_argument(
        "--client-ca-file", type=Path, metavar="FILE",
        help="authorities of client certificates, whose CN is the user, and each O a group",
    )  # fmt: skip
    daemon.add_bool(
        serve, "--anonymous-auth", True,
        "let in who shows nothing, as system:anonymous (with AlwaysAllow: from the node itself only)",
    )  # fmt: skip
    daemon.add_bool(serve, "--authentication-token-webhook", False, "ask the apiserver whose a bearer token is")
    serve.add_argument(
        "--authorization-mode", choices=MODES, default=MODES[0],
        help="who of those may do what: all of them everything, or what the apiserver says",
    )  # fmt: skip
    return p


def _add_garbage_flags(p: argparse.ArgumentParser) -> None:
    garbage = p.add_argument_group("garbage: dead containers, and images that this kubelet has pulled and nobody uses")
    garbage.add_argument(
        "--image-gc-high-threshold", type=int, default=90, metavar="PERCENT",
        help="how full the engine's disk is when images are removed; 100: never",
    )  # fmt: skip
    garbage.add_argument(
        "--image-gc-low-threshold", type=int, default=80, metavar="PERCENT", help="how full it is when no more are"
    )
    garbage.add_argument(
        "--minimum-image-ttl-duration", type=daemon.duration, default=120.0, metavar="DURATION",
        help="how long an image stays in any case",
    )  # fmt: skip
    garbage.add_argument(
        "--minimum-container-ttl-duration", type=daemon.duration, default=60.0, metavar="DURATION",
        help="how long a container stays in any case",
    )  # fmt: skip
    garbage.add_argument(
        "--maximum-dead-containers-per-container", type=int, default=2, metavar="N",
        help="how many dead ones are kept of each container, for their logs; -1: all",
    )  # fmt: skip
    garbage.add_argument(
        "--maximum-dead-containers", type=int, default=100, metavar="N", help="how many are kept on the node; -1: all"
    )


def _image_policy(args: argparse.Namespace) -> ImagePolicy:
    high, low = args.image_gc_high_threshold, args.image_gc_low_threshold
    for name, percent in (("high", high), ("low", low)):
        if not 0 <= percent <= 100:
            raise daemon.Fatal(f"--image-gc-{name}-threshold={percent}: give a percentage from 0 to 100")
    if low > high:
        raise daemon.Fatal(f"--image-gc-low-threshold={low} is higher than --image-gc-high-threshold={high}")
    return ImagePolicy(high, low, args.minimum_image_ttl_duration)


def from_args(args: argparse.Namespace) -> Options:
    """The options that the flags stand for. Raises Fatal."""
    for name, cidr in (("--pod-cidr", args.pod_cidr), ("--non-masquerade-cidr", args.non_masquerade_cidr)):
        try:
            _ = (cidr or name != "--pod-cidr") and ipaddress.ip_network(cidr)
        except ValueError as error:
            raise daemon.Fatal(f"{name}={cidr}: {error}: give a range such as 10.244.0.0/16") from None
    for name, value in (("--node-ip", args.node_ip), *(("--cluster-dns", ip) for ip in args.cluster_dns)):
        try:
            _ = value and ipaddress.ip_address(value)
        except ValueError:
            raise daemon.Fatal(f"{name}={value} is not an IP address") from None
    if not args.docker_endpoint.startswith(("unix://", "/")):
        raise daemon.Fatal(f"--docker-endpoint={args.docker_endpoint}: only sockets are supported: unix:///path")
    if args.hollow_nodes and args.container_runtime != "fake":
        raise daemon.Fatal("--hollow-nodes needs --container-runtime=fake: a hollow node runs no containers")
    return Options(
        client=flags.from_args(args),
        hostname_override=args.hostname_override,
        node_ip=args.node_ip,
        node_labels=args.node_labels,
        register_node=args.register_node,
        node_status_update_frequency=args.node_status_update_frequency,
        node_status_report_frequency=args.node_status_report_frequency,
        sync_frequency=args.sync_frequency,
        event_qps=args.event_qps,
        event_burst=args.event_burst,
        hollow=HollowOptions(
            nodes=args.hollow_nodes,
            name=args.hostname_override or "hollow-node",
            cpus=args.hollow_cpus,
            memory=args.hollow_memory,
            start_time=args.fake_start_time,
            pull_time=args.fake_pull_time,
            failures=args.fake_failures,
        ),
        container_runtime=args.container_runtime,
        docker_endpoint=args.docker_endpoint,
        network=args.network,
        bridge=args.bridge,
        pod_cidr=args.pod_cidr,
        non_masquerade_cidr=args.non_masquerade_cidr,
        pod_infra_container_image=args.pod_infra_container_image,
        pod_manifest_path=args.pod_manifest_path,
        file_check_frequency=args.file_check_frequency,
        manifest_url=args.manifest_url,
        manifest_url_header=dict(args.manifest_url_header),
        http_check_frequency=args.http_check_frequency,
        root_dir=args.root_dir,
        cluster_dns=tuple(args.cluster_dns),
        cluster_domain=args.cluster_domain,
        resolv_conf=args.resolv_conf,
        allowed_unsafe_sysctls=tuple(args.allowed_unsafe_sysctls),
        max_pods=args.max_pods,
        kube_reserved=args.kube_reserved,
        system_reserved=args.system_reserved,
        eviction_hard=args.eviction_hard,
        eviction_soft=_soft(args),
        eviction_max_pod_grace_period=args.eviction_max_pod_grace_period,
        eviction_pressure_transition_period=args.eviction_pressure_transition_period,
        container_log_max_size=args.container_log_max_size,
        container_log_max_files=max(1, args.container_log_max_files),
        container_gc=ContainerPolicy(
            args.minimum_container_ttl_duration,
            args.maximum_dead_containers_per_container,
            args.maximum_dead_containers,
        ),
        image_gc=_image_policy(args),
        max_parallel_image_pulls=1 if args.serialize_image_pulls else max(1, args.max_parallel_image_pulls),
        address=args.address,
        port=args.port,
        healthz_bind_address=args.healthz_bind_address,
        healthz_port=args.healthz_port,
        tls_cert_file=args.tls_cert_file,
        tls_private_key_file=args.tls_private_key_file,
        cert_dir=args.cert_dir or args.root_dir / "pki",
        client_ca_file=args.client_ca_file,
        access=AccessOptions(args.anonymous_auth, args.authentication_token_webhook, args.authorization_mode),
    )


def _soft(args: argparse.Namespace) -> tuple[Threshold, ...]:
    try:
        return soft(args.eviction_soft, args.eviction_soft_grace_period)
    except ValueError as error:
        raise daemon.Fatal(f"--eviction-soft: {error}: see --eviction-soft-grace-period") from None


def _graces(text: str) -> dict[str, float]:
    return {signal: daemon.duration(grace) for signal, grace in _labels(text).items()}


def _thresholds(text: str) -> tuple[Threshold, ...]:
    try:
        return thresholds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _amounts(text: str) -> dict[str, str]:
    amounts = _labels(text)
    for name, amount in amounts.items():
        try:
            quantity.parse(amount)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{name}={amount}: not a quantity such as 200m or 150Mi") from None
    return amounts


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not name.strip() or not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form name:value")
    return name.strip(), value.strip()


def _bytes(text: str) -> int:
    try:
        return quantity.integer(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a quantity such as 32Gi") from None


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return int(text)


def _labels(text: str) -> dict[str, str]:
    result = {}
    for pair in daemon.comma_separated(text):
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise argparse.ArgumentTypeError(f"{pair!r} is not of the form key=value")
        result[key] = value
    return result
