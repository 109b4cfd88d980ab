"""Which bridges have to send a pod's packet back to it."""

from __future__ import annotations

from kube.proxy.node import bridges

ROUTES = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010012AC	0003	0	0	0	00000000	0	0	0
kube0	0000F40A	00000000	0001	0	0	0	00FFFFFF	0	0	0
docker0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
eth0	0001F40A	0B0012AC	0003	0	0	0	00FFFFFF	0	0	0
eth0	000012AC	00000000	0001	0	0	0	0000FFFF	0	0	0
"""


def found(*near: str) -> set[str]:
    return bridges(ROUTES, near, lambda device: device != "eth0")


def test_a_bridge_is_found_by_the_pods_that_are_on_it() -> None:
    assert found("10.244.0.7") == {"kube0"}
    assert found("10.244.0.7", "172.17.0.2", "10.244.1.3") == {"kube0", "docker0"}


def test_pods_of_other_nodes_and_of_the_nodes_own_network_are_on_no_bridge() -> None:
    assert found("10.244.1.3") == set(), "behind a gateway"
    assert found("172.18.0.4") == set(), "no bridge"
    assert found() == set()
