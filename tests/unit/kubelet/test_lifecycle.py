"""Hooks, termination messages and deadlines: what happens around a container's start and end. In virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kube.api.core import Pod
from kube.kubelet.fake import Program
from kube.kubelet.prober import Answer
from kube.kubelet.runtime import ExecResult
from kube.kubelet.termination import MAX_MESSAGE, TerminationLogs, shortened
from tests.kubelet_node import FakeNode, condition, container, is_ready, make_pod

pytestmark = pytest.mark.looptime


def time() -> float:
    return asyncio.get_running_loop().time()


def hooks(**handlers: Any) -> dict[str, Any]:
    return {"lifecycle": handlers}


def command(*words: str) -> dict[str, Any]:
    return {"exec": {"command": list(words)}}


def started(node: FakeNode) -> list[str]:
    return [name.split("_")[1] for method, name in node.runtime.calls if method == "start_container"]


async def test_a_container_counts_as_started_when_its_post_start_hook_is_over(node: FakeNode) -> None:
    begin = time()
    await node.create("web", container("a", **hooks(postStart={"sleep": {"seconds": 5}})), container("b"))
    pod = await node.until(lambda p: bool(p.status.containerStatuses))
    await asyncio.sleep(3)
    pod = await node.pod()
    assert [s.state.waiting and s.state.waiting.reason for s in pod.status.containerStatuses] == [
        "ContainerCreating", "ContainerCreating",
    ]  # fmt: skip
    assert (pod.status.phase, started(node)) == ("Pending", ["a"])
    await node.until(is_ready)
    assert 5 <= time() - begin < 5.5
    assert started(node) == ["a", "b"]


async def test_a_post_start_hook_that_fails_costs_the_container_its_life(node: FakeNode) -> None:
    node.runtime.exec_results[("hello",)] = ExecResult(3, b"who?")
    pod = await node.create("web", container(**hooks(postStart=command("hello"))))
    await node.until_runtime(lambda: "FailedPostStartHook" in node.recorder.reasons())
    pod = await node.until(lambda p: p.status.containerStatuses[0].lastState.terminated is not None)
    assert node.recorder.messages("FailedPostStartHook")[0] == "PostStartHook failed"
    assert node.recorder.messages("Killing")[0] == "FailedPostStartHook"
    pod = await node.until(lambda p: p.status.containerStatuses[0].restartCount == 1)
    node.runtime.exec_results[("hello",)] = ExecResult(0, b"")
    pod = await node.until(is_ready)
    assert pod.status.containerStatuses[0].restartCount == 2  # after a back-off


async def test_what_the_post_start_hook_said_is_in_the_status(node: FakeNode) -> None:
    node.runtime.exec_results[("hello",)] = ExecResult(3, b"who?")
    node.runtime.images["stubborn:latest"] = Program(on_sigterm=None)
    await node.create("web", container(image="stubborn", **hooks(postStart=command("hello"))))
    node.runtime.create_delay = 1
    pod = await node.until(lambda p: waiting(p) == "PostStartHookError")
    uid, state = pod.metadata.uid, pod.status.containerStatuses[0].state
    assert state.waiting is not None
    assert state.waiting.message == (
        f'Exec lifecycle hook ([hello]) for Container "main" in Pod "web_default({uid})" failed - error: '
        "command 'hello' exited with 3: who?, message: \"who?\""
    )


def waiting(pod: Pod) -> str:
    state = pod.status.containerStatuses[0].state if pod.status.containerStatuses else None
    return state.waiting.reason if state is not None and state.waiting is not None else ""


async def test_a_pod_whose_post_start_hook_hangs_can_be_deleted(node: FakeNode) -> None:
    node.runtime.exec_results[("hang",)] = None
    await node.create("web", container(**hooks(postStart=command("hang"))))
    await node.until_runtime(lambda: started(node) == ["main"])
    await node.delete()
    assert await node.until_gone() < 1


async def test_the_pre_stop_hook_comes_before_the_signal_and_out_of_the_same_grace(node: FakeNode) -> None:
    node.runtime.images["stubborn:latest"] = Program(on_sigterm=None)
    await node.create(
        "web", container(image="stubborn", **hooks(preStop={"sleep": {"seconds": 4}})), terminationGracePeriodSeconds=10
    )
    await node.until(is_ready)
    await node.delete()
    await asyncio.sleep(3.9)
    assert not [call for call in node.runtime.calls if call[0] == "stop_container"]
    assert 9.9 < await node.until_gone() + 3.9 < 10.5


async def test_a_pre_stop_hook_that_hangs_uses_the_grace_up_and_the_container_gets_two_seconds(node: FakeNode) -> None:
    node.runtime.exec_results[("hang",)] = None
    node.runtime.images["stubborn:latest"] = Program(on_sigterm=None)
    hook = hooks(preStop=command("hang"))
    await node.create("web", container(image="stubborn", **hook), terminationGracePeriodSeconds=10)
    await node.until(is_ready)
    await node.delete()
    assert 12 <= await node.until_gone() < 12.5


async def test_a_pre_stop_hook_is_run_once_however_often_the_pod_is_deleted(node: FakeNode) -> None:
    node.runtime.images["stubborn:latest"] = Program(on_sigterm=None)
    hook = hooks(preStop={"tcpSocket": {"port": 80}})  # accepted, and cannot be run
    await node.create("web", container(image="stubborn", **hook), terminationGracePeriodSeconds=100)
    await node.until(is_ready)
    await node.delete()
    await asyncio.sleep(5)
    await node.delete(grace=3)
    assert await node.until_gone() < 4
    assert node.recorder.messages("FailedPreStopHook") == ["PreStopHook failed"]


async def test_a_liveness_probe_s_victim_gets_its_pre_stop_hook(node: FakeNode) -> None:
    node.runtime.exec_results[("bye",)] = ExecResult(1, b"")
    probe = {"httpGet": {"port": 80}, "initialDelaySeconds": 5, "periodSeconds": 1, "failureThreshold": 1}
    await node.create("web", container(livenessProbe=probe, **hooks(preStop=command("bye"))))
    await node.until(is_ready)
    node.answers.answers["main"] = Answer(False, "no")
    await node.until_runtime(lambda: "FailedPreStopHook" in node.recorder.reasons())


async def test_a_container_that_ends_leaves_its_message(node: FakeNode) -> None:
    node.runtime.programs[("job",)] = Program(exit_code=1, after=1, message=b"disk full")
    await node.create("web", container(command=["job"]), restartPolicy="Never")
    pod = await node.until(lambda p: p.status.phase == "Failed")
    ended = pod.status.containerStatuses[0].state.terminated
    assert ended is not None
    assert (ended.reason, ended.message) == ("Error", "disk full")


@pytest.mark.parametrize(
    ("policy", "code", "message"),
    [
        pytest.param("FallbackToLogsOnError", 1, "bad\nworse\n", id="failed, and its file is empty: the log's end"),
        pytest.param("FallbackToLogsOnError", 0, "", id="succeeded: only the file counts"),
        pytest.param("File", 1, "", id="File: only the file counts"),
    ],
)
async def test_when_the_log_stands_in(node: FakeNode, policy: str, code: int, message: str) -> None:
    node.runtime.programs[("job",)] = Program(exit_code=code, after=1, output=b"bad\nworse\n")
    await node.create("web", container(command=["job"], terminationMessagePolicy=policy), restartPolicy="Never")
    pod = await node.until(lambda p: p.status.phase in ("Failed", "Succeeded"))
    ended = pod.status.containerStatuses[0].state.terminated
    assert ended is not None
    assert ended.message == message


LINES = b"".join(b"%06d\n" % number for number in range(5000))


async def test_of_a_long_log_the_last_eighty_lines_are_taken(node: FakeNode) -> None:
    node.runtime.programs[("job",)] = Program(exit_code=1, after=1, output=LINES)
    spec = container(command=["job"], terminationMessagePolicy="FallbackToLogsOnError")
    await node.create("web", spec, restartPolicy="Never")
    pod = await node.until(lambda p: p.status.phase == "Failed")
    ended = pod.status.containerStatuses[0].state.terminated
    assert ended is not None
    assert ended.message == LINES[-80 * 7 :].decode()


def test_of_a_long_file_the_end_is_taken(tmp_path: Path) -> None:
    logs, pod = TerminationLogs(tmp_path), make_pod()
    pod.spec.containers[0].terminationMessagePath = "/dev/termination-log"
    (mount,) = logs.mount(pod, pod.spec.containers[0], 3)
    assert (mount.container_path, Path(mount.host_path).stat().st_mode & 0o777) == ("/dev/termination-log", 0o666)
    Path(mount.host_path).write_bytes(LINES)
    assert logs.read(pod, "main", 3) == LINES[-MAX_MESSAGE:].decode()
    assert logs.read(pod, "main", 4) == ""


def test_containers_share_the_twelve_kibibytes_of_their_pod() -> None:
    assert shortened("é" * 5000, 2) == "é" * 3072
    assert shortened("é" * 5000, 5) == "é" * 1228  # not half a letter
    assert shortened("short", 100) == "short"


def test_a_mount_of_its_own_wins_over_the_termination_log(tmp_path: Path) -> None:
    mounts = [{"name": "data", "mountPath": "/dev/termination-log"}]
    pod = make_pod("web", container(volumeMounts=mounts, terminationMessagePath="/dev/termination-log"))
    assert TerminationLogs(tmp_path).mount(pod, pod.spec.containers[0], 0) == []


async def test_a_pod_that_is_active_for_too_long_fails(node: FakeNode) -> None:
    node.runtime.images["stubborn:latest"] = Program(on_sigterm=None)
    begin = time()
    await node.create("web", container(image="stubborn"), activeDeadlineSeconds=20, terminationGracePeriodSeconds=5)
    await node.until(is_ready)
    assert (await node.until(lambda p: time() > begin + 22)).status.phase == "Running"  # it is still being ended
    pod = await node.until(lambda p: p.status.phase == "Failed")
    assert 24 < time() - begin < 27
    assert (pod.status.reason, pod.status.message) == (
        "DeadlineExceeded", "Pod was active on the node longer than the specified deadline",
    )  # fmt: skip
    assert node.recorder.messages("DeadlineExceeded") == [pod.status.message]
    assert condition(pod, "Ready").reason == "PodFailed"
    await node.kill_kubelet()
    node.start_kubelet()
    await asyncio.sleep(50)
    assert (await node.pod()).status.reason == "DeadlineExceeded"
    assert started(node) == ["main"]


async def test_a_pod_that_ends_in_time_has_kept_its_deadline(node: FakeNode) -> None:
    node.runtime.programs[("job",)] = Program(exit_code=0, after=5)
    await node.create("web", container(command=["job"]), activeDeadlineSeconds=20, restartPolicy="Never")
    await node.until(lambda p: p.status.phase == "Succeeded")
    await asyncio.sleep(50)
    assert (await node.pod()).status.phase == "Succeeded"
    assert not node.recorder.messages("DeadlineExceeded")
