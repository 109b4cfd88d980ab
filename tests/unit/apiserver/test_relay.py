"""Requests passed on to pods, services and nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiohttp import web

from kube.api import errors
from kube.api.core import Endpoints, Node, Pod, Service
from kube.apiserver import relay
from kube.apiserver.relay import Name, endpoint_address, node_url, parse_name, pod_address

NAMES = {
    "a name": ("web", Name("http", "web", "")),
    "a name and a port": ("web:8080", Name("http", "web", "8080")),
    "a named port": ("web:http", Name("http", "web", "http")),
    "a scheme": ("https:web:443", Name("https", "web", "443")),
    "a scheme without a port": ("http:web:", Name("http", "web", "")),
}


@pytest.mark.parametrize(("text", "name"), NAMES.values(), ids=NAMES.keys())
def test_a_name_may_have_a_scheme_and_a_port(text: str, name: Name) -> None:
    assert parse_name(text) == name


@pytest.mark.parametrize("text", ["ftp:web:21", ":", "a:b:c:d", ""])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(errors.BadRequest):
        parse_name(text)


def pod(ip: str, **ports: int) -> Pod:
    listed = [{"name": name, "containerPort": port} for name, port in ports.items()]
    return Pod.parse({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "ports": listed}]},
                      "status": {"podIP": ip}})  # fmt: skip


def test_a_pod_is_reached_at_the_port_asked_for_or_its_first() -> None:
    assert pod_address(pod("10.0.0.1", http=8080, admin=9), "") == "10.0.0.1:8080"
    assert pod_address(pod("10.0.0.1", http=8080, admin=9), "admin") == "10.0.0.1:9"
    assert pod_address(pod("10.0.0.1"), "81") == "10.0.0.1:81"
    assert pod_address(pod("10.0.0.1"), "") == "10.0.0.1:80"
    with pytest.raises(errors.BadRequest, match="no port named"):
        pod_address(pod("10.0.0.1"), "admin")


@pytest.mark.parametrize("address", ["", "127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "224.0.0.1"])
def test_a_status_cannot_lead_to_this_machines_own_ports(address: str) -> None:
    with pytest.raises(errors.BadRequest, match="address not allowed"):
        pod_address(pod(address), "80")


@pytest.mark.parametrize(
    ("name", "url", "to_kubelet"),
    [
        pytest.param(Name("http", "n", ""), "https://192.0.2.7:10251", True, id="its kubelet"),
        pytest.param(Name("http", "n", "10251"), "https://192.0.2.7:10251", True, id="its kubelet, by the port"),
        pytest.param(Name("http", "n", "9100"), "http://192.0.2.7:9100", False, id="another port"),
        pytest.param(Name("https", "n", "9100"), "https://192.0.2.7:9100", False, id="another port, by TLS"),
    ],
)
def test_a_node_is_reached_at_the_port_asked_for_or_its_kubelets(name: Name, url: str, to_kubelet: bool) -> None:
    """Whoever listens at another port is not shown the certificate that is for kubelets."""
    assert node_url(node("192.0.2.7"), name) == (url, to_kubelet)


def test_only_the_kubelets_port_is_reached_on_this_machine_itself() -> None:
    assert node_url(node("127.0.0.1"), Name("http", "n", "")) == ("https://127.0.0.1:10251", True)
    for port in ("9100", "http"):
        with pytest.raises(errors.BadRequest, match="address not allowed"):
            node_url(node("127.0.0.1"), Name("http", "n", port))


def node(address: str) -> Node:
    addresses, endpoints = [{"type": "InternalIP", "address": address}], {"kubeletEndpoint": {"Port": 10251}}
    return Node.parse({"metadata": {"name": "n"}, "status": {"addresses": addresses, "daemonEndpoints": endpoints}})


def test_a_service_is_reached_at_a_ready_endpoint() -> None:
    service = Service.parse({"metadata": {"name": "s"}, "spec": {"ports": [
        {"name": "http", "port": 80}, {"name": "admin", "port": 81}]}})  # fmt: skip
    endpoints = Endpoints.parse({"metadata": {"name": "s"}, "subsets": [{
        "addresses": [{"ip": "10.0.0.1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}],
        "ports": [{"name": "http", "port": 8080}, {"name": "admin", "port": 8081}]}]})  # fmt: skip
    assert endpoint_address(service, endpoints, "80") == "10.0.0.1:8080"
    assert endpoint_address(service, endpoints, "admin") == "10.0.0.1:8081"
    with pytest.raises(errors.ServiceUnavailable, match='no service port 82 found for service "s"'):
        endpoint_address(service, endpoints, "82")
    with pytest.raises(errors.ServiceUnavailable, match='no endpoints available for service "s"'):
        endpoint_address(service, None, "")


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """A server on loopback that says what it was asked."""

    async def answer(request: web.Request) -> web.Response:
        said = f"{request.method} {request.path_qs} {await request.text()}"
        return web.Response(text=said, status=203, headers={"x-said": "yes"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_a_request_is_passed_on_as_it_is(
    http: httpx.AsyncClient, echo: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "proxyable", lambda address: True)  # the server of the test is on loopback
    path = "/api/v1/namespaces/default/pods"
    body: dict[str, Any] = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await http.post(path, json=body)
    status = {"status": {"podIP": "127.0.0.1"}}
    await http.patch(f"{path}/p/status", json=status, headers={"content-type": "application/merge-patch+json"})
    answer = await http.get(f"{path}/p:{echo}/proxy/a/b", params={"q": "1"})
    assert (answer.status_code, answer.text) == (203, "GET /a/b?q=1 ")
    assert answer.headers["x-said"] == "yes"
    answer = await http.post(f"{path}/p:{echo}/proxy/", content=b"hello")
    assert answer.text == "POST / hello"
    answer = await http.get(f"{path}/p:1/proxy/")
    assert answer.status_code == 503
    why = "dial tcp 127.0.0.1:1: connect: connection refused"
    assert answer.json()["message"] == f"error trying to reach service: {why}"
