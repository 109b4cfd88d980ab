"""Create a pod: client → apiserver → etcd → scheduler → apiserver → kubelet → Docker → status."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from deploy.cluster.example import ask
from kube.kubelet.runtime import CONTAINER_NAME, CONTAINER_TYPE
from tests.e2e.api import Api, Manifest, condition, container, container_status, is_ready, pod, service, shell
from tests.e2e.node import Node
from tests.e2e.waiting import always, eventually


def test_a_pod_becomes_running_and_ready(api: Api, node: Node) -> None:
    made = api.run(pod("web"))
    status = made["status"]
    assert status["phase"] == "Running"
    assert made["spec"]["nodeName"] == node.name
    assert status["podIP"].startswith("10.246.")
    assert status["hostIP"]
    assert status["startTime"]
    assert condition(made, "PodScheduled")["status"] == "True"
    main = container_status(made)
    assert main["ready"]
    assert main["restartCount"] == 0
    assert main["state"]["running"]["startedAt"]
    assert main["containerID"].startswith("docker://")
    assert ask(status["podIP"]) == "web"


def test_containers_are_named_and_labelled_as_kubernetes_names_them(api: Api, node: Node) -> None:
    uid = api.run(pod("web"))["metadata"]["uid"]
    containers = {each.name: each.labels for each in node.containers(api.namespace, "web", every=True)}
    suffix = f"web_{api.namespace}_{uid}_0"
    assert set(containers) == {f"k8s_main_{suffix}", f"k8s_POD_{suffix}"}
    assert containers[f"k8s_main_{suffix}"][CONTAINER_NAME] == "main"
    assert containers[f"k8s_POD_{suffix}"][CONTAINER_TYPE] == "podsandbox"


def test_what_happened_is_told_by_events(api: Api) -> None:
    api.run(pod("web"))

    def told() -> bool:
        reasons = {reason for reason, _ in api.events("web")}
        return {"Scheduled", "Created", "Started"} <= reasons

    eventually(told, "Scheduled, Created and Started are told")


def test_containers_of_a_pod_share_its_address(api: Api, node: Node) -> None:
    api.run(pod("two", container(), shell("sleep 1000", "side")))
    assert (
        node.container(api.namespace, "two", "side").exec_run(["wget", "-qO-", "http://127.0.0.1/"]).output == b"two\n"
    )


def test_environment_has_variables_of_older_services_only(api: Api, node: Node) -> None:
    older = api.create("services", service("older-one", 8080))
    wanted = f"OLDER_ONE_SERVICE_HOST={older['spec']['clusterIP']}"
    env = [{"name": "WHO", "value": "me"}, {"name": "GREETING", "value": "hello $(WHO) $$(WHO)"}]
    made = pod("web", container(env=env))
    # The kubelet learns of services by its own watch: a pod made a moment later may not see the newest one yet.
    eventually(lambda: wanted in _environment(api, node, made), f"{wanted} is in a pod's environment")
    api.create("services", service("younger", 9))
    variables = _variables(api, node, "web")
    ip = older["spec"]["clusterIP"]
    assert variables["GREETING"] == "hello me $(WHO)"
    assert {name: value for name, value in variables.items() if name.startswith("OLDER_ONE")} == {
        "OLDER_ONE_SERVICE_HOST": ip,
        "OLDER_ONE_SERVICE_PORT": "8080",
        "OLDER_ONE_PORT": f"tcp://{ip}:8080",
        "OLDER_ONE_PORT_8080_TCP": f"tcp://{ip}:8080",
        "OLDER_ONE_PORT_8080_TCP_PROTO": "tcp",
        "OLDER_ONE_PORT_8080_TCP_PORT": "8080",
        "OLDER_ONE_PORT_8080_TCP_ADDR": ip,
    }
    assert not [name for name in variables if name.startswith("YOUNGER")]


def _environment(api: Api, node: Node, manifest: Manifest) -> str:
    name = manifest["metadata"]["name"]
    if api.find("pods", name):
        api.delete("pods", name, grace=0)
        api.wait_gone("pods", name)
    api.run(manifest)
    return "\n".join(f"{key}={value}" for key, value in _variables(api, node, name).items())


def _variables(api: Api, node: Node, name: str) -> dict[str, str]:
    lines = node.execute(api.namespace, name, "cat", "/proc/1/environ").rstrip("\0").split("\0")
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize(
    ("policy", "script", "phase", "code"),
    [
        pytest.param("Never", "exit 0", "Succeeded", 0, id="Never, success: Succeeded"),
        pytest.param("Never", "exit 3", "Failed", 3, id="Never, failure: Failed"),
        pytest.param("OnFailure", "exit 0", "Succeeded", 0, id="OnFailure, success: Succeeded"),
    ],
)
def test_a_pod_that_ends_is_in_its_last_phase(api: Api, policy: str, script: str, phase: str, code: int) -> None:
    api.create("pods", pod("job", shell(script), restartPolicy=policy))
    ended = container_status(api.wait_phase("job", phase))
    assert ended["state"]["terminated"]["exitCode"] == code
    assert ended["state"]["terminated"]["reason"] == ("Completed" if code == 0 else "Error")
    assert ended["restartCount"] == 0


@pytest.mark.parametrize("policy", ["Always", "OnFailure"])
def test_a_container_that_fails_is_restarted_and_backs_off(api: Api, policy: str) -> None:
    api.create("pods", pod("crash", shell("exit 7"), restartPolicy=policy))

    def backing_off() -> bool:
        status = container_status(api.get("pods", "crash"))
        assert status["restartCount"] >= 1
        assert status["lastState"]["terminated"]["exitCode"] == 7
        return bool(status["state"]["waiting"]["reason"] == "CrashLoopBackOff")

    eventually(lambda: _quietly(backing_off), "the container waits in CrashLoopBackOff", 40)
    assert api.get("pods", "crash")["status"]["phase"] == "Running"


def _quietly(check: object) -> bool:
    try:
        return bool(check())  # type: ignore[operator]
    except KeyError:  # that part of the status is not there yet
        return False


def test_an_image_that_is_missing_is_told(api: Api) -> None:
    api.create("pods", pod("lost", container(image="kube/no-such-image", imagePullPolicy="Never")))
    api.create("pods", pod("far", container(image="127.0.0.1:1/no/such:1")))

    def reason(name: str) -> str:
        waiting: Manifest = container_status(api.get("pods", name)).get("state", {}).get("waiting", {})
        return str(waiting.get("reason", ""))

    eventually(lambda: reason("lost") == "ErrImageNeverPull", "the pull policy Never is told")
    eventually(lambda: reason("far") in ("ErrImagePull", "ImagePullBackOff"), "the failed pull is told")
    assert api.get("pods", "far")["status"]["phase"] == "Pending"


def test_a_container_over_its_memory_limit_is_killed_and_says_so(api: Api, node: Node) -> None:
    """Not in the moment in which it starts: then the engine may not be watching yet, and takes it for any SIGKILL."""
    script = "until [ -e /go ]; do sleep 0.1; done; exec tail /dev/zero"
    hog = shell(script, resources={"limits": {"memory": "16Mi"}})
    api.create("pods", pod("hog", hog, restartPolicy="Never"))
    api.wait_phase("hog", "Running")
    node.container(api.namespace, "hog").exec_run(["touch", "/go"])
    terminated = container_status(api.wait_phase("hog", "Failed"))["state"]["terminated"]
    assert terminated["reason"] == "OOMKilled"
    assert terminated["exitCode"] == 137


def test_an_empty_dir_is_shared_and_a_host_path_is_the_hosts(api: Api, node: Node, tmp_path: Path) -> None:
    (tmp_path / "from-host").write_text("seen")
    volumes = [
        {"name": "shared", "emptyDir": {}},
        {"name": "host", "hostPath": {"path": str(tmp_path)}},
    ]
    shared = {"name": "shared", "mountPath": "/shared"}
    host = {"name": "host", "mountPath": "/host", "readOnly": True}
    writer = shell("echo written >/shared/file; sleep 1000", "writer", volumeMounts=[shared])
    reader = shell("sleep 1000", volumeMounts=[shared, host])
    uid = api.run(pod("volumes", writer, reader, volumes=volumes))["metadata"]["uid"]
    eventually(lambda: node.execute(api.namespace, "volumes", "cat", "/shared/file") == "written\n", "it is shared")
    assert node.execute(api.namespace, "volumes", "cat", "/host/from-host") == "seen"
    assert node.container(api.namespace, "volumes").exec_run(["touch", "/host/new"]).exit_code != 0
    directories = list(node.cluster.settings.run.glob(f"kubelet/pods/{uid}/volumes/*"))
    assert directories
    api.delete("pods", "volumes", grace=0)
    eventually(lambda: not any(each.exists() for each in directories), "the emptyDir is removed with its pod")


def test_a_host_port_leads_to_the_pod(api: Api) -> None:
    port = _free_port()
    api.run(pod("web", container(ports=[{"containerPort": 80, "hostPort": port}])))
    eventually(lambda: ask("127.0.0.1", port) == "web", "the host's port answers")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_host_network_pod_has_the_hosts_address(api: Api, node: Node) -> None:
    port = _free_port()
    made = api.run(pod("host", container("main", "web", str(port)), hostNetwork=True))
    assert made["status"]["podIP"] == made["status"]["hostIP"]
    assert ask("127.0.0.1", port) == socket.gethostname()


def test_a_pod_ends_gracefully(api: Api, node: Node, tmp_path: Path) -> None:
    script = "trap 'echo ended >/out/told; exit 0' TERM; while :; do sleep 0.1; done"
    out = {"name": "out", "hostPath": {"path": str(tmp_path)}}
    polite = shell(script, volumeMounts=[{"name": "out", "mountPath": "/out"}])
    api.run(pod("polite", polite, volumes=[out]))
    asked = time.monotonic()
    api.delete("pods", "polite")
    assert api.get("pods", "polite")["metadata"]["deletionGracePeriodSeconds"] == 30
    api.wait_gone("pods", "polite", 20)
    assert time.monotonic() - asked < 20
    assert (tmp_path / "told").read_text() == "ended\n"
    eventually(lambda: not node.containers(api.namespace, "polite", every=True), "its containers are removed")


def test_a_pod_that_ignores_sigterm_is_killed_after_its_grace(api: Api) -> None:
    api.run(pod("deaf", shell("trap '' TERM; while :; do sleep 0.1; done"), terminationGracePeriodSeconds=2))
    asked = time.monotonic()
    api.delete("pods", "deaf")
    api.wait_gone("pods", "deaf", 20)
    assert 1.5 < time.monotonic() - asked < 15


def test_readiness_follows_its_probe(api: Api, node: Node) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    api.create("pods", pod("slow", shell("sleep 1000", readinessProbe=probe)))
    api.wait_phase("slow", "Running")
    always(lambda: not is_ready(api.get("pods", "slow")), "it is not Ready before the file is there", 2)
    node.execute(api.namespace, "slow", "touch", "/tmp/ready")
    api.wait_ready("slow", 15)
    node.execute(api.namespace, "slow", "rm", "/tmp/ready")
    eventually(lambda: not is_ready(api.get("pods", "slow")), "it is not Ready without the file")
    assert container_status(api.get("pods", "slow"))["restartCount"] == 0


@pytest.mark.parametrize("probe", ["exec", "httpGet", "tcpSocket"])
def test_a_container_that_fails_its_liveness_probe_is_restarted(api: Api, node: Node, probe: str) -> None:
    checks: dict[str, Manifest] = {
        "exec": {"command": ["test", "!", "-e", "/tmp/dead"]},
        "httpGet": {"path": "/alive", "port": 80},
        "tcpSocket": {"port": 80},
    }
    script = "mkdir -p /www; touch /www/alive; httpd -f -h /www & sleep 1000"
    live = {probe: checks[probe], "periodSeconds": 1, "failureThreshold": 2}
    api.run(pod("live", shell(script, livenessProbe=live), terminationGracePeriodSeconds=1))
    first = node.container(api.namespace, "live").id
    kill = {"exec": "touch /tmp/dead", "httpGet": "rm /www/alive", "tcpSocket": "killall httpd"}[probe]
    node.execute(api.namespace, "live", "sh", "-c", kill)
    eventually(lambda: container_status(api.get("pods", "live"))["restartCount"] == 1, "it is restarted", 40)
    api.wait_ready("live")
    assert node.container(api.namespace, "live").id != first
    eventually(lambda: "Unhealthy" in {reason for reason, _ in api.events("live")}, "an event says why")


def test_a_pod_that_fits_nowhere_waits_and_says_why(api: Api) -> None:
    api.create("pods", pod("big", container(resources={"requests": {"cpu": "1000"}})))
    api.create("pods", pod("choosy", nodeSelector={"disk": "golden"}))

    def told(name: str, words: str) -> bool:
        scheduled = condition(api.get("pods", name), "PodScheduled")
        assert scheduled.get("status") == "False", scheduled
        assert scheduled["reason"] == "Unschedulable"
        assert words in scheduled["message"]
        return any(reason == "FailedScheduling" and words in message for reason, message in api.events(name))

    eventually(lambda: told("big", "Insufficient cpu"), "the scheduler says why")
    eventually(lambda: told("choosy", "0/1 nodes are available"), "the scheduler says why")
    assert "nodeName" not in api.get("pods", "big")["spec"]


def test_a_pod_that_waits_is_placed_when_room_is_made(api: Api) -> None:
    port = _free_port()
    claim = container(ports=[{"containerPort": 80, "hostPort": port}])
    api.run(pod("first", claim))
    api.create("pods", pod("second", claim))
    eventually(lambda: condition(api.get("pods", "second"), "PodScheduled").get("status") == "False", "it waits")
    api.delete("pods", "first", grace=0)
    api.wait_ready("second", 40)
