"""Rules for config maps, secrets and service accounts."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from kube.api import binary, core, names
from kube.api.errors import field_forbidden, invalid, required, too_long
from kube.api.validation.meta import Errors, each, object_meta, object_meta_update, unchanged

MAX_SIZE = 1024 * 1024
"""Bytes that all values of an object may have together."""
SERVICE_ACCOUNT_NAME = "kubernetes.io/service-account.name"
_FROZEN = "field is immutable when `immutable` is set"

# Types of secrets that need certain keys.
_JSON_KEYS = {"kubernetes.io/dockercfg": ".dockercfg", "kubernetes.io/dockerconfigjson": ".dockerconfigjson"}


def validate_config_map(config: core.ConfigMap) -> Errors:
    """A config map, new or changed."""
    yield from object_meta(config.metadata, names.dns_subdomain)
    for key in config.data:
        yield from each(f"data[{key}]", key, names.config_key(key))
        if key in config.binaryData:
            yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    for key in config.binaryData:
        yield from each(f"binaryData[{key}]", key, names.config_key(key))
    size = sum(len(value.encode()) for value in config.data.values()) + _size(config.binaryData)
    if size > MAX_SIZE:
        yield too_long("", "", MAX_SIZE)


def validate_config_map_update(new: core.ConfigMap, old: core.ConfigMap) -> Errors:
    """A changed config map."""
    yield from object_meta_update(new.metadata, old.metadata)
    yield from _frozen(new, old, "data", "binaryData")
    yield from validate_config_map(new)


def _size(data: Mapping[str, str]) -> int:
    return sum(len(binary.decoded(value)) for value in data.values())


def _frozen(new: core.ConfigMap | core.Secret, old: core.ConfigMap | core.Secret, *fields: str) -> Errors:
    if not old.immutable:
        return
    if not new.immutable:
        yield field_forbidden("immutable", _FROZEN)
    for field in fields:
        if getattr(new, field) != getattr(old, field):
            yield field_forbidden(field, _FROZEN)


def validate_secret(secret: core.Secret) -> Errors:
    """A secret, new or changed."""
    yield from object_meta(secret.metadata, names.dns_subdomain)
    for key in secret.data:
        yield from each(f"data[{key}]", key, names.config_key(key))
    if _size(secret.data) > MAX_SIZE:
        yield too_long("data", "", MAX_SIZE)
    yield from _of_type(secret)


def _of_type(secret: core.Secret) -> Errors:
    """What the secret's type demands."""
    data = secret.data
    match secret.type:
        case "kubernetes.io/service-account-token":
            if not secret.metadata.annotations.get(SERVICE_ACCOUNT_NAME):
                yield required(f"metadata.annotations[{SERVICE_ACCOUNT_NAME}]")
        case "kubernetes.io/dockercfg" | "kubernetes.io/dockerconfigjson":
            key = _JSON_KEYS[secret.type]
            if key not in data:
                yield required(f"data[{key}]")
            elif problem := _json_problem(binary.decoded(data[key])):
                yield invalid(f"data[{key}]", "<secret contents redacted>", problem)
        case "kubernetes.io/basic-auth":
            if "username" not in data and "password" not in data:
                yield required("data[username]")
                yield required("data[password]")
        case "kubernetes.io/ssh-auth":
            if not data.get("ssh-privatekey"):
                yield required("data[ssh-privatekey]")
        case "kubernetes.io/tls":
            for key in ("tls.crt", "tls.key"):
                if key not in data:
                    yield required(f"data[{key}]")


def _json_problem(content: bytes) -> str:
    """Why the bytes are no JSON object. Like upstream's text, it says nothing of what is in them."""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()):
            return "unexpected end of JSON input"
        return f"invalid character {error.doc[error.pos]!r} looking for beginning of value"
    return "" if isinstance(value, dict) else "json: cannot unmarshal into Go value of type map[string]interface {}"


def validate_secret_update(new: core.Secret, old: core.Secret) -> Errors:
    """A changed secret: its type stays."""
    yield from object_meta_update(new.metadata, old.metadata)
    yield from unchanged("type", new.type, old.type)
    yield from _frozen(new, old, "data")
    yield from validate_secret(new)


def validate_service_account(account: core.ServiceAccount) -> Errors:
    """A new service account."""
    yield from object_meta(account.metadata, names.dns_subdomain)


def validate_service_account_update(new: core.ServiceAccount, old: core.ServiceAccount) -> Errors:
    """A changed service account."""
    yield from object_meta_update(new.metadata, old.metadata)
    yield from validate_service_account(new)
