"""Evictions: a deletion that asks the disruption budgets."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
MERGE = {"content-type": "application/merge-patch+json"}


async def pod(http: httpx.AsyncClient, name: str = "p", *, phase: str = "Running", ready: bool = True) -> None:
    spec = {"containers": [{"name": "a", "image": "x"}]}
    made = await http.post(PODS, json={"metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec})
    assert made.status_code == 201, made.text
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"status": {"phase": phase, "conditions": conditions}}
    assert (await http.patch(f"{PODS}/{name}/status", json=status, headers=MERGE)).status_code == 200


async def budget(http: httpx.AsyncClient, name: str = "b", policy: str | None = None, **status: Any) -> None:
    spec: dict[str, Any] = {"selector": {"matchLabels": {"app": "web"}}, "minAvailable": 1}
    if policy:
        spec["unhealthyPodEvictionPolicy"] = policy
    made = await http.post(BUDGETS, json={"metadata": {"name": name}, "spec": spec})
    assert made.status_code == 201, made.text
    if status:
        full = {"observedGeneration": 1, **status}
        await http.patch(f"{BUDGETS}/{name}/status", json={"status": full}, headers=MERGE)


async def evict(http: httpx.AsyncClient, name: str = "p", **body: Any) -> httpx.Response:
    eviction = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": name}, **body}
    return await http.post(f"{PODS}/{name}/eviction", json=eviction)


async def is_there(http: httpx.AsyncClient, name: str = "p") -> bool:
    return (await http.get(f"{PODS}/{name}")).status_code == 200


async def test_without_a_budget_it_is_a_deletion(http: httpx.AsyncClient) -> None:
    await pod(http)
    answer = await evict(http)
    assert answer.status_code == 201, answer.text
    assert answer.json()["status"] == "Success"
    assert not await is_there(http)


async def test_a_bound_pod_is_told_why_and_given_its_time(http: httpx.AsyncClient) -> None:
    await pod(http)
    await http.post(f"{PODS}/p/binding", json={"metadata": {"name": "p"}, "target": {"name": "n"}})
    assert (await evict(http, deleteOptions={"gracePeriodSeconds": 7})).status_code == 201
    left = (await http.get(f"{PODS}/p")).json()
    assert left["metadata"]["deletionGracePeriodSeconds"] == 7
    why = [c for c in left["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert [(c["status"], c["reason"]) for c in why] == [("True", "EvictionByEvictionAPI")]


async def test_a_budget_is_counted_down(http: httpx.AsyncClient) -> None:
    await pod(http)
    await budget(http, disruptionsAllowed=2, currentHealthy=3, desiredHealthy=1)
    assert (await evict(http)).status_code == 201
    status = (await http.get(f"{BUDGETS}/b")).json()["status"]
    assert status["disruptionsAllowed"] == 1
    assert list(status["disruptedPods"]) == ["p"]
    assert not await is_there(http)


REFUSED: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "nothing left": (
        {"disruptionsAllowed": 0, "desiredHealthy": 3, "currentHealthy": 3},
        "The disruption budget b needs 3 healthy pods and has 3 currently",
        None,
    ),
    "not looked at yet": ({}, "The disruption budget b is still being processed by the server.", "10"),
    "its controller failed": (
        {"disruptionsAllowed": 0, "conditions": [
            {"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "no scale"}]},
        "The disruption budget b does not allow evicting pods currently because it failed sync: no scale",
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("status", "cause", "wait"), REFUSED.values(), ids=REFUSED)
async def test_a_budget_refuses(http: httpx.AsyncClient, status: dict[str, Any], cause: str, wait: str | None) -> None:
    await pod(http)
    await budget(http, **status)
    answer = await evict(http)
    assert answer.status_code == 429
    assert answer.json()["reason"] == "TooManyRequests"
    assert answer.json()["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    assert answer.json()["details"]["causes"] == [{"reason": "DisruptionBudget", "message": cause}]
    assert answer.headers.get("retry-after") == wait
    assert await is_there(http)


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed"])
async def test_a_pod_that_does_not_run_is_no_loss(http: httpx.AsyncClient, phase: str) -> None:
    await pod(http, phase=phase)
    await budget(http, disruptionsAllowed=0)
    assert (await evict(http)).status_code == 201
    assert not await is_there(http)


async def test_a_pod_that_is_not_ready_is_no_loss_while_enough_others_are(http: httpx.AsyncClient) -> None:
    await pod(http, ready=False)
    await budget(http, disruptionsAllowed=0, currentHealthy=1, desiredHealthy=2)
    assert (await evict(http)).status_code == 429
    status = {"status": {"currentHealthy": 2}}
    await http.patch(f"{BUDGETS}/b/status", json=status, headers=MERGE)
    assert (await evict(http)).status_code == 201
    assert (await http.get(f"{BUDGETS}/b")).json()["status"]["disruptionsAllowed"] == 0


async def test_a_budget_may_always_let_go_what_is_not_ready(http: httpx.AsyncClient) -> None:
    await pod(http, ready=False)
    await budget(http, policy="AlwaysAllow", disruptionsAllowed=0, currentHealthy=0, desiredHealthy=2)
    assert (await evict(http)).status_code == 201


async def test_two_budgets_for_one_pod_are_an_error(http: httpx.AsyncClient) -> None:
    await pod(http)
    await budget(http, "a", disruptionsAllowed=1)
    await budget(http, "b", disruptionsAllowed=1)
    answer = await evict(http)
    assert answer.status_code == 500
    assert "more than one PodDisruptionBudget" in answer.json()["message"]


async def test_a_dry_run_takes_nothing(http: httpx.AsyncClient) -> None:
    await pod(http)
    await budget(http, disruptionsAllowed=1)
    assert (await evict(http, deleteOptions={"dryRun": ["All"]})).status_code == 201
    assert await is_there(http)
    assert (await http.get(f"{BUDGETS}/b")).json()["status"]["disruptionsAllowed"] == 1


async def test_preconditions_and_names(http: httpx.AsyncClient) -> None:
    await pod(http)
    other = await evict(http, deleteOptions={"preconditions": {"uid": "other"}})
    assert other.status_code == 409
    stale = await evict(http, deleteOptions={"preconditions": {"resourceVersion": "1"}})
    assert stale.status_code == 409
    version = (await http.get(f"{PODS}/p")).json()["metadata"]["resourceVersion"]
    eviction = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "q"}}
    wrong = await http.post(f"{PODS}/p/eviction", json=eviction)
    assert wrong.json()["message"] == "name in URL does not match name in Eviction object"
    assert (await evict(http, "missing")).json()["message"] == 'pods "missing" not found'
    assert await is_there(http)
    kept = await evict(http, deleteOptions={"preconditions": {"resourceVersion": version}})
    assert kept.status_code == 201, kept.text
