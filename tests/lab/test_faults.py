"""Everything that can break, broken, while clients write, watch and ask a service; and nothing is lost by it.

After each fault the lab must heal by itself: every node Ready, the controller's count exact, each pod with its
containers on its node and no container of a pod that is not there. At the end a checker goes through what the clients
noted. The table is printed, and kept in .run/lab/faults.md.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deploy.cluster.example import ask, request
from deploy.compose import lab as commands
from deploy.compose import trace
from deploy.compose.hops import Change
from deploy.compose.lab import SETTINGS
from tests.e2e.waiting import eventually
from tests.history import Outcome, check
from tests.lab.conftest import MINIONS
from tests.lab.faults import Fault, all_faults, docker, inside
from tests.lab.leaders import Held, acts, wrong
from tests.recorder import Recorder

NAMESPACE = "faults"
REPLICAS = 4
HEALED = 120.0
"""Seconds that healing may take at most. What it takes is in the table."""
QUIET = 0.5


def test_it_heals_and_nothing_is_lost(lab: None) -> None:
    url = SETTINGS.server
    namespaces = f"{url}/api/v1/namespaces"
    made, _ = request("POST", namespaces, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": NAMESPACE}})
    assert made == 201
    try:
        asyncio.run(torment(url))
    finally:
        request("DELETE", f"{namespaces}/{NAMESPACE}")


async def torment(url: str) -> None:
    web_and_service(url)
    await asyncio.to_thread(eventually, healed, "the lab is well before anything breaks", HEALED)
    recorder, rows = Recorder([url], NAMESPACE), []
    began = time.time()
    with trace.changes() as changed, asking() as client:
        async with recorder.running(writers=2):
            for chosen in all_faults():
                fault = await asyncio.to_thread(chosen)
                before, failed = recorder.acknowledged(), len(client.failed)
                seconds = await asyncio.to_thread(suffer, fault)
                rows.append((fault.name, recorder.acknowledged() - before, len(client.failed) - failed, seconds))
                print(f"{fault.name}: healed after {seconds:.1f} s")  # noqa: T201
    mistakes = check(recorder.history)
    report(rows, len(mistakes))
    assert mistakes == []
    assert two_leaders(changed, began) == []
    unknown = sum(write.outcome is Outcome.UNKNOWN for write in recorder.history.writes)
    assert recorder.acknowledged() > 200
    assert unknown > 0, "the faults were none, if every write was answered"
    # The backends live on all three minions, and the client asks minion-1, which nothing happens to: only a minion that
    # dies or is cut off takes backends with it.
    innocent = ("apiserver", "scheduler", "controller-manager", "etcd member", "etcd leader", "pause etcd", "kubelet",
                "kube-proxy", "from etcd", "everything at once")  # fmt: skip
    guilty = [row for row in rows if row[2] and any(word in row[0] for word in innocent)]
    assert guilty == [], "requests failed though no backend had died"


def suffer(fault: Fault) -> float:
    """Cause a fault, end it, and wait until all is well. Seconds from its end until then."""
    fault.cause()
    time.sleep(fault.lasts)  # what is waited for is that nothing happens in it
    fault.end()
    ended = time.monotonic()
    eventually(healed, f"all is well again after: {fault.name}", HEALED)
    return time.monotonic() - ended


def web_and_service(url: str) -> None:
    """Web servers that leave a dead node after a second, behind a port of every node."""
    unreachable = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                   "tolerationSeconds": 1}  # fmt: skip
    spec = {
        "containers": [{"name": "web", "image": "kube/web", "imagePullPolicy": "IfNotPresent"}],
        "tolerations": [unreachable, {**unreachable, "key": "node.kubernetes.io/not-ready"}],
        "terminationGracePeriodSeconds": 2,
    }
    rc = {
        "kind": "ReplicationController",
        "apiVersion": "v1",
        "metadata": {"name": "web"},
        "spec": {"replicas": REPLICAS, "template": {"metadata": {"labels": {"app": "web"}}, "spec": spec}},
    }
    service = {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80}]},
    }
    for plural, body in (("replicationcontrollers", rc), ("services", service)):
        code, answer = request("POST", f"{url}/api/v1/namespaces/{NAMESPACE}/{plural}", body)
        assert code == 201, answer


def healed() -> bool:
    """Whether everything is as it was wished. Asserts, with what is not."""
    url = SETTINGS.server
    assert len(commands.ready_nodes()) == MINIONS, f"Ready are only {commands.ready_nodes()}"
    _, listed = request("GET", f"{url}/api/v1/namespaces/{NAMESPACE}/pods")
    pods = {pod["metadata"]["uid"]: pod for pod in listed["items"]}
    ready = [pod for pod in pods.values() if "deletionTimestamp" not in pod["metadata"] and is_ready(pod)]
    assert (len(pods), len(ready)) == (REPLICAS, REPLICAS), f"{len(ready)} of {len(pods)} pods are ready"
    running: dict[str, list[str]] = {}
    for number in range(1, MINIONS + 1):
        form = '{{.Label "io.kubernetes.pod.uid"}} {{.Label "io.kubernetes.container.name"}}'
        told = inside(
            f"minion-{number}", f"docker ps --filter label=io.kubernetes.pod.namespace={NAMESPACE} --format '{form}'"
        )
        for line in told.splitlines():
            uid, _, container = line.partition(" ")
            running.setdefault(uid, []).append(container)
    assert running.keys() == pods.keys(), f"containers of pods {set(running) ^ set(pods)} are too many, or missing"
    doubled = {uid: names for uid, names in running.items() if names.count("web") != 1 or len(names) != 2}
    assert doubled == {}
    for service, container in commands.containers().items():
        state = docker("inspect", "--format", "{{.State.Status}}", container).strip()
        assert state == "running", f"{service} is {state}"
    return True


def is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


class Asking:
    """A client that asks the service, one request after the other, each on a new connection."""

    def __init__(self, address: str, port: int) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self._address, self._port = address, port
        self._stop = threading.Event()

    def run(self) -> None:
        while not self._stop.wait(0.05):
            try:
                ask(self._address, self._port)
                self.answered += 1
            except OSError as error:
                self.failed.append(repr(error))

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def asking() -> Iterator[Asking]:
    """A client of the service, by minion-1's port for it."""
    _, service = request("GET", f"{SETTINGS.server}/api/v1/namespaces/{NAMESPACE}/services/web")
    client = Asking(commands.address("minion-1"), service["spec"]["ports"][0]["nodePort"])

    def answers() -> bool:
        return bool(ask(client._address, client._port))

    eventually(answers, "the service answers", 60)
    thread = threading.Thread(target=client.run)
    thread.start()
    try:
        yield client
    finally:
        client.stop()
        thread.join()


def two_leaders(changed: list[Change], began: float) -> list[str]:
    """What schedulers and controller-managers did while another led."""
    found = []
    for kind in ("scheduler", "controller-manager"):
        key = f"/registry/leases/kube-system/kube-{kind}"
        held = [
            Held(change.time, str(change.object["spec"].get("holderIdentity") or ""))
            for change in changed
            if change.key == key and change.object
        ]
        done = []
        for service in (f"{kind}-1", f"{kind}-2"):
            told = docker("logs", f"--since={began:.3f}", commands.containers()[service])
            done += acts(service, told.splitlines())
        first = held[0].time if held else float("inf")
        found += wrong(held, [act for act in done if act[0] >= first])
    return found


def report(rows: list[tuple[str, int, int, float]], lost: int) -> None:
    """The table, on the terminal and in a file."""
    lines = ["| fault | writes acknowledged meanwhile | requests failed | seconds to heal |", "|---|---|---|---|"]
    lines += [f"| {name} | {writes} | {failed} | {seconds:.1f} |" for name, writes, failed, seconds in rows]
    lines.append(f"\nWrites acknowledged: {sum(row[1] for row in rows)}; lost, doubled or out of order: {lost}.")
    text = "\n".join(lines)
    print(f"\n{text}")  # noqa: T201
    (commands.RUN / "faults.md").write_text(text + "\n")
