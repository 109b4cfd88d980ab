"""deploy/lab trace: run one of the three workflows, and show what really happened, hop by hop."""

from __future__ import annotations

import asyncio
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
from kube.store.etcd import EtcdStore
from kube.store.store import Unavailable

EXAMPLES = CHECKOUT / "deploy/examples"
WORKFLOWS = {"pod": ("pod.yaml", 1), "rc": ("rc.yaml", 2), "service": ("service.yaml", 2)}
"""The file of what is created, and how many pods are Ready in the end."""
READY_SECONDS = 60.0
RETRY = 0.2


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
        what = f"{wanted['kind']} {wanted['metadata']['name']}"
        with changes() as seen:
            began = time.time()
            answer = _create(f"{namespaces}/{namespace}/{_plural(wanted)}", wanted)
            answered = time.time()
            done = _programmed(answer, pods) if workflow == "service" else lambda: _ready(namespace) == pods
            lab.wait_until(done, "the workflow is not through", READY_SECONDS)
            time.sleep(0.5)  # the events about it are written behind it
        found = [
            Hop(began, CLIENT, APISERVER, f"POST {what}"),
            Hop(answered, APISERVER, CLIENT, "201 Created", proves=f"{what} created"),
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
    begun, loop = threading.Event(), asyncio.new_event_loop()
    watching = loop.create_task(_watch(seen, begun))
    thread = threading.Thread(target=_run, args=(loop, watching))
    thread.start()
    begun.wait()
    try:
        yield seen
    finally:
        loop.call_soon_threadsafe(watching.cancel)
        thread.join()


def _run(loop: asyncio.AbstractEventLoop, watching: asyncio.Task[None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(watching)
    loop.close()


async def _watch(seen: list[Change], begun: threading.Event) -> None:
    """Follow for ever, through whichever members of etcd there are: what ends a watch goes on where it was."""
    revision = 0
    try:
        while True:
            if not (members := _etcd()):
                await asyncio.sleep(RETRY)
                continue
            store = EtcdStore(members)
            try:
                # From a revision on, not "from now": then nothing is missed, however long the watch takes to begin.
                revision = revision or await store.revision()
                begun.set()
                async for batch in store.watch("/registry/", revision + 1):
                    now = time.time()
                    seen += [
                        Change(now, change.revision, change.key, _stored(change.value)) for change in batch.changes
                    ]
                    revision = batch.revision
            except Unavailable:
                await asyncio.sleep(RETRY)
            finally:
                await store.close()
    finally:
        begun.set()


def _etcd() -> list[str]:
    """Where the members of etcd are that run."""
    members = [name for name in lab.containers() if name.startswith("etcd-")]
    return [f"http://{address}:2379" for address in map(lab.address, members) if address]


def _stored(value: bytes | None) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] | None = json.loads(value) if value is not None else None
    except ValueError:  # not an object
        return {}
    return found


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
    once = f"timeout 2 busybox wget -q -O- http://{service['spec']['clusterIP']}/"
    ask = f"for i in 1 2 3 4; do {once}; done | sort -u | wc -l"

    def check() -> bool:
        minions = [container for name, container in lab.containers().items() if name.startswith("minion-")]
        answers = [
            subprocess.run(["docker", "exec", each, "sh", "-c", ask], capture_output=True, text=True).stdout
            for each in minions
        ]
        return all(answer.strip() == str(backends) for answer in answers)

    return check
