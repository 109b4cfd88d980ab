"""Every command of docs/kubectl.md, with every kubectl that lies beside the one on the PATH, and with Debian's."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from deploy.cluster.cluster import Cluster
from deploy.cluster.settings import CHECKOUT
from tests.conftest import unavailable
from tests.e2e.api import Api, pod, service, shell, web_controller
from tests.e2e.waiting import eventually

ON_PATH = shutil.which("kubectl")
FOUND = {path.name: path for path in Path(ON_PATH).resolve().parent.glob("kubectl.1.*")} if ON_PATH else {}
DEBIANS = CHECKOUT / ".run/test/debian/usr/bin/kubectl"
"""Of 1.20, where `deploy/test` unpacks it."""
KUBECTLS = {"debian": DEBIANS, **(dict(sorted(FOUND.items())) or {"kubectl": Path(ON_PATH or "kubectl")})}


class Kubectl:
    """One kubectl in one namespace, in which run a pod `talker` and a replication controller `web` of one pod."""

    def __init__(self, path: Path, cluster: Cluster, api: Api, home: Path) -> None:
        self.path, self.api, self.home = path, api, home
        self.node = cluster.settings.node
        self.environment = os.environ | {"KUBECONFIG": str(cluster.settings.kubeconfig), "HOME": str(home)}
        said = json.loads(self.run("version", "--client", "-o", "json"))["clientVersion"]["gitVersion"]
        self.version = tuple(int(part) for part in re.findall(r"\d+", said)[:2])

    def command(self, *args: str) -> list[str]:
        return [str(self.path), f"--namespace={self.api.namespace}", *args]

    def run(self, *args: str, stdin: str = "", fails: bool = False, **environment: str) -> str:
        """What it printed; it must succeed, or fail."""
        result = subprocess.run(
            self.command(*args), input=stdin, capture_output=True, text=True, timeout=60,
            env=self.environment | environment,
        )  # fmt: skip
        said = result.stdout + result.stderr
        assert bool(result.returncode) == fails, f"{' '.join(args)}: exit code {result.returncode}: {said}"
        return said if fails else result.stdout

    def start(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment
        )

    def manifest(self, name: str, obj: object) -> str:
        path = self.home / f"{name}.yaml"
        path.write_text(yaml.safe_dump(obj))
        return str(path)


@pytest.fixture(scope="module", params=list(KUBECTLS.values()), ids=list(KUBECTLS))
def kubectl(
    request: pytest.FixtureRequest, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kubectl]:
    if shutil.which(request.param) is None:
        unavailable(f"the kubectl {request.param}")
    api = Api(cluster.settings.server, f"k-{secrets.token_hex(4)}")
    api.create_namespace()
    api.create("pods", pod("talker", shell("echo hello; exec sleep 600"), terminationGracePeriodSeconds=0))
    api.create("replicationcontrollers", web_controller("web", 1))
    api.create("services", service("web"))
    api.wait_ready("talker")
    api.wait_pods("app=web", 1)
    yield Kubectl(request.param, cluster, api, tmp_path_factory.mktemp("home"))
    api.clear()
    api.close()


def config_map(name: str, **data: str) -> dict[str, object]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": data}


def data_of(k: Kubectl, name: str) -> dict[str, str]:
    found: dict[str, str] = k.api.get("configmaps", name)["data"]
    return found


def version(k: Kubectl) -> None:
    assert json.loads(k.run("version", "-o", "json"))["serverVersion"]["gitVersion"] == "v1.33.0-kube"


def api_resources(k: Kubectl) -> None:
    assert "replicationcontrollers" in k.run("api-resources")


def api_versions(k: Kubectl) -> None:
    assert {"v1", "apps/v1", "coordination.k8s.io/v1"} <= set(k.run("api-versions").split())


def cluster_info(k: Kubectl) -> None:
    assert "is running at" in k.run("cluster-info")


def explain(k: Kubectl) -> None:
    assert "restartPolicy" in k.run("explain", "pod.spec")


def get(k: Kubectl) -> None:
    assert k.run("get", "pod", "talker", "-o", "name") == "pod/talker\n"
    assert "NOMINATED NODE" in k.run("get", "pods", "-o", "wide")
    assert k.run("get", "rc", "web", "-o", "jsonpath={.spec.replicas}") == "1"
    assert k.api.namespace in k.run("get", "services", "-A", "-l", "!absent")
    watching = k.start("get", "pods", "-w")
    try:
        assert watching.stdout is not None
        assert "READY" in watching.stdout.readline()
    finally:
        watching.kill()
        watching.communicate()


def describe(k: Kubectl) -> None:
    assert "Successfully assigned" in k.run("describe", "pod", "talker")
    assert "Pods Status:  1 Running" in re.sub(" +", " ", k.run("describe", "rc", "web")).replace(
        "Status: ", "Status:  "
    )
    assert "Allocatable" in k.run("describe", "node", k.node)


def create(k: Kubectl) -> None:
    k.run("create", "-f", "-", stdin=yaml.safe_dump(config_map("created", a="1")))
    assert data_of(k, "created") == {"a": "1"}
    # Until 1.26 kubectl validates by itself, with what /openapi/v2 says.
    refused = 'unknown field "dta" in io.k8s.api.core.v1.ConfigMap' if k.version < (1, 27) else "strict decoding error"
    wrong = yaml.safe_dump({**config_map("x"), "dta": {}})
    assert refused in k.run("create", "-f", "-", stdin=wrong, fails=True)


def create_config_map(k: Kubectl) -> None:
    k.run("create", "configmap", "made", "--from-literal=a=1")
    assert data_of(k, "made") == {"a": "1"}


def apply(k: Kubectl) -> None:
    k.run("apply", "-f", k.manifest("applied", config_map("applied", a="1", b="1")))
    k.run("apply", "-f", k.manifest("applied", config_map("applied", a="2")))
    assert data_of(k, "applied") == {"a": "2"}
    assert "unchanged" in k.run("apply", "-f", str(k.home / "applied.yaml"))


def apply_server_side(k: Kubectl) -> None:
    path = k.manifest("ssa", config_map("ssa", a="1", b="1"))
    k.run("apply", "--server-side", "-f", path)
    k.run("patch", "configmap", "ssa", "-p", '{"data":{"a":"mine"}}', "--field-manager=other")
    path = k.manifest("ssa", config_map("ssa", a="2"))
    assert 'conflict with "other"' in k.run("apply", "--server-side", "-f", path, fails=True)
    k.run("apply", "--server-side", "--force-conflicts", "-f", path)
    assert data_of(k, "ssa") == {"a": "2"}


def diff(k: Kubectl) -> None:
    k.run("apply", "-f", k.manifest("differs", config_map("differs", a="1")))
    assert '+  a: "2"' in k.run("diff", "-f", k.manifest("differs", config_map("differs", a="2")), fails=True)


def edit(k: Kubectl) -> None:
    k.run("create", "-f", "-", stdin=yaml.safe_dump(config_map("edited", a="before")))
    k.run("edit", "configmap", "edited", EDITOR="sed -i s/before/after/")
    assert data_of(k, "edited") == {"a": "after"}


def patch(k: Kubectl) -> None:
    k.run("create", "-f", "-", stdin=yaml.safe_dump(config_map("patched")))
    k.run("patch", "configmap", "patched", "-p", '{"data":{"a":"1"}}')
    k.run("patch", "configmap", "patched", "--type=merge", "-p", '{"data":{"b":"2"}}')
    k.run("patch", "configmap", "patched", "--type=json", "-p", '[{"op":"add","path":"/data/c","value":"3"}]')
    assert data_of(k, "patched") == {"a": "1", "b": "2", "c": "3"}


def replace(k: Kubectl) -> None:
    address = k.api.get("services", "web")["spec"]["clusterIP"]
    k.run("replace", "-f", k.manifest("web", service("web")))
    assert k.api.get("services", "web")["spec"]["clusterIP"] == address


def delete(k: Kubectl) -> None:
    k.run("create", "-f", "-", stdin=yaml.safe_dump(config_map("deleted")))
    assert 'configmap "deleted"' in k.run("delete", "configmap", "deleted")
    assert k.api.find("configmaps", "deleted") is None


def label(k: Kubectl) -> None:
    k.run("label", "service", "web", "colour=red")
    assert k.api.get("services", "web")["metadata"]["labels"]["colour"] == "red"
    k.run("label", "service", "web", "colour-")


def annotate(k: Kubectl) -> None:
    k.run("annotate", "service", "web", "note=yes")
    assert k.api.get("services", "web")["metadata"]["annotations"]["note"] == "yes"


def scale(k: Kubectl) -> None:
    k.run("scale", "rc", "web", "--replicas=2", "--current-replicas=1")
    assert k.api.get("replicationcontrollers", "web")["spec"]["replicas"] == 2
    k.run("scale", "rc", "web", "--replicas=1")


def expose(k: Kubectl) -> None:
    k.run("expose", "rc", "web", "--port=8080", "--target-port=80", "--name=exposed")
    assert k.api.get("services", "exposed")["spec"]["selector"] == {"app": "web"}


def run(k: Kubectl) -> None:
    k.run("run", "once", "--image=kube/web", "--image-pull-policy=IfNotPresent", "--restart=Never", "--", "true")
    k.api.wait_phase("once", "Succeeded")


def template(k: Kubectl) -> dict[str, object]:
    found: dict[str, object] = k.api.get("replicationcontrollers", "web")["spec"]["template"]["spec"]["containers"][0]
    return found


def set_image(k: Kubectl) -> None:
    k.run("set", "image", "rc/web", "main=kube/web:latest")
    assert template(k)["image"] == "kube/web:latest"


def set_env(k: Kubectl) -> None:
    k.run("set", "env", "rc/web", "COLOUR=red")
    assert template(k)["env"] == [{"name": "COLOUR", "value": "red"}]


def set_resources(k: Kubectl) -> None:
    k.run("set", "resources", "rc", "web", "--requests=cpu=10m")
    assert template(k)["resources"] == {"requests": {"cpu": "10m"}}


def logs(k: Kubectl) -> None:
    assert k.run("logs", "talker", "--tail=1") == "hello\n"


def exec_(k: Kubectl) -> None:
    assert k.run("exec", "talker", "--", "echo", "said") == "said\n"
    assert k.run("exec", "-i", "talker", "--", "cat", stdin="given") == "given"
    assert "exit code 3" in k.run("exec", "talker", "--", "sh", "-c", "exit 3", fails=True)


def attach(k: Kubectl) -> None:
    k.api.run(pod("greeter", shell("while sleep 0.2; do echo again; done"), terminationGracePeriodSeconds=0))
    attached = k.start("attach", "greeter")
    try:
        assert attached.stdout is not None
        eventually(lambda: "again" in attached.stdout.readline(), "the pod is heard")  # type: ignore[union-attr]
    finally:
        attached.kill()
        attached.communicate()


def port_forward(k: Kubectl) -> None:
    name = next(iter(k.api.names("app=web")))
    forwarding = k.start("port-forward", f"pod/{name}", ":80")
    try:
        assert forwarding.stdout is not None
        port = re.search(r"127\.0\.0\.1:(\d+)", forwarding.stdout.readline())
        assert port
        assert httpx.get(f"http://127.0.0.1:{port[1]}/").text.strip() == name
    finally:
        forwarding.kill()
        forwarding.communicate()


def cp(k: Kubectl) -> None:
    (k.home / "letter").write_text("dear pod")
    k.run("cp", str(k.home / "letter"), "talker:/tmp/letter")
    k.run("cp", "talker:/tmp/letter", str(k.home / "back"))
    assert (k.home / "back").read_text() == "dear pod"


def wait(k: Kubectl) -> None:
    k.run("wait", "pod/talker", "--for=condition=Ready", "--timeout=20s")


def cordon(k: Kubectl) -> None:
    k.run("cordon", k.node)
    assert k.api.get("nodes", k.node)["spec"]["unschedulable"] is True
    assert "SchedulingDisabled" in k.run("get", "node", k.node)


def uncordon(k: Kubectl) -> None:
    k.run("uncordon", k.node)
    assert "unschedulable" not in k.api.get("nodes", k.node)["spec"]


def taint(k: Kubectl) -> None:
    k.run("taint", "node", k.node, "dedicated=x:PreferNoSchedule")
    assert k.api.get("nodes", k.node)["spec"]["taints"][0]["key"] == "dedicated"
    k.run("taint", "node", k.node, "dedicated-")


def drain(k: Kubectl) -> None:
    k.api.run(pod("guest", labels={"drained": "yes"}, terminationGracePeriodSeconds=0))
    said = k.run("drain", k.node, "--pod-selector=drained=yes", "--force", "--timeout=30s")
    assert "pod/guest evicted" in said
    assert k.api.find("pods", "guest") is None
    k.run("uncordon", k.node)


def rollout(k: Kubectl) -> None:
    assert "no status viewer" in k.run("rollout", "status", "rc/web", fails=True)


def auth_can_i(k: Kubectl) -> None:
    assert k.run("auth", "can-i", "create", "pods") == "yes\n"


def auth_whoami(k: Kubectl) -> None:
    if k.version >= (1, 28):
        assert "kubernetes-admin" in k.run("auth", "whoami")
    else:
        assert ("not enabled" if k.version > (1, 26) else "unknown command") in k.run("auth", "whoami", fails=True)


def events(k: Kubectl) -> None:
    if k.version < (1, 23):
        # (It takes a flag before a command that it does not know for a plug-in's.)
        assert "flags cannot be placed before plugin name" in k.run("events", fails=True)
        return
    assert "Scheduled" in k.run("events", "--for=pod/talker")


def top(k: Kubectl) -> None:
    assert "Metrics API not available" in k.run("top", "pods", fails=True)


def proxy(k: Kubectl) -> None:
    serving = k.start("proxy", "--port=0")
    try:
        assert serving.stdout is not None
        port = re.search(r":(\d+)$", serving.stdout.readline().strip())
        assert port
        assert httpx.get(f"http://127.0.0.1:{port[1]}/version").json()["major"] == "1"
    finally:
        serving.kill()
        serving.communicate()


def kustomize(k: Kubectl) -> None:
    folder = k.home / "kustom"
    folder.mkdir()
    (folder / "map.yaml").write_text(yaml.safe_dump(config_map("kustom", a="1")))
    (folder / "kustomization.yaml").write_text("resources: [map.yaml]\nnamePrefix: pre-\n")
    k.run("apply", "-k", str(folder))
    assert data_of(k, "pre-kustom") == {"a": "1"}


def debug(k: Kubectl) -> None:
    said = k.run("debug", "talker", "--image=kube/web", "--target=main", fails=True)
    assert "ephemeral containers are disabled for this cluster" in said


COMMANDS: dict[str, Callable[[Kubectl], None]] = {
    "version": version, "api-resources": api_resources, "api-versions": api_versions, "cluster-info": cluster_info,
    "explain": explain, "get": get, "describe": describe, "create -f": create, "create configmap": create_config_map,
    "apply": apply, "apply --server-side": apply_server_side, "diff": diff, "edit": edit, "patch": patch,
    "replace": replace, "delete": delete, "label": label, "annotate": annotate, "scale": scale, "expose": expose,
    "run": run, "set image": set_image, "set env": set_env, "set resources": set_resources, "logs": logs,
    "exec": exec_, "attach": attach, "port-forward": port_forward, "cp": cp, "wait": wait, "cordon": cordon,
    "uncordon": uncordon, "taint": taint, "drain": drain, "rollout": rollout, "auth can-i": auth_can_i,
    "auth whoami": auth_whoami, "events": events, "top": top, "proxy": proxy, "kustomize": kustomize, "debug": debug,
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_command(kubectl: Kubectl, command: Callable[[Kubectl], None]) -> None:
    command(kubectl)


def test_the_table_in_the_docs_names_what_is_tested() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", (CHECKOUT / "docs/kubectl.md").read_text(), re.MULTILINE)
    assert rows == list(COMMANDS)
