"""The kinds beside pods, services and their like, through the whole apiserver."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest

from kube.api import resources
from kube.store import keys
from tests.unit.apiserver.conftest import Server

CORE = "/api/v1/namespaces/default"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
MERGE = {"content-type": "application/merge-patch+json"}


def named(name: str, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **fields}


async def test_a_secret_is_written_as_text_and_read_as_base64(http: httpx.AsyncClient) -> None:
    made = await http.post(f"{CORE}/secrets", json=named("s", stringData={"password": "hunter2"}))
    assert made.status_code == 201, made.text
    assert made.json()["data"] == {"password": base64.b64encode(b"hunter2").decode()}
    assert "stringData" not in made.json()
    await http.patch(f"{CORE}/secrets/s", json={"stringData": {"user": "me"}}, headers=MERGE)
    assert set((await http.get(f"{CORE}/secrets/s")).json()["data"]) == {"password", "user"}


async def test_secrets_are_selected_by_type(http: httpx.AsyncClient) -> None:
    await http.post(f"{CORE}/secrets", json=named("a"))
    await http.post(f"{CORE}/secrets", json=named("b", type="example.com/x"))
    listed = (await http.get(f"{CORE}/secrets", params={"fieldSelector": "type=Opaque"})).json()
    assert [item["metadata"]["name"] for item in listed["items"]] == ["a"]


async def test_a_frozen_config_map_is_not_thawed(http: httpx.AsyncClient) -> None:
    await http.post(f"{CORE}/configmaps", json=named("c", data={"a": "1"}, immutable=True))
    answer = await http.patch(f"{CORE}/configmaps/c", json={"data": {"a": "2"}}, headers=MERGE)
    assert answer.status_code == 422
    assert answer.json()["message"] == (
        'ConfigMap "c" is invalid: data: Forbidden: field is immutable when `immutable` is set'
    )
    assert (await http.delete(f"{CORE}/configmaps/c")).status_code == 200


async def test_a_service_account_keeps_only_the_names_of_its_secrets(http: httpx.AsyncClient) -> None:
    body = named("sa", secrets=[{"name": "x", "namespace": "other"}])
    assert (await http.post(f"{CORE}/serviceaccounts", json=body)).json()["secrets"] == [{"name": "x"}]
    patch = {"imagePullSecrets": [{"name": "a"}], "secrets": [{"name": "y"}]}
    kind = {"content-type": "application/strategic-merge-patch+json"}
    patched = (await http.patch(f"{CORE}/serviceaccounts/sa", json=patch, headers=kind)).json()
    assert sorted(secret["name"] for secret in patched["secrets"]) == ["x", "y"]


async def test_a_quotas_status_has_a_path_of_its_own(http: httpx.AsyncClient) -> None:
    body = named("q", spec={"hard": {"pods": "2"}}, status={"used": {"pods": "1"}})
    made = (await http.post(f"{CORE}/resourcequotas", json=body)).json()
    assert made["status"] == {}
    status = {"status": {"hard": {"pods": "2"}, "used": {"pods": "1"}}}
    answer = await http.patch(f"{CORE}/resourcequotas/q/status", json=status, headers=MERGE)
    assert answer.json()["status"] == status["status"]


async def test_an_endpoint_slice_counts_its_generations(http: httpx.AsyncClient) -> None:
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    body = named("e", addressType="IPv4", endpoints=[{"addresses": ["10.0.0.1"]}], ports=[{"port": 80}])
    made = (await http.post(path, json=body)).json()
    assert made["metadata"]["generation"] == 1
    assert made["ports"] == [{"name": "", "protocol": "TCP", "port": 80}]
    labelled = await http.patch(f"{path}/e", json={"metadata": {"labels": {"a": "b"}}}, headers=MERGE)
    assert labelled.json()["metadata"]["generation"] == 2
    noted = await http.patch(f"{path}/e", json={"metadata": {"annotations": {"a": "b"}}}, headers=MERGE)
    assert noted.json()["metadata"]["generation"] == 2
    other = await http.patch(f"{path}/e", json={"addressType": "IPv6"}, headers=MERGE)
    assert 'addressType: Invalid value: "IPv6": field is immutable' in other.json()["message"]


# Views


def event(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "eventTime": "2026-01-01T00:00:00.000001Z",
        "reportingController": "example.com/c",
        "reportingInstance": "c-1",
        "action": "Doing",
        "reason": "Done",
        "note": "It is done",
        "type": "Normal",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
    }


async def test_an_event_is_one_object_with_two_faces(server: Server, http: httpx.AsyncClient) -> None:
    made = await http.post(EVENTS, json=event("e"))
    assert made.status_code == 201, made.text
    assert made.json()["apiVersion"] == "events.k8s.io/v1"
    assert made.json()["note"] == "It is done"
    older = (await http.get(f"{CORE}/events/e")).json()
    assert (older["kind"], older["apiVersion"]) == ("Event", "v1")
    assert older["message"] == "It is done"
    assert older["involvedObject"]["name"] == "p"
    assert older["reportingComponent"] == "example.com/c"
    assert older["metadata"] == made.json()["metadata"]
    stored, _ = await server.store.get(keys.object_key(resources.EVENTS, "default", "e"))
    assert stored is not None
    assert stored.value.startswith(b'{"kind":"Event","apiVersion":"v1",'), "as Kubernetes stores it"


async def test_an_event_is_changed_and_deleted_by_either_name(http: httpx.AsyncClient) -> None:
    await http.post(EVENTS, json=event("e"))
    patched = await http.patch(f"{EVENTS}/e", json={"series": {"count": 2, "lastObservedTime": None}}, headers=MERGE)
    assert patched.status_code == 200, patched.text
    assert (await http.get(f"{CORE}/events/e")).json()["series"]["count"] == 2
    replaced = await http.put(f"{EVENTS}/e", json={**patched.json(), "note": "again"})
    assert replaced.json()["note"] == "again"
    assert (await http.delete(f"{CORE}/events/e")).status_code == 200
    missing = await http.get(f"{EVENTS}/e")
    assert missing.json()["message"] == 'events "e" not found'


async def test_both_lists_have_all_events_each_in_its_form(http: httpx.AsyncClient) -> None:
    await http.post(EVENTS, json=event("new"))
    older = named("old", involvedObject={"kind": "Pod", "name": "q", "namespace": "default"}, message="older", count=3)
    assert (await http.post(f"{CORE}/events", json=older)).status_code == 201
    listed = (await http.get(EVENTS)).json()
    assert (listed["kind"], listed["apiVersion"]) == ("EventList", "events.k8s.io/v1")
    assert [item.get("note") for item in listed["items"]] == ["It is done", "older"]
    assert listed["items"][1]["deprecatedCount"] == 3
    chosen = (await http.get(EVENTS, params={"fieldSelector": "regarding.name=q"})).json()
    assert [item["metadata"]["name"] for item in chosen["items"]] == ["old"]
    wrong = await http.get(EVENTS, params={"fieldSelector": "involvedObject.name=q"})
    assert wrong.json()["message"] == "field label not supported: involvedObject.name"
    table = (await http.get(EVENTS, headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})).json()
    assert [row["cells"][4] for row in table["rows"]] == ["It is done", "older"]


async def test_a_watch_and_its_bookmarks_are_of_the_kind_that_was_asked_for(http: httpx.AsyncClient) -> None:
    await http.post(f"{CORE}/events", json=named("e", involvedObject={"namespace": "default"}, message="m"))
    query = {"watch": "1", "allowWatchBookmarks": "1", "timeoutSeconds": "-1"}
    query |= {"sendInitialEvents": "1", "resourceVersionMatch": "NotOlderThan"}
    async with asyncio.timeout(5):
        lines = [json.loads(line) for line in (await http.get(EVENTS, params=query)).text.splitlines()]
    assert [line["type"] for line in lines][:2] == ["ADDED", "BOOKMARK"]
    assert {line["object"]["apiVersion"] for line in lines} == {"events.k8s.io/v1"}
    assert lines[0]["object"]["note"] == "m"


# What is answered


async def test_the_collection_of_bindings_binds(http: httpx.AsyncClient) -> None:
    await http.post(f"{CORE}/pods", json=named("p", spec={"containers": [{"name": "a", "image": "x"}]}))
    answer = await http.post(f"{CORE}/bindings", json=named("p", target={"kind": "Node", "name": "n"}))
    assert answer.status_code == 201, answer.text
    assert (await http.get(f"{CORE}/pods/p")).json()["spec"]["nodeName"] == "n"
    assert (await http.get(f"{CORE}/bindings")).status_code == 405
    assert (await http.get(f"{CORE}/bindings/p")).status_code == 405


AUTHORIZATION, AUTHENTICATION = "/apis/authorization.k8s.io/v1", "/apis/authentication.k8s.io/v1"
POD_READER = {"resourceAttributes": {"verb": "get", "resource": "pods"}}


async def test_without_an_authorizer_everything_is_allowed(http: httpx.AsyncClient) -> None:
    for plural, spec in (
        ("selfsubjectaccessreviews", POD_READER),
        ("subjectaccessreviews", {**POD_READER, "user": "jane"}),
    ):
        answer = await http.post(f"{AUTHORIZATION}/{plural}", json={"spec": spec})
        assert answer.status_code == 201, answer.text
        assert answer.json()["spec"] == spec
        assert answer.json()["status"] == {"allowed": True}


async def test_the_rules_of_the_asker(http: httpx.AsyncClient) -> None:
    answer = await http.post(f"{AUTHORIZATION}/selfsubjectrulesreviews", json={"spec": {"namespace": "default"}})
    assert answer.json()["status"] == {
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        "incomplete": False,
    }


QUESTIONS: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "nothing asked": (
        "selfsubjectaccessreviews",
        {"spec": {}},
        422,
        'SelfSubjectAccessReview.authorization.k8s.io "" is invalid: spec.resourceAttributes: Invalid value: null: '
        "exactly one of nonResourceAttributes or resourceAttributes must be specified",
    ),
    "for nobody": (
        "subjectaccessreviews",
        {"spec": POD_READER},
        422,
        'SubjectAccessReview.authorization.k8s.io "" is invalid: spec.user: Invalid value: "": at least one of user or '
        "group must be specified",
    ),
    "rules of no namespace": ("selfsubjectrulesreviews", {"spec": {}}, 400, "no namespace on request"),
}


@pytest.mark.parametrize(("plural", "body", "code", "message"), QUESTIONS.values(), ids=QUESTIONS)
async def test_questions_that_are_not_well_put(
    http: httpx.AsyncClient, plural: str, body: dict[str, Any], code: int, message: str
) -> None:
    answer = await http.post(f"{AUTHORIZATION}/{plural}", json=body)
    assert (answer.status_code, answer.json()["message"]) == (code, message)


async def test_who_somebody_is(http: httpx.AsyncClient) -> None:
    me = await http.post(f"{AUTHENTICATION}/selfsubjectreviews", json={})
    assert me.status_code == 201
    user = {"username": "system:unsecured", "groups": ["system:masters", "system:authenticated"]}
    assert me.json()["status"] == {"userInfo": user}
    token = await http.post(f"{AUTHENTICATION}/tokenreviews", json={"spec": {"token": "x"}})
    assert token.json()["status"] == {"user": {}}
    empty = await http.post(f"{AUTHENTICATION}/tokenreviews", json={"spec": {}})
    assert empty.json()["message"] == "token is required for TokenReview in authentication"
    assert (await http.get(f"{AUTHENTICATION}/tokenreviews")).status_code == 405


async def test_components_are_asked_when_somebody_asks(http: httpx.AsyncClient, server: Server) -> None:
    answer = await http.get("/api/v1/componentstatuses")
    assert "deprecated" in answer.headers["warning"]
    listed = {item["metadata"]["name"]: item["conditions"][0] for item in answer.json()["items"]}
    assert list(listed) == ["controller-manager", "etcd-0", "scheduler"]
    assert listed["etcd-0"] == {"type": "Healthy", "status": "True", "message": "ok"}
    table = await http.get(
        "/api/v1/componentstatuses/etcd-0", headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    )
    assert table.json()["rows"][0]["cells"] == ["etcd-0", "Healthy", "ok", ""]
    missing = await http.get("/api/v1/componentstatuses/etcd-1")
    assert missing.json()["message"] == 'componentstatuses "etcd-1" not found'
    one = await http.get("/api/v1/componentstatuses", params={"fieldSelector": "metadata.name=etcd-0"})
    assert len(one.json()["items"]) == 1
    assert (await http.delete("/api/v1/componentstatuses/etcd-0")).status_code in (404, 405)
