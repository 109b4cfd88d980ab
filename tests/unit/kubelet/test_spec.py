"""From a Pod to what the engine is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from kube.api.core import ResourceRequirements
from kube.api.qos import qos_class
from kube.kubelet.configuration import ConfigError
from kube.kubelet.resources import container_resources, oom_score_adj, quota, shares
from kube.kubelet.runtime import ContainerConfig, Mount, Pid, PortMapping, Security
from kube.kubelet.spec import (
    container_config,
    container_hash,
    hostname,
    names,
    port_mappings,
    sandbox_config,
)
from tests.kubelet_node import container, make_pod

GIB = 2**30


def config(more: dict[str, Any], env: list[tuple[str, str]] | None = None, **spec: Any) -> ContainerConfig:
    pod = make_pod("web", container(**more), **spec)
    return container_config(pod, pod.spec.containers[0], 3, env or [], [Mount("/a", "/b")], 16 * GIB, Security())


def test_command_and_args_are_expanded_and_none_where_the_image_decides() -> None:
    made = config({"command": ["sh", "-c"], "args": ["echo $(A) $$(A)"]}, [("A", "1")])
    assert (made.command, made.args) == (["sh", "-c"], ["echo 1 $(A)"])
    assert (config({}).command, config({}).args) == (None, None)


def test_what_identifies_the_container() -> None:
    made = config({})
    assert (made.pod.namespace, made.pod.name, made.pod.uid, made.name, made.attempt) == (
        "default", "web", "uid-1", "main", 3,
    )  # fmt: skip
    assert made.grace_period == 30
    assert config({}, terminationGracePeriodSeconds=5).grace_period == 5
    assert config({}, terminationGracePeriodSeconds=0).grace_period == 0


def test_only_name_and_image_make_another_version() -> None:
    one, same = make_pod().spec.containers[0], make_pod("x", container(args=["y"])).spec.containers[0]
    other = make_pod("x", container(image="kube/web:2")).spec.containers[0]
    assert container_hash(one) == container_hash(same) != container_hash(other)


@pytest.mark.parametrize(("milli", "expected"), [(0, 2), (1, 2), (100, 102), (1000, 1024), (10**6, 262144)])
def test_cpu_shares(milli: int, expected: int) -> None:
    assert shares(milli) == expected


@pytest.mark.parametrize(("milli", "expected"), [(0, 0), (5, 1000), (100, 10_000), (1500, 150_000)])
def test_cpu_quota(milli: int, expected: int) -> None:
    assert quota(milli) == expected


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        pytest.param({}, (2, 0, 0), id="nothing"),
        pytest.param({"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "64Mi"}},
                     (512, 100_000, 64 * 2**20), id="requests and limits"),
        pytest.param({"limits": {"cpu": "250m"}}, (256, 25_000, 0), id="a limit stands in for the request"),
        pytest.param({"requests": {"cpu": "0"}, "limits": {"cpu": "1"}}, (2, 100_000, 0), id="a request of nothing"),
    ],
)  # fmt: skip
def test_resources_of_a_container(resources: dict[str, Any], expected: tuple[int, int, int]) -> None:
    pod = make_pod("web", container(resources=resources))
    made = container_resources(pod, pod.spec.containers[0], 16 * GIB)
    assert (made.cpu_shares, made.cpu_quota, made.memory) == expected


BOTH = {"cpu": "1", "memory": "4Gi"}


@pytest.mark.parametrize(
    ("resources", "qos", "score"),
    [
        ({}, "BestEffort", 1000),
        ({"requests": BOTH, "limits": BOTH}, "Guaranteed", -997),
        ({"limits": BOTH}, "Guaranteed", -997),
        ({"requests": {"memory": "4Gi"}}, "Burstable", 750),
        ({"requests": {"memory": "4Gi"}, "limits": {"memory": "4Gi"}}, "Burstable", 750),
        ({"requests": {"memory": "16Gi"}}, "Burstable", 3),
        ({"requests": {"memory": "1Mi"}}, "Burstable", 999),
        ({"requests": {"cpu": "1"}}, "Burstable", 999),
        ({"requests": {"cpu": "1000m", "memory": "4096Mi"}, "limits": BOTH}, "Guaranteed", -997),
    ],
)
def test_who_is_killed_first(resources: dict[str, Any], qos: str, score: int) -> None:
    pod = make_pod("web", container(resources=resources))
    assert qos_class(pod) == qos
    assert oom_score_adj(pod, pod.spec.containers[0], 16 * GIB) == score


@pytest.mark.parametrize(
    ("spec", "score"),
    [
        ({"priorityClassName": "system-node-critical", "priority": 2_000_001_000}, -997),
        ({"priorityClassName": "system-cluster-critical", "priority": 2_000_000_000}, 1000),
        ({"priorityClassName": "system-node-critical", "priority": 0}, 1000),
    ],
)
def test_what_the_node_depends_on_is_killed_last(spec: dict[str, Any], score: int) -> None:
    pod = make_pod(**spec)
    assert oom_score_adj(pod, pod.spec.containers[0], 16 * GIB) == score


@pytest.mark.parametrize(
    ("own", "score"),
    [("0", 875), ("1Gi", 875), ("4Gi", 750)],
    ids=["asks for nothing", "asks for less", "asks for more"],
)
def test_a_sidecar_is_not_killed_before_all_that_it_serves(own: str, score: int) -> None:
    def asking(memory: str) -> dict[str, Any]:
        return {"resources": {"requests": {"memory": memory}}}

    proxy = container("proxy", restartPolicy="Always", **asking(own))
    pod = make_pod(
        "web", container(**asking("2Gi")), container("side", **asking("8Gi")), initContainers=[proxy, container("init")]
    )
    assert oom_score_adj(pod, pod.spec.initContainers[0], 16 * GIB) == score
    assert oom_score_adj(pod, pod.spec.initContainers[1], 16 * GIB) == 999


@pytest.mark.parametrize(
    ("whole", "containers", "qos"),
    [
        ({"limits": BOTH}, {}, "Guaranteed"),
        ({"limits": BOTH, "requests": {"cpu": "500m"}}, {"limits": BOTH}, "Burstable"),
        ({"limits": {"memory": "4Gi"}}, {"limits": BOTH}, "Burstable"),
        ({}, {"limits": BOTH}, "Guaranteed"),
    ],
)
def test_what_a_pod_says_as_a_whole_makes_its_class(
    whole: dict[str, Any], containers: dict[str, Any], qos: str
) -> None:
    pod = make_pod("web", container(resources=containers))
    pod.spec.resources = ResourceRequirements.parse(whole)
    assert qos_class(pod) == qos


def test_one_best_effort_container_makes_a_pod_burstable() -> None:
    pod = make_pod("web", container("a", resources={"limits": BOTH}), container("b"))
    assert qos_class(pod) == "Burstable"


def test_host_ports_are_published_but_on_the_host_network() -> None:
    ports = [{"containerPort": 80, "hostPort": 8080, "protocol": "TCP"}, {"containerPort": 81}]
    assert port_mappings(make_pod("web", container(ports=ports))) == [PortMapping(80, 8080)]
    assert port_mappings(make_pod("web", container(ports=ports), hostNetwork=True)) == []


@pytest.mark.parametrize(
    ("name", "spec", "expected"),
    [("web", {}, "web"), ("web", {"hostname": "other"}, "other"), ("a" * 62 + ".b", {}, "a" * 62)],
)
def test_the_host_name(name: str, spec: dict[str, Any], expected: str) -> None:
    assert names(make_pod(name, **spec), "cluster.local") == (expected, "")
    assert sandbox_config(make_pod(name, **spec), 0, "kube/pause", "cluster.local").hostname == expected


def test_a_pod_with_a_subdomain_has_a_name_in_the_cluster() -> None:
    pod = make_pod("web", subdomain="shop", hostname="one")
    assert names(pod, "cluster.local") == ("one", "shop.default.svc.cluster.local")
    assert hostname(pod, "cluster.local") == "one"
    pod.spec.setHostnameAsFQDN = True
    assert hostname(pod, "cluster.local") == "one.shop.default.svc.cluster.local"
    pod.spec.hostname = "a" * 40
    with pytest.raises(ConfigError, match=r"is too long \(64 characters is the max, 71 characters requested\)"):
        hostname(pod, "cluster.local")


@pytest.mark.parametrize(
    ("spec", "pid"),
    [({}, Pid.OWN), ({"shareProcessNamespace": True}, Pid.POD), ({"hostPID": True}, Pid.NODE)],
)
def test_whose_processes_it_sees(spec: dict[str, Any], pid: Pid) -> None:
    assert config({}, **spec).pid is pid
    assert sandbox_config(make_pod(**spec), 0, "kube/pause", "").host_pid is (pid is Pid.NODE)
