"""The kubelet's wishes in Docker's words, and Docker's answers in the kubelet's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kube.kubelet import docker_objects as objects
from kube.kubelet.runtime import ContainerConfig, Mount, Pid, PodId, PortMapping, Resources, SandboxConfig, State

POD = PodId("default", "web-1", "u-1")
CREATED = "2026-11-22T21:44:25.123456789Z"
STARTED = "2026-11-22T21:44:26Z"
FINISHED = "2026-11-22T21:44:27.5Z"


def at(second: int, micro: int = 0) -> datetime:
    return datetime(2026, 11, 22, 21, 44, second, micro, tzinfo=UTC)


def sandbox(lowest_score: int = -1000, **config: Any) -> dict[str, Any]:
    return objects.sandbox_request(SandboxConfig(POD, **config), "node-1", "pods", lowest_score)


def container(lowest_score: int = -1000, **config: Any) -> dict[str, Any]:
    return objects.container_request(
        ContainerConfig(POD, "main", "kube/web", **config), "box", "node-1", lowest_score, {"max-size": "10m"}
    )


def test_a_sandbox_is_on_the_pod_network_and_lets_others_share_its_ipc() -> None:
    request = sandbox(hostname="web-1")
    assert request["name"] == "k8s_POD_web-1_default_u-1_0"
    assert request["Hostname"] == "web-1"
    host = request["HostConfig"]
    assert (host["NetworkMode"], host["IpcMode"], host["OomScoreAdj"]) == ("pods", "shareable", -998)
    assert "PortBindings" not in host


def test_a_sandbox_in_the_hosts_network_has_neither_hostname_nor_ports() -> None:
    request = sandbox(host_network=True, hostname="web-1", ports=[PortMapping(80, 80)])
    assert request["HostConfig"]["NetworkMode"] == "host"
    assert "Hostname" not in request
    assert "PortBindings" not in request["HostConfig"]


def test_a_pod_in_the_nodes_namespaces() -> None:
    host = sandbox(host_pid=True, host_ipc=True)["HostConfig"]
    assert (host["PidMode"], host["IpcMode"]) == ("host", "host")
    inside = container(pid=Pid.NODE, host_ipc=True)["HostConfig"]
    assert (inside["PidMode"], inside["IpcMode"], inside["NetworkMode"]) == ("host", "host", "container:box")
    assert container(pid=Pid.POD)["HostConfig"]["PidMode"] == "container:box"
    assert container()["HostConfig"]["PidMode"] == ""


def test_host_ports_are_published_for_their_address_and_protocol() -> None:
    ports = [
        PortMapping(80, 8080),
        PortMapping(80, 8081, host_ip="127.0.0.1"),
        PortMapping(53, 5353, "UDP"),
        PortMapping(9090, 0),  # no host port: only written down
    ]
    request = sandbox(ports=ports)
    assert request["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}}
    assert request["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "127.0.0.1", "HostPort": "8081"}],
        "53/udp": [{"HostIp": "", "HostPort": "5353"}],
    }


def test_labels_say_whose_a_container_is_and_none_of_the_pods_own_can_hide_that() -> None:
    request = container(attempt=3, hash="abc", grace_period=7, labels={"a": "b", "io.kubernetes.pod.uid": "other"})
    assert request["Labels"] == {
        "a": "b",
        "io.kubernetes.pod.name": "web-1",
        "io.kubernetes.pod.namespace": "default",
        "io.kubernetes.pod.uid": "u-1",
        "io.kubernetes.node.name": "node-1",
        "io.kubernetes.docker.type": "container",
        "io.kubernetes.container.name": "main",
        "io.kubernetes.container.hash": "abc",
        "io.kubernetes.container.restartCount": "3",
        "io.kubernetes.sandbox.id": "box",
        "io.kubernetes.pod.terminationGracePeriod": "7",
    }
    labels = sandbox(attempt=2)["Labels"]
    assert (labels["io.kubernetes.docker.type"], labels["io.kubernetes.container.restartCount"]) == ("podsandbox", "2")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {}),
        ({"command": ["a", "b"]}, {"Entrypoint": ["a", "b"]}),
        ({"args": ["c"]}, {"Cmd": ["c"]}),
        ({"command": ["a"], "args": ["c"]}, {"Entrypoint": ["a"], "Cmd": ["c"]}),
    ],
    ids=["the image's own", "command alone", "args alone", "both"],
)
def test_command_is_dockers_entrypoint_and_args_its_cmd(config: dict[str, Any], expected: dict[str, Any]) -> None:
    request = container(**config)
    assert {name: request[name] for name in ("Entrypoint", "Cmd") if name in request} == expected


def test_a_container_joins_its_sandbox_and_gets_its_limits_mounts_and_environment() -> None:
    request = container(
        env=[("A", "1"), ("B", "x=y")],
        mounts=[
            Mount("/host", "/here"),
            Mount("/host/ro", "/ro", read_only=True),
            Mount("/a", "/b", True, "rslave"),
            Mount("/a", "/c", propagation="rshared"),
        ],
        resources=Resources(cpu_shares=512, cpu_quota=50_000, memory=1 << 20, oom_score_adj=500),
    )
    host = request["HostConfig"]
    assert request["name"] == "k8s_main_web-1_default_u-1_0"
    assert request["Env"] == ["A=1", "B=x=y"]
    assert (host["NetworkMode"], host["IpcMode"]) == ("container:box", "container:box")
    assert host["Binds"] == ["/host:/here", "/host/ro:/ro:ro", "/a:/b:ro,rslave", "/a:/c:rshared"]
    assert (host["CpuShares"], host["CpuQuota"], host["CpuPeriod"]) == (512, 50_000, 100_000)
    assert (host["Memory"], host["MemorySwap"], host["OomScoreAdj"]) == (1 << 20, 1 << 20, 500)


def test_without_a_quota_docker_is_not_told_a_period() -> None:
    assert container()["HostConfig"]["CpuPeriod"] == 0


@pytest.mark.parametrize(
    ("wanted", "lowest", "given"),
    [(-997, -1000, -997), (-997, 0, 0), (500, 0, 500)],
    ids=["the engine may", "the engine may not", "not below the engine's own"],
)
def test_no_score_is_below_what_the_engine_can_give(wanted: int, lowest: int, given: int) -> None:
    request = container(lowest, resources=Resources(oom_score_adj=wanted))
    assert request["HostConfig"]["OomScoreAdj"] == given
    assert sandbox(lowest)["HostConfig"]["OomScoreAdj"] == max(-998, lowest)


def inspected(status: str, **state: Any) -> dict[str, Any]:
    """What Docker 20.10 says of a container (what matters of it)."""
    never = "0001-01-01T00:00:00Z"
    return {
        "Id": "c1",
        "Created": CREATED,
        "Image": "sha256:1234",
        "Config": {"Image": "kube/web", "Labels": container(attempt=2, hash="h")["Labels"]},
        "HostConfig": {"NetworkMode": "pods"},
        "State": {
            "Status": status,
            "Running": status == "running",
            "OOMKilled": False,
            "Pid": 7 if status == "running" else 0,
            "ExitCode": 0,
            "Error": "",
            "StartedAt": never,
            "FinishedAt": never,
            **state,
        },
        "NetworkSettings": {"Networks": {"pods": {"IPAddress": "10.244.0.2" if status == "running" else ""}}},
    }


@pytest.mark.parametrize(
    ("answer", "state", "started", "finished", "code"),
    [
        (inspected("created"), State.CREATED, None, None, 0),
        (inspected("running", StartedAt=STARTED), State.RUNNING, at(26), None, 0),
        (inspected("paused", StartedAt=STARTED, Running=True), State.RUNNING, at(26), None, 0),
        # One that was restarted by hand still carries the end of its last run.
        (inspected("running", StartedAt=STARTED, FinishedAt=CREATED), State.RUNNING, at(26), None, 0),
        (
            inspected("exited", StartedAt=STARTED, FinishedAt=FINISHED, ExitCode=3),
            State.EXITED,
            at(26),
            at(27, 500_000),
            3,
        ),
        (
            inspected("created", ExitCode=127, Error="not found"),
            State.EXITED,
            at(25, 123_456),
            at(25, 123_456),
            127,
        ),
        # dockerd notes the start of one that ends at once after its end.
        (
            inspected("exited", StartedAt=FINISHED, FinishedAt=STARTED),
            State.EXITED,
            at(27, 500_000),
            at(27, 500_000),
            0,
        ),
        (inspected("dead", StartedAt=STARTED, FinishedAt=FINISHED), State.EXITED, at(26), at(27, 500_000), 0),
        (inspected("removing", StartedAt=STARTED, FinishedAt=FINISHED), State.UNKNOWN, at(26), None, 0),
    ],
    ids=[
        "created",
        "running",
        "paused",
        "restarted",
        "exited",
        "could not be started",
        "ended at once",
        "dead",
        "removing",
    ],
)
def test_a_containers_state(
    answer: dict[str, Any], state: State, started: datetime | None, finished: datetime | None, code: int
) -> None:
    status = objects.container_status(answer)
    assert (status.state, status.started_at, status.finished_at, status.exit_code) == (state, started, finished, code)
    assert (status.pod, status.name, status.attempt, status.hash) == (POD, "main", 2, "h")
    assert (status.image, status.image_id, status.sandbox_id) == ("kube/web:latest", "sha256:1234", "box")
    assert status.error == answer["State"]["Error"]


def test_a_container_that_was_killed_for_its_memory() -> None:
    status = objects.container_status(
        inspected("exited", StartedAt=STARTED, FinishedAt=FINISHED, ExitCode=137, OOMKilled=True)
    )
    assert (status.exit_code, status.oom_killed) == (137, True)


@pytest.mark.parametrize(
    ("answer", "state", "ip", "pid"),
    [
        (inspected("running", StartedAt=STARTED), State.RUNNING, "10.244.0.2", 7),
        (inspected("exited", StartedAt=STARTED, FinishedAt=FINISHED), State.EXITED, "", 0),
    ],
    ids=["running", "exited"],
)
def test_a_sandboxs_state(answer: dict[str, Any], state: State, ip: str, pid: int) -> None:
    status = objects.sandbox_status(answer)
    assert (status.state, status.ip, status.pid, status.host_network) == (state, ip, pid, False)
    assert (status.pod, status.created_at) == (POD, at(25, 123_456))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (CREATED, at(25, 123_456)),
        ("2026-11-22T21:44:26.5+02:00", datetime(2026, 11, 22, 19, 44, 26, 500_000, tzinfo=UTC)),
        (STARTED, at(26)),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
    ],
    ids=["nanoseconds", "an offset", "whole seconds", "Go's zero time", "empty", "missing"],
)
def test_times_are_read_to_the_microsecond(text: str | None, moment: datetime | None) -> None:
    assert objects.parse_time(text) == moment


def test_an_images_names_are_its_tags_and_digests_without_dockers_placeholders() -> None:
    image = objects.image(
        {"Id": "sha256:1", "RepoTags": ["a:1", "<none>:<none>"], "RepoDigests": ["a@sha256:2"], "Size": 5}
    )
    assert (image.id, image.names, image.size) == ("sha256:1", ["a:1", "a@sha256:2"], 5)
    assert objects.image({"Id": "sha256:1", "RepoTags": None, "RepoDigests": None}).names == []
