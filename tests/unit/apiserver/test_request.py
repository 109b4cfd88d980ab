"""Paths and parameters."""

from __future__ import annotations

import pytest

from kube.api import errors
from kube.apiserver.request import Query, Target, parse_path

PATHS = {
    "a collection in a namespace": ("/api/v1/namespaces/default/pods", Target("", "v1", "pods", "default")),
    "a collection in all namespaces": ("/api/v1/pods", Target("", "v1", "pods")),
    "an object": ("/api/v1/namespaces/default/pods/web", Target("", "v1", "pods", "default", "web")),
    "a subresource": ("/api/v1/namespaces/ns/pods/web/log", Target("", "v1", "pods", "ns", "web", "log")),
    "a cluster-scoped object": ("/api/v1/nodes/n1", Target("", "v1", "nodes", "", "n1")),
    "a namespace": ("/api/v1/namespaces/default", Target("", "v1", "namespaces", "", "default")),
    "all namespaces": ("/api/v1/namespaces", Target("", "v1", "namespaces")),
    "a namespace's status": ("/api/v1/namespaces/x/status", Target("", "v1", "namespaces", "", "x", "status")),
    "a namespace's finalize": ("/api/v1/namespaces/x/finalize", Target("", "v1", "namespaces", "", "x", "finalize")),
    "a group": (
        "/apis/coordination.k8s.io/v1/namespaces/ns/leases/l",
        Target("coordination.k8s.io", "v1", "leases", "ns", "l"),
    ),
    "a path to proxy to": (
        "/api/v1/namespaces/ns/pods/web/proxy/a/b",
        Target("", "v1", "pods", "ns", "web", "proxy", "a/b"),
    ),
    "the old watch of a collection": ("/api/v1/watch/pods", Target("", "v1", "pods", watch=True)),
    "the old watch of an object": (
        "/api/v1/watch/namespaces/ns/pods/web",
        Target("", "v1", "pods", "ns", "web", watch=True),
    ),
    "an escaped name": ("/api/v1/namespaces/ns/pods/a%2Fb", Target("", "v1", "pods", "ns", "a/b")),
    "a trailing slash": ("/api/v1/pods/", Target("", "v1", "pods")),
    "the versions": ("/api", None),
    "the resources of a version": ("/api/v1", None),
    "the groups": ("/apis", None),
    "the versions of a group": ("/apis/coordination.k8s.io", None),
    "the resources of a group's version": ("/apis/coordination.k8s.io/v1", None),
}


@pytest.mark.parametrize(("path", "target"), PATHS.values(), ids=PATHS.keys())
def test_a_path_names_its_target(path: str, target: Target | None) -> None:
    assert parse_path(path) == target


@pytest.mark.parametrize(
    ("query", "value"),
    [(b"", False), (b"watch", True), (b"watch=1", True), (b"watch=true", True), (b"watch=0", False)],
)
def test_a_flag_is_read_as_go_reads_it(query: bytes, value: bool) -> None:
    assert Query(query).flag("watch") is value


def test_a_parameter_of_the_wrong_type_is_a_bad_request() -> None:
    with pytest.raises(errors.BadRequest, match='parsing "yes": invalid syntax'):
        Query(b"watch=yes").flag("watch")
    with pytest.raises(errors.BadRequest, match='parsing "x": invalid syntax'):
        Query(b"limit=x").integer("limit")
