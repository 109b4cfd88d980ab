"""The apiserver: creates, reads, lists, watches, memory and start, plain and by TLS, beside what the parts can do.

It starts an etcd, apiservers and the floors of its own, and stops them again. Load comes from wrk, with 16 connections.
Everything shares the machine's cores, so figure and floor are measured in turn, three times, and the medians are shown;
the CPU time that the apiserver takes for a request depends less on what else the machine does.
"""

from __future__ import annotations

import http.client
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from deploy.benchmarks import _pods, _servers, _wrk, resident, row
from deploy.benchmarks._servers import TOKEN, Server, request
from deploy.cluster import machine
from deploy.cluster.settings import CHECKOUT
from deploy.cluster.steps import Failed, Steps

DIRECTORY = CHECKOUT / ".run/bench/apiserver"
ETCD_PORT, API_PORT, FLOOR_PORT, LIST_FLOOR_PORT = 27579, 27180, 27182, 27184
PODS = 12_000
ROUNDS = 3
SECONDS = 3
STARTS = 5
WATCHERS, WRITES, WRITE_RATE = 1000, 500, 50
FILLED, CREATED, WATCHED = (f"/api/v1/namespaces/{name}/pods" for name in ("filled", "created", "watched"))
ONE_POD = f"{FILLED}/web-00000007"


def bench() -> None:
    """Measure, row by row."""
    install_wrk()
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    DIRECTORY.mkdir(parents=True)
    with _servers.etcd(DIRECTORY, ETCD_PORT).running() as etcd:
        starts(etcd, "etcd empty")
        with _servers.apiserver(DIRECTORY, etcd.url, API_PORT).running() as api:
            row("resident memory, nothing stored", resident(api.pid), "MB")
            fill(api)
            row(f"resident memory, {PODS:,} pods", resident(api.pid), "MB", "goal 150")
            one, all_ = DIRECTORY / "one.json", DIRECTORY / "all.json"
            one.write_bytes(request("GET", api.url + ONE_POD))
            all_.write_bytes(request("GET", api.url + FILLED))
            with floors(one, all_) as (one_floor, list_floor):
                for tls in (False, True):
                    reads(api, one_floor, tls=tls)
                    lists(api, list_floor, tls=tls)
                creates(api, etcd)
                creates(api, etcd, tls=True)
            watches(api)
            row("resident memory, at the end", resident(api.pid), "MB", "goal 150")
        starts(etcd, f"{PODS:,} pods and more")
        with _servers.apiserver(DIRECTORY, etcd.url, API_PORT, "--workers=2").running() as api, ExitStack() as stack:
            one_floor = stack.enter_context(_servers.plain(DIRECTORY, FLOOR_PORT, one).running())
            reads(api, one_floor, note="--workers 2")
            creates(api, etcd, note="--workers 2")


def install_wrk() -> None:
    """Have Debian's wrk."""
    if not machine.which("wrk"):
        with Steps(quiet=True).step("wrk") as step:
            machine.install(step, ["wrk"], DIRECTORY.parent / "apt.log")


def starts(etcd: Server, what: str) -> None:
    """Cold starts, from the start of the process to its being ready."""
    seconds = []
    for _ in range(STARTS):
        api = _servers.apiserver(DIRECTORY, etcd.url, API_PORT)
        with api.running():
            seconds.append(api.ready_after)
    row(f"started → ready, {what} (median of {STARTS})", statistics.median(seconds), note="goal 0.8")


def fill(api: Server) -> None:
    """Create the pods that are read, and the namespaces of the others."""
    for path in (FILLED, CREATED, WATCHED):
        name = path.split("/")[-2]
        namespace = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}
        request("POST", f"{api.url}/api/v1/namespaces", namespace)
    connection = http.client.HTTPConnection("127.0.0.1", API_PORT)
    for number in range(PODS):
        body = _pods.template() % (number, number % 100)
        connection.request("POST", FILLED, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 201:
            raise Failed(f"the apiserver refuses a pod: {answer.read().decode()}")
        answer.read()
    connection.close()


@contextmanager
def floors(one: Path, all_: Path) -> Iterator[tuple[Server, Server]]:
    """Plain callables that send one pod, and all of them."""
    pair = [DIRECTORY / "pki/apiserver.crt", DIRECTORY / "pki/apiserver.key"]
    with (
        _servers.plain(DIRECTORY, FLOOR_PORT, one, *pair).running() as first,
        _servers.plain(DIRECTORY, LIST_FLOOR_PORT, all_, *pair).running() as second,
    ):
        yield first, second


def way(server: Server, *, tls: bool) -> str:
    """The URL of a server's plain port, or of the next one, which speaks TLS."""
    return f"https://127.0.0.1:{(urlsplit(server.url).port or 0) + 1}" if tls else server.url


def reads(api: Server, floor: Server, *, tls: bool = False, note: str = "") -> None:
    """GET one pod, as of now, and as of whenever."""
    suffix = f" ({note})" if note else ", TLS" if tls else ""
    token = TOKEN if tls else ""
    base, current, cached, cpu = [], [], [], []
    for _ in range(ROUNDS):
        base.append(_wrk.load(way(floor, tls=tls) + "/", seconds=SECONDS))
        before = api.cpu_seconds()
        current.append(_wrk.load(way(api, tls=tls) + ONE_POD, seconds=SECONDS, token=token))
        cpu.append((api.cpu_seconds() - before) / current[-1].requests)
        cached.append(_wrk.load(f"{way(api, tls=tls)}{ONE_POD}?resourceVersion=0", seconds=SECONDS, token=token))
    most = statistics.median(load.rate for load in base)
    row(f"floor: a plain ASGI callable{suffix}", most, "/s")
    rate = statistics.median(load.rate for load in current)
    row(f"GET one pod{suffix}", rate, "/s", f"{rate / most:.2f} x floor (goal 0.6), p99 {_p99(current)}, {_cpu(cpu)}")
    rate = statistics.median(load.rate for load in cached)
    row(f"GET one pod, resourceVersion=0{suffix}", rate, "/s", f"{rate / most:.2f} x floor")


def creates(api: Server, etcd: Server, *, tls: bool = False, note: str = "") -> None:
    """Create pods, beside etcd transactions that write as much."""
    suffix = f" ({note})" if note else ", TLS" if tls else ""
    loads, floor, own, cpu = [], [], [], []
    for _ in range(ROUNDS):
        floor.append(transactions("grpc", etcd))
        own.append(transactions("store", etcd))
        before = api.cpu_seconds()
        lua = _wrk.numbered("POST", CREATED, _pods.template(), next(_first))
        loads.append(_wrk.load(way(api, tls=tls) + CREATED, script=lua, seconds=SECONDS, token=TOKEN if tls else ""))
        cpu.append((api.cpu_seconds() - before) / loads[-1].requests)
        request("DELETE", f"{api.url}{CREATED}?gracePeriodSeconds=0")
    most, rate = statistics.median(floor), statistics.median(load.rate for load in loads)
    row(f"floor: etcd transactions by gRPC's client{suffix}", most, "/s")
    row(f"etcd transactions by the store{suffix}", statistics.median(own), "/s")
    row(
        f"create pods{suffix}", rate, "/s",
        f"{rate / most:.2f} x floor (goal 0.5), p99 {_p99(loads)} (goal 20 ms), {_cpu(cpu)}",
    )  # fmt: skip


def transactions(client: str, etcd: Server) -> float:
    """etcd transactions a second, by one of the clients."""
    script = [
        sys.executable,
        "-m",
        "deploy.benchmarks._transactions",
        client,
        etcd.url,
        str(DIRECTORY / "one.json"),
        "2",
    ]
    return float(subprocess.run(script, check=True, capture_output=True, text=True, cwd=CHECKOUT).stdout)


_first = iter(range(0, 100_000_000, 1_000_000))
"""From which number on each load names its pods."""


def lists(api: Server, floor: Server, *, tls: bool = False) -> None:
    """LIST all pods, and some, and what that means for others."""
    suffix = ", TLS" if tls else ""
    token = TOKEN if tls else ""
    base, everything, selected, others = [], [], [], []
    for _ in range(ROUNDS):
        base.append(_wrk.load(way(floor, tls=tls) + "/", seconds=SECONDS, connections=1))
        other = _wrk.start(f"{api.url}{ONE_POD}", seconds=SECONDS, connections=1)
        everything.append(_wrk.load(way(api, tls=tls) + FILLED, seconds=SECONDS, connections=1, token=token))
        others.append(other.result())
        one_in_hundred = f"{way(api, tls=tls)}{FILLED}?labelSelector=shard%3Ds07"
        selected.append(_wrk.load(one_in_hundred, seconds=1, connections=1, token=token))
    least = statistics.median(load.p50 for load in base) * 1000
    row(f"floor: its {(DIRECTORY / 'all.json').stat().st_size / 1e6:.0f} MB as a static body{suffix}", least, "ms")
    took = statistics.median(load.p50 for load in everything) * 1000
    row(f"LIST {PODS:,} pods (p50){suffix}", took, "ms", f"{took / least:.2f} x floor (goal 1.5)")
    longest = statistics.median(load.longest for load in others) * 1000
    row(f"a GET meanwhile, the longest{suffix}", longest, "ms", f"goal 50, p99 {_p99(others)}")
    took = statistics.median(load.p50 for load in selected) * 1000
    row(f"LIST with a selector, 1 in 100 matches (p50){suffix}", took, "ms", "goal 15")


def watches(api: Server) -> None:
    """Many watchers of a collection that is written to."""
    script = [sys.executable, "-m", "deploy.benchmarks._watchers", "127.0.0.1", str(API_PORT), WATCHED]
    numbers = [str(WATCHERS), str(WRITES), str(WRITE_RATE)]
    before = api.cpu_seconds()
    ended = subprocess.run([*script, *numbers], capture_output=True, text=True, cwd=CHECKOUT)
    if ended.returncode:
        raise Failed(f"the watchers failed:\n{ended.stderr}")
    took = json.loads(ended.stdout)
    note = f"goal 200, p50 {took['p50'] * 1000:.0f} ms, longest {took['longest'] * 1000:.0f} ms"
    row(f"write → event, {WATCHERS:,} watchers, {WRITE_RATE} writes/s (p99)", took["p99"] * 1000, "ms", note)
    cpu = (api.cpu_seconds() - before) / (WATCHERS * WRITES)
    row("an event for one watcher, the apiserver's CPU time", cpu * 1e6, "µs")


def _p99(loads: Sequence[_wrk.Load]) -> str:
    return f"{statistics.median(load.p99 for load in loads) * 1000:.1f} ms"


def _cpu(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1e6:.0f} µs of CPU each"
