"""What a securityContext comes to, and which pods a node refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kube.api.core import Pod
from kube.kubelet.admission import refusal
from kube.kubelet.configuration import ConfigError
from kube.kubelet.docker_objects import container_request, sandbox_request
from kube.kubelet.runtime import ContainerConfig, PodId, RuntimeFailure, SandboxConfig, Security
from kube.kubelet.security import needs_image_user, security
from tests.kubelet_node import FakeNode, condition, container, make_pod

POD = PodId("default", "web", "uid-1")


def made(rights: dict[str, Any], pod_rights: dict[str, Any] | None = None, image_user: str = "") -> Security:
    pod = make_pod("web", container(securityContext=rights), securityContext=pod_rights or {})
    return security(pod, pod.spec.containers[0], image_user, Path("/profiles"))


@pytest.mark.parametrize(
    ("rights", "pod_rights", "image_user", "user"),
    [
        pytest.param({}, {}, "", "", id="nobody says anything: as the image does"),
        pytest.param({"runAsUser": 1000}, {}, "", "1000", id="the container's user"),
        pytest.param({}, {"runAsUser": 1000}, "", "1000", id="the pod's user"),
        pytest.param({"runAsUser": 0}, {"runAsUser": 1000}, "", "0", id="the container's wins, even if it is root"),
        pytest.param({"runAsUser": 1000, "runAsGroup": 2000}, {}, "", "1000:2000", id="user and group"),
        pytest.param({"runAsGroup": 2000}, {}, "", "0:2000", id="a group alone: the image's user is root"),
        pytest.param({}, {"runAsGroup": 2000}, "app:app", "app:2000", id="a group alone: the image's user"),
        pytest.param({"runAsNonRoot": True}, {}, "1000", "", id="not root, and the image is not"),
        pytest.param({"runAsNonRoot": False}, {"runAsNonRoot": True}, "", "", id="the container may be root"),
    ],
)
def test_whom_it_runs_as(rights: dict[str, Any], pod_rights: dict[str, Any], image_user: str, user: str) -> None:
    assert made(rights, pod_rights, image_user).user == user


@pytest.mark.parametrize(
    ("rights", "image_user", "message"),
    [
        pytest.param({"runAsUser": 0}, "", "container's runAsUser breaks non-root policy", id="its user is root"),
        pytest.param({}, "", "container has runAsNonRoot and image will run as root", id="the image's user is root"),
        pytest.param({}, "0:5", "container has runAsNonRoot and image will run as root", id="by number"),
        pytest.param(
            {}, "app",
            "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root",
            id="nobody knows who the image's user is",
        ),
    ],
)  # fmt: skip
def test_root_where_root_is_forbidden(rights: dict[str, Any], image_user: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        made({**rights, "runAsNonRoot": True}, None, image_user)
    assert str(error.value) == f'{message} (pod: "web_default(uid-1)", container: main)'


@pytest.mark.parametrize(
    ("rights", "needed"),
    [
        ({}, False),
        ({"runAsUser": 5, "runAsNonRoot": True}, False),
        ({"runAsNonRoot": True}, True),
        ({"runAsGroup": 5}, True),
    ],
)
def test_the_image_is_only_asked_for_its_user_when_that_matters(rights: dict[str, Any], needed: bool) -> None:
    pod = make_pod("web", container(securityContext=rights))
    assert needs_image_user(pod, pod.spec.containers[0]) is needed


def host_config(rights: dict[str, Any], pod_rights: dict[str, Any] | None = None) -> dict[str, Any]:
    config = ContainerConfig(POD, "main", "kube/web", security=made(rights, pod_rights))
    found: dict[str, Any] = container_request(config, "box", "node", -1000, {})["HostConfig"]
    return found


@pytest.mark.parametrize(
    ("rights", "pod_rights", "expected"),
    [
        pytest.param({}, {}, {"Privileged": False, "ReadonlyRootfs": False}, id="nothing"),
        pytest.param({"privileged": True}, {}, {"Privileged": True}, id="privileged"),
        pytest.param({"readOnlyRootFilesystem": True}, {}, {"ReadonlyRootfs": True}, id="read-only root"),
        pytest.param(
            {"capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}, {},
            {"CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"]}, id="capabilities",
        ),
        pytest.param(
            {"allowPrivilegeEscalation": False}, {}, {"SecurityOpt": ["no-new-privileges"]}, id="no new privileges"
        ),
        pytest.param(
            {"seccompProfile": {"type": "Unconfined"}}, {"seccompProfile": {"type": "RuntimeDefault"}},
            {"SecurityOpt": ["seccomp=unconfined"]}, id="the container's seccomp profile wins",
        ),
        pytest.param(
            {"seccompProfile": {"type": "RuntimeDefault"}}, {"seccompProfile": {"type": "Unconfined"}},
            {"SecurityOpt": None}, id="the engine's own profile",
        ),
        pytest.param(
            {}, {"appArmorProfile": {"type": "Localhost", "localhostProfile": "mine"}},
            {"SecurityOpt": ["apparmor=mine"]}, id="an AppArmor profile of the node",
        ),
        pytest.param(
            {"seLinuxOptions": {"level": "s0:c1"}}, {"seLinuxOptions": {"level": "s0", "role": "r"}},
            {"SecurityOpt": ["label=level:s0:c1"]}, id="an SELinux label",
        ),
        pytest.param({"procMount": "Unmasked"}, {}, {"MaskedPaths": [], "ReadonlyPaths": []}, id="all of /proc"),
        pytest.param(
            {}, {"supplementalGroups": [5, 6], "fsGroup": 7}, {"GroupAdd": ["5", "6", "7"]}, id="groups"
        ),
    ],
)  # fmt: skip
def test_what_the_engine_is_told(rights: dict[str, Any], pod_rights: dict[str, Any], expected: dict[str, Any]) -> None:
    found = host_config(rights, pod_rights)
    assert {key: found.get(key) for key in expected} == expected


def test_a_seccomp_profile_of_the_node_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    rights = {"seccompProfile": {"type": "Localhost", "localhostProfile": "mine.json"}}
    pod = make_pod("web", container(securityContext=rights))
    assert security(pod, pod.spec.containers[0], "", tmp_path).seccomp == "{}"
    with pytest.raises(RuntimeFailure) as failure:
        security(pod, pod.spec.containers[0], "", tmp_path / "none")
    assert failure.value.reason == "CreateContainerError"
    assert str(failure.value).endswith("mine.json: no such file or directory")


def test_sysctls_are_the_sandbox_s() -> None:
    config = SandboxConfig(POD, sysctls={"net.ipv4.tcp_syncookies": "1"})
    assert sandbox_request(config, "node", "net", 0)["HostConfig"]["Sysctls"] == {"net.ipv4.tcp_syncookies": "1"}


def with_sysctl(name: str, **spec: Any) -> Pod:
    return make_pod(securityContext={"sysctls": [{"name": name, "value": "1"}]}, **spec)


@pytest.mark.parametrize(
    ("pod", "reason", "message"),
    [
        pytest.param(
            with_sysctl("kernel.msgmax"), "SysctlForbidden", 'forbidden sysctl: "kernel.msgmax" not allowlisted',
            id="a sysctl that is not safe",
        ),
        pytest.param(
            with_sysctl("net/ipv4/tcp_syncookies", hostNetwork=True), "SysctlForbidden",
            'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled', id="it is the node's",
        ),
        pytest.param(
            with_sysctl("kernel.shm_rmid_forced", hostIPC=True), "SysctlForbidden",
            'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host ipc enabled', id="it is the node's, too",
        ),
        pytest.param(
            make_pod("web", container(securityContext={"appArmorProfile": {"type": "RuntimeDefault"}})), "AppArmor",
            "Cannot enforce AppArmor: AppArmor is not enabled on the host", id="no AppArmor",
        ),
        pytest.param(
            make_pod(os={"name": "windows"}), "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS", id="another system",
        ),
    ],
)  # fmt: skip
def test_what_a_node_refuses(pod: Pod, reason: str, message: str) -> None:
    refused = refusal(pod, apparmor=False)
    assert refused is not None
    assert (refused.reason, refused.message) == (reason, message)


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(make_pod(), id="a plain pod"),
        pytest.param(with_sysctl("net.ipv4.tcp_syncookies"), id="a safe sysctl"),
        pytest.param(with_sysctl("net.core.somaxconn"), id="a sysctl that is allowed"),
        pytest.param(make_pod(securityContext={"appArmorProfile": {"type": "Unconfined"}}), id="no AppArmor wanted"),
    ],
)
def test_what_a_node_takes(pod: Pod) -> None:
    assert refusal(pod, allowed_sysctls=["net.core.*"], apparmor=False) is None


@pytest.mark.looptime
async def test_a_pod_that_is_refused_fails_and_nothing_of_it_is_made(node: FakeNode) -> None:
    await node.create("web", securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]})
    pod = await node.until(lambda p: p.status.phase == "Failed")
    assert (pod.status.reason, pod.status.message) == (
        "SysctlForbidden", 'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted',
    )  # fmt: skip
    assert condition(pod, "Ready").reason == "PodFailed"
    assert not node.runtime.calls
    # What kubectl shows is the first container's reason, if there is one, before the pod's own.
    assert pod.status.containerStatuses == []
    await node.kill_kubelet()
    node.start_kubelet()
    await node.until_runtime(lambda: node.kubelet.synced)
    await asyncio.sleep(10)
    assert (await node.pod()).status.containerStatuses == []
    assert node.recorder.messages("SysctlForbidden") == ['forbidden sysctl: "kernel.msgmax" not allowlisted']


@pytest.mark.looptime
async def test_a_container_that_must_not_be_root_waits_and_says_why(node: FakeNode) -> None:
    await node.create("web", container(securityContext={"runAsNonRoot": True}))
    pod = await node.until(lambda p: bool(p.status.containerStatuses) and state(p) == "CreateContainerConfigError")
    where = f'(pod: "web_default({pod.metadata.uid})", container: main)'
    message = f"container has runAsNonRoot and image will run as root {where}"
    assert node.recorder.messages("Failed") == [f"Error: {message}"]


def state(pod: Pod) -> str:
    waiting = pod.status.containerStatuses[0].state.waiting
    return "" if waiting is None else waiting.reason
