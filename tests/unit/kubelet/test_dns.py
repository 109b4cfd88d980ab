"""What is in a pod's resolv.conf."""

from __future__ import annotations

from typing import Any

import pytest

from kube.kubelet.dns import MAX_SEARCH_LENGTH, Dns, ResolvConf, parse, resolver
from tests.kubelet_node import make_pod

NODE = ResolvConf(["192.168.0.53"], ["corp.example"], ["timeout:1"])
CLUSTER = Dns(("10.96.0.10",), "cluster.local", NODE)
SEARCHES = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"]
OF_NODE = (["192.168.0.53"], ["corp.example"], ["timeout:1"])
OWN = {"nameservers": ["1.1.1.1"], "searches": ["x"]}


@pytest.mark.parametrize(
    ("spec", "dns", "expected"),
    [
        pytest.param({}, CLUSTER, (["10.96.0.10"], SEARCHES, ["ndots:5"]), id="ClusterFirst is the default"),
        pytest.param({}, Dns((), "cluster.local", NODE), OF_NODE, id="without a cluster DNS: the node's"),
        pytest.param({"dnsPolicy": "Default"}, CLUSTER, OF_NODE, id="Default: the node's"),
        pytest.param({"hostNetwork": True}, CLUSTER, OF_NODE, id="ClusterFirst on the host network: the node's"),
        pytest.param(
            {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, CLUSTER,
            (["10.96.0.10"], SEARCHES, ["ndots:5"]), id="ClusterFirstWithHostNet",
        ),
        pytest.param({"dnsPolicy": "None", "dnsConfig": OWN}, CLUSTER, (["1.1.1.1"], ["x"], []), id="None: its own"),
        pytest.param(
            {"dnsConfig": {"nameservers": ["1.1.1.1", "10.96.0.10"],
                           "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}},
            CLUSTER, (["10.96.0.10", "1.1.1.1"], SEARCHES, ["ndots:2", "edns0"]), id="added to the cluster's",
        ),
    ],
)  # fmt: skip
def test_where_names_are_found(spec: dict[str, Any], dns: Dns, expected: tuple[list[str], ...]) -> None:
    found, told = resolver(make_pod(**spec), dns)
    assert (found.servers, found.searches, found.options) == expected
    assert told == []


def test_what_a_resolver_does_not_take_is_left_out_and_told() -> None:
    own = {"nameservers": [f"1.1.1.{n}" for n in range(4)], "searches": [f"{n:0>63}.example" for n in range(40)]}
    found, told = resolver(make_pod(dnsPolicy="None", dnsConfig=own), CLUSTER)
    assert list(found.servers) == ["1.1.1.0", "1.1.1.1", "1.1.1.2"]
    assert len(" ".join(found.searches)) <= MAX_SEARCH_LENGTH
    assert len(found.searches) == 28
    assert told[0] == (
        "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
        "1.1.1.0 1.1.1.1 1.1.1.2"
    )
    assert told[1].startswith("Search Line limits were exceeded, some search paths have been omitted, the applied")


def test_a_file_is_read_as_a_resolver_reads_it_and_written_again() -> None:
    lines = [
        "# x",
        "nameserver 1.1.1.1",
        "domain a.b.",
        "search c d.",
        "options ndots:1",
        "options edns0 rotate",
        "; x",
    ]
    found = parse(lines)
    assert (found.servers, found.searches, found.options) == (["1.1.1.1"], ["c", "d"], ["edns0", "rotate"])
    assert found.render() == "nameserver 1.1.1.1\nsearch c d\noptions edns0 rotate\n"
    assert ResolvConf().render() == ""
