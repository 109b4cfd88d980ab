"""Rules for config maps, secrets and service accounts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kube.api import core
from kube.api.meta import Object

Complaints = Callable[..., list[str]]
METADATA = {"name": "a", "namespace": "default"}
KEY = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def config(**fields: Any) -> dict[str, Any]:
    return {"metadata": METADATA, **fields}


def secret(kind: str, data: dict[str, str] | None = None, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    return {"metadata": {**METADATA, "annotations": annotations or {}}, "type": kind, "stringData": data or {}}


NEW: dict[str, tuple[type[Object], dict[str, Any], list[str]]] = {
    "a config map": (core.ConfigMap, config(data={"a.b": "1"}, binaryData={"c": "AA=="}), []),
    "a key that is no file name": (
        core.ConfigMap,
        config(data={"a/b": "1"}),
        [f'data[a/b]: Invalid value: "a/b": {KEY}'],
    ),
    "a key that leads out": (
        core.ConfigMap,
        config(data={"..": ""}),
        ["data[..]: Invalid value: \"..\": must not be '..'"],
    ),
    "a key in both": (
        core.ConfigMap,
        config(data={"a": "1"}, binaryData={"a": "AA=="}),
        ['data[a]: Invalid value: "a": duplicate of key present in binaryData'],
    ),
    "more than a mebibyte": (
        core.ConfigMap,
        config(data={"a": "x" * (1 << 20), "b": "y"}),
        [": Too long: may not be more than 1048576 bytes"],
    ),
    "a secret": (core.Secret, secret("", {"a": "b"}), []),
    "a secret of a type of one's own": (core.Secret, secret("example.com/thing"), []),
    "a token of nobody": (
        core.Secret,
        secret("kubernetes.io/service-account-token"),
        ["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
    ),
    "a token of somebody": (
        core.Secret,
        secret("kubernetes.io/service-account-token", annotations={"kubernetes.io/service-account.name": "default"}),
        [],
    ),
    "a registry's password": (
        core.Secret,
        secret("kubernetes.io/dockerconfigjson", {".dockerconfigjson": '{"auths":{}}'}),
        [],
    ),
    "a registry without password": (
        core.Secret,
        secret("kubernetes.io/dockercfg"),
        ["data[.dockercfg]: Required value"],
    ),
    "a registry's password that is cut off, and not shown": (
        core.Secret,
        secret("kubernetes.io/dockerconfigjson", {".dockerconfigjson": ""}),
        ['data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": unexpected end of JSON input'],
    ),
    "one of user and password is enough": (core.Secret, secret("kubernetes.io/basic-auth", {"username": "u"}), []),
    "neither user nor password": (
        core.Secret,
        secret("kubernetes.io/basic-auth"),
        ["data[username]: Required value", "data[password]: Required value"],
    ),
    "no key": (core.Secret, secret("kubernetes.io/ssh-auth"), ["data[ssh-privatekey]: Required value"]),
    "a certificate without key": (
        core.Secret,
        secret("kubernetes.io/tls", {"tls.crt": ""}),
        ["data[tls.key]: Required value"],
    ),
    "a service account": (core.ServiceAccount, config(secrets=[{"name": "x"}]), []),
}


@pytest.mark.parametrize(("model", "data", "expected"), NEW.values(), ids=NEW)
def test_new_objects(complaints: Complaints, model: type[Object], data: dict[str, Any], expected: list[str]) -> None:
    assert complaints(model, data) == expected


FROZEN = "Forbidden: field is immutable when `immutable` is set"
CHANGED: dict[str, tuple[type[Object], dict[str, Any], dict[str, Any], list[str]]] = {
    "data may change": (core.ConfigMap, config(data={"a": "1"}), config(data={"a": "2"}), []),
    "a config map may be frozen": (core.ConfigMap, config(), config(immutable=True), []),
    "and stays so": (
        core.ConfigMap,
        config(immutable=True, data={"a": "1"}),
        config(data={"a": "2"}, binaryData={"b": ""}),
        [f"immutable: {FROZEN}", f"data: {FROZEN}", f"binaryData: {FROZEN}"],
    ),
    "a frozen one may have other labels": (
        core.ConfigMap,
        config(immutable=True),
        {"metadata": {**METADATA, "labels": {"a": "b"}}, "immutable": True},
        [],
    ),
    "a frozen secret": (
        core.Secret,
        {**secret("", {"a": "1"}), "immutable": True},
        {**secret("", {"a": "2"}), "immutable": True},
        [f"data: {FROZEN}"],
    ),
    "a secret's type": (
        core.Secret,
        secret(""),
        secret("example.com/thing"),
        ['type: Invalid value: "example.com/thing": field is immutable'],
    ),
}


@pytest.mark.parametrize(("model", "old", "new", "expected"), CHANGED.values(), ids=CHANGED)
def test_changes(
    update_complaints: Complaints, model: type[Object], old: dict[str, Any], new: dict[str, Any], expected: list[str]
) -> None:
    assert update_complaints(model, new, old) == expected
