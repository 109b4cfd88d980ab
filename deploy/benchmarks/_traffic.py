"""What runs inside the namespaces of the suite `proxy`: `python -m deploy.benchmarks._traffic COMMAND …`.

Each command is small and bounded, prints one line of JSON, and ends by itself, but for `serve`, which is stopped.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from kube.store.etcd import EtcdStore
from kube.store.store import Op, Put

ETCD = "http://127.0.0.1:2379"
CHUNK = 256 * 1024
TXN = 100
"""Objects that are stored in one transaction."""


def serve(first: str, count: str) -> None:
    """Listen on some ports, in one thread: `s` is read from until its end, `?` asks for counts, others are closed."""
    accepted: Counter[int] = Counter()
    listeners = selectors.DefaultSelector()

    def drain(client: socket.socket) -> None:
        buffer = bytearray(CHUNK)
        with client:
            while client.recv_into(buffer):
                pass

    for port in range(int(first), int(first) + int(count)):
        listeners.register(socket.create_server(("0.0.0.0", port), backlog=1024), selectors.EVENT_READ, port)
    while True:
        for key, _ in listeners.select():
            assert isinstance(key.fileobj, socket.socket)
            client, _ = key.fileobj.accept()
            accepted[key.data] += 1
            with client:
                said = client.recv(1)
                if said == b"s":
                    threading.Thread(target=drain, args=(client.dup(),), daemon=True).start()
                elif said == b"?":
                    client.sendall(json.dumps(accepted).encode())


def send(ip: str, port: str, seconds: str) -> dict[str, float]:
    """Bytes a second through one connection."""
    data, sent = bytes(CHUNK), 0
    with socket.create_connection((ip, int(port))) as sock:
        sock.sendall(b"s")
        began = time.monotonic()
        while time.monotonic() - began < float(seconds):
            sent += sock.send(data)
        return {"bytes": sent / (time.monotonic() - began)}


def connect(ip: str, port: str, count: str) -> dict[str, float]:
    """New connections a second, one after the other."""
    began = time.monotonic()
    for _ in range(int(count)):
        with socket.create_connection((ip, int(port))) as sock:
            sock.send(b"c")
            sock.recv(1)  # its end
    return {"connections": int(count) / (time.monotonic() - began)}


def accepted(ip: str, port: str) -> dict[str, int]:
    """How many connections each port of a server has had."""
    with socket.create_connection((ip, int(port))) as sock:
        sock.sendall(b"?")
        answer: dict[str, int] = json.loads(sock.recv(65536))
    return answer


def store(first: str, count: str, backends: str) -> dict[str, int]:
    """Store services with endpoints as the apiserver would: as many as 250 to a /24, five pods to an address block."""
    objects = []
    for number in range(int(first), int(first) + int(count)):
        name, ip = f"s{number}", f"10.96.{1 + number // 250}.{number % 250 + 1}"
        ports = [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}]
        spec = {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "selector": {"app": name}, "ports": ports,
                "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}  # fmt: skip
        objects.append(("services/specs", "Service", name, {"spec": spec, "status": {"loadBalancer": {}}}))
        pods = range(number * int(backends), (number + 1) * int(backends))
        objects.append(("services/endpoints", "Endpoints", name, {"subsets": subsets(name, [*pods])}))
    _put(objects)
    return {"objects": len(objects)}


def subsets(name: str, pods: list[int]) -> list[dict[str, Any]]:
    """The subsets of a service's Endpoints, as the controller writes them."""
    addresses = [
        {
            "ip": f"10.{128 + pod // 62500}.{pod // 250 % 250}.{pod % 250 + 1}",
            "nodeName": f"node-{pod % 100}",
            "targetRef": {"kind": "Pod", "namespace": "default", "name": f"{name}-{pod}", "uid": f"uid-{pod}"},
        }
        for pod in pods
    ]
    return [{"addresses": addresses, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}]


def endpoints(name: str, ip: str, ports: str) -> dict[str, int]:
    """Store a service's endpoints: one address, each port a backend."""
    some = [
        {"addresses": [{"ip": ip, "nodeName": "bench"}], "ports": [{"name": "http", "port": port, "protocol": "TCP"}]}
        for port in map(int, ports.split(","))
    ]
    _put([("services/endpoints", "Endpoints", name, {"subsets": some})])
    return {"ports": len(some)}


def change(count: str, services: str, backends: str, first: str) -> dict[str, list[float]]:
    """Change one service's endpoints after the other; how long each took until the kernel had the rule, in seconds.

    `first`: the number of the first new pod. No pod may come twice, or there is nothing to change.
    """
    took = []
    for number in range(int(count)):
        service = number * 37 % int(services)
        pod = int(first) + number
        began = time.monotonic()
        pods = [*range(service * int(backends), (service + 1) * int(backends) - 1), pod]
        _put([("services/endpoints", "Endpoints", f"s{service}", {"subsets": subsets(f"s{service}", pods)})])
        chain = _chain(f"s{service}")
        mark = f"10.{128 + pod // 62500}.{pod // 250 % 250}.{pod % 250 + 1}:8080"
        while (
            mark
            not in subprocess.run(
                ["iptables", "-t", "nat", "-S", chain], capture_output=True, text=True, check=False
            ).stdout
        ):
            if time.monotonic() - began > 60:
                raise TimeoutError(f"{mark} never came to be in {chain}")
            time.sleep(0.005)
        took.append(time.monotonic() - began)
        time.sleep(0.2)
    return {"seconds": took}


def _chain(service: str) -> str:
    from kube.proxy import chains
    from kube.proxy.services import ServicePort, ServicePortName

    return chains.of_service(chains.CLUSTER, ServicePort(ServicePortName("default", service, "http"), "", 80))


def _put(objects: list[tuple[str, str, str, dict[str, Any]]]) -> None:
    async def put() -> None:
        etcd = EtcdStore([ETCD])
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            for start in range(0, len(objects), TXN):
                ops: list[Op] = []
                for prefix, kind, name, body in objects[start : start + TXN]:
                    meta = {"name": name, "namespace": "default", "uid": name, "creationTimestamp": moment}
                    value = {"kind": kind, "apiVersion": "v1", "metadata": meta, **body}
                    key = f"/registry/{prefix}/default/{name}"
                    ops.append(Put(key, json.dumps(value, separators=(",", ":")).encode()))
                await etcd.txn([], ops)
        finally:
            await etcd.close()

    asyncio.run(put())


COMMANDS: dict[str, Callable[..., Any]] = {
    command.__name__: command for command in (serve, send, connect, accepted, store, endpoints, change)
}

if __name__ == "__main__":
    print(json.dumps(COMMANDS[sys.argv[1]](*sys.argv[2:])), flush=True)
