"""Pods on a real Docker engine: what runs in them, what it sees, and how it ends.

The apiserver is real, over the store in memory; the kubelet is real.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kube.api.core import ConfigMap, Pod, Secret, Service
from kube.kubelet.docker import DockerRuntime
from kube.kubelet.runtime import State
from tests.kubelet_node import TestNode, condition, is_ready
from tests.own_node import OwnNode

Node = TestNode[DockerRuntime]


@pytest.fixture
async def kubelet(runtime: DockerRuntime, node: OwnNode, tmp_path: Path) -> AsyncIterator[Node]:
    test_node = TestNode(tmp_path, runtime, name=node.name, ip="127.0.0.1")
    async with test_node.running():
        yield test_node


def sh(script: str, name: str = "main", **more: Any) -> dict[str, Any]:
    """A container that runs a shell script."""
    command = ["sh", "-c", script]
    return {"name": name, "image": "kube/web", "imagePullPolicy": "IfNotPresent", "command": command, **more}


def web(name: str = "web", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "kube/web", "imagePullPolicy": "IfNotPresent", **more}


FOREVER = "trap 'exit 0' TERM; while true; do sleep 0.1; done"


async def container_id(node: Node, pod: Pod, name: str) -> str:
    _, containers = await node.runtime.pod_status(pod.metadata.uid)
    return next(c.id for c in containers if c.name == name and c.state is State.RUNNING)


async def run(node: Node, pod: Pod, name: str, script: str) -> str:
    """What a script says that is run in a container."""
    result = await node.runtime.exec(await container_id(node, pod, name), ["sh", "-c", script], 10)
    assert result.exit_code == 0, result.output
    return result.output.decode().strip()


async def log(node: Node, pod: Pod, name: str = "main") -> str:
    _, containers = await node.runtime.pod_status(pod.metadata.uid)
    id = next(c.id for c in containers if c.name == name)
    return b"".join([chunk async for chunk in node.runtime.logs(id)]).decode()


async def test_the_containers_of_a_pod_share_one_network(kubelet: Node) -> None:
    pod = await kubelet.create("two", web(), sh(FOREVER, "side"))
    ready = await kubelet.until(is_ready, "two")
    assert await run(kubelet, pod, "side", "wget -q -O - http://127.0.0.1/") == "two"
    assert await run(kubelet, pod, "side", "hostname") == "two"
    async with aiohttp.ClientSession() as session, session.get(f"http://{ready.status.podIP}/") as answer:
        assert (await answer.text()).strip() == "two"


async def test_what_a_container_finds_in_its_environment(kubelet: Node) -> None:
    spec = {"metadata": {"name": "shop", "namespace": "default"}, "spec": {"ports": [{"port": 80}]}}
    service = await kubelet.api.create(Service.parse(spec))
    await asyncio.sleep(0)
    env = [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "WHERE", "value": "$(SHOP_SERVICE_HOST):$(SHOP_SERVICE_PORT)"},
    ]
    meta = {"name": "settings", "namespace": "default"}
    await kubelet.api.create(ConfigMap.parse({"metadata": meta, "data": {"COLOR": "red"}}))
    await kubelet.api.create(Secret.parse({"metadata": meta, "type": "Opaque", "stringData": {"password": "a b$"}}))
    env.append({"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "settings", "key": "password"}}})
    env_from = [{"configMapRef": {"name": "settings"}}, {"prefix": "P_", "configMapRef": {"name": "settings"}}]
    await kubelet.until_runtime(lambda: bool(kubelet.services()))
    pod = await kubelet.create("web", sh(FOREVER, env=env, envFrom=env_from, args=["$(WHERE)"]))
    ready = await kubelet.until(is_ready)
    found = dict(line.split("=", 1) for line in (await run(kubelet, pod, "main", "env")).splitlines())
    assert found["IP"] == ready.status.podIP
    assert found["WHERE"] == f"{service.spec.clusterIP}:80"
    assert found["SHOP_PORT_80_TCP_ADDR"] == service.spec.clusterIP
    assert found["PASSWORD"] == "a b$"
    assert (found["COLOR"], found["P_COLOR"]) == ("red", "red")


async def test_a_static_pod_runs_is_shown_and_ends_with_its_manifest(kubelet: Node) -> None:
    path, name = kubelet.root / "manifests/web.yaml", f"web-{kubelet.name}"
    path.parent.mkdir()
    body = {"containers": [web()], "terminationGracePeriodSeconds": 1}
    path.write_bytes(orjson.dumps({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web"}, "spec": body}))
    mirror = await kubelet.until_there(is_ready, name)
    async with aiohttp.ClientSession() as session, session.get(f"http://{mirror.status.podIP}/") as answer:
        assert (await answer.text()).strip() == name
    path.unlink()
    await kubelet.until_gone(name)
    await kubelet.until_runtime(lambda: not kubelet.kubelet.workers)
    assert not await kubelet.runtime.list_containers()


async def test_an_empty_dir_is_shared_and_outlives_a_container(kubelet: Node) -> None:
    mounts = [{"name": "data", "mountPath": "/data"}]
    read = [{"name": "data", "mountPath": "/data", "readOnly": True, "subPath": "below"}]
    pod = await kubelet.create(
        "web", sh(FOREVER, "a", volumeMounts=mounts), sh(FOREVER, "b", volumeMounts=read),
        volumes=[{"name": "data", "emptyDir": {}}],
    )  # fmt: skip
    await kubelet.until(is_ready)
    await run(kubelet, pod, "a", "echo hello > /data/below/file")
    assert await run(kubelet, pod, "b", "cat /data/file; touch /data/x 2>/dev/null || echo read-only") == (
        "hello\nread-only"
    )
    await kubelet.runtime.stop_container(await container_id(kubelet, pod, "a"), 0)
    await kubelet.until(lambda p: is_ready(p) and p.status.containerStatuses[0].restartCount == 1)
    assert await run(kubelet, pod, "a", "cat /data/below/file") == "hello"


async def test_an_empty_dir_in_memory_has_its_size_and_goes_with_the_pod(kubelet: Node) -> None:
    mounts = [{"name": "data", "mountPath": "/data"}]
    pod = await kubelet.create(
        "web", sh(FOREVER, volumeMounts=mounts),
        volumes=[{"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
    )  # fmt: skip
    await kubelet.until(is_ready)
    assert await run(kubelet, pod, "main", "mount | grep ' /data ' | cut -d' ' -f5") == "tmpfs"
    full = "dd if=/dev/zero of=/data/x bs=1k count=2048 2>&1 | tail -1; du -k /data/x | cut -f1"
    assert (await run(kubelet, pod, "main", full)).splitlines()[-1] == "1024"
    await kubelet.delete(grace=1)
    await kubelet.until_gone()
    await kubelet.until_runtime(lambda: not kubelet.kubelet.workers)
    assert not (kubelet.root / "pods" / pod.metadata.uid).exists()


async def test_a_file_and_a_directory_of_the_host(kubelet: Node, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host")
    mounts = [{"name": "file", "mountPath": "/file"}, {"name": "new", "mountPath": "/new"}]
    pod = await kubelet.create(
        "web", sh(FOREVER, volumeMounts=mounts),
        volumes=[
            {"name": "file", "hostPath": {"path": f"{tmp_path}/file", "type": "File"}},
            {"name": "new", "hostPath": {"path": f"{tmp_path}/new", "type": "DirectoryOrCreate"}},
        ],
    )  # fmt: skip
    await kubelet.until(is_ready)
    assert await run(kubelet, pod, "main", "cat /file; echo hi > /new/it") == "from the host"
    assert (tmp_path / "new/it").read_text() == "hi\n"
    await kubelet.delete(grace=1)
    await kubelet.until_gone()
    await kubelet.until_runtime(lambda: not kubelet.kubelet.workers)
    assert (tmp_path / "new/it").exists()


async def test_what_the_host_mounts_later_is_seen_where_the_pod_wants_it(kubelet: Node, tmp_path: Path) -> None:
    host = tmp_path / "host"
    (host / "later").mkdir(parents=True)
    _mount("--bind", str(host), str(host))
    try:
        _mount("--make-rshared", str(host))
        mounts = [
            {"name": "host", "mountPath": "/sees", "mountPropagation": "HostToContainer"},
            {"name": "host", "mountPath": "/blind"},
        ]
        volumes = [{"name": "host", "hostPath": {"path": str(host)}}]
        pod = await kubelet.create("web", sh(FOREVER, volumeMounts=mounts), volumes=volumes)
        await kubelet.until(is_ready)
        _mount("-t", "tmpfs", "tmpfs", str(host / "later"))
        (host / "later/file").write_text("new")
        assert await run(kubelet, pod, "main", "cat /sees/later/file; ls /blind/later") == "new"
        await kubelet.delete(grace=0)
        await kubelet.until_gone()
    finally:
        _unmount(host / "later")
        _unmount(host)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _unmount(path: Path) -> None:
    subprocess.run(["umount", "--lazy", str(path)], capture_output=True)


@pytest.mark.parametrize(
    "probe",
    [
        pytest.param({"httpGet": {"port": "http", "path": "/"}}, id="http, the port by name"),
        pytest.param({"tcpSocket": {"port": 80}}, id="tcp"),
        pytest.param({"exec": {"command": ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1/"]}}, id="exec"),
    ],
)
async def test_a_pod_is_ready_soon_after_its_probe_would_succeed(kubelet: Node, probe: dict[str, Any]) -> None:
    ports = [{"name": "http", "containerPort": 80}]
    await kubelet.create("web", web(readinessProbe=probe, ports=ports))
    await kubelet.until(is_ready, within=5)


async def test_a_liveness_probe_that_hangs_costs_the_container_its_life(kubelet: Node) -> None:
    probe = {"exec": {"command": ["sleep", "100"]}, "periodSeconds": 1, "failureThreshold": 2}
    await kubelet.create("web", sh(FOREVER, livenessProbe=probe))
    await kubelet.until(lambda p: restarts(p) == 1, within=15)
    assert 'Liveness probe failed: command timed out: "sleep 100" timed out after 1s' in (
        kubelet.recorder.messages("Unhealthy")
    )


def restarts(pod: Pod) -> int:
    return sum(status.restartCount for status in pod.status.containerStatuses)


async def test_a_container_is_asked_to_end_and_says_goodbye(kubelet: Node) -> None:
    await kubelet.create("web", sh("trap 'sleep 0.5; exit 7' TERM; while true; do sleep 0.1; done"))
    await kubelet.until(is_ready)
    await kubelet.delete(grace=20)
    ended = await kubelet.until(lambda p: p.status.containerStatuses[0].state.terminated is not None, within=5)
    state = ended.status.containerStatuses[0].state.terminated
    assert state is not None
    assert (state.exitCode, state.reason) == (7, "Error")
    assert await kubelet.until_gone() < 2


async def test_a_container_that_ignores_it_is_killed_when_its_grace_is_over(kubelet: Node) -> None:
    await kubelet.create("web", sh("trap '' TERM; while true; do sleep 0.1; done"))
    await kubelet.until(is_ready)
    await kubelet.delete(grace=2)
    assert 1.5 < await kubelet.until_gone() < 6


@pytest.mark.parametrize(
    ("script", "code", "reason", "phase"),
    [
        pytest.param("exit 0", 0, "Completed", "Succeeded", id="success"),
        pytest.param("exit 3", 3, "Error", "Failed", id="failure"),
        pytest.param("sleep 5 & kill -9 $!; wait $!; exit $?", 137, "Error", "Failed", id="killed by a signal"),
    ],
)
async def test_how_a_job_ends(kubelet: Node, script: str, code: int, reason: str, phase: str) -> None:
    pod = await kubelet.create("web", sh(f"echo working; {script}"), restartPolicy="Never")
    ended = await kubelet.until(lambda p: p.status.phase == phase)
    state = ended.status.containerStatuses[0].state.terminated
    assert state is not None
    assert (state.exitCode, state.reason) == (code, reason)
    assert (await log(kubelet, pod)).startswith("working\n")
    assert condition(ended, "Ready").status == "False"


async def test_a_container_that_takes_too_much_memory_is_said_to(kubelet: Node) -> None:
    eat = "x=a; while true; do x=$x$x$x$x; done"
    limits = {"limits": {"memory": "16Mi"}}
    await kubelet.create("web", sh(eat, resources=limits), restartPolicy="Never")
    ended = await kubelet.until(lambda p: p.status.phase == "Failed")
    state = ended.status.containerStatuses[0].state.terminated
    assert state is not None
    assert (state.exitCode, state.reason) == (137, "OOMKilled")


async def test_limits_reach_the_kernel(kubelet: Node, node: OwnNode) -> None:
    resources = {"requests": {"cpu": "250m"}, "limits": {"cpu": "500m", "memory": "64Mi"}}
    pod = await kubelet.create("web", sh(FOREVER, resources=resources))
    await kubelet.until(is_ready)
    host = node.client.inspect_container(await container_id(kubelet, pod, "main"))["HostConfig"]
    assert (host["CpuShares"], host["CpuQuota"], host["Memory"]) == (256, 50_000, 64 * 2**20)


async def test_a_command_that_is_not_there(kubelet: Node) -> None:
    await kubelet.create("web", web("main", command=["/no/such"]), restartPolicy="Never")
    ended = await kubelet.until(lambda p: p.status.phase == "Failed")
    state = ended.status.containerStatuses[0].state.terminated
    assert state is not None
    assert (state.exitCode, state.reason) == (127, "ContainerCannotRun")
    assert "/no/such" in state.message


async def test_a_host_port_leads_to_the_pod(kubelet: Node) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    await kubelet.create("web", web(ports=[{"containerPort": 80, "hostPort": port, "hostIP": "127.0.0.1"}]))
    await kubelet.until(is_ready)
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as answer:
        assert (await answer.text()).strip() == "web"


async def test_on_the_host_s_network(kubelet: Node) -> None:
    pod = await kubelet.create("web", sh(FOREVER), hostNetwork=True)
    ready = await kubelet.until(is_ready)
    assert (ready.status.podIP, ready.status.hostIP) == ("127.0.0.1", "127.0.0.1")
    assert await run(kubelet, pod, "main", "hostname") == os.uname().nodename


async def test_a_grpc_probe_asks_at_the_pod_s_address(kubelet: Node) -> None:
    answers = {"status": "NOT_SERVING"}

    class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it comes without types
        async def Check(self, request: Any, context: Any) -> Any:  # as the service calls it
            return health_pb2.HealthCheckResponse(**answers)

    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(Health(), server)
    # No image here speaks gRPC, so we do, on the pod's network: the host's.
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        probe = {"grpc": {"port": port}, "periodSeconds": 1}
        await kubelet.create("web", sh(FOREVER, readinessProbe=probe), hostNetwork=True)
        await kubelet.until_runtime(lambda: "Unhealthy" in kubelet.recorder.reasons())
        assert not is_ready(await kubelet.pod())
        answers["status"] = "SERVING"
        await kubelet.until(is_ready)
    finally:
        await server.stop(None)
    words = 'Readiness probe failed: service unhealthy (responded with "NOT_SERVING")'
    assert words in kubelet.recorder.messages("Unhealthy")


async def test_a_restarted_kubelet_adopts_what_runs(kubelet: Node) -> None:
    await kubelet.create("web", web())
    before = await kubelet.until(is_ready)
    await kubelet.kill_kubelet()
    kubelet.start_kubelet()
    await kubelet.until_runtime(lambda: kubelet.kubelet.synced)
    await asyncio.sleep(0)
    await kubelet.create("other", web())
    await kubelet.until(is_ready, "other")
    after = await kubelet.pod()
    assert after.status == before.status


async def test_a_killed_container_and_a_killed_sandbox_come_back(kubelet: Node, node: OwnNode) -> None:
    pod = await kubelet.create("web", web())
    await kubelet.until(is_ready)
    node.client.kill(await container_id(kubelet, pod, "web"))
    await kubelet.until(lambda p: is_ready(p) and restarts(p) == 1)
    sandboxes, _ = await kubelet.runtime.pod_status(pod.metadata.uid)
    node.client.kill(sandboxes[0].id)
    await kubelet.until(lambda p: is_ready(p) and restarts(p) == 2, within=40)
    sandboxes, _ = await kubelet.runtime.pod_status(pod.metadata.uid)
    assert [s.attempt for s in sandboxes if s.state is State.RUNNING] == [1]


async def test_an_image_that_no_registry_has(kubelet: Node) -> None:
    image = f"127.0.0.1:{refusing()}/no/such:1"
    await kubelet.create("web", web("main", image=image))
    await kubelet.until(lambda p: reason(p) in ("ErrImagePull", "ImagePullBackOff"))
    await kubelet.until(lambda p: reason(p) == "ImagePullBackOff")
    assert any(text.startswith(f'Failed to pull image "{image}"') for text in kubelet.recorder.messages("Failed"))


def reason(pod: Pod) -> str:
    state = pod.status.containerStatuses[0].state if pod.status.containerStatuses else None
    return state.waiting.reason if state and state.waiting else ""


def refusing() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_the_kubelet_leaves_no_threads_behind(kubelet: Node) -> None:
    await kubelet.create("web", web())
    await kubelet.until(is_ready)
    await kubelet.delete(grace=0)
    await kubelet.until_runtime(lambda: not kubelet.kubelet.workers)
    assert threading.active_count() < 60
