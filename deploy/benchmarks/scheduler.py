"""The scheduler: decisions alone, by the number of nodes, and pods bound end to end on a thousand hollow nodes.

The decisions are made in this process, on a cache that is filled before; their floor is to look at every node once. End
to end an etcd, an apiserver and a scheduler of this suite's own run as processes, and the nodes are objects alone; the
floor is to write the same bindings, as many at a time, without deciding anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any

from deploy.benchmarks import cpu_seconds, resident, row
from deploy.cluster.settings import CHECKOUT
from deploy.cluster.steps import Failed
from kube.api import errors
from kube.api.core import Node, Pod
from kube.client.rest import Client
from kube.scheduler.algorithm import Algorithm
from kube.scheduler.cache import Cache
from kube.scheduler.plugins import Context, default_profile
from kube.scheduler.podinfo import PodInfo
from kube.scheduler.scores import matching_selectors

RUN = CHECKOUT / ".run/bench/scheduler"
SIZES = (100, 1000, 5000)
PODS = 5000
IN_FLIGHT = 64
TIMEOUT = 300.0

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
LIKE = {"matchLabels": {"app": "web"}}
TERM = {"labelSelector": LIKE, "topologyKey": HOSTNAME}
APART = {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [TERM]}}}
EVENLY = {
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": LIKE}
    ]
}


def bench() -> None:
    """Measure, row by row."""
    for nodes in SIZES:
        decisions(nodes)
    with processes() as (server, start_scheduler):
        asyncio.run(end_to_end(server, start_scheduler))


# Decisions


def decisions(nodes: int) -> None:
    """The curve: what a decision costs must not grow with the nodes."""
    floor = look_at_every_node(nodes)
    row(f"floor at {nodes} nodes: to look at every node once", floor, "/s")
    for what, goal, spec, pods, selectors in (
        ("plain pods", {1000: 5000, 5000: 2000}, {}, PODS, []),
        ("pods of a service", {}, {}, PODS, [{"app": "web"}]),
        ("pods apart by host (anti-affinity)", {1000: 300}, APART, min(nodes, 1000), []),
        ("pods evenly over zones (topology spread)", {}, EVENLY, min(nodes, 1000), []),
    ):
        rate = decided(nodes, pods, spec, selectors)
        wanted = f", goal {goal[nodes]:,}" if nodes in goal else ""
        row(f"decisions at {nodes} nodes, {what}", rate, "/s", f"{rate / floor:.1f} x floor{wanted}")


def decided(nodes: int, pods: int, spec: dict[str, Any], selectors: Iterable[dict[str, str]]) -> float:
    """Decisions a second, of CPU time, the first of its kind among them."""
    cache = filled(nodes)
    algorithm = Algorithm(cache, [default_profile(Context(cache, lambda pod: matching_selectors(pod, selectors)))], 1)
    waiting = [pod(f"pod-{number}", spec) for number in range(pods)]
    began = time.process_time()
    for each in waiting:
        info = PodInfo.of(each)
        cache.assume(info, algorithm.choose(info).node)
    return pods / (time.process_time() - began)


def look_at_every_node(nodes: int) -> float:
    """How often a second the free CPU of every node can be read."""
    infos = filled(nodes).nodes()
    times = 200
    began = time.process_time()
    for _ in range(times):
        max(info.allocatable["cpu"] - info.requested.get("cpu", 0) for info in infos)
    return times / (time.process_time() - began)


def filled(nodes: int) -> Cache:
    """A cache of so many empty nodes in three zones."""
    cache = Cache()
    for number in range(nodes):
        cache.set_node(node(number))
    return cache


def node(number: int) -> Node:
    """An empty node that is ready."""
    name, amounts = f"hollow-{number}", {"cpu": "16", "memory": "64Gi", "pods": "110"}
    labels = {HOSTNAME: name, ZONE: f"zone-{number % 3}"}
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": None, "lastTransitionTime": None}
    status = {"capacity": amounts, "allocatable": amounts, "conditions": [ready]}
    return Node.parse({"metadata": {"name": name, "labels": labels}, "spec": {}, "status": status})


def pod(name: str, spec: dict[str, Any] | None = None) -> Pod:
    """A pod that asks for a little."""
    requests = {"cpu": "100m", "memory": "128Mi"}
    container = {"name": "web", "image": "kube/web", "resources": {"requests": requests}}
    metadata = {"name": name, "namespace": "default", "labels": {"app": "web"}}
    return Pod.parse({"metadata": metadata, "spec": {"containers": [container], **(spec or {})}})


# End to end


async def end_to_end(server: str, start_scheduler: Callable[[], int]) -> None:
    """Waiting pods until all are bound, after the same bindings without a scheduler."""
    async with Client(server) as client:
        await all_of(partial(client.create, node(number)) for number in range(1000))
        first = [pod(f"floor-{number}") for number in range(PODS)]
        created = await all_of(partial(client.create, each) for each in first)
        began = time.monotonic()
        await all_of(partial(client.bind, each, f"hollow-{number % 1000}") for number, each in enumerate(created))
        floor = PODS / (time.monotonic() - began)
        row("floor: 5,000 bindings written, 64 at a time", floor, "pods/s")
        await all_of(partial(client.delete, Pod, each.name, "default", grace_period=0) for each in created)

        waiting = [f"pod-{number}" for number in range(PODS)]
        listed = await all_of(partial(client.create, pod(name)) for name in waiting)
        version = max(int(each.metadata.resourceVersion) for each in listed)
        scheduler = start_scheduler()
        seconds, used = await until_bound(client, str(version), len(waiting), scheduler)
        rate = PODS / seconds
        row("5,000 pods on 1,000 empty nodes, first bound → all bound", rate, "pods/s",
            f"{rate / floor:.2f} x floor, goal 800")  # fmt: skip
        row("  of that the scheduler's own CPU", PODS / used if used else 0.0, "pods/s", "of a core")
        row("scheduler, resident memory at 5,000 pods", resident(scheduler), "MB")
        more = await all_of(partial(client.create, pod(f"more-{number}")) for number in range(PODS))
        version = min(int(each.metadata.resourceVersion) for each in more) - 1
        await until_bound(client, str(version), PODS, scheduler)
        row("scheduler, resident memory at 1,000 nodes and 10,000 pods", resident(scheduler), "MB", "goal 150")


async def all_of(work: Iterable[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """The results of requests, so many of which are in flight at a time. A connection that breaks is no answer."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one(ask: Callable[[], Awaitable[Any]]) -> Any:
        async with slots:
            while True:
                try:
                    return await ask()
                except errors.ServiceUnavailable:
                    await asyncio.sleep(0.1)

    return await asyncio.gather(*map(one, work))


async def until_bound(client: Client, version: str, pods: int, scheduler: int) -> tuple[float, float]:
    """Seconds from the first binding to the last, and of the scheduler's CPU meanwhile."""
    bound: set[str] = set()
    began, used = 0.0, 0.0
    async with asyncio.timeout(TIMEOUT):
        async for event in client.watch(Pod, "default", resource_version=version):
            if event.object is not None and event.object.spec.nodeName:
                if not bound:
                    began, used = time.monotonic(), cpu_seconds(scheduler)
                bound.add(event.object.name)
                if len(bound) == pods:
                    break
    return time.monotonic() - began, cpu_seconds(scheduler) - used


@contextlib.contextmanager
def processes() -> Iterator[tuple[str, Callable[[], int]]]:
    """An etcd and an apiserver that are ready, and how to start a scheduler on them."""
    shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir(parents=True)
    client, peer, port, secure, health = free_ports(5)
    etcd, server = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{port}"
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *command: str) -> int:
        with (RUN / f"{name}.log").open("wb") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=CHECKOUT))
        return started[-1].pid

    def start_scheduler() -> int:
        python = [sys.executable, "-m", "kube.scheduler"]
        pid = start("scheduler", *python, f"--etcd-servers={etcd}", f"--master={server}", f"--port={health}")
        wait_for(f"http://127.0.0.1:{health}/healthz", "scheduler")
        return pid

    try:
        start("etcd", "etcd", f"--data-dir={RUN / 'etcd'}", f"--listen-client-urls={etcd}",
              f"--advertise-client-urls={etcd}", f"--listen-peer-urls=http://127.0.0.1:{peer}")  # fmt: skip
        wait_for(f"{etcd}/health", "etcd")
        start("apiserver", sys.executable, "-m", "kube.apiserver", f"--etcd-servers={etcd}",
              f"--insecure-port={port}", f"--secure-port={secure}", f"--cert-dir={RUN / 'certs'}",
              "--disable-admission-plugins=ServiceAccount")  # fmt: skip
        wait_for(f"{server}/readyz", "apiserver")
        yield server, start_scheduler
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody uses."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def wait_for(url: str, name: str) -> None:
    """Until a health page says yes. Raises Failed."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=1) as answer:
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise Failed(f"{name} is not healthy after 60 s: see {RUN / f'{name}.log'}")
