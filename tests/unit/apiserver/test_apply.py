"""Server-side apply and managedFields, through the whole apiserver."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

RCS = "/api/v1/namespaces/default/replicationcontrollers"
PODS = "/api/v1/namespaces/default/pods"
CONFIG = {"content-type": "application/apply-patch+yaml"}
MERGE = {"content-type": "application/merge-patch+json"}
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def rc(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "i"}]}}
    return {"kind": "ReplicationController", "apiVersion": "v1", "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "template": template, **spec}}  # fmt: skip


def labels(**wanted: str) -> dict[str, Any]:
    return {"kind": "ReplicationController", "apiVersion": "v1", "metadata": {"name": "web", "labels": wanted}}


async def apply(
    http: httpx.AsyncClient, config: dict[str, Any], manager: str = "alice", path: str = f"{RCS}/web", **query: str
) -> httpx.Response:
    query = {"fieldManager": manager, **query}
    return await http.patch(path, content=json.dumps(config), headers=CONFIG, params=query)


async def owners(http: httpx.AsyncClient, path: str = f"{RCS}/web") -> dict[tuple[str, ...], dict[str, Any]]:
    meta = (await http.get(path)).json()["metadata"]
    entries = meta.get("managedFields", [])
    assert all(entry["apiVersion"] and entry["fieldsType"] == "FieldsV1" and entry["time"] for entry in entries)
    return {tuple(filter(None, (e["manager"], e["operation"], e.get("subresource")))): e["fieldsV1"] for e in entries}


async def test_apply_creates_what_is_not_there(http: httpx.AsyncClient) -> None:
    answer = await apply(http, rc(replicas=2))
    assert answer.status_code == 201, answer.text
    assert answer.json()["spec"]["replicas"] == 2
    assert await owners(http) == {
        ("alice", "Apply"): {
            "f:spec": {
                "f:replicas": {},
                "f:selector": {},
                "f:template": {
                    "f:metadata": {"f:labels": {"f:app": {}}},
                    "f:spec": {"f:containers": {'k:{"name":"web"}': {".": {}, "f:image": {}, "f:name": {}}}},
                },
            }
        }
    }
    again = await apply(http, rc(replicas=2))
    assert again.status_code == 200
    assert again.json() == answer.json(), "nothing was written"


async def test_yaml_and_a_users_words(http: httpx.AsyncClient) -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team, labels: {a: b}, creationTimestamp: null}\n"
    answer = await http.patch("/api/v1/namespaces/team", content=text, headers=CONFIG, params={"fieldManager": "me"})
    assert answer.status_code == 201, answer.text
    assert await owners(http, "/api/v1/namespaces/team") == {("me", "Apply"): {"f:metadata": {"f:labels": {"f:a": {}}}}}


async def test_a_dry_run_writes_nothing(http: httpx.AsyncClient) -> None:
    assert (await apply(http, rc(), dryRun="All")).json()["metadata"]["managedFields"]
    assert (await http.get(f"{RCS}/web")).status_code == 404


async def test_to_change_what_another_owns_is_a_conflict(http: httpx.AsyncClient) -> None:
    await apply(http, rc(replicas=2))
    answer = await apply(http, rc(replicas=3), "bob")
    assert answer.status_code == 409
    status = answer.json()
    assert status["reason"] == "Conflict"
    assert status["message"] == 'Apply failed with 1 conflict: conflict with "alice": .spec.replicas'
    cause = {"reason": "FieldManagerConflict", "message": 'conflict with "alice"', "field": ".spec.replicas"}
    assert status["details"] == {"causes": [cause]}
    forced = await apply(http, rc(replicas=3), "bob", force="true")
    assert forced.json()["spec"]["replicas"] == 3
    assert "f:replicas" not in (await owners(http))["alice", "Apply"]["f:spec"]


async def test_what_is_left_out_goes_away_or_back_to_its_default(http: httpx.AsyncClient) -> None:
    config = rc(replicas=2)
    config["metadata"]["labels"] = {"a": "1", "b": "2"}
    await apply(http, config)
    config["metadata"]["labels"] = {"b": "2"}
    del config["spec"]["replicas"]
    left = (await apply(http, config)).json()
    assert left["metadata"]["labels"] == {"b": "2"}
    assert left["spec"]["replicas"] == 1, "the default"


async def test_objects_that_were_never_applied_are_not_tracked(http: httpx.AsyncClient) -> None:
    await http.post(RCS, json=rc(replicas=2))
    await http.patch(f"{RCS}/web", json={"spec": {"replicas": 3}}, headers=MERGE)
    assert await owners(http) == {}
    answer = await apply(http, rc(replicas=4))
    assert answer.json()["message"] == (
        'Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .spec.replicas'
    )
    await apply(http, rc(replicas=4), force="true")
    found = await owners(http)
    assert "f:replicas" in found["alice", "Apply"]["f:spec"]
    assert "f:replicas" not in found["before-first-apply", "Update"]["f:spec"]
    assert "f:dnsPolicy" in found["before-first-apply", "Update"]["f:spec"]["f:template"]["f:spec"]


async def test_writes_of_a_tracked_object_are_their_authors(http: httpx.AsyncClient) -> None:
    present = (await apply(http, rc(replicas=2))).json()
    present["metadata"]["labels"] = {"x": "y"}
    agent = {"user-agent": "kubectl/v1.33 (linux)"}
    await http.put(f"{RCS}/web", json=present, headers=agent)
    await http.patch(f"{RCS}/web", json={"spec": {"replicas": 3}}, headers=MERGE, params={"fieldManager": "hpa"})
    present["status"] = {"replicas": 3, "observedGeneration": 1}
    present["metadata"].pop("resourceVersion")
    await http.put(f"{RCS}/web/status", json=present, params={"fieldManager": "controller"})
    scale = (await http.get(f"{RCS}/web/scale")).json()
    scale["spec"]["replicas"] = 5
    await http.put(f"{RCS}/web/scale", json=scale, headers=agent)
    found = await owners(http)
    assert found["kubectl", "Update"] == {"f:metadata": {"f:labels": {"f:x": {}}}}
    assert ("hpa", "Update") not in found, "the scale took what it had"
    assert found["kubectl", "Update", "scale"] == {"f:spec": {"f:replicas": {}}}
    assert found["controller", "Update", "status"] == {"f:status": {"f:observedGeneration": {}, "f:replicas": {}}}
    conflict = await apply(http, rc(replicas=2))
    assert 'conflict with "kubectl" with subresource "scale" using v1: .spec.replicas' in conflict.json()["message"]


async def test_the_entries_of_one_manager_are_one(http: httpx.AsyncClient) -> None:
    await apply(http, rc())
    for name in ("a", "b"):
        patch = {"metadata": {"labels": {name: "1"}}}
        await http.patch(f"{RCS}/web", json=patch, headers=MERGE, params={"fieldManager": "me"})
    assert (await owners(http))["me", "Update"] == {"f:metadata": {"f:labels": {"f:a": {}, "f:b": {}}}}


async def test_many_updaters_become_ancient_changes(http: httpx.AsyncClient) -> None:
    await apply(http, rc())
    for number in range(12):
        patch = {"metadata": {"annotations": {f"a{number}": "1"}}}
        await http.patch(f"{RCS}/web", json=patch, headers=MERGE, params={"fieldManager": f"m{number:02}"})
    found = await owners(http)
    assert len(found) == 11, "ten updaters and the applier"
    assert ("ancient-changes", "Update") in found


async def test_appliers_share_what_they_agree_on(http: httpx.AsyncClient) -> None:
    await apply(http, rc(replicas=2))
    await apply(http, rc(replicas=2), "bob")
    without = rc()
    assert (await apply(http, without)).json()["spec"]["replicas"] == 2, "bob still wants it"
    assert (await apply(http, without, "bob")).json()["spec"]["replicas"] == 1


async def test_items_of_a_list_have_owners_of_their_own(http: httpx.AsyncClient) -> None:
    await apply(http, rc())
    other = labels()
    other["spec"] = {"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}}
    await apply(http, other, "injector")
    containers = (await apply(http, rc(replicas=2))).json()["spec"]["template"]["spec"]["containers"]
    assert [container["name"] for container in containers] == ["web", "side"]
    del other["spec"]
    assert len((await apply(http, other, "injector")).json()["spec"]["template"]["spec"]["containers"]) == 1


async def test_kubectl_goes_on_from_what_it_applied_from_the_client(http: httpx.AsyncClient) -> None:
    created = rc(replicas=2)
    created["metadata"]["annotations"] = {LAST_APPLIED: json.dumps(rc(replicas=2))}
    await http.post(RCS, json=created)
    conflict = await apply(http, rc(replicas=3), "someone")
    assert conflict.json()["message"] == (
        'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .spec.replicas'
    )
    answer = await apply(http, rc(replicas=3), "kubectl")
    assert answer.status_code == 200, answer.text
    assert answer.json()["spec"]["replicas"] == 3
    await http.patch(f"{RCS}/web", json={"spec": {"replicas": 9}}, headers=MERGE, params={"fieldManager": "hpa"})
    assert (await apply(http, rc(replicas=3), "kubectl")).status_code == 409, "that is no longer what it had applied"


async def test_kubectls_migration_may_rewrite_the_owners(http: httpx.AsyncClient) -> None:
    """kubectl ≥ 1.26 makes its client-side entries its own by a JSON patch that names the version it looked at."""
    created = rc(replicas=2)
    created["metadata"]["annotations"] = {LAST_APPLIED: json.dumps(rc(replicas=2))}
    await http.post(RCS, json=created)
    present = (await apply(http, labels(a="b"), "kubectl")).json()["metadata"]
    wanted = [{**entry, "manager": "kubectl", "operation": "Apply"} for entry in present["managedFields"]
              if entry["manager"] == "kubectl-client-side-apply"]  # fmt: skip
    patch = [{"op": "replace", "path": "/metadata/managedFields", "value": wanted},
             {"op": "replace", "path": "/metadata/resourceVersion", "value": present["resourceVersion"]}]  # fmt: skip
    headers = {"content-type": "application/json-patch+json"}
    answer = await http.patch(f"{RCS}/web", json=patch, headers=headers)
    assert answer.status_code == 200, answer.text
    assert set(await owners(http)) == {("kubectl", "Apply")}
    assert (await http.patch(f"{RCS}/web", json=patch, headers=headers)).status_code == 409, "it has changed since"


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        pytest.param([{}], {}, id="one empty entry ends the tracking"),
        pytest.param([], {("alice", "Apply")}, id="an empty list is a client that knows nothing of it"),
        pytest.param([{"manager": "x"}], {("alice", "Apply")}, id="what cannot be read is ignored"),
        pytest.param(
            [{"manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
              "fieldsV1": {"f:spec": {"f:replicas": {}}}, "time": "2024-01-01T00:00:00Z"}],
            {("x", "Apply")}, id="other entries take the place of the stored ones",
        ),
    ],
)  # fmt: skip
async def test_managed_fields_that_a_client_sends(http: httpx.AsyncClient, sent: list[Any], left: Any) -> None:
    present = (await apply(http, rc(replicas=2))).json()
    present["metadata"]["managedFields"] = sent
    assert (await http.put(f"{RCS}/web", json=present)).status_code == 200
    assert set(await owners(http)) == set(left)


async def test_a_status_has_its_own_owners(http: httpx.AsyncClient) -> None:
    await http.post(PODS, json={"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "i"}]}})
    config = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web"}, "spec": {"nodeName": "n1"}, "status": {
        "conditions": [{"type": "example.com/ready", "status": "True"}]}}  # fmt: skip
    answer = await apply(http, config, "gate", f"{PODS}/web/status")
    assert answer.status_code == 200, answer.text
    assert "nodeName" not in answer.json()["spec"]
    found = await owners(http, f"{PODS}/web")
    key = 'k:{"type":"example.com/ready"}'
    assert found["gate", "Apply", "status"] == {
        "f:status": {"f:conditions": {key: {".": {}, "f:status": {}, "f:type": {}}}}
    }
    assert (await apply(http, config, "gate", f"{PODS}/none/status")).status_code in (400, 404)


async def test_a_scale_can_be_applied(http: httpx.AsyncClient) -> None:
    await apply(http, rc())
    scale = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "web"}, "spec": {"replicas": 4}}
    answer = await apply(http, scale, "hpa", f"{RCS}/web/scale")
    assert answer.status_code == 200, answer.text
    assert answer.json()["spec"] == {"replicas": 4}
    assert (await owners(http))["hpa", "Apply", "scale"] == {"f:spec": {"f:replicas": {}}}


async def test_a_service_that_is_no_longer_a_node_port_gives_back_its_port(http: httpx.AsyncClient) -> None:
    path = "/api/v1/namespaces/default/services/web"
    config = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "web"},
              "spec": {"type": "NodePort", "ports": [{"port": 80}]}}  # fmt: skip
    made = (await apply(http, config, path=path)).json()
    assert made["spec"]["ports"][0]["nodePort"]
    answer = await apply(http, {**config, "spec": {"ports": [{"port": 80}]}}, path=path)
    assert answer.status_code == 200, answer.text
    assert answer.json()["spec"]["type"] == "ClusterIP"
    assert "nodePort" not in answer.json()["spec"]["ports"][0]
    assert answer.json()["spec"]["clusterIP"] == made["spec"]["clusterIP"]


async def test_kinds_that_are_only_stored(http: httpx.AsyncClient) -> None:
    path = "/apis/storage.k8s.io/v1/storageclasses/fast"
    config = {"kind": "StorageClass", "apiVersion": "storage.k8s.io/v1", "metadata": {"name": "fast"},
              "provisioner": "x", "parameters": {"a": "1", "b": "2"}}  # fmt: skip
    made = (await apply(http, config, path=path)).json()
    assert not {"spec", "status"} & made.keys()
    config["parameters"] = {"b": "2"}
    assert (await apply(http, config, path=path)).json()["parameters"] == {"b": "2"}


CREATE_ONLY = {"kind": "ReplicationController", "apiVersion": "v1", "metadata": {"name": "web"}}


@pytest.mark.parametrize(
    ("query", "config", "code", "message"),
    [
        pytest.param({}, CREATE_ONLY, 422,
                     'PatchOptions.meta.k8s.io "" is invalid: '
                     "fieldManager: Required value: is required for apply patch", id="no manager"),
        pytest.param({"fieldManager": "x" * 129}, CREATE_ONLY, 422,
                     'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes',
                     id="a long manager"),
        pytest.param({"fieldManager": "a\nb"}, CREATE_ONLY, 422,
                     'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "a\\nb": invalid character '
                     "U+000A (at position 1)", id="an unprintable manager"),
        pytest.param({"fieldManager": "x"}, {"metadata": {"name": "web"}}, 400, "invalid object type: /, Kind=",
                     id="no kind"),
        pytest.param({"fieldManager": "x"}, {**CREATE_ONLY, "kind": "Pod"}, 400, "invalid object type: /v1, Kind=Pod",
                     id="another kind"),
        pytest.param({"fieldManager": "x"}, {**CREATE_ONLY, "metadata": {"name": "web", "managedFields": []}}, 400,
                     "metadata.managedFields must be nil", id="managedFields"),
        pytest.param({"fieldManager": "x"}, {**CREATE_ONLY, "spec": {"replicass": 1}}, 500,
                     "failed to create typed patch object (default/web; /v1, Kind=ReplicationController): "
                     ".spec.replicass: field not declared in schema", id="a field that nobody knows"),
        pytest.param({"fieldManager": "x"}, {**CREATE_ONLY, "metadata": {"name": "other"}}, 400,
                     "the name of the object (other) does not match the name on the URL (web)", id="another name"),
        pytest.param({"fieldManager": "x"}, {**rc(), "metadata": {"name": "web", "uid": "1-2"}}, 409,
                     'Operation cannot be fulfilled on replicationcontrollers "web": uid mismatch: the provided object '
                     "specified uid 1-2, and no existing object was found", id="a uid of nothing"),
    ],
)  # fmt: skip
async def test_refusals_in_upstreams_words(
    http: httpx.AsyncClient, query: dict[str, str], config: dict[str, Any], code: int, message: str
) -> None:
    answer = await http.patch(f"{RCS}/web", content=json.dumps(config), headers=CONFIG, params=query)
    assert (answer.status_code, answer.json()["message"]) == (code, message)


async def test_force_is_for_apply_only(http: httpx.AsyncClient) -> None:
    answer = await http.patch(f"{RCS}/web", json={}, headers=MERGE, params={"force": "true"})
    assert answer.json()["message"] == (
        'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch'
    )


async def test_cbor_is_not_read(http: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/apply-patch+cbor"}
    answer = await http.patch(f"{RCS}/web", content=b"\xa0", headers=headers, params={"fieldManager": "x"})
    assert answer.status_code == 415
    assert "application/apply-patch+yaml" in answer.json()["message"]


async def test_a_stale_version_in_the_configuration_is_a_conflict(http: httpx.AsyncClient) -> None:
    version = (await apply(http, rc())).json()["metadata"]["resourceVersion"]
    await apply(http, labels(a="b"), "bob")
    config = labels(c="d")
    config["metadata"]["resourceVersion"] = version
    answer = await apply(http, config, "bob")
    assert answer.status_code == 409
    assert "the object has been modified" in answer.json()["message"]


async def test_a_write_that_seems_to_change_nothing_looks_at_the_store(http: httpx.AsyncClient) -> None:
    """The cache may lag behind the write before: back to the value that the cache still has is no change to it."""
    await http.post(RCS, json=rc(replicas=2))
    await http.get(f"{RCS}/web")
    for replicas in (3, 2, 3, 2):
        answer = await http.patch(f"{RCS}/web", json={"spec": {"replicas": replicas}}, headers=MERGE)
        assert answer.json()["spec"]["replicas"] == replicas
        assert answer.json()["metadata"]["generation"] > 1
    assert (await http.get(f"{RCS}/web")).json()["metadata"]["generation"] == 5
