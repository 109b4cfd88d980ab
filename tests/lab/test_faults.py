"""Everything that can break, broken, while clients write, watch and ask a service; and nothing is lost by it.

After each fault the lab must heal by itself: every node Ready, the controllers' counts exact, each pod with its
containers on its node and no container of a pod that is not there, the service answered by exactly its pods. Then a
checker goes through what the clients noted, and through what the schedulers and controller managers did. The table of
all is in .run/lab/faults.md.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.cluster.example import request
from deploy.compose import lab as commands
from deploy.compose import trace
from deploy.compose.hops import Change
from deploy.compose.lab import SETTINGS
from tests.e2e.api import Api, container, controller, is_ready, service
from tests.e2e.traffic import Stream, backends
from tests.e2e.waiting import eventually
from tests.history import Outcome, check
from tests.lab.churn import Churn
from tests.lab.faults import FAULTS, MINIONS, Fault, docker, inside, said
from tests.lab.leaders import acts, bindings, held, wrong
from tests.lab.table import Row, Table
from tests.recorder import Recorder

NAMESPACE = "faults"
REPLICAS = 4
SANDBOX = "POD"
"""The name of the container that holds a pod's address."""
HEALED = 120.0
"""Seconds that healing may take at most. What it takes is in the table."""
SHORT = ("kill both apiservers", "kill the leading scheduler", "kill the etcd leader", "kill a kubelet")
"""What a run of all tests has time for."""


@pytest.fixture(scope="module")
def port(api: Api) -> int:
    """The port of every node that leads to a service, whose backends live on all minions."""
    api.create("replicationcontrollers", web())
    port: int = api.create("services", service("web", type="NodePort"))["spec"]["ports"][0]["nodePort"]
    api.wait_pods("app=web", REPLICAS)
    return port


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    """What is reported in the end."""
    table = Table()
    yield table
    print(f"\n{table}")  # noqa: T201
    (commands.RUN / "faults.md").write_text(f"{table}\n")


@pytest.mark.parametrize("again", range(int(os.environ.get("KUBE_LAB_TRIES", "1"))))
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in SHORT else pytest.mark.long) for n in FAULTS])
def test_it_heals_and_nothing_is_lost(api: Api, port: int, table: Table, name: str, again: int) -> None:
    own = Api(SETTINGS.server, f"{NAMESPACE}-{time.time_ns()}")
    own.create_namespace()
    try:
        asyncio.run(torment(name, api, port, own, table))
        exact_in_the_end = f"what came and went is as many as wanted after: {name}"
        eventually(lambda: exact(own.namespace, "churn", Churn.REPLICAS), exact_in_the_end, HEALED)
    finally:
        own.clear()
        own.close()


async def torment(name: str, api: Api, port: int, own: Api, table: Table) -> None:
    """Break something while clients are at work, wait until all is well, and judge what they saw."""
    recorder, churn = Recorder([SETTINGS.server], own.namespace), Churn(SETTINGS.server, own.namespace)
    began = time.time()
    eventually(lambda: healed(api, port), "the lab is well before anything breaks", HEALED)
    before = where(api)
    # The client asks minion-1, to which nothing happens but when everything is killed.
    with trace.changes() as changed, churn.running(), Stream(commands.address("minion-1"), port) as stream:
        async with recorder.running(writers=2):
            fault, seconds = await asyncio.to_thread(suffer, name, api, port)
            await asyncio.to_thread(churn.goes_on, HEALED)
    mistakes = check(recorder.history)
    unknown = sum(write.outcome is Outcome.UNKNOWN for write in recorder.history.writes)
    table.add(Row(name, recorder.acknowledged(), unknown, len(mistakes), len(stream.failed), seconds))
    assert mistakes == []
    assert recorder.acknowledged() > 0
    assert acted_without_the_lease(changed, began) == []
    what_was_there = f"backends before: {before}, after: {where(api)}, and meanwhile: {fate(changed, began)}"
    why = f"requests failed though no backend should have died; {what_was_there}"
    assert fault.takes_backends or stream.failed == [], why


def suffer(name: str, api: Api, port: int) -> tuple[Fault, float]:
    """Cause a fault, end it, and wait until all is well. Seconds from its end until then."""
    fault = FAULTS[name]()
    fault.cause()
    time.sleep(fault.lasts)  # what is waited for is that nothing happens in it
    fault.end()
    ended = time.monotonic()
    eventually(lambda: healed(api, port), f"all is well again after: {name}", HEALED)
    return fault, time.monotonic() - ended


def where(api: Api) -> dict[str, str]:
    """The service's backends, by name: their addresses and nodes."""
    pods = api.pods("app=web")
    return {pod["metadata"]["name"]: f"{pod['status']['podIP']} on {pod['spec']['nodeName']}" for pod in pods}


def fate(changed: list[Change], began: float) -> list[str]:
    """What became of the service's objects, and after how many seconds."""
    return [
        f"{change.time - began:.2f}: {change.key} {'is gone' if change.object is None else change.object.get('status')}"
        for change in changed
        if f"/{NAMESPACE}/" in change.key and "/events/" not in change.key
    ]


def healed(api: Api, port: int) -> bool:
    """Whether everything is as it was wished. Asserts, with what is not."""
    exact(NAMESPACE, "web", REPLICAS)
    names = {pod["metadata"]["name"] for pod in api.pods("app=web")}
    for _ in range(5):
        assert set(backends(commands.address("minion-1"), 2 * REPLICAS, port)) == names
    states = docker("inspect", "--format", "{{.Name}} {{.State.Status}}", *commands.containers().values()).splitlines()
    assert [state for state in states if not state.endswith(" running")] == []
    return True


def exact(namespace: str, app: str, count: int) -> bool:
    """Whether all nodes are Ready, and all pods of a namespace are: so many of one app, each with its containers.

    Asserts, with what is not so.
    """
    ready = commands.ready_nodes()
    assert len(ready) == len(MINIONS), f"Ready are only {ready}"
    code, listed = request("GET", f"{SETTINGS.server}/api/v1/namespaces/{namespace}/pods")
    assert code == 200, listed
    pods = {pod["metadata"]["uid"]: pod for pod in listed["items"]}
    states = {pod["metadata"]["name"]: (is_ready(pod), "deletionTimestamp" in pod["metadata"]) for pod in pods.values()}
    assert set(states.values()) <= {(True, False)}, f"(ready, to be deleted): {states}"
    assert [pod["metadata"]["labels"]["app"] for pod in pods.values()] == [app] * count
    running = Counter(found for minion in MINIONS for found in containers(minion, namespace))
    expected = Counter(
        (pod["spec"]["nodeName"], uid, name)
        for uid, pod in pods.items()
        for name in (SANDBOX, *(each["name"] for each in pod["spec"]["containers"]))
    )
    assert running == expected, f"too many: {running - expected}, too few: {expected - running}"
    return True


def containers(minion: str, namespace: str) -> list[tuple[str, str, str]]:
    """Those that run there: the minion, the pod's uid, the container's name."""
    form = '{{.Label "io.kubernetes.pod.uid"}} {{.Label "io.kubernetes.container.name"}}'
    told = inside(minion, f"docker ps --filter label=io.kubernetes.pod.namespace={namespace} --format '{form}'")
    return [(minion, uid, name) for uid, name in map(str.split, told.splitlines())]


def acted_without_the_lease(changed: list[Change], began: float) -> list[str]:
    """What schedulers and controller managers did while another led. Asserts that they did anything."""
    found, bound = [], bindings(changed)
    for kind in ("scheduler", "controller-manager"):
        done = []
        for name in (f"{kind}-1", f"{kind}-2"):
            done += acts(name, said(name, began), bound)
        assert done, f"no {kind} did anything"
        found += wrong(held(changed, f"/registry/leases/kube-system/kube-{kind}"), done)
    return found


def web() -> dict[str, Any]:
    """Web servers that leave a dead node after a second, and go on answering for a while when they are to stop."""
    unreachable = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                   "tolerationSeconds": 1}  # fmt: skip
    return controller(
        "web",
        REPLICAS,
        container(lifecycle={"preStop": {"exec": {"command": ["sleep", "2"]}}}),
        terminationGracePeriodSeconds=5,
        tolerations=[unreachable, {**unreachable, "key": "node.kubernetes.io/not-ready"}],
    )
