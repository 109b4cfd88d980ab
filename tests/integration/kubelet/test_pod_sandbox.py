"""A pod's sandbox on a real Docker engine: its names, its resolver, and the namespaces that it shares."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kube.kubelet.dns import Dns, ResolvConf
from kube.kubelet.docker import DockerRuntime
from tests.integration.kubelet.test_pods import FOREVER, Node, run, sh
from tests.kubelet_node import TestNode, is_ready
from tests.own_node import OwnNode

CLUSTER = Dns(["10.96.0.10"], "cluster.local", ResolvConf(["192.168.0.53"], ["corp.example"]))


@pytest.fixture
async def kubelet(runtime: DockerRuntime, node: OwnNode, tmp_path: Path) -> AsyncIterator[Node]:
    test_node = TestNode(tmp_path, runtime, name=node.name, ip="127.0.0.1", dns=CLUSTER)
    async with test_node.running():
        yield test_node


async def test_the_names_that_a_pod_has_and_finds(kubelet: Node) -> None:
    pod = await kubelet.create(
        "web", sh(FOREVER), sh(FOREVER, "other", securityContext={"runAsUser": 1000}),
        hostname="one", subdomain="shop", setHostnameAsFQDN=True,
        hostAliases=[{"ip": "1.2.3.4", "hostnames": ["db.example", "db"]}],
    )  # fmt: skip
    ready = await kubelet.until(is_ready)
    full = "one.shop.default.svc.cluster.local"
    for name in ("main", "other"):
        assert await run(kubelet, pod, name, "hostname") == full
        hosts = (await run(kubelet, pod, name, "cat /etc/hosts")).splitlines()
        assert hosts[0] == "# Kubernetes-managed hosts file."
        assert f"{ready.status.podIP}\t{full}\tone" in hosts
        assert hosts[-1] == "1.2.3.4\tdb.example\tdb"
        # Docker's own resolver is not among them.
        assert (await run(kubelet, pod, name, "cat /etc/resolv.conf")).splitlines() == [
            "nameserver 10.96.0.10",
            "search default.svc.cluster.local svc.cluster.local cluster.local corp.example",
            "options ndots:5",
        ]


async def test_a_new_sandbox_s_address_is_in_the_hosts_file(kubelet: Node) -> None:
    pod = await kubelet.create()
    before = await kubelet.until(is_ready)
    sandboxes, _ = await kubelet.runtime.pod_status(pod.metadata.uid)
    await kubelet.runtime.stop_sandbox(sandboxes[0].id)
    again = await kubelet.until(lambda p: is_ready(p) and p.status.containerStatuses[0].restartCount == 1)
    hosts = (await run(kubelet, pod, "main", "cat /etc/hosts")).splitlines()
    assert hosts[-1] == f"{again.status.podIP}\tweb"
    assert before.status.podIP == again.status.podIP or before.status.podIP not in "".join(hosts)


async def test_containers_that_share_processes_see_each_other(kubelet: Node) -> None:
    seen = "ps -o args | grep -c [d]istinctive || true"
    both = (sh(f": distinctive; {FOREVER}", "a"), sh(FOREVER, "b"))
    pod = await kubelet.create("web", *both, shareProcessNamespace=True)
    await kubelet.until(is_ready)
    assert int(await run(kubelet, pod, "b", seen)) > 0
    await kubelet.delete(grace=2)
    await kubelet.until_gone()
    pod = await kubelet.create("apart", *both)
    await kubelet.until(is_ready, "apart")
    assert int(await run(kubelet, pod, "b", seen)) == 0


async def test_a_pod_in_the_node_s_namespaces(kubelet: Node) -> None:
    pod = await kubelet.create("web", sh(FOREVER), hostNetwork=True, hostPID=True, hostIPC=True)
    ready = await kubelet.until(is_ready)
    assert ready.status.podIP == ready.status.hostIP == "127.0.0.1"
    assert await run(kubelet, pod, "main", "hostname") == socket.gethostname()
    first = (await run(kubelet, pod, "main", "head -n 1 /etc/hosts; cat /etc/resolv.conf")).splitlines()
    assert first == [
        "# Kubernetes-managed hosts file (host network).", "nameserver 192.168.0.53", "search corp.example",
    ]  # fmt: skip
    # It sees processes that are not its own: those of this test's dockerd, or of the test itself. A glob counts them
    # without looking at each, which may have ended in between.
    assert int(await run(kubelet, pod, "main", "set -- /proc/[0-9]*; echo $#")) > 5
    assert await run(kubelet, pod, "main", "readlink /proc/self/ns/ipc") == os.readlink("/proc/self/ns/ipc")


async def test_a_host_port_on_one_address(kubelet: Node) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ports = [{"containerPort": 80, "hostPort": port, "hostIP": "127.0.0.1"}]
    web = {"name": "main", "image": "kube/web", "imagePullPolicy": "IfNotPresent", "ports": ports}
    await kubelet.create("web", web)
    await kubelet.until(is_ready)
    await kubelet.create("late", web)
    await kubelet.until_runtime(lambda: "FailedCreatePodSandBox" in kubelet.recorder.reasons())
    assert any("port is already allocated" in m for m in kubelet.recorder.messages("FailedCreatePodSandBox"))
    late = await kubelet.pod("late")
    assert late.status.phase == "Pending"
    await kubelet.delete(grace=0)
    await kubelet.until(is_ready, "late")
