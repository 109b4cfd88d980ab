"""The kubelet: how long a pod takes beside Docker alone, what an idle node costs, and hundreds of hollow nodes.

It starts an etcd, an apiserver, a controller manager and a kubelet of its own; pods are bound as they are made. The
floor is the same two containers, pause and web, by plain calls of Docker's API, as many at once as the kubelet makes.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import docker

from deploy.benchmarks import cluster as clusters
from deploy.benchmarks import cpu_seconds, resident, row
from deploy.cluster.cluster import APISERVER, CONTROLLER_MANAGER, KUBELET, Cluster
from deploy.cluster.example import is_ready, request
from deploy.cluster.settings import CHECKOUT
from deploy.cluster.steps import Failed
from deploy.cluster.up import have_images

SETTINGS = dataclasses.replace(
    clusters.SETTINGS,
    run=CHECKOUT / ".run/bench/kubelet",
    node="bench-kubelet",
)
TRIES = 20
BURST = 20
PARALLEL = 16
"""Calls to the engine that the kubelet makes at once."""
IDLE = 30
IDLE_SECONDS = 60
HOLLOW_NODES = int(os.environ.get("KUBE_BENCH_HOLLOW_NODES", "500"))
HOLLOW_PODS = 20
PATIENCE = 600.0
PODS = f"{SETTINGS.server}/api/v1/namespaces/default/pods"


def bench() -> None:
    """Measure, row by row."""
    cluster = Cluster(SETTINGS, clusters.quiet())
    cluster.stop()
    shutil.rmtree(SETTINGS.run, ignore_errors=True)
    try:
        cluster.start_supervisor()
        cluster.start_etcd()
        cluster.start_dockerd()
        have_images(clusters.quiet())
        # The controller manager makes the service account and the authority that every pod mounts.
        cluster.start_daemons((APISERVER, KUBELET, CONTROLLER_MANAGER))
        with contextlib.closing(docker.APIClient()) as engine:
            one_pod(engine)
            burst(engine)
        idle(cluster)
        hollow(cluster)
    finally:
        cluster.stop()


def one_pod(engine: docker.APIClient) -> None:
    """A pod, and its end, beside the same containers by Docker alone; taken in turn, so that both see one machine."""
    made, ended, floor_made, floor_ended = [], [], [], []
    for number in range(-1, TRIES):
        start, end = floor(engine, 1)
        began = time.monotonic()
        create([f"one-{number + 1}"])
        until(lambda: all(map(is_ready, pods())))
        ready = time.monotonic()
        delete()
        if number >= 0:  # the first does not count
            floor_made.append(start)
            floor_ended.append(end)
            made.append(ready - began)
            ended.append(time.monotonic() - ready)
    compare("one pod, POST → Ready (p50 of 20)", statistics.median(made), statistics.median(floor_made))
    compare("one pod, DELETE with grace 0 → gone", statistics.median(ended), statistics.median(floor_ended))


def burst(engine: docker.APIClient) -> None:
    """Many pods at once."""
    at_least, _ = floor(engine, BURST)
    began = time.monotonic()
    create([f"burst-{number}" for number in range(BURST)])
    until(lambda: len(found := pods()) == BURST and all(map(is_ready, found)))
    compare(f"burst of {BURST} pods, first POST → all Ready", time.monotonic() - began, at_least)
    delete()


def idle(cluster: Cluster) -> None:
    """What a node costs on which nothing happens."""
    create([f"idle-{number}" for number in range(IDLE)])
    until(lambda: len(found := pods()) == IDLE and all(map(is_ready, found)))
    pid = cluster.supervisor.pid(KUBELET)
    time.sleep(5)
    before = cpu_seconds(pid)
    time.sleep(IDLE_SECONDS)
    row(f"idle kubelet with {IDLE} pods, of a core", (cpu_seconds(pid) - before) / IDLE_SECONDS * 100, "%", "(goal 2)")
    row(f"idle kubelet with {IDLE} pods, resident memory", resident(pid), "MB", "(goal 90)")
    delete()


def hollow(cluster: Cluster) -> None:
    """Hundreds of nodes in one process, and twenty pods on each."""
    command = [sys.executable, "-m", "kube.kubelet", "--container-runtime=fake", f"--hollow-nodes={HOLLOW_NODES}"]
    command += [f"--master={SETTINGS.server}", f"--etcd-servers=http://127.0.0.1:{SETTINGS.etcd_port}"]
    command += ["--address=127.0.0.1", "--port=27260"]
    with running(command) as pid:
        nodes = f"{SETTINGS.server}/api/v1/nodes"
        until(lambda: sum(is_ready(node) for node in items(nodes)) > HOLLOW_NODES)
        names = [f"hollow-{number}" for number in range(HOLLOW_NODES * HOLLOW_PODS)]
        cpu, api = cpu_seconds(pid), cpu_seconds(cluster.supervisor.pid(APISERVER))
        create(names, lambda number: f"hollow-node-{number % HOLLOW_NODES}", workers=8)
        began = time.monotonic()
        until(lambda: sum(pod["status"].get("phase") == "Running" for pod in pods()) == len(names), pause=3)
        what = f"{HOLLOW_NODES} hollow nodes, {len(names)} pods"
        row(f"{what}, last bound → all Running", time.monotonic() - began, note="(goal 120)")
        row("  cpu of the kubelet, for each pod", (cpu_seconds(pid) - cpu) / len(names) * 1000, "ms")
        spent = cpu_seconds(cluster.supervisor.pid(APISERVER)) - api
        row("  cpu of the apiserver, for each pod", spent / len(names) * 1000, "ms")
        row("  resident memory", resident(pid), "MB", "(goal 1,024)")
        before = cpu_seconds(pid)
        time.sleep(IDLE_SECONDS)
        row("  idle, of a core", (cpu_seconds(pid) - before) / IDLE_SECONDS * 100, "%")


def floor(engine: docker.APIClient, count: int) -> tuple[float, float]:
    """Seconds that Docker alone takes to make, and to remove, the containers of so many pods."""
    names = [f"bench-floor-{number}" for number in range(count)]

    def make(name: str) -> None:
        pause = engine.create_container("kube/pause", name=f"{name}-pause", host_config=host(SETTINGS.pod_network))
        engine.start(pause["Id"])
        web = engine.create_container("kube/web", name=name, host_config=host(f"container:{name}-pause"))
        engine.start(web["Id"])

    def host(network: str) -> dict[str, object]:
        config: dict[str, object] = engine.create_host_config(network_mode=network)
        return config

    def remove(name: str) -> None:
        for each in (name, f"{name}-pause"):
            with contextlib.suppress(docker.errors.NotFound):
                engine.remove_container(each, force=True)

    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as threads:
        for name in names:
            remove(name)  # of a run that was broken off
        began = time.monotonic()
        list(threads.map(make, names))
        made = time.monotonic()
        list(threads.map(remove, names))
        return made - began, time.monotonic() - made


def create(names: list[str], node: Callable[[int], str] = lambda _: SETTINGS.node, workers: int = PARALLEL) -> None:
    """POST pods that are bound already."""
    container = {"name": "web", "image": "kube/web", "imagePullPolicy": "IfNotPresent"}

    def post(number: int) -> None:
        spec = {"nodeName": node(number), "containers": [container]}
        pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": names[number]}, "spec": spec}
        code, answer = request("POST", PODS, pod)
        if code != 201:
            raise Failed(f"the apiserver refuses a pod: {answer}")

    with concurrent.futures.ThreadPoolExecutor(workers) as threads:
        list(threads.map(post, range(len(names))))


def delete() -> None:
    """DELETE all pods without grace, and wait until they are gone."""
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as threads:
        list(threads.map(lambda pod: request("DELETE", f"{PODS}/{pod['metadata']['name']}", options), pods()))
    until(lambda: not pods())


def items(url: str) -> list[dict[str, dict[str, object]]]:
    """What a list holds."""
    _, answer = request("GET", f"{url}?resourceVersion=0")
    found: list[dict[str, dict[str, object]]] = answer["items"]
    return found


def pods() -> list[dict[str, dict[str, object]]]:
    """All pods, as the apiserver's cache has them."""
    return items(PODS)


def until(condition: Callable[[], bool], pause: float = 0.02) -> None:
    """Wait for something. Raises Failed if it does not come."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"what was waited for did not come within {PATIENCE:g} s")
        time.sleep(pause)


def compare(what: str, figure: float, at_least: float) -> None:
    """A row, beside its floor."""
    row(f"floor: {what}", at_least)
    row(what, figure, note=f"{figure / at_least:.2f} x floor (goal 1.3)")


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[int]:
    """A process beside the cluster, which ends with the block. Gives its pid."""
    log = SETTINGS.run / "hollow.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=file, stderr=file)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()
