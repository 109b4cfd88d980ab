"""Who leaves when the node runs out of something, and who does not come in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kube import daemon
from kube.api.core import Node, Pod
from kube.kubelet import options
from kube.kubelet.eviction import (
    DEFAULTS,
    DISK,
    MEMORY,
    Level,
    Threshold,
    is_refused,
    message,
    met,
    rank,
    refusal_message,
    soft,
    thresholds,
)
from kube.kubelet.eviction_manager import EvictionManager
from kube.kubelet.fake import Program
from kube.kubelet.fit import unfit
from kube.kubelet.node_admission import NodeAdmission
from kube.kubelet.runtime import Usage
from kube.kubelet.volume_manager import VolumeManager
from tests.kubelet_node import NODE, FakeNode, condition, container, is_ready, make_pod

GI = 2**30


def test_thresholds_as_a_person_writes_them() -> None:
    assert thresholds("memory.available<100Mi, nodefs.available<10%,pid.available<0") == (
        Threshold("memory.available", amount=100 * 2**20),
        Threshold("nodefs.available", share=0.1),
    )
    assert len(thresholds(DEFAULTS)) == 4
    with pytest.raises(ValueError, match="no threshold"):
        thresholds("memory.available>1Gi")
    with pytest.raises(ValueError, match="no threshold"):
        thresholds("luck.available<1Gi")
    assert options.from_args(options.parser().parse_args(["--eviction-hard="])).eviction_hard == ()


def test_what_is_met_is_told_memory_first() -> None:
    wanted = thresholds("nodefs.available<10%,memory.available<1Gi,imagefs.available<10%")
    levels = {
        "memory.available": Level(GI // 2, 8 * GI),
        "nodefs.available": Level(9, 100),
        "imagefs.available": Level(10, 100),
    }
    assert [threshold.signal for threshold in met(wanted, levels)] == ["memory.available", "nodefs.available"]
    assert met(wanted, {}) == []


def pod(name: str, request: str = "", priority: int = 0, **metadata: Any) -> Pod:
    resources = {"requests": {"memory": request}} if request else {}
    found = make_pod(name, container(resources=resources), uid=name, priority=priority)
    found.metadata.annotations = metadata.get("annotations", {})
    return found


def test_who_leaves_first() -> None:
    used = {"modest": 50, "greedy": 900, "greedier": 950, "important": 990, "promised": 2000}
    pods = [
        pod("modest", "100"),
        pod("important", priority=10),
        pod("greedy"),
        pod("promised", "4000"),
        pod("greedier"),
        pod("system", priority=2_000_001_000),
        pod("own", annotations={"kubernetes.io/config.source": "file"}),
    ]
    ranked = rank(pods, MEMORY, lambda p, c: used.get(p.name, 10**9))
    assert [p.name for p in ranked] == ["greedier", "greedy", "important", "modest", "promised"]


def test_what_it_is_told() -> None:
    threshold, level = Threshold("memory.available", amount=100 * 2**20), Level(50 * 2**20, 8 * GI)
    assert message(threshold, level, pod("a", "1Mi"), lambda p, c: 4 * 2**20) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container main was using 4Mi, request is 1Mi, has larger consumption of memory. "
    )
    # `Threshold quantity: 2146223340, available: 1978476Ki.`: what no suffix says exactly has none.
    share, odd = Threshold("nodefs.available", share=0.1), Level(1978476 * 1024, 21462233400)
    assert message(share, odd, pod("a"), lambda p, c: 0) == (
        "The node was low on resource: ephemeral-storage. Threshold quantity: 2146223340, available: 1978476Ki. "
    )
    processes = message(Threshold("pid.available", amount=100), Level(50, 1000), pod("a"), lambda p, c: 900)
    assert processes == "The node was low on resource: pids. Threshold quantity: 100, available: 50. "
    assert refusal_message([DISK, MEMORY]) == "The node had condition: [DiskPressure MemoryPressure]. "


def test_who_does_not_come_in() -> None:
    best_effort, burstable, critical = pod("a"), pod("b", "1Mi"), pod("c", priority=2_000_000_000)
    assert [is_refused(p, [MEMORY]) for p in (best_effort, burstable, critical)] == [True, False, False]
    assert [is_refused(p, [DISK]) for p in (best_effort, burstable, critical)] == [True, True, False]
    assert not is_refused(best_effort, [])
    bears_it = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}
    assert not is_refused(make_pod(tolerations=[bears_it]), [MEMORY])
    assert is_refused(make_pod(tolerations=[bears_it]), [MEMORY, DISK])


ALLOCATABLE = {"cpu": "2", "memory": "1Gi", "pods": "3"}


def asking(cpu: str, **spec: Any) -> Pod:
    return make_pod("web", container(resources={"requests": {"cpu": cpu}}), **spec)


def a_node(labels: dict[str, str] | None = None, *taints: dict[str, str]) -> Node:
    return Node.parse({"metadata": {"name": NODE, "labels": labels or {}}, "spec": {"taints": list(taints)}})


def on_disk(kind: str) -> dict[str, Any]:
    terms = [{"matchExpressions": [{"key": "disk", "operator": "In", "values": [kind]}]}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def on_port(number: int, hostNetwork: bool = False, **more: Any) -> Pod:
    port = {"containerPort": 8080, "hostPort": number, **more}
    return make_pod("web", container(ports=[port]), hostNetwork=hostNetwork)


@pytest.mark.parametrize(
    ("wanted", "others", "reason", "text"),
    [
        (asking("1"), [asking("1")], "", ""),
        (
            asking("1500m"), [asking("600m")],
            "OutOfcpu", "Node didn't have enough resource: cpu, requested: 1500, used: 600, capacity: 2000",
        ),
        (
            asking("0"), [asking("0")] * 3,
            "OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3",
        ),
        (
            asking("0", nodeSelector={"disk": "ssd"}), [],
            "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
        (asking("0", initContainers=[container("i", resources={"requests": {"cpu": "3"}})]), [], "OutOfcpu", "3000"),
        (asking("0", affinity=on_disk("ssd")), [], "NodeAffinity", "didn't match Pod's node affinity/selector"),
        (asking("0", affinity=on_disk("hdd")), [], "", ""),
        (
            asking("3", nodeSelector={"disk": "ssd"}), [asking("0")] * 3,
            "OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3",
        ),
        (
            on_port(80), [on_port(80)],
            "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
        ),
        (on_port(80, hostIP="10.0.0.1"), [on_port(80)], "NodePorts", ""),
        (on_port(80, hostIP="10.0.0.1"), [on_port(80, hostIP="10.0.0.2")], "", ""),
        (on_port(80, protocol="UDP"), [on_port(80)], "", ""),
        (on_port(0, containerPort=80, hostNetwork=True), [on_port(80)], "NodePorts", ""),
        (on_port(0), [on_port(0)], "", ""),
    ],
    ids=[
        "fits", "cpu", "pods", "labels", "an init container", "affinity", "affinity that is met",
        "the first of several", "a host port", "a host port on all addresses",
        "a host port on another address", "another protocol",
        "a port on the host's network", "no host port",
    ],
)  # fmt: skip
def test_what_does_not_fit(wanted: Pod, others: list[Pod], reason: str, text: str) -> None:
    refused = unfit(wanted, others, ALLOCATABLE, a_node(labels={"disk": "hdd"}))
    assert (refused.reason if refused else "") == reason
    assert text in (refused.message if refused else "")


def test_a_taint_keeps_those_out_that_do_not_bear_it_but_not_the_node_s_own() -> None:
    tainted = a_node({}, {"key": "gone", "effect": "NoExecute"}, {"key": "busy", "effect": "NoSchedule"})
    refused = unfit(make_pod(), [], ALLOCATABLE, tainted)
    assert refused is not None
    assert (refused.reason, refused.message) == (
        "TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
    )  # fmt: skip
    assert unfit(make_pod(tolerations=[{"key": "gone", "operator": "Exists"}]), [], ALLOCATABLE, tainted) is None
    assert unfit(pod("own", annotations={"kubernetes.io/config.source": "file"}), [], ALLOCATABLE, tainted) is None


class Agent:
    """Has seen the node as it was before, and sees it as it is when it looks."""

    def __init__(self, before: Node | None, now: Node | None) -> None:
        self.node, self._now = before, now

    async def look(self) -> Node | None:
        return self._now


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        (a_node({"disk": "hdd"}), a_node({"disk": "ssd"}), None),
        (a_node({"disk": "hdd"}), a_node({"disk": "hdd"}), "NodeAffinity"),
        (a_node({"disk": "ssd"}, {"key": "gone", "effect": "NoExecute"}), a_node({"disk": "ssd"}), None),
        (None, a_node({"disk": "hdd"}), None),
    ],
    ids=["the label has come since", "it is still so", "the taint has gone since", "not known yet"],
)
async def test_nobody_is_refused_for_what_the_node_said_before(
    before: Node | None, now: Node | None, reason: str | None
) -> None:
    admission = NodeAdmission(Agent(before, now), ALLOCATABLE, lambda pod: [])
    refused = await admission.refusal(make_pod(nodeSelector={"disk": "ssd"}))
    assert (refused.reason if refused else None) == reason


async def test_a_node_under_pressure_refuses_with_upstream_s_words() -> None:
    admission = NodeAdmission(Agent(None, None), ALLOCATABLE, lambda pod: [], lambda: [DISK])
    refused = await admission.refusal(make_pod())
    assert refused is not None
    assert (refused.reason, refused.message) == ("Evicted", "The node had condition: [DiskPressure]. ")


HARD = thresholds("memory.available<100Mi,nodefs.available<10%")


@asynccontextmanager
async def evicting(
    node: FakeNode, levels: dict[str, Level], wanted: tuple[Threshold, ...] = HARD, most_grace: float = 0
) -> AsyncIterator[EvictionManager]:
    manager = EvictionManager(
        node.runtime,
        VolumeManager(node.volumes, node.configuration, node.token_manager),
        node.recorder,
        lambda: [*node.kubelet.workers.values()],
        wanted,
        lambda: levels,
        transition_period=60,
        most_grace=most_grace,
    )
    task = asyncio.create_task(manager.run())
    try:
        yield manager
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.looptime
async def test_under_memory_pressure_one_pod_leaves_after_the_other_until_it_is_over(node: FakeNode) -> None:
    levels = {"memory.available": Level(GI, 8 * GI)}
    big, small = await node.create("big"), await node.create("small")
    for name, uid, memory in (("big", big, 500), ("small", small, 5)):
        await node.until(is_ready, name)
        node.runtime.usages[node.id(uid)] = Usage(memory=memory * 2**20)
    async with evicting(node, levels) as manager:
        await asyncio.sleep(30)
        assert manager.pressures() == []
        levels["memory.available"] = Level(2**20, 8 * GI)
        evicted = await node.until(lambda p: p.status.phase == "Failed", "big")
        assert manager.pressures() == [MEMORY]
        levels["memory.available"] = Level(GI, 8 * GI)
        await asyncio.sleep(40)
        assert manager.pressures() == [MEMORY]  # for a while
        await asyncio.sleep(40)
        assert manager.pressures() == []
    assert evicted.status.reason == "Evicted"
    assert evicted.status.message.startswith("The node was low on resource: memory. Threshold quantity: 100Mi, ")
    assert evicted.status.message in node.recorder.messages("Evicted")
    why = condition(evicted, "DisruptionTarget")
    assert (why.status, why.reason, why.message) == ("True", "TerminationByKubelet", evicted.status.message)
    assert why.lastTransitionTime is not None
    assert is_ready(await node.pod("small"))


@pytest.mark.looptime
async def test_for_want_of_processes_who_has_most_of_them_leaves(node: FakeNode) -> None:
    levels = {"pid.available": Level(50, 1000)}
    for name, usage in (
        ("forks", Usage(pids=900)),
        ("writes", Usage(pids=3, memory=GI)),
        ("matters", Usage(pids=950)),
    ):
        volume = {"name": "data", "emptyDir": {}}
        made = await node.create(name, volumes=[volume])
        await node.until(is_ready, name)
        node.runtime.usages[node.id(made)] = usage
        if name == "matters":
            worker = node.kubelet.workers[made.metadata.uid]
            assert worker.pod is not None
            worker.pod.spec.priority = 10
        if name == "writes":
            path = node.root / f"pods/{made.metadata.uid}/volumes/kubernetes.io~empty-dir/data/file"
            path.write_bytes(b"x" * 2**20)
    async with evicting(node, levels, thresholds("pid.available<100")):
        await node.until(lambda p: p.status.phase == "Failed", "forks", within=15)
        assert is_ready(await node.pod("writes"))
        assert is_ready(await node.pod("matters"))


@pytest.mark.looptime
async def test_a_soft_threshold_has_patience_and_lets_the_pod_end_in_peace(node: FakeNode) -> None:
    node.runtime.images["stubborn:latest"] = Program(on_sigterm=None)
    await node.create("web", container(image="stubborn"))
    await node.until(is_ready)
    wanted = soft(thresholds("memory.available<2Gi"), {"memory.available": 90})
    levels = {"memory.available": Level(GI, 8 * GI)}
    async with evicting(node, levels, wanted, most_grace=20) as manager:
        await asyncio.sleep(60)
        assert manager.pressures() == [MEMORY], "the node says so at once"
        levels["memory.available"] = Level(3 * GI, 8 * GI)
        await asyncio.sleep(15)
        levels["memory.available"] = Level(GI, 8 * GI)
        await asyncio.sleep(80)
        assert is_ready(await node.pod()), "it was over in between"
        await node.until_runtime(lambda: "Evicted" in node.recorder.reasons())
        begin = asyncio.get_running_loop().time()
        await node.until(lambda p: p.status.phase == "Failed")
    assert asyncio.get_running_loop().time() - begin >= 20


def test_a_soft_threshold_needs_a_grace_period() -> None:
    flags = ["--eviction-soft=memory.available<1Gi", "--eviction-soft-grace-period=memory.available=1m30s"]
    (found,) = options.from_args(options.parser().parse_args(flags)).eviction_soft
    assert found == Threshold("memory.available", amount=GI, grace=90)
    with pytest.raises(daemon.Fatal, match="grace period must be specified for the soft eviction threshold"):
        options.from_args(options.parser().parse_args(flags[:1]))


@pytest.mark.looptime
async def test_a_volume_that_outgrows_its_limit_costs_the_pod_its_place(node: FakeNode) -> None:
    volume = {"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}
    made = await node.create("web", volumes=[volume])
    await node.until(is_ready)
    file = node.root / f"pods/{made.metadata.uid}/volumes/kubernetes.io~empty-dir/data/file"
    file.write_bytes(b"x" * 2**19)
    async with evicting(node, {}):
        await asyncio.sleep(30)
        assert is_ready(await node.pod())
        file.write_bytes(b"x" * 2**21)
        evicted = await node.until(lambda p: p.status.phase == "Failed")
    assert (evicted.status.reason, evicted.status.message) == (
        "Evicted",
        'Usage of EmptyDir volume "data" exceeds the limit "1Mi". ',
    )
    assert condition(evicted, "Ready").status == "False"


def judge(node: FakeNode) -> None:
    node.host.admit = NodeAdmission(Agent(None, None), ALLOCATABLE, node.kubelet.beside).refusal


@pytest.mark.looptime
async def test_a_pod_that_is_wanted_no_more_takes_nobody_s_place(node: FakeNode) -> None:
    node.runtime.images["stubborn:latest"] = Program(on_sigterm=None)
    resources = {"requests": {"cpu": "1500m"}}
    await node.create("first", container(image="stubborn", resources=resources))
    await node.until(is_ready, "first")
    judge(node)
    await node.delete("first", grace=0)
    await node.create("second", container(resources=resources))
    await node.until(is_ready, "second", within=1)
    assert node.kubelet.workers[(await node.pod("second")).metadata.uid].holds
    assert len(node.kubelet.workers) == 2  # the first is still being killed


@pytest.mark.looptime
async def test_a_pod_that_does_not_fit_fails_and_one_that_runs_stays(node: FakeNode) -> None:
    resources = {"requests": {"cpu": "1500m"}}
    await node.create("first", container(resources=resources))
    await node.until(is_ready, "first")
    judge(node)
    await node.create("second", container(resources=resources))
    refused = await node.until(lambda p: p.status.phase == "Failed", "second")
    words = "Node didn't have enough resource: cpu, requested: 1500, used: 1500, capacity: 2000"
    assert (refused.status.reason, refused.status.message) == ("OutOfcpu", f"Pod was rejected: {words}")
    assert words in node.recorder.messages("OutOfcpu")
    await node.kill_kubelet()
    node.start_kubelet()
    await asyncio.sleep(10)
    assert is_ready(await node.pod("first"))
