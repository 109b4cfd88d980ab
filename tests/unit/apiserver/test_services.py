"""The addresses of services: which are given, kept, and given back as a service changes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

SERVICES = "/api/v1/namespaces/default/services"
LOCAL = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


async def create(http: httpx.AsyncClient, name: str = "web", **spec: Any) -> dict[str, Any]:
    answer = await http.post(SERVICES, json=service(name, **spec))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def change(http: httpx.AsyncClient, made: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Put the service again as it was answered, but for some fields (None: left out)."""
    changed = {name: value for name, value in {**made["spec"], **spec}.items() if value is not None}
    answer = await http.put(f"{SERVICES}/{made['metadata']['name']}", json={**made, "spec": changed})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()["spec"]
    return told


async def test_a_load_balancer_with_policy_local_has_a_health_check_port(http: httpx.AsyncClient) -> None:
    made = await create(http, **LOCAL)
    port = made["spec"]["healthCheckNodePort"]
    assert 30000 <= port < 30010
    assert port != made["spec"]["ports"][0]["nodePort"]
    taken = await http.post(SERVICES, json=service("other", type="NodePort", ports=[{"port": 80, "nodePort": port}]))
    assert taken.status_code == 422, "it is one of the node ports"
    assert (await change(http, made, healthCheckNodePort=None))["healthCheckNodePort"] == port, "kept when left out"


async def test_a_health_check_port_that_is_asked_for_is_given_or_refused(http: httpx.AsyncClient) -> None:
    made = await create(http, **LOCAL, healthCheckNodePort=30005)
    assert made["spec"]["healthCheckNodePort"] == 30005
    for port, why in (
        (30005, "provided port is already allocated"),
        (40000, "provided port is not in the valid range. The range of valid ports is 30000-30009"),
    ):
        answer = await http.post(SERVICES, json=service("other", **LOCAL, healthCheckNodePort=port))
        assert answer.status_code == 500
        message = answer.json()["message"]
        assert message == f"Internal error occurred: failed to allocate requested HealthCheck NodePort {port}: {why}"


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"externalTrafficPolicy": "Cluster"}, id="another policy"),
        pytest.param({"type": "NodePort"}, id="another type that has a policy"),
        pytest.param({"type": "ClusterIP"}, id="another type that has none"),
    ],
)
async def test_a_health_check_port_is_given_back(http: httpx.AsyncClient, changed: dict[str, Any]) -> None:
    made = await create(http, **LOCAL, healthCheckNodePort=30005)
    assert "healthCheckNodePort" not in await change(http, made, **changed)
    await create(http, "other", **LOCAL, healthCheckNodePort=30005)


async def test_a_policy_that_becomes_local_gets_a_health_check_port(http: httpx.AsyncClient) -> None:
    made = await create(http, type="LoadBalancer")
    assert "healthCheckNodePort" not in made["spec"]
    assert (await change(http, made, externalTrafficPolicy="Local"))["healthCheckNodePort"]


async def test_a_load_balancer_may_do_without_node_ports(http: httpx.AsyncClient) -> None:
    made = await create(http, type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    assert "nodePort" not in made["spec"]["ports"][0]
    with_ports = await change(http, made, allocateLoadBalancerNodePorts=True)
    assert with_ports["ports"][0]["nodePort"]


async def test_both_protocols_of_a_port_share_a_node_port(http: httpx.AsyncClient) -> None:
    ports = [{"name": "udp", "port": 53, "protocol": "UDP"}, {"name": "tcp", "port": 53}, {"name": "m", "port": 9153}]
    made = await create(http, type="NodePort", ports=ports)
    udp, tcp, metrics = (port["nodePort"] for port in made["spec"]["ports"])
    assert udp == tcp != metrics


async def test_a_node_port_stays_with_the_name_of_its_port(http: httpx.AsyncClient) -> None:
    made = await create(http, type="NodePort")
    (port,) = (await change(http, made, ports=[{"port": 8080}]))["ports"]
    assert (port["port"], port["nodePort"]) == (8080, made["spec"]["ports"][0]["nodePort"])


async def test_an_address_may_not_change(http: httpx.AsyncClient) -> None:
    await create(http, clusterIP="10.96.0.76")
    patch, kind = {"spec": {"clusterIP": "10.96.0.77"}}, {"content-type": "application/merge-patch+json"}
    answer = await http.patch(f"{SERVICES}/web", json=patch, headers=kind)
    assert answer.json()["message"] == (
        'Service "web" is invalid: spec.clusterIPs[0]: Invalid value: []string{"10.96.0.77"}: may not change once set'
    )


async def test_what_only_a_load_balancer_has_goes_with_its_type(http: httpx.AsyncClient) -> None:
    made = await create(http, **LOCAL, loadBalancerClass="example.org/lb")
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]}}}
    patch = {"Content-Type": "application/merge-patch+json"}
    answer = await http.patch(f"{SERVICES}/web/status", json=ingress, headers=patch)
    assert answer.status_code == 200, answer.text
    spec = await change(http, {**made, "metadata": {"name": "web"}}, type="ClusterIP")
    for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass", "externalTrafficPolicy"):
        assert field not in spec
    assert spec["clusterIP"] == made["spec"]["clusterIP"]
    assert (await http.get(f"{SERVICES}/web")).json()["status"] == {"loadBalancer": {}}


async def test_an_external_name_gives_its_address_back_and_gets_one_again(http: httpx.AsyncClient) -> None:
    made = await create(http, clusterIP="10.96.0.77")
    spec = await change(http, made, type="ExternalName", externalName="example.org")
    assert {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"}.isdisjoint(spec)
    other = await create(http, "other", clusterIP="10.96.0.77")
    assert other["spec"]["clusterIP"] == "10.96.0.77"
    named = (await http.get(f"{SERVICES}/web")).json()
    again = await change(http, named, type="ClusterIP", externalName=None)
    assert again["clusterIP"] not in ("", "10.96.0.77")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        pytest.param({"clusterIPs": ["10.96.0.9"]}, "must be empty when `clusterIP` is not specified", id="list alone"),
        pytest.param({"clusterIP": "10.96.0.0"}, "The range of valid IPs is 10.96.0.0/24", id="the network itself"),
        pytest.param({"clusterIP": "10.96.0.255"}, "The range of valid IPs is 10.96.0.0/24", id="the broadcast"),
        pytest.param(
            {"clusterIP": "10.96.0.7", "type": "ExternalName", "externalName": "kube.test"},
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
            id="an external name has none",
        ),
    ],
)
async def test_an_address_that_cannot_be_given_is_refused(
    http: httpx.AsyncClient, spec: dict[str, Any], why: str
) -> None:
    await create(http, "first", clusterIP="10.96.0.9")
    answer = await http.post(SERVICES, json=service(**spec))
    assert answer.status_code == 422
    assert why in answer.json()["message"]


async def test_a_list_of_addresses_may_not_contradict_the_address_that_is_kept(http: httpx.AsyncClient) -> None:
    await create(http, clusterIP="10.96.0.9")
    answer = await http.put(f"{SERVICES}/web", json=service(clusterIPs=["10.96.0.10"]))
    assert answer.status_code == 422
    assert "first value must match `clusterIP`" in answer.json()["message"]


DUAL = {"ipFamilies": ["IPv4", "IPv6"]}
NO_DUAL_STACK = 'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack'


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        pytest.param({"ipFamilyPolicy": "RequireDualStack"}, NO_DUAL_STACK, id="both required"),
        pytest.param({"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured', id="IPv6"),
        pytest.param(
            {"ipFamilies": ["IPv6"], "clusterIP": "None", "selector": {"app": "web"}},
            'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster',
            id="IPv6, headless",
        ),
        pytest.param(
            DUAL,
            'spec.ipFamilyPolicy: Invalid value: "SingleStack": '
            "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
            id="two without a policy for two",
        ),
    ],
)
async def test_families_that_the_cluster_has_not_are_refused(
    http: httpx.AsyncClient, spec: dict[str, Any], why: str
) -> None:
    answer = await http.post(SERVICES, json=service(**spec))
    assert answer.status_code == 422
    assert why in answer.json()["message"]


async def test_a_preference_for_both_families_is_none_for_what_is_not_there(http: httpx.AsyncClient) -> None:
    spec = (await create(http, ipFamilyPolicy="PreferDualStack"))["spec"]
    assert (spec["ipFamilyPolicy"], spec["ipFamilies"]) == ("PreferDualStack", ["IPv4"])


async def test_a_headless_service_without_selector_has_any_families_and_one_by_its_policy(
    http: httpx.AsyncClient,
) -> None:
    made = await create(http, clusterIP="None")
    assert (made["spec"]["ipFamilyPolicy"], made["spec"]["ipFamilies"]) == ("RequireDualStack", DUAL["ipFamilies"])
    assert (await change(http, made, ipFamilyPolicy="SingleStack"))["ipFamilies"] == ["IPv4"]
