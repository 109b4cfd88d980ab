"""Init containers and sidecars: their order, what they cost, and what the user sees meanwhile. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kube.api.core import ContainerStatus, Pod
from kube.kubelet.fake import Program
from kube.kubelet.prober import Answer
from kube.kubelet.runtime import State
from tests.kubelet_node import FakeNode, condition, container, is_ready

pytestmark = pytest.mark.looptime


def time() -> float:
    return asyncio.get_running_loop().time()


def init(name: str, *command: str, **more: Any) -> dict[str, Any]:
    return container(name, command=list(command or ("work",)), **more)


def sidecar(name: str, **more: Any) -> dict[str, Any]:
    return container(name, restartPolicy="Always", **more)


def inits(pod: Pod) -> list[ContainerStatus]:
    return pod.status.initContainerStatuses


def running_init(name: str) -> Callable[[Pod], bool]:
    return lambda pod: any(s.name == name and s.state.running is not None for s in inits(pod))


def started(node: FakeNode) -> list[str]:
    """The names of the containers that were started, in order."""
    return [name.split("_")[1] for method, name in node.runtime.calls if method == "start_container"]


@pytest.fixture(autouse=True)
def programs(node: FakeNode) -> None:
    node.runtime.programs[("work",)] = Program(exit_code=0, after=5)
    node.runtime.programs[("fail",)] = Program(exit_code=2, after=5)


async def test_init_containers_run_one_after_another_before_the_others(node: FakeNode) -> None:
    begin = time()
    await node.create("web", container(), initContainers=[init("first"), init("second")])
    pod = await node.until(running_init("first"))
    assert pod.status.phase == "Pending"
    assert [s.state.waiting and s.state.waiting.reason for s in inits(pod)] == [None, "PodInitializing"]
    assert pod.status.containerStatuses[0].state.waiting is not None
    assert pod.status.containerStatuses[0].state.waiting.reason == "PodInitializing"
    initialized = condition(pod, "Initialized")
    assert (initialized.status, initialized.reason) == ("False", "ContainersNotInitialized")
    assert initialized.message == "containers with incomplete status: [first second]"
    pod = await node.until(running_init("second"))
    assert inits(pod)[0].ready
    assert condition(pod, "Initialized").message == "containers with incomplete status: [second]"
    pod = await node.until(is_ready)
    assert 10 <= time() - begin < 11
    assert started(node) == ["first", "second", "main"]
    assert [(s.ready, s.state.terminated and s.state.terminated.reason) for s in inits(pod)] == [
        (True, "Completed"), (True, "Completed"),
    ]  # fmt: skip
    assert (condition(pod, "Initialized").status, condition(pod, "Initialized").reason) == ("True", "")
    assert ("Normal", "Created", "Created container: first", "spec.initContainers{first}") in node.recorder.events
    assert ("Normal", "Started", "Started container first", "spec.initContainers{first}") in node.recorder.events


@pytest.mark.parametrize("policy", ["Always", "OnFailure"])
async def test_an_init_container_that_fails_is_restarted_with_back_off(node: FakeNode, policy: str) -> None:
    await node.create("web", container(), initContainers=[init("first", "fail")], restartPolicy=policy)
    pod = await node.until(lambda p: any(s.restartCount == 1 and s.state.waiting for s in inits(p)))
    (first,) = inits(pod)
    assert first.state.waiting is not None
    assert first.lastState.terminated is not None
    assert (first.state.waiting.reason, first.lastState.terminated.exitCode) == ("CrashLoopBackOff", 2)
    assert pod.status.phase == "Pending"
    node.runtime.programs[("fail",)] = Program(exit_code=0)
    pod = await node.until(is_ready)
    assert started(node) == ["first", "first", "first", "main"]


async def test_an_init_container_that_fails_and_is_never_restarted_fails_the_pod(node: FakeNode) -> None:
    await node.create(
        "web", container(), initContainers=[sidecar("beside"), init("first", "fail"), init("second")],
        restartPolicy="Never",
    )  # fmt: skip
    pod = await node.until(lambda p: p.status.phase == "Failed")
    assert started(node) == ["beside", "first"]
    assert condition(pod, "Initialized").message == "containers with incomplete status: [beside first second]"
    assert condition(pod, "Ready").reason == "PodFailed"
    await node.until_runtime(lambda: any(method == "remove_sandbox" for method, _ in node.runtime.calls))
    assert all(c.state is State.EXITED for c in await node.runtime.list_containers())


async def test_a_new_sandbox_is_initialized_anew(node: FakeNode) -> None:
    pod = await node.create("web", container(), initContainers=[init("first")])
    await node.until(is_ready)
    node.runtime.exit(node.id(pod, "POD"))
    pod = await node.until(lambda p: not is_ready(p) and running_init("first")(p))
    assert pod.status.phase == "Pending"
    await node.until(is_ready)
    assert started(node) == ["first", "main", "first", "main"]


async def test_a_container_that_crashes_does_not_run_the_init_containers_again(node: FakeNode) -> None:
    pod = await node.create("web", container(), initContainers=[init("first")])
    await node.until(is_ready)
    node.runtime.exit(node.id(pod), 1)
    await node.until(lambda p: is_ready(p) and p.status.containerStatuses[0].restartCount == 1)
    assert started(node) == ["first", "main", "main"]


@pytest.mark.parametrize("moment", [2, 7, 12], ids=["in the first", "in the second", "when all run"])
async def test_a_restarted_kubelet_goes_on_where_the_pod_is(node: FakeNode, moment: float) -> None:
    begin = time()
    await node.create("web", container(), initContainers=[init("first"), sidecar("beside"), init("second")])
    await asyncio.sleep(moment)
    await node.kill_kubelet()
    await asyncio.sleep(0.5)
    node.start_kubelet()
    await node.until(is_ready)
    await asyncio.sleep(100)
    assert started(node) == ["first", "beside", "second", "main"]
    assert time() - begin < 120


async def test_a_sidecar_is_waited_for_until_it_has_started_and_runs_on(node: FakeNode) -> None:
    probe = {"httpGet": {"port": 80}, "periodSeconds": 1, "failureThreshold": 30}
    node.answers.answers["beside"] = Answer(False, "no")
    await node.create("web", container(), initContainers=[sidecar("beside", startupProbe=probe), init("first")])
    pod = await node.until(running_init("beside"))
    await asyncio.sleep(3.5)
    pod = await node.pod()
    assert (pod.status.phase, inits(pod)[0].started, started(node)) == ("Pending", False, ["beside"])
    node.answers.answers["beside"] = Answer(True)
    pod = await node.until(is_ready)
    assert started(node) == ["beside", "first", "main"]
    assert [(s.ready, s.started) for s in inits(pod)] == [(True, True), (True, False)]
    assert pod.status.phase == "Running"


async def test_a_sidecar_that_ends_is_restarted_and_the_pod_is_not_ready_meanwhile(node: FakeNode) -> None:
    pod = await node.create("web", container(), initContainers=[sidecar("beside")], restartPolicy="Never")
    await node.until(is_ready)
    node.runtime.start_delay = 1
    node.runtime.exit(node.id(pod, "beside"), 0)
    pod = await node.until(lambda p: not is_ready(p))
    assert condition(pod, "Ready").message == "containers with unready status: [beside]"
    assert (pod.status.phase, condition(pod, "Initialized").status) == ("Running", "True")
    pod = await node.until(is_ready)
    assert [s.restartCount for s in inits(pod)] == [1]


async def test_a_sidecar_whose_liveness_probe_fails_is_replaced_even_if_the_pod_is_not(node: FakeNode) -> None:
    probe = {"httpGet": {"port": 80}, "periodSeconds": 1, "failureThreshold": 1, "initialDelaySeconds": 5}
    await node.create(
        "web", container(), initContainers=[sidecar("beside", livenessProbe=probe)], restartPolicy="Never"
    )
    await node.until(is_ready)
    node.answers.answers["beside"] = Answer(False, "no")
    await node.until_runtime(lambda: "Killing" in node.recorder.reasons())
    node.answers.answers["beside"] = Answer(True)
    await node.until(lambda p: is_ready(p) and inits(p)[0].restartCount == 1)
    assert node.recorder.messages("Killing") == ["Init container beside failed liveness probe"]


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (1, "Failed")])
async def test_sidecars_do_not_keep_a_pod_alive_and_do_not_change_what_it_came_to(
    node: FakeNode, code: int, phase: str
) -> None:
    node.runtime.programs[("job",)] = Program(exit_code=code, after=5)
    node.runtime.images["proxy:latest"] = Program(on_sigterm=1)
    await node.create(
        "web", container(command=["job"]), initContainers=[sidecar("beside", image="proxy")], restartPolicy="Never"
    )
    pod = await node.until(lambda p: p.status.phase not in ("Pending", "Running"))
    assert pod.status.phase == phase
    assert inits(pod)[0].state.terminated is not None
    await asyncio.sleep(30)
    assert started(node) == ["beside", "main"]


async def test_a_sidecar_does_not_wait_beyond_the_pod_s_grace(node: FakeNode) -> None:
    ended: list[str] = []
    node.runtime.images["slow:latest"] = Program(on_sigterm=None)
    await node.create(
        "web", container(image="slow"), container("quick"),
        initContainers=[sidecar("a"), sidecar("b", image="slow")], terminationGracePeriodSeconds=10,
    )  # fmt: skip
    await node.until(is_ready)
    begin = time()
    await node.delete()
    while len(ended) < 4:
        for one in await node.runtime.list_containers():
            if one.state is State.EXITED and one.name not in ended:
                ended.append(one.name)
        await asyncio.sleep(0.01)
    # Who is deaf uses the whole grace, and so does who waits behind; it still gets the least that anyone gets.
    assert ended[0] == "quick"
    assert 10 <= time() - begin < 13


async def test_each_sidecar_outlives_the_next(node: FakeNode) -> None:
    order: list[str] = []
    await node.create("web", container(), initContainers=[sidecar("a"), sidecar("b"), sidecar("c")])
    await node.until(is_ready)
    await node.delete()
    while len(order) < 4:
        for one in await node.runtime.list_containers():
            if one.state is State.EXITED and one.name not in order:
                order.append(one.name)
        await asyncio.sleep(0)
    assert order == ["main", "c", "b", "a"]
