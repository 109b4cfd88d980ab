"""What a client learns of the API before it uses it."""

from __future__ import annotations

import httpx
import orjson

from kube.api.resources import RESOURCES, SERVED
from kube.apiserver import swagger
from kube.apiserver.discovery import GROUPS, Discovery

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


async def test_every_kind_of_the_table_is_discovered(http: httpx.AsyncClient) -> None:
    for resource in SERVED:
        listed = (await http.get(resource.base)).json()["resources"]
        entry = next(item for item in listed if item["name"] == resource.plural)
        assert entry["kind"] == resource.kind
        assert entry["verbs"] == sorted(resource.verbs)
        assert entry["namespaced"] is resource.namespaced
        assert {item["name"] for item in listed if item["name"].startswith(f"{resource.plural}/")} == {
            f"{resource.plural}/{sub.name}" for sub in resource.subresources
        }


async def test_the_aggregated_form_says_the_same(http: httpx.AsyncClient) -> None:
    found = set()
    for path in ("/api", "/apis"):
        answer = await http.get(path, headers={"accept": AGGREGATED})
        assert "as=APIGroupDiscoveryList" in answer.headers["content-type"]
        for group in answer.json()["items"]:
            for version in group["versions"]:
                found |= {(group["metadata"].get("name", ""), item["resource"]) for item in version["resources"]}
    assert found == {(resource.group, resource.plural) for resource in SERVED}
    assert (await http.get("/apis")).json()["kind"] == "APIGroupList"


async def test_groups_come_in_upstreams_order_and_none_is_without_a_place(http: httpx.AsyncClient) -> None:
    listed = [group["name"] for group in (await http.get("/apis")).json()["groups"]]
    assert listed == [group for group in GROUPS if group in listed]
    assert {"", *listed} == {resource.group for resource in SERVED}


def test_the_server_says_where_it_is() -> None:
    answer = Discovery(address="192.0.2.1:6443").find("/api", "*/*")
    assert answer is not None
    where = {"clientCIDR": "0.0.0.0/0", "serverAddress": "192.0.2.1:6443"}
    assert orjson.loads(answer.body)["serverAddressByClientCIDRs"] == [where]


async def test_the_schema_knows_every_kind_and_that_fields_are_checked(http: httpx.AsyncClient) -> None:
    index = (await http.get("/openapi/v3")).json()["paths"]
    for resource in RESOURCES:
        url = index[resource.base.strip("/")]["serverRelativeURL"]
        document = (await http.get(url)).json()
        kinds = [
            gvk["kind"]
            for schema in document["components"]["schemas"].values()
            for gvk in schema.get("x-kubernetes-group-version-kind", [])
        ]
        assert resource.kind in kinds
        item = document["paths"][resource.path("{namespace}" if resource.namespaced else "", "{name}")]
        assert "fieldValidation" in {parameter["name"] for parameter in item["patch"]["parameters"]}


async def test_every_reference_in_the_schema_leads_somewhere(http: httpx.AsyncClient) -> None:
    def references(node: object) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*(references(value) for value in node.values()))
        if isinstance(node, list):
            return set().union(*(references(item) for item in node))
        return set()

    for entry in (await http.get("/openapi/v3")).json()["paths"].values():
        document = (await http.get(entry["serverRelativeURL"])).json()
        names = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
        assert references(document) <= names


async def test_models_and_operations_have_upstreams_names(http: httpx.AsyncClient) -> None:
    index = (await http.get("/openapi/v3")).json()["paths"]
    slices = (await http.get(index["apis/discovery.k8s.io/v1"]["serverRelativeURL"])).json()
    schemas = slices["components"]["schemas"]
    assert {"io.k8s.api.core.v1.ObjectReference", "io.k8s.api.discovery.v1.Endpoint"} <= schemas.keys()
    core = (await http.get(index["api/v1"]["serverRelativeURL"])).json()
    schemas, paths = core["components"]["schemas"], core["paths"]
    assert schemas["io.k8s.api.core.v1.Container"]["required"] == ["name"]
    assert schemas["io.k8s.api.core.v1.PodList"]["x-kubernetes-group-version-kind"][0]["kind"] == "PodList"
    limits = schemas["io.k8s.api.core.v1.ResourceRequirements"]["properties"]["limits"]["additionalProperties"]
    assert limits["allOf"][0]["$ref"].endswith("io.k8s.apimachinery.pkg.api.resource.Quantity")
    pods = "/api/v1/namespaces/{namespace}/pods"
    said = {
        (path, method): (operation["operationId"], operation["x-kubernetes-action"])
        for path in ("/api/v1/pods", pods, f"{pods}/{{name}}", f"{pods}/{{name}}/eviction", f"{pods}/{{name}}/exec")
        for method, operation in paths[path].items()
        if method != "parameters"
    }
    assert said["/api/v1/pods", "get"] == ("listCoreV1PodForAllNamespaces", "list")
    assert said[pods, "post"] == ("createCoreV1NamespacedPod", "post")
    assert said[pods, "delete"] == ("deleteCoreV1CollectionNamespacedPod", "deletecollection")
    assert said[f"{pods}/{{name}}", "get"] == ("readCoreV1NamespacedPod", "get")
    assert said[f"{pods}/{{name}}/eviction", "post"] == ("createCoreV1NamespacedPodEviction", "post")
    assert said[f"{pods}/{{name}}/exec", "get"] == ("connectCoreV1GetNamespacedPodExec", "connect")
    eviction = paths[f"{pods}/{{name}}/eviction"]["post"]["x-kubernetes-group-version-kind"]
    assert eviction == {"group": "policy", "version": "v1", "kind": "Eviction"}
    strategic = "application/strategic-merge-patch+json"
    assert strategic in paths[f"{pods}/{{name}}"]["patch"]["requestBody"]["content"]
    apps = (await http.get(index["apis/apps/v1"]["serverRelativeURL"])).json()["paths"]
    deployment = apps["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    assert strategic not in deployment["patch"]["requestBody"]["content"]


async def test_versions_and_pages(http: httpx.AsyncClient) -> None:
    for path in ("/version", "/version/"):
        assert (await http.get(path)).json()["major"] == "1"
    assert "/api/v1" in (await http.get("/")).json()["paths"]
    assert (await http.get("/docs")).status_code == 200


async def test_the_old_schema_says_how_lists_are_merged(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi/v2")).json()
    assert document["swagger"] == "2.0"
    containers = document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["items"] == {"$ref": "#/definitions/io.k8s.api.core.v1.Container"}


async def test_the_old_schema_in_protobuf_holds_the_same(http: httpx.AsyncClient) -> None:
    answer = await http.get("/openapi/v2", headers={"accept": swagger.PROTOBUF_OLD_NAME})
    assert answer.headers["content-type"] == swagger.PROTOBUF
    json = (await http.get("/openapi/v2")).json()
    message = swagger.message("Document").FromString(answer.content)
    assert {item.name for item in message.definitions.additional_properties} == set(json["definitions"])
    assert {item.name for item in message.paths.path} == set(json["paths"])
    pod = next(i.value for i in message.definitions.additional_properties if i.name == "io.k8s.api.core.v1.Pod")
    assert {p.name for p in pod.properties.additional_properties} >= {"kind", "metadata", "spec", "status"}
    assert [(e.name, e.value.yaml) for e in pod.vendor_extension] == [
        ("x-kubernetes-group-version-kind", '[{"group":"","version":"v1","kind":"Pod"}]')
    ]
