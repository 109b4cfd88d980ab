"""The decision as a whole: the words it is refused with, and what it never does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kube.api.core import ContainerPort, Node, Pod, PodSpec, Taint
from kube.scheduler.algorithm import Algorithm, Unschedulable
from kube.scheduler.cache import Cache
from kube.scheduler.changes import ClusterChange
from kube.scheduler.plugins import Context, default_profile
from kube.scheduler.podinfo import PodInfo, amounts, pod_requests
from kube.scheduler.scores import matching_selectors
from tests.objects import container, node, pod


def cluster(*nodes: Node, pods: Sequence[Pod] = (), seed: int = 1) -> tuple[Cache, Algorithm]:
    cache = Cache()
    for each in nodes:
        cache.set_node(each)
    for bound in pods:
        cache.set_pod(bound)
    context = Context(cache, lambda p: matching_selectors(p, [{"app": "web"}]))
    return cache, Algorithm(cache, [default_profile(context)], seed)


def refusal(algorithm: Algorithm, asking: Pod) -> Unschedulable:
    with pytest.raises(Unschedulable) as caught:
        algorithm.choose(PodInfo.of(asking))
    return caught.value


def test_why_not_in_upstreams_words() -> None:
    """`0/3 nodes are available: …`, each reason with the number of nodes that gave it, sorted as text."""
    ssd = {"disk": "ssd"}
    _, algorithm = cluster(node("a", cpu="1", labels=ssd), node("b", cpu="2", labels=ssd), node("c", cpu="9"))
    asking = pod(spec=PodSpec(containers=[container({"cpu": "4"})], nodeSelector=ssd))
    assert str(refusal(algorithm, asking)) == (
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 Insufficient cpu."
    )


def named(*terms: list[tuple[str, str]]) -> PodSpec:
    """A pod for nodes by their names; each term as its conditions on fields."""
    described = [
        {"matchFields": [{"key": "metadata.name", "operator": operator, "values": [name]} for operator, name in term]}
        for term in terms
    ]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": described}}}
    return PodSpec.parse({"containers": [container({"cpu": "4"}).to_dict()], "affinity": affinity})


ELSEWHERE = "node(s) didn't satisfy plugin(s) [NodeAffinity]"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(named([("In", "a")]), f"1 Insufficient cpu, 2 {ELSEWHERE}.", id="one node, as of a DaemonSet"),
        pytest.param(named([("In", "a")], [("In", "b")]), f"1 {ELSEWHERE}, 2 Insufficient cpu.", id="either of two"),
        pytest.param(named([("In", "gone")]), f"3 {ELSEWHERE}.", id="a node that is not"),
        pytest.param(
            named([("In", "a"), ("NotIn", "a")]),
            f"1 node(s) didn't match Pod's node affinity/selector, 2 {ELSEWHERE}.",
            id="a name and not that name",
        ),
        pytest.param(named([("In", "a"), ("In", "b")]), "pod affinity terms conflict.", id="two names at once"),
        pytest.param(
            named([("In", "a")], [("NotIn", "b")]),
            "1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) were unschedulable.",
            id="any node but one",
        ),
    ],
)
def test_a_pod_for_a_node_by_name_has_no_other_reason_elsewhere(spec: PodSpec, expected: str) -> None:
    """NodeAffinity's PreFilter: the nodes that all terms name are the only ones that any filter is asked about."""
    _, algorithm = cluster(node("a", cpu="1"), node("b", cpu="1"), node("c", cpu="1", unschedulable=True))
    assert str(refusal(algorithm, pod(spec=spec))) == f"0/3 nodes are available: {expected}"


def test_no_nodes_at_all() -> None:
    assert str(refusal(cluster()[1], pod())) == "no nodes available to schedule pods"


def test_what_can_help_is_what_the_refusing_filters_say() -> None:
    _, algorithm = cluster(node("full", cpu="1"), node("tainted", taints=[Taint(key="k", effect="NoSchedule")]))
    helped_by = refusal(algorithm, pod(requests={"cpu": "2"})).helped_by
    assert ClusterChange.POD_REMOVED in helped_by
    assert ClusterChange.NODE_TAINTS in helped_by
    assert ClusterChange.NODE_LABELS not in helped_by


def test_ties_are_broken_alike_by_the_same_seed() -> None:
    nodes = [node(f"n{i}") for i in range(20)]

    def choices(seed: int) -> list[str]:
        _, algorithm = cluster(*nodes, seed=seed)
        return [algorithm.choose(PodInfo.of(pod())).node for _ in range(20)]

    assert choices(1) == choices(1)
    assert len(set(choices(1))) > 1, "not always the first"


def test_pods_of_a_service_go_to_different_nodes() -> None:
    cache, algorithm = cluster(*[node(f"n{i}") for i in range(5)])
    for number in range(5):
        info = PodInfo.of(pod(f"web-{number}", labels={"app": "web"}))
        cache.assume(info, algorithm.choose(info).node)
    web = matching_selectors(pod(labels={"app": "web"}), [{"app": "web"}])
    assert sorted(cache.tally(web, living=True).values()) == [1] * 5


def test_a_node_that_is_gone_is_not_chosen_while_its_pods_still_count() -> None:
    cache, algorithm = cluster(node("n"), pods=[pod("there", node="n", requests={"cpu": "3"})])
    cache.remove_node("n")
    assert refusal(algorithm, pod()).nodes == 0
    cache.set_node(node("n"))
    assert "Insufficient cpu" in str(refusal(algorithm, pod(requests={"cpu": "2"})))


cpus = st.sampled_from(["", "100m", "500m", "1", "2"])
memories = st.sampled_from(["", "64Mi", "1Gi", "3Gi"])
ports = st.lists(
    st.builds(
        ContainerPort,
        hostPort=st.sampled_from([0, 80, 81]),
        containerPort=st.just(80),
        hostIP=st.sampled_from(["", "127.0.0.1", "10.0.0.1"]),
        protocol=st.sampled_from(["TCP", "UDP"]),
    ),
    max_size=2,
)


@st.composite
def askers(draw: st.DrawFn) -> Pod:
    requests = {"cpu": draw(cpus), "memory": draw(memories)}
    selector = draw(st.sampled_from([{}, {"disk": "ssd"}]))
    spec = PodSpec(
        containers=[container({k: v for k, v in requests.items() if v}, ports=draw(ports))], nodeSelector=selector
    )
    return pod("p", labels=draw(st.sampled_from([{}, {"app": "web"}])), spec=spec)


@st.composite
def machines(draw: st.DrawFn) -> Node:
    return node(
        cpu=draw(st.sampled_from(["1", "2", "4"])),
        memory=draw(st.sampled_from(["1Gi", "4Gi"])),
        pods=draw(st.sampled_from(["2", "110"])),
        labels=draw(st.sampled_from([{}, {"disk": "ssd"}])),
        ready=draw(st.sampled_from(["True", "True", "Unknown"])),
        unschedulable=draw(st.sampled_from([False, False, True])),
    )


@given(st.lists(machines(), max_size=4), st.lists(askers(), max_size=25), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_never_over_committed_and_always_explained(nodes: list[Node], pods: list[Pod], random: object) -> None:
    """Whatever comes and goes: no node gives away more than it has, no host port twice, and each refusal says why."""
    for number, each in enumerate(nodes):
        each.metadata.name = f"n{number}"
    cache, algorithm = cluster(*nodes)
    refused: list[Unschedulable] = []
    placed: dict[str, list[Pod]] = {each.name: [] for each in nodes}
    for number, asking in enumerate(pods):
        asking.metadata.name = f"p{number}"
        info = PodInfo.of(asking)
        try:
            name = algorithm.choose(info).node
        except Unschedulable as why:
            refused.append(why)
        else:
            cache.assume(info, name)
            placed[name].append(asking)
        if placed and number % 3 == 2:
            name = random.choice(sorted(placed))  # type: ignore[attr-defined]
            if placed[name]:
                gone = placed[name].pop()
                assert cache.remove_pod(gone.key)
    for why_not in refused:
        assert why_not.nodes == len(nodes)
        assert sum(why_not.reasons.values()) >= len(nodes), "every node has a reason"
    for described in nodes:
        offered = amounts(described.status.allocatable)
        here = placed[described.name]
        assert len(here) <= offered["pods"]
        for resource in ("cpu", "memory"):
            assert sum(pod_requests(each).get(resource, 0) for each in here) <= offered[resource]
        assert not collisions(here), "two pods on one host port"
        assert not here or (not described.spec.unschedulable and described.status.conditions[0].status == "True")
        assert all(bound.spec.nodeSelector.items() <= described.metadata.labels.items() for bound in here)


def collisions(pods: list[Pod]) -> list[tuple[str, str]]:
    """Pairs of pods that want one port of the node."""
    held = [(p.key, c.hostIP or "0.0.0.0", c.protocol, c.hostPort) for p in pods for c in p.spec.containers[0].ports]
    return [
        (a[0], b[0])
        for a in held
        for b in held
        if a[0] != b[0] and a[3] and a[2:] == b[2:] and (a[1] == b[1] or "0.0.0.0" in (a[1], b[1]))
    ]
