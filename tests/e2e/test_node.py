"""The node registers itself, renews its lease, and says what it has."""

from __future__ import annotations

from tests.e2e.api import Api, condition
from tests.e2e.node import Node
from tests.e2e.waiting import eventually


def test_it_registers_with_capacity_and_addresses(api: Api, node: Node) -> None:
    found = api.get("nodes", node.name)
    assert condition(found, "Ready")["status"] == "True"
    assert int(found["status"]["capacity"]["cpu"]) >= 1
    assert found["status"]["capacity"]["memory"].endswith("Ki")
    assert int(found["status"]["allocatable"]["pods"]) > 0
    kinds = {each["type"] for each in found["status"]["addresses"]}
    assert kinds >= {"InternalIP", "Hostname"}
    info = found["status"]["nodeInfo"]
    assert info["containerRuntimeVersion"].startswith("docker://")
    assert info["kubeletVersion"]


def test_it_heartbeats(api: Api, node: Node) -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    first = api.send("GET", f"{leases}/{node.name}")["spec"]["renewTime"]

    def beaten() -> bool:
        return bool(api.send("GET", f"{leases}/{node.name}")["spec"]["renewTime"] > first)

    eventually(beaten, "the node's lease is renewed", 30)
