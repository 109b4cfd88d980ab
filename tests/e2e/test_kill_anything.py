"""Kill -9 anything while a controller scales from 3 to 10: what was wanted is what is, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from deploy.cluster import engine
from deploy.cluster.cluster import APISERVER, CONTROLLER_MANAGER, DOCKERD, ETCD, KUBELET, PROXY, SCHEDULER
from tests.e2e.api import Api, Manifest, pod
from tests.e2e.node import Node
from tests.e2e.traffic import Stream, wait_backends
from tests.e2e.waiting import always, eventually

SETTLE_SECONDS = 30.0


@pytest.mark.parametrize("program", [APISERVER, SCHEDULER, CONTROLLER_MANAGER, KUBELET, PROXY, ETCD, DOCKERD])
def test_a_killed_process_changes_nothing_in_the_end(
    api: Api, node: Node, web: Callable[[int], Manifest], program: str
) -> None:
    if program == DOCKERD and not node.dockerd_pid():
        pytest.skip("this dockerd was started by somebody else, who may not like it killed")
    address = web(3)["spec"]["clusterIP"]
    with Stream(address) as stream:
        stream.wait_more()
        api.scale("web", 10)
        eventually(lambda: len(api.items("pods", "app=web")) > 3, "it has begun to scale")
        node.kill(program)
        killed = time.monotonic()
        if program == DOCKERD:
            eventually(lambda: engine.version() != "", "dockerd answers again")
        else:
            node.wait_restarted(program)
        restarted = time.monotonic()
        pods = api.wait_pods("app=web", 10, SETTLE_SECONDS)
        uids = {each["metadata"]["uid"] for each in pods}
        eventually(lambda: node.has_exactly(api.namespace, uids), "exactly their containers run", SETTLE_SECONDS)
        settled = time.monotonic() - restarted
        wait_backends(address, {each["metadata"]["name"] for each in pods})
        stream.wait_more()
    print(f"{program}: back after {restarted - killed:.1f} s, as wanted {settled:.1f} s later")  # noqa: T201  # for -s
    assert settled < SETTLE_SECONDS
    always(lambda: node.has_exactly(api.namespace, uids), "nothing is left over or added later", 2)
    if program != PROXY:
        assert not stream.failed, f"{len(stream.failed)} of {stream.answered.total()} requests failed"


def test_everything_killed_at_once_heals(api: Api, node: Node, web: Callable[[int], Manifest]) -> None:
    address = web(3)["spec"]["clusterIP"]
    api.scale("web", 6)
    for program in (ETCD, APISERVER, SCHEDULER, CONTROLLER_MANAGER, KUBELET, PROXY):
        node.kill(program)
    for program in (ETCD, APISERVER, SCHEDULER, CONTROLLER_MANAGER, KUBELET, PROXY):
        node.wait_restarted(program, 30)
    pods = api.wait_pods("app=web", 6, SETTLE_SECONDS)
    uids = {each["metadata"]["uid"] for each in pods}
    eventually(lambda: node.has_exactly(api.namespace, uids), "exactly their containers run", SETTLE_SECONDS)
    wait_backends(address, {each["metadata"]["name"] for each in pods})


def test_a_pod_deleted_while_the_kubelet_is_away_is_killed_when_it_is_back(api: Api, node: Node) -> None:
    """A restarted kubelet adopts what it should run, and ends what it should not."""
    kept = api.run(pod("kept"))["metadata"]["uid"]
    api.run(pod("orphan"))
    container = node.container(api.namespace, "kept").id
    node.cluster.supervisor.stop_program(KUBELET)
    try:
        api.delete("pods", "orphan", grace=0)
        assert node.containers(api.namespace, "orphan")
    finally:
        node.cluster.supervisor.start_program(KUBELET)
    eventually(lambda: node.has_exactly(api.namespace, {kept}), "only the other pod's containers are left")
    assert node.container(api.namespace, "kept").id == container, "it was not restarted"
