"""What a request says besides its object: in the query, in DeleteOptions, in the form of a patch; and its refusals."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.unit.apiserver.conftest import Server

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
MATCH = "resourceVersionMatch: "
FORBIDDEN = f"{MATCH}Forbidden: resourceVersionMatch is forbidden "
ONLY = '"Ignore", "Strict", "Warn"'

LISTS = {
    "a match without a version": ("resourceVersionMatch=Exact", f"{FORBIDDEN}unless resourceVersion is provided"),
    "two mistakes": (
        "resourceVersionMatch=Exact&continue=x",
        f"[{FORBIDDEN}unless resourceVersion is provided, {FORBIDDEN}when continue is provided]",
    ),
    "exactly any version": (
        "resourceVersionMatch=Exact&resourceVersion=0",
        f'{MATCH}Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
    ),
    "initial events": ("sendInitialEvents=1", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
    "a watch: initial events without a match": (
        "watch=1&sendInitialEvents=1",
        f"{MATCH}Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
    ),
    "a watch: a match without initial events": (
        "watch=1&resourceVersionMatch=NotOlderThan",
        f"{FORBIDDEN}for watch unless sendInitialEvents is provided",
    ),
    "a watch: another match": (
        "watch=1&resourceVersionMatch=Exact&sendInitialEvents=0",
        f"[{MATCH}Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, "
        f'{MATCH}Unsupported value: "Exact": supported values: "NotOlderThan"]',
    ),
}


@pytest.mark.parametrize(("query", "why"), LISTS.values(), ids=LISTS)
async def test_a_list_or_watch_that_contradicts_itself(http: httpx.AsyncClient, query: str, why: str) -> None:
    answer = await http.get(f"{PODS}?{query}")
    message = f'ListOptions.meta.k8s.io "" is invalid: {why}'
    assert (answer.status_code, answer.json()["message"]) == (422, message)


async def test_a_watch_with_initial_events_needs_no_version(http: httpx.AsyncClient) -> None:
    query = "watch=1&sendInitialEvents=1&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1&timeoutSeconds=-1"
    answer = await http.get(f"{PODS}?{query}")
    assert (answer.status_code, "k8s.io/initial-events-end" in answer.text) == (200, True)


WRITES: dict[str, tuple[str, str, Any, str]] = {
    "create": ("POST", "?dryRun=Some", {}, 'CreateOptions.meta.k8s.io "" is invalid: dryRun: '
               'Unsupported value: "Some": supported values: "All"'),
    "update": ("PUT", "/a?fieldValidation=Some", {}, 'UpdateOptions.meta.k8s.io "" is invalid: fieldValidation: '
               f'Unsupported value: "Some": supported values: "", {ONLY}'),
    "delete": ("DELETE", "/a?dryRun=Some", None, 'DeleteOptions.meta.k8s.io "" is invalid: dryRun: '
               'Unsupported value: "Some": supported values: "All"'),
    "delete, by its body": ("DELETE", "/a", {"dryRun": ["Some"]}, 'DeleteOptions.meta.k8s.io "" is invalid: dryRun: '
                            'Unsupported value: "Some": supported values: "All"'),
    "two policies": ("DELETE", "/a?orphanDependents=true&propagationPolicy=Orphan", None,
                     'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Invalid value: "Orphan": '
                     "orphanDependents and deletionPropagation cannot be both set"),
    "options of another kind": ("DELETE", "/a", {"kind": "Foo"}, "decoded object cannot be converted to DeleteOptions"),
}  # fmt: skip


@pytest.mark.parametrize(("method", "where", "body", "message"), WRITES.values(), ids=WRITES)
async def test_options_of_a_write(http: httpx.AsyncClient, method: str, where: str, body: Any, message: str) -> None:
    answer = await http.request(method, MAPS + where, json=body)
    assert answer.json()["message"] == message


PATCHES = {
    "cut off": (MERGE_PATCH, "{", "error decoding patch: unexpected end of JSON input"),
    "a list for a merge patch": (
        MERGE_PATCH,
        "[]",
        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
    ),
    "a strategic list": (
        STRATEGIC,
        "[]",
        "json: cannot unmarshal array into Go value of type map[string]interface {}",
    ),
    "an object for a JSON patch": (
        JSON_PATCH,
        "{}",
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
    ),
    "another name": (
        MERGE_PATCH,
        '{"metadata":{"name":"b"}}',
        "the name of the object (b) does not match the name on the URL (a)",
    ),
}


@pytest.mark.parametrize(("kind", "body", "message"), PATCHES.values(), ids=PATCHES)
async def test_a_patch_that_is_none(http: httpx.AsyncClient, kind: str, body: str, message: str) -> None:
    await http.post(MAPS, json={"metadata": {"name": "a"}})
    answer = await http.patch(f"{MAPS}/a", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["message"]) == (400, message)


@pytest.mark.parametrize(
    ("kind", "query", "body", "why"),
    [
        pytest.param(STRATEGIC, "", '{"data":{"a":5}}', 'Invalid value: "map[data:map[a:5]]": json: cannot unmarshal '
                     "number into Go struct field ConfigMap.data of type string", id="of another type"),
        pytest.param(STRATEGIC, "?fieldValidation=Strict", '{"b":[true,null]}', 'Invalid value: "map[b:[true <nil>]]": '
                     'strict decoding error: unknown field "b"', id="of no field"),
        pytest.param(MERGE_PATCH, "", '{"data":{"a":5}}', r'\"data\":{\"a\":5}}": json: cannot unmarshal number into '
                     "Go struct field ConfigMap.data of type string", id="the whole object is told"),
    ],
)  # fmt: skip
async def test_a_patch_that_leaves_no_object(
    http: httpx.AsyncClient, kind: str, query: str, body: str, why: str
) -> None:
    await http.post(MAPS, json={"metadata": {"name": "a"}})
    answer = await http.patch(f"{MAPS}/a{query}", content=body, headers={"content-type": kind})
    message = answer.json()["message"]
    assert (answer.status_code, message.startswith(' "" is invalid: patch: Invalid value: ')) == (422, True)
    assert message.endswith(why)


async def test_a_collection_that_cannot_be_deleted_as_it_was_asked_for(http: httpx.AsyncClient) -> None:
    assert (await http.delete("/api/v1/namespaces")).status_code == 405
    await http.post(MAPS, json={"metadata": {"name": "a"}})
    answer = await http.request("DELETE", MAPS, json={"preconditions": {"uid": "other"}})
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")


async def test_a_binding_may_be_a_dry_run_and_is_of_its_pod(http: httpx.AsyncClient, server: Server) -> None:
    await http.post(PODS, json={"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    assert (await http.post(f"{PODS}/p/binding?dryRun=All", json=binding)).status_code == 201
    assert "nodeName" not in (await http.get(f"{PODS}/p")).json()["spec"]
    another = {**binding, "metadata": {"name": "q"}}
    answer = await http.post(f"{PODS}/p/binding", json=another)
    assert answer.json()["message"] == "name in URL does not match name in Binding object"


async def test_a_negative_grace_is_a_second_and_an_old_eviction_is_one(http: httpx.AsyncClient) -> None:
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}
    await http.post(PODS, json={"metadata": {"name": "p"}, "spec": spec})
    left = await http.request("DELETE", f"{PODS}/p", json={"gracePeriodSeconds": -1})
    assert left.json()["metadata"]["deletionGracePeriodSeconds"] == 1
    await http.post(PODS, json={"metadata": {"name": "q"}, "spec": spec})
    eviction = {"kind": "Eviction", "apiVersion": "policy/v1beta1", "metadata": {"name": "q"}}
    assert (await http.post(f"{PODS}/q/eviction", json=eviction)).status_code == 201


async def test_a_log_that_nobody_can_tell(http: httpx.AsyncClient) -> None:
    spec = {"nodeName": "gone", "containers": [{"name": "c", "image": "i"}]}
    await http.post(PODS, json={"metadata": {"name": "p"}, "spec": spec})
    answer = await http.get(f"{PODS}/p/log")
    assert (answer.status_code, answer.json()["message"]) == (404, 'nodes "gone" not found')
    answer = await http.get(f"{PODS}/p/log?sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z")
    assert "at most one of `sinceTime` or `sinceSeconds` may be specified" in answer.json()["message"]


async def test_an_object_is_in_its_namespace(http: httpx.AsyncClient) -> None:
    await http.post(MAPS, json={"metadata": {"name": "a"}})
    for name in ("a", "default%2Fa"):
        assert (await http.get(f"/api/v1/configmaps/{name}")).status_code == 404


METHODS = {
    "a collection": ("/api/v1/namespaces/default/pods", "DELETE, GET, HEAD, POST"),
    "an object": ("/api/v1/namespaces/default/pods/p", "DELETE, GET, HEAD, PATCH, PUT"),
    "of all namespaces": ("/api/v1/pods", "GET, HEAD"),
    "no deletion of all": ("/api/v1/namespaces", "GET, HEAD, POST"),
}


@pytest.mark.parametrize(("path", "allowed"), METHODS.values(), ids=METHODS)
async def test_what_a_path_allows(http: httpx.AsyncClient, path: str, allowed: str) -> None:
    answer = await http.request("OPTIONS", path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
