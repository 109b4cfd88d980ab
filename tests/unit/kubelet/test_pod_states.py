"""v1.0's pod states, row by row, with a whole kubelet on the engine in memory (v1.0/docs/user-guide/pod-states.md).

The ids are the document's own sentences. What each row means for the status alone is in test_status.py; the last row,
"its node is segmented out", is the controller manager's (test_node_lifecycle.py, test_eviction.py).
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kube.api.core import Pod, PodStatus
from kube.kubelet.eviction import Level, thresholds
from kube.kubelet.eviction_manager import EvictionManager
from kube.kubelet.prober import Answer
from tests.kubelet_node import FakeNode, condition, container, is_ready

pytestmark = pytest.mark.looptime

ONE, TWO = ["main"], ["main", "side"]
RESTART, STAYS, SUCCEEDED, FAILED = (
    "restart container, pod stays `Running`",
    "pod stays `Running`",
    "Succeeded",
    "Failed",
)

ROWS = {
    "1 container, container exits success": (ONE, [0], {"Always": RESTART, "OnFailure": SUCCEEDED, "Never": SUCCEEDED}),
    "1 container, container exits failure": (ONE, [1], {"Always": RESTART, "OnFailure": RESTART, "Never": FAILED}),
    "2 containers, container 1 exits failure": (TWO, [1], {"Always": RESTART, "OnFailure": RESTART, "Never": STAYS}),
    "2 containers, container 1 exits failure, when container 2 exits": (
        TWO, [1, 1], {"Always": RESTART, "OnFailure": RESTART, "Never": FAILED},
    ),
    "container becomes OOM": (ONE, ["OOM"], {"Always": RESTART, "OnFailure": RESTART, "Never": FAILED}),
}  # fmt: skip


@pytest.fixture
def phases(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every phase that the kubelet has told, in order."""
    told: list[str] = []
    tell = node.host.statuses.set

    def listened(pod: Pod, status: PodStatus) -> None:
        if not told or told[-1] != status.phase:
            told.append(status.phase)
        tell(pod, status)

    monkeypatch.setattr(node.host.statuses, "set", listened)
    return told


def exit(node: FakeNode, pod: Pod, name: str, how: Any) -> None:
    """The container ends like this."""
    node.runtime.exit(node.id(pod, name), 137 if how == "OOM" else how, oom_killed=how == "OOM")


def restarts(pod: Pod, name: str) -> int:
    return next(status.restartCount for status in pod.status.containerStatuses if status.name == name)


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
@pytest.mark.parametrize(("names", "ends", "outcomes"), ROWS.values(), ids=ROWS.keys())
async def test_pod_is_running(
    node: FakeNode, phases: list[str], names: list[str], ends: list[Any], outcomes: dict[str, str], policy: str
) -> None:
    pod = await node.create("web", *map(container, names), restartPolicy=policy)
    await node.until(is_ready)
    for name, how in zip(names, ends, strict=False):
        exit(node, pod, name, how)
    match outcomes[policy]:
        case "restart container, pod stays `Running`":
            again = await node.until(lambda p: restarts(p, "main") == 1 and is_ready(p))
            reason = {0: "Completed", 1: "Error", "OOM": "OOMKilled"}[ends[0]]
            last = next(s.lastState.terminated for s in again.status.containerStatuses if s.name == "main")
            assert last is not None
            assert last.reason == reason
            assert phases == ["Pending", "Running"]
        case "pod stays `Running`":
            await node.until(lambda p: condition(p, "Ready").status == "False")
            await asyncio.sleep(100)
            assert phases == ["Pending", "Running"]
            assert restarts(await node.pod(), "main") == 0
        case phase:
            await node.until(lambda p: p.status.phase == phase)
            await asyncio.sleep(100)
            assert phases == ["Pending", "Running", phase]
            assert restarts(await node.pod(), "main") == 0


async def test_pod_is_running_a_disk_dies(node: FakeNode, phases: list[str]) -> None:
    await node.create()
    await node.until(is_ready)
    manager = EvictionManager(
        node.runtime, node.host.volumes, node.recorder, lambda: [*node.kubelet.workers.values()],
        thresholds("nodefs.available<10%"), lambda: {"nodefs.available": Level(0, 100)},
    )  # fmt: skip
    await manager.look()
    await node.until(lambda p: p.status.phase == "Failed")
    assert phases == ["Pending", "Running", "Failed"]
    assert "Evicted" in node.recorder.reasons()
    assert all(c.state.name == "EXITED" for c in await node.runtime.list_containers()), "all containers are killed"


async def test_pending_includes_time_spent_downloading_images_over_the_network(node: FakeNode) -> None:
    node.runtime.registry["far/away:1"] = node.runtime.images["kube/web:latest"]
    node.runtime.pull_delay = 300
    await node.create("web", container(image="far/away:1"))
    await asyncio.sleep(200)
    pulling = await node.pod()
    assert pulling.status.phase == "Pending"
    assert pulling.status.containerStatuses[0].state.waiting is not None
    await node.until(is_ready, within=200)


async def test_the_default_state_of_readiness_before_the_initial_delay_is_failure(node: FakeNode) -> None:
    probe = {"exec": {"command": ["true"]}, "initialDelaySeconds": 50}
    await node.create("web", container("asked", readinessProbe=probe), container("not-asked"))
    running = await node.until(lambda p: p.status.phase == "Running")
    await asyncio.sleep(30)
    assert {s.name: s.ready for s in (await node.pod()).status.containerStatuses} == {"asked": False, "not-asked": True}
    assert not is_ready(running)
    await node.until(is_ready)


async def test_the_default_state_of_liveness_before_the_initial_delay_is_success(node: FakeNode) -> None:
    node.answers.answers["main"] = Answer(False, "no")
    probe = {"exec": {"command": ["false"]}, "initialDelaySeconds": 100, "failureThreshold": 1}
    await node.create("web", container(livenessProbe=probe))
    await node.until(is_ready)
    await asyncio.sleep(90)
    assert restarts(await node.pod(), "main") == 0
    await node.until(lambda p: restarts(p, "main") == 1)


async def test_unknown_indicates_that_the_diagnostic_failed_so_no_action_should_be_taken(node: FakeNode) -> None:
    node.answers.answers["main"] = Answer(None, "nobody knows")
    probe = {"exec": {"command": ["true"]}, "failureThreshold": 1, "periodSeconds": 1}
    await node.create("web", container(livenessProbe=probe, readinessProbe=probe))
    await node.until(lambda p: p.status.phase == "Running")
    await asyncio.sleep(100)
    pod = await node.pod()
    assert (restarts(pod, "main"), is_ready(pod)) == (0, False)
