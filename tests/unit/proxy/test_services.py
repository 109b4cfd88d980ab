"""What the proxy makes of Service and Endpoints objects."""

from __future__ import annotations

from typing import Any

import pytest

from kube.proxy import lean
from kube.proxy.services import Backend, Endpoint, ServicePort, ServicePortName


def service(**spec: Any) -> lean.Service:
    status, labels = spec.pop("status", {}), spec.pop("labels", {})
    metadata = {"namespace": "default", "name": "web", "labels": labels}
    return lean.Service.parse({"metadata": metadata, "spec": spec, "status": status})


HTTP = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}
DNS = {"name": "dns", "port": 53, "protocol": "UDP"}
NAME = ServicePortName("default", "web", "http")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(
            {"clusterIP": "10.96.0.9", "ports": [HTTP, DNS]},
            [
                ServicePort(NAME, "10.96.0.9", 80),
                ServicePort(ServicePortName("default", "web", "dns"), "10.96.0.9", 53, "UDP"),
            ],
            id="every port",
        ),
        pytest.param(
            {"clusterIP": "10.96.0.9", "ports": [{"port": 80}]},
            [ServicePort(ServicePortName("default", "web"), "10.96.0.9", 80)],
            id="no name and no protocol is TCP",
        ),
        pytest.param(
            {"type": "NodePort", "clusterIP": "10.96.0.9", "ports": [{**HTTP, "nodePort": 30080}]},
            [ServicePort(NAME, "10.96.0.9", 80, node_port=30080)],
            id="node port",
        ),
        pytest.param(
            {
                "type": "LoadBalancer",
                "clusterIP": "10.96.0.9",
                "externalIPs": ["198.51.100.7"],
                "ports": [HTTP],
                "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.8"}, {"hostname": "lb"}]}},
            },
            [ServicePort(NAME, "10.96.0.9", 80, external_ips=("198.51.100.7",), load_balancer_ips=("198.51.100.8",))],
            id="external addresses",
        ),
        pytest.param(
            {"clusterIP": "10.96.0.9", "sessionAffinity": "ClientIP", "ports": [HTTP]},
            [ServicePort(NAME, "10.96.0.9", 80, affinity_seconds=10800)],
            id="affinity lasts three hours unless said",
        ),
        pytest.param(
            {
                "clusterIP": "10.96.0.9",
                "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
                "ports": [HTTP],
            },
            [ServicePort(NAME, "10.96.0.9", 80, affinity_seconds=60)],
            id="affinity as long as said",
        ),
        pytest.param(
            {
                "type": "LoadBalancer",
                "clusterIP": "10.96.0.9",
                "externalTrafficPolicy": "Local",
                "internalTrafficPolicy": "Local",
                "healthCheckNodePort": 30999,
                "loadBalancerSourceRanges": [" 198.51.100.0/24", "2001:db8::/32", "192.168.1.7/24"],
                "ports": [HTTP],
                "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.8", "ipMode": "Proxy"}]}},
            },
            [
                ServicePort(
                    NAME,
                    "10.96.0.9",
                    80,
                    source_ranges=("198.51.100.0/24", "192.168.1.0/24"),
                    external_local=True,
                    internal_local=True,
                    health_check_node_port=30999,
                )
            ],
            id="load balancer: policies, source ranges; what its address' ipMode Proxy says is not ours to take",
        ),
        pytest.param(
            {"clusterIP": "10.96.0.9", "externalTrafficPolicy": "Local", "ports": [HTTP]},
            [ServicePort(NAME, "10.96.0.9", 80)],
            id="a policy for traffic from outside means nothing where there is none",
        ),
        pytest.param(
            {"clusterIP": "10.96.0.9", "ports": [HTTP], "trafficDistribution": "PreferSameNode"},
            [ServicePort(NAME, "10.96.0.9", 80, prefer="node")],
            id="the same node before others",
        ),
        pytest.param(
            {
                "clusterIP": "10.96.0.9",
                "ports": [{**HTTP, "name": None, "nodePort": None}],
                "externalIPs": None,
                "sessionAffinityConfig": None,
            },
            [ServicePort(ServicePortName("default", "web"), "10.96.0.9", 80)],
            id="null is as good as nothing",
        ),
        pytest.param(
            {"clusterIP": "10.96.0.9", "ports": [HTTP], "trafficDistribution": "PreferClose"},
            [ServicePort(NAME, "10.96.0.9", 80, prefer="zone")],
            id="the same zone before others, by its older name",
        ),
        pytest.param({"clusterIP": "None", "ports": [HTTP]}, [], id="headless"),
        pytest.param(
            {"clusterIP": "10.96.0.9", "ports": [HTTP], "labels": {"service.kubernetes.io/service-proxy-name": ""}},
            [],
            id="another proxy's, by its label",
        ),
        pytest.param({"clusterIP": "", "ports": [HTTP]}, [], id="no address yet"),
        pytest.param({"type": "ExternalName", "externalName": "example.org"}, [], id="external name"),
        pytest.param({"clusterIP": "10.96.0.9", "ports": [{**HTTP, "protocol": "SCTP"}]}, [], id="SCTP is not served"),
        pytest.param({"clusterIP": "10.96.0.9; -j ACCEPT", "ports": [HTTP]}, [], id="not an address"),
    ],
)
def test_a_service_is_served_at(spec: dict[str, Any], expected: list[ServicePort]) -> None:
    assert service(**spec).ports == tuple(expected)


def test_endpoints_are_the_ready_addresses_by_port_name() -> None:
    endpoints = lean.Endpoints.parse(
        {
            "metadata": {"namespace": "default", "name": "web"},
            "subsets": [
                {
                    "addresses": [{"ip": "10.244.0.5", "nodeName": "one"}, {"ip": "10.244.0.6"}],
                    "notReadyAddresses": [{"ip": "10.244.0.7"}],
                    "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}],
                },
                # A named targetPort may be another number in other pods; an address is not counted twice.
                {"addresses": [{"ip": "10.244.0.8"}], "ports": [{"name": "http", "port": 8080}]},
                {"addresses": [{"ip": "10.244.0.5", "nodeName": "one"}], "ports": [{"name": "http", "port": 80}]},
            ],
        }
    )
    assert endpoints.by_port == {
        "http": (
            Endpoint(Backend("10.244.0.5", 80), "one"),
            Endpoint(Backend("10.244.0.6", 80)),
            Endpoint(Backend("10.244.0.8", 8080)),
        ),
        "dns": (Endpoint(Backend("10.244.0.5", 53), "one"), Endpoint(Backend("10.244.0.6", 53))),
    }


def test_a_name_is_written_as_kubernetes_writes_it() -> None:
    assert str(NAME) == "default/web:http"
    assert str(ServicePortName("default", "web")) == "default/web"
