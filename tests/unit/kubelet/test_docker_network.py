"""What stands in the way of a pod range."""

from __future__ import annotations

import pytest

from kube.kubelet.docker_network import conflict, network_options

HEADER = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


def route(device: str, destination: str, mask: str, gateway: str = "00000000") -> str:
    return f"{device}\t{destination}\t{gateway}\t0001\t0\t0\t0\t{mask}\t0\t0\t0\n"


DEFAULT = route("eth0", "00000000", "00000000", "010200C0")  # by 192.0.2.1
LINK = route("eth0", "000200C0", "00FFFFFF")  # 192.0.2.0/24
VPN = route("tun0", "0000000A", "000000FF")  # 10.0.0.0/8
NEIGHBOUR = route("eth0", "0005F40A", "00FFFFFF", "020200C0")  # 10.244.5.0/24


@pytest.mark.parametrize(
    ("cidr", "routes", "resolver", "words"),
    [
        ("10.244.0.0/16", DEFAULT + LINK, "nameserver 192.0.2.53\n", ""),
        ("10.244.0.0/16", DEFAULT + VPN, "", ""),
        ("10.244.6.0/24", DEFAULT + NEIGHBOUR, "", ""),
        ("10.244.0.0/16", DEFAULT + NEIGHBOUR, "", "a route of this machine leads to 10.244.5.0/24 by eth0"),
        ("10.244.0.0/16", route("kube0", "0000F40A", "0000FFFF"), "", ""),
        ("192.0.2.0/24", LINK, "", "a route of this machine leads to 192.0.2.0/24 by eth0"),
        ("192.0.0.0/16", DEFAULT, "", "it covers this machine's gateway 192.0.2.1"),
        (
            "10.244.0.0/16",
            "",
            "# made by\nnameserver 10.244.0.10\n",
            "it covers this machine's name server 10.244.0.10",
        ),
        ("10.244.0.0/16", "", "nameserver fe80::1\nsearch local\nnameserver\n", ""),
    ],
    ids=[
        "free",
        "a wider route",
        "another node's range",
        "another node's range inside",
        "its own bridge",
        "the machine's own link",
        "the gateway",
        "the name server",
        "a name server of the other family",
    ],
)
def test_what_the_machine_has_inside_the_range(cidr: str, routes: str, resolver: str, words: str) -> None:
    assert conflict(cidr, HEADER + routes, resolver, "kube0") == words


def test_pods_may_talk_to_one_another_and_leave_the_machine() -> None:
    options = network_options("10.244.0.0/16", "kube0", 1400)["options"]
    assert options == {
        "com.docker.network.bridge.name": "kube0",
        "com.docker.network.bridge.enable_icc": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "true",
        "com.docker.network.driver.mtu": "1400",
    }
