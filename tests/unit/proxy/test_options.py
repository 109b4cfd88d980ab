"""The command line."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from kube.proxy.options import Options, from_args, parser


def options(*flags: str) -> Options:
    return from_args(parser().parse_args(flags))


def test_the_defaults_of_the_flags_are_those_of_the_options() -> None:
    assert options() == Options()


def test_flags_are_read() -> None:
    given = options(
        "--proxy-mode=userspace",
        "--bind-address=192.0.2.1",
        "--service-cluster-ip-range=10.97.0.0/16",
        "--iptables-sync-period=1m",
        "--iptables-min-sync-period=0",
        "--udp-timeout=2s",
        "--healthz-port=0",
        "--cleanup",
    )
    assert given.bind_address == IPv4Address("192.0.2.1")
    assert given.service_cluster_ip_range == IPv4Network("10.97.0.0/16")
    assert (given.iptables_sync_period, given.iptables_min_sync_period, given.udp_timeout) == (60, 0, 2)
    assert given.cleanup
    assert not given.render


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        pytest.param("40000-40009", range(40000, 40010), id="first and last"),
        pytest.param("40000+10", range(40000, 40011), id="first and how many more"),
        pytest.param("40000", range(40000, 40001), id="one"),
        pytest.param("0-0", None, id="any"),
        pytest.param("", None, id="not said"),
    ],
)
def test_a_port_range_is_written_as_kubernetes_writes_it(text: str, ports: range | None) -> None:
    assert options(f"--proxy-port-range={text}").proxy_port_range == ports


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        pytest.param("198.51.100.0/24,127.0.0.0/8", ("198.51.100.0/24", "127.0.0.0/8"), id="some"),
        pytest.param("0.0.0.0/0", (), id="all, which is no condition: iptables would not print it"),
        pytest.param("127.0.0.0/8,0.0.0.0/0", (), id="all, and some of them again"),
        pytest.param("", (), id="not said"),
    ],
)
def test_node_ports_are_served_in_these_networks(text: str, networks: tuple[str, ...]) -> None:
    assert options(f"--nodeport-addresses={text}").nodeport_addresses == networks


@pytest.mark.parametrize(
    ("flag", "complaint"),
    [
        ("--proxy-mode=ipvs", "invalid choice: 'ipvs'"),
        ("--bind-address=everywhere", "invalid IPv4Address value: 'everywhere'"),
        ("--service-cluster-ip-range=10.96.0.9/16", "10.96.0.9/16 has host bits set: give it as 10.96.0.0/16"),
        ("--proxy-port-range=9-1", "'9-1' is not a range between 1 and 65535"),
        ("--proxy-port-range=some", "'some' is not a range such as 40000-40999"),
        ("--iptables-sync-period=0", "'0' is not more than 0"),
    ],
)
def test_a_flag_that_is_wrong_is_named(flag: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        options(flag)
    assert exit.value.code == 2
    said = capsys.readouterr().err
    assert flag.partition("=")[0] in said
    assert complaint in said
