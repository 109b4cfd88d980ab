"""The kubelet's loops on the fake runtime and the real apiserver over the store in memory, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from kube.api import errors
from kube.api.core import Pod
from kube.kubelet.fake import Program
from kube.kubelet.prober import Answer
from kube.kubelet.runtime import EngineUnavailable, RuntimeFailure, State
from tests.kubelet_node import HOST_IP, FakeNode, condition, container, is_ready

pytestmark = pytest.mark.looptime


def time() -> float:
    return asyncio.get_running_loop().time()


async def test_a_bound_pod_is_run_and_reported_ready(node: FakeNode) -> None:
    node.runtime.sandbox_delay = node.runtime.start_delay = 0.1
    await node.create(terminationGracePeriodSeconds=1)
    begin = time()
    pod = await node.until(is_ready)
    assert time() - begin < 0.3  # nothing is waited for but the engine
    status = pod.status
    assert (status.phase, status.podIP, status.hostIP) == ("Running", "10.244.0.2", HOST_IP)
    assert [ip.ip for ip in status.podIPs] == ["10.244.0.2"]
    assert status.startTime is not None
    (main,) = status.containerStatuses
    assert main.state.running is not None
    assert (main.ready, main.started, main.restartCount) == (True, True, 0)
    assert main.containerID == f"docker://{node.id(pod)}"
    assert [r for r in node.recorder.reasons() if r != "Scheduled"] == ["Pulled", "Created", "Started"]
    assert {path for *_, path in node.recorder.events} == {"spec.containers{main}"}


async def test_a_pod_costs_two_status_writes(node: FakeNode) -> None:
    pod = await node.create()
    await node.until(is_ready)
    await asyncio.sleep(200)  # relists find nothing to repair, and write nothing
    path = f"/api/v1/namespaces/default/pods/{pod.name}/status"
    assert node.api.writes.count(("PATCH", path)) == 2


async def test_all_containers_of_a_pod_share_its_sandbox(node: FakeNode) -> None:
    pod = await node.create("two", container("a"), container("b"))
    await node.until(is_ready, "two")
    containers = await node.runtime.list_containers()
    assert {c.name for c in containers} == {"a", "b"}
    assert {c.sandbox_id for c in containers} == {node.id(pod, "POD")}


async def test_a_container_that_dies_is_restarted_at_once_and_then_ever_later(node: FakeNode) -> None:
    node.runtime.programs[("crash",)] = Program(exit_code=3)
    await node.create("web", container(command=["crash"]))
    starts: list[float] = []
    for attempt in range(8):
        await node.until_runtime(has_started(node, attempt + 1), within=400)
        starts.append(time())
    gaps = [round(b - a) for a, b in itertools.pairwise(starts)]
    assert gaps == [0, 10, 20, 40, 80, 160, 300]
    pod = await node.until(lambda p: p.status.containerStatuses[0].state.waiting is not None)
    (main,) = pod.status.containerStatuses
    assert main.state.waiting is not None
    assert main.lastState.terminated is not None
    assert main.state.waiting.reason == "CrashLoopBackOff"
    uid = pod.metadata.uid
    assert main.state.waiting.message == f"back-off 5m0s restarting failed container=main pod=web_default({uid})"
    assert (main.lastState.terminated.exitCode, main.lastState.terminated.reason) == (3, "Error")
    assert (pod.status.phase, main.restartCount, main.ready) == ("Running", 7, False)
    assert f"Back-off restarting failed container main in pod web_default({uid})" in node.recorder.messages("BackOff")


def started(node: FakeNode) -> int:
    return sum(1 for method, _ in node.runtime.calls if method == "start_container")


def has_started(node: FakeNode, times: int) -> Callable[[], bool]:
    return lambda: started(node) >= times


def has_pulled(node: FakeNode, times: int) -> Callable[[], bool]:
    return lambda: len(node.recorder.messages("Pulling")) >= times


def restarted(times: int) -> Callable[[Pod], bool]:
    return lambda pod: any(s.restartCount == times for s in pod.status.containerStatuses[:1])


def ready_again(times: int) -> Callable[[Pod], bool]:
    return lambda pod: restarted(times)(pod) and is_ready(pod)


async def test_a_restarted_kubelet_does_not_forget_a_crash_loop(node: FakeNode) -> None:
    node.runtime.programs[("crash",)] = Program(exit_code=3)
    await node.create("web", container(command=["crash"]))
    await node.until_runtime(has_started(node, 4))  # at once, after 10 s, after 20 s
    await node.kill_kubelet()
    node.start_kubelet()
    begin = time()
    pod = await node.until(lambda p: p.status.containerStatuses[0].state.waiting is not None)
    waiting = pod.status.containerStatuses[0].state.waiting
    assert waiting is not None
    assert waiting.message.startswith("back-off 40s restarting failed container")
    await node.until_runtime(has_started(node, 5), within=100)
    assert 39 < time() - begin < 41


async def test_ten_good_minutes_are_forgiving(node: FakeNode) -> None:
    pod = await node.create()
    for attempt in range(3):
        await node.until(is_ready)
        await asyncio.sleep(601)
        node.runtime.exit(node.id(pod, attempt=attempt), 1)
        await node.until(restarted(attempt + 1), within=1)


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [
        pytest.param("Never", 0, "Succeeded", id="Never: success is Succeeded"),
        pytest.param("Never", 1, "Failed", id="Never: failure is Failed"),
        pytest.param("OnFailure", 0, "Succeeded", id="OnFailure: success is Succeeded"),
    ],
)
async def test_a_pod_that_has_ended_stays_ended_and_keeps_its_logs(
    node: FakeNode, policy: str, code: int, phase: str
) -> None:
    node.runtime.programs[("job",)] = Program(exit_code=code, after=1)
    pod = await node.create("web", container(command=["job"]), restartPolicy=policy)
    ended = await node.until(lambda p: p.status.phase == phase)
    assert condition(ended, "Ready").reason == {"Succeeded": "PodCompleted", "Failed": "PodFailed"}[phase]
    assert ended.status.podIP == "10.244.0.2"
    await node.until_runtime(
        lambda: ("remove_sandbox", f"k8s_POD_web_default_{pod.metadata.uid}_0") in node.runtime.calls
    )
    await node.kill_kubelet()
    node.start_kubelet()
    await asyncio.sleep(100)
    assert started(node) == 1
    assert [c.state for c in await node.runtime.list_containers()] == [State.EXITED]
    assert (await node.pod()).status.phase == phase


async def test_on_failure_restarts_what_failed_until_it_succeeds(node: FakeNode) -> None:
    pod = await node.create(restartPolicy="OnFailure")
    await node.until(is_ready)
    node.runtime.exit(node.id(pod), 1)
    await node.until(ready_again(1))
    node.runtime.exit(node.id(pod, attempt=1), 0)
    await node.until(lambda p: p.status.phase == "Succeeded")


async def test_a_dead_sandbox_takes_the_pod_s_containers_along_and_all_is_made_anew(node: FakeNode) -> None:
    pod = await node.create()
    await node.until(is_ready)
    node.runtime.exit(node.id(pod, "POD"))
    again = await node.until(ready_again(1))
    assert node.recorder.messages("SandboxChanged") == ["Pod sandbox changed, it will be killed and re-created."]
    (sandbox,) = await node.runtime.list_sandboxes()
    assert (sandbox.attempt, again.status.podIP) == (1, sandbox.ip)


async def test_deleting_gives_grace_then_removes_every_trace(node: FakeNode) -> None:
    node.runtime.images["stubborn:latest"] = Program(on_sigterm=None)
    await node.create("web", container(image="stubborn"), terminationGracePeriodSeconds=7)
    await node.until(is_ready)
    await node.delete()
    assert 6.9 < await node.until_gone() < 7.5
    await node.until_runtime(lambda: not node.kubelet.workers)
    assert not await node.runtime.list_containers()
    assert not await node.runtime.list_sandboxes()
    assert node.recorder.messages("Killing") == ["Stopping container main"]


async def test_a_second_delete_with_a_shorter_grace_hurries_the_first(node: FakeNode) -> None:
    node.runtime.images["stubborn:latest"] = Program(on_sigterm=None)
    await node.create("web", container(image="stubborn"), terminationGracePeriodSeconds=100)
    await node.until(is_ready)
    await node.delete()
    await asyncio.sleep(5)
    await node.delete(grace=3)
    assert await node.until_gone() < 4


async def test_a_pod_that_is_deleted_shows_its_containers_end_before_it_goes(node: FakeNode) -> None:
    node.runtime.images["stubborn:latest"] = Program(on_sigterm=None)
    await node.create("web", container(), container("slow", "stubborn"), terminationGracePeriodSeconds=5)
    await node.until(is_ready)
    await node.delete()
    ended = await node.until(lambda p: p.status.containerStatuses[0].state.terminated is not None)
    assert ended.status.containerStatuses[1].state.running is not None
    assert condition(ended, "Ready").message == "containers with unready status: [main]"


async def test_a_force_deleted_pod_is_ended_without_being_asked_for_long(node: FakeNode) -> None:
    node.runtime.images["stubborn:latest"] = Program(on_sigterm=None)
    await node.create("web", container(image="stubborn"))
    await node.until(is_ready)
    await node.delete(grace=0)
    begin = time()
    await node.until_runtime(lambda: not node.kubelet.workers)
    assert 1.9 < time() - begin < 3
    assert await node.runtime.list_containers() == []


async def test_a_pod_of_the_same_name_is_another_pod(node: FakeNode) -> None:
    first = await node.create()
    await node.until(is_ready)
    await node.delete(grace=0)
    second = await node.create()
    ready = await node.until(is_ready)
    assert ready.metadata.uid == second.metadata.uid != first.metadata.uid
    await node.until_runtime(lambda: len(node.kubelet.workers) == 1)
    assert {c.pod.uid for c in await node.runtime.list_containers()} == {second.metadata.uid}


# Restarts of the kubelet.


async def test_a_restarted_kubelet_leaves_running_containers_alone(node: FakeNode) -> None:
    pod = await node.create()
    before = await node.until(is_ready)
    await node.kill_kubelet()
    node.runtime.calls.clear()
    node.start_kubelet()
    await asyncio.sleep(100)
    assert not node.runtime.calls
    after = await node.pod()
    assert after.status == before.status
    assert after.metadata.uid == pod.metadata.uid


async def test_what_happened_while_the_kubelet_was_down_is_made_good(node: FakeNode) -> None:
    gone, killed = await node.create("gone"), await node.create("killed")
    await node.until(is_ready, "gone")
    await node.until(is_ready, "killed")
    await node.kill_kubelet()
    await node.delete("gone", grace=0)
    node.runtime.exit(node.id(killed), 137)
    await node.create("new")
    node.start_kubelet()
    await node.until(is_ready, "new")
    await node.until(ready_again(1), "killed")
    await node.until_runtime(lambda: len(node.kubelet.workers) == 2)
    assert gone.metadata.uid not in {c.pod.uid for c in await node.runtime.list_containers()}


async def test_a_pod_that_was_being_deleted_goes_on_being_deleted(node: FakeNode) -> None:
    node.runtime.images["stubborn:latest"] = Program(on_sigterm=None)
    await node.create("web", container(image="stubborn"), terminationGracePeriodSeconds=5)
    await node.until(is_ready)
    await node.delete()
    await node.kill_kubelet()
    node.start_kubelet()
    await node.until_gone()


async def test_a_container_that_was_ready_stays_ready_over_a_restart_of_the_kubelet(node: FakeNode) -> None:
    probe = {"httpGet": {"port": 80}, "periodSeconds": 5}
    await node.create("web", container(readinessProbe=probe))
    await node.until(is_ready)
    await node.kill_kubelet()
    node.answers.answers["main"] = Answer(None)
    writes = len(node.api.writes)
    node.start_kubelet()
    await asyncio.sleep(30)
    assert len(node.api.writes) == writes


async def test_a_kubelet_that_died_while_starting_a_container_starts_it_after_all(node: FakeNode) -> None:
    node.runtime.start_delay = 5
    pod = await node.create()
    await node.until_runtime(lambda: started(node) == 1)
    await node.kill_kubelet()
    assert [c.state for c in await node.runtime.list_containers()] == [State.CREATED]
    node.start_kubelet()
    ready = await node.until(is_ready)
    assert ready.status.containerStatuses[0].restartCount == 0
    assert len(await node.runtime.list_containers()) == 1
    assert pod.metadata.uid == ready.metadata.uid


# What goes wrong.


async def test_while_the_apiserver_is_away_pods_are_run_and_told_of_later(node: FakeNode) -> None:
    pod = await node.create()
    await node.until(is_ready)
    node.api.down = True
    node.runtime.exit(node.id(pod), 1)
    await node.until_runtime(lambda: started(node) == 2)
    await asyncio.sleep(30)
    node.api.down = False
    await node.until(ready_again(1), within=10)


async def test_an_engine_that_dies_and_comes_back_empty_brings_the_pods_back(node: FakeNode) -> None:
    await node.create()
    await node.until(is_ready)
    node.runtime.kill_engine()
    await asyncio.sleep(30)
    node.runtime.start_engine(containers_survive=False)
    await node.until(ready_again(1), within=15)
    # It is told although nothing was left to be killed: `kubectl describe` of any pod after its node was started anew.
    assert node.recorder.messages("SandboxChanged") == ["Pod sandbox changed, it will be killed and re-created."]


async def test_pods_that_come_while_the_engine_is_away_run_when_it_is_back(node: FakeNode) -> None:
    await node.until_runtime(lambda: node.kubelet.synced)
    node.runtime.kill_engine()
    await node.create()
    await node.until(lambda p: p.status.startTime is not None)
    await asyncio.sleep(60)
    node.runtime.start_engine()
    await node.until(is_ready, within=2)


async def test_a_call_of_the_engine_that_fails_is_tried_again(node: FakeNode) -> None:
    node.runtime.fail("run_sandbox", RuntimeFailure("no room"), times=2)
    await node.create()
    await node.until(is_ready)
    assert node.recorder.messages("FailedCreatePodSandBox") == ["Failed to create pod sandbox: no room"] * 2


async def test_a_container_that_cannot_be_created_says_why(node: FakeNode) -> None:
    node.runtime.fail("create_container", RuntimeFailure("no such device", "CreateContainerError"))
    await node.create()
    pod = await node.until(lambda p: bool(p.status.containerStatuses) and waiting(p) == "CreateContainerError")
    assert pod.status.containerStatuses[0].state.waiting.message == "no such device"  # type: ignore[union-attr]  # it is
    assert pod.status.phase == "Pending"
    assert "Error: no such device" in node.recorder.messages("Failed")
    await node.until(is_ready)


def waiting(pod: Pod) -> str:
    state = pod.status.containerStatuses[0].state if pod.status.containerStatuses else None
    return state.waiting.reason if state and state.waiting else ""


async def test_a_command_that_cannot_be_run_shows_the_engine_s_words(node: FakeNode) -> None:
    error = 'exec: "nope": executable file not found in $PATH'
    node.runtime.programs[("nope",)] = Program(start_error=error)
    await node.create("web", container(command=["nope"]))
    await node.until(lambda p: waiting(p) == "RunContainerError")
    pod = await node.until(lambda p: waiting(p) == "CrashLoopBackOff")
    last = pod.status.containerStatuses[0].lastState.terminated
    assert last is not None
    assert (last.reason, last.exitCode, last.message) == ("ContainerCannotRun", 127, error)


async def test_a_config_map_that_the_container_needs_is_a_config_error(node: FakeNode) -> None:
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "x"}}}]
    await node.create("web", container(env=env))
    pod = await node.until(lambda p: waiting(p) == "CreateContainerConfigError")
    assert pod.status.phase == "Pending"
    assert any('configmap "settings" not found' in text for text in node.recorder.messages("Failed"))


async def test_a_volume_that_cannot_be_mounted_holds_the_pod_back(node: FakeNode) -> None:
    volumes = [{"name": "data", "hostPath": {"path": "/no/such/directory", "type": "Directory"}}]
    await node.create("web", container(), volumes=volumes)
    await node.until_runtime(lambda: "FailedMount" in node.recorder.reasons())
    pod = await node.pod()
    assert (waiting(pod), pod.status.phase) == ("ContainerCreating", "Pending")
    assert await node.runtime.list_sandboxes() == []
    (message, *_) = node.recorder.messages("FailedMount")
    assert message == (
        'MountVolume.SetUp failed for volume "data" : hostPath type check failed: /no/such/directory is not a directory'
    )


async def test_an_empty_dir_lives_as_long_as_the_pod(node: FakeNode) -> None:
    volumes = [{"name": "scratch", "emptyDir": {}}]
    mounts = [{"name": "scratch", "mountPath": "/scratch"}]
    pod = await node.create("web", container(volumeMounts=mounts), volumes=volumes)
    await node.until(is_ready)
    path = node.root / "pods" / pod.metadata.uid / "volumes" / "kubernetes.io~empty-dir" / "scratch"
    (path / "file").write_text("kept")
    node.runtime.exit(node.id(pod), 1)
    await node.until(ready_again(1))
    assert (path / "file").read_text() == "kept"
    await node.delete(grace=1)
    await node.until_gone()
    await node.until_runtime(lambda: not node.kubelet.workers)
    assert not (node.root / "pods" / pod.metadata.uid).exists()


async def test_directories_of_pods_that_are_gone_are_removed(node: FakeNode) -> None:
    left = node.root / "pods" / "0000" / "volumes"
    left.mkdir(parents=True)
    await node.until_runtime(lambda: not left.parent.exists(), within=200)


# Images.


async def test_an_image_that_is_nowhere_is_pulled_again_and_again_ever_later(node: FakeNode) -> None:
    await node.create("web", container(image="no/such"))
    pod = await node.until(lambda p: waiting(p) == "ErrImagePull")
    assert pod.status.phase == "Pending"
    pod = await node.until(lambda p: waiting(p) == "ImagePullBackOff")
    state = pod.status.containerStatuses[0].state.waiting
    assert state is not None
    why = "manifest for no/such:latest not found: manifest unknown"
    assert state.message == f'Back-off pulling image "no/such": ErrImagePull: {why}'
    assert 'Back-off pulling image "no/such"' in node.recorder.messages("BackOff")
    pulls = []
    for number in range(1, 5):
        await node.until_runtime(has_pulled(node, number + 1), within=400)
        pulls.append(time())
    assert [round(b - a) for a, b in itertools.pairwise(pulls)] == [20, 40, 80]
    node.runtime.registry["no/such:latest"] = Program()
    await node.until(is_ready, within=400)
    assert any(text.startswith('Successfully pulled image "no/such"') for text in node.recorder.messages("Pulled"))


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        pytest.param({"image": "no/such", "imagePullPolicy": "Never"}, "ErrImageNeverPull", id="never pulled"),
        pytest.param({"image": "Not:an:Image"}, "InvalidImageName", id="no image name at all"),
    ],
)
async def test_an_image_that_cannot_be_had_is_a_reason(node: FakeNode, spec: dict[str, str], reason: str) -> None:
    await node.create("web", container() | spec)
    await node.until(lambda p: waiting(p) == reason)


async def test_a_pod_can_be_deleted_while_its_image_is_pulled(node: FakeNode) -> None:
    node.runtime.registry["big:latest"] = Program()
    node.runtime.pull_delay = 1000
    await node.create("web", container(image="big"))
    await node.until_runtime(lambda: "Pulling" in node.recorder.reasons())
    await node.delete(grace=5)
    assert await node.until_gone() < 1


async def test_one_pod_s_slow_image_does_not_hold_up_another_pod(node: FakeNode) -> None:
    node.runtime.registry["big:latest"] = Program()
    node.runtime.pull_delay = 1000
    await node.create("slow", container(image="big"))
    await node.until_runtime(lambda: "Pulling" in node.recorder.reasons())
    await node.create("web")
    await node.until(is_ready, within=1)


# Probes.


async def test_a_container_is_ready_when_its_probe_says_so(node: FakeNode) -> None:
    node.answers.answers["main"] = Answer(False, "not yet")
    await node.create("web", container(readinessProbe={"tcpSocket": {"port": 80}, "periodSeconds": 10}))
    await node.until(lambda p: p.status.phase == "Running")
    await asyncio.sleep(30)
    pod = await node.pod()
    assert condition(pod, "Ready").message == "containers with unready status: [main]"
    assert "Readiness probe failed: not yet" in node.recorder.messages("Unhealthy")
    del node.answers.answers["main"]
    await node.until(is_ready, within=11)
    node.answers.answers["main"] = Answer(False, "overloaded")
    await node.until(lambda p: not is_ready(p), within=31)
    assert (await node.pod()).status.containerStatuses[0].restartCount == 0


async def test_a_container_whose_liveness_probe_fails_is_replaced(node: FakeNode) -> None:
    probe = {"exec": {"command": ["check"]}, "periodSeconds": 2, "failureThreshold": 3, "initialDelaySeconds": 4}
    await node.create("web", container(livenessProbe=probe))
    begin = time()
    await node.until(is_ready)
    node.answers.answers["main"] = Answer(False, "stuck")
    await node.until(restarted(1))
    assert 8 <= time() - begin < 9  # 4 s of delay, then three failures 2 s apart
    assert node.recorder.messages("Unhealthy") == ["Liveness probe failed: stuck"] * 3
    assert node.recorder.messages("Killing") == ["Container main failed liveness probe, will be restarted"]


async def test_a_failed_liveness_probe_ends_a_pod_that_is_never_restarted(node: FakeNode) -> None:
    node.answers.answers["main"] = Answer(False, "stuck")
    node.runtime.images["kube/web:latest"] = Program(on_sigterm=143)
    await node.create("web", container(livenessProbe={"exec": {"command": ["x"]}}), restartPolicy="Never")
    pod = await node.until(lambda p: p.status.phase == "Failed")
    assert pod.status.containerStatuses[0].restartCount == 0


async def test_the_startup_probe_comes_before_the_others(node: FakeNode) -> None:
    node.answers.answers["main"] = Answer(False, "starting")
    probe = {"exec": {"command": ["x"]}, "periodSeconds": 1}
    startup = {**probe, "failureThreshold": 20}
    await node.create("web", container(livenessProbe=probe, readinessProbe=probe, startupProbe=startup))
    await asyncio.sleep(10)
    pod = await node.pod()
    assert (pod.status.containerStatuses[0].started, pod.status.containerStatuses[0].restartCount) == (False, 0)
    del node.answers.answers["main"]
    pod = await node.until(is_ready, within=3)
    assert pod.status.containerStatuses[0].started


async def test_a_startup_probe_that_never_succeeds_costs_the_container_its_life(node: FakeNode) -> None:
    node.answers.answers["main"] = Answer(False, "starting")
    startup = {"exec": {"command": ["x"]}, "periodSeconds": 1, "failureThreshold": 5}
    await node.create("web", container(startupProbe=startup))
    await node.until(restarted(1))
    assert node.recorder.messages("Killing") == ["Container main failed startup probe, will be restarted"]


# Others' words.


async def test_what_others_write_into_the_status_is_kept(node: FakeNode) -> None:
    pod = await node.create(readinessGates=[{"conditionType": "example.com/gate"}])
    await node.until(lambda p: p.status.phase == "Running")
    present = (await node.pod()).clone()
    present.status.conditions.append(type(present.status.conditions[0])(type="example.com/gate", status="True"))
    await node.api.update(present, "status")
    ready = await node.until(is_ready, within=130)  # the next relist sees it
    assert condition(ready, "example.com/gate").status == "True"
    node.runtime.exit(node.id(pod), 1)
    again = await node.until(restarted(1))
    assert condition(again, "example.com/gate").status == "True"


async def test_pods_that_were_marked_while_the_node_was_taken_for_dead_are_ready_again_soon(node: FakeNode) -> None:
    async def mark() -> None:
        marked = (await node.pod()).clone()
        condition(marked, "Ready").status = "False"
        await node.api.update(marked, "status")

    await node.create()
    await node.until(is_ready)
    await mark()
    node.kubelet.was_given_up()
    await node.until(is_ready, within=1)
    await mark()  # who marks goes from pod to pod, and may not be through
    await node.until(is_ready, within=6)


async def test_a_pod_that_somebody_failed_is_stopped_and_stays_failed(node: FakeNode) -> None:
    await node.create()
    await node.until(is_ready)
    evicted = (await node.pod()).clone()
    evicted.status.phase, evicted.status.reason = "Failed", "Evicted"
    await node.api.update(evicted, "status")
    await node.until_runtime(lambda: any(method == "remove_sandbox" for method, _ in node.runtime.calls))
    await asyncio.sleep(100)
    pod = await node.pod()
    assert (pod.status.phase, pod.status.reason) == ("Failed", "Evicted")
    assert pod.status.containerStatuses[0].state.terminated is not None


async def test_a_changed_image_replaces_the_container(node: FakeNode) -> None:
    node.runtime.registry["kube/web:2"] = Program()
    await node.create()
    pod = (await node.until(is_ready)).clone()
    pod.spec.containers[0].image = "kube/web:2"
    pod.metadata.resourceVersion = ""
    await node.api.update(pod)
    after = await node.until(ready_again(1))
    assert after.status.containerStatuses[0].image == "kube/web:2"
    assert node.recorder.messages("Killing") == ["Container main definition changed, will be restarted"]


async def test_an_unbound_pod_is_nobody_s_business_here(node: FakeNode) -> None:
    await node.create(bind=False)
    await asyncio.sleep(10)
    assert not node.kubelet.workers


async def test_a_container_of_a_pod_that_is_unknown_here_is_ended(node: FakeNode) -> None:
    pod = await node.create()
    await node.until(is_ready)
    await node.kill_kubelet()
    with pytest.raises(errors.Conflict):
        await node.api.delete(Pod, "web", "default", grace_period=0, uid="another")
    await node.delete(grace=0)
    node.start_kubelet()
    await node.until_runtime(
        lambda: ("stop_container", f"k8s_main_web_default_{pod.metadata.uid}_0") in node.runtime.calls
    )
    await node.until_runtime(lambda: not node.kubelet.workers)
    assert not await node.runtime.list_containers()
    assert not await node.runtime.list_sandboxes()


async def test_the_engine_s_silence_is_not_an_empty_engine(node: FakeNode) -> None:
    await node.create()
    await node.until(is_ready)
    node.runtime.fail("pod_status", EngineUnavailable("away"), times=3)
    node.runtime.calls.clear()
    await asyncio.sleep(130)
    assert not node.runtime.calls
