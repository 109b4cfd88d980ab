"""deploy/lab trace: run one of the three workflows, and show what really happened, hop by hop."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from deploy.cluster.example import request
from deploy.cluster.settings import CHECKOUT
from deploy.cluster.steps import Failed
from deploy.compose import diagram, hops, lab
from deploy.compose.hops import APISERVER, CLIENT, Change, Hop

EXAMPLES = CHECKOUT / "deploy/examples"
WORKFLOWS = {"pod": ("pod.yaml", 1), "rc": ("rc.yaml", 2), "service": ("service.yaml", 2)}
"""The file of what is created, and how many pods are Ready in the end."""
READY_SECONDS = 60.0


def trace(workflow: str, picture: Path) -> None:
    """Create a pod, an rc or a service; print the hops and draw them. Raises Failed."""
    file, pods = WORKFLOWS[workflow]
    namespace = f"trace-{workflow}"
    namespaces = f"{lab.SETTINGS.server}/api/v1/namespaces"
    _create(namespaces, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": namespace}})
    try:
        if workflow == "service":  # its pods are there before, so that the service alone is looked at
            _create(f"{namespaces}/{namespace}/replicationcontrollers", _example("rc.yaml"))
            lab.wait_until(lambda: _ready(namespace) == pods, "the pods are not Ready", READY_SECONDS)
        wanted = _example(file)
        with changes() as seen:
            began = time.time()
            answer = _create(f"{namespaces}/{namespace}/{_plural(wanted)}", wanted)
            answered = time.time()
            done = _programmed(answer, pods) if workflow == "service" else lambda: _ready(namespace) == pods
            lab.wait_until(done, "the workflow is not through", READY_SECONDS)
            time.sleep(0.5)  # the events about it are written behind it
        found = [
            Hop(began, CLIENT, APISERVER, f"POST {wanted['kind']} {wanted['metadata']['name']}"),
            Hop(answered, APISERVER, CLIENT, "201 Created"),
            *hops.of_changes(seen, namespace),
            *recorded(namespace, began),
        ]
    finally:
        request("DELETE", f"{namespaces}/{namespace}")
    sequence = hops.settled(found, began)
    print(diagram.table(sequence))
    picture.write_text(diagram.svg(f"create {workflow}", sequence))
    print(f"\nAs a picture: {picture}")


def recorded(namespace: str, since: float) -> list[Hop]:
    """What the daemons' logs and the minions' engines say about a namespace since a time."""
    found: list[Hop] = []
    for service, container in lab.containers().items():
        if service.startswith(("scheduler-", "controller-manager-", "minion-")):
            said = subprocess.run(["docker", "logs", f"--since={since:.3f}", container], capture_output=True, text=True)
            found += hops.of_log((said.stdout + said.stderr).splitlines(), service, namespace)
        if service.startswith("minion-"):
            inspect = f"docker ps -q --filter label=io.kubernetes.pod.namespace={namespace} | xargs -r docker inspect"
            told = subprocess.run(["docker", "exec", container, "sh", "-c", inspect], capture_output=True, text=True)
            found += [hops.of_container(one, service) for one in json.loads(told.stdout or "[]")]
    return found


@contextlib.contextmanager
def changes() -> Iterator[list[Change]]:
    """A list that grows, while the block runs, by every change of what is stored under /registry."""
    seen: list[Change] = []
    etcd = lab.containers()["etcd-1"]
    watch = subprocess.Popen(
        ["docker", "exec", etcd, "etcdctl", "watch", "--prefix", "/registry", "--write-out=json"],
        stdout=subprocess.PIPE,
    )
    reader = threading.Thread(target=_read, args=(watch, seen))
    reader.start()
    try:
        # Nothing says that the watch has begun but an event of it: the nodes' leases change every few seconds, but a
        # key that nobody else reads does not have to be waited for.
        while not seen:
            subprocess.run(["docker", "exec", etcd, "etcdctl", "put", "/registry/trace", "begins"], capture_output=True)
            time.sleep(0.1)
        yield seen
    finally:
        subprocess.run(["docker", "exec", etcd, "etcdctl", "del", "/registry/trace"], capture_output=True)
        watch.terminate()
        reader.join()
        # docker exec leaves the command behind in the container when its client goes.
        subprocess.run(["docker", "exec", etcd, "pkill", "etcdctl"], capture_output=True)


def _read(watch: subprocess.Popen[bytes], seen: list[Change]) -> None:
    assert watch.stdout
    for line in watch.stdout:
        now = time.time()
        for event in json.loads(line).get("Events", []):
            entry = event["kv"]
            value = base64.b64decode(entry.get("value", ""))
            try:
                stored = json.loads(value) if value and event.get("type") != 1 else None
            except ValueError:  # not an object
                stored = {}
            seen.append(Change(now, entry["mod_revision"], base64.b64decode(entry["key"]).decode(), stored))


def _example(file: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / file).read_text())
    return found


def _plural(wanted: dict[str, Any]) -> str:
    return str(wanted["kind"]).lower() + "s"


def _create(collection: str, wanted: dict[str, Any]) -> dict[str, Any]:
    code, answer = request("POST", collection, wanted)
    if code != 201:
        raise Failed(f"the apiserver refuses {wanted['kind']} {wanted['metadata']['name']}: {answer}")
    return dict(answer)


def _ready(namespace: str) -> int:
    _, answer = request("GET", f"{lab.SETTINGS.server}/api/v1/namespaces/{namespace}/pods")
    conditions = [pod["status"].get("conditions", []) for pod in answer.get("items", [])]
    return sum(any(c["type"] == "Ready" and c["status"] == "True" for c in each) for each in conditions)


def _programmed(service: dict[str, Any], backends: int) -> Callable[[], bool]:
    """Whether the service answers on every minion, by each of its backends."""
    ask = (
        f"for i in 1 2 3 4; do busybox wget -T 2 -q -O- http://{service['spec']['clusterIP']}/; done | sort -u | wc -l"
    )

    def check() -> bool:
        minions = [container for name, container in lab.containers().items() if name.startswith("minion-")]
        answers = [
            subprocess.run(["docker", "exec", each, "sh", "-c", ask], capture_output=True, text=True).stdout
            for each in minions
        ]
        return all(answer.strip() == str(backends) for answer in answers)

    return check
