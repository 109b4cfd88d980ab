"""The cluster's keys and certificates, and the kubeconfig of its administrator: made at the first start, kept after it.

    pki/ca.crt, ca.key                  the authority of the cluster
    pki/apiserver.crt, apiserver.key    what the apiserver serves with
    pki/admin.crt, admin.key            the administrator, in the group system:masters
    pki/kubelet.crt, kubelet.key        what the kubelet serves with
    pki/apiserver-kubelet-client.crt, apiserver-kubelet-client.key
                                        whom kubelets know the apiserver by, in the group system:masters
    pki/sa.key                          with which service accounts' tokens are signed; the apiserver makes it

What is about to expire, or was made for other addresses, is made anew.
"""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from deploy.cluster.settings import Settings
from deploy.cluster.steps import Failed
from kube import certificates, daemon
from kube.certificates import Authority, Pair

KUBELET_CLIENT = "apiserver-kubelet-client"
CLUSTER_DOMAIN = "cluster.local"
RENEW_BEFORE = timedelta(days=30)


def pair(settings: Settings, name: str) -> Pair:
    """The two files of a certificate."""
    return Pair(settings.pki / f"{name}.crt", settings.pki / f"{name}.key")


def ensure(settings: Settings) -> None:
    """Have all of them."""
    try:
        settings.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
        authority = _authority(settings)
        node = [settings.node, "localhost", "127.0.0.1", daemon.own_address()]
        for name, common, hosts in (
            ("apiserver", "kube-apiserver", served_names(settings)),
            ("kubelet", settings.node, node),
        ):
            if not _good(pair(settings, name), authority, hosts):
                certificates.make_certificate(authority, pair(settings, name), common, hosts=hosts)
        for name, common in (("admin", "kubernetes-admin"), (KUBELET_CLIENT, f"kube-{KUBELET_CLIENT}")):
            if not _good(pair(settings, name), authority):
                certificates.make_certificate(authority, pair(settings, name), common, organizations=["system:masters"])
    except (OSError, daemon.Fatal) as error:
        raise Failed(f"cannot make the cluster's certificates: {error}") from None


def served_names(settings: Settings) -> list[str]:
    """By which the apiserver is reached."""
    first = str(ip_network(settings.service_range)[1])
    service = "kubernetes.default.svc"
    names = ["localhost", socket.gethostname().lower(), "kubernetes", "kubernetes.default", service]
    return [*names, f"{service}.{CLUSTER_DOMAIN}", "127.0.0.1", daemon.own_address(), first]


def write_kubeconfig(settings: Settings) -> None:
    """The administrator's, for the secure port: readable by its owner only, for it holds the key."""

    def data(name: str) -> str:
        return base64.b64encode((settings.pki / name).read_bytes()).decode()

    cluster = {"server": settings.secure_server, "certificate-authority-data": data("ca.crt")}
    user = {"client-certificate-data": data("admin.crt"), "client-key-data": data("admin.key")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kube", "cluster": cluster}],
        "users": [{"name": "admin", "user": user}],
        "contexts": [{"name": "kube", "context": {"cluster": "kube", "user": "admin", "namespace": "default"}}],
        "current-context": "kube",
    }
    settings.kubeconfig.unlink(missing_ok=True)  # its mode may have been another
    with os.fdopen(os.open(settings.kubeconfig, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(json.dumps(config, indent=2) + "\n")  # JSON is YAML


def _authority(settings: Settings) -> Authority:
    files = pair(settings, "ca")
    if files.certificate.exists() and files.key.exists():
        return Authority.load(files)
    return certificates.make_authority("kubernetes", files)


def _good(files: Pair, authority: Authority, hosts: Iterable[str] = ()) -> bool:
    if not (files.certificate.exists() and files.key.exists()):
        return False
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    if certificate.not_valid_after_utc < datetime.now(UTC) + RENEW_BEFORE:
        return False
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return not list(hosts)
    served = {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}
    return set(hosts) <= served
