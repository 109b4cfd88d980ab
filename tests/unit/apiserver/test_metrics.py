"""What is counted, under which names; and the methods that nobody answers."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client import REGISTRY

from kube.apiserver import metrics
from kube.apiserver.request import Target

PODS = "/api/v1/namespaces/default/pods"


def counted(verb: str, code: str, scope: str, subresource: str = "") -> float:
    labels = {"component": "apiserver", "dry_run": "", "group": "", "resource": "pods", "scope": scope,
              "subresource": subresource, "verb": verb, "version": "v1", "code": code}  # fmt: skip
    return REGISTRY.get_sample_value("apiserver_request_total", labels) or 0.0


@pytest.mark.parametrize(
    ("method", "path", "verb", "code", "scope"),
    [
        ("GET", PODS, "LIST", "200", "namespace"),
        ("GET", "/api/v1/pods", "LIST", "200", "cluster"),
        ("GET", f"{PODS}/none", "GET", "404", "resource"),
        ("HEAD", f"{PODS}/none", "GET", "404", "resource"),
        ("POST", PODS, "POST", "400", "resource"),
        ("DELETE", PODS, "DELETECOLLECTION", "200", "namespace"),
        ("DELETE", f"{PODS}/none", "DELETE", "404", "resource"),
        ("GET", f"{PODS}?watch=1&timeoutSeconds=-1", "WATCH", "200", "namespace"),
    ],
)
async def test_a_request_is_counted_by_upstreams_labels(
    http: httpx.AsyncClient, method: str, path: str, verb: str, code: str, scope: str
) -> None:
    before = counted(verb, code, scope)
    await http.request(method, path)
    assert counted(verb, code, scope) == before + 1


async def test_the_names_are_upstreams(http: httpx.AsyncClient) -> None:
    await http.get(PODS)
    text = (await http.get("/metrics")).text
    for name in ("apiserver_request_total", "apiserver_request_duration_seconds_bucket",
                 "apiserver_current_inflight_requests", "apiserver_longrunning_requests",
                 "apiserver_storage_objects", "apiserver_watch_events_total"):  # fmt: skip
        assert f"# HELP {name.removesuffix('_bucket').removesuffix('_total')}" in text, name


@pytest.mark.parametrize(
    ("target", "method"),
    [
        (Target("", "v1", "made-up"), "GET"),
        (Target("made.up", "v1", "pods"), "GET"),
        (Target("", "v1", "pods", "default", "a", "made-up"), "GET"),
        (Target("", "v1", "pods"), "FROB"),
    ],
    ids=["a resource", "a group", "a subresource", "a method"],
)
def test_what_somebody_made_up_is_not_kept(target: Target, method: str) -> None:
    assert metrics.of(target, method, watching=False) is None


@pytest.mark.parametrize("path", [PODS, f"{PODS}/a", "/api", "/api/v1", "/apis", "/apis/apps/v1"])
async def test_options_is_a_method_that_is_not_allowed(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.request("OPTIONS", path)
    assert (answer.status_code, answer.json()["reason"]) == (405, "MethodNotAllowed")
    assert answer.json()["message"] == "the server does not allow this method on the requested resource"


async def test_head_is_get_without_a_body(http: httpx.AsyncClient) -> None:
    for path in ("/api/v1/namespaces", "/api/v1/namespaces/default", "/api/v1"):
        got, head = await http.get(path), await http.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == got.headers["content-type"]


async def test_discovery_is_not_written_to(http: httpx.AsyncClient) -> None:
    assert (await http.post("/api/v1", json={})).status_code == 405
    assert (await http.post("/apis/none/v1", json={})).status_code == 404
