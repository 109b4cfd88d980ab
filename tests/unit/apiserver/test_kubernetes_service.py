"""The service `kubernetes`: what the apiservers make of it, one or several."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from kube.apiserver.kubernetes_service import INTERVAL, LEASE_SECONDS, Address, KubernetesService
from kube.apiserver.options import from_args, parser
from kube.apiserver.server import kubernetes_service
from tests.unit.apiserver.conftest import Server

CORE, SLICES = "/api/v1/namespaces/default", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


def of(server: Server, ip: str) -> KubernetesService:
    return KubernetesService(server.verbs, Address(ip, 6443, "10.96.0.1"))


async def addresses(http: httpx.AsyncClient) -> list[str]:
    """What the Endpoints say, and the slice with them."""
    endpoints = (await http.get(f"{CORE}/endpoints/kubernetes")).json()
    listed = [each["ip"] for subset in endpoints.get("subsets", []) for each in subset["addresses"]]
    slice_ = (await http.get(f"{SLICES}/kubernetes")).json()
    assert [ip for each in slice_["endpoints"] for ip in each["addresses"]] == listed
    return listed


async def test_the_service_has_the_first_address_and_the_apiservers_port(
    server: Server, http: httpx.AsyncClient
) -> None:
    await of(server, "192.168.1.1").reconcile()
    service = (await http.get(f"{CORE}/services/kubernetes")).json()
    assert service["metadata"]["labels"] == {"component": "apiserver", "provider": "kubernetes"}
    assert service["spec"]["clusterIP"] == "10.96.0.1"
    assert service["spec"]["ports"] == [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}]
    endpoints = (await http.get(f"{CORE}/endpoints/kubernetes")).json()
    assert endpoints["subsets"] == [
        {"addresses": [{"ip": "192.168.1.1"}], "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}]}
    ]
    slice_ = (await http.get(f"{SLICES}/kubernetes")).json()
    assert slice_["metadata"]["labels"]["kubernetes.io/service-name"] == "kubernetes"


async def test_apiservers_come_and_go(server: Server, http: httpx.AsyncClient) -> None:
    one, two = of(server, "192.168.1.10"), of(server, "192.168.1.9")
    await one.reconcile()
    await two.reconcile()
    assert await addresses(http) == ["192.168.1.9", "192.168.1.10"]
    await one.leave()
    assert await addresses(http) == ["192.168.1.9"]
    await two.reconcile()
    assert await addresses(http) == ["192.168.1.9"]


@pytest.mark.looptime
async def test_an_apiserver_that_dies_is_out_when_its_lease_has_run_out(
    server: Server, http: httpx.AsyncClient
) -> None:
    one, dead = of(server, "192.168.1.1"), of(server, "192.168.1.2")
    await dead.reconcile()
    await one.reconcile()
    assert await addresses(http) == ["192.168.1.1", "192.168.1.2"]
    running = asyncio.create_task(one.run())
    await asyncio.sleep(INTERVAL + LEASE_SECONDS)
    assert await addresses(http) == ["192.168.1.1"]
    running.cancel()


async def test_when_all_is_well_nothing_is_written(server: Server, http: httpx.AsyncClient) -> None:
    one = of(server, "192.168.1.1")
    await one.reconcile()

    async def versions() -> list[Any]:
        paths = (f"{CORE}/services/kubernetes", f"{CORE}/endpoints/kubernetes", f"{SLICES}/kubernetes")
        return [(await http.get(path)).json()["metadata"]["resourceVersion"] for path in paths]

    before = await versions()
    await one.reconcile()
    assert await versions() == before


async def test_what_somebody_removed_or_changed_is_put_back(server: Server, http: httpx.AsyncClient) -> None:
    one = of(server, "192.168.1.1")
    await one.reconcile()
    await http.delete(f"{CORE}/services/kubernetes")
    await http.patch(
        f"{CORE}/endpoints/kubernetes", json={"subsets": None}, headers={"content-type": "application/merge-patch+json"}
    )
    await server.cache.fresh()
    await one.reconcile()
    assert (await http.get(f"{CORE}/services/kubernetes")).json()["spec"]["clusterIP"] == "10.96.0.1"
    assert await addresses(http) == ["192.168.1.1"]


async def test_an_address_that_is_taken_is_told_and_breaks_nothing(
    server: Server, http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    taker = {"metadata": {"name": "taker"}, "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 1}]}}
    assert (await http.post(f"{CORE}/services", json=taker)).status_code == 201
    await of(server, "192.168.1.1").try_reconcile()
    assert "cannot keep the service default/kubernetes" in caplog.text


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        pytest.param(["--advertise-address=192.168.1.1"], True, id="an address"),
        pytest.param(["--advertise-address=127.0.0.1"], False, id="loopback is no address for pods"),
        pytest.param(["--advertise-address=192.168.1.1", "--secure-port=0"], False, id="no port"),
        pytest.param(["--advertise-address=192.168.1.1", "--endpoint-reconciler-type=none"], False, id="not wanted"),
    ],
)
async def test_who_takes_part(server: Server, flags: list[str], kept: bool) -> None:
    options = from_args(parser().parse_args(flags))
    assert (kubernetes_service(options, server.verbs) is not None) is kept
