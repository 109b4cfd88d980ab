"""Init containers, sidecars, hooks and termination messages on a real Docker engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kube.api.core import Pod
from kube.kubelet.docker import DockerRuntime
from tests.integration.kubelet.test_pods import FOREVER, Node, run, sh, web
from tests.kubelet_node import TestNode, is_ready
from tests.own_node import OwnNode


@pytest.fixture
async def kubelet(runtime: DockerRuntime, node: OwnNode, tmp_path: Path) -> AsyncIterator[Node]:
    test_node = TestNode(tmp_path, runtime, name=node.name, ip="127.0.0.1")
    async with test_node.running():
        yield test_node


MOUNTS = [{"name": "data", "mountPath": "/data"}]
DATA = [{"name": "data", "emptyDir": {}}]


def shared(script: str, name: str = "main", **more: Any) -> dict[str, Any]:
    return sh(script, name, volumeMounts=MOUNTS, **more)


async def test_what_init_containers_make_the_containers_find(kubelet: Node) -> None:
    pod = await kubelet.create(
        "web",
        shared(f"cat /data/made; {FOREVER}"),
        initContainers=[
            shared("echo one >> /data/made", "one"),
            shared(f"echo beside >> /data/made; {FOREVER}", "beside", restartPolicy="Always"),
            shared("echo two >> /data/made", "two"),
        ],
        volumes=DATA,
    )
    ready = await kubelet.until(is_ready)
    assert await run(kubelet, pod, "main", "cat /data/made") == "one\nbeside\ntwo"
    assert [s.ready for s in ready.status.initContainerStatuses] == [True, True, True]
    await kubelet.kill_kubelet()
    kubelet.start_kubelet()
    await kubelet.until_runtime(lambda: kubelet.kubelet.synced)
    await kubelet.delete(grace=5)
    await kubelet.until_gone()


async def ended(node: Node) -> Pod:
    return await node.until(lambda p: p.status.phase in ("Succeeded", "Failed"))


async def test_a_job_with_a_sidecar_succeeds(kubelet: Node) -> None:
    beside = sh(FOREVER, "beside", restartPolicy="Always")
    await kubelet.create("web", sh("exit 0"), initContainers=[beside], restartPolicy="Never")
    assert (await ended(kubelet)).status.phase == "Succeeded"


async def test_hooks_are_run_in_the_container(kubelet: Node) -> None:
    hooks = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo started > /data/hook"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo stopping >> /data/hook; cp /data/hook /data/seen"]}},
    }
    script = "trap 'cat /data/seen > /dev/termination-log; exit 3' TERM; while true; do sleep 0.1; done"
    # The second container keeps the pod going, so that the first one's end can be seen.
    pod = await kubelet.create("web", shared(script, lifecycle=hooks), sh("exec sleep 30", "b"), volumes=DATA)
    await kubelet.until(is_ready)
    assert await run(kubelet, pod, "main", "cat /data/hook") == "started"
    await kubelet.delete(grace=20)
    gone = await kubelet.until(lambda p: p.status.containerStatuses[1].state.terminated is not None)
    state = gone.status.containerStatuses[1].state.terminated
    assert state is not None
    assert (state.exitCode, state.message) == (3, "started\nstopping\n")


async def test_an_http_hook_reaches_the_pod(kubelet: Node) -> None:
    hooks = {"postStart": {"httpGet": {"port": 80, "path": "/"}}}
    await kubelet.create("web", web(), sh(FOREVER, "side", lifecycle=hooks))
    await kubelet.until(is_ready)


async def test_a_hook_that_cannot_be_run_is_told(kubelet: Node) -> None:
    hooks = {"postStart": {"exec": {"command": ["/no/such"]}}}
    await kubelet.create("web", sh(FOREVER, lifecycle=hooks), restartPolicy="Never")
    await ended(kubelet)
    assert "PostStartHook failed" in kubelet.recorder.messages("FailedPostStartHook")


@pytest.mark.parametrize(
    ("script", "policy", "message"),
    [
        ("echo why > /dev/termination-log; exit 1", "File", "why\n"),
        ("echo last words; exit 1", "FallbackToLogsOnError", "last words\n"),
        ("echo last words; exit 1", "File", ""),
    ],
)
async def test_what_a_container_says_at_its_end(kubelet: Node, script: str, policy: str, message: str) -> None:
    await kubelet.create("web", sh(script, terminationMessagePolicy=policy), restartPolicy="Never")
    state = (await ended(kubelet)).status.containerStatuses[0].state.terminated
    assert state is not None
    assert (state.exitCode, state.message) == (1, message)
