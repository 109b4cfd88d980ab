"""What stands behind a service: upstream's endpoints controller and RepackSubsets, as cases."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api.core import ContainerPort, EndpointSubset, Pod, PodSpec, Service, ServicePort
from kube.controller_manager import subsets
from tests.objects import container, pod, service

HTTP = ServicePort(port=80, targetPort=8080, protocol="TCP")


def web(name: str, ip: str, **words: object) -> Pod:
    return pod(name, **{"ip": ip, "ready": True, "node": "n1", "uid": name, "phase": "Running", **words})  # type: ignore[arg-type]


def numbered(name: str, port: int) -> ServicePort:
    return ServicePort(name=name, port=port, targetPort=port)


def naming(name: str, number: int, protocol: str = "TCP") -> PodSpec:
    port = ContainerPort(name=name, containerPort=number, protocol=protocol)
    return PodSpec(containers=[container(ports=[port])])


def shown(found: list[EndpointSubset]) -> list[tuple[list[str], list[str], list[str]]]:
    """Ready and not-ready addresses, and ports as `name:number/protocol`."""
    return [
        (
            [a.ip for a in s.addresses],
            [a.ip for a in s.notReadyAddresses],
            [f"{p.name}:{p.port}/{p.protocol}" for p in s.ports],
        )
        for s in found
    ]


@pytest.mark.parametrize(
    ("of", "pods", "expected"),
    [
        pytest.param(service(ports=[HTTP]), [], [], id="no pods, no subsets"),
        pytest.param(
            service(ports=[HTTP]),
            [web("b", "10.0.0.2"), web("a", "10.0.0.1")],
            [(["10.0.0.1", "10.0.0.2"], [], [":8080/TCP"])],
            id="ready pods, in the order of their addresses",
        ),
        pytest.param(
            service(ports=[HTTP]),
            [web("a", "10.0.0.1"), web("b", "10.0.0.2", ready=False), web("c", "10.0.0.3", ready=None)],
            [(["10.0.0.1"], ["10.0.0.2", "10.0.0.3"], [":8080/TCP"])],
            id="ready and not ready",
        ),
        pytest.param(service(ports=[HTTP]), [web("a", "")], [], id="no address yet"),
        pytest.param(service(ports=[HTTP]), [web("a", "10.0.0.1", deleting=True)], [], id="being deleted"),
        pytest.param(service(ports=[HTTP]), [web("a", "10.0.0.1", phase="Succeeded")], [], id="done"),
        pytest.param(service(ports=[HTTP]), [web("a", "10.0.0.1", phase="Failed")], [], id="failed"),
        pytest.param(
            service(ports=[HTTP], publish_not_ready=True),
            [web("a", "10.0.0.1", ready=False), web("b", "10.0.0.2", deleting=True)],
            [(["10.0.0.1", "10.0.0.2"], [], [":8080/TCP"])],
            id="a service that publishes what is not ready",
        ),
        pytest.param(
            service(ports=[ServicePort(port=80, targetPort=0)]),
            [web("a", "10.0.0.1")],
            [(["10.0.0.1"], [], [":80/TCP"])],
            id="no target port: the service's own",
        ),
        pytest.param(
            service(ports=[ServicePort(name="web", port=80, targetPort="http")]),
            [web("a", "10.0.0.1", spec=naming("http", 8080)), web("b", "10.0.0.2", spec=naming("http", 9090))],
            [(["10.0.0.1"], [], ["web:8080/TCP"]), (["10.0.0.2"], [], ["web:9090/TCP"])],
            id="a named port may be another number in each pod",
        ),
        pytest.param(
            service(ports=[ServicePort(name="web", port=80, targetPort="http")]),
            [web("a", "10.0.0.1", spec=naming("http", 8080, "UDP")), web("b", "10.0.0.2")],
            [],
            id="no port of that name and protocol",
        ),
        pytest.param(
            service(
                ports=[ServicePort(name="b", port=81, targetPort=81), ServicePort(name="a", port=80, targetPort=80)]
            ),
            [web("a", "10.0.0.1"), web("b", "10.0.0.2", ready=False)],
            [(["10.0.0.1"], ["10.0.0.2"], ["a:80/TCP", "b:81/TCP"])],
            id="ports of the same pods share a subset",
        ),
        pytest.param(
            service(
                ports=[ServicePort(name="n", port=1, targetPort=1), ServicePort(name="w", port=80, targetPort="http")]
            ),
            [web("a", "10.0.0.1", spec=naming("http", 8080)), web("b", "10.0.0.2")],
            [(["10.0.0.1", "10.0.0.2"], [], ["n:1/TCP"]), (["10.0.0.1"], [], ["w:8080/TCP"])],
            id="ports of different pods do not",
        ),
        pytest.param(
            service(ports=[ServicePort(name="dns", port=53, targetPort=53, protocol="UDP")]),
            [web("a", "10.0.0.1")],
            [(["10.0.0.1"], [], ["dns:53/UDP"])],
            id="UDP",
        ),
    ],
)
def test_subsets(of: Service, pods: list[Pod], expected: list[tuple[list[str], list[str], list[str]]]) -> None:
    assert shown(subsets.subsets(of, pods)) == expected


def test_a_headless_service_need_not_have_ports() -> None:
    headless = service(cluster_ip="None")
    headless.spec.ports = []
    assert shown(subsets.subsets(headless, [web("a", "10.0.0.1")])) == [(["10.0.0.1"], [], [])]


def test_an_address_says_whose_it_is() -> None:
    named = web("a", "10.0.0.1", spec=PodSpec(containers=[container()], hostname="db-0", subdomain="web"))
    where = subsets.address(service(), named)
    assert where.targetRef is not None
    ref = where.targetRef
    assert (ref.kind, ref.namespace, ref.name, ref.uid) == ("Pod", "default", "a", "a")
    assert (where.nodeName, where.hostname) == ("n1", "db-0")
    assert subsets.address(service("other"), named).hostname == "", "a name in another service's domain"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param({}, {}, id="the service's own, and whose they are"),
        pytest.param({"cluster_ip": "None"}, {subsets.HEADLESS: ""}, id="and a mark without a cluster IP"),
    ],
)
def test_labels(words: dict[str, str], expected: dict[str, str]) -> None:
    ours = {"a": "b", "endpoints.kubernetes.io/managed-by": "endpoint-controller"}
    assert subsets.labels(service(labels={"a": "b"}, **words)) == {**ours, **expected}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        pytest.param(service(), True, id="a selector"),
        pytest.param(service(selector={}), False, id="none: made by hand"),
        pytest.param(service(type="ExternalName"), False, id="a name elsewhere"),
    ],
)
def test_who_has_endpoints(of: Service, expected: bool) -> None:
    assert subsets.has_endpoints(of) is expected


@given(
    st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.sampled_from(["", "http", "admin"])), max_size=12),
    st.randoms(use_true_random=False),
)
def test_the_same_pods_give_the_same_subsets_in_any_order(
    described: list[tuple[int, bool, str]], rng: random.Random
) -> None:
    """Canonical: whatever the order of the pods; and no address stands twice with the same port."""
    of = service(ports=[numbered("n", 1), ServicePort(name="w", port=80, targetPort="http")])
    pods = [
        web(f"p{n}", f"10.0.0.{n}", ready=ready, spec=naming(name, 8000 + ip))
        for n, (ip, ready, name) in enumerate(described)
    ]
    found = subsets.subsets(of, pods)
    rng.shuffle(pods)
    assert subsets.subsets(of, pods) == found
    pairs = [
        (address.ip, port.port)
        for subset in found
        for address in subset.addresses + subset.notReadyAddresses
        for port in subset.ports
    ]
    assert len(pairs) == len(set(pairs))
