"""What a replication controller wants: upstream's rules as tables, and what holds for any pods."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api.core import ContainerStatus, Pod, PodSpec, ReplicationController, ReplicationControllerCondition
from kube.controller_manager import replicas
from kube.controller_manager.pod import active, sharing_parts
from kube.controller_manager.replicas import Failure, Plan, deletion_order, plan
from tests.objects import NOON, ago, container, pod, rc

WEB = rc("web", 2)
OTHER = rc("other", 1, labels={"app": "web"})


def names(pods: list[Pod]) -> list[str]:
    return sorted(each.name for each in pods)


def mine(name: str, **words: object) -> Pod:
    return pod(name, **{"labels": {"app": "web"}, "owner": WEB, **words})  # type: ignore[arg-type]


def summary(todo: Plan) -> tuple[int, list[str], list[str], list[str]]:
    return todo.missing, names(todo.surplus), names(todo.adopt), names(todo.release)


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        pytest.param([], (2, [], [], []), id="nothing there: all are missing"),
        pytest.param([mine("a"), mine("b")], (0, [], [], []), id="as wanted"),
        pytest.param([mine("a")], (1, [], [], []), id="one is missing"),
        pytest.param([mine("a"), mine("b", phase="Failed")], (1, [], [], []), id="a failed pod does not count"),
        pytest.param([mine("a"), mine("b", phase="Succeeded")], (1, [], [], []), id="nor one that is done"),
        pytest.param([mine("a"), mine("b", deleting=True)], (1, [], [], []), id="nor one that is being deleted"),
        pytest.param([mine("a"), mine("b", owner=None)], (0, [], ["b"], []), id="a matching orphan is adopted"),
        pytest.param([mine("a", owner=None, deleting=True)], (2, [], [], []), id="not one that is being deleted"),
        pytest.param([mine("a", owner=None, labels={"app": "db"})], (2, [], [], []), id="nor one that does not match"),
        pytest.param([mine("a", owner=OTHER)], (2, [], [], []), id="another controller's pod is not ours"),
        pytest.param([mine("a", labels={"app": "db"}), mine("b")], (1, [], [], ["a"]), id="released: does not match"),
        pytest.param([mine("a", labels={}, deleting=True)], (2, [], [], []), id="not released while being deleted"),
        pytest.param([mine("c", node="n"), mine("b", node="n"), mine("a")], (0, ["a"], [], []), id="surplus"),
        pytest.param(
            [mine("a", node="n"), mine("b", node="n"), mine("c", owner=None)], (0, ["c"], ["c"], []),
            id="an adopted pod may be the surplus",
        ),
    ],
)  # fmt: skip
def test_plan(pods: list[Pod], expected: tuple[int, list[str], list[str], list[str]]) -> None:
    assert summary(plan(WEB, pods)) == expected


def test_a_controller_that_is_being_deleted_does_nothing() -> None:
    going = rc("web", 2, deleting=True)
    pods = [pod("a", owner=going, labels={"app": "web"}), pod("b", labels={"app": "web"}), pod("c", owner=going)]
    assert summary(plan(going, pods)) == (0, [], [], [])


def test_no_selector_means_the_templates_labels_and_no_labels_select_nothing() -> None:
    without = rc("web", 1)
    without.spec.selector = {}
    assert plan(without, [pod("a", labels={"app": "web"})]).missing == 0
    assert without.spec.template is not None
    without.spec.template.metadata.labels = {}
    assert plan(without, [pod("a", labels={"app": "web"})]).missing == 1


RUNNING = {"node": "n1", "phase": "Running", "ready": True}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({**RUNNING, "node": ""}, RUNNING, id="unassigned before assigned"),
        pytest.param({**RUNNING, "phase": "Pending"}, RUNNING, id="pending before running"),
        pytest.param({**RUNNING, "phase": "Pending"}, {**RUNNING, "phase": "Unknown"}, id="pending before unknown"),
        pytest.param({**RUNNING, "phase": "Unknown"}, RUNNING, id="unknown before running"),
        pytest.param({**RUNNING, "ready": False}, RUNNING, id="not ready before ready"),
        pytest.param(
            {**RUNNING, "annotations": {replicas.DELETION_COST: "-1"}}, RUNNING, id="lower deletion cost first"
        ),
        pytest.param({**RUNNING, "ready_since": ago(1)}, {**RUNNING, "ready_since": ago(9)}, id="ready for less time"),
        pytest.param({**RUNNING, "ready_since": None}, {**RUNNING, "ready_since": NOON}, id="nobody knows since when"),
        pytest.param({**RUNNING, "restarts": 2}, {**RUNNING, "restarts": 1}, id="more restarts first"),
        pytest.param({**RUNNING, "created": ago(1)}, {**RUNNING, "created": ago(9)}, id="younger first"),
        pytest.param(
            {**RUNNING, "ready": False, "created": ago(9)}, {**RUNNING, "created": ago(1)}, id="readiness before age"
        ),
        pytest.param(
            {**RUNNING, "ready_since": ago(1)},
            {**RUNNING, "ready_since": ago(9), "restarts": 5},
            id="then restarts",
        ),
    ],
)
def test_deletion_order(first: dict[str, object], second: dict[str, object]) -> None:
    """Upstream's ActivePodsWithRanks: whom to delete first."""
    # The names go against the order, so that it cannot come from them.
    pods = [pod("a-second", **second), pod("z-first", **first)]  # type: ignore[arg-type]
    assert [each.name for each in deletion_order(pods)] == ["z-first", "a-second"]
    assert [each.name for each in deletion_order(pods[::-1])] == ["z-first", "a-second"]


@pytest.mark.parametrize("when", ["ready_since", "created"])
def test_ages_are_compared_by_their_order_of_magnitude(when: str) -> None:
    """Upstream's LogarithmicScaleDown: pods of about one age go in an order that says nothing, that of their UIDs, so
    that not always those of one node or zone go, which were the last to come."""

    def order(*ages: float) -> list[str]:
        pods = [pod(f"{age:g}", uid=str(number), **RUNNING, **{when: ago(age)}) for number, age in enumerate(ages)]  # type: ignore[arg-type]
        return [each.name for each in deletion_order(pods, NOON)]

    assert order(3600, 60) == ["60", "3600"]
    assert order(3600, 3500) == ["3600", "3500"], "the one with the lower UID"
    assert order(3500, 3600) == ["3500", "3600"]
    assert order(5, -3) == ["-3", "5"], "by a clock that is fast"
    assert order(3600, -3, -4) == ["-3", "-4", "3600"]


def test_a_sidecars_restarts_count_after_those_of_the_containers() -> None:
    def restarted(name: str, regular: int, sidecar: int, once: int = 0) -> Pod:
        inits = [container(name="sidecar"), container(name="once")]
        inits[0].restartPolicy = "Always"
        made = pod(name, restarts=regular, spec=PodSpec(containers=[container()], initContainers=inits), **RUNNING)  # type: ignore[arg-type]
        made.status.initContainerStatuses = [
            ContainerStatus(name="sidecar", restartCount=sidecar),
            ContainerStatus(name="once", restartCount=once),
        ]
        return made

    pods = [restarted("c", 1, 1, once=9), restarted("b", 1, 2), restarted("a", 2, 0)]
    assert [each.name for each in deletion_order(pods)] == ["a", "b", "c"]


def test_pods_that_share_their_node_go_first() -> None:
    alone = pod("a", node="n1", phase="Running", ready=True)
    pair = [pod(name, node="n2", phase="Running", ready=True) for name in ("y", "z")]
    assert deletion_order([alone, *pair])[-1].name == "a"


def test_status_counts() -> None:
    pods = [
        pod("ready", labels={"app": "web"}, ready=True, ready_since=ago(30)),
        pod("fresh", labels={"app": "web"}, ready=True, ready_since=ago(4)),
        pod("waiting", labels={}, ready=False),
    ]
    status, wait = replicas.status(rc("web", 3, min_ready=10, generation=7), pods, [], NOON)
    counts = (status.replicas, status.fullyLabeledReplicas, status.readyReplicas, status.availableReplicas)
    assert counts == (3, 2, 2, 1)
    assert status.observedGeneration == 7
    assert wait == 6, "when the fresh one is available"


def test_a_failure_is_shown_while_it_lasts_and_keeps_its_time() -> None:
    failure = Failure("FailedCreate", "no quota")
    shown = replicas.failure_conditions([], failure, ago(60))
    assert [(c.type, c.status, c.reason, c.message) for c in shown] == [
        ("ReplicaFailure", "True", "FailedCreate", "no quota")
    ]
    assert replicas.failure_conditions(shown, failure, NOON)[0].lastTransitionTime == ago(60)
    assert replicas.failure_conditions(shown, None, NOON) == []
    others = [ReplicationControllerCondition(type="Else", status="True")]
    assert replicas.failure_conditions([*others, *shown], None, NOON) == others


@st.composite
def any_pods(draw: st.DrawFn) -> tuple[ReplicationController, list[Pod]]:
    controller = rc("web", draw(st.integers(0, 6)), deleting=draw(st.sampled_from([False, False, False, True])))
    pods = [
        pod(
            f"p{number}",
            labels=draw(st.sampled_from([{"app": "web"}, {"app": "web", "x": "y"}, {"app": "db"}, {}])),
            owner=draw(st.sampled_from([controller, controller, None, OTHER])),
            phase=draw(st.sampled_from(["Pending", "Running", "Succeeded", "Failed"])),
            node=draw(st.sampled_from(["", "n1", "n2"])),
            ready=draw(st.sampled_from([None, False, True])),
            deleting=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 10)))
    ]
    return controller, pods


@given(any_pods())
def test_a_plan_that_is_carried_out_leaves_nothing_to_do(given: tuple[ReplicationController, list[Pod]]) -> None:
    """Carrying a plan out gives exactly the wanted number, touches nobody else's pods, and is done in one go."""
    controller, pods = given
    todo = plan(controller, pods)
    assert not (todo.missing and todo.surplus)
    assert set(names(todo.surplus)) <= set(names(todo.claimed))
    assert not set(names(todo.release)) & set(names(todo.claimed))
    for touched in [*todo.surplus, *todo.adopt, *todo.release]:
        owner = touched.metadata.controller()
        assert owner is None or owner.uid == controller.metadata.uid
        assert active(touched)
    adopted, released, gone = names(todo.adopt), names(todo.release), names(todo.surplus)
    after = [each.clone() for each in pods if each.name not in gone]
    for each in after:
        if each.name in adopted:
            each.metadata.ownerReferences = [replicas.owner_reference(controller)]
        if each.name in released:
            each.metadata.ownerReferences = []
    after += [pod(f"new{n}", owner=controller, labels={"app": "web"}) for n in range(todo.missing)]
    again = plan(controller, after)
    assert summary(again) == (0, [], [], [])
    if controller.metadata.deletionTimestamp is None:
        assert len(again.claimed) == replicas.wanted(controller)


def test_a_pod_becomes_available_with_time() -> None:
    controller = rc("web", 1, min_ready=10)
    fresh = [pod("a", labels={"app": "web"}, ready=True, ready_since=NOON)]
    assert replicas.status(controller, fresh, [], NOON)[0].availableReplicas == 0
    assert replicas.status(controller, fresh, [], NOON + timedelta(seconds=10))[0].availableReplicas == 1


def test_equal_parts_of_pods_are_kept_once() -> None:
    owner = rc("web", 1)
    one, same = (pod(name, node="n1", owner=owner, ready=True, ready_since=NOON) for name in "ab")
    other = pod("c", node="n2", owner=rc("db", 1), ready=False)
    kept = [sharing_parts(each) for each in (one, same, other)]
    assert kept[0].spec is kept[1].spec
    assert kept[2].spec is not kept[0].spec
    assert [each.spec.nodeName for each in kept] == ["n1", "n1", "n2"]
    conditions = [each.status.conditions[0] for each in kept]
    assert conditions[0] is conditions[1]
    assert [each.status for each in conditions] == ["True", "True", "False"]
    owners = [each.metadata.ownerReferences[0] for each in kept]
    assert owners[0] is owners[1]
    assert [each.name for each in owners] == ["web", "web", "db"]
