"""Where the apiserver is and who we are, from a kubeconfig file as kubectl writes it.

Understood: the current context's cluster (server, certificate-authority, insecure-skip-tls-verify, tls-server-name is
not) and its user (token, tokenFile, client-certificate and -key, each also as `-data`). What would have to be obtained
by running a program (`exec`) or from a cloud (`auth-provider`) is refused in words, not ignored.
"""

from __future__ import annotations

import base64
import binascii
import ssl as tls
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml


class KubeconfigError(Exception):
    """The file cannot be used; the text names the file and the field."""


class Access(NamedTuple):
    """How to reach an apiserver."""

    server: str
    token: str = ""
    ssl: tls.SSLContext | None = None


def load(path: str | Path) -> Access:
    """The current context of a kubeconfig. Raises KubeconfigError."""
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise KubeconfigError(f"kubeconfig {path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise KubeconfigError(f"kubeconfig {path}: is not YAML: {reason}") from None
    return _Kubeconfig(path, data).access()


class _Kubeconfig:
    """One file; every complaint begins with its name."""

    def __init__(self, path: Path, data: Any) -> None:
        self.path = path
        self.data = self.mapping(data, "the file")

    def access(self) -> Access:
        current = str(self.data.get("current-context") or "")
        if not current:
            raise self.error("current-context", "is not set")
        context = self.named("contexts", "context", current)
        cluster_name, user_name = str(context.get("cluster") or ""), str(context.get("user") or "")
        if not cluster_name:
            raise self.error(f"contexts[{current}].context.cluster", "is not set")
        cluster = self.named("clusters", "cluster", cluster_name)
        user = self.named("users", "user", user_name) if user_name else {}
        at_cluster, at_user = f"clusters[{cluster_name}].cluster", f"users[{user_name}].user"
        server = str(cluster.get("server") or "")
        if not server.startswith(("http://", "https://")):
            raise self.error(f"{at_cluster}.server", f"{server!r} is not an http:// or https:// address")
        for field in ("exec", "auth-provider", "username"):
            if user.get(field):
                raise self.error(f"{at_user}.{field}", "is not supported: use a token or a client certificate")
        token = str(user.get("token") or "")
        if not token and user.get("tokenFile"):
            token = self.content(user, "tokenFile", at_user).decode().strip()
        context_ssl = self.ssl(cluster, at_cluster, user, at_user) if server.startswith("https://") else None
        return Access(server.rstrip("/"), token, context_ssl)

    def ssl(self, cluster: Mapping[str, Any], at_cluster: str, user: Mapping[str, Any], at_user: str) -> tls.SSLContext:
        authority = self.content(cluster, "certificate-authority", at_cluster)
        try:
            # With an authority of its own, the system's are not trusted.
            context = tls.create_default_context(cadata=authority.decode() or None)
        except (tls.SSLError, ValueError) as error:
            raise self.error(f"{at_cluster}.certificate-authority", f"is no certificate: {error}") from None
        if cluster.get("insecure-skip-tls-verify") is True:
            context.check_hostname = False
            context.verify_mode = tls.CERT_NONE
        certificate = self.content(user, "client-certificate", at_user)
        key = self.content(user, "client-key", at_user)
        if certificate and not key:
            raise self.error(f"{at_user}.client-key", "is not set, but client-certificate is")
        if certificate:
            # OpenSSL reads a key from files only; this one is removed at once.
            with tempfile.NamedTemporaryFile() as pair:
                pair.write(certificate + b"\n" + key)
                pair.flush()
                try:
                    context.load_cert_chain(pair.name)
                except (tls.SSLError, ValueError) as error:
                    raise self.error(f"{at_user}.client-certificate", f"does not work with the key: {error}") from None
        return context

    def content(self, section: Mapping[str, Any], field: str, at: str) -> bytes:
        """What `<field>-data` holds or the file `<field>` names (relative to the kubeconfig); empty if neither is."""
        encoded = section.get(f"{field}-data")
        if encoded:
            try:
                return base64.b64decode(str(encoded), validate=True)
            except binascii.Error as error:
                raise self.error(f"{at}.{field}-data", f"is not base64: {error}") from None
        name = section.get(field)
        if not name:
            return b""
        file = self.path.parent / str(name)
        try:
            return file.read_bytes()
        except OSError as error:
            raise self.error(f"{at}.{field}", f"{file} cannot be read: {error.strerror}") from None

    def named(self, section: str, member: str, name: str) -> Mapping[str, Any]:
        entries = self.data.get(section) or []
        if not isinstance(entries, list):
            raise self.error(section, "is not a list")
        for entry in entries:
            if isinstance(entry, Mapping) and entry.get("name") == name:
                return self.mapping(entry.get(member) or {}, f"{section}[{name}].{member}")
        raise self.error(section, f"has no entry named {name!r}")

    def mapping(self, value: Any, field: str) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self.error(field, "is not a mapping")
        return value

    def error(self, field: str, what: str) -> KubeconfigError:
        return KubeconfigError(f"kubeconfig {self.path}: {field}: {what}")
