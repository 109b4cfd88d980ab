"""What is done next for a pod, case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kube.api.core import Pod
from kube.kubelet.actions import (
    Action,
    Announce,
    EnsureImage,
    Kill,
    MakeSandbox,
    MountVolumes,
    RemoveContainer,
    RemoveSandbox,
    Start,
)
from kube.kubelet.backoff import BackOff, duration
from kube.kubelet.plan import plan, plan_end
from kube.kubelet.pod_state import ImageState, PodMemory, Seen, Unhealthy, Waiting
from kube.kubelet.runtime import State
from tests.kubelet_node import container, make_pod
from tests.unit.kubelet.seen import NOON, exited, running, sandbox, seen

NOW = 1000.0


def memory(*ready: str) -> PodMemory:
    """A memory of mounted volumes, and of these containers' images being there."""
    result = PodMemory(volumes_ready=True)
    for name in ready:
        result.of(name).image = ImageState(ready=True)
    return result


def actions(pod: Pod, what: Seen, remembered: PodMemory | None = None, now: float = NOW) -> list[Action]:
    remembered = remembered or memory("main", "side")
    remembered.observe(what, now)
    return list(plan(pod, what, remembered, now).actions)


POD = make_pod()
NEVER = make_pod(restartPolicy="Never")
ON_FAILURE = make_pod(restartPolicy="OnFailure")
TWO = make_pod("two", container("main"), container("side"))
ENDED = Pod.parse({**POD.to_dict(), "status": {"phase": "Failed"}})
CREATED = running(POD, state=State.CREATED, started_at=None)
CANNOT_RUN = replace(CREATED, error="no such command", exit_code=127)


@pytest.mark.parametrize(
    ("pod", "what", "expected"),
    [
        pytest.param(POD, seen(POD, running(POD)), [], id="all is as wanted: nothing"),
        pytest.param(POD, seen(POD), [Start("main", 0)], id="no container: the first is started"),
        pytest.param(TWO, seen(TWO, running(TWO)), [Start("side", 0)], id="one of two is missing: only that"),
        pytest.param(POD, seen(POD, exited(POD)), [Start("main", 1, "main-0")], id="dead: the next attempt"),
        pytest.param(POD, seen(POD, exited(POD, code=0)), [Start("main", 1, "main-0")], id="Always: success, too"),
        pytest.param(
            ON_FAILURE, seen(ON_FAILURE, exited(ON_FAILURE)), [Start("main", 1, "main-0")], id="OnFailure: failure"
        ),
        pytest.param(
            ON_FAILURE,
            seen(ON_FAILURE, exited(ON_FAILURE, code=0)),
            [RemoveSandbox("sandbox-0")],
            id="OnFailure: success is the end",
        ),
        pytest.param(NEVER, seen(NEVER, exited(NEVER)), [RemoveSandbox("sandbox-0")], id="Never: any end is the end"),
        pytest.param(POD, seen(POD, CREATED), [Start("main", 0)], id="created and never started: made again"),
        pytest.param(POD, seen(POD, CANNOT_RUN), [Start("main", 1, "main-0")], id="could not be started: next attempt"),
        pytest.param(
            POD,
            seen(POD, exited(POD, attempt=0), exited(POD, attempt=1), running(POD, attempt=2)),
            [],
            id="what has died before is left to the garbage collector",
        ),
        pytest.param(
            POD,
            seen(POD, running(POD, sandbox_id="sandbox-1"), sandboxes=[sandbox(POD, 1), sandbox(POD, 0, State.EXITED)]),
            [RemoveSandbox("sandbox-0")],
            id="a dead sandbox beside a running one is removed",
        ),
        pytest.param(ENDED, Seen(), [], id="the API says that it ended: nothing is started"),
        pytest.param(
            ENDED,
            seen(ENDED, running(ENDED)),
            [Kill(running(ENDED), "Stopping container main", 30)],
            id="the API says that it ended: what runs is killed",
        ),
    ],
)
def test_the_next_actions(pod: Pod, what: Seen, expected: list[Action]) -> None:
    assert actions(pod, what) == expected


def test_volumes_come_first_then_sandbox_and_images_together_then_containers() -> None:
    remembered = PodMemory()
    assert actions(POD, Seen(), remembered) == [MountVolumes()]
    remembered.volumes_ready = True
    assert actions(POD, Seen(), remembered) == [MakeSandbox(0), EnsureImage("main")]
    remembered.of("main").image = ImageState(ready=True)
    assert actions(POD, Seen([sandbox(POD)]), remembered) == [Start("main", 0)]


def test_without_a_sandbox_containers_are_killed_then_the_next_sandbox_is_made() -> None:
    dead = sandbox(POD, 0, State.EXITED)
    remembered = memory("main")
    kill = Kill(running(POD), "Stopping container main", 30, replace=True)
    assert actions(POD, seen(POD, running(POD), sandboxes=[dead]), remembered) == [Announce(), kill]
    assert actions(POD, seen(POD, exited(POD), sandboxes=[dead]), memory()) == [Announce(), MakeSandbox(1)]
    remembered.loss_told = True
    assert actions(POD, seen(POD, running(POD), sandboxes=[dead]), remembered) == [kill]
    remembered.of("main").restart = "main-0"
    assert actions(POD, seen(POD, exited(POD), sandboxes=[dead]), remembered) == [MakeSandbox(1)]


def test_a_pod_that_is_never_restarted_ends_with_its_sandbox() -> None:
    dead = sandbox(NEVER, 0, State.EXITED)
    assert actions(NEVER, seen(NEVER, exited(NEVER, code=137), sandboxes=[dead])) == [RemoveSandbox("sandbox-0")]
    assert plan(NEVER, seen(NEVER, exited(NEVER), sandboxes=[]), memory(), NOW).over


def test_a_sandbox_that_could_not_be_made_is_made_later() -> None:
    remembered = memory("main")
    remembered.sandbox_retry_at, remembered.sandbox_attempts = NOW + 5, 1
    assert plan(POD, Seen(), remembered, NOW).wake_at == NOW + 5
    assert actions(POD, Seen(), remembered, NOW + 5) == [MakeSandbox(1)]


@pytest.mark.parametrize(
    ("pod", "change", "message", "replaced"),
    [
        pytest.param(
            POD, {"hash": "other"}, "Container main definition changed, will be restarted", True, id="another image"
        ),
        pytest.param(
            NEVER, {"hash": "other"}, "Container main definition changed, will be restarted", True,
            id="another image, even when never restarted",
        ),
        pytest.param(POD, {"state": State.UNKNOWN}, "Container main is in unknown state", True, id="unknown state"),
        pytest.param(POD, {"sandbox_id": "old"}, "Stopping container main", True, id="in a sandbox that is gone"),
    ],
)  # fmt: skip
def test_a_running_container_that_is_wrong_is_killed(
    pod: Pod, change: dict[str, Any], message: str, replaced: bool
) -> None:
    wrong = running(pod, **change)
    assert actions(pod, seen(pod, wrong)) == [Kill(wrong, message, 30, replace=replaced)]


@pytest.mark.parametrize(
    ("pod", "unhealthy", "expected"),
    [
        pytest.param(
            POD, Unhealthy("liveness"), ("Container main failed liveness probe, will be restarted", 30, True),
            id="replaced",
        ),
        pytest.param(
            POD, Unhealthy("startup", 3), ("Container main failed startup probe, will be restarted", 3, True),
            id="the probe's own grace",
        ),
        pytest.param(NEVER, Unhealthy("liveness"), ("Container main failed liveness probe", 30, False), id="Never"),
    ],
)  # fmt: skip
def test_an_unhealthy_container_is_killed(pod: Pod, unhealthy: Unhealthy, expected: tuple[str, float, bool]) -> None:
    remembered = memory()
    remembered.unhealthy = {"main-0": unhealthy}
    (kill,) = actions(pod, seen(pod, running(pod)), remembered)
    assert isinstance(kill, Kill)
    assert (kill.message, kill.grace, kill.replace) == expected


def test_a_container_that_was_killed_to_be_replaced_is_replaced_whatever_it_exited_with() -> None:
    remembered = memory("main")
    remembered.of("main").restart = "main-0"
    what = seen(ON_FAILURE, exited(ON_FAILURE, code=0))
    assert actions(ON_FAILURE, what, remembered) == [Start("main", 1, "main-0")]


def test_back_off_waits_from_the_moment_of_death_and_says_so() -> None:
    remembered = memory("main")
    what = seen(POD, exited(POD, attempt=1))
    remembered.observe(what, NOW)
    remembered.of("main").back_off = BackOff(20, NOW - 1)
    waiting = plan(POD, what, remembered, NOW + 5)
    assert (waiting.actions, waiting.wake_at) == ([], NOW + 20)
    message = "back-off 20s restarting failed container=main pod=web_default(uid-1)"
    assert waiting.waiting == {"main": Waiting("CrashLoopBackOff", message)}
    assert actions(POD, what, remembered, NOW + 20) == [Start("main", 2, "main-1")]


def test_a_new_version_of_a_dead_container_does_not_wait() -> None:
    remembered = memory("main")
    remembered.of("main").back_off = BackOff(300, NOW)
    assert actions(POD, seen(POD, exited(POD, hash="other")), remembered) == [Start("main", 1, "main-0")]


def test_attempts_go_up_even_if_the_dead_container_was_removed() -> None:
    remembered = memory("main")
    remembered.observe(seen(POD, exited(POD, attempt=3)), NOW)
    assert actions(POD, seen(POD), remembered) == [Start("main", 4)]


@pytest.mark.parametrize(
    ("image", "expected", "waiting", "wake_at"),
    [
        pytest.param(None, [EnsureImage("main")], {}, None, id="not asked: ask"),
        pytest.param(ImageState(), [], {}, None, id="being pulled: wait for it"),
        pytest.param(
            ImageState(waiting=Waiting("ErrImagePull", "x"), retry_at=NOW + 3),
            [], {"main": Waiting("ErrImagePull", "x")}, NOW + 3, id="failed: wait, and say why",
        ),
        pytest.param(
            ImageState(waiting=Waiting("ErrImagePull", "x"), retry_at=NOW),
            [EnsureImage("main")], {"main": Waiting("ErrImagePull", "x")}, None, id="failed a while ago: ask again",
        ),
    ],
)  # fmt: skip
def test_a_container_waits_for_its_image(
    image: ImageState | None, expected: list[Action], waiting: dict[str, Waiting], wake_at: float | None
) -> None:
    remembered = memory()
    remembered.of("main").image = image
    result = plan(POD, seen(POD), remembered, NOW)
    assert (list(result.actions), result.waiting, result.wake_at) == (expected, waiting, wake_at)


def test_one_container_s_image_does_not_hold_up_the_other_container() -> None:
    remembered = memory("side")
    remembered.of("main").image = ImageState()
    assert actions(TWO, seen(TWO), remembered) == [Start("side", 0)]


def test_trouble_is_shown_until_the_next_try() -> None:
    remembered = memory("main")
    remembered.of("main").trouble = Waiting("CreateContainerError", "x")
    remembered.of("main").retry_at = NOW + 10
    result = plan(POD, seen(POD), remembered, NOW)
    assert (result.actions, result.waiting, result.wake_at) == (
        [], {"main": Waiting("CreateContainerError", "x")}, NOW + 10,
    )  # fmt: skip
    assert actions(POD, seen(POD), remembered, NOW + 10) == [Start("main", 0)]


def test_the_end_kills_then_removes_the_sandbox_then_every_trace() -> None:
    what = seen(POD, running(POD), exited(POD, "main", 1))
    killed = seen(POD, exited(POD), exited(POD, "main", 1))
    assert plan_end(what, "Stopping container {}", 5).actions == [Kill(running(POD), "Stopping container main", 5)]
    assert plan_end(killed, "", 5).actions == [RemoveSandbox("sandbox-0")]
    everything = [RemoveSandbox("sandbox-0"), RemoveContainer("main-0"), RemoveContainer("main-1")]
    assert plan_end(killed, "", 5, remove=True).actions == everything
    assert not plan_end(killed, "", 5).over
    assert plan_end(seen(POD, exited(POD), sandboxes=[]), "", 5).over
    assert not plan_end(seen(POD, exited(POD), sandboxes=[]), "", 5, remove=True).over
    assert plan_end(Seen(), "", 5, remove=True).over


def test_back_off_doubles_to_five_minutes_and_is_forgotten_after_ten_good_ones() -> None:
    back_off, now, waits = BackOff(), NOW, []
    for _ in range(8):
        waits.append(back_off.remaining(now, now))
        now += waits[-1]
        back_off = back_off.next(now, now)
        now += 1
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]
    assert back_off.remaining(now + 599, now + 599) == 300
    assert back_off.remaining(now + 600, now + 600) == 0
    assert back_off.next(now + 600, now + 600).seconds == 10


@pytest.mark.parametrize(("seconds", "text"), [(10, "10s"), (80, "1m20s"), (300, "5m0s"), (3600, "1h0m0s")])
def test_durations_are_printed_as_go_prints_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("pause", "left"),
    [
        pytest.param(0, 7, id="restarted at once: 10 s"),
        pytest.param(11, 17, id="after 10 s: 20 s"),
        pytest.param(21, 37, id="after 20 s: 40 s"),
        pytest.param(162, 297, id="after 160 s: 300 s"),
        pytest.param(305, 297, id="after 300 s: 300 s"),
        pytest.param(4000, 297, id="after a kubelet was down for long: no more than 300 s"),
    ],
)
def test_a_restarted_kubelet_goes_on_with_the_back_off(pause: int, left: int) -> None:
    """The last attempt ran for 5 s and ended 3 s ago."""
    start = NOON + timedelta(seconds=pause)
    first = exited(POD, attempt=4, finished_at=NOON)
    last = exited(POD, attempt=5, started_at=start, finished_at=start + timedelta(seconds=5))
    remembered = memory("main")
    remembered.adopt(seen(POD, first, last), NOW, start + timedelta(seconds=8))
    found = plan(POD, seen(POD, first, last), remembered, NOW)
    assert found.waiting["main"].reason == "CrashLoopBackOff"
    assert found.wake_at is not None
    assert round(found.wake_at - NOW) == left


def test_what_has_never_been_restarted_has_no_back_off() -> None:
    remembered = memory("main")
    remembered.adopt(seen(POD, exited(POD)), NOW, NOON)
    assert actions(POD, seen(POD, exited(POD)), remembered) == [Start("main", 1, "main-0")]
