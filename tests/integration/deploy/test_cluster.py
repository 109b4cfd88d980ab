"""Starting and stopping processes under supervisord: what goes wrong is said, and nothing is left half-started."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.cluster.cluster import APISERVER, ETCD, SCHEDULER, Cluster
from deploy.cluster.settings import Settings
from deploy.cluster.steps import Failed
from deploy.cluster.supervisor import Program, Supervisor, marked
from tests.conftest import unavailable


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@pytest.fixture
def settings() -> Iterator[Settings]:
    """A cluster of its own, in a directory whose path is short enough for a socket."""
    if os.geteuid() != 0:
        unavailable("root")
    name = f"t{secrets.token_hex(3)}"
    run = Path("/tmp") / f"kube-{name}"
    ports = free_ports(10)
    settings = Settings(
        run=run,
        node=name,
        pod_network=f"kube-{name}",
        etcd_port=ports[0],
        etcd_peer_port=ports[1],
        apiserver_port=ports[2],
        scheduler_port=ports[3],
        controller_manager_port=ports[4],
        kubelet_port=ports[5],
        proxy_port=ports[6],
        secure_port=ports[7],
        dns_port=ports[8],
        kubelet_healthz_port=ports[9],
        shared_etcd=False,
    )
    yield settings
    Cluster(settings).stop()
    assert not list(marked(run))
    shutil.rmtree(run, ignore_errors=True)


@pytest.fixture
def cluster(settings: Settings, etcd_endpoint: str, docker_engine: str) -> Cluster:
    """Not started."""
    return Cluster(settings)


def start(cluster: Cluster, *daemons: str) -> None:
    """As deploy/up does: etcd, then daemons."""
    with cluster.undone_on_failure():
        cluster.start_supervisor()
        cluster.start_etcd()
        cluster.start_daemons(daemons)


def test_etcd_and_the_apiserver_start_and_stop(cluster: Cluster) -> None:
    start(cluster, APISERVER)
    pid = cluster.supervisor.pid(APISERVER)
    start(cluster, APISERVER)
    assert cluster.supervisor.pid(APISERVER) == pid, "a second start changes nothing"
    cluster.stop()
    assert not cluster.supervisor.running()
    assert not list(marked(cluster.settings.run))


def test_a_port_that_is_taken_is_told_with_its_owner(cluster: Cluster) -> None:
    with closing(socket.create_server(("127.0.0.1", cluster.settings.scheduler_port))):
        with pytest.raises(Failed) as failure:
            start(cluster, SCHEDULER)
        assert str(cluster.settings.scheduler_port) in str(failure.value)
        assert f"pid {os.getpid()}" in str(failure.value)
    assert not cluster.supervisor.running(), "what had been started is stopped again"


def test_what_ran_before_a_failure_goes_on(cluster: Cluster) -> None:
    start(cluster)
    cluster.programs[SCHEDULER] = Program(
        SCHEDULER, (sys.executable, "-c", "print('no way'); exit(1)"), "http://127.0.0.1:1/"
    )
    with pytest.raises(Failed, match="no way"):
        start(cluster, SCHEDULER)
    assert cluster.supervisor.has(ETCD)
    assert not cluster.supervisor.has(SCHEDULER)


def test_other_settings_need_a_stop_first(cluster: Cluster) -> None:
    cluster.start_supervisor()
    other = Cluster(replace(cluster.settings, service_range="10.99.0.0/16"))
    with pytest.raises(Failed, match="deploy/down first"):
        other.start_supervisor()


def test_what_outlived_its_supervisor_is_stopped(cluster: Cluster) -> None:
    start(cluster)
    pid = int((cluster.settings.run / "supervisord.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    assert ETCD in {name for _, name in marked(cluster.settings.run)}
    cluster.stop()
    assert not list(marked(cluster.settings.run))


def test_what_outlived_its_supervisor_is_replaced_by_the_next(cluster: Cluster) -> None:
    start(cluster)
    os.kill(int((cluster.settings.run / "supervisord.pid").read_text()), signal.SIGKILL)
    start(cluster)
    assert len([name for _, name in marked(cluster.settings.run) if name == ETCD]) == 1


def test_a_path_too_long_for_a_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="shorter path"):
        Supervisor(tmp_path / ("x" * 120)).start([])


def test_settings_are_kept_for_the_stop(tmp_path: Path) -> None:
    settings = Settings(run=tmp_path, node="n", pod_range="10.1.0.0/16")
    settings.save()
    assert Settings.of(tmp_path) == settings
