"""Pods leave nodes that are ill: slowly, after their time, and never all at once."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest

from kube.api import errors
from kube.api.core import Node, NodeCondition, Pod, PodSpec, Taint, Toleration
from kube.api.meta import Object
from kube.api.tolerations import seconds_borne
from kube.client.source import EtcdSources
from kube.controller_manager.node_taints import (
    EXCLUDED,
    NOT_READY,
    UNREACHABLE,
    Rates,
    ZoneState,
    with_no_execute,
    with_no_schedule,
    zone_state,
)
from kube.controller_manager.options import Options
from kube.controller_manager.pod_gc import OUT_OF_SERVICE, surplus
from tests.lagging import LaggingSources
from tests.memory_api import MemoryApi
from tests.objects import NOON, container, node, pod
from tests.unit.controller_manager.conftest import controllers, events

NODES, EVICTION, PODGC = "nodelifecycle", "taint-eviction", "podgc"
FIVE_MINUTES = [
    Toleration(key=key, operator="Exists", effect="NoExecute", tolerationSeconds=300)
    for key in (NOT_READY, UNREACHABLE)
]


def on(name: str, where: str, *tolerations: Toleration) -> Pod:
    spec = PodSpec(containers=[container()], tolerations=list(tolerations))
    return pod(name, node=where, phase="Running", ready=True, spec=spec)


async def taints(api: MemoryApi, name: str) -> set[str]:
    return {f"{t.key}:{t.effect}" for t in (await api.get(Node, name)).spec.taints}


async def tainted(api: MemoryApi) -> int:
    return sum(any(t.effect == "NoExecute" for t in each.spec.taints) for each in (await api.list(Node)).items)


async def living(api: MemoryApi) -> set[str]:
    return {each.name for each in (await api.list(Pod)).items if each.metadata.deletionTimestamp is None}


async def keep_alive(api: MemoryApi, *names: str) -> None:
    """Be the kubelets of these nodes."""
    number = 0
    while True:
        await asyncio.sleep(10)
        number += 1
        for name in names:
            described = await api.get(Node, name)
            described.status.conditions[0] = NodeCondition(
                type="Ready", status="True", lastHeartbeatTime=NOON + timedelta(seconds=number), lastTransitionTime=NOON
            )
            await api.update(described, "status")


@pytest.mark.looptime
async def test_pods_of_a_silent_node_go_after_their_time(api: MemoryApi) -> None:
    for name in ("ill", "well"):
        await api.create(node(name))
    await api.create(on("five-minutes", "ill", *FIVE_MINUTES))
    await api.create(on("for-ever", "ill", Toleration(operator="Exists")))
    await api.create(on("at-once", "ill"))
    await api.create(on("elsewhere", "well"))
    beating = asyncio.ensure_future(keep_alive(api, "well"))
    async with controllers(api, NODES, EVICTION):
        await asyncio.sleep(39)
        assert await taints(api, "ill") == set()
        await asyncio.sleep(3)
        assert await taints(api, "ill") == {f"{UNREACHABLE}:NoSchedule", f"{UNREACHABLE}:NoExecute"}
        assert await living(api) == {"five-minutes", "for-ever", "elsewhere"}
        await asyncio.sleep(295)
        assert "five-minutes" in await living(api)
        await asyncio.sleep(10)
        assert await living(api) == {"for-ever", "elsewhere"}
        told = await events(api, "TaintManagerEviction")
        assert "Marking for deletion Pod default/five-minutes" in told
        evicted = await api.get(Pod, "five-minutes", "default")
        reasons = {c.type: c.reason for c in evicted.status.conditions}
        assert reasons["DisruptionTarget"] == "DeletionByTaintManager"
    beating.cancel()


@pytest.mark.looptime
async def test_a_node_that_comes_back_in_time_keeps_its_pods(api: MemoryApi) -> None:
    for name in ("ill", "well"):
        await api.create(node(name))
    await api.create(on("p", "ill", *FIVE_MINUTES))
    beating = [asyncio.ensure_future(keep_alive(api, "well"))]
    async with controllers(api, NODES, EVICTION):
        await asyncio.sleep(200)
        assert await tainted(api) == 1
        beating.append(asyncio.ensure_future(keep_alive(api, "ill")))
        await asyncio.sleep(400)
        assert await taints(api, "ill") == set()
        assert await living(api) == {"p"}
        assert await events(api, "TaintManagerEviction") == ["Cancelling deletion of Pod default/p"]
    for each in beating:
        each.cancel()


@pytest.mark.looptime
async def test_a_node_that_was_removed_and_made_anew_gives_its_pods_their_time_anew(api: MemoryApi) -> None:
    taint = Taint(key=UNREACHABLE, effect="NoExecute")
    await api.create(node("n", taints=[taint]))
    await api.create(on("p", "n", *FIVE_MINUTES))
    async with controllers(api, EVICTION):
        await asyncio.sleep(200)
        await api.delete(Node, "n")
        await asyncio.sleep(1)
        await api.create(node("n"))
        await asyncio.sleep(60)
        await api.patch(Node, "n", "", {"spec": {"taints": [taint.to_dict()]}})
        await asyncio.sleep(290)
        assert await living(api) == {"p"}
        await asyncio.sleep(20)
        assert await living(api) == set()


@pytest.mark.looptime
async def test_pods_that_have_ended_leave_too(api: MemoryApi) -> None:
    """Upstream's taint manager does not look at the phase of a pod."""
    await api.create(node("n", taints=[Taint(key=UNREACHABLE, effect="NoExecute")]))
    ended = on("p", "n", *FIVE_MINUTES)
    ended.status.phase = "Succeeded"
    await api.create(ended)
    async with controllers(api, EVICTION):
        await asyncio.sleep(290)
        assert await living(api) == {"p"}
        await asyncio.sleep(20)
        assert await living(api) == set()


@pytest.mark.looptime
async def test_nodes_are_given_up_one_every_ten_seconds(api: MemoryApi) -> None:
    for number in range(20):
        await api.create(node(f"n{number:02}"))
    beating = asyncio.ensure_future(keep_alive(api, *[f"n{number:02}" for number in range(10)]))
    async with controllers(api, NODES):
        await asyncio.sleep(45)
        seen = [await tainted(api)]
        for _ in range(4):
            await asyncio.sleep(10)
            seen.append(await tainted(api))
        assert seen == [1, 2, 3, 4, 5]
        assert {len(await taints(api, f"n{number}")) for number in range(15, 20)} <= {1, 2}, "NoSchedule at once"
    beating.cancel()


@pytest.mark.looptime
async def test_when_all_is_dark_nothing_is_evicted_and_taints_that_were_go(api: MemoryApi) -> None:
    for number in range(4):
        await api.create(node(f"n{number}"))
    await api.create(on("p", "n0"))
    beating = asyncio.ensure_future(keep_alive(api, "n1", "n2", "n3"))
    async with controllers(api, NODES):
        await asyncio.sleep(60)
        assert await tainted(api) == 1
        beating.cancel()
        await asyncio.sleep(60)
        assert await tainted(api) == 0
        assert "p" in await living(api)
        # One speaks again: the others get their time, and then are given up.
        beating = asyncio.ensure_future(keep_alive(api, "n3"))
        await asyncio.sleep(30)
        assert await tainted(api) == 0
    beating.cancel()


@pytest.mark.looptime
async def test_a_small_zone_that_is_mostly_ill_is_left_alone(api: MemoryApi) -> None:
    for number in range(5):
        await api.create(node(f"n{number}"))
    beating = asyncio.ensure_future(keep_alive(api, "n0", "n1"))
    async with controllers(api, NODES):
        await asyncio.sleep(120)
        assert await tainted(api) <= 2, "those that fell silent before the others"
    beating.cancel()


@pytest.mark.looptime
async def test_nodes_that_are_excluded_do_not_make_a_zone_ill(api: MemoryApi) -> None:
    """Upstream: nodes with the label `node.kubernetes.io/exclude-disruption` are not looked at in disruption checks."""
    for number in range(8):
        await api.create(node(f"n{number}", labels={EXCLUDED: ""} if number > 4 else None))
    beating = asyncio.ensure_future(keep_alive(api, "n0", "n1", "n2"))
    async with controllers(api, NODES):
        await asyncio.sleep(120)
        assert await tainted(api) == 5, "two of five are silent, not five of eight"
    beating.cancel()


@pytest.mark.looptime
async def test_a_node_that_says_it_is_not_ready_is_tainted_and_speaks_for_its_pods(api: MemoryApi) -> None:
    await api.create(node("well"))
    await api.create(node("ill", ready="False"))
    await api.create(on("p", "ill", *FIVE_MINUTES))
    async with controllers(api, NODES):
        await asyncio.sleep(5)
        assert await taints(api, "ill") == {f"{NOT_READY}:NoSchedule", f"{NOT_READY}:NoExecute"}
        (ready,) = (await api.get(Pod, "p", "default")).status.conditions
        assert ready.status == "True"


@pytest.mark.looptime
async def test_cordoning_is_a_taint(api: MemoryApi) -> None:
    await api.create(node("n", unschedulable=True))
    async with controllers(api, NODES):
        await asyncio.sleep(1)
        assert await taints(api, "n") == {"node.kubernetes.io/unschedulable:NoSchedule"}
        assert all(taint.timeAdded for taint in (await api.get(Node, "n")).spec.taints)
        await api.patch(Node, "n", "", {"spec": {"unschedulable": None}})
        await asyncio.sleep(1)
        assert await taints(api, "n") == set()


def test_taints_of_others_stay() -> None:
    mine = Taint(key="dedicated", value="db", effect="NoSchedule")
    full = node(taints=[mine, Taint(key=NOT_READY, effect="NoSchedule"), Taint(key=NOT_READY, effect="NoExecute")])
    assert with_no_schedule(full, NOON) == [mine, full.spec.taints[2]]
    assert with_no_execute(full.spec.taints, "", NOON) == full.spec.taints[:2]
    swapped = with_no_execute(full.spec.taints, UNREACHABLE, NOON)
    assert [(t.key, t.effect) for t in swapped[2:]] == [(UNREACHABLE, "NoExecute")]
    assert with_no_execute(full.spec.taints, NOT_READY, NOON) == full.spec.taints, "its time is kept"


@pytest.mark.parametrize(
    ("ready", "ill", "size", "rate"),
    [
        pytest.param(10, 1, 11, 0.1, id="well"),
        pytest.param(1, 2, 3, 0.1, id="two are too few to judge a zone by"),
        pytest.param(2, 3, 5, 0.0, id="small and mostly ill"),
        pytest.param(40, 60, 100, 0.01, id="large and mostly ill"),
        pytest.param(0, 5, 5, 0.1, id="a dark zone beside others"),
    ],
)
def test_rates(ready: int, ill: int, size: int, rate: float) -> None:
    assert Rates().of(zone_state(ready, ill), size, all_dark=False) == rate
    assert Rates().of(ZoneState.NORMAL, size, all_dark=True) == 0


@pytest.mark.parametrize(
    ("tolerations", "seconds"),
    [
        pytest.param([], 0.0, id="none"),
        pytest.param(FIVE_MINUTES, 300.0, id="default"),
        pytest.param([Toleration(operator="Exists")], None, id="all, for ever"),
        pytest.param([Toleration(key=NOT_READY, operator="Exists", tolerationSeconds=-1)], 0.0, id="negative"),
        pytest.param([Toleration(key=NOT_READY, effect="NoSchedule")], 0.0, id="another effect"),
    ],
)
def test_how_long_a_taint_is_borne(tolerations: list[Toleration], seconds: float | None) -> None:
    assert seconds_borne(tolerations, [Taint(key=NOT_READY, effect="NoExecute")]) == seconds


# Pods that nobody will ever remove


@pytest.mark.looptime
async def test_ended_pods_over_the_threshold_go_the_oldest_first(api: MemoryApi) -> None:
    for number in range(6):
        created = NOON + timedelta(seconds=number)
        await api.create(pod(f"p{number}", node="n", phase="Succeeded", created=created))
    await api.create(node("n"))
    async with controllers(api, options=Options(controllers=(PODGC,), terminated_pod_gc_threshold=4)):
        await asyncio.sleep(1)
        assert await living(api) == {"p2", "p3", "p4", "p5"}
    assert surplus((await api.list(Pod)).items, 0) == []


@pytest.mark.looptime
async def test_pods_of_a_node_that_is_gone_go_after_a_while(api: MemoryApi) -> None:
    await api.create(node("n"))
    await api.create(on("p", "gone"))
    await api.create(on("q", "n"))
    async with controllers(api, PODGC):
        await asyncio.sleep(35)
        assert await living(api) == {"p", "q"}
        await asyncio.sleep(30)
        assert await living(api) == {"q"}
        await api.delete(Node, "n")
        await asyncio.sleep(25)
        await api.create(node("n"))
        await asyncio.sleep(100)
        assert await living(api) == {"q"}, "it came back"


@pytest.mark.looptime
async def test_pods_that_end_where_nobody_ends_them(api: MemoryApi) -> None:
    await api.create(node("off", ready="Unknown", taints=[Taint(key=OUT_OF_SERVICE, effect="NoExecute")]))
    await api.create(node("on"))
    unbound = pod("unbound", deleting=True)
    unbound.metadata.deletionGracePeriodSeconds = 30
    await api.create(unbound)
    await api.create(pod("off", node="off", phase="Running", deleting=True))
    await api.create(pod("on", node="on", phase="Running", deleting=True))
    async with controllers(api, PODGC):
        await asyncio.sleep(1)
    assert [each.name for each in (await api.list(Pod)).items] == ["on"]


@pytest.mark.looptime
async def test_a_node_that_is_ready_ends_its_pods_itself_though_it_is_said_to_be_out_of_service(api: MemoryApi) -> None:
    """Upstream: only if the node is not ready and has the taint `node.kubernetes.io/out-of-service`."""
    await api.create(node("n", taints=[Taint(key=OUT_OF_SERVICE, effect="NoExecute")]))
    await api.create(pod("p", node="n", phase="Running", deleting=True))
    async with controllers(api, PODGC):
        await asyncio.sleep(30)
        assert [each.name for each in (await api.list(Pod)).items] == ["p"]
        off = await api.get(Node, "n")
        off.status.conditions[0].status = "Unknown"
        await api.update(off, "status")
        await asyncio.sleep(30)
        assert (await api.list(Pod)).items == []


@pytest.mark.looptime
async def test_a_node_that_cannot_be_asked_for_keeps_its_pods_and_no_others(
    api: MemoryApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = api.get

    async def refusing(model: type[Node], name: str, namespace: str = "") -> Node:
        if name == "secret":
            raise errors.forbidden("nodes", name, "you may not")
        return await get(model, name, namespace)

    monkeypatch.setattr(api, "get", refusing)
    await api.create(on("p", "secret"))
    await api.create(on("q", "gone"))
    async with controllers(api, PODGC):
        await asyncio.sleep(70)
        unbound = pod("unbound", deleting=True)
        unbound.metadata.deletionGracePeriodSeconds = 30
        await api.create(unbound)
        await asyncio.sleep(30)
    assert [each.name for each in (await api.list(Pod)).items] == ["p"]


@pytest.mark.looptime
async def test_a_pod_that_cannot_be_collected_keeps_no_other(api: MemoryApi) -> None:
    tries: list[str] = []

    def refused(verb: str, model: type[Object], key: str) -> Exception | None:
        tries.append(key)
        return errors.forbidden("pods", "a", "you may not") if key == "default/a" else None

    for name in "abc":
        each = pod(name, deleting=True)
        each.metadata.deletionGracePeriodSeconds = 30
        await api.create(each)
    api.fail_before = refused
    async with controllers(api, PODGC):
        await asyncio.sleep(100)
    assert [each.name for each in (await api.list(Pod)).items] == ["a"]
    assert tries.count("default/b") == 2, "its status, and its deletion"


async def six_nodes(api: MemoryApi) -> None:
    """n0 to n5, each with a pod: p0 to p5."""
    for number in range(6):
        await api.create(node(f"n{number}"))
        await api.create(on(f"p{number}", f"n{number}"))


@pytest.mark.looptime
@pytest.mark.parametrize("seed", range(3))
async def test_only_pods_of_silent_nodes_go_though_the_view_is_late_and_the_manager_is_killed(
    api: MemoryApi, seed: int
) -> None:
    rng = random.Random(seed)
    await six_nodes(api)
    beating = asyncio.ensure_future(keep_alive(api, *[f"n{number}" for number in range(1, 6)]))
    for _ in range(6):
        sources = LaggingSources(EtcdSources(api.store), rng.randrange(99), lag=rng.choice([0.1, 1.0, 5.0]))
        async with controllers(api, NODES, EVICTION, sources=sources):
            await asyncio.sleep(rng.uniform(1, 100))
        assert await tainted(api) <= 1
    async with controllers(api, NODES, EVICTION):
        await asyncio.sleep(100)
    assert await living(api) == {f"p{number}" for number in range(1, 6)}
    assert [await taints(api, f"n{number}") for number in range(1, 6)] == [set()] * 5
    beating.cancel()


@pytest.mark.looptime
@pytest.mark.parametrize("seed", range(3))
async def test_only_pods_of_nodes_that_are_gone_are_collected_though_the_view_is_late_and_the_manager_is_killed(
    api: MemoryApi, seed: int
) -> None:
    rng = random.Random(seed)
    await six_nodes(api)
    await api.delete(Node, "n0")
    for _ in range(8):
        sources = LaggingSources(EtcdSources(api.store), rng.randrange(99), lag=rng.choice([0.1, 5.0]), cut=3)
        async with controllers(api, PODGC, sources=sources):
            # A kubelet that registers its node anew.
            again = f"n{rng.randrange(1, 6)}"
            await api.delete(Node, again)
            await asyncio.sleep(rng.uniform(0, 35))
            await api.create(node(again))
            await asyncio.sleep(rng.uniform(0, 35))
            assert await living(api) >= {f"p{number}" for number in range(1, 6)}
    async with controllers(api, PODGC):
        await asyncio.sleep(100)
    assert await living(api) == {f"p{number}" for number in range(1, 6)}
