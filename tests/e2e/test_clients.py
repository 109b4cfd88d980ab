"""Client libraries that were written for Kubernetes, as they come from PyPI."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kr8s
import kubernetes as official
import lightkube
import pytest
from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod, Service
from lightkube.types import PatchType

from deploy.cluster.cluster import Cluster
from tests.e2e.api import Api, shell, web_controller
from tests.e2e.api import pod as pod_manifest
from tests.e2e.waiting import eventually

kubernetes: Any = official  # it has no types


class TestKubernetes:
    """The official client, `kubernetes`."""

    @pytest.fixture
    def core(self, cluster: Cluster) -> Iterator[Any]:
        config = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(str(cluster.settings.kubeconfig), client_configuration=config)
        with kubernetes.client.ApiClient(config) as client:
            yield kubernetes.client.CoreV1Api(client)

    def test_objects_are_created_read_patched_and_deleted(self, core: Any, api: Api) -> None:
        core.create_namespaced_replication_controller(api.namespace, web_controller("web", 1))
        api.wait_pods("app=web", 1)

        def double() -> bool:
            rc = core.read_namespaced_replication_controller("web", api.namespace)
            assert rc.spec.replicas == 1
            rc.spec.replicas = 2
            try:
                core.replace_namespaced_replication_controller("web", api.namespace, rc)
            except kubernetes.client.ApiException as refused:
                if refused.status != 409:
                    raise
                return False  # its controller has written the status meanwhile
            return True

        eventually(double, "the controller is replaced")
        api.wait_pods("app=web", 2)
        core.patch_namespaced_replication_controller_scale("web", api.namespace, {"spec": {"replicas": 0}})
        eventually(lambda: not core.list_namespaced_pod(api.namespace, label_selector="app=web").items, "no pods")
        core.delete_namespaced_replication_controller("web", api.namespace, propagation_policy="Background")
        with pytest.raises(kubernetes.client.ApiException) as gone:
            core.read_namespaced_replication_controller("web", api.namespace)
        assert gone.value.status == 404

    def test_a_watch_goes_on_where_another_ended(self, core: Any, api: Api) -> None:
        watching = kubernetes.watch.Watch()
        start = core.list_namespaced_config_map(api.namespace).metadata.resource_version
        for name in ("a", "b", "c"):
            core.create_namespaced_config_map(api.namespace, {"metadata": {"name": name}})
        names = []
        for event in watching.stream(core.list_namespaced_config_map, api.namespace, resource_version=start):
            names.append(event["object"].metadata.name)
            if len(names) == 2:
                watching.stop()
        resumed = kubernetes.watch.Watch()
        version = watching.resource_version
        for event in resumed.stream(core.list_namespaced_config_map, api.namespace, resource_version=version):
            names.append(event["object"].metadata.name)
            resumed.stop()
        assert names == ["a", "b", "c"]

    def test_a_log_is_read(self, core: Any, api: Api) -> None:
        core.create_namespaced_pod(api.namespace, pod_manifest("talker", shell("echo hello; sleep 600")))
        api.wait_ready("talker")
        said = eventually(lambda: core.read_namespaced_pod_log("talker", api.namespace), "the pod has spoken")
        assert said == "hello\n"


def test_kr8s(cluster: Cluster, api: Api) -> None:
    client = kr8s.api(kubeconfig=str(cluster.settings.kubeconfig), namespace=api.namespace)
    made = kr8s.objects.Pod({**pod_manifest("web"), "kind": "Pod", "apiVersion": "v1"}, api=client)
    made.create()
    made.wait("condition=Ready", timeout=60)
    made.label({"seen": "yes"})
    found: Any = client.get("pods", label_selector="seen=yes")
    assert [each.name for each in found] == ["web"]
    assert made.ready()
    made.delete()
    made.wait("delete", timeout=60)
    assert not made.exists()


def test_lightkube(cluster: Cluster, api: Api) -> None:
    config = lightkube.KubeConfig.from_file(str(cluster.settings.kubeconfig))
    client = lightkube.Client(config=config.get(), namespace=api.namespace)
    with client._client._client:  # it has no way of its own to let go of its connections
        _use_lightkube(client)


def _use_lightkube(client: lightkube.Client) -> None:
    spec = ServiceSpec(selector={"app": "web"}, ports=[ServicePort(port=80)])
    made = client.create(Service(metadata=ObjectMeta(name="web"), spec=spec))
    assert made.spec is not None
    assert made.spec.clusterIP
    client.patch(Service, "web", {"metadata": {"labels": {"a": "b"}}}, patch_type=PatchType.MERGE)
    assert [each.metadata.name for each in client.list(Service, labels={"a": "b"}) if each.metadata] == ["web"]
    applied = Service(apiVersion="v1", kind="Service", metadata=ObjectMeta(name="web", annotations={"by": "apply"}))
    client.apply(applied, field_manager="lightkube")
    assert client.get(Service, "web").metadata.annotations == {"by": "apply"}  # type: ignore[union-attr]  # it is set
    client.delete(Service, "web")
    assert list(client.list(Pod)) == []


OPERATOR = """
    import kopf

    @kopf.on.create("v1", "pods", labels={"watched": "yes"})
    def created(name, patch, **_):
        patch.metadata.annotations["kopf.test/seen"] = name
"""


def test_an_operator_on_kopf_reacts_to_pods(cluster: Cluster, api: Api, tmp_path: Path) -> None:
    script = tmp_path / "operator.py"
    script.write_text(textwrap.dedent(OPERATOR))
    environment = os.environ | {"KUBECONFIG": str(cluster.settings.kubeconfig)}
    command = [sys.executable, "-m", "kopf", "run", str(script), f"--namespace={api.namespace}", "--standalone"]
    with (tmp_path / "log").open("wb") as log:
        operator = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        api.create("pods", pod_manifest("web", labels={"watched": "yes"}))

        def annotated() -> bool:
            assert operator.poll() is None, (tmp_path / "log").read_text()
            meta = api.get("pods", "web")["metadata"]
            return bool(meta.get("annotations", {}).get("kopf.test/seen") == "web")

        eventually(annotated, "the operator has seen the pod")
    finally:
        operator.terminate()
        operator.wait(timeout=20)
