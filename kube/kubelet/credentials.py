"""With what an image is pulled: the registries' users and passwords in a pod's imagePullSecrets. Pure functions.

Both forms that a secret may have are read, and matched with an image as upstream's keyring does it
(pkg/credentialprovider): by host and port, where `*` stands in a part of the host's name, and by how the path begins.
"""

from __future__ import annotations

import binascii
import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from kube.api.binary import decoded
from kube.api.core import Secret

DOCKER_CONFIG_JSON = "kubernetes.io/dockerconfigjson"
DOCKER_CFG = "kubernetes.io/dockercfg"
HUB = "index.docker.io"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who pulls an image."""

    username: str
    password: str
    registry: str
    """As the secret names it: a host, perhaps with a port and the beginning of a path."""


def read(secrets: Iterable[Secret]) -> list[Credentials]:
    """All credentials in these secrets; what cannot be read is left out, as upstream does."""
    return [credentials for secret in secrets for credentials in _read(secret)]


def lookup(known: Iterable[Credentials], image: str) -> list[Credentials]:
    """Those for an image's registry, the most special first."""
    host, path = split(image)
    found = [credentials for credentials in known if _matches(credentials.registry, host, path)]
    return sorted(found, key=lambda credentials: len(_plain(credentials.registry)), reverse=True)


def split(image: str) -> tuple[str, str]:
    """The registry's host (with its port) and the path of an image's name."""
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return (HUB if first == "docker.io" else first), rest
    return HUB, image


def _read(secret: Secret) -> Iterator[Credentials]:
    if secret.type == DOCKER_CONFIG_JSON:
        entries = _object(secret.data.get(".dockerconfigjson", "")).get("auths")
    elif secret.type == DOCKER_CFG:
        entries = _object(secret.data.get(".dockercfg", ""))
    else:
        return
    for registry, entry in entries.items() if isinstance(entries, dict) else ():
        if isinstance(entry, dict) and (user := _user(entry)) is not None:
            yield Credentials(*user, registry)


def _object(value: str) -> Mapping[str, Any]:
    try:
        found = orjson.loads(decoded(value))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _user(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    """User and password, as themselves or together in `auth`."""
    if auth := entry.get("auth"):
        try:
            name, colon, password = binascii.a2b_base64(str(auth)).decode().partition(":")
        except ValueError:
            return None
        return (name, password.rstrip("\0")) if colon else None
    if entry.get("username"):
        return str(entry["username"]), str(entry.get("password", ""))
    return None


def _plain(registry: str) -> str:
    """`https://index.docker.io/v1/` is `index.docker.io`."""
    text = registry.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, _, path = text.partition("/")
    host = HUB if host == "docker.io" else host
    return host if path in ("", "v1", "v2") else f"{host}/{path}"


def _matches(registry: str, host: str, path: str) -> bool:
    wanted, _, prefix = _plain(registry).partition("/")
    name, _, port = wanted.partition(":")
    own_name, _, own_port = host.partition(":")
    parts, own_parts = name.split("."), own_name.split(".")
    if port != own_port or len(parts) != len(own_parts):
        return False
    return all(map(fnmatch.fnmatchcase, own_parts, parts)) and path.startswith(prefix)
