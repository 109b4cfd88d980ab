"""The apiserver's flags, named as kube-apiserver names them."""

from __future__ import annotations

import argparse
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from kube import daemon
from kube.apiserver.registry import admission
from kube.serviceaccount import ISSUER

AUTHORIZATION_MODES = ("AlwaysAllow", "AlwaysDeny", "RBAC")
CERT_DIR = Path("/var/run/kubernetes")


@dataclass(frozen=True, slots=True)
class Options:
    """What the apiserver is told at its start."""

    etcd_servers: tuple[str, ...]
    etcd_compaction_interval: float
    """Seconds; 0: never."""
    insecure_bind_address: str
    insecure_port: int
    service_cluster_ip_range: IPv4Network
    service_node_port_range: range
    max_requests_inflight: int
    request_timeout: float
    """Seconds."""
    workers: int = 1
    worker_sockets: tuple[int, ...] = ()
    """Of a worker: the descriptors that it was given (workers.py)."""
    bind_address: str = "0.0.0.0"
    secure_port: int = 0
    """0: there is no secure port."""
    advertise_address: str = "127.0.0.1"
    hostname: str = "localhost"
    tls_cert_file: Path | None = None
    tls_private_key_file: Path | None = None
    cert_dir: Path = CERT_DIR
    client_ca_file: Path | None = None
    token_auth_file: Path | None = None
    anonymous_auth: bool = True
    authorization_mode: tuple[str, ...] = ("AlwaysAllow",)
    service_account_signing_key_file: Path = CERT_DIR / "sa.key"
    service_account_key_file: tuple[Path, ...] = ()
    service_account_issuer: tuple[str, ...] = (ISSUER,)
    service_account_max_token_expiration: float = 0.0
    service_account_extend_token_expiration: bool = True
    api_audiences: tuple[str, ...] = ()
    endpoint_reconciler_type: str = "lease"
    kubelet_client_certificate: Path | None = None
    kubelet_client_key: Path | None = None
    kubelet_certificate_authority: Path | None = None
    disable_admission_plugins: tuple[str, ...] = ()


def _ports(text: str) -> range:
    low, dash, high = text.partition("-")
    try:
        ports = range(int(low), int(high if dash else low) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a range of ports such as 30000-32767") from None
    if not ports or ports.start < 1 or ports.stop > 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a range of ports between 1 and 65535")
    return ports


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _network(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IPv4 range such as 10.96.0.0/16: {error}") from None


def _address(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IPv4 address") from None


def _modes(text: str) -> tuple[str, ...]:
    modes = tuple(daemon.comma_separated(text))
    for mode in modes:
        if mode not in AUTHORIZATION_MODES:
            raise argparse.ArgumentTypeError(f"{mode!r} is none of {', '.join(AUTHORIZATION_MODES)}")
    if not modes or len(set(modes)) < len(modes):
        raise argparse.ArgumentTypeError(f"{text!r}: at least one mode must be given, and each only once")
    return modes


def _plugins(text: str) -> tuple[str, ...]:
    names = tuple(daemon.comma_separated(text))
    for name in names:
        if name not in (*admission.ALWAYS, *admission.OPTIONAL):
            known = ", ".join((*admission.ALWAYS, *admission.OPTIONAL))
            raise argparse.ArgumentTypeError(f"plugin {name!r} is unknown: there are {known}")
    return names


def _optional_plugins(text: str) -> tuple[str, ...]:
    names = _plugins(text)
    for name in names:
        if name in admission.ALWAYS:
            raise argparse.ArgumentTypeError(f"{name} cannot be turned off: it is part of how an object is stored")
    return names


def parser() -> argparse.ArgumentParser:
    """The command line."""
    flags = daemon.flags("kube-apiserver", "Serves the Kubernetes API from etcd.")
    flags.add_argument("--etcd-servers", default="http://127.0.0.1:2379", metavar="URLS",
                       help="etcd servers to connect to, comma separated (default %(default)s)")  # fmt: skip
    flags.add_argument("--etcd-compaction-interval", type=daemon.duration, default="5m0s", metavar="DURATION",
                       help="how often etcd is told to forget history older than that; 0 means never, for an etcd that "
                       "compacts by itself (default %(default)s)")  # fmt: skip
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
    flags.add_argument("--request-timeout", type=daemon.duration, default="1m0s", metavar="DURATION",
                       help="how long a request may take, its body included; watches, logs and other long-running "
                       "requests are not bound by it (default %(default)s)")  # fmt: skip
    flags.add_argument("--workers", type=_positive, default=1, metavar="N",
                       help="processes that serve, each with a cache of its own: about as many as there are cores to "
                       "spare (default %(default)s)")  # fmt: skip
    flags.add_argument("--worker-sockets", type=daemon.comma_separated, default=[], help=argparse.SUPPRESS)
    _add_secure_flags(flags)
    return flags


def _add_secure_flags(flags: argparse.ArgumentParser) -> None:
    secure = flags.add_argument_group("the secure port")
    secure.add_argument("--bind-address", type=_address, default="0.0.0.0", metavar="IP",
                        help="address to serve HTTPS on, with authentication")  # fmt: skip
    secure.add_argument("--secure-port", type=int, default=6443, metavar="PORT",
                        help="port to serve HTTPS on; 0: do not")  # fmt: skip
    secure.add_argument("--advertise-address", type=_address, metavar="IP",
                        help="address by which the members of the cluster reach the secure port "
                        "(default: --bind-address, or the default route's)")  # fmt: skip
    secure.add_argument("--endpoint-reconciler-type", choices=("lease", "none"), default="lease",
                        help="whether this apiserver keeps its address in the service default/kubernetes")  # fmt: skip
    secure.add_argument("--tls-cert-file", type=Path, metavar="FILE",
                        help="certificate to serve with, and the chain behind it; without one a self-signed "
                        "certificate is made in --cert-dir")  # fmt: skip
    secure.add_argument("--tls-private-key-file", type=Path, metavar="FILE", help="key of --tls-cert-file")
    secure.add_argument("--cert-dir", type=Path, default=CERT_DIR, metavar="DIR",
                        help="where apiserver.crt and apiserver.key are made and kept")  # fmt: skip

    who = flags.add_argument_group("who is asking on the secure port")
    who.add_argument("--client-ca-file", type=Path, metavar="FILE",
                     help="authorities of client certificates, whose CN is the user, and each O a group")  # fmt: skip
    who.add_argument("--token-auth-file", type=Path, metavar="FILE",
                     help='tokens, one on a line: token,user,uid,"group1,group2"')  # fmt: skip
    daemon.add_bool(
        flags, "--anonymous-auth", True, "let in who shows nothing, as system:anonymous (not with AlwaysAllow)"
    )
    who.add_argument("--authorization-mode", type=_modes, default="AlwaysAllow", metavar="MODE[,MODE]",
                     help=f"who may do what on the secure port: {', '.join(AUTHORIZATION_MODES)}")  # fmt: skip

    kubelets = flags.add_argument_group("how kubelets are asked")
    kubelets.add_argument("--kubelet-client-certificate", type=Path, metavar="FILE",
                          help="certificate that kubelets are shown")  # fmt: skip
    kubelets.add_argument("--kubelet-client-key", type=Path, metavar="FILE",
                          help="key of --kubelet-client-certificate")  # fmt: skip
    kubelets.add_argument("--kubelet-certificate-authority", type=Path, metavar="FILE",
                          help="authorities of the kubelets' serving certificates (default: whoever answers at a "
                          "node's address is believed)")  # fmt: skip
    admitted = flags.add_argument_group("admission")
    admitted.add_argument("--enable-admission-plugins", type=_plugins, default=(), metavar="NAME[,NAME]",
                          help="plug-ins to turn on; all are on by default: "
                          f"{', '.join((*admission.ALWAYS, *admission.OPTIONAL))}")  # fmt: skip
    admitted.add_argument("--disable-admission-plugins", type=_optional_plugins, default=(), metavar="NAME[,NAME]",
                          help=f"plug-ins to turn off, of {', '.join(admission.OPTIONAL)}")  # fmt: skip

    accounts = flags.add_argument_group("tokens of service accounts")
    accounts.add_argument("--service-account-signing-key-file", type=Path, metavar="FILE",
                          help="private key that signs them (default: --cert-dir/sa.key, made if absent)")  # fmt: skip
    accounts.add_argument("--service-account-key-file", type=Path, action="append", default=[], metavar="FILE",
                          help="public (or private) keys whose signatures are believed; may be repeated "
                          "(default: the one that signs)")  # fmt: skip
    accounts.add_argument("--service-account-issuer", action="append", default=[], metavar="URL",
                          help=f"who makes them; the first for new ones, if repeated (default: {ISSUER})")  # fmt: skip
    accounts.add_argument("--api-audiences", type=daemon.comma_separated, default=[], metavar="NAME[,NAME]",
                          help="what the apiserver is called in them (default: --service-account-issuer)")  # fmt: skip
    accounts.add_argument("--service-account-max-token-expiration", type=daemon.duration, default=0.0,
                          metavar="DURATION", help="how long one may live; 0: as long as is asked for")  # fmt: skip
    daemon.add_bool(
        flags, "--service-account-extend-token-expiration", True,
        "let a pod's default token live a year, for clients that read it once only",
    )  # fmt: skip


def from_args(args: argparse.Namespace) -> Options:
    """Options from the parsed command line."""
    bound: str = args.bind_address
    local = IPv4Address(bound).is_unspecified or IPv4Address(bound).is_loopback
    if both := set(args.enable_admission_plugins) & set(args.disable_admission_plugins):
        raise daemon.Fatal(
            f"{', '.join(sorted(both))} in --enable-admission-plugins and --disable-admission-plugins overlapped"
        )
    return Options(
        etcd_servers=tuple(url.strip() for url in args.etcd_servers.split(",") if url.strip()),
        etcd_compaction_interval=args.etcd_compaction_interval,
        insecure_bind_address=args.insecure_bind_address,
        insecure_port=args.insecure_port,
        service_cluster_ip_range=args.service_cluster_ip_range,
        service_node_port_range=args.service_node_port_range,
        max_requests_inflight=args.max_requests_inflight,
        request_timeout=args.request_timeout,
        workers=args.workers,
        worker_sockets=tuple(map(int, args.worker_sockets)),
        bind_address=args.bind_address,
        secure_port=args.secure_port,
        advertise_address=args.advertise_address or (daemon.own_address() if local else bound),
        hostname=socket.gethostname().lower(),
        tls_cert_file=args.tls_cert_file,
        tls_private_key_file=args.tls_private_key_file,
        cert_dir=args.cert_dir,
        client_ca_file=args.client_ca_file,
        token_auth_file=args.token_auth_file,
        anonymous_auth=args.anonymous_auth,
        authorization_mode=args.authorization_mode,
        service_account_signing_key_file=args.service_account_signing_key_file or args.cert_dir / "sa.key",
        service_account_key_file=tuple(args.service_account_key_file),
        service_account_issuer=tuple(args.service_account_issuer or [ISSUER]),
        service_account_max_token_expiration=args.service_account_max_token_expiration,
        service_account_extend_token_expiration=args.service_account_extend_token_expiration,
        api_audiences=tuple(args.api_audiences),
        endpoint_reconciler_type=args.endpoint_reconciler_type,
        kubelet_client_certificate=args.kubelet_client_certificate,
        kubelet_client_key=args.kubelet_client_key,
        kubelet_certificate_authority=args.kubelet_certificate_authority,
        disable_admission_plugins=tuple(args.disable_admission_plugins),
    )
