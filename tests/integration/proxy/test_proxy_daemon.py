"""The proxy as a process beside others: killed, restarted, robbed of its rules and of etcd, cleaned up."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.integration.proxy.network import Network, wait_for
from tests.integration.proxy.test_service_traffic import (
    HTTP,
    TARGET,
    Connection,
    ask,
    ask_udp,
    assert_refused,
    requests,
)

DNS = {"name": "dns", "protocol": "UDP", "port": 53}
DNS_TARGET = {"name": "dns", "protocol": "UDP", "port": 80}
WEB = "10.96.0.9"

pytestmark = pytest.mark.usefixtures("backends")


@pytest.fixture(autouse=True)
def web(network: Network) -> Iterator[None]:
    network.service("web", WEB, [HTTP, DNS])
    network.endpoints("web", "abc", [TARGET, DNS_TARGET])
    network.wait_for_service("web", 2)
    yield
    network.remove("web")
    network.wait_for_rule("default/web", gone=True)


async def test_a_killed_proxy_leaves_its_rules_and_takes_up_its_ports_again(network: Network) -> None:
    before = network.rules()
    network.stop(network.proxy, signal.SIGKILL)
    if network.mode == "userspace":
        await assert_refused(ask(network.client, WEB))
    else:
        assert await ask(network.client, WEB) in "abc"
    assert network.rules() == before
    network.start_proxy()
    assert network.rules() == before, "and the same local ports"
    assert await ask(network.client, WEB) in "abc"
    assert await ask(network.node, WEB) in "abc"
    assert await ask_udp(network.client, WEB) in "abc"


@pytest.mark.modes("iptables")
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_a_restart_interrupts_no_traffic(network: Network, by: signal.Signals) -> None:
    with await Connection.open(network.client, WEB) as connection:
        async with requests((network.client, WEB, 80)) as load:
            await load.answered()
            await asyncio.to_thread(network.stop, network.proxy, by)
            await load.answered()
            await asyncio.to_thread(network.start_proxy)
            await load.answered()
        assert (await connection.ask("still")).endswith(" still")
    assert not load.failed, f"{len(load.failed)} of {load.count}: {load.failed[:3]}"


CHAINS_OF = {
    "iptables": ("KUBE-SVC-", "KUBE-IP-", "KUBE-MARK-MASQ", "KUBE-POSTROUTING", "KUBE-HAIRPIN", "KUBE-FORWARD"),
    "userspace": ("KUBE-PORTALS-", "KUBE-NODEPORT-"),
}


async def test_the_mode_is_changed_by_a_restart_and_nothing_of_the_other_is_left(network: Network) -> None:
    loop, first = asyncio.get_running_loop(), network.mode
    other = "userspace" if first == "iptables" else "iptables"
    before = network.rules()
    with network.client.socket(socket.SOCK_DGRAM) as udp:
        udp.connect((WEB, 53))

        async def datagram() -> str:
            udp.send(b"?")
            return (await asyncio.wait_for(loop.sock_recv(udp, 65535), 10)).decode().split(" ")[0]

        for last, mode in ((first, other), (other, first)):
            assert await datagram() in "abc"
            with await Connection.open(network.client, WEB) as connection:
                async with requests((network.client, WEB, 80)) as load:
                    await load.answered()
                    await asyncio.to_thread(network.stop, network.proxy, signal.SIGTERM)
                    network.mode = mode
                    await asyncio.to_thread(network.start_proxy)
                    await load.answered()
                if last == "iptables":
                    # Its rules serve until those of the other take their place. (Userspace takes its listeners along.)
                    assert not load.failed, f"{len(load.failed)} of {load.count}: {load.failed[:3]}"
                    assert (await connection.ask("still")).endswith(" still")
            assert not [chain for chain in CHAINS_OF[last] if chain in network.rules()]
            assert await datagram() in "abc", "a flow from before finds its new way"
            assert await ask(network.node, WEB) in "abc"
            await assert_refused(ask(network.client, "10.96.77.77"))
    if first == "iptables":
        assert network.rules() == before


async def test_a_stopped_proxy_ends_well_and_leaves_its_rules(network: Network) -> None:
    before = network.rules()
    network.stop(network.proxy, signal.SIGTERM)
    assert network.proxy is not None
    assert network.proxy.returncode == 0
    assert network.rules() == before
    network.start_proxy()
    assert await ask(network.client, WEB) in "abc"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param([("-t", "nat", "-F")], id="table nat flushed"),
        pytest.param([("-F",)], id="table filter flushed"),
        pytest.param([("-t", "nat", "-F"), ("-t", "nat", "-X")], id="chains of nat deleted"),
        pytest.param([("-F",), ("-X",)], id="chains of filter deleted"),
        pytest.param([("-t", "nat", "-F", "FIRST")], id="one chain flushed"),
        pytest.param([("-A", "KUBE-SERVICES", "-j", "ACCEPT")], id="a rule added to a chain of ours"),
        pytest.param([("-D", "OUTPUT", "1")], id="a jump deleted"),
        pytest.param([("-I", "FORWARD", "-d", "10.96.0.0/16", "-j", "ACCEPT")], id="a rule put before ours"),
    ],
)
async def test_what_others_do_to_our_rules_is_put_right(network: Network, damage: list[tuple[str, ...]]) -> None:
    def ours() -> list[str]:
        """Our rules, and for built-in chains where our jumps are."""
        found, places = [], dict.fromkeys(("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"), 0)
        for line in network.rules().splitlines():
            words = line.split()
            if line.startswith("*"):
                places = dict.fromkeys(places, 0)
            elif line.startswith("-A ") and words[1] in places:
                places[words[1]] += 1
                found += [f"{places[words[1]]} {line}"] if "KUBE-" in line else []
            elif line.startswith("-A KUBE-"):
                found.append(line)
        return found

    before, everything = ours(), network.rules()
    for command in damage:
        network.iptables(*(network.first_chains[0] if word == "FIRST" else word for word in command))
    assert ours() != before
    wait_for(lambda: ours() == before, "the rules are as they were")
    assert await ask(network.client, WEB) in "abc"
    await assert_refused(ask(network.client, "10.96.77.77"))
    # What the damage did to the rules of others is not the proxy's to repair: do it for the tests that follow.
    network.restore(everything)


async def test_service_traffic_goes_on_while_etcd_is_dead(network: Network) -> None:
    with await Connection.open(network.client, WEB) as connection:
        assert (await connection.ask("1")).endswith(" 1")
        network.stop(network.etcd)
        assert sorted([await ask(network.client, WEB) for _ in range(3)]) == ["a", "b", "c"]
        assert (await connection.ask("2")).endswith(" 2")
        network.iptables("-t", "nat", "-F", network.first_chains[0])
        network.wait_for_service("web", 2)
        assert network.healthz() == "ok"
        network.start_etcd()
        network.endpoints("web", "b", [TARGET, DNS_TARGET])
        network.service("later", "10.96.0.11", [HTTP])
        network.wait_for_rule("default/later:http has no endpoints")
        assert [await ask(network.client, WEB) for _ in range(3)] == ["b"] * 3
        assert (await connection.ask("3")).endswith(" 3")
    network.remove("later")
    network.wait_for_rule("default/later", gone=True)


async def test_cleanup_removes_every_trace_and_nothing_else(network: Network) -> None:
    network.stop(network.proxy, signal.SIGTERM)
    assert "KUBE-" in network.rules()
    done = network.proxy_command("--cleanup")
    assert done.returncode == 0, done.stderr
    theirs = [line for line in network.rules().splitlines() if line.startswith("-A")]
    assert theirs == network.foreign_rules
    assert "KUBE-" not in network.rules()
    assert network.proxy_command("--cleanup").returncode == 0, "and again, when there is nothing"
    network.start_proxy()
    assert await ask(network.client, WEB) in "abc"


async def test_render_prints_the_rules_and_changes_nothing(network: Network) -> None:
    before = network.rules()
    done = network.proxy_command("--render")
    assert done.returncode == 0, done.stderr
    assert f"-A {network.first_chains[0]} -d {WEB}/32 -p tcp" in done.stdout
    assert network.rules() == before


@pytest.mark.modes("iptables")
async def test_explain_says_where_a_packet_goes(network: Network) -> None:
    done = network.proxy_command(f"--explain={WEB}:80")
    assert done.returncode == 0, done.stderr
    assert "from a pod (10.244.0.0/16)\n  default/web:http cluster IP: KUBE-SERVICES > KUBE-SVC-" in done.stdout
    assert "1 in 3   10.244.0.12:80        sees the client's own address" in done.stdout
    assert "refused" in network.proxy_command("--explain=10.96.77.77:53/udp").stdout


async def test_its_metrics_have_upstreams_names(network: Network) -> None:
    metrics = network.healthz("/metrics")
    for name in (
        "kubeproxy_sync_proxy_rules_duration_seconds_count",
        "kubeproxy_sync_full_proxy_rules_duration_seconds_count",
        "kubeproxy_sync_partial_proxy_rules_duration_seconds_count",
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
        "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
        "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
        'kubeproxy_sync_proxy_rules_iptables_total{table="nat"}',
        'kubeproxy_sync_proxy_rules_iptables_last{table="nat"}',
        "kubeproxy_sync_proxy_rules_service_changes_pending",
        "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
        "kubeproxy_sync_proxy_rules_service_changes_total",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total",
        "kubeproxy_network_programming_duration_seconds_count",
    ):
        assert f"\n{name} " in metrics
    assert network.healthz("/proxyMode") == network.mode
