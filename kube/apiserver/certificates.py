"""The serving certificate: the one that is given, or a self-signed pair that is kept.

(apiserver/pkg/server/options/serving.go: MaybeDefaultWithSelfSignedCerts)
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from kube import certificates
from kube.apiserver.options import Options
from kube.certificates import Pair
from kube.daemon import Fatal

log = logging.getLogger(__name__)

SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
"""What pods call the apiserver."""


def server_context(options: Options) -> ssl.SSLContext:
    """What the secure port speaks TLS with. Raises Fatal."""
    pair = serving_pair(options)
    if found := certificates.problem(pair):
        # It is served nevertheless: who does not look at it (or is behind a proxy that does not) is still served.
        log.error("clients will refuse the serving certificate", extra={"file": pair.certificate, "why": found})
    return certificates.server_context(pair, options.client_ca_file)


def serving_pair(options: Options) -> Pair:
    """The files of the serving certificate, made if need be. Raises Fatal."""
    given = (options.tls_cert_file, options.tls_private_key_file)
    if given[0] and given[1]:
        return Pair(given[0], given[1])
    if given[0] or given[1]:
        raise Fatal("--tls-cert-file and --tls-private-key-file belong together: give both, or neither")
    pair = Pair(options.cert_dir / "apiserver.crt", options.cert_dir / "apiserver.key")
    there = [path.exists() for path in (pair.certificate, pair.key)]
    if all(there):
        found = certificates.problem(pair)
        if not found:
            return pair
        log.warning("making a new serving certificate", extra={"file": pair.certificate, "why": found})
    elif any(there):
        present, absent = (pair.certificate, pair.key) if there[0] else (pair.key, pair.certificate)
        raise Fatal(f"there is {present}, but not {absent}: put it back, or remove both to have new ones made")
    certificates.make_self_signed(pair, options.advertise_address, served_names(options))
    log.info("made a self-signed serving certificate", extra={"file": pair.certificate})
    return pair


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
