"""The controller manager: pods of a controller made, moved and removed on hollow nodes, and what it costs to be idle.

An etcd, an apiserver, a scheduler and a controller manager of its own, and nodes without containers, so that what is
measured is the control plane. The floor of making pods is the apiserver alone: the same pods, created by a client with
as many requests at once as the controller has.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deploy.benchmarks import resident, row
from deploy.benchmarks._servers import Server, apiserver, etcd, request
from deploy.cluster import machine
from deploy.cluster.settings import CHECKOUT
from deploy.cluster.steps import Failed

RUN = CHECKOUT / ".run/bench/controllers"
ETCD_PORT, API_PORT, SCHEDULER_PORT, MANAGER_PORT, KUBELET_PORT = 27579, 27581, 27583, 27584, 27585
NODES = 50
PODS = 1000
MOVED = 500
MANY = 10_000
IDLE_SECONDS = 30.0
LONGEST = 300.0


def bench() -> None:
    """Measure, row by row."""
    machine.require_root("deploy/bench")
    shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(etcd(RUN, ETCD_PORT).running())
        api = stack.enter_context(apiserver(RUN, store.url, API_PORT).running())
        floor = made_by_a_client(api)
        row(f"floor: {PODS:,} pods created by a client, 64 at once", floor, "pods/s")
        running = {
            name: stack.enter_context(daemon(name, store, api, *flags).running()) for name, flags in DAEMONS.items()
        }
        manager = running["kube.controller_manager"]
        # Pods that come before a node is ready wait for a second; that is not what is measured.
        until(lambda: ready_nodes(api) == NODES, "the nodes are ready")
        up_and_down(api, manager, floor)
        hand_over(api)
        idle(api, manager)


DAEMONS: dict[str, tuple[str, ...]] = {
    "kube.scheduler": (f"--port={SCHEDULER_PORT}",),
    "kube.controller_manager": (f"--port={MANAGER_PORT}",),
    "kube.kubelet": (
        "--container-runtime=fake", f"--hollow-nodes={NODES}", f"--port={KUBELET_PORT}", "--max-pods=300",
        f"--root-dir={RUN / 'kubelet'}",
    ),
}  # fmt: skip
PORTS = {"kube.scheduler": SCHEDULER_PORT, "kube.controller_manager": MANAGER_PORT, "kube.kubelet": KUBELET_PORT}


def daemon(module: str, store: Server, api: Server, *flags: str) -> Server:
    """Start a daemon."""
    command = [sys.executable, "-m", module, f"--etcd-servers={store.url}", f"--master={api.url}", *flags]
    return Server(command, f"http://127.0.0.1:{PORTS[module]}", ready="/healthz", log=RUN / f"{module}.log")


def made_by_a_client(api: Server) -> float:
    """Pods a second; they are gone again afterwards."""
    where = f"{api.url}/api/v1/namespaces/default/pods"
    template = controller("floor", 0)["spec"]["template"]
    pods = [
        {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": f"floor-{number}"}, "spec": template["spec"]}
        for number in range(PODS)
    ]
    with ThreadPoolExecutor(64) as threads:
        began = time.monotonic()
        list(threads.map(lambda pod: request("POST", where, pod), pods))
        seconds = time.monotonic() - began
    request("DELETE", where)
    return PODS / seconds


def up_and_down(api: Server, manager: Server, floor: float) -> None:
    """An RC of a thousand pods, until all run; then none."""
    cpu = manager.cpu_seconds()
    began = time.monotonic()
    request("POST", controllers(api), controller("web", PODS))
    until(lambda: ready_replicas(api, "web") == PODS, "all pods are ready")
    rate = PODS / (time.monotonic() - began)
    note = f" goal 300, {rate / floor:.2f} x floor, {(manager.cpu_seconds() - cpu) / PODS * 1e3:.2f} ms CPU a pod"
    row(f"RC of {PODS:,} pods, created → all ready", rate, "pods/s", note)
    began = time.monotonic()
    scale(api, "web", 0)
    # One at most: to list those that are left, again and again, would take more than their deletion.
    until(lambda: not items(api, "/api/v1/namespaces/default/pods?limit=1"), "all pods are gone")
    row(f"scaled to 0, until {PODS:,} pods are gone", PODS / (time.monotonic() - began), "pods/s", " goal 300")
    request("DELETE", f"{controllers(api)}/web")


def hand_over(api: Server) -> None:
    """One RC lets 500 pods go, their labels change, the other adopts them, and no pod is made or deleted."""
    request("POST", controllers(api), controller("old", MOVED))
    until(lambda: ready_replicas(api, "old") == MOVED, "all pods are ready")
    before = {pod["metadata"]["uid"] for pod in items(api, "/api/v1/namespaces/default/pods")}
    began = time.monotonic()
    request("DELETE", f"{controllers(api)}/old", {"propagationPolicy": "Orphan"})
    until(lambda: "old" not in {rc["metadata"]["name"] for rc in items(api, CONTROLLERS)}, "the old one is gone")
    pods = [each["metadata"]["name"] for each in items(api, "/api/v1/namespaces/default/pods")]
    labelled = {"metadata": {"labels": {"app": "new"}}}
    with ThreadPoolExecutor(16) as threads:
        where = f"{api.url}/api/v1/namespaces/default/pods"
        list(threads.map(lambda name: request("PATCH", f"{where}/{name}", labelled), pods))
    request("POST", controllers(api), controller("new", MOVED))
    until(lambda: ready_replicas(api, "new") == MOVED, "the new one has them")
    row(f"{MOVED} pods handed from one RC to another", time.monotonic() - began)
    after = {pod["metadata"]["uid"] for pod in items(api, "/api/v1/namespaces/default/pods")}
    if before != after:
        raise Failed(f"{len(before ^ after)} pods were made or deleted while they were handed over")


def idle(api: Server, manager: Server) -> None:
    """CPU and memory of the controller manager while nothing happens."""
    there = MOVED
    while there < MANY:
        request("POST", controllers(api), controller(f"many-{there}", PODS))
        there += PODS
        name = f"many-{there - PODS}"
        until(lambda name=name: ready_replicas(api, name) == PODS, "all pods are ready")  # type: ignore[misc]
    time.sleep(5)
    cpu = manager.cpu_seconds()
    time.sleep(IDLE_SECONDS)
    used = (manager.cpu_seconds() - cpu) / IDLE_SECONDS * 100
    row(f"controller manager idle with {there:,} pods", used, "% CPU", "goal 2")
    row(f"controller manager, resident memory with {there:,} pods", resident(manager.pid), "MB")


CONTROLLERS = "/api/v1/namespaces/default/replicationcontrollers"


def controllers(api: Server) -> str:
    return api.url + CONTROLLERS


def controller(name: str, replicas: int, app: str = "") -> dict[str, Any]:
    """A replication controller of pods that do nothing."""
    labels = {"app": app or name}
    spec = {"containers": [{"name": "c", "image": "kube/pause"}]}
    return {
        "kind": "ReplicationController",
        "apiVersion": "v1",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": labels, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }


def scale(api: Server, name: str, replicas: int) -> None:
    found = json.loads(request("GET", f"{controllers(api)}/{name}/scale"))
    found["spec"]["replicas"] = replicas
    request("PUT", f"{controllers(api)}/{name}/scale", found)


def ready_replicas(api: Server, name: str) -> int:
    # From the cache, at once: looking must not be what is measured.
    found = {rc["metadata"]["name"]: rc for rc in items(api, f"{CONTROLLERS}?resourceVersion=0")}
    return int(found[name]["status"].get("readyReplicas", 0)) if name in found else 0


def ready_nodes(api: Server) -> int:
    conditions = [each["status"].get("conditions", []) for each in items(api, "/api/v1/nodes")]
    return sum(any(c["type"] == "Ready" and c["status"] == "True" for c in each) for each in conditions)


def items(api: Server, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(request("GET", api.url + path)).get("items") or []
    return found


def until(true: Callable[[], bool], what: str) -> None:
    """Wait until something holds. Raises Failed when it takes too long."""
    deadline = time.monotonic() + LONGEST
    while not true():
        if time.monotonic() > deadline:
            raise Failed(f"not within {LONGEST:.0f} s: {what}")
        time.sleep(0.05)
