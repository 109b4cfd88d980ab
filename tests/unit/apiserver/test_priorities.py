"""Priority classes: what a pod gets from them, and what a class may be."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from kube.apiserver.bootstrap import create_priority_classes
from tests.unit.apiserver.conftest import Server

CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
PODS = "/api/v1/namespaces/default/pods"


def priority_class(name: str, value: int, **more: Any) -> dict[str, Any]:
    kind = {"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": {"name": name}}
    return {**kind, "value": value, **more}


async def create_pod(http: httpx.AsyncClient, **spec: Any) -> httpx.Response:
    described = {"containers": [{"name": "c", "image": "kube/web"}], **spec}
    return await http.post(PODS, json={"kind": "Pod", "metadata": {"name": "p"}, "spec": described})


async def test_a_pod_gets_the_priority_of_its_class(http: httpx.AsyncClient) -> None:
    await http.post(CLASSES, json=priority_class("high", 1000, preemptionPolicy="Never"))
    spec = (await create_pod(http, priorityClassName="high")).json()["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (1000, "Never")


async def test_without_a_class_it_is_zero(http: httpx.AsyncClient) -> None:
    spec = (await create_pod(http)).json()["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert "priorityClassName" not in spec


async def test_unless_one_is_the_default(http: httpx.AsyncClient) -> None:
    assert (await http.post(CLASSES, json=priority_class("usual", 7, globalDefault=True))).status_code == 201
    await http.get(CLASSES)  # from here on everybody knows
    spec = (await create_pod(http)).json()["spec"]
    assert (spec["priority"], spec["priorityClassName"]) == (7, "usual")
    second = await http.post(CLASSES, json=priority_class("another", 8, globalDefault=True))
    assert second.status_code == 403
    assert "PriorityClass usual is already marked as default. Only one default can exist" in second.json()["message"]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        pytest.param({"priorityClassName": "none"}, "no PriorityClass with name none was found", id="no such class"),
        pytest.param(
            {"priority": 5},
            "the integer value of priority (5) must not be provided in pod spec; "
            "priority admission controller computed 0 from the given PriorityClass name",
            id="a number of one's own",
        ),
        pytest.param(
            {"preemptionPolicy": "Never"},
            "the string value of PreemptionPolicy (Never) must not be provided in pod spec; "
            "priority admission controller computed PreemptLowerPriority from the given PriorityClass name",
            id="a policy of one's own",
        ),
    ],
)
async def test_refused(http: httpx.AsyncClient, spec: dict[str, Any], why: str) -> None:
    answer = await create_pod(http, **spec)
    assert answer.status_code == 403
    assert answer.json()["message"] == f'pods "p" is forbidden: {why}'


async def test_the_systems_classes_are_there_and_pods_need_not_wait_for_them(
    http: httpx.AsyncClient, server: Server
) -> None:
    assert (await create_pod(http, priorityClassName="system-node-critical")).json()["spec"]["priority"] == 2000001000
    await create_priority_classes(server.verbs)
    await create_priority_classes(server.verbs)
    found = {each["metadata"]["name"]: each["value"] for each in (await http.get(CLASSES)).json()["items"]}
    assert found == {"system-cluster-critical": 2000000000, "system-node-critical": 2000001000}


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (priority_class("big", 1000000001), "maximum allowed value of a user defined priority is 1000000000"),
        (priority_class("system-mine", 1), "priority class names with 'system-' prefix are reserved"),
        (priority_class("system-node-critical", 1), "value of system-node-critical PriorityClass must be 2000001000"),
        (priority_class("odd", 1, preemptionPolicy="Sometimes"), "Unsupported value"),
        ({**priority_class("none", 1), "value": "1"}, "must be an integer"),
    ],
)
async def test_a_class_that_is_not_allowed(http: httpx.AsyncClient, described: dict[str, Any], message: str) -> None:
    answer = await http.post(CLASSES, json=described)
    assert answer.status_code == 422
    assert message in answer.json()["message"]


async def test_the_value_of_a_class_is_fixed(http: httpx.AsyncClient) -> None:
    await http.post(CLASSES, json=priority_class("high", 1000))
    answer = await http.put(f"{CLASSES}/high", json=priority_class("high", 2000))
    assert answer.status_code == 422
    answer = await http.put(f"{CLASSES}/high", json=priority_class("high", 1000, description="for what matters"))
    assert answer.status_code == 200


async def test_a_change_makes_no_second_default_either(http: httpx.AsyncClient) -> None:
    await http.post(CLASSES, json=priority_class("usual", 7, globalDefault=True))
    await http.post(CLASSES, json=priority_class("another", 8))
    await http.get(CLASSES)
    merge = {"Content-Type": "application/merge-patch+json"}
    second = await http.patch(f"{CLASSES}/another", json={"globalDefault": True}, headers=merge)
    assert second.status_code == 403
    assert second.json()["message"] == (
        'priorityclasses.scheduling.k8s.io "another" is forbidden: '
        "PriorityClass usual is already marked as default. Only one default can exist"
    )
    assert (await http.patch(f"{CLASSES}/usual", json={"description": "d"}, headers=merge)).status_code == 200
    assert (await http.patch(f"{CLASSES}/usual", json={"globalDefault": False}, headers=merge)).status_code == 200
    await http.get(CLASSES)
    assert (await http.patch(f"{CLASSES}/another", json={"globalDefault": True}, headers=merge)).status_code == 200
