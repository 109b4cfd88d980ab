"""What is in the volumes whose files come from the API."""

from __future__ import annotations

from typing import Any

import pytest

from kube.api.binary import encoded
from kube.api.core import ConfigMap, Pod, Secret
from kube.kubelet.atomic_writer import File, Payload
from kube.kubelet.configuration import ConfigError, Configuration
from kube.kubelet.projection import MountError, Sources, only_user, payload
from tests.kubelet_node import container, make_pod

SOURCES = Sources(
    Configuration(
        {"settings": ConfigMap(data={"color": "red", "size": "big"}, binaryData={"blob": encoded(b"\xff\0")})},
        {"login": Secret(data={"user": encoded(b"jo"), "password": encoded(b"\xfe")})},
    ),
    {("", 3600): "token-1", ("vault", 600): "token-2"},
    {"cpu": "4", "memory": "8Gi"},
)


def pod(**spec: Any) -> Pod:
    found = make_pod("web", container(resources={"limits": {"memory": "64Mi"}}), **spec)
    found.metadata.labels = {"b": "2", "a": 'say "hi"'}
    found.metadata.annotations = {"note": "two\nlines"}
    return found


def files(volume: dict[str, Any], **spec: Any) -> Payload:
    found = pod(volumes=[{"name": "data", **volume}], **spec)
    return payload(found, found.spec.volumes[0], SOURCES)


def test_all_keys_of_a_config_map_with_its_mode() -> None:
    assert files({"configMap": {"name": "settings", "defaultMode": 0o600}}) == {
        "color": File(b"red", 0o600),
        "size": File(b"big", 0o600),
        "blob": File(b"\xff\0", 0o600),
    }


def test_some_keys_of_a_secret_where_they_are_wanted() -> None:
    items = [{"key": "user", "path": "who/name"}, {"key": "password", "path": "pw", "mode": 0o400}]
    assert files({"secret": {"secretName": "login", "items": items}}) == {
        "who/name": File(b"jo", 0o644),
        "pw": File(b"\xfe", 0o400),
    }


def test_what_is_optional_may_be_missing() -> None:
    assert files({"configMap": {"name": "none", "optional": True}}) == {}
    items = [{"key": "none", "path": "x"}]
    assert files({"secret": {"secretName": "login", "items": items, "optional": True}}) == {}


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        (
            {"configMap": {"name": "settings", "items": [{"key": "k", "path": "x"}]}},
            "configmap references non-existent config key: k",
        ),
        (
            {"secret": {"secretName": "login", "items": [{"key": "k", "path": "x"}]}},
            "references non-existent secret key: k",
        ),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "nobody"}}]}},
            "failed to fetch token: there is none yet",
        ),
        (
            {"projected": {"sources": [{"clusterTrustBundle": {"path": "t", "name": "x"}}]}},
            "ClusterTrustBundle projections are not supported by this kubelet",
        ),
    ],
)
def test_what_is_missing_is_named(volume: dict[str, Any], message: str) -> None:
    with pytest.raises((MountError, ConfigError)) as failure:
        files(volume)
    assert str(failure.value) == message


DOWNWARD = [
    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
    {"path": "notes", "fieldRef": {"fieldPath": "metadata.annotations"}},
    {"path": "b", "fieldRef": {"fieldPath": "metadata.labels['b']"}},
    {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}, "mode": 0o400},
    {"path": "memory", "resourceFieldRef": {"containerName": "main", "resource": "limits.memory", "divisor": "1Mi"}},
    {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}},
]


def test_things_about_the_pod() -> None:
    found = files({"downwardAPI": {"items": DOWNWARD}})
    assert {path: file.content.decode() for path, file in found.items()} == {
        "labels": 'a="say \\"hi\\""\nb="2"',
        "notes": 'note="two\\nlines"',
        "b": "2",
        "name": "web",
        "memory": "64",
        "cpu": "4",
    }
    assert {found["name"].mode, found["b"].mode} == {0o400, 0o644}


def test_several_sources_in_one_directory() -> None:
    sources = [
        {"configMap": {"name": "settings", "items": [{"key": "color", "path": "color"}]}},
        {"secret": {"name": "login", "items": [{"key": "user", "path": "user", "mode": 0o400}]}},
        {"downwardAPI": {"items": DOWNWARD[3:4]}},
        {"serviceAccountToken": {"path": "token"}},
        {"serviceAccountToken": {"path": "vault", "audience": "vault", "expirationSeconds": 600}},
    ]
    assert files({"projected": {"sources": sources, "defaultMode": 0o640}}) == {
        "color": File(b"red", 0o640),
        "user": File(b"jo", 0o400),
        "name": File(b"web", 0o400),
        "token": File(b"token-1", 0o640),
        "vault": File(b"token-2", 0o640),
    }


@pytest.mark.parametrize(
    ("rights", "file"),
    [
        ({"runAsUser": 1000}, File(b"token-1", 0o600, owner=1000)),
        ({"fsGroup": 1000}, File(b"token-1", 0o600)),
        ({}, File(b"token-1", 0o644)),
    ],
)
def test_a_token_is_its_user_s_alone(rights: dict[str, Any], file: File) -> None:
    volume = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    assert files(volume, securityContext=rights) == {"token": file}


def test_the_only_user_is_the_one_that_all_containers_have() -> None:
    own = container("other", securityContext={"runAsUser": 5})
    assert only_user(make_pod("web", container(), own, securityContext={"runAsUser": 5})) == 5
    assert only_user(make_pod("web", container(), own, securityContext={"runAsUser": 6})) is None
    assert only_user(make_pod("web", container(), own)) is None
