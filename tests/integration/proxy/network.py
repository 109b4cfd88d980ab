"""A cluster's network in network namespaces: a node with its bridge, pods on it, and the world outside.

    outside 198.51.100.1 ─── 198.51.100.10 node 10.244.0.1 ─┬─ client 10.244.0.10
    (the node's default route)      etcd, kube-proxy        └─ a, b, c 10.244.0.11 …

The proxy and its etcd are real processes in the node's namespace; clients and backends are sockets that the test makes
in theirs. Nothing touches the host's own iptables, and no packet reaches its interfaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
ETCD = "http://127.0.0.1:2379"
RESYNC = 1
"""Seconds between resyncs of the proxy under test."""

_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Namespace:
    """A network namespace. A socket belongs for good to the one that it was made in."""

    def __init__(self, name: str) -> None:
        self.name = name
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.run("ip", "link", "set", "lo", "up")

    def delete(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def run(self, *command: str, **options: Any) -> str:
        """Run a command inside; its output."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            ["ip", "netns", "exec", self.name, *command], check=False, capture_output=True, text=True, **options
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Make sockets in it. Nothing else may run meanwhile: no await."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
            try:
                _setns(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _setns(own)
        finally:
            os.close(own)

    def listens(self, port: int) -> bool:
        """Whether somebody takes TCP connections at a port of its loopback."""
        with self.inside():
            sock = socket.socket()
        with sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    def socket(self, kind: int = socket.SOCK_STREAM, family: int = socket.AF_INET, proto: int = 0) -> socket.socket:
        with self.inside():
            made = socket.socket(family, kind, proto)
        made.setblocking(False)
        return made


class Network:
    """The namespaces, and what runs in the node's."""

    def __init__(self, prefix: str, directory: Path, environment: Mapping[str, str], mode: str) -> None:
        self.mode = mode
        self._environment = {**os.environ, **environment}
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        self._namespaces: list[Namespace] = []
        self._prefix = prefix
        self.node = self._namespace("node")
        self.outside = self._namespace("outside")
        self.node.run("ip", "link", "add", "cbr0", "type", "bridge")
        self.node.run("ip", "address", "add", "10.244.0.1/24", "dev", "cbr0")
        self.node.run("ip", "link", "set", "cbr0", "up")
        self.node.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self._wire(self.outside, "eth0", "198.51.100.1/24", "eth0")
        self.node.run("ip", "address", "add", "198.51.100.10/24", "dev", "eth0")
        self.node.run("ip", "route", "add", "default", "via", "198.51.100.1")
        for network in ("10.244.0.0/16", "10.96.0.0/16"):
            self.outside.run("ip", "route", "add", network, "via", "198.51.100.10")
        self.client = self.pod("client", 10)
        self.pods = {name: self.pod(name, 11 + n) for n, name in enumerate("abc")}
        self.foreign_rules: list[str] = []
        """What others have in the node's tables: the proxy must leave it alone."""
        self.etcd: subprocess.Popen[bytes] | None = None
        self.proxy: subprocess.Popen[bytes] | None = None

    def _namespace(self, name: str) -> Namespace:
        namespace = Namespace(f"{self._prefix}-{name}")
        self._namespaces.append(namespace)
        return namespace

    def _wire(self, namespace: Namespace, device: str, address: str, peer: str) -> None:
        """A cable from a namespace to the node."""
        self.node.run("ip", "link", "add", peer, "type", "veth", "peer", "name", device, "netns", namespace.name)
        self.node.run("ip", "link", "set", peer, "up")
        namespace.run("ip", "address", "add", address, "dev", device)
        namespace.run("ip", "link", "set", device, "up")

    def pod(self, name: str, host: int) -> Namespace:
        """A pod on the node's bridge."""
        pod = self._namespace(name)
        self._wire(pod, "eth0", f"10.244.0.{host}/24", f"veth{host}")
        self.node.run("ip", "link", "set", f"veth{host}", "master", "cbr0")
        pod.run("ip", "route", "add", "default", "via", "10.244.0.1")
        return pod

    # Processes

    def start(self, *command: str, log: str) -> subprocess.Popen[bytes]:
        """Start a process on the node."""
        return self.start_in(self.node, *command, log=log)

    def start_in(self, where: Namespace, *command: str, log: str = "others.log") -> subprocess.Popen[bytes]:
        """Start a process in a namespace."""
        with (self._directory / log).open("ab") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", where.name, *command],  # it execs: the pid is the command's own
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._environment,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def start_etcd(self) -> None:
        self.etcd = self.start(
            "etcd", "--data-dir", str(self._directory / "etcd"), "--listen-client-urls", ETCD,
            "--advertise-client-urls", ETCD, "--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync",
            log="etcd.log",
        )  # fmt: skip
        wait_for(lambda: self.etcdctl("endpoint", "health", check=False).returncode == 0, "etcd answers")

    @property
    def flags(self) -> list[str]:
        """The proxy's."""
        return [f"--etcd-servers={ETCD}", f"--proxy-mode={self.mode}", "--cluster-cidr=10.244.0.0/16",
                "--hostname-override=node", f"--iptables-sync-period={RESYNC}s"]  # fmt: skip

    def start_proxy(self, *flags: str, wait: bool = True) -> None:
        """Start the proxy, and wait until it is healthy."""
        command = [sys.executable, "-m", "kube.proxy", "-v2", *self.flags, *flags]
        self.proxy = self.start(*command, log="proxy.log")
        if wait:
            wait_for(lambda: self.healthz() == "ok", "the proxy is healthy")

    def proxy_command(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """Run kube-proxy on the node to its end."""
        command = ["ip", "netns", "exec", self.node.name, sys.executable, "-m", "kube.proxy", *self.flags, *flags]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)

    @staticmethod
    def stop(process: subprocess.Popen[bytes] | None, by: signal.Signals = signal.SIGKILL) -> None:
        if process is not None and process.poll() is None:
            process.send_signal(by)
            process.wait(10)

    def close(self) -> None:
        for process in self._processes:
            self.stop(process)
        for namespace in self._namespaces:
            namespace.delete()

    def pause_proxy(self) -> None:
        """Keep the proxy from repairing what the test breaks."""
        assert self.proxy is not None
        self.proxy.send_signal(signal.SIGSTOP)

    def resume_proxy(self) -> None:
        assert self.proxy is not None
        self.proxy.send_signal(signal.SIGCONT)

    def healthz(self, path: str = "/healthz") -> str:
        """What the proxy answers on its health port; empty if it does not."""
        return self.get("127.0.0.1", 10249, path)

    def get(self, ip: str, port: int, path: str) -> str:
        """What is answered to the node itself; empty if nothing is."""
        with self.node.inside():
            sock = socket.socket()
        with sock:
            sock.settimeout(2)
            try:
                sock.connect((ip, port))
                sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                answer = b"".join(iter(lambda: sock.recv(65536), b""))
            except OSError:
                return ""
        return answer.partition(b"\r\n\r\n")[2].decode()

    def log(self) -> str:
        return (self._directory / "proxy.log").read_text()

    # iptables

    def iptables(self, *arguments: str) -> str:
        return self.node.run("iptables", *arguments, env=self._environment)

    def rules(self) -> str:
        """What iptables-save says, but for times and counters."""
        saved = self.node.run("iptables-save", env=self._environment).splitlines()
        return "\n".join(line.partition(" [")[0] for line in saved if not line.startswith("#"))

    def restore(self, rules: str) -> None:
        """Make everything as `rules()` once said."""
        command = ["ip", "netns", "exec", self.node.name, "iptables-restore"]
        subprocess.run(command, input=rules + "\n", env=self._environment, text=True, check=True)

    def wait_for_service(self, name: str, ports: int = 1) -> None:
        """Wait until the rules send traffic of all ports of a service to backends."""
        chain = "KUBE-PORTALS-HOST" if self.mode == "userspace" else "KUBE-SERVICES"
        rule = re.compile(rf'^-A {chain} .*--comment "?default/{name}(:| cluster IP|")', re.MULTILINE)
        wait_for(lambda: len(rule.findall(self.nat())) >= ports, f"{name} is served at {ports} ports")
        self.wait_for_sync()

    def wait_for_sync(self) -> None:
        """Wait until the proxy has done all it was asked to: after the rules it has UDP flows to end."""
        moment = re.compile(r"^kubeproxy_sync_proxy_rules_last_(queued_)?timestamp_seconds (\S+)$", re.MULTILINE)

        def synced() -> bool:
            moments = {queued: float(when) for queued, when in moment.findall(self.healthz("/metrics"))}
            return bool(moments) and moments[""] > moments["queued_"]

        wait_for(synced, "the last sync began after the last change")

    @property
    def first_chains(self) -> tuple[str, ...]:
        """Where traffic to services is taken, in the table nat."""
        return ("KUBE-PORTALS-HOST", "KUBE-PORTALS-CONTAINER") if self.mode == "userspace" else ("KUBE-SERVICES",)

    def nat(self) -> str:
        """The rules of the table nat."""
        return self.rules().partition("*nat")[2].partition("COMMIT")[0]

    def local_port(self, ip: str, protocol: str) -> int:
        """Where the proxy listens for a service."""
        match = re.search(rf"-A KUBE-PORTALS-HOST -d {ip}/32 -p {protocol} .* --to-ports (\d+)", self.rules())
        assert match
        return int(match[1])

    # Objects

    def etcdctl(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["ip", "netns", "exec", self.node.name, "etcdctl", "--endpoints", ETCD, *arguments]
        environment = {**self._environment, "ETCDCTL_API": "3"}
        return subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, check=check)

    def put(self, prefix: str, kind: str, name: str, **body: Any) -> None:
        """Store an object as the apiserver would."""
        metadata = {"name": name, "namespace": "default", "uid": name}
        value = json.dumps({"kind": kind, "apiVersion": "v1", "metadata": metadata, **body}, separators=(",", ":"))
        self.etcdctl("put", f"/registry/{prefix}/default/{name}", stdin=value)

    def service(
        self, name: str, ip: str, ports: Sequence[Mapping[str, Any]], *, ingress: str = "", **spec: Any
    ) -> None:
        """A service. `ingress`: the address of its load balancer."""
        status = {"loadBalancer": {"ingress": [{"ip": ingress, "ipMode": "VIP"}]}} if ingress else {}
        body = {"spec": {"clusterIP": ip, "ports": list(ports), **spec}, "status": status}
        self.put("services/specs", "Service", name, **body)

    def endpoints(self, name: str, pods: str, ports: Sequence[Mapping[str, Any]], elsewhere: str = "") -> None:
        """Endpoints of a service: the pods of these letters, some as if they were on another node."""
        addresses = [
            {"ip": f"10.244.0.{11 + 'abc'.index(pod)}", "nodeName": "node" if pod in pods else "other"}
            for pod in pods + elsewhere
        ]
        subsets = [{"addresses": addresses, "ports": list(ports)}] if addresses else []
        self.put("services/endpoints", "Endpoints", name, subsets=subsets)

    def endpoints_at(self, name: str, ports: Mapping[str, int]) -> None:
        """Endpoints of a service with one port, http: pods by letter, and where each listens."""
        subsets = [
            {
                "addresses": [{"ip": f"10.244.0.{11 + 'abc'.index(pod)}", "nodeName": "node"}],
                "ports": [{"name": "http", "protocol": "TCP", "port": port}],
            }
            for pod, port in ports.items()
        ]
        self.put("services/endpoints", "Endpoints", name, subsets=subsets)

    def wait_for_served(self, name: str, backends: Sequence[str]) -> None:
        """Wait until a service is served by exactly these backends."""
        if self.mode == "userspace":
            self.wait_for_service(name)  # the balancer knew before the sync that this waits for
            return
        found = re.compile(rf'--comment "?default/{name}:http -> \S+.* --to-destination (\S+)$', re.MULTILINE)
        wait_for(lambda: found.findall(self.nat()) == [*backends], f"{name} is served by {backends}")

    def remove(self, name: str) -> None:
        for prefix in ("services/specs", "services/endpoints"):
            self.etcdctl("del", f"/registry/{prefix}/default/{name}")

    def wait_for_rule(self, text: str, *, gone: bool = False) -> None:
        wait_for(lambda: (text in self.rules()) != gone, f"rule {text!r} {'gone' if gone else 'there'}")


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.02)


@contextlib.asynccontextmanager
async def tcp_backend(pod: Namespace, name: str, port: int = 80) -> AsyncIterator[None]:
    """Echoes lines, each after the backend's name; to `who` it answers with the client's address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            client: str = writer.get_extra_info("peername")[0]
            with contextlib.suppress(ConnectionError):
                while line := await reader.readline():
                    answer = f"{client}\n".encode() if line == b"who\n" else line
                    writer.write(f"{name} ".encode() + answer)
                    await writer.drain()
        finally:  # also when the loop ends while a client holds its connection
            writer.close()

    sock = pod.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("0.0.0.0", port))
    server = await asyncio.start_server(serve, sock=sock)
    try:
        yield
    finally:
        server.close()
