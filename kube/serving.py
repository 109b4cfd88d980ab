"""What a daemon serves TLS with: the certificate that it is given, or a self-signed pair that it makes and keeps.

(apiserver/pkg/server/options/serving.go: MaybeDefaultWithSelfSignedCerts)
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable
from pathlib import Path

from kube import certificates
from kube.certificates import Pair
from kube.daemon import Fatal

log = logging.getLogger(__name__)


def server_context(pair: Pair, client_ca: Path | None) -> ssl.SSLContext:
    """What a port speaks TLS with; with `client_ca`, clients may show a certificate of it. Raises Fatal."""
    if found := certificates.problem(pair):
        # It is served nevertheless: who does not look at it (or is behind a proxy that does not) is still served.
        log.error("clients will refuse the serving certificate", extra={"file": pair.certificate, "why": found})
    return certificates.server_context(pair, client_ca)


def serving_pair(certificate: Path | None, key: Path | None, kept: Pair, host: str, hosts: Iterable[str]) -> Pair:
    """The files of --tls-cert-file and --tls-private-key-file, if given, or `kept`, made if need be. Raises Fatal.

    `host`: whom the pair is made for; `hosts`: all names and addresses that it is for.
    """
    if certificate and key:
        return Pair(certificate, key)
    if certificate or key:
        raise Fatal("--tls-cert-file and --tls-private-key-file belong together: give both, or neither")
    there = [path.exists() for path in (kept.certificate, kept.key)]
    if all(there):
        found = certificates.problem(kept)
        if not found:
            return kept
        log.warning("making a new serving certificate", extra={"file": kept.certificate, "why": found})
    elif any(there):
        present, absent = (kept.certificate, kept.key) if there[0] else (kept.key, kept.certificate)
        raise Fatal(f"there is {present}, but not {absent}: put it back, or remove both to have new ones made")
    certificates.make_self_signed(kept, host, hosts)
    log.info("made a self-signed serving certificate", extra={"file": kept.certificate})
    return kept
