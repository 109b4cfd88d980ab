"""Create a service: an address that follows the Ready pods, from the host and from inside pods."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network

import pytest

from deploy.cluster.example import ask
from tests.e2e.api import Api, Manifest, Refused, pod, service, web_controller
from tests.e2e.node import Node
from tests.e2e.traffic import Stream, backends, wait_backends
from tests.e2e.waiting import eventually

MakeWeb = Callable[..., Manifest]

ECHO = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 9))
print("bound", flush=True)
while True:
    data, client = server.recvfrom(2048)
    server.sendto(sys.argv[1].encode() + b" " + data, client)
"""
ASK = """
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(2)
client.connect((sys.argv[1], 9))
client.send(b"ping")
print(client.recv(2048).decode())
"""


def addresses(api: Api, name: str) -> tuple[set[str], set[str]]:
    """Ready and not-ready pods of a service's endpoints, by name."""
    subsets = (api.find("endpoints", name) or {}).get("subsets") or []
    ready = {each["targetRef"]["name"] for subset in subsets for each in subset.get("addresses", [])}
    waiting = {each["targetRef"]["name"] for subset in subsets for each in subset.get("notReadyAddresses", [])}
    return ready, waiting


def test_a_service_gets_an_address_of_the_range(api: Api, node: Node) -> None:
    made = api.create("services", service("web"))["spec"]
    assert ip_address(made["clusterIP"]) in ip_network(node.cluster.settings.service_range)
    assert made["type"] == "ClusterIP"
    assert made["ports"][0]["targetPort"] == 80


def test_an_address_that_is_asked_for_is_given_once(api: Api) -> None:
    assert api.create("services", service("one", clusterIP="10.97.200.1"))["spec"]["clusterIP"] == "10.97.200.1"
    with pytest.raises(Refused) as refused:
        api.create("services", service("two", clusterIP="10.97.200.1"))
    assert refused.value.code == 422
    assert "provided IP is already allocated" in refused.value.status["message"]
    api.delete("services", "one")
    assert api.create("services", service("two", clusterIP="10.97.200.1"))["spec"]["clusterIP"] == "10.97.200.1"


def test_endpoints_follow_the_ready_pods(api: Api, node: Node) -> None:
    api.create("services", service("web"))
    probe = {"exec": {"command": ["test", "!", "-e", "/tmp/sick"]}, "periodSeconds": 1, "failureThreshold": 1}
    manifest = web_controller("web", 3)
    manifest["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = probe
    api.create("replicationcontrollers", manifest)
    names = {each["metadata"]["name"] for each in api.wait_pods("app=web", 3)}
    eventually(lambda: addresses(api, "web") == (names, set()), "all three are in the endpoints")
    sick = min(names)
    node.execute(api.namespace, sick, "touch", "/tmp/sick")
    eventually(lambda: addresses(api, "web") == (names - {sick}, {sick}), "the sick one is among the not ready")
    node.execute(api.namespace, sick, "rm", "/tmp/sick")
    eventually(lambda: addresses(api, "web") == (names, set()), "it is back")
    api.scale("web", 1)
    (left,) = api.wait_pods("app=web", 1)
    eventually(lambda: addresses(api, "web") == ({left["metadata"]["name"]}, set()), "one is left")
    api.delete("services", "web")
    eventually(lambda: api.find("endpoints", "web") is None, "the endpoints go with the service")


def test_requests_from_the_host_go_round_robin(web: MakeWeb) -> None:
    address = web(3)["spec"]["clusterIP"]
    assert sorted(backends(address, 12).values()) == [4, 4, 4]


def test_requests_from_inside_a_pod_reach_it(api: Api, node: Node, web: MakeWeb) -> None:
    address = web(2)["spec"]["clusterIP"]
    names = api.names("app=web")
    api.run(pod("client"))
    answers = [node.execute(api.namespace, "client", "wget", "-qO-", f"http://{address}/").strip() for _ in range(4)]
    assert set(answers) == names


def test_a_backend_can_reach_its_own_service(api: Api, node: Node, web: MakeWeb) -> None:
    address = web(1)["spec"]["clusterIP"]
    (name,) = api.names("app=web")
    assert node.execute(api.namespace, name, "timeout", "5", "wget", "-qO-", f"http://{address}/").strip() == name


def test_a_service_without_backends_refuses_at_once(api: Api, node: Node, web: MakeWeb) -> None:
    address = web(1)["spec"]["clusterIP"]
    api.run(pod("client"))
    api.scale("web", 0)

    eventually(lambda: addresses(api, "web") == (set(), set()), "the endpoints are empty")
    eventually(lambda: _refused(address), "the host is refused at once")
    began = time.monotonic()
    client = node.container(api.namespace, "client")
    assert client.exec_run(["timeout", "10", "wget", "-qO-", f"http://{address}/"]).exit_code == 1
    assert time.monotonic() - began < 3
    api.scale("web", 1)
    eventually(lambda: ask(address), "it answers again")


def test_hand_made_endpoints_of_a_service_without_a_selector(api: Api) -> None:
    addresses = [{"ip": api.run(pod(name))["status"]["podIP"]} for name in ("one", "two")]
    made = api.create("services", service("web", selector=None))
    subsets = [{"addresses": addresses, "ports": [{"port": 80}]}]
    api.create("endpoints", {"kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "web"}, "subsets": subsets})
    wait_backends(made["spec"]["clusterIP"], {"one", "two"})


def test_no_request_fails_when_a_backend_is_deleted_and_few_when_one_is_killed(
    api: Api, node: Node, web: MakeWeb
) -> None:
    """The kernel knows that a backend goes when the proxy does, some 30 ms after the kubelet: one that is asked to stop
    has to answer so long (preStop); the turns of one that is killed are refused until then, and at once.
    """
    address = web(3, linger=1)["spec"]["clusterIP"]
    with Stream(address) as stream:
        stream.wait_more()
        api.delete("pods", min(api.names("app=web")))
        api.wait_pods("app=web", 3)
        stream.wait_more()
        assert not stream.failed
        victim = min(api.names("app=web"))
        node.container(api.namespace, victim).kill()
        stream.wait_more()
        api.wait_ready(victim)
        stream.wait_more()
        until_then = len(stream.failed)
        stream.wait_more(60)
    assert len(stream.failed) == until_then, stream.failed
    assert stream.slowest < 3


def test_session_affinity_keeps_a_client_at_one_backend(api: Api, web: MakeWeb) -> None:
    made = web(3)
    api.patch("services", "web", {"spec": {"sessionAffinity": "ClientIP"}})
    address = made["spec"]["clusterIP"]
    eventually(lambda: len(backends(address, 6)) == 1, "one backend answers all")
    assert len(backends(address, 12)) == 1
    api.patch("services", "web", {"spec": {"sessionAffinity": "None"}})
    eventually(lambda: len(backends(address, 6)) == 3, "all answer again")


def test_a_service_that_changes_its_port_answers_on_the_new_one_only(api: Api, web: MakeWeb) -> None:
    address = web(1)["spec"]["clusterIP"]
    api.patch("services", "web", {"spec": {"ports": [{"port": 8080, "targetPort": 80}]}})
    eventually(lambda: ask(address, 8080), "the new port answers")

    eventually(lambda: _refused(address), "the old port refuses")


def _refused(address: str, port: int = 80) -> bool:
    """Whether a connection is refused or reset at once."""
    began = time.monotonic()
    try:
        ask(address, port, timeout=2)
    except ConnectionError:
        return time.monotonic() - began < 1
    return False


def test_a_named_target_port_is_looked_up_in_each_pod(api: Api) -> None:
    for name, port in (("a", 8001), ("b", 8002)):
        ports = [{"name": "http", "containerPort": port}]
        server = {"name": "main", "image": "kube/web", "imagePullPolicy": "IfNotPresent", "args": ["web", str(port)]}
        api.run(pod(name, server | {"ports": ports}, labels={"app": "web"}))
    made = api.create("services", service("web", ports=[{"port": 80, "targetPort": "http"}]))
    wait_backends(made["spec"]["clusterIP"], {"a", "b"})


def test_udp_is_forwarded_and_answered(api: Api, node: Node) -> None:
    for name in ("a", "b"):
        api.run(pod(name, labels={"app": "echo"}))
    api.run(pod("client"))
    address = api.create("services", service("echo", 9, "UDP"))["spec"]["clusterIP"]
    with _echo(node, api.namespace, "a"), _echo(node, api.namespace, "b"):
        seen: set[str] = set()

        def both() -> bool:
            seen.add(_udp(address))
            return seen == {"a ping", "b ping"}

        eventually(both, "both backends answer the host")
        asked = node.start_in_network_of(api.namespace, "client", ASK, address)
        assert asked.communicate(timeout=10)[0].strip() in seen


def _udp(address: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect((address, 9))
        client.send(b"ping")
        return client.recv(2048).decode()


@contextmanager
def _echo(node: Node, namespace: str, name: str) -> Iterator[subprocess.Popen[str]]:
    with node.start_in_network_of(namespace, name, ECHO, name) as server:
        assert server.stdout
        assert server.stdout.readline() == "bound\n"
        try:
            yield server
        finally:
            server.kill()


def test_two_services_of_the_same_pods_do_not_mix(api: Api, web: MakeWeb) -> None:
    first = web(1)["spec"]["clusterIP"]
    second = api.create(
        "services", service("other", 81, selector={"app": "web"}, ports=[{"port": 81, "targetPort": 80}])
    )
    (name,) = api.names("app=web")
    eventually(lambda: ask(second["spec"]["clusterIP"], 81) == name, "the second answers")
    api.delete("services", "other")
    eventually(lambda: ask(first) == name, "the first goes on")
