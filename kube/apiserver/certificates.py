"""What the apiserver serves and signs with, and what it shows to kubelets."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from kube import certificates, serving
from kube.apiserver.options import Options
from kube.certificates import Pair
from kube.daemon import Fatal

log = logging.getLogger(__name__)

SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
"""What pods call the apiserver."""


def server_context(options: Options) -> ssl.SSLContext:
    """What the secure port speaks TLS with. Raises Fatal."""
    return serving.server_context(serving_pair(options), options.client_ca_file)


def serving_pair(options: Options) -> Pair:
    """The files of the serving certificate, made if need be. Raises Fatal."""
    kept = Pair(options.cert_dir / "apiserver.crt", options.cert_dir / "apiserver.key")
    given = options.tls_cert_file, options.tls_private_key_file
    return serving.serving_pair(*given, kept, options.advertise_address, served_names(options))


def kubelet_context(options: Options) -> ssl.SSLContext:
    """What kubelets are spoken to with. Raises Fatal.

    Without --kubelet-certificate-authority, whoever answers is taken for the kubelet, as upstream does it.
    """
    certificate, key = options.kubelet_client_certificate, options.kubelet_client_key
    if bool(certificate) != bool(key):
        raise Fatal("--kubelet-client-certificate and --kubelet-client-key belong together: give both, or neither")
    pair = Pair(certificate, key) if certificate and key else None
    return certificates.client_context(options.kubelet_certificate_authority, pair)


def make_absent(options: Options) -> None:
    """Make what is served and signed with, as far as it is not there. Raises Fatal."""
    if options.secure_port:
        serving_pair(options)
    have_signing_key(options.service_account_signing_key_file)


def have_signing_key(path: Path) -> None:
    """Make the key of service accounts' tokens if there is none. Raises Fatal."""
    if not path.exists():
        certificates.make_key(path)
        log.info("made a key for service accounts' tokens", extra={"file": path})


def served_names(options: Options) -> list[str]:
    """All names and addresses that the apiserver is reached by, as far as it can know."""
    addresses = [options.advertise_address, str(options.service_cluster_ip_range[1]), "127.0.0.1"]
    if options.bind_address not in ("0.0.0.0", "::"):
        addresses.append(options.bind_address)
    return [*SERVICE_NAMES, "localhost", options.hostname, *addresses]
