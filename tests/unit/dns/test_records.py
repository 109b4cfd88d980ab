"""The names of services and pods, sentence by sentence of Kubernetes' DNS specification (schema 1.1.0)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kube.api.core import EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Service, ServicePort
from kube.api.meta import ObjectMeta
from kube.dns.records import Known, Records
from tests.objects import service

HTTP = ServicePort(name="http", port=80, targetPort=8080, protocol="TCP")


def endpoints(name: str, *addresses: EndpointAddress) -> Endpoints:
    ports = [EndpointPort(name="http", port=8080, protocol="TCP")]
    subset = EndpointSubset(addresses=list(addresses), ports=ports)
    return Endpoints(metadata=ObjectMeta(name=name, namespace="default"), subsets=[subset])


def external() -> Service:
    made = service("out", type="ExternalName", cluster_ip="")
    made.spec.externalName = "example.com"
    return made


SERVICES = {
    each.key: each
    for each in (
        service("web", ports=[HTTP], cluster_ip="10.96.0.9"),
        service("db", ports=[HTTP], cluster_ip="None"),
        external(),
    )
}
ENDPOINTS = {
    each.key: each
    for each in (
        endpoints("db", EndpointAddress(ip="10.244.0.5", hostname="db-0"), EndpointAddress(ip="10.244.0.6")),
        endpoints("web", EndpointAddress(ip="10.244.0.7")),
    )
}


def known() -> Known:
    def of_ip(ip: str) -> Sequence[Service]:
        return [each for each in SERVICES.values() if each.spec.clusterIP == ip]

    return Known(
        service=SERVICES.get,
        endpoints=ENDPOINTS.get,
        has_services=lambda namespace: namespace == "default",
        services_of_ip=of_ip,
        endpoints_of_ip=lambda ip: [
            e for e in ENDPOINTS.values() if any(a.ip == ip for s in e.subsets for a in s.addresses)
        ],
    )


RECORDS = Records("cluster.local", known())
NX = None


@pytest.mark.parametrize(
    ("name", "type_", "expected"),
    [
        pytest.param("web.default.svc.cluster.local", "A", ["10.96.0.9"], id="a service has its cluster IP"),
        pytest.param("web.default.svc.cluster.local", "AAAA", [], id="and no IPv6 address"),
        pytest.param("nope.default.svc.cluster.local", "A", NX, id="no such service"),
        pytest.param("web.other.svc.cluster.local", "A", NX, id="not in that namespace"),
        pytest.param("default.svc.cluster.local", "A", [], id="a namespace exists"),
        pytest.param("other.svc.cluster.local", "A", NX, id="one without services does not"),
        pytest.param("svc.cluster.local", "A", [], id="and so does what is above"),
        pytest.param("cluster.local", "A", [], id="the domain itself"),
        pytest.param("x.cluster.local", "A", NX, id="nothing else does"),
        pytest.param(
            "db.default.svc.cluster.local", "A", ["10.244.0.5", "10.244.0.6"], id="headless: each ready endpoint"
        ),
        pytest.param("db-0.db.default.svc.cluster.local", "A", ["10.244.0.5"], id="an endpoint by its host name"),
        pytest.param("10-244-0-6.db.default.svc.cluster.local", "A", ["10.244.0.6"], id="or by its address"),
        pytest.param("db-9.db.default.svc.cluster.local", "A", NX, id="no such endpoint"),
        pytest.param("10-244-0-7.web.default.svc.cluster.local", "A", NX, id="endpoints of others have no names"),
        pytest.param(
            "_http._tcp.web.default.svc.cluster.local", "SRV", ["0 100 80 web.default.svc.cluster.local."], id="a port"
        ),
        pytest.param("_http._udp.web.default.svc.cluster.local", "SRV", NX, id="not by that protocol"),
        pytest.param("_https._tcp.web.default.svc.cluster.local", "SRV", NX, id="not of that name"),
        pytest.param("_tcp.web.default.svc.cluster.local", "SRV", [], id="what is above a port exists"),
        pytest.param(
            "_http._tcp.db.default.svc.cluster.local",
            "SRV",
            [
                "0 100 8080 db-0.db.default.svc.cluster.local.",
                "0 100 8080 10-244-0-6.db.default.svc.cluster.local.",
            ],
            id="headless: the port of each endpoint",
        ),
        pytest.param("out.default.svc.cluster.local", "A", ["example.com."], id="an alias, whatever is asked for"),
        pytest.param("10-1-2-3.default.pod.cluster.local", "A", ["10.1.2.3"], id="a pod by its address"),
        pytest.param("nonsense.default.pod.cluster.local", "A", NX, id="that is no address"),
        pytest.param("dns-version.cluster.local", "TXT", ['"1.1.0"'], id="the schema's version"),
        pytest.param("9.0.96.10.in-addr.arpa", "PTR", ["web.default.svc.cluster.local."], id="back to a service"),
        pytest.param("5.0.244.10.in-addr.arpa", "PTR", ["db-0.db.default.svc.cluster.local."], id="to an endpoint"),
    ],
)
def test_names(name: str, type_: str, expected: list[str] | None) -> None:
    answer = RECORDS.answer(name, type_)
    assert answer is not None
    assert answer.exists == (expected is not None)
    assert [record.data for record in answer.records] == (expected or [])


@pytest.mark.parametrize("name", ["example.com", "local", "notcluster.local", "7.0.244.10.in-addr.arpa"])
def test_what_is_not_ours_to_know(name: str) -> None:
    assert RECORDS.answer(name, "A") is None


def test_the_address_of_a_target_comes_along() -> None:
    answer = RECORDS.answer("_http._tcp.db.default.svc.cluster.local", "SRV")
    assert answer is not None
    assert [(a.name.split(".")[0], a.data) for a in answer.additional] == [
        ("db-0", "10.244.0.5"),
        ("10-244-0-6", "10.244.0.6"),
    ]
