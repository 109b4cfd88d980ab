"""The ways to the other nodes' pods, in the kernel: three nodes, each a network namespace, on one bridge."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from kube.api.core import Node, NodeAddress
from kube.kubelet.pod_network import PodNetwork
from tests.conftest import unavailable
from tests.objects import node

CLUSTER = "10.244.0.0/16"


class Runtime:
    """Makes the pods' network as an engine does: an interface with the range's first address, and a pod's address."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._cidr = machine, ""

    def set_pod_cidr(self, cidr: str) -> None:
        self._cidr = cidr

    async def ensure_network(self) -> None:
        self._make()

    def _make(self) -> None:
        base = self._cidr.rpartition(".")[0]
        self._machine.run("ip", "link", "add", "cbr0", "type", "bridge")
        self._machine.run("ip", "address", "add", f"{base}.1/24", "dev", "cbr0")
        self._machine.run("ip", "link", "set", "cbr0", "up")
        # The pod: a namespace of its own behind the bridge.
        pod = self._machine.pod
        subprocess.run(["ip", "netns", "add", pod], check=True)
        self._machine.run("ip", "link", "add", "veth", "type", "veth", "peer", "name", "eth0", "netns", pod)
        self._machine.run("ip", "link", "set", "veth", "master", "cbr0", "up")
        inside = ("link set lo up", f"address add {base}.2/24 dev eth0", "link set eth0 up")
        for words in (*inside, f"route add default via {base}.1"):
            subprocess.run(["ip", "-n", pod, *words.split()], check=True)


class Nodes:
    """An informer's cache."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    def on_change(self, handler: Any) -> None:
        return

    def get(self, name: str) -> Node | None:
        return self.nodes.get(name)

    def list(self) -> list[Node]:
        return list(self.nodes.values())


class Machine:
    """A node: a network namespace with an address on the bridge between them, and a kubelet's pod network."""

    def __init__(self, prefix: str, number: int, nodes: Nodes) -> None:
        self.name, self.pod = f"{prefix}{number}", f"{prefix}{number}p"
        self.address, self.pod_address = f"172.20.0.{number}", f"10.244.{number}.2"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        here = node(self.name)
        here.spec.podCIDR = f"10.244.{number}.0/24"
        here.status.addresses = [NodeAddress(type="InternalIP", address=self.address)]
        nodes.nodes[self.name] = here
        self.network = PodNetwork(
            self.name,
            nodes,  # type: ignore[arg-type]
            Runtime(self),
            non_masquerade_cidr=CLUSTER,
            command=("ip", "netns", "exec", self.name),
        )

    def join(self, switch: str) -> None:
        """Be connected to the bridge in the namespace `switch`."""
        subprocess.run(
            ["ip", "-n", self.name, *f"link add eth0 type veth peer name {self.name} netns {switch}".split()],
            check=True,
        )
        subprocess.run(["ip", "-n", switch, *f"link set {self.name} master bridge up".split()], check=True)
        for words in ("link set lo up", f"address add {self.address}/24 dev eth0", "link set eth0 up"):
            self.run("ip", *words.split())
        self.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.run("iptables", "-P", "FORWARD", "DROP")  # as Docker does
        self.run("iptables", "-A", "FORWARD", "-i", "cbr0", "-j", "ACCEPT")
        self.run("iptables", "-A", "FORWARD", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT")

    def run(self, *command: str) -> str:
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *command], check=True, capture_output=True, text=True
        ).stdout


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    if os.geteuid():
        unavailable("root")
    if missing := next((command for command in ("ip", "iptables", "sysctl") if not shutil.which(command)), ""):
        unavailable(f"the command {missing}")
    prefix, switch = f"pn{os.getpid()}x", f"pn{os.getpid()}s"
    nodes = Nodes()
    try:
        subprocess.run(["ip", "netns", "add", switch], check=True)
        for words in ("link add bridge type bridge", "link set bridge up"):
            subprocess.run(["ip", "-n", switch, *words.split()], check=True)
        made = [Machine(prefix, number, nodes) for number in (1, 2, 3)]
        for machine in made:
            machine.join(switch)
        yield made
    finally:
        names = [switch, *(f"{prefix}{number}{pod}" for number in (1, 2, 3) for pod in ("", "p"))]
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


async def test_pods_of_all_nodes_reach_each_other_under_their_own_addresses(machines: list[Machine]) -> None:
    for machine in machines:
        await machine.network.ensure()
    for one in machines:
        for other in machines:
            assert hears_from(one, other) == one.pod_address


async def test_what_leaves_the_cluster_bears_the_nodes_address(machines: list[Machine]) -> None:
    one, other, _ = machines
    await one.network.ensure()
    # A listener on the other node itself, which is no pod's address.
    assert hears_from(one, other, at_node=True) == one.address


async def test_what_a_third_party_removes_comes_back_and_what_is_not_ours_stays(machines: list[Machine]) -> None:
    one, other, third = machines
    for machine in machines:
        await machine.network.ensure()
    one.run("ip", "route", "add", "198.51.100.0/24", "via", other.address)
    one.run("ip", "route", "delete", "10.244.2.0/24")
    one.run("iptables", "-t", "nat", "-F", "POSTROUTING")
    await one.network.ensure()
    assert hears_from(one, other) == one.pod_address
    rules = one.run("iptables-save")
    assert rules.count("kubelet: pods") == 2, "each rule is there once"
    assert "198.51.100.0/24" in one.run("ip", "route")
    del one.network._nodes.nodes[third.name]  # type: ignore[attr-defined]
    await one.network.ensure()
    routes = one.run("ip", "route")
    assert "10.244.3.0/24" not in routes
    assert "198.51.100.0/24" in routes


async def test_before_the_node_has_a_range_there_is_no_network_and_it_says_why(machines: list[Machine]) -> None:
    one = machines[0]
    one.network._nodes.nodes[one.name].spec.podCIDR = ""  # type: ignore[attr-defined]
    await one.network.ensure()
    assert "no podCIDR" in one.network.problem
    one.network._nodes.nodes[one.name].spec.podCIDR = "10.244.1.0/24"  # type: ignore[attr-defined]
    await one.network.ensure()
    assert one.network.problem == ""


LISTEN = """
import socket
with socket.create_server(("", 8080)) as server:
    print("listening", flush=True)
    server.settimeout(10)
    print(server.accept()[1][0], flush=True)
"""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 8080), 5).close()"


def hears_from(one: Machine, other: Machine, *, at_node: bool = False) -> str:
    """The address by which the pod of one node is known where it connects to: the other's pod, or the other node."""
    where, address = (other.name, other.address) if at_node else (other.pod, other.pod_address)
    listener = subprocess.Popen(
        ["ip", "netns", "exec", where, "python3", "-c", LISTEN], stdout=subprocess.PIPE, text=True
    )
    with listener:
        assert listener.stdout
        assert listener.stdout.readline() == "listening\n"
        subprocess.run(["ip", "netns", "exec", one.pod, "python3", "-c", CONNECT, address], check=True)
        return listener.stdout.readline().strip()
