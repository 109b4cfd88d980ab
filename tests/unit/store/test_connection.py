"""Endpoints are checked before anything is connected."""

from __future__ import annotations

import pytest

from kube.store.connection import _target
from kube.store.etcd import EtcdStore


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [
        ("http://127.0.0.1:2379", ("127.0.0.1:2379", False)),
        ("http://etcd:4001/", ("etcd:4001", False)),
        ("https://[::1]:2379", ("[::1]:2379", True)),
        ("https://etcd.example", ("etcd.example:2379", True)),
    ],
)
def test_an_endpoint_is_a_url(endpoint: str, target: tuple[str, bool]) -> None:
    assert _target(endpoint) == target


@pytest.mark.parametrize(
    "endpoints",
    [
        pytest.param([], id="none"),
        pytest.param(["ftp://127.0.0.1:2379"], id="another scheme"),
        pytest.param(["127.0.0.1:2379"], id="no scheme"),
        pytest.param(["http://"], id="no host"),
        pytest.param(["http://etcd:port"], id="a port that is no number"),
        pytest.param(["http://etcd:2379/v3"], id="a path"),
    ],
)
def test_what_cannot_be_an_endpoint_is_an_error_at_once(endpoints: list[str]) -> None:
    with pytest.raises(ValueError, match="etcd endpoint"):
        EtcdStore(endpoints)


def test_a_certificate_that_cannot_be_read_is_an_error_at_once() -> None:
    with pytest.raises(FileNotFoundError):
        EtcdStore(["https://127.0.0.1:2379"], ca="/nonexistent/ca.pem")
