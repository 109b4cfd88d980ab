"""The Docker runtime passes the contract's suite on a real engine; and what only a real engine can show."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kube.kubelet.docker import DockerRuntime
from kube.kubelet.docker_engine import lowest_oom_score_adj
from kube.kubelet.runtime import (
    Change,
    ContainerConfig,
    EngineUnavailable,
    ImageNotFound,
    Mount,
    PortMapping,
    Resources,
    RuntimeFailure,
    SandboxConfig,
    SandboxStatus,
    Security,
    State,
)
from tests.own_node import OwnNode
from tests.runtime_contract import (
    DEAF,
    PATIENCE,
    RUNS,
    RuntimeContract,
    container,
    listening,
    log,
    look,
    new_pod,
    sandbox,
    start,
    until,
)


class TestDockerRuntime(RuntimeContract):
    """The contract."""


def running(box: SandboxStatus, script: str, name: str = "main") -> ContainerConfig:
    """The config of a container that runs a shell script."""
    return ContainerConfig(box.pod, name, "kube/web", command=["sh", "-c", script])


async def output(runtime: DockerRuntime, config: ContainerConfig, sandbox_id: str) -> str:
    """What a container writes until it has ended."""
    id = await runtime.create_container(sandbox_id, config)
    await runtime.start_container(id)
    async with asyncio.timeout(PATIENCE):
        return (await log(runtime, id, follow=True)).decode()


# A pod's containers share the sandbox's namespaces.


async def test_containers_of_a_pod_share_its_address_and_name(runtime: DockerRuntime) -> None:
    box = await sandbox(runtime)
    web = await runtime.create_container(box.id, ContainerConfig(box.pod, "web", "kube/web"))
    await runtime.start_container(web)
    said = await output(
        runtime,
        running(box, "hostname; until wget -qO- http://127.0.0.1/ 2>/dev/null; do sleep 0.05; done; ip addr show eth0"),
        box.id,
    )
    assert said.splitlines()[:2] == [box.pod.name, box.pod.name]
    assert f"inet {box.ip}/" in said


async def test_pods_reach_one_another_and_the_host_reaches_pods(runtime: DockerRuntime) -> None:
    box, other = await sandbox(runtime), await sandbox(runtime)
    web = await runtime.create_container(box.id, ContainerConfig(box.pod, "web", "kube/web"))
    await runtime.start_container(web)
    wget = f"until wget -qO- http://{box.ip}/ 2>/dev/null; do sleep 0.05; done"
    assert await output(runtime, running(other, wget), other.id) == f"{box.pod.name}\n"
    assert await get(box.ip, 80) == box.pod.name


async def get(host: str, port: int) -> str:
    """The body at `/`."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    _, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return body.decode().strip()


async def test_a_host_port_leads_to_the_pod_while_it_runs(runtime: DockerRuntime) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pod = new_pod()
    ports = [PortMapping(80, port, host_ip="127.0.0.1"), PortMapping(53, port, "UDP", "127.0.0.1")]
    box = await runtime.run_sandbox(SandboxConfig(pod, hostname=pod.name, ports=ports))
    web = await runtime.create_container(box.id, ContainerConfig(pod, "web", "kube/web"))
    await runtime.start_container(web)
    said = ""
    async with asyncio.timeout(PATIENCE):
        while said != pod.name:
            with contextlib.suppress(ConnectionResetError):  # the engine's proxy is there before the pod's server is
                said = await get("127.0.0.1", port)
    other = new_pod()
    with pytest.raises(RuntimeFailure, match="port is already allocated"):
        await runtime.run_sandbox(SandboxConfig(other, ports=ports))
    assert [one.id for one in await runtime.list_sandboxes()] == [box.id]
    await runtime.stop_sandbox(box.id)
    with pytest.raises(ConnectionRefusedError):
        await get("127.0.0.1", port)
    await runtime.run_sandbox(SandboxConfig(other, ports=ports))


# What a container is given.


async def test_a_container_gets_what_its_config_says(runtime: DockerRuntime, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("given\n")
    box = await sandbox(runtime)
    script = (
        'echo "$GREETING|$EMPTY|$(id -u):$(id -g)|$(pwd)|$0 $1"; cat /in/file; echo made >/out/file; '
        "echo no 2>/dev/null >/in/file || echo read-only"
    )
    config = ContainerConfig(
        box.pod,
        "main",
        "kube/web",
        command=["sh", "-c"],
        args=[script, "zero", "one"],
        env=[("GREETING", "hello=you\nthere"), ("EMPTY", "")],
        working_dir="/www",
        security=Security(user="0:65534"),
        mounts=[
            Mount(str(tmp_path / "in"), "/in", read_only=True),
            Mount(str(tmp_path / "new" / "out"), "/out"),
        ],
    )
    assert await output(runtime, config, box.id) == ("hello=you\nthere||0:65534|/www|zero one\ngiven\nread-only\n")
    assert (tmp_path / "new" / "out" / "file").read_text() == "made\n"


async def test_without_a_command_the_images_own_runs_and_with_args_only_these_replace_its_cmd(
    runtime: DockerRuntime,
) -> None:
    box = await sandbox(runtime)
    config = ContainerConfig(box.pod, "main", "kube/web", args=["echo", "args alone"])
    assert await output(runtime, config, box.id) == "args alone\n"
    config = ContainerConfig(box.pod, "other", "kube/web", command=["echo", "-n"])
    assert await output(runtime, config, box.id) == ""  # the image's cmd is not appended to the command


async def test_limits_reach_the_engine(runtime: DockerRuntime, node: OwnNode) -> None:
    box = await sandbox(runtime)
    limits = Resources(cpu_shares=512, cpu_quota=50_000, cpu_period=100_000, memory=32 << 20, oom_score_adj=900)
    id = await runtime.create_container(box.id, replace(container(box), resources=limits))
    host = node.client.inspect_container(id)["HostConfig"]
    assert {name: host[name] for name in ("CpuShares", "CpuQuota", "CpuPeriod", "Memory", "OomScoreAdj")} == {
        "CpuShares": 512,
        "CpuQuota": 50_000,
        "CpuPeriod": 100_000,
        "Memory": 32 << 20,
        "OomScoreAdj": 900,
    }


async def test_a_container_that_takes_too_much_memory_is_killed_for_it(runtime: DockerRuntime) -> None:
    box = await sandbox(runtime)
    script = "x=$(head -c 4000000 /dev/zero | tr '\\0' x); while :; do x=$x$x; done"
    config = replace(running(box, script), resources=Resources(memory=16 << 20))
    id = await runtime.create_container(box.id, config)
    await runtime.start_container(id)
    status = await until(runtime, id)
    assert (status.state, status.exit_code, status.oom_killed) == (State.EXITED, 137, True)


async def test_a_score_that_the_engine_cannot_give_is_raised_to_one_it_can_and_said_once(
    runtime: DockerRuntime, node: OwnNode, caplog: pytest.LogCaptureFixture
) -> None:
    lowest = lowest_oom_score_adj(node.socket)
    box = await sandbox(runtime)
    config = replace(running(box, "cat /proc/self/oom_score_adj"), resources=Resources(oom_score_adj=-997))
    assert await output(runtime, config, box.id) == f"{max(-997, lowest)}\n"
    assert await output(runtime, replace(config, attempt=1), box.id) == f"{max(-997, lowest)}\n"
    assert sum("oom_score_adj" in message for message in caplog.messages) == int(lowest > -997)


async def test_a_container_that_the_engine_refuses_is_an_error_that_says_why(runtime: DockerRuntime) -> None:
    box = await sandbox(runtime)
    config = replace(container(box), mounts=[Mount("/tmp", "relative")])
    with pytest.raises(RuntimeFailure, match="invalid mount path") as failure:
        await runtime.create_container(box.id, config)
    assert failure.value.reason == "CreateContainerError"
    id = await runtime.create_container(box.id, replace(container(box), security=Security(user="nobody-knows")))
    with pytest.raises(RuntimeFailure, match="unable to find user nobody-knows") as failure:
        await runtime.start_container(id)
    assert failure.value.reason == "RunContainerError"
    status = await look(runtime, id)
    assert (status.state, status.exit_code) == (State.EXITED, 128)


async def test_a_process_that_somebody_kills_shows_its_signal(runtime: DockerRuntime, node: OwnNode) -> None:
    id = await start(runtime, await sandbox(runtime), RUNS)
    await asyncio.to_thread(node.client.kill, id, "SIGKILL")
    status = await until(runtime, id)
    assert (status.exit_code, status.oom_killed) == (137, False)


# Whose containers are whose.


async def test_a_restarted_kubelet_finds_what_it_made(runtime: DockerRuntime, node: OwnNode) -> None:
    box = await sandbox(runtime)
    id = await start(runtime, box)
    await runtime.remove_container(await start(runtime, box, name="other"))
    again = node.runtime()
    try:
        assert await again.list_sandboxes() == await runtime.list_sandboxes() == [box]
        assert await again.list_containers() == await runtime.list_containers() == [await look(runtime, id)]
    finally:
        await again.close()


async def test_another_nodes_containers_are_neither_seen_nor_replaced(runtime: DockerRuntime, node: OwnNode) -> None:
    other = replace(node, name=f"{node.name}-other")
    others = other.runtime()
    try:
        pod = new_pod()
        box = await sandbox(others, pod)
        assert await runtime.list_sandboxes() == []
        with pytest.raises(RuntimeFailure, match="already in use"):
            await sandbox(runtime, pod)
        assert await others.list_sandboxes() == [box]
    finally:
        other.remove_containers()
        await others.close()


async def test_a_container_that_somebody_restarts_by_hand_is_seen_as_it_is(
    runtime: DockerRuntime, node: OwnNode
) -> None:
    box = await sandbox(runtime)
    id = await start(runtime, box)
    before = await look(runtime, id)
    async with asyncio.timeout(PATIENCE), listening(runtime) as changes:
        assert await anext(changes) == Change(None)
        await asyncio.to_thread(node.client.restart, id, 0)
        async for _ in changes:
            status = await look(runtime, id)
            if status.state is State.RUNNING and status.started_at != before.started_at:
                return


# Many at once.


async def test_graces_do_not_hold_up_other_calls(node: OwnNode) -> None:
    runtime = node.runtime(parallel=2)
    try:
        box = await sandbox(runtime)
        ids = [await start(runtime, box, DEAF, f"c{number}") for number in range(4)]
        stopping = [asyncio.create_task(runtime.stop_container(id, 600)) for id in ids]
        async with asyncio.timeout(PATIENCE):
            for _ in range(20):
                await runtime.list_containers()
            assert not any(task.done() for task in stopping)
            for id in ids:
                await runtime.remove_container(id)
            await asyncio.gather(*stopping)
    finally:
        await runtime.close()


async def test_logs_and_commands_that_last_do_not_hold_up_other_calls(node: OwnNode) -> None:
    runtime = node.runtime(parallel=2)
    try:
        id = await start(runtime, await sandbox(runtime))
        lasting: list[asyncio.Task[Any]] = [asyncio.create_task(log(runtime, id, follow=True)) for _ in range(10)]
        hanging: list[asyncio.Task[Any]] = [
            asyncio.create_task(runtime.exec(id, ["sleep", "600"], 600)) for _ in range(4)
        ]
        async with asyncio.timeout(PATIENCE):
            for _ in range(20):
                await runtime.list_containers()
        assert not any(task.done() for task in lasting + hanging)
        for task in hanging:
            task.cancel()
        await runtime.stop_container(id, 5)
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*lasting) == [b"ready\n"] * 10
    finally:
        await runtime.close()


async def test_the_event_loop_runs_on_while_many_pods_start(runtime: DockerRuntime) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    boxes = await asyncio.gather(*(sandbox(runtime) for _ in range(8)))
    ids = await asyncio.gather(*(start(runtime, box) for box in boxes))
    ticking.cancel()
    assert ticks > 20  # each of the many calls takes the time of several ticks
    assert len({box.ip for box in boxes}) == 8
    assert {status.id for status in await runtime.list_containers()} == set(ids)


async def test_short_commands_give_all_of_their_output(runtime: DockerRuntime) -> None:
    id = await start(runtime, await sandbox(runtime))
    for number in range(30):
        result = await runtime.exec(id, ["echo", str(number)], 20)
        assert (result.exit_code, result.output) == (0, f"{number}\n".encode())


# Logs.


async def test_a_large_log_is_streamed_in_order_and_at_the_readers_pace(runtime: DockerRuntime) -> None:
    box = await sandbox(runtime)
    config = running(box, 'i=0; while [ $i -lt 40000 ]; do echo "$i $0"; i=$((i+1)); done')
    config = replace(config, args=["x" * 120])
    id = await runtime.create_container(box.id, config)
    await runtime.start_container(id)
    rest, expected, chunks = b"", 0, 0
    async with asyncio.timeout(60):
        async for chunk in runtime.logs(id, follow=True):
            chunks += 1
            assert len(chunk) < 1 << 20
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                assert line == b"%d %s" % (expected, b"x" * 120)
                expected += 1
    assert (expected, rest) == (40000, b"")
    assert chunks > 10


async def test_a_log_that_has_no_end_is_turned_over(node: OwnNode) -> None:
    runtime = node.runtime(log_size=10_000, log_files=2)
    box = await sandbox(runtime)
    id = await runtime.create_container(box.id, running(box, 'seq 1 20000; echo "the end"'))
    await runtime.start_container(id)
    kept = b"".join([chunk async for chunk in runtime.logs(id, follow=True)])
    kept = b"".join([chunk async for chunk in runtime.logs(id)])
    assert kept.endswith(b"20000\nthe end\n"), "the newest stays"
    assert len(kept) < 20_000 < len(b"".join(b"%d\n" % number for number in range(1, 20001)))
    await runtime.close()


async def test_both_streams_of_a_container_and_those_of_a_terminal_are_in_its_log(runtime: DockerRuntime) -> None:
    box = await sandbox(runtime)
    script = "echo out; echo err >&2"
    assert sorted((await output(runtime, running(box, script), box.id)).split()) == ["err", "out"]
    terminal = replace(running(box, script, "terminal"), tty=True)
    assert await output(runtime, terminal, box.id) == "out\r\nerr\r\n"


# Images.


async def test_a_registry_that_never_answers_is_given_up(node: OwnNode) -> None:
    runtime = node.runtime(pull_silence=0.5)
    silent = socket.create_server(("127.0.0.1", 0))  # accepted by the kernel, and by nobody else
    port = silent.getsockname()[1]
    try:
        with pytest.raises(RuntimeFailure, match="no progress") as failure:
            await runtime.pull(f"127.0.0.1:{port}/none")
        assert failure.value.reason == "ErrImagePull"
    finally:
        silent.close()
        await runtime.close()


async def test_an_image_goes_with_all_its_names_unless_a_container_is_of_it(
    runtime: DockerRuntime, node: OwnNode
) -> None:
    box = await sandbox(runtime)
    made: Any = node.client.commit(await start(runtime, box), repository=node.name, tag="one")
    node.client.tag(made["Id"], node.name, "two")
    id = await runtime.create_container(box.id, ContainerConfig(box.pod, "of-it", f"{node.name}:one"))
    with pytest.raises(RuntimeFailure, match="conflict"):
        await runtime.remove_image(made["Id"])
    await runtime.remove_container(id)
    for _ in range(2):
        await runtime.remove_image(made["Id"])
        assert await runtime.image(f"{node.name}:one") is await runtime.image(f"{node.name}:two") is None
    assert Path(await runtime.root()).is_absolute()


async def test_an_image_that_its_registry_does_not_have_is_not_found(runtime: DockerRuntime) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            first = await reader.readexactly(1)
            if first == b"\x16":  # the engine tries TLS first
                return
            _, path, *_ = (await reader.readuntil(b"\r\n\r\n")).split()
            status, body = b"200 OK", b"{}"
            if path != b"/v2/":
                status = b"404 Not Found"
                body = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'
            writer.write(
                b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nDocker-Distribution-Api-Version: registry/2.0\r\n"
                b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body)
            )
            await writer.drain()

    registry = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = registry.sockets[0].getsockname()[1]
    async with registry:
        with pytest.raises(ImageNotFound, match="manifest unknown") as failure:
            await runtime.pull(f"127.0.0.1:{port}/none")
    assert failure.value.reason == "ErrImagePull"


# The pod network.


async def test_the_pod_network_is_made_once_and_made_again_when_it_is_gone(
    runtime: DockerRuntime, node: OwnNode
) -> None:
    await asyncio.gather(*(runtime.ensure_network() for _ in range(4)))
    assert len(node.client.networks(names=[node.network])) == 1
    node.client.remove_network(node.network)
    assert (await sandbox(runtime)).ip.startswith(node.cidr.removesuffix("0/24"))


async def test_a_pod_network_with_another_range_is_an_error_that_says_what_to_do(
    runtime: DockerRuntime, node: OwnNode
) -> None:
    await runtime.ensure_network()
    other = node.runtime(pod_cidr="10.252.0.0/16")
    same_range = node.runtime(network=f"{node.network}-2", bridge=f"{node.bridge}b")
    try:
        with pytest.raises(RuntimeFailure, match=f"has the range {node.cidr}, not 10.252.0.0/16"):
            await other.ensure_network()
        with pytest.raises(RuntimeFailure, match=f"the Docker network {node.network} has {node.cidr}"):
            await same_range.ensure_network()
    finally:
        await other.close()
        await same_range.close()


# No engine.


async def test_without_an_engine_every_call_says_so_and_the_news_wait(tmp_path: Path) -> None:
    runtime = DockerRuntime("nobody", socket=str(tmp_path / "docker.sock"))
    try:
        for call in (runtime.info(), runtime.list_containers(), runtime.stop_container("0" * 64, 5)):
            with pytest.raises(EngineUnavailable, match="does not answer"):
                await call
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), listening(runtime) as changes:
                await anext(changes)
    finally:
        await runtime.close()


async def test_closing_leaves_containers_alone(node: OwnNode) -> None:
    runtime = node.runtime()
    id = await start(runtime, await sandbox(runtime), RUNS)
    await runtime.close()
    assert node.client.inspect_container(id)["State"]["Running"]
