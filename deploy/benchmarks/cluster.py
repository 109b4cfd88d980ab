"""A whole cluster: how long until it is up, until a pod is Ready, and what it weighs.

It starts a cluster of its own (`.run/bench/cluster`, with ports, an etcd and ranges of its own) and stops it again. The
floor of a pod is two `docker run`s, the pause container and the pod's one, in the same run.
"""

from __future__ import annotations

import http.client
import json
import shutil
import statistics
import subprocess
import time

from deploy.benchmarks import median, resident, row, timed
from deploy.cluster.cluster import APISERVER, DAEMONS, ETCD, Cluster
from deploy.cluster.example import is_ready, request
from deploy.cluster.settings import CHECKOUT, Settings
from deploy.cluster.steps import Failed, Steps
from deploy.cluster.up import up

SETTINGS = Settings(
    run=CHECKOUT / ".run/bench/cluster",
    node="bench-node",
    service_range="10.98.0.0/16",
    pod_range="10.247.0.0/16",
    pod_network="kube-bench",
    bridge="kube-bench0",
    etcd_port=27479,
    etcd_peer_port=27480,
    apiserver_port=27080,
    secure_port=27443,
    scheduler_port=27251,
    controller_manager_port=27252,
    kubelet_port=27250,
    kubelet_healthz_port=27248,
    proxy_port=27249,
    dns_port=27254,
    shared_etcd=False,
)
TRIES = 10
STARTS = 5


def bench() -> None:
    """Measure, row by row."""
    cluster = Cluster(SETTINGS)
    cluster.stop()
    shutil.rmtree(SETTINGS.run, ignore_errors=True)
    try:
        row("deploy/up, first run (packages, .venv and images are there)", timed(lambda: up(SETTINGS, quiet())))
        row("deploy/up, second run", timed(lambda: up(SETTINGS, quiet())))
        apiserver, five = cold_starts(cluster)
        row("apiserver, started → ready (median of 5)", apiserver)
        row("all five daemons, started → healthy (median of 5)", five)
        floor = median(TRIES, floor_of_a_pod)
        row("floor: two `docker run`s, pause and web (p50 of 10)", floor)
        pod = median(TRIES, post_to_ready)
        row("one pod, POST → Ready (p50 of 10)", pod, note=f"{pod / floor:.2f} x floor (goal 1.3)")
        for name in (*DAEMONS, ETCD):
            row(f"{name}, resident memory", resident(cluster.supervisor.pid(name)), "MB")
    finally:
        cluster.stop()


def quiet() -> Steps:
    """Steps that print nothing."""
    return Steps(quiet=True)


def cold_starts(cluster: Cluster) -> tuple[float, float]:
    """Seconds until the apiserver is ready, and until all five are healthy."""
    apiserver, five = [], []
    for _ in range(STARTS):
        for name in reversed(DAEMONS):
            cluster.supervisor.stop_program(name)
        began = time.monotonic()
        cluster.start_daemons((APISERVER,))
        apiserver.append(time.monotonic() - began)
        cluster.start_daemons()
        five.append(time.monotonic() - began)
    return statistics.median(apiserver), statistics.median(five)


def floor_of_a_pod(number: int) -> float:
    """Seconds that Docker alone takes for a pause container and one in its network."""
    pause, web = f"bench-pause-{number}", f"bench-web-{number}"
    run = ["docker", "run", "--detach", "--network", SETTINGS.pod_network, "--name", pause, "kube/pause"]
    share = ["docker", "run", "--detach", "--network", f"container:{pause}", "--name", web, "kube/web"]
    try:
        return timed(lambda: [subprocess.run(each, check=True, capture_output=True) for each in (run, share)])
    finally:
        subprocess.run(["docker", "rm", "--force", web, pause], check=False, capture_output=True)


def post_to_ready(number: int) -> float:
    """Seconds from sending a pod until a watch tells that it is Ready."""
    pods = f"{SETTINGS.server}/api/v1/namespaces/default/pods"
    name = f"bench-{number}" if number >= 0 else "bench-first"
    container = {"name": "web", "image": "kube/web", "imagePullPolicy": "IfNotPresent"}
    _, listed = request("GET", pods)
    watch = http.client.HTTPConnection("127.0.0.1", SETTINGS.apiserver_port, timeout=60)
    version = listed["metadata"]["resourceVersion"]
    watch.request("GET", f"/api/v1/namespaces/default/pods?watch=1&resourceVersion={version}")
    events = watch.getresponse()
    began = time.monotonic()
    code, answer = request(
        "POST",
        pods,
        {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": {"containers": [container]}},
    )
    if code != 201:
        raise Failed(f"the apiserver refuses a pod: {answer}")
    for line in events:
        pod = json.loads(line)["object"]
        if pod["metadata"]["name"] == name and is_ready(pod):
            break
    seconds = time.monotonic() - began
    watch.close()
    request("DELETE", f"{pods}/{name}", {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})
    return seconds
