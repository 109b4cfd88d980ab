"""What becomes of an object's dependents: the finalizers that a deletion leaves (upstream's table, of
deletionFinalizersForGarbageCollection).
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

CORE = "/api/v1/namespaces/default"
RC = "replicationcontrollers"
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"


def made(kind: str, finalizers: list[str]) -> dict[str, Any]:
    container = {"name": "c", "image": "kube/web"}
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container]}}
    spec: dict[str, dict[str, Any]] = {
        RC: {"spec": {"replicas": 0, "template": template}},
        "configmaps": {},
    }
    return {"metadata": {"name": "a", "finalizers": finalizers}, **spec[kind]}


@pytest.mark.parametrize(
    ("kind", "before", "options", "after"),
    [
        pytest.param("configmaps", [], {}, None, id="by default it goes, and its dependents after it"),
        pytest.param(RC, [], {}, [ORPHAN], id="a v1 controller leaves its pods behind by default"),
        pytest.param(RC, [], {"propagationPolicy": "Background"}, None, id="unless it is told to"),
        pytest.param("configmaps", [], {"propagationPolicy": "Orphan"}, [ORPHAN], id="orphan"),
        pytest.param("configmaps", [], {"propagationPolicy": "Foreground"}, [FOREGROUND], id="foreground"),
        pytest.param("configmaps", [], {"orphanDependents": True}, [ORPHAN], id="orphan, in the old words"),
        pytest.param(RC, [], {"orphanDependents": False}, None, id="not, in the old words"),
        pytest.param(RC, [FOREGROUND], {}, [FOREGROUND], id="a finalizer outdoes the default"),
        pytest.param("configmaps", [ORPHAN], {}, [ORPHAN], id="a finalizer stays"),
        pytest.param("configmaps", [ORPHAN], {"propagationPolicy": "Background"}, None, id="the policy outdoes it"),
        pytest.param("configmaps", [ORPHAN, "a/b"], {"propagationPolicy": "Foreground"}, ["a/b", FOREGROUND],
                     id="others' finalizers stay"),
    ],
)  # fmt: skip
async def test_finalizers_by_policy(
    http: httpx.AsyncClient, kind: str, before: list[str], options: dict[str, Any], after: list[str] | None
) -> None:
    path = f"{CORE}/{kind}"
    assert (await http.post(path, json=made(kind, before))).status_code == 201
    assert (await http.request("DELETE", f"{path}/a", json=options)).status_code == 200
    left = await http.get(f"{path}/a")
    assert left.status_code == (404 if after is None else 200)
    if after is not None:
        assert left.json()["metadata"]["finalizers"] == after


async def test_a_second_deletion_may_change_the_policy(http: httpx.AsyncClient) -> None:
    path = f"{CORE}/configmaps"
    await http.post(path, json=made("configmaps", []))
    await http.request("DELETE", f"{path}/a", json={"propagationPolicy": "Foreground"})
    await http.request("DELETE", f"{path}/a", json={"propagationPolicy": "Background"})
    assert (await http.get(f"{path}/a")).status_code == 404


async def test_both_words_at_once_are_refused(http: httpx.AsyncClient) -> None:
    await http.post(f"{CORE}/configmaps", json=made("configmaps", []))
    both = {"propagationPolicy": "Orphan", "orphanDependents": True}
    refused = await http.request("DELETE", f"{CORE}/configmaps/a", json=both)
    assert refused.status_code == 422
    assert "orphanDependents and deletionPropagation cannot be both set" in refused.json()["message"]


@pytest.mark.parametrize("policy", ["Foreground", "Orphan"])
async def test_an_event_goes_at_once_whatever_is_asked_for(http: httpx.AsyncClient, policy: str) -> None:
    """The garbage collector looks at no events (upstream's policy for them is Unsupported): it would stay for ever."""
    path = f"{CORE}/events"
    involved = {"kind": "Pod", "namespace": "default", "name": "p"}
    event = {"metadata": {"name": "a", "namespace": "default"}, "involvedObject": involved, "reason": "R"}
    assert (await http.post(path, json=event)).status_code == 201
    assert (await http.request("DELETE", f"{path}/a", json={"propagationPolicy": policy})).status_code == 200
    assert (await http.get(f"{path}/a")).status_code == 404
