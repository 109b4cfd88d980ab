"""The real processes, started once for all end-to-end tests, by the code that `deploy/up` uses.

The cluster has ports, an etcd and address ranges of its own, and a node name of its own; what it writes is in
`.run/e2e`, and its logs stay there. It shares the host's iptables with whatever else runs, so a cluster of
`deploy/up` must be stopped first.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator

import pytest

from deploy.cluster import engine, pki
from deploy.cluster.cluster import Cluster
from deploy.cluster.settings import CHECKOUT, Settings
from deploy.cluster.steps import Failed
from tests.conftest import unavailable
from tests.e2e.api import Api, Manifest
from tests.e2e.node import Node

SETTINGS = Settings(
    run=CHECKOUT / ".run/e2e",
    node="e2e-node",
    service_range="10.97.0.0/16",
    pod_range="10.246.0.0/16",
    pod_network="kube-e2e",
    bridge="kube-e2e0",
    etcd_port=26479,
    etcd_peer_port=26480,
    apiserver_port=26080,
    secure_port=26443,
    scheduler_port=26251,
    controller_manager_port=26252,
    kubelet_port=26250,
    kubelet_healthz_port=26248,
    proxy_port=26249,
    dns_port=26254,
    shared_etcd=False,
    verbosity=2,
)


@pytest.fixture(scope="session")
def cluster(docker_engine: str) -> Iterator[Cluster]:
    """The five daemons and an etcd, healthy."""
    if os.geteuid() != 0:
        unavailable("root")
    cluster = Cluster(SETTINGS)
    cluster.stop()  # what an interrupted run left
    shutil.rmtree(SETTINGS.run, ignore_errors=True)
    if engine.missing_images():
        engine.build_images()
    try:
        with cluster.undone_on_failure():
            cluster.start_supervisor()
            cluster.start_etcd()
            cluster.start_daemons()
            pki.write_kubeconfig(SETTINGS)
    except Failed as failure:
        pytest.fail(f"the cluster to test does not start: {failure}")
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def node(cluster: Cluster) -> Iterator[Node]:
    """The node, for what cannot be seen through the API."""
    node = Node(cluster)
    yield node
    node.close()


@pytest.fixture
def api(cluster: Cluster) -> Iterator[Api]:
    """The API, with a namespace of its own for every test; its pods are gone afterwards."""
    api = Api(cluster.settings.server, f"t-{secrets.token_hex(4)}")
    api.create_namespace()
    yield api
    api.clear()
    api.close()


@pytest.fixture
def web(api: Api) -> Callable[..., Manifest]:
    """Makes a replication controller `web` and its service, waits until it answers; returns the service."""
    from tests.e2e.api import service, web_controller
    from tests.e2e.traffic import wait_backends

    def make(replicas: int, linger: int = 0) -> Manifest:
        made = api.create("services", service("web"))
        api.create("replicationcontrollers", web_controller("web", replicas, linger))
        pods = api.wait_pods("app=web", replicas)
        wait_backends(made["spec"]["clusterIP"], {pod["metadata"]["name"] for pod in pods})
        return made

    return make
