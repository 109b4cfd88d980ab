"""Objects through the whole apiserver: what a client sees of create, get, list, update, patch and delete."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from kube.store.store import Put

PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
RCS = "/api/v1/namespaces/default/replicationcontrollers"


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "labels": labels},
            "spec": {"containers": [{"name": "web", "image": "kube/web"}]}}  # fmt: skip


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"kind": "Service", "apiVersion": "v1", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80}], **spec}}  # fmt: skip


async def test_a_created_pod_has_what_the_server_gives(http: httpx.AsyncClient) -> None:
    answer = await http.post(PODS, json=pod("web"))
    assert answer.status_code == 201
    made = answer.json()
    assert made["metadata"]["namespace"] == "default"
    assert made["metadata"]["uid"]
    assert made["metadata"]["creationTimestamp"]
    assert int(made["metadata"]["resourceVersion"]) > 0
    assert made["spec"]["restartPolicy"] == "Always"
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert (await http.get(f"{PODS}/web")).json() == made


async def test_a_name_is_taken_once(http: httpx.AsyncClient) -> None:
    await http.post(PODS, json=pod("web"))
    answer = await http.post(PODS, json=pod("web"))
    assert answer.status_code == 409
    assert answer.json()["reason"] == "AlreadyExists"
    assert answer.json()["message"] == 'pods "web" already exists'


async def test_generated_names_differ(http: httpx.AsyncClient) -> None:
    body = pod("")
    body["metadata"] = {"generateName": "web-"}
    names = {(await http.post(PODS, json=body)).json()["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("web-") and len(name) == 9 for name in names)


async def test_a_stale_update_is_a_conflict(http: httpx.AsyncClient) -> None:
    old = (await http.post(PODS, json=pod("web"))).json()
    new = {**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}
    assert (await http.put(f"{PODS}/web", json=new)).status_code == 200
    answer = await http.put(f"{PODS}/web", json={**old, "metadata": {**old["metadata"], "labels": {"a": "c"}}})
    assert answer.status_code == 409
    assert answer.json()["message"] == (
        'Operation cannot be fulfilled on pods "web": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"


@pytest.mark.parametrize(
    ("path", "resource"),
    [(LEASES, "leases.coordination.k8s.io"), (BUDGETS, "poddisruptionbudgets.policy")],
    ids=["a lease", "a disruption budget"],
)
async def test_what_many_count_on_is_not_overwritten_unseen(http: httpx.AsyncClient, path: str, resource: str) -> None:
    made = (await http.post(path, json={"metadata": {"name": "x"}, "spec": {}})).json()
    blind = await http.put(f"{path}/x", json={"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {}})
    assert blind.status_code == 422
    assert blind.json()["message"] == (
        f'{resource} "x" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for an update'
    )
    made["metadata"]["labels"] = {"a": "b"}
    assert (await http.put(f"{path}/x", json=made)).status_code == 200
    merge = {"content-type": "application/merge-patch+json"}
    patched = await http.patch(f"{path}/x", json={"metadata": {"labels": {"a": "c"}}}, headers=merge)
    assert patched.json()["metadata"]["labels"] == {"a": "c"}
    config = {"apiVersion": made["apiVersion"], "kind": made["kind"], "metadata": {"name": "x", "labels": {"d": "e"}}}
    applied = await http.patch(
        f"{path}/x", json=config, headers={"content-type": "application/apply-patch+yaml"},
        params={"fieldManager": "me"},
    )  # fmt: skip
    assert applied.json()["metadata"]["labels"] == {"a": "c", "d": "e"}


async def test_a_new_object_has_no_version_yet(http: httpx.AsyncClient) -> None:
    again = pod("web")
    again["metadata"]["resourceVersion"] = "7"
    answer = await http.post(PODS, json=again)
    assert answer.status_code == 500
    assert answer.json()["message"] == "resourceVersion should not be set on objects to be created"
    assert (await http.get(f"{PODS}/web")).status_code == 404


async def test_an_update_that_changes_nothing_writes_nothing(http: httpx.AsyncClient) -> None:
    made = (await http.post(PODS, json=pod("web"))).json()
    answer = await http.put(f"{PODS}/web", json=made)
    assert answer.json()["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_nor_does_one_of_a_value_that_was_written_in_another_order(http: httpx.AsyncClient, server: Any) -> None:
    await http.post(PODS, json=pod("web"))
    key = "/registry/pods/default/web"
    stored, _ = await server.store.get(key)
    reordered = orjson.dumps(orjson.loads(stored.value), option=orjson.OPT_SORT_KEYS)
    assert reordered != stored.value
    revision = (await server.store.txn([], [Put(key, reordered)])).revision
    answer = await http.put(f"{PODS}/web", json=(await http.get(f"{PODS}/web")).json())
    assert answer.json()["metadata"]["resourceVersion"] == str(revision)


async def test_lists_select_by_labels_and_fields(http: httpx.AsyncClient) -> None:
    await http.post(PODS, json=pod("a", app="x", tier="1"))
    await http.post(PODS, json=pod("b", app="x", tier="2"))
    await http.post(PODS, json=pod("c", app="y"))

    async def names(**query: str) -> list[str]:
        answer = await http.get(PODS, params=query)
        assert answer.status_code == 200, answer.text
        return [item["metadata"]["name"] for item in answer.json()["items"]]

    assert await names() == ["a", "b", "c"]
    assert await names(labelSelector="app=x") == ["a", "b"]
    assert await names(labelSelector="app in (x),tier notin (1)") == ["b"]
    assert await names(labelSelector="!tier") == ["c"]
    assert await names(fieldSelector="metadata.name=a") == ["a"]
    assert await names(fieldSelector="spec.nodeName=") == ["a", "b", "c"]
    assert (await http.get(PODS, params={"fieldSelector": "spec.image=x"})).status_code == 400
    assert (await http.get(PODS, params={"labelSelector": "a in"})).status_code == 400


async def test_a_list_comes_in_pages_of_one_revision(http: httpx.AsyncClient) -> None:
    for name in "abcde":
        await http.post(PODS, json=pod(name))
    first = (await http.get(PODS, params={"limit": 2})).json()
    assert [item["metadata"]["name"] for item in first["items"]] == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 3
    await http.post(PODS, json=pod("aa"))
    second = (await http.get(PODS, params={"limit": 9, "continue": first["metadata"]["continue"]})).json()
    assert [item["metadata"]["name"] for item in second["items"]] == ["c", "d", "e"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in second["metadata"]


async def test_a_page_of_a_version_is_of_that_very_version(http: httpx.AsyncClient) -> None:
    """resourceVersionMatch unset, limit=<n>, resourceVersion other than 0: "Exact" (api-concepts)"""
    await http.post(PODS, json=pod("a"))
    before = (await http.get(PODS)).json()["metadata"]["resourceVersion"]
    await http.post(PODS, json=pod("b"))
    page = (await http.get(PODS, params={"limit": 9, "resourceVersion": before})).json()
    assert [item["metadata"]["name"] for item in page["items"]] == ["a"]
    assert page["metadata"]["resourceVersion"] == before
    newer = {"limit": 9, "resourceVersion": before, "resourceVersionMatch": "NotOlderThan"}
    assert len((await http.get(PODS, params=newer)).json()["items"]) == 2


@pytest.mark.parametrize(("selector", "remaining"), [("", 15), ("app=x", None)])
async def test_a_page_reads_no_more_of_the_store_than_it_shows(
    http: httpx.AsyncClient, server: Any, monkeypatch: pytest.MonkeyPatch, selector: str, remaining: int | None
) -> None:
    for number in range(20):
        body = pod(f"p{number:02}")
        body["metadata"]["labels"] = {"app": "x" if number % 2 or not selector else "y"}
        await http.post(PODS, json=body)
    read: list[int] = []
    list_ = server.store.list

    async def counted(*args: Any, **options: Any) -> Any:
        found = await list_(*args, **options)
        read.append(len(found.items))
        return found

    monkeypatch.setattr(server.store, "list", counted)
    monkeypatch.setattr("kube.apiserver.verbs.READ_AT_ONCE", 4)
    query: dict[str, Any] = {"limit": 2, "labelSelector": selector}
    first = (await http.get(PODS, params=query)).json()
    assert not read, "the first page is in memory"
    names = [item["metadata"]["name"] for item in first["items"]]
    query["limit"] = 3
    second = (await http.get(PODS, params={**query, "continue": first["metadata"]["continue"]})).json()
    assert second["metadata"].get("remainingItemCount") == remaining
    assert sum(read) <= 8
    names += [item["metadata"]["name"] for item in second["items"]]
    query["limit"] = 100
    last = (await http.get(PODS, params={**query, "continue": second["metadata"]["continue"]})).json()
    names += [item["metadata"]["name"] for item in last["items"]]
    assert names == [f"p{number:02}" for number in range(20) if number % 2 or not selector]
    assert "continue" not in last["metadata"]


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("application/merge-patch+json", {"metadata": {"labels": {"a": None, "b": "2"}}}),
        ("application/strategic-merge-patch+json", {"metadata": {"labels": {"a": None, "b": "2"}}}),
        ("application/json-patch+json", [{"op": "remove", "path": "/metadata/labels/a"},
                                         {"op": "add", "path": "/metadata/labels/b", "value": "2"}]),
    ],
)  # fmt: skip
async def test_patches(http: httpx.AsyncClient, kind: str, patch: Any) -> None:
    await http.post(PODS, json=pod("web", a="1"))
    answer = await http.patch(f"{PODS}/web", json=patch, headers={"content-type": kind})
    assert answer.status_code == 200, answer.text
    assert answer.json()["metadata"]["labels"] == {"b": "2"}


async def test_a_strategic_patch_finds_a_container_by_its_name(http: httpx.AsyncClient) -> None:
    await http.post(PODS, json=pod("web"))
    patch = {"spec": {"containers": [{"name": "web", "image": "kube/web:2"}]}}
    answer = await http.patch(f"{PODS}/web", json=patch,
                              headers={"content-type": "application/strategic-merge-patch+json"})  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert answer.json()["spec"]["containers"][0]["image"] == "kube/web:2"


async def test_a_gated_pod_says_so_and_is_bound_when_its_gates_are_gone(http: httpx.AsyncClient) -> None:
    gated = pod("gated")
    gated["spec"]["schedulingGates"] = [{"name": "example.com/quota"}]
    made = (await http.post(PODS, json=gated)).json()
    (condition,) = made["status"]["conditions"]
    assert condition == {
        "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
        "lastProbeTime": None, "lastTransitionTime": None,
    }  # fmt: skip
    shown = (await http.get(PODS, headers={"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"})).json()
    assert [row["cells"][2] for row in shown["rows"]] == ["SchedulingGated"]
    binding = {"metadata": {"name": "gated"}, "target": {"kind": "Node", "name": "n1"}}
    refused = await http.post(f"{PODS}/gated/binding", json=binding)
    assert refused.status_code == 409
    assert "pod gated has non-empty .spec.schedulingGates" in refused.json()["message"]
    merge = {"content-type": "application/merge-patch+json"}
    opened = await http.patch(f"{PODS}/gated", json={"spec": {"schedulingGates": []}}, headers=merge)
    assert opened.status_code == 200
    assert (await http.post(f"{PODS}/gated/binding", json=binding)).status_code == 201


async def test_an_unbound_pod_goes_at_once_and_a_bound_one_gracefully(http: httpx.AsyncClient) -> None:
    await http.post(PODS, json=pod("loose"))
    assert (await http.delete(f"{PODS}/loose")).status_code == 200
    assert (await http.get(f"{PODS}/loose")).status_code == 404

    await http.post(PODS, json=pod("bound"))
    binding = {"metadata": {"name": "bound"}, "target": {"kind": "Node", "name": "n1"}}
    answer = await http.post(f"{PODS}/bound/binding", json=binding)
    assert answer.status_code == 201, answer.text
    again = await http.post(f"{PODS}/bound/binding", json=binding)
    assert again.status_code == 409
    assert 'pod bound is already assigned to node "n1"' in again.json()["message"]
    marked = (await http.delete(f"{PODS}/bound")).json()
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    assert (await http.get(f"{PODS}/bound")).status_code == 200
    uid = marked["metadata"]["uid"]
    wrong = await http.request("DELETE", f"{PODS}/bound",
                               json={"gracePeriodSeconds": 0, "preconditions": {"uid": "other"}})  # fmt: skip
    assert wrong.status_code == 409
    await http.request("DELETE", f"{PODS}/bound", json={"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
    assert (await http.get(f"{PODS}/bound")).status_code == 404


async def bound(http: httpx.AsyncClient, name: str, **spec: Any) -> str:
    """Create a pod on a node; returns its path."""
    made = pod(name)
    made["spec"].update(nodeName="n1", **spec)
    assert (await http.post(PODS, json=made)).status_code == 201
    return f"{PODS}/{name}"


async def grace_left(http: httpx.AsyncClient, path: str) -> int | None:
    """The grace of a pod that is being deleted; None: it is gone."""
    answer = await http.get(path)
    return answer.json()["metadata"]["deletionGracePeriodSeconds"] if answer.status_code == 200 else None


@pytest.mark.parametrize(
    ("first", "second", "grace"),
    [
        pytest.param("60", "", 60, id="one that says nothing of grace leaves the first one's"),
        pytest.param("60", "90", 60, id="nobody gets more"),
        pytest.param("60", "10", 10, id="less is given"),
        pytest.param("60", "-1", 1, id="a negative number is a second"),
        pytest.param("", "0", None, id="without grace it goes at once"),
    ],
)
async def test_a_second_deletion_can_only_shorten_the_first(
    http: httpx.AsyncClient, first: str, second: str, grace: int | None
) -> None:
    path = await bound(http, "web")
    begun = (await http.delete(path, params={"gracePeriodSeconds": first} if first else {})).json()["metadata"]
    await http.delete(path, params={"gracePeriodSeconds": second} if second else {})
    assert await grace_left(http, path) == grace
    if grace == begun["deletionGracePeriodSeconds"]:
        assert (await http.get(path)).json()["metadata"] == begun


async def test_a_pod_that_ends_while_it_is_deleted_stays_until_its_node_lets_it_go(http: httpx.AsyncClient) -> None:
    path = await bound(http, "web")
    await http.delete(path)
    merge = {"content-type": "application/merge-patch+json"}
    await http.patch(f"{path}/status", json={"status": {"phase": "Succeeded"}}, headers=merge)
    for again in (path, PODS):
        assert (await http.delete(again)).status_code == 200
        assert await grace_left(http, path) == 30
    await http.delete(path, params={"gracePeriodSeconds": "0"})
    assert await grace_left(http, path) is None


async def test_a_pod_with_negative_grace_has_a_second(http: httpx.AsyncClient) -> None:
    path = await bound(http, "web", terminationGracePeriodSeconds=-5)
    await http.delete(path)
    assert await grace_left(http, path) == 1


async def test_a_node_sees_its_pods_under_its_own_prefix(http: httpx.AsyncClient, server: Any) -> None:
    await http.post(PODS, json=pod("web"))
    binding = {"metadata": {"name": "web"}, "target": {"kind": "Node", "name": "n1"}}
    await http.post(f"{PODS}/web/binding", json=binding)
    key = "/registry/nodes/n1/boundpods/default/web"
    bound, _ = await server.store.get(key)
    assert bound is not None
    stored, _ = await server.store.get("/registry/pods/default/web")
    assert bound.value == stored.value
    assert bound.revision == stored.revision

    status = {"status": {"phase": "Running"}}
    headers = {"content-type": "application/merge-patch+json"}
    await http.patch(f"{PODS}/web/status", json=status, headers=headers)
    assert (await server.store.get(key))[0].revision == bound.revision, "a status does not concern the kubelet"
    await http.patch(f"{PODS}/web", json={"metadata": {"labels": {"a": "b"}}}, headers=headers)
    changed, _ = await server.store.get(key)
    assert changed.revision > bound.revision
    await http.patch(f"{PODS}/web/status", json={"status": {"phase": "Failed"}}, headers=headers)
    assert (await server.store.get(key))[0].revision > changed.revision, "the end does"
    await http.delete(f"{PODS}/web")
    assert (await server.store.get(key))[0] is None


async def test_of_a_pod_that_is_being_deleted_the_node_does_not_see_the_end(
    http: httpx.AsyncClient, server: Any
) -> None:
    await http.post(PODS, json=pod("web"))
    binding = {"metadata": {"name": "web"}, "target": {"kind": "Node", "name": "n1"}}
    await http.post(f"{PODS}/web/binding", json=binding)
    await http.delete(f"{PODS}/web")
    key = "/registry/nodes/n1/boundpods/default/web"
    marked, _ = await server.store.get(key)
    assert orjson.loads(marked.value)["metadata"]["deletionTimestamp"]
    headers = {"content-type": "application/merge-patch+json"}
    answer = await http.patch(f"{PODS}/web/status", json={"status": {"phase": "Succeeded"}}, headers=headers)
    assert answer.json()["status"]["phase"] == "Succeeded"
    assert (await server.store.get(key))[0].revision == marked.revision


async def test_a_cluster_ip_belongs_to_one_service(http: httpx.AsyncClient, server: Any) -> None:
    one = (await http.post(SERVICES, json=service("one"))).json()
    ip = one["spec"]["clusterIP"]
    assert ip.startswith("10.96.0.")
    claim, _ = await server.store.get(f"/registry/ipaddresses/{ip}")
    assert b'"parentRef":{"resource":"services","namespace":"default","name":"one"}' in claim.value
    answer = await http.post(SERVICES, json=service("two", clusterIP=ip))
    assert answer.status_code == 422
    assert "provided IP is already allocated" in answer.json()["message"]
    assert (await http.post(SERVICES, json=service("far", clusterIP="10.97.0.1"))).status_code == 422
    await http.delete(f"{SERVICES}/one")
    assert (await server.store.get(f"/registry/ipaddresses/{ip}"))[0] is None
    assert (await http.post(SERVICES, json=service("two", clusterIP=ip))).status_code == 201


async def test_the_range_gives_every_address_once(http: httpx.AsyncClient) -> None:
    made = [(await http.post(SERVICES, json=service(f"s{n}"))).json()["spec"]["clusterIP"] for n in range(254)]
    assert len(set(made)) == 254
    full = await http.post(SERVICES, json=service("one-too-many"))
    assert full.status_code == 500
    assert "range 10.96.0.0/24 is full" in full.json()["message"]


async def test_node_ports_are_claimed_and_given_back(http: httpx.AsyncClient) -> None:
    made = (await http.post(SERVICES, json=service("np", type="NodePort"))).json()
    port = made["spec"]["ports"][0]["nodePort"]
    assert 30000 <= port < 30010
    taken = service("np2", type="NodePort", ports=[{"port": 80, "nodePort": port}])
    assert (await http.post(SERVICES, json=taken)).status_code == 422
    made["spec"]["type"] = "ClusterIP"
    answer = await http.put(f"{SERVICES}/np", json=made)
    assert answer.status_code == 200, answer.text
    assert "nodePort" not in answer.json()["spec"]["ports"][0]
    assert answer.json()["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    assert (await http.post(SERVICES, json=taken)).status_code == 201


async def test_a_scale_is_read_and_written(http: httpx.AsyncClient) -> None:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "kube/web"}]}}
    rc = {"metadata": {"name": "web"}, "spec": {"replicas": 2, "template": template}}
    answer = await http.post(RCS, json=rc)
    assert answer.status_code == 201, answer.text
    scale = (await http.get(f"{RCS}/web/scale")).json()
    assert scale["kind"] == "Scale"
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"]["selector"] == "app=web"
    scale["spec"]["replicas"] = 5
    assert (await http.put(f"{RCS}/web/scale", json=scale)).json()["spec"] == {"replicas": 5}
    assert (await http.get(f"{RCS}/web")).json()["metadata"]["generation"] == 2
    stale = await http.put(f"{RCS}/web/scale", json=scale)
    assert stale.status_code == 409


async def test_namespaces_hold_and_refuse(http: httpx.AsyncClient) -> None:
    absent = await http.post("/api/v1/namespaces/nowhere/pods", json=pod("web"))
    assert absent.status_code == 404
    assert absent.json()["message"] == 'namespaces "nowhere" not found'
    await http.post("/api/v1/namespaces", json={"metadata": {"name": "going"}})
    gone = (await http.delete("/api/v1/namespaces/going")).json()
    assert gone["status"]["phase"] == "Terminating"
    refused = await http.post("/api/v1/namespaces/going/pods", json=pod("web"))
    assert refused.status_code == 403
    assert "because it is being terminated" in refused.json()["message"]
    gone["spec"]["finalizers"] = []
    await http.put("/api/v1/namespaces/going/finalize", json=gone)
    assert (await http.get("/api/v1/namespaces/going")).status_code == 404
    assert (await http.delete("/api/v1/namespaces/default")).status_code == 403


async def test_a_dry_run_stores_nothing(http: httpx.AsyncClient) -> None:
    assert (await http.post(PODS, params={"dryRun": "All"}, json=pod("web"))).status_code == 201
    assert (await http.get(f"{PODS}/web")).status_code == 404


BAD = {
    "not JSON": (b"{", 400, "json parse error"),
    "an unknown kind": (b'{"kind":"Dog","apiVersion":"v1","metadata":{"name":"x"}}', 400, "Dog"),
    "another kind": (b'{"kind":"Service","apiVersion":"v1","metadata":{"name":"x"}}', 400, "Service"),
    "a list": (b"[]", 400, "object"),
    "nothing": (b"", 400, "unexpected end of JSON input"),
    "no containers": (b'{"metadata":{"name":"x"},"spec":{}}', 422, "spec.containers"),
    "no image": (b'{"metadata":{"name":"x"},"spec":{"containers":[{"name":"c"}]}}', 422, "spec.containers[0].image"),
    "no name": (b'{"metadata":{},"spec":{"containers":[{"name":"c","image":"i"}]}}', 422, "metadata.name"),
    "a bad name": (
        b'{"metadata":{"name":"X!"},"spec":{"containers":[{"name":"c","image":"i"}]}}', 422, "metadata.name",
    ),
    "a name too long": (
        b'{"metadata":{"name":"' + b"x" * 254 + b'"},"spec":{"containers":[{"name":"c","image":"i"}]}}',
        422, "metadata.name",
    ),
    "a bad label": (
        b'{"metadata":{"name":"x","labels":{"a":"b c"}},"spec":{"containers":[{"name":"c","image":"i"}]}}',
        422, "metadata.labels",
    ),
    "a wrong type": (
        b'{"metadata":{"name":"x"},"spec":{"containers":[{"name":"c","image":5}]}}', 400, "containers",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "code", "where"), BAD.values(), ids=BAD.keys())
async def test_bad_input_is_named_and_not_stored(http: httpx.AsyncClient, body: bytes, code: int, where: str) -> None:
    answer = await http.post(PODS, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == code, answer.text
    status = answer.json()
    assert status["kind"] == "Status"
    assert status["code"] == code
    assert where in status["message"]
    assert (await http.get(PODS)).json()["items"] == []


async def test_yaml_is_read_as_json_is(http: httpx.AsyncClient) -> None:
    text = "kind: Pod\nmetadata: {name: y, labels: {day: 2020-01-01}}\nspec: {containers: [{name: c, image: i}]}\n"
    answer = await http.post(PODS, content=text, headers={"content-type": "application/yaml"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["metadata"]["labels"] == {"day": "2020-01-01"}


async def test_unknown_fields_are_a_warning_or_an_error(http: httpx.AsyncClient) -> None:
    body = pod("web")
    body["spec"]["colour"] = "red"
    strict = await http.post(PODS, params={"fieldValidation": "Strict"}, json=body)
    assert strict.status_code == 400
    assert 'strict decoding error: unknown field "spec.colour"' in strict.json()["message"]
    warned = await http.post(PODS, json=body)
    assert warned.status_code == 201
    assert "unknown field" in warned.headers["warning"]
    assert "colour" not in warned.json()["spec"]


async def test_what_nobody_serves_is_a_status(http: httpx.AsyncClient) -> None:
    for path in ("/nothing", "/api/v1/nothing", "/api/v9/pods", "/apis/x/v1/y", f"{PODS}/web/nothing"):
        answer = await http.get(path)
        assert answer.status_code == 404
        assert answer.json()["kind"] == "Status", path
    assert (await http.put(PODS, json=pod("web"))).status_code == 405


DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def deployment(image: str) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "a", "image": image}, {"name": "b", "image": "b"}]}}  # fmt: skip
    return {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web"},
            "spec": {"replicas": 0, "paused": False, "template": template}, "status": {"replicas": 9}}  # fmt: skip


async def test_a_kind_that_is_only_stored_keeps_what_it_was_given(http: httpx.AsyncClient) -> None:
    made = (await http.post(DEPLOYMENTS, json=deployment("a:1"))).json()
    assert made["spec"] == deployment("a:1")["spec"], "zeros and empty lists, too"
    assert "status" not in made
    assert made["metadata"]["generation"] == 1
    assert list(made)[:2] == ["kind", "apiVersion"]
    listed = (await http.get(DEPLOYMENTS)).json()
    assert listed["kind"] == "DeploymentList"
    assert listed["items"] == [made]


async def test_its_status_has_its_own_path(http: httpx.AsyncClient) -> None:
    made = (await http.post(DEPLOYMENTS, json=deployment("a:1"))).json()
    made["status"], made["spec"] = {"replicas": 3}, {"replicas": 7}
    after = (await http.put(f"{DEPLOYMENTS}/web/status", json=made)).json()
    assert (after["status"], after["spec"]["replicas"]) == ({"replicas": 3}, 0)
    assert after["metadata"]["generation"] == 1
    after["status"], after["spec"]["replicas"] = {}, 2
    again = (await http.put(f"{DEPLOYMENTS}/web", json=after)).json()
    assert (again["status"], again["spec"]["replicas"]) == ({"replicas": 3}, 2)
    assert again["metadata"]["generation"] == 2


async def test_its_pod_template_is_patched_by_names(http: httpx.AsyncClient) -> None:
    await http.post(DEPLOYMENTS, json=deployment("a:1"))
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "a:2"}]}}}}
    headers = {"content-type": "application/strategic-merge-patch+json"}
    after = (await http.patch(f"{DEPLOYMENTS}/web", json=patch, headers=headers)).json()
    containers = after["spec"]["template"]["spec"]["containers"]
    assert containers == [{"name": "a", "image": "a:2"}, {"name": "b", "image": "b"}]


async def test_its_metadata_is_checked(http: httpx.AsyncClient) -> None:
    body = {**deployment("a:1"), "metadata": {"name": "Not A Name"}}
    answer = await http.post(DEPLOYMENTS, json=body)
    assert answer.status_code == 422
    assert answer.json()["message"].startswith('Deployment.apps "Not A Name" is invalid: metadata.name')
    role = {"metadata": {"name": "system:node"}}
    assert (await http.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", json=role)).status_code == 201


async def test_metadata_alone(http: httpx.AsyncClient) -> None:
    await http.post(PODS, json=pod("web", app="x"))
    one = {"accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
    answer = (await http.get(f"{PODS}/web", headers=one)).json()
    assert (answer["kind"], answer["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
    assert answer["metadata"]["labels"] == {"app": "x"}
    assert "spec" not in answer
    many = {"accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    listed = (await http.get(PODS, headers=many)).json()
    assert listed["kind"] == "PartialObjectMetadataList"
    assert [item["kind"] for item in listed["items"]] == ["PartialObjectMetadata"]


@pytest.mark.parametrize(
    ("accept", "code", "media_type"),
    [
        ("", 200, "application/json"),
        ("*/*", 200, "application/json"),
        ("application/vnd.kubernetes.protobuf,application/json", 200, "application/json"),
        ("application/yaml", 200, "application/yaml"),
        ("application/vnd.kubernetes.protobuf", 406, "application/json"),
        ("text/html", 406, "application/json"),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", 200, "application/json"),
    ],
)
async def test_the_first_form_that_can_be_made_is_taken(
    http: httpx.AsyncClient, accept: str, code: int, media_type: str
) -> None:
    answer = await http.get(PODS, headers={"accept": accept})
    assert answer.status_code == code, answer.text
    assert answer.headers["content-type"] == media_type


@pytest.mark.parametrize(
    ("method", "path", "content", "code"),
    [
        ("POST", "/api/v1/namespaces", b"k8s\0\x12\x05\x0a\x03\x0a\x01n", 201),
        ("POST", PODS, b"k8s\0", 422),
        ("POST", PODS, b'{"metadata":{"name":"p"}}', 400),
        ("POST", PODS, b"k8s\0\x0a\x05\x12\x03Foo", 415),
        ("PUT", "/api/v1/namespaces/default", b"k8s\0\x12\x0b\x0a\x09\x0a\x07default", 200),
        ("DELETE", "/api/v1/namespaces/default", b"k8s\0\x0a\x0f\x12\x0dDeleteOptions\x12\x05\x2a\x03All", 403),
        ("PATCH", "/api/v1/namespaces/default", b"k8s\0", 415),
    ],
    ids=[
        "creates",
        "an empty pod",
        "JSON under its name",
        "an unknown kind",
        "replaces",
        "is not deleted",
        "is no patch",
    ],
)
async def test_a_protobuf_body(http: httpx.AsyncClient, method: str, path: str, content: bytes, code: int) -> None:
    headers = {"content-type": "application/vnd.kubernetes.protobuf"}
    answer = await http.request(method, path, content=content, headers=headers)
    assert answer.status_code == code, answer.text
    assert answer.json()["kind"] in ("Namespace", "Status"), "JSON"


async def test_delete_options_in_protobuf_are_obeyed(http: httpx.AsyncClient) -> None:
    await http.post(PODS, json=pod("a"))
    headers = {"content-type": "application/vnd.kubernetes.protobuf"}
    content = b"k8s\0\x0a\x0f\x12\x0dDeleteOptions\x12\x07\x12\x05\x0a\x03abc"
    answer = await http.request("DELETE", f"{PODS}/a", content=content, headers=headers)
    assert answer.status_code == 409, "the precondition names another uid"


async def test_curl_shows_indented_json(http: httpx.AsyncClient) -> None:
    assert b'\n  "kind"' in (await http.get(PODS, headers={"user-agent": "curl/7.88"})).content
    assert b'\n  "kind"' not in (await http.get(PODS, headers={"user-agent": "kubectl/1.33"})).content


async def test_a_kind_that_is_only_stored_has_a_scale_too(http: httpx.AsyncClient) -> None:
    body = deployment("a:1")
    body["spec"]["selector"] = {"matchLabels": {"app": "web"}}
    await http.post(DEPLOYMENTS, json=body)
    headers = {"content-type": "application/merge-patch+json"}
    scale = await http.patch(f"{DEPLOYMENTS}/web/scale", json={"spec": {"replicas": 4}}, headers=headers)
    assert scale.json()["spec"] == {"replicas": 4}
    assert scale.json()["status"]["selector"] == "app=web"
    assert (await http.get(f"{DEPLOYMENTS}/web")).json()["spec"]["replicas"] == 4


async def test_a_service_is_replaced_without_naming_its_address(http: httpx.AsyncClient) -> None:
    """What `kubectl replace` sends: the manifest, which knows neither the address nor the type."""
    made = (await http.post(SERVICES, json=service("web"))).json()
    answer = await http.put(f"{SERVICES}/web", json=service("web", ports=[{"port": 81}]))
    assert answer.status_code == 200, answer.text
    assert answer.json()["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    assert answer.json()["spec"]["ports"][0]["port"] == 81
