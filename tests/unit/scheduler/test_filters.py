"""Each filter against upstream's rule, in worded cases."""

from __future__ import annotations

import pytest

from kube.api.core import Container, ContainerPort, NodeCondition, PodSpec, ResourceRequirements, Taint, Toleration
from kube.scheduler import filters
from kube.scheduler.framework import AcrossCheck, Filter
from kube.scheduler.nodeinfo import NodeInfo
from kube.scheduler.podinfo import PodInfo, pod_requests
from tests.objects import container, node, pod


def info(described: object = None, *pods: PodInfo, **words: object) -> NodeInfo:
    """A node with these pods on it."""
    result = NodeInfo("n")
    result.set_node(described or node("n", **words))  # type: ignore[arg-type]
    for each in pods:
        result.add(each)
    return result


def refusals(one: Filter, asking: PodInfo, on: NodeInfo) -> list[str]:
    """What the filter says against the pod: nothing if it may go there."""
    check = one.for_pod(asking)
    if check is None:
        return []
    assert not isinstance(check, AcrossCheck)
    refusal = check(on)
    return [*refusal.reasons] if refusal else []


def of(**words: object) -> PodInfo:
    return PodInfo.of(pod(**words))  # type: ignore[arg-type]


def other(**words: object) -> PodInfo:
    return of(name="other", **words)


@pytest.mark.parametrize(
    ("asks", "taken", "offered", "expected"),
    [
        pytest.param({}, {"cpu": "4"}, {}, [], id="a pod that asks for nothing fits on a full node"),
        pytest.param({"cpu": "1"}, {"cpu": "3"}, {}, [], id="exactly what is left"),
        pytest.param({"cpu": "1001m"}, {"cpu": "3"}, {}, ["Insufficient cpu"], id="a thousandth too much"),
        pytest.param({"memory": "8Gi"}, {}, {}, [], id="all the memory of an empty node"),
        pytest.param({"memory": "8Gi"}, {"memory": "1"}, {}, ["Insufficient memory"], id="one byte is taken"),
        pytest.param(
            {"cpu": "5", "memory": "9Gi"}, {}, {}, ["Insufficient cpu", "Insufficient memory"], id="both are said"
        ),
        pytest.param({"memory": "1Gi"}, {"cpu": "5"}, {}, [], id="what it does not ask for may be overdrawn"),
        pytest.param({"example.com/gpu": "1"}, {}, {}, ["Insufficient example.com/gpu"], id="a resource nobody has"),
        pytest.param({}, {}, {"pods": "1"}, ["Too many pods"], id="the number of pods is a resource too"),
        pytest.param(
            {"cpu": "9"}, {}, {"pods": "1"}, ["Too many pods", "Insufficient cpu"], id="too many, and too large"
        ),
    ],
)
def test_pod_fits_resources(
    asks: dict[str, str], taken: dict[str, str], offered: dict[str, str], expected: list[str]
) -> None:
    """The sum of the requests on a node must not exceed what it offers (v1.1: requests, no longer limits)."""
    on = info(None, other(requests=taken), **offered)
    assert refusals(filters.NodeResourcesFit(), of(requests=asks), on) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(PodSpec(containers=[container({"cpu": "1"}), container({"cpu": "500m"})]), 1500, id="the sum"),
        pytest.param(PodSpec(containers=[container(limits={"cpu": "2"})]), 2000, id="a limit for a missing request"),
        pytest.param(PodSpec(containers=[container({"cpu": "1"}, {"cpu": "2"})]), 1000, id="the request, if given"),
        pytest.param(
            PodSpec(initContainers=[container({"cpu": "3"}), container({"cpu": "2"})], containers=[container()]),
            3000,
            id="the largest init container, as they run one by one",
        ),
        pytest.param(
            PodSpec(
                initContainers=[
                    Container(name="s", restartPolicy="Always", resources=ResourceRequirements(requests={"cpu": "1"})),
                    container({"cpu": "3"}),
                ],
                containers=[container({"cpu": "1"})],
            ),
            4000,
            id="a sidecar runs beside the init containers after it",
        ),
        pytest.param(PodSpec(containers=[container({"cpu": "1"})], overhead={"cpu": "250m"}), 1250, id="the overhead"),
        pytest.param(PodSpec(containers=[container({"cpu": "0.0001"})]), 1, id="rounded up to a thousandth"),
    ],
)
def test_what_a_pod_requests(spec: PodSpec, expected: int) -> None:
    assert pod_requests(pod(spec=spec))["cpu"] == expected


def port(number: int, ip: str = "", protocol: str = "TCP", container_port: int = 80) -> ContainerPort:
    return ContainerPort(hostPort=number, hostIP=ip, protocol=protocol, containerPort=container_port)


TAKEN = ["node(s) didn't have free ports for the requested pod ports"]


@pytest.mark.parametrize(
    ("wants", "has", "expected"),
    [
        pytest.param(port(8080), port(8080), TAKEN, id="the same port"),
        pytest.param(port(8080), port(8081), [], id="another port"),
        pytest.param(port(8080, protocol="UDP"), port(8080), [], id="another protocol"),
        pytest.param(port(8080, "127.0.0.1"), port(8080, "127.0.0.2"), [], id="another address"),
        pytest.param(port(8080, "127.0.0.1"), port(8080, "127.0.0.1"), TAKEN, id="the same address"),
        pytest.param(port(8080, "127.0.0.1"), port(8080), TAKEN, id="one address, and somebody has all"),
        pytest.param(port(8080), port(8080, "127.0.0.1"), TAKEN, id="all addresses, and somebody has one"),
        pytest.param(port(0), port(0), [], id="no host port at all"),
    ],
)
def test_pod_fits_host_ports(wants: ContainerPort, has: ContainerPort, expected: list[str]) -> None:
    """Two ports collide if port and protocol are equal and the addresses are, or one of them is 0.0.0.0."""
    on = info(None, other(ports=[has]))
    assert refusals(filters.NodePorts(), of(ports=[wants]), on) == expected


def test_on_the_hosts_network_every_container_port_is_one_of_the_nodes() -> None:
    spec = PodSpec(hostNetwork=True, containers=[container(ports=[ContainerPort(containerPort=80)])])
    assert refusals(filters.NodePorts(), of(spec=spec), info(None, other(ports=[port(80)]))) == TAKEN


def test_a_port_that_two_pods_hold_is_free_when_both_are_gone() -> None:
    on = info(None, of(name="a", ports=[port(80)]), of(name="b", ports=[port(80)]))
    on.remove("default/a")
    assert refusals(filters.NodePorts(), of(ports=[port(80)]), on) == TAKEN
    on.remove("default/b")
    assert refusals(filters.NodePorts(), of(ports=[port(80)]), on) == []


@pytest.mark.parametrize(
    ("selector", "labels", "fits"),
    [
        pytest.param({"disk": "ssd"}, {"disk": "ssd", "zone": "a"}, True, id="the node has the label"),
        pytest.param({"disk": "ssd"}, {"disk": "hdd"}, False, id="another value"),
        pytest.param({"disk": "ssd", "zone": "b"}, {"disk": "ssd"}, False, id="one of two is missing"),
        pytest.param({}, {}, True, id="no selector"),
    ],
)
def test_node_selector(selector: dict[str, str], labels: dict[str, str], fits: bool) -> None:
    asking = of(spec=PodSpec(containers=[container()], nodeSelector=selector))
    expected = [] if fits else ["node(s) didn't match Pod's node affinity/selector"]
    assert refusals(filters.NodeAffinity(), asking, info(labels=labels)) == expected


def tolerating(*tolerations: Toleration) -> PodInfo:
    return of(spec=PodSpec(containers=[container()], tolerations=list(tolerations)))


DEDICATED = Taint(key="dedicated", value="db", effect="NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "taint", "fits"),
    [
        pytest.param(None, DEDICATED, False, id="no toleration"),
        pytest.param(Toleration(key="dedicated", value="db", effect="NoSchedule"), DEDICATED, True, id="the same"),
        pytest.param(Toleration(key="dedicated", value="web"), DEDICATED, False, id="another value"),
        pytest.param(Toleration(key="dedicated", operator="Exists"), DEDICATED, True, id="any value"),
        pytest.param(Toleration(operator="Exists"), DEDICATED, True, id="every taint"),
        pytest.param(
            Toleration(key="dedicated", operator="Exists", effect="NoExecute"), DEDICATED, False, id="another effect"
        ),
        pytest.param(None, Taint(key="k", effect="PreferNoSchedule"), True, id="a taint that only asks"),
        pytest.param(None, Taint(key="k", effect="NoExecute"), False, id="a taint that evicts keeps away too"),
    ],
)
def test_taint_toleration(toleration: Toleration | None, taint: Taint, fits: bool) -> None:
    asking = tolerating(*([toleration] if toleration else []))
    expected = [] if fits else [f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"]
    assert refusals(filters.TaintToleration(), asking, info(taints=[taint])) == expected


@pytest.mark.parametrize(
    ("ready", "tolerated", "fits"),
    [
        pytest.param("True", None, True, id="ready"),
        pytest.param("False", None, False, id="not ready"),
        pytest.param("Unknown", None, False, id="not heard of"),
        pytest.param("", None, False, id="never said"),
        pytest.param("False", filters.NOT_READY, True, id="not ready, and borne"),
        pytest.param("Unknown", filters.NOT_READY, False, id="not heard of is another thing"),
        pytest.param("Unknown", filters.UNREACHABLE, True, id="not heard of, and borne"),
    ],
)
def test_node_must_be_ready(ready: str, tolerated: str | None, fits: bool) -> None:
    asking = tolerating(*([Toleration(key=tolerated, operator="Exists")] if tolerated else []))
    assert refusals(filters.NodeConditions(), asking, info(ready=ready)) == ([] if fits else ["node(s) were not ready"])


@pytest.mark.parametrize(
    ("condition", "status", "requests", "tolerated", "expected"),
    [
        pytest.param("NetworkUnavailable", "True", {}, "", "node(s) had unavailable network", id="no network"),
        pytest.param("DiskPressure", "True", {}, "", "node(s) had disk pressure", id="short of disk"),
        pytest.param("PIDPressure", "True", {}, "", "node(s) had pid pressure", id="short of processes"),
        pytest.param(
            "MemoryPressure", "True", {}, "", "node(s) had memory pressure", id="short of memory, best effort"
        ),
        pytest.param("MemoryPressure", "True", {"memory": "1"}, "", "", id="short of memory, and it asks for some"),
        pytest.param("DiskPressure", "True", {"memory": "1"}, "", "node(s) had disk pressure", id="it asks for memory"),
        pytest.param("DiskPressure", "False", {}, "", "", id="enough disk"),
        pytest.param("DiskPressure", "Unknown", {}, "", "", id="not heard of, which Ready says"),
        pytest.param("DiskPressure", "True", {}, "disk-pressure", "", id="short of disk, and borne"),
        pytest.param("PIDPressure", "True", {}, "disk-pressure", "node(s) had pid pressure", id="another is borne"),
        pytest.param("FrequentUnregister", "True", {}, "", "", id="a condition of somebody's own"),
    ],
)
def test_node_under_pressure(
    condition: str, status: str, requests: dict[str, str], tolerated: str, expected: str
) -> None:
    """CheckNodeCondition, CheckNodeMemoryPressure, CheckNodeDiskPressure and CheckNodePIDPressure of 1.17."""
    on = info()
    on.known.status.conditions.append(NodeCondition(type=condition, status=status))
    asking = pod(requests=requests)
    if tolerated:
        asking.spec.tolerations = [Toleration(key=f"node.kubernetes.io/{tolerated}", operator="Exists")]
    assert refusals(filters.NodeConditions(), PodInfo.of(asking), on) == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("asks", "offered", "resolvable"),
    [
        pytest.param({"cpu": "4"}, {}, True, id="it fits if others go"),
        pytest.param({"cpu": "5"}, {}, False, id="it does not, whoever goes"),
        pytest.param({"cpu": "5", "memory": "8Gi"}, {}, False, id="of one resource"),
        pytest.param({}, {"pods": "1"}, True, id="another pod's place"),
        pytest.param({"cpu": "1"}, {"pods": "0"}, False, id="no pod at all"),
    ],
)
def test_what_the_going_of_others_can_help(asks: dict[str, str], offered: dict[str, str], resolvable: bool) -> None:
    """Upstream: UnschedulableAndUnresolvable if the node is too small even when it is empty."""
    check = filters.NodeResourcesFit().for_pod(of(requests=asks))
    assert callable(check)
    refusal = check(info(None, other(requests={"cpu": "1", "memory": "1Gi"}), **offered))
    assert refusal is not None
    assert refusal.resolvable is resolvable


def test_a_cordoned_node_takes_nobody() -> None:
    cordoned = info(unschedulable=True)
    assert refusals(filters.NodeUnschedulable(), of(), cordoned) == ["node(s) were unschedulable"]
    bears = tolerating(Toleration(key=filters.UNSCHEDULABLE, operator="Exists"))
    assert refusals(filters.NodeUnschedulable(), bears, cordoned) == []


def test_a_pod_that_names_its_node_fits_there_only() -> None:
    here, there = of(node="n"), of(node="elsewhere")
    assert refusals(filters.NodeName(), here, info()) == []
    assert refusals(filters.NodeName(), there, info()) == ["node(s) didn't match the requested node name"]
