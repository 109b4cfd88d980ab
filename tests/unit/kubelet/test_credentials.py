"""Which users and passwords an image is pulled with."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from kube.api.binary import encoded
from kube.api.core import Secret
from kube.kubelet.credentials import Credentials, lookup, read, split


def docker_config(**auths: dict[str, Any]) -> Secret:
    content = json.dumps({"auths": {name.replace("_", "."): auth for name, auth in auths.items()}})
    return Secret(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": encoded(content.encode())})


def test_both_forms_of_secrets_and_of_passwords() -> None:
    auth = base64.b64encode(b"jo:s:3").decode()
    old = Secret(
        type="kubernetes.io/dockercfg",
        data={".dockercfg": encoded(json.dumps({"old.io": {"username": "al", "password": "x"}}).encode())},
    )
    assert read([docker_config(new_io={"auth": auth}), old]) == [
        Credentials("jo", "s:3", "new.io"),
        Credentials("al", "x", "old.io"),
    ]


@pytest.mark.parametrize(
    "secret",
    [
        Secret(type="Opaque", data={".dockerconfigjson": encoded(b"{}")}),
        Secret(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": encoded(b"no json")}),
        Secret(type="kubernetes.io/dockerconfigjson"),
        docker_config(x={"auth": "!"}),
        docker_config(x={}),
    ],
    ids=["another type", "no JSON", "no data", "no base64", "empty"],
)
def test_what_cannot_be_read_is_left_out(secret: Secret) -> None:
    assert read([secret]) == []


@pytest.mark.parametrize(
    ("image", "host", "path"),
    [
        ("web", "index.docker.io", "web"),
        ("kube/web:1", "index.docker.io", "kube/web:1"),
        ("docker.io/kube/web", "index.docker.io", "kube/web"),
        ("localhost/web", "localhost", "web"),
        ("r.io:5000/a/b", "r.io:5000", "a/b"),
    ],
)
def test_where_an_image_comes_from(image: str, host: str, path: str) -> None:
    assert split(image) == (host, path)


@pytest.mark.parametrize(
    ("registry", "image", "good"),
    [
        ("https://index.docker.io/v1/", "kube/web", True),
        ("r.io", "r.io/web", True),
        ("r.io", "s.io/web", False),
        ("r.io", "r.io:5000/web", False),
        ("r.io:5000", "r.io:5000/web", True),
        ("*.r.io", "a.r.io/web", True),
        ("*.r.io", "a.b.r.io/web", False),
        ("*.r.io", "r.io/web", False),
        ("r.io/team", "r.io/team/web", True),
        ("r.io/team", "r.io/other/web", False),
    ],
)
def test_which_registry_is_meant(registry: str, image: str, good: bool) -> None:
    assert bool(lookup([Credentials("u", "p", registry)], image)) is good


def test_the_most_special_come_first() -> None:
    known = [Credentials("a", "", "r.io"), Credentials("b", "", "r.io/team/web"), Credentials("c", "", "r.io/team")]
    assert [found.username for found in lookup(known, "r.io/team/web:1")] == ["b", "c", "a"]
