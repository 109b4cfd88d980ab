"""Quotas and limits of a namespace: refused in upstream's words, and never one too many however many ask at once."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from kube.api.core import ConfigMap, LimitRangeItem, Pod, PodSpec, ResourceRequirements
from kube.api.meta import ObjectMeta
from kube.api.resources import CONFIG_MAPS
from kube.apiserver.quota import Quotas
from kube.apiserver.registry.limit_ranges import violations
from tests.objects import container
from tests.unit.apiserver.conftest import Server

PODS = "/api/v1/namespaces/default/pods"
QUOTAS = "/api/v1/namespaces/default/resourcequotas"
LIMITS = "/api/v1/namespaces/default/limitranges"


def pod(name: str = "p", *, labels: dict[str, str] | None = None, **container: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "kube/web", **container}]}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def resources(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> dict[str, Any]:
    return {"resources": {"requests": requests or {}, "limits": limits or {}}}


async def quota(http: httpx.AsyncClient, hard: dict[str, str], name: str = "q", **spec: Any) -> None:
    """A quota, and the count that the controller makes when it sees it."""
    made = {"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": name}, "spec": {"hard": hard, **spec}}
    created = (await http.post(QUOTAS, json=made)).json()
    created["status"] = {"hard": hard, "used": dict.fromkeys(hard, "0")}
    assert (await http.put(f"{QUOTAS}/{name}/status", json=created)).status_code == 200


async def used(http: httpx.AsyncClient, name: str = "q") -> dict[str, str]:
    answer: dict[str, str] = (await http.get(f"{QUOTAS}/{name}")).json()["status"]["used"]
    return answer


async def test_one_too_many_is_refused_in_upstreams_words(http: httpx.AsyncClient) -> None:
    await quota(http, {"pods": "3"})
    for name in "abc":
        assert (await http.post(PODS, json=pod(name))).status_code == 201
    refused = await http.post(PODS, json=pod("d"))
    assert refused.status_code == 403
    assert refused.json()["message"] == (
        'pods "d" is forbidden: exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3'
    )
    assert await used(http) == {"pods": "3"}


async def test_of_many_at_once_exactly_as_many_as_there_is_room_for(http: httpx.AsyncClient) -> None:
    await quota(http, {"pods": "7"})
    answers = await asyncio.gather(*(http.post(PODS, json=pod(f"p{number}")) for number in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] * 7 + [403] * 13
    assert len((await http.get(PODS)).json()["items"]) == 7
    assert await used(http) == {"pods": "7"}


async def test_a_dry_run_is_refused_and_uses_nothing(http: httpx.AsyncClient) -> None:
    await quota(http, {"pods": "1"})
    assert (await http.post(f"{PODS}?dryRun=All", json=pod())).status_code == 201
    assert await used(http) == {"pods": "0"}
    await http.post(PODS, json=pod())
    assert (await http.post(f"{PODS}?dryRun=All", json=pod("other"))).status_code == 403


async def test_what_a_quota_counts_must_be_said(http: httpx.AsyncClient) -> None:
    await quota(http, {"limits.cpu": "2", "requests.memory": "1Gi"})
    refused = await http.post(PODS, json=pod())
    assert refused.json()["message"] == (
        'pods "p" is forbidden: failed quota: q: must specify limits.cpu for: c; requests.memory for: c'
    )
    assert (await http.post(PODS, json=pod(**resources({"memory": "512Mi"}, {"cpu": "1500m"})))).status_code == 201
    over = await http.post(PODS, json=pod("x", **resources({"memory": "256Mi"}, {"cpu": "1"})))
    assert over.json()["message"].endswith(
        "exceeded quota: q, requested: limits.cpu=1, used: limits.cpu=1500m, limited: limits.cpu=2"
    )
    assert await used(http) == {"limits.cpu": "1500m", "requests.memory": "512Mi"}


async def test_a_quota_that_nobody_has_counted_yet(http: httpx.AsyncClient) -> None:
    """What stands in one file with its quota is created: a quota holds from when the controller has put it in force,
    in status.hard, and what it has not counted by then (nobody but a person writes so) is not known.
    """
    made = {"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "3"}}}
    created = (await http.post(QUOTAS, json=made)).json()
    assert (await http.post(PODS, json=pod("early"))).status_code == 201
    created["status"] = {"hard": {"pods": "3"}}
    assert (await http.put(f"{QUOTAS}/q/status", json=created)).status_code == 200
    refused = await http.post(PODS, json=pod())
    assert refused.json()["message"] == 'pods "p" is forbidden: status unknown for quota: q, resources: pods'


@pytest.mark.parametrize(
    ("in_force", "charged"),
    [
        pytest.param({}, False, id="a new quota"),
        pytest.param({"pods": "3"}, False, id="a quota that counts more from now on"),
        pytest.param({"configmaps": "3"}, True, id="a quota that is in force"),
    ],
)
async def test_what_is_not_charged_yet_is_there_before_it_would_be(
    http: httpx.AsyncClient, server: Server, in_force: dict[str, str], charged: bool
) -> None:
    """The controller counts once more after it has put a quota in force: what was let in has to be there by then."""
    await quota(http, {"pods": "3", "configmaps": "3"})
    made = (await http.get(f"{QUOTAS}/q")).json()
    made["status"] = {"hard": in_force, "used": dict.fromkeys(in_force, "0")}
    made = (await http.put(f"{QUOTAS}/q/status", json=made)).json()
    await http.get(QUOTAS)
    late = ConfigMap(metadata=ObjectMeta(name="late", namespace="default"))
    found = await Quotas(server.store, server.cache).charge(CONFIG_MAPS, "default", late, {})
    assert [compare.revision for compare in found.compares] == [int(made["metadata"]["resourceVersion"])]
    assert bool(found.ops) is charged


@pytest.mark.parametrize(
    ("path", "obj", "hard"),
    [
        pytest.param("configmaps", {"kind": "ConfigMap"}, "configmaps", id="by its plural"),
        pytest.param("secrets", {"kind": "Secret"}, "count/secrets", id="by count"),
        pytest.param(
            "services",
            {"kind": "Service", "spec": {"type": "NodePort", "ports": [{"port": 80}]}},
            "services.nodeports",
            id="node ports",
        ),
    ],
)
async def test_other_kinds_are_counted(http: httpx.AsyncClient, path: str, obj: dict[str, Any], hard: str) -> None:
    await quota(http, {hard: "1"})
    made = [{"apiVersion": "v1", "metadata": {"name": name}, **obj} for name in "ab"]
    first, second = [await http.post(f"/api/v1/namespaces/default/{path}", json=each) for each in made]
    assert (first.status_code, second.status_code) == (201, 403)
    assert f"exceeded quota: q, requested: {hard}=1, used: {hard}=1, limited: {hard}=1" in second.json()["message"]


async def test_events_are_nobodys_use(http: httpx.AsyncClient) -> None:
    await quota(http, {"count/events": "1"})
    for name in "ab":
        event = {"metadata": {"name": name, "namespace": "default"}, "involvedObject": {"namespace": "default"}}
        answer = await http.post("/api/v1/namespaces/default/events", json=event)
        assert answer.status_code == 201, answer.text
    assert await used(http) == {"count/events": "0"}


async def test_a_claim_that_asks_for_no_quantity_is_counted_all_the_same(http: httpx.AsyncClient) -> None:
    """It is a kind that is stored as it comes."""
    await quota(http, {"persistentvolumeclaims": "1", "requests.storage": "1Gi"})
    claim = {"metadata": {"name": "c"}, "spec": {"resources": {"requests": {"storage": "lots"}}}}
    answer = await http.post("/api/v1/namespaces/default/persistentvolumeclaims", json=claim)
    assert answer.status_code == 201, answer.text
    assert await used(http) == {"persistentvolumeclaims": "1", "requests.storage": "0"}


async def test_scopes(http: httpx.AsyncClient) -> None:
    await quota(http, {"pods": "1"}, "best", scopes=["BestEffort"])
    selector = {"matchExpressions": [{"scopeName": "NotBestEffort", "operator": "Exists"}]}
    await quota(http, {"pods": "1"}, "rest", scopeSelector=selector)
    assert (await http.post(PODS, json=pod("a"))).status_code == 201
    assert (await used(http, "best"), await used(http, "rest")) == ({"pods": "1"}, {"pods": "0"})
    assert (await http.post(PODS, json=pod("b", **resources({"cpu": "1"})))).status_code == 201
    assert "exceeded quota: best" in (await http.post(PODS, json=pod("c"))).json()["message"]


# LimitRange


async def limit_range(http: httpx.AsyncClient, *limits: dict[str, Any]) -> None:
    made = {"kind": "LimitRange", "apiVersion": "v1", "metadata": {"name": "l"}, "spec": {"limits": list(limits)}}
    assert (await http.post(LIMITS, json=made)).status_code == 201


async def test_defaults_are_set_and_told(http: httpx.AsyncClient) -> None:
    await limit_range(http, {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}})
    made = (await http.post(PODS, json=pod())).json()
    (container,) = made["spec"]["containers"]
    assert container["resources"] == {"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}}
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    )
    assert made["status"]["qosClass"] == "Burstable"


@pytest.mark.parametrize(
    ("limits", "container", "message"),
    [
        pytest.param(
            {"max": {"cpu": "1"}},
            resources(limits={"cpu": "2"}),
            "maximum cpu usage per Container is 1, but limit is 2",
            id="limit over the maximum",
        ),
        pytest.param(
            {"min": {"cpu": "100m"}},
            resources({"cpu": "50m"}),
            "minimum cpu usage per Container is 100m, but request is 50m",
            id="request under the minimum",
        ),
        pytest.param(
            {"maxLimitRequestRatio": {"cpu": "2"}},
            resources({"cpu": "1"}, {"cpu": "3"}),
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
            id="too far apart",
        ),
    ],
)
async def test_violations(
    http: httpx.AsyncClient, limits: dict[str, Any], container: dict[str, Any], message: str
) -> None:
    await limit_range(http, {"type": "Container", **limits})
    refused = await http.post(PODS, json=pod(**container))
    assert refused.status_code == 403
    assert refused.json()["message"] == f'pods "p" is forbidden: {message}'


async def test_several_violations_are_told_together(http: httpx.AsyncClient) -> None:
    await limit_range(http, {"type": "Pod", "max": {"memory": "1Gi"}, "min": {"cpu": "200m"}})
    refused = await http.post(PODS, json=pod(**resources({"cpu": "100m"}, {"memory": "2Gi"})))
    assert refused.json()["message"] == (
        'pods "p" is forbidden: [minimum cpu usage per Pod is 200m, but request is 100m, '
        "maximum memory usage per Pod is 1Gi, but limit is 2Gi]"
    )


async def test_the_same_violation_of_two_containers_is_told_once(http: httpx.AsyncClient) -> None:
    await limit_range(http, {"type": "Container", "max": {"cpu": "1"}})
    two = pod(**resources(limits={"cpu": "2"}))
    two["spec"]["containers"].append({**two["spec"]["containers"][0], "name": "d"})
    refused = await http.post(PODS, json=two)
    assert refused.json()["message"] == ('pods "p" is forbidden: maximum cpu usage per Container is 1, but limit is 2')


async def test_init_containers_have_limits_and_defaults_too(http: httpx.AsyncClient) -> None:
    await limit_range(http, {"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "500m"}})
    made = pod()
    made["spec"]["initContainers"] = [{"name": "i", "image": "kube/web"}]
    created = (await http.post(PODS, json=made)).json()
    assert created["spec"]["initContainers"][0]["resources"] == {"limits": {"cpu": "500m"}, "requests": {"cpu": "500m"}}
    assert created["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c; "
        "cpu request for init container i; cpu limit for init container i"
    )
    made["metadata"]["name"] = "q"
    made["spec"]["initContainers"][0] |= resources(limits={"cpu": "2"})
    assert (
        "maximum cpu usage per Container is 1, but limit is 2" in (await http.post(PODS, json=made)).json()["message"]
    )


async def test_the_limits_of_a_pod_leave_its_overhead_out_and_see_what_it_asks_for_itself() -> None:
    item = LimitRangeItem(type="Pod", max={"cpu": "1"})
    spec = PodSpec(containers=[container({}, {"cpu": "1"})], overhead={"cpu": "1"})
    assert list(violations(Pod(spec=spec), item)) == []
    spec.resources = ResourceRequirements(limits={"cpu": "2"})
    assert list(violations(Pod(spec=spec), item)) == ["maximum cpu usage per Pod is 1, but limit is 2"]


CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"


def claim(storage: str | None, name: str = "c") -> dict[str, Any]:
    asked = {"storage": storage} if storage else {}
    return {"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": asked}}}


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        pytest.param("512Mi", "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 512Mi",
                     id="too little"),
        pytest.param("11Gi", "maximum storage usage per PersistentVolumeClaim is 10Gi, but request is 11Gi",
                     id="too much"),
        pytest.param(
            None,
            "[minimum storage usage per PersistentVolumeClaim is 1Gi.  No request is specified, "
            "maximum storage usage per PersistentVolumeClaim is 10Gi.  No request is specified]",
            id="nothing",
        ),
    ],
)  # fmt: skip
async def test_claims_have_limits(http: httpx.AsyncClient, storage: str | None, message: str) -> None:
    await limit_range(http, {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "10Gi"}})
    refused = await http.post(CLAIMS, json=claim(storage))
    assert refused.status_code == 403
    assert refused.json()["message"] == f'persistentvolumeclaims "c" is forbidden: {message}'
    assert (await http.post(CLAIMS, json=claim("10Gi"))).status_code == 201


async def test_a_claim_that_grows_is_limited_and_one_that_was_there_before_may_stay(http: httpx.AsyncClient) -> None:
    assert (await http.post(CLAIMS, json=claim("20Gi"))).status_code == 201
    await limit_range(http, {"type": "PersistentVolumeClaim", "max": {"storage": "10Gi"}})
    merge = {"Content-Type": "application/merge-patch+json"}
    labelled = await http.patch(f"{CLAIMS}/c", json={"metadata": {"labels": {"a": "b"}}}, headers=merge)
    assert labelled.status_code == 200
    larger = await http.patch(f"{CLAIMS}/c", json={"spec": claim("30Gi")["spec"]}, headers=merge)
    assert larger.status_code == 403
    assert "maximum storage usage per PersistentVolumeClaim is 10Gi, but request is 30Gi" in larger.json()["message"]
    status = {"status": {"capacity": {"storage": "20Gi"}}}
    assert (await http.patch(f"{CLAIMS}/c/status", json=status, headers=merge)).status_code == 200


# Tolerations


async def test_a_pod_stays_five_minutes_on_a_node_that_fails(http: httpx.AsyncClient) -> None:
    plain = (await http.post(PODS, json=pod())).json()["spec"]["tolerations"]
    assert [(t["key"], t["operator"], t["effect"], t["tolerationSeconds"]) for t in plain] == [
        ("node.kubernetes.io/not-ready", "Exists", "NoExecute", 300),
        ("node.kubernetes.io/unreachable", "Exists", "NoExecute", 300),
    ]
    own = pod("own")
    own["spec"]["tolerations"] = [{"operator": "Exists"}]
    assert (await http.post(PODS, json=own)).json()["spec"]["tolerations"] == [{"operator": "Exists"}]
