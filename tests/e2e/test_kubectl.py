"""The real kubectl, against the kubeconfig that deploy/up writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from deploy.cluster.cluster import Cluster
from deploy.cluster.settings import CHECKOUT
from tests.conftest import unavailable
from tests.e2e.api import Api, Manifest, container_status, pod, service, shell, web_controller
from tests.e2e.waiting import eventually

Kubectl = Callable[..., str]


@pytest.fixture
def kubectl(cluster: Cluster, api: Api, tmp_path: Path) -> Kubectl:
    """Runs kubectl in the test's namespace and returns what it printed; it must succeed."""
    if not shutil.which("kubectl"):
        unavailable("kubectl")
    environment = os.environ | {"KUBECONFIG": str(cluster.settings.kubeconfig), "HOME": str(tmp_path)}

    def run(*args: str, stdin: str = "", fails: bool = False) -> str:
        command = ["kubectl", f"--namespace={api.namespace}", *args]
        result = subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment, timeout=60)
        said = result.stdout + result.stderr
        assert bool(result.returncode) == fails, f"{' '.join(command)}: exit code {result.returncode}: {said}"
        return said if fails else result.stdout

    return run


def columns(table: str) -> list[str]:
    """The heading of a printed table."""
    return [word for word in table.splitlines()[0].split("  ") if word.strip()] if table else []


def headings(table: str) -> list[str]:
    return [word.strip() for word in columns(table)]


def test_version_names_the_server(kubectl: Kubectl) -> None:
    version = json.loads(kubectl("version", "-o", "json"))
    assert version["serverVersion"]["major"] == "1"


@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        pytest.param("pods", ["NAME", "READY", "STATUS", "RESTARTS", "AGE"], id="pods"),
        pytest.param("services", ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"], id="services"),
        pytest.param("rc", ["NAME", "DESIRED", "CURRENT", "READY", "AGE"], id="rc"),
        pytest.param("nodes", ["NAME", "STATUS", "ROLES", "AGE", "VERSION"], id="nodes"),
        pytest.param("endpoints", ["NAME", "ENDPOINTS", "AGE"], id="endpoints"),
        pytest.param("events", ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"], id="events"),
        pytest.param("namespaces", ["NAME", "STATUS", "AGE"], id="namespaces"),
    ],
)
def test_get_prints_the_usual_columns(
    kubectl: Kubectl, web: Callable[[int], Manifest], what: str, wanted: list[str]
) -> None:
    web(1)
    table = kubectl("get", what)
    assert headings(table) == wanted
    assert len(table.splitlines()) >= 2


def test_get_pods_tells_the_state(kubectl: Kubectl, api: Api, web: Callable[[int], Manifest]) -> None:
    web(1)
    (name,) = api.names("app=web")
    _, row = kubectl("get", "pods").splitlines()
    assert row.split()[:4] == [name, "1/1", "Running", "0"]
    wide = kubectl("get", "pods", "-o", "wide")
    assert headings(wide)[5:7] == ["IP", "NODE"]
    assert "10.246." in wide
    assert kubectl("get", "pods", "-o", "name").strip() == f"pod/{name}"
    assert kubectl("get", "pods", "-l", "app=web", "--no-headers").startswith(name)
    assert name not in kubectl("get", "pods", "-l", "app=other")
    assert json.loads(kubectl("get", "pod", name, "-o", "json"))["metadata"]["name"] == name
    assert yaml.safe_load(kubectl("get", "pod", name, "-o", "yaml"))["metadata"]["name"] == name
    everywhere = kubectl("get", "pods", "-A")
    assert headings(everywhere)[0] == "NAMESPACE"
    assert api.namespace in everywhere
    assert name in kubectl("get", "all")


def test_get_watches(cluster: Cluster, kubectl: Kubectl, api: Api) -> None:
    command = ["kubectl", f"--kubeconfig={cluster.settings.kubeconfig}", f"--namespace={api.namespace}"]
    with subprocess.Popen([*command, "get", "pods", "-w"], stdout=subprocess.PIPE, text=True) as watching:
        try:
            api.run(pod("seen"))
            assert watching.stdout
            while "Running" not in (line := watching.stdout.readline()):
                assert line, "the watch ended"
        finally:
            watching.kill()


def test_create_and_delete(kubectl: Kubectl, api: Api) -> None:
    assert "pod/made created" in kubectl("create", "-f", "-", stdin=yaml.safe_dump(pod("made")))
    assert "already exists" in kubectl("create", "-f", "-", stdin=yaml.safe_dump(pod("made")), fails=True)
    api.wait_ready("made")
    assert 'pod "made" deleted' in kubectl("delete", "pod", "made", "--grace-period=1")
    assert api.find("pods", "made") is None
    assert 'pods "made" not found' in kubectl("get", "pod", "made", fails=True)


def test_bad_manifests_are_refused_in_words(kubectl: Kubectl) -> None:
    bad = pod("bad")
    del bad["spec"]["containers"][0]["image"]
    assert "spec.containers[0].image" in kubectl("create", "-f", "-", stdin=yaml.safe_dump(bad), fails=True)


def test_apply_creates_changes_and_leaves(kubectl: Kubectl, api: Api) -> None:
    manifest = web_controller("web", 1)
    assert "replicationcontroller/web created" in kubectl("apply", "-f", "-", stdin=yaml.safe_dump(manifest))
    assert "replicationcontroller/web unchanged" in kubectl("apply", "-f", "-", stdin=yaml.safe_dump(manifest))
    manifest["spec"]["replicas"] = 2
    assert "replicationcontroller/web configured" in kubectl("apply", "-f", "-", stdin=yaml.safe_dump(manifest))
    api.wait_pods("app=web", 2)


def test_apply_takes_the_example(kubectl: Kubectl, api: Api) -> None:
    said = kubectl("apply", "-f", str(CHECKOUT / "deploy/examples/web.yaml"))
    assert said == "replicationcontroller/web created\nservice/web created\n"
    api.wait_pods("app=web", 3)


def test_describe_tells_the_story(kubectl: Kubectl, api: Api, web: Callable[[int], Manifest]) -> None:
    made = web(1)
    (name,) = api.names("app=web")
    eventually(lambda: "Started" in kubectl("describe", "pod", name), "the events are in the description")
    story = kubectl("describe", "pod", name)
    for words in ("Controlled By:", "ReplicationController/web", "Scheduled", "Ready", "kube/web", "Node:"):
        assert words in story
    assert made["spec"]["clusterIP"] in kubectl("describe", "service", "web")
    assert "1 current / 1 desired" in kubectl("describe", "rc", "web")
    assert "Capacity:" in kubectl("describe", "node", "e2e-node")


def test_logs_and_follow(kubectl: Kubectl, api: Api) -> None:
    api.create("pods", pod("job", shell("echo one; echo two"), restartPolicy="Never"))
    api.wait_phase("job", "Succeeded")
    assert kubectl("logs", "job") == "one\ntwo\n"
    assert kubectl("logs", "job", "--tail=1") == "two\n"
    assert kubectl("logs", "-f", "job", "-c", "main") == "one\ntwo\n"


def test_scale(kubectl: Kubectl, api: Api, web: Callable[[int], Manifest]) -> None:
    web(1)
    assert "replicationcontroller/web scaled" in kubectl("scale", "rc", "web", "--replicas=3")
    api.wait_pods("app=web", 3)
    assert "scaled" in kubectl("scale", "rc", "web", "--current-replicas=3", "--replicas=1")
    api.wait_pods("app=web", 1)


def test_label(kubectl: Kubectl, api: Api) -> None:
    api.create("pods", pod("it", nodeSelector={"never": "there"}))
    assert "pod/it labeled" in kubectl("label", "pod", "it", "tier=front")
    assert api.get("pods", "it")["metadata"]["labels"] == {"app": "it", "tier": "front"}
    assert "--overwrite is false" in kubectl("label", "pod", "it", "tier=back", fails=True)
    kubectl("label", "pod", "it", "tier-")
    assert api.get("pods", "it")["metadata"]["labels"] == {"app": "it"}


def test_run(kubectl: Kubectl, api: Api) -> None:
    kubectl("run", "one", "--image=kube/web", "--image-pull-policy=IfNotPresent", "--port=80")
    made = api.wait_ready("one")
    assert made["metadata"]["labels"] == {"run": "one"}
    assert container_status(made, "one")["ready"]


def test_expose(kubectl: Kubectl, api: Api, web: Callable[[int], Manifest]) -> None:
    web(1)
    assert "service/front exposed" in kubectl("expose", "rc", "web", "--name=front", "--port=8080", "--target-port=80")
    spec = api.get("services", "front")["spec"]
    assert spec["selector"] == {"app": "web"}
    assert spec["ports"][0]["port"] == 8080


def test_a_service_can_be_created_by_file_and_deleted_by_label(kubectl: Kubectl, api: Api) -> None:
    manifest = service("web")
    manifest["metadata"]["labels"] = {"app": "web"}
    kubectl("create", "-f", "-", stdin=yaml.safe_dump(manifest))
    assert 'service "web" deleted' in kubectl("delete", "services", "-l", "app=web")
    assert api.find("services", "web") is None
