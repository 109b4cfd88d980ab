"""Services on a node: throughput, new connections, fairness, and how fast many rules are written.

    client 10.244.0.10 ─┐
    pod    10.244.0.11 ─┴─ bridge 10.244.0.1 node: etcd, kube-proxy

The node is a network namespace of its own, and so are client and pod; the floor is the same traffic from the client
directly to the pod, measured right before and after. The rules are those of services without real pods, but one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.benchmarks import resident, row
from deploy.cluster.settings import CHECKOUT
from deploy.cluster.steps import Failed

DIRECTORY = CHECKOUT / ".run/bench/proxy"
PREFIX = "kbench"
ETCD = "http://127.0.0.1:2379"
POD, SERVICE, PORT = "10.244.0.11", "10.96.0.10", 8080
BACKENDS = 10
SECONDS, CONNECTIONS, ROUNDS = 3, 4000, 3
SMALL, MEDIUM, LARGE, EACH = 10, 1000, 5000, 5
NEW_POD = 60000
"""Number of the first pod that takes another's place."""


def bench() -> None:
    """Measure, row by row."""
    for mode in ("iptables", "userspace"):
        with Node() as node:
            node.start_etcd()
            node.one_service()
            node.start_proxy(mode)
            traffic(node, mode)
    size()


def size() -> None:
    """What many services cost: in the mode iptables, with whichever back end the machine has."""
    with Node() as node:
        node.start_etcd()
        idle = node.start_proxy("iptables")
        node.stop_proxy()
        node.one_service()
        node.run("node", "store", 0, SMALL, EACH)
        node.start_proxy("iptables")
        few = [node.connect() for _ in range(ROUNDS)]
        node.stop_proxy()
        node.run("node", "store", SMALL, MEDIUM - SMALL, EACH)
        node.start_proxy("iptables")
        took = node.run("node", "change", 100, MEDIUM, EACH, NEW_POD)["seconds"]
        row(f"endpoint change → rule in the kernel, {MEDIUM:,} services (p50)", statistics.median(took) * 1000, "ms")
        p99 = statistics.quantiles(took, n=100)[98]
        row(f"endpoint change → rule in the kernel, {MEDIUM:,} services (p99)", p99 * 1000, "ms", "(goal 500)")
        node.stop_proxy()
        node.clean()
        node.run("node", "store", MEDIUM, LARGE - MEDIUM, EACH)
        full = node.start_proxy("iptables")
        row(f"full sync of {LARGE:,} services x {EACH}, CPU from start to synced", full, "s",
            f"{full - idle:.2f} s more than without services (goal 3)")  # fmt: skip
        row("  the rules of it, written in", node.metric("kubeproxy_sync_proxy_rules_duration_seconds_sum"), "s")
        row("  resident memory after it", resident(node.proxy_pid), "MB", "(goal 150)")
        before, began = node.proxy_cpu(), node.metric("kubeproxy_sync_proxy_rules_duration_seconds_sum")
        took = node.run("node", "change", 30, LARGE, EACH, NEW_POD + 100)["seconds"]
        spent = node.metric("kubeproxy_sync_proxy_rules_duration_seconds_sum") - began
        row(f"one change among {LARGE:,} services: sync", spent / len(took) * 1000, "ms", "(goal 100)")
        row("  CPU of it", (node.proxy_cpu() - before) / len(took) * 1000, "ms")
        row("  until the kernel has the rule (p50)", statistics.median(took) * 1000, "ms")
        many = [node.connect() for _ in range(ROUNDS)]
        ratio = statistics.median(few) / statistics.median(many)
        row(f"a new connection with {LARGE:,} services", 1e6 / statistics.median(many), "µs",
            f"{ratio:.2f} x with {SMALL} (goal 1.2)")  # fmt: skip


def traffic(node: Node, mode: str) -> None:
    """Throughput, connections and fairness of a mode."""
    goals = {"iptables": (0.95, 0.85), "userspace": (0.5, 0.25)}[mode]
    for what, unit, goal in (("throughput", "MB/s", goals[0]), ("new connections", "/s", goals[1])):
        pairs = []
        for _ in range(ROUNDS):
            if what == "throughput":
                pairs.append((node.send(POD, PORT) / 1e6, node.send(SERVICE, 80) / 1e6))
            else:
                pairs.append((node.connect(POD, PORT), node.connect()))
        direct, through = (statistics.median(each) for each in zip(*pairs, strict=True))
        ratio = statistics.median(through / direct for direct, through in pairs)
        row(f"{what}, {mode}", through, unit, f"{ratio:.2f} of direct to the pod, {direct:,.0f} (goal {goal})")
    before = node.run("client", "accepted", POD, PORT + BACKENDS)
    node.connect(count=10_000)
    after = node.run("client", "accepted", POD, PORT + BACKENDS)
    shares = [after[port] - before.get(port, 0) for port in after if int(port) < PORT + BACKENDS]
    worst = max(abs(share - 1000) for share in shares) / 10
    row(f"fairness, {mode}: 10,000 connections over {BACKENDS} backends", worst, "%", "worst off its share (goal 1)")


class Node:
    """The namespaces and what runs in them."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._proxy: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Node:
        remove_namespaces()
        shutil.rmtree(DIRECTORY, ignore_errors=True)
        DIRECTORY.mkdir(parents=True)
        for name in ("node", "client", "pod"):
            ip("netns", "add", f"{PREFIX}-{name}")
            self._in(name, "ip", "link", "set", "lo", "up")
        self._in("node", "sh", "-c", "ip link add cbr0 type bridge && ip address add 10.244.0.1/24 dev cbr0 && "
                 "ip link set cbr0 up && echo 1 > /proc/sys/net/ipv4/ip_forward")  # fmt: skip
        for name, address in (("client", "10.244.0.10"), ("pod", POD)):
            self._in("node", "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns",
                     f"{PREFIX}-{name}")  # fmt: skip
            self._in("node", "ip", "link", "set", name, "up", "master", "cbr0")
            self._in(name, "sh", "-c", f"ip address add {address}/24 dev eth0 && ip link set eth0 up && "
                     "ip route add default via 10.244.0.1")  # fmt: skip
        self._in("client", "sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=10000 65000")
        server = self._start("pod", sys.executable, "-m", "deploy.benchmarks._traffic", "serve", str(PORT),
                             str(BACKENDS + 1), log="serve")  # fmt: skip
        assert server.poll() is None
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        remove_namespaces()

    def start_etcd(self) -> None:
        self._start("node", "etcd", "--data-dir", str(DIRECTORY / "etcd"), "--listen-client-urls", ETCD,
                    "--advertise-client-urls", ETCD, "--listen-peer-urls", "http://127.0.0.1:2380",
                    "--unsafe-no-fsync", log="etcd")  # fmt: skip
        wait_for(lambda: self._ask(2379, "/health").startswith('{"health"'), "etcd")

    def one_service(self) -> None:
        """A service with the pod's ports as its backends, at SERVICE."""
        spec = {"clusterIP": SERVICE, "ports": [{"name": "http", "protocol": "TCP", "port": 80}]}
        value = {"kind": "Service", "apiVersion": "v1",
                 "metadata": {"name": "bench", "namespace": "default", "uid": "b"}, "spec": spec}  # fmt: skip
        self._in("node", "etcdctl", "--endpoints", ETCD, "put", "/registry/services/specs/default/bench",
                 json.dumps(value, separators=(",", ":")))  # fmt: skip
        self.run("node", "endpoints", "bench", POD, ",".join(str(PORT + n) for n in range(BACKENDS)))

    def start_proxy(self, mode: str) -> float:
        """Start the proxy; the CPU seconds until it has synced."""
        self._proxy = self._start("node", sys.executable, "-m", "kube.proxy", f"--proxy-mode={mode}",
                                  f"--etcd-servers={ETCD}", "--cluster-cidr=10.244.0.0/16",
                                  "--hostname-override=bench", "--iptables-sync-period=1h", log="proxy")  # fmt: skip
        wait_for(lambda: self._ask(10249, "/healthz") == "ok", "kube-proxy")
        return self.proxy_cpu()

    def stop_proxy(self) -> None:
        assert self._proxy is not None
        self._proxy.send_signal(signal.SIGTERM)
        self._proxy.wait()

    def clean(self) -> None:
        """Remove the proxy's rules."""
        self._in("node", sys.executable, "-m", "kube.proxy", "--cleanup")

    @property
    def proxy_pid(self) -> int:
        assert self._proxy is not None
        return self._proxy.pid

    def proxy_cpu(self) -> float:
        """CPU seconds of the proxy and of the commands that it has run."""
        fields = Path(f"/proc/{self.proxy_pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def metric(self, name: str) -> float:
        """A figure of the proxy's own."""
        match = re.search(rf"^{name} (\S+)$", self._ask(10249, "/metrics"), re.MULTILINE)
        assert match, f"no metric {name}"
        return float(match[1])

    def send(self, ip: str, port: int) -> float:
        """Bytes a second from the client."""
        return float(self.run("client", "send", ip, port, SECONDS)["bytes"])

    def connect(self, ip: str = SERVICE, port: int = 80, count: int = CONNECTIONS) -> float:
        """New connections a second from the client."""
        return float(self.run("client", "connect", ip, port, count)["connections"])

    def run(self, where: str, command: str, *arguments: object) -> dict[str, Any]:
        """Run a command of `_traffic` in a namespace; its answer."""
        words = [sys.executable, "-m", "deploy.benchmarks._traffic", command, *map(str, arguments)]
        answer: dict[str, Any] = json.loads(self._in(where, *words))
        return answer

    def _in(self, where: str, *command: str) -> str:
        words = ["ip", "netns", "exec", f"{PREFIX}-{where}", *command]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=CHECKOUT,
                              env={**os.environ, "ETCDCTL_API": "3"})  # fmt: skip
        if done.returncode:
            raise Failed(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def _start(self, where: str, *command: str, log: str) -> subprocess.Popen[bytes]:
        with (DIRECTORY / f"{log}.log").open("ab") as output:
            process = subprocess.Popen(["ip", "netns", "exec", f"{PREFIX}-{where}", *command], stdin=subprocess.PIPE,
                                       stdout=output, stderr=output, cwd=CHECKOUT)  # fmt: skip
        self._processes.append(process)
        return process

    def _ask(self, port: int, path: str) -> str:
        """What the node answers to itself; empty if it does not."""
        words = ["ip", "netns", "exec", f"{PREFIX}-node", sys.executable, "-c", ASK, f"http://127.0.0.1:{port}{path}"]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout


ASK = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1], timeout=5).read().decode())"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def remove_namespaces() -> None:
    """Those of this suite, also of a run that was killed."""
    there = {line.split()[0] for line in subprocess.run(
        ["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.splitlines()}  # fmt: skip
    for name in ("node", "client", "pod"):
        if f"{PREFIX}-{name}" in there:
            ip("netns", "del", f"{PREFIX}-{name}")


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what} does not come up: see {DIRECTORY}")
        time.sleep(0.1)
