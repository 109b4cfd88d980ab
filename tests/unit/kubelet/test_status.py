"""What a pod's status says, case by case; first v1.0's table of pod states (v1.0/docs/user-guide/pod-states.md)."""

from __future__ import annotations

from typing import Any

import pytest

from kube.api.core import Pod, PodStatus
from kube.kubelet.plan import plan
from kube.kubelet.pod_state import Ended, PodMemory, Seen, Waiting
from kube.kubelet.runtime import ContainerStatus, State
from kube.kubelet.status import Health, compute
from kube.kubelet.status_manager import merged
from tests.kubelet_node import container, make_pod
from tests.unit.kubelet.seen import NOON, exited, running, sandbox, seen

HOST = "192.168.0.1"


def status_of(pod: Pod, what: Seen, previous: PodStatus | None = None, **more: Any) -> PodStatus:
    """The status, with what the worker would hand in; running containers are healthy unless it is said otherwise."""
    health = {c.id: Health() for c in what.containers}
    planned = plan(pod, what, PodMemory(volumes_ready=True), 0.0)
    arguments: dict[str, Any] = {
        "waiting": planned.waiting, "health": health, "host_ip": HOST, "previous": previous or PodStatus(),
        "now": NOON, "over": planned.over,
    }  # fmt: skip
    return compute(pod, what, **(arguments | more))


ONE, TWO = [container("main")], [container("main"), container("side")]
ALWAYS, ON_FAILURE, NEVER = "Always", "OnFailure", "Never"


# Each row: the containers, what became of them, and by restart policy the phase and whether main is started again.
POD_STATES = [
    pytest.param(
        ONE, {"main": 0}, {ALWAYS: ("Running", True), ON_FAILURE: ("Succeeded", False), NEVER: ("Succeeded", False)},
        id="Pod is Running, 1 container, container exits success",
    ),
    pytest.param(
        ONE, {"main": 1}, {ALWAYS: ("Running", True), ON_FAILURE: ("Running", True), NEVER: ("Failed", False)},
        id="Pod is Running, 1 container, container exits failure",
    ),
    pytest.param(
        TWO, {"main": 1}, {ALWAYS: ("Running", True), ON_FAILURE: ("Running", True), NEVER: ("Running", False)},
        id="Pod is Running, 2 containers, container 1 exits failure",
    ),
    pytest.param(
        TWO, {"main": 1, "side": 0},
        {ALWAYS: ("Running", True), ON_FAILURE: ("Running", True), NEVER: ("Failed", False)},
        id="Pod is Running, 2 containers, container 1 exits failure, when container 2 exits",
    ),
    pytest.param(
        TWO, {"main": 0, "side": 0},
        {ALWAYS: ("Running", True), ON_FAILURE: ("Succeeded", False), NEVER: ("Succeeded", False)},
        id="Pod is Running, 2 containers, both exit success",
    ),
    pytest.param(
        ONE, {"main": "OOM"}, {ALWAYS: ("Running", True), ON_FAILURE: ("Running", True), NEVER: ("Failed", False)},
        id="Pod is Running, container becomes OOM",
    ),
]  # fmt: skip


@pytest.mark.parametrize("policy", [ALWAYS, ON_FAILURE, NEVER])
@pytest.mark.parametrize(("containers", "ends", "expected"), POD_STATES)
def test_the_pod_states_of_v1_0(
    containers: list[dict[str, Any]], ends: dict[str, int | str], expected: dict[str, tuple[str, bool]], policy: str
) -> None:
    pod = make_pod("web", *containers, restartPolicy=policy)
    before = status_of(pod, seen(pod, *(running(pod, c["name"]) for c in containers)))
    assert before.phase == "Running"

    def become(name: str) -> ContainerStatus:
        if name not in ends:
            return running(pod, name)
        oom = ends[name] == "OOM"
        return exited(pod, name, code=137 if oom else int(ends[name]), oom_killed=oom)

    after = seen(pod, *(become(c["name"]) for c in containers))
    memory = PodMemory(volumes_ready=True)
    memory.of("main").image = memory.of("side").image = None
    planned = plan(pod, after, memory, 0.0)
    starts_again = any(getattr(action, "name", "") == "main" for action in planned.actions)
    assert (status_of(pod, after, before).phase, starts_again) == expected[policy]


@pytest.mark.parametrize(
    ("what", "waiting", "phase"),
    [
        pytest.param([], {}, "Pending", id="nothing is there yet"),
        pytest.param(["running"], {}, "Pending", id="one of two is not created yet"),
        pytest.param(["running", "running"], {}, "Running", id="both run"),
        pytest.param(["running", "created"], {}, "Pending", id="one is created and not started"),
        pytest.param(
            ["running", "exited"], {"side": Waiting("CrashLoopBackOff")}, "Running", id="one runs, one waits to restart"
        ),
        pytest.param(
            ["exited", "exited"], {"main": Waiting("CrashLoopBackOff"), "side": Waiting("CrashLoopBackOff")}, "Running",
            id="both wait to restart",
        ),
    ],
)  # fmt: skip
def test_the_phase(what: list[str], waiting: dict[str, Waiting], phase: str) -> None:
    pod = make_pod("web", *TWO)
    kinds = {
        "running": running,
        "exited": exited,
        "created": lambda pod, name: running(pod, name, state=State.CREATED, started_at=None),
    }
    containers = [kinds[kind](pod, name) for name, kind in zip(["main", "side"], what, strict=False)]
    assert status_of(pod, seen(pod, *containers), waiting=waiting).phase == phase


def test_a_phase_that_has_ended_stays() -> None:
    pod = make_pod()
    ended = PodStatus(phase="Failed", reason="Evicted")
    assert status_of(pod, seen(pod, running(pod)), ended).phase == "Failed"


def test_a_pod_that_was_deleted_ends_as_its_containers_did() -> None:
    pod = make_pod("web", *TWO)
    clean = seen(pod, exited(pod, code=0), exited(pod, "side", code=0), sandboxes=[])
    unclean = seen(pod, exited(pod, code=0), exited(pod, "side", code=137), sandboxes=[])
    assert status_of(pod, clean, over=True).phase == "Succeeded"
    assert status_of(pod, unclean, over=True).phase == "Failed"


INITS = {"initContainers": [container("first"), container("second")]}
SIDECAR = {"initContainers": [container("proxy", restartPolicy="Always")]}


@pytest.mark.parametrize(
    ("spec", "what", "expected"),
    [
        ({}, [], {"main": "ContainerStatusUnknown"}),
        (INITS, [], {"first": "ContainerStatusUnknown", "second": "PodInitializing", "main": "PodInitializing"}),
        (INITS, ["first"], {"first": "Completed", "second": "PodInitializing", "main": "PodInitializing"}),
        (
            INITS, ["first", "second"],
            {"first": "Completed", "second": "Completed", "main": "ContainerStatusUnknown"},
        ),
        (SIDECAR, ["proxy"], {"proxy": "Completed", "main": "PodInitializing"}),
        (SIDECAR, ["proxy", "main"], {"proxy": "Completed", "main": "Completed"}),
    ],
    ids=["none was made", "no init container", "one of them", "all of them", "a sidecar", "a sidecar and its pod"],
)  # fmt: skip
def test_a_pod_that_is_over_before_it_has_begun_has_failed(
    spec: dict[str, Any], what: list[str], expected: dict[str, str]
) -> None:
    """Upstream's TerminatePod: `all pods are transitioned to a terminal phase`."""
    pod = make_pod(**spec)
    before = PodStatus(phase="Pending")
    found = status_of(pod, seen(pod, *(exited(pod, name, code=0) for name in what), sandboxes=[]), before, over=True)
    statuses = [*found.initContainerStatuses, *found.containerStatuses]
    reasons = {s.name: (s.state.terminated or s.state.waiting or Waiting("")).reason for s in statuses}
    assert reasons == expected
    assert found.phase == ("Succeeded" if "main" in what else "Failed")


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        pytest.param(exited(make_pod(), code=0), ("Completed", 0, ""), id="success"),
        pytest.param(exited(make_pod(), code=3), ("Error", 3, ""), id="failure"),
        pytest.param(exited(make_pod(), code=137, oom_killed=True), ("OOMKilled", 137, ""), id="out of memory"),
        pytest.param(
            exited(make_pod(), code=127, error="no such file"), ("ContainerCannotRun", 127, "no such file"),
            id="could not be started",
        ),
    ],
)  # fmt: skip
def test_how_a_container_ended(container: ContainerStatus, expected: tuple[str, int, str]) -> None:
    pod = make_pod(restartPolicy="Never")
    (main,) = status_of(pod, seen(pod, container)).containerStatuses
    ended = main.state.terminated
    assert ended is not None
    assert (ended.reason, ended.exitCode, ended.message) == expected
    assert (ended.startedAt, ended.finishedAt, ended.containerID) == (NOON, NOON, "docker://main-0")


def test_a_restarted_container_shows_its_last_state() -> None:
    pod = make_pod()
    (main,) = status_of(pod, seen(pod, exited(pod, code=3), running(pod, attempt=1))).containerStatuses
    assert main.state.running is not None
    assert main.lastState.terminated is not None
    assert (main.lastState.terminated.exitCode, main.restartCount) == (3, 1)
    assert (main.containerID, main.imageID) == ("docker://main-1", "docker://sha256:0123")


def test_a_container_that_vanished_is_not_forgotten() -> None:
    pod = make_pod()
    before = status_of(pod, seen(pod, running(pod, attempt=2)))
    (main,) = status_of(pod, seen(pod), before).containerStatuses
    assert main.lastState.terminated is not None
    assert (main.lastState.terminated.reason, main.restartCount) == ("ContainerStatusUnknown", 2)


@pytest.mark.parametrize(
    ("what", "health", "expected"),
    [
        pytest.param(["main", "side"], {}, ("True", "", ""), id="all ready"),
        pytest.param(
            ["main", "side"], {"side-0": Health(ready=False)},
            ("False", "ContainersNotReady", "containers with unready status: [side]"), id="one is not",
        ),
        pytest.param(
            [], {}, ("False", "ContainersNotReady", "containers with unready status: [main side]"), id="none is there",
        ),
    ],
)  # fmt: skip
def test_the_ready_condition(what: list[str], health: dict[str, Health], expected: tuple[str, str, str]) -> None:
    pod = make_pod("web", *TWO)
    all_health = {f"{name}-0": Health() for name in what} | health
    status = status_of(pod, seen(pod, *(running(pod, name) for name in what)), health=all_health)
    found = {c.type: (c.status, c.reason, c.message) for c in status.conditions}
    assert found["Ready"] == found["ContainersReady"] == expected
    assert found["PodScheduled"] == found["Initialized"] == ("True", "", "")
    assert list(found) == ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]


@pytest.mark.parametrize(("code", "reason"), [(0, "PodCompleted"), (1, "PodFailed")])
def test_a_pod_that_ended_is_not_ready_and_says_why(code: int, reason: str) -> None:
    pod = make_pod(restartPolicy="Never")
    status = status_of(pod, seen(pod, exited(pod, code=code), sandboxes=[]))
    found = {c.type: (c.status, c.reason) for c in status.conditions}
    assert found["Ready"] == found["ContainersReady"] == ("False", reason)


def test_a_readiness_gate_must_be_open() -> None:
    pod = make_pod(readinessGates=[{"conditionType": "example.com/gate"}])
    closed = status_of(pod, seen(pod, running(pod)))
    found = {c.type: c for c in closed.conditions}
    assert (found["Ready"].reason, found["ContainersReady"].status) == ("ReadinessGatesNotReady", "True")
    gate = type(closed.conditions[0])(type="example.com/gate", status="True")
    opened = status_of(pod, seen(pod, running(pod)), closed.model_copy(update={"conditions": [gate]}))
    assert {c.type: c.status for c in opened.conditions}["Ready"] == "True"


def test_conditions_keep_the_time_of_their_last_change() -> None:
    pod = make_pod()
    first = status_of(pod, seen(pod))
    later = status_of(pod, seen(pod, running(pod)), first, now=NOON.replace(hour=13))
    times = {c.type: c.lastTransitionTime for c in later.conditions}
    assert (times["Initialized"], times["Ready"]) == (NOON, NOON.replace(hour=13))


def test_the_same_present_gives_the_same_status() -> None:
    pod = make_pod()
    first = status_of(pod, seen(pod, running(pod)))
    assert status_of(pod, seen(pod, running(pod)), first, now=NOON.replace(hour=13)) == first


@pytest.mark.parametrize(
    ("spec", "what", "expected"),
    [
        pytest.param({}, "sandbox", "10.244.0.9", id="the sandbox's"),
        pytest.param({"hostNetwork": True}, "sandbox", HOST, id="the host's, on the host's network"),
        pytest.param({}, "nothing", "", id="none without a sandbox"),
    ],
)
def test_the_pod_s_address(spec: dict[str, Any], what: str, expected: str) -> None:
    pod = make_pod(**spec)
    status = status_of(pod, Seen([sandbox(pod)] if what == "sandbox" else []))
    assert (status.podIP, [ip.ip for ip in status.podIPs]) == (expected, [expected] if expected else [])
    assert (status.hostIP, status.hostIPs[0].ip) == (HOST, HOST)


def test_a_pod_that_ended_keeps_showing_its_address() -> None:
    pod = make_pod(restartPolicy="Never")
    before = status_of(pod, seen(pod, running(pod)))
    assert status_of(pod, seen(pod, exited(pod), sandboxes=[]), before).podIP == "10.244.0.9"


# What is written when somebody else has written, too.


def test_others_conditions_and_the_first_start_time_are_kept() -> None:
    pod = make_pod()
    mine = status_of(pod, seen(pod, running(pod)), now=NOON.replace(hour=13))
    present = status_of(pod, seen(pod, running(pod)))
    gate = type(present.conditions[0])(type="example.com/gate", status="True")
    result = merged(mine, present.model_copy(update={"conditions": [*present.conditions, gate]}))
    assert result == present.model_copy(update={"conditions": [*present.conditions, gate]})


def test_who_has_a_pod_leave_says_so_once_it_has_ended() -> None:
    """Upstream's mergePodStatus: `sent once all containers have terminated and the phase is terminal`."""
    pod, ended = make_pod(), Ended("Evicted", "no memory", 0, disrupted=True)
    going = status_of(pod, seen(pod, running(pod)), PodStatus(phase="Running"), ended=ended)
    assert "DisruptionTarget" not in {c.type for c in going.conditions}
    theirs = type(going.conditions[0])(type="DisruptionTarget", status="True", reason="EvictionByEvictionAPI")
    before = going.model_copy(update={"conditions": [*going.conditions, theirs]})
    gone = status_of(pod, seen(pod, exited(pod), sandboxes=[]), before, ended=ended, over=True)
    for found in (gone, merged(gone, before), merged(merged(gone, before), gone)):
        assert [c.reason for c in found.conditions if c.type == "DisruptionTarget"] == ["TerminationByKubelet"]
    refused = Ended("Evicted", "full", refused=True)
    assert "DisruptionTarget" not in {c.type for c in status_of(pod, Seen(), ended=refused, over=True).conditions}


def test_a_disruption_that_somebody_else_wrote_stays() -> None:
    pod = make_pod()
    mine = status_of(pod, seen(pod, running(pod)))
    theirs = type(mine.conditions[0])(type="DisruptionTarget", status="True", reason="EvictionByEvictionAPI")
    present = mine.model_copy(update={"conditions": [*mine.conditions, theirs]})
    assert merged(mine, present).conditions[-1] == merged(merged(mine, present), present).conditions[-1] == theirs


def test_an_end_that_somebody_else_wrote_stays() -> None:
    pod = make_pod()
    mine = status_of(pod, seen(pod, running(pod)))
    result = merged(mine, PodStatus(phase="Failed", reason="Evicted", message="no memory"))
    assert (result.phase, result.reason, result.message) == ("Failed", "Evicted", "no memory")
