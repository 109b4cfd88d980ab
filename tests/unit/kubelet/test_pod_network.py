"""The routes to the other nodes' pods: which there ought to be, and what has to change for it."""

from __future__ import annotations

import pytest

from kube.api.core import Node, NodeAddress
from kube.kubelet.pod_network import plan_routes, rules
from tests.objects import node


def at(name: str, cidr: str, address: str = "") -> Node:
    made = node(name)
    made.spec.podCIDR = cidr
    made.status.addresses = [NodeAddress(type="Hostname", address=name)]
    if address:
        made.status.addresses.append(NodeAddress(type="InternalIP", address=address))
    return made


ME = at("me", "10.244.0.0/24", "172.20.0.1")
A = at("a", "10.244.1.0/24", "172.20.0.2")
B = at("b", "10.244.2.0/24", "172.20.0.3")


@pytest.mark.parametrize(
    ("nodes", "present", "changes"),
    [
        pytest.param([ME], {}, [], id="alone, there is nowhere to go"),
        pytest.param(
            [ME, B, A],
            {},
            [("replace", "10.244.1.0/24", "via", "172.20.0.2"), ("replace", "10.244.2.0/24", "via", "172.20.0.3")],
            id="a route to each of the others",
        ),
        pytest.param([ME, A], {"10.244.1.0/24": "172.20.0.2"}, [], id="what is right stays"),
        pytest.param(
            [ME, A],
            {"10.244.1.0/24": "172.20.0.9"},
            [("replace", "10.244.1.0/24", "via", "172.20.0.2")],
            id="a node that has moved",
        ),
        pytest.param([ME], {"10.244.1.0/24": "172.20.0.2"}, [("del", "10.244.1.0/24")], id="a node that has left"),
        pytest.param([ME, at("new", "", "172.20.0.4")], {}, [], id="a node without a range"),
        pytest.param([ME, at("new", "10.244.3.0/24")], {}, [], id="a node without an address"),
        pytest.param([ME, at("new", "10.244.3.0/24", "fd00::1")], {}, [], id="an address of the other family"),
        pytest.param([ME, at("new", "; reboot", "172.20.0.4")], {}, [], id="what is no range"),
        pytest.param([ME, at("thief", "10.244.0.0/24", "172.20.0.4")], {}, [], id="our own range is never routed away"),
        pytest.param(
            [ME, at("z", "10.244.1.0/24", "172.20.0.4"), A],
            {},
            [("replace", "10.244.1.0/24", "via", "172.20.0.2")],
            id="two claim one range: the first by name has it",
        ),
    ],
)
def test_the_routes_that_change(nodes: list[Node], present: dict[str, str], changes: list[tuple[str, ...]]) -> None:
    assert plan_routes("me", nodes, present) == changes


def test_what_stays_in_the_cluster_keeps_its_address_and_what_comes_from_it_is_let_in() -> None:
    (outward, inward) = rules("10.244.1.0/24", "10.244.0.0/16")
    assert outward[:2] == ("nat", "POSTROUTING")
    assert " ".join(outward[2]) == (
        "-s 10.244.1.0/24 ! -d 10.244.0.0/16 -m addrtype ! --dst-type LOCAL -m comment --comment kubelet: pods "
        "-j MASQUERADE"
    )
    assert inward[:2] == ("filter", "FORWARD")
    assert " ".join(inward[2]).startswith("-s 10.244.0.0/16 -d 10.244.1.0/24")
