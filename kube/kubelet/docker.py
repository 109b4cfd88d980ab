"""The container runtime on a real Docker engine.

What belongs to this kubelet is what carries its node's label; other containers of the engine are never touched. All
state is the engine's: a restarted kubelet finds its sandboxes and containers by their labels. Only what cannot change
is remembered (what `inspect` said of a container, until an event names it).

Where Kubernetes' dockershim differs: it lists by name, inspects every container at each look, and stops a container
with Docker's own `stop`, which holds a connection for the whole grace period.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import docker
import requests

from kube.kubelet import docker_objects as objects
from kube.kubelet.docker_engine import (
    SOCKET,
    TIMEOUT,
    Engine,
    Stream,
    demultiplexed,
    lowest_oom_score_adj,
    open_stream,
    status,
)
from kube.kubelet.docker_events import Events
from kube.kubelet.docker_images import PULL_SILENCE, DockerImages
from kube.kubelet.docker_network import ensure_network
from kube.kubelet.docker_process import DockerProcess, hijack
from kube.kubelet.loopback import connect_to_loopback
from kube.kubelet.runtime import (
    LOG_FILES,
    LOG_SIZE,
    NODE_NAME,
    POD_UID,
    Change,
    ContainerConfig,
    ContainerStatus,
    EngineInfo,
    ExecResult,
    NoSuchContainer,
    Process,
    RuntimeFailure,
    SandboxConfig,
    SandboxStatus,
    Usage,
)

EXEC_OUTPUT = 1 << 20
"""Bytes of a command's output that are kept; what is beyond is read and dropped."""

log = logging.getLogger(__name__)


class DockerRuntime(DockerImages):
    """A Runtime on the Docker engine at a unix socket. One for each kubelet."""

    def __init__(
        self,
        node_name: str,
        *,
        socket: str = SOCKET,
        network: str = "kube-pods",
        pod_cidr: str = "10.244.0.0/16",
        bridge: str = "kube0",
        parallel: int = 16,
        timeout: float = TIMEOUT,
        pull_silence: float = PULL_SILENCE,
        log_size: int = LOG_SIZE,
        log_files: int = LOG_FILES,
    ) -> None:
        """`log_size`: bytes of each file of a container's log."""
        self._node = node_name
        self._network, self._pod_cidr, self._bridge = network, pod_cidr, bridge
        self._masquerade = True
        super().__init__(Engine(socket, parallel=parallel, timeout=timeout), pull_silence)
        # By id: the state it was in, and what inspect said of it then, but for all that nobody asks for.
        self._inspected: dict[str, tuple[str, SandboxStatus | ContainerStatus]] = {}
        self._events = Events(self._engine, self._mine(), self._forget)
        self._log_options = {"max-size": str(log_size), "max-file": str(log_files)}
        self._score: int | None = None
        self._warned = False

    async def info(self) -> EngineInfo:
        version = await self._engine.call(lambda client: client.version())
        return EngineInfo(version["Version"])

    def set_pod_cidr(self, cidr: str) -> None:
        """Take the range that the Node was given. Its pods' addresses are the cluster's: Docker masquerades none."""
        self._pod_cidr, self._masquerade = cidr, False

    async def ensure_network(self) -> None:
        """Create the pod network unless it is there. Raises RuntimeFailure that says what is in its way."""
        if not self._pod_cidr:
            raise RuntimeFailure("cannot make the pods' network: the node has no podCIDR yet")
        name, cidr, bridge, masquerade = self._network, self._pod_cidr, self._bridge, self._masquerade
        await self._engine.call(lambda client: ensure_network(client, name, cidr, bridge, masquerade=masquerade))

    # What there is.

    async def list_sandboxes(self) -> list[SandboxStatus]:
        return (await self._list())[0]

    async def list_containers(self) -> list[ContainerStatus]:
        return (await self._list())[1]

    async def pod_status(self, uid: str) -> tuple[list[SandboxStatus], list[ContainerStatus]]:
        return await self._list(f"{POD_UID}={uid}")

    def _mine(self) -> str:
        return f"{NODE_NAME}={self._node}"

    async def _list(self, *labels: str) -> tuple[list[SandboxStatus], list[ContainerStatus]]:
        return await self._engine.call(lambda client: self._listed(client, labels))

    def _listed(
        self, client: docker.APIClient, labels: Sequence[str]
    ) -> tuple[list[SandboxStatus], list[ContainerStatus]]:
        found = client.containers(all=True, filters={"label": [self._mine(), *labels]})
        if not labels:
            present = {item["Id"] for item in found}
            for gone in [id for id in list(self._inspected) if id not in present]:
                self._forget(gone)
        sandboxes, containers = [], []
        for item in found:
            match self._look(client, item["Id"], item["State"]):
                case SandboxStatus() as sandbox:
                    sandboxes.append(sandbox)
                case ContainerStatus() as container:
                    containers.append(container)
        return objects.sorted_newest_first(sandboxes), objects.sorted_newest_first(containers)

    def _look(self, client: docker.APIClient, id: str, state: str) -> SandboxStatus | ContainerStatus | None:
        """What inspect says; None if the container is gone. Asks only when the state is another than the last time."""
        known = self._inspected.get(id)
        if known and known[0] == state:
            return known[1]
        try:
            inspected: dict[str, Any] = client.inspect_container(id)
        except docker.errors.NotFound:
            return None
        is_sandbox = objects.is_sandbox(inspected["Config"].get("Labels") or {})
        status = objects.sandbox_status(inspected) if is_sandbox else objects.container_status(inspected)
        # A created container is about to be started, or has failed to: the list cannot tell these apart.
        if inspected["State"]["Status"] in ("running", "exited"):
            self._inspected[id] = inspected["State"]["Status"], status
        return status

    def _forget(self, id: str | None) -> None:
        """Something happened to this container, or to an unknown one: what was known of it may be wrong."""
        if id is None:
            self._inspected.clear()
        else:
            self._inspected.pop(id, None)

    # Sandboxes.

    async def run_sandbox(self, config: SandboxConfig) -> SandboxStatus:
        await self._find_lowest_score()
        request = objects.sandbox_request(config, self._node, self._network, self._lowest_score)
        try:
            inspected = await self._engine.call(lambda client: self._run_sandbox(client, dict(request)))
        except RuntimeFailure as error:
            if not (status(error) == 404 and self._network in str(error)):
                raise
            await self.ensure_network()
            inspected = await self._engine.call(lambda client: self._run_sandbox(client, dict(request)))
        return objects.sandbox_status(inspected)

    def _run_sandbox(self, client: docker.APIClient, request: dict[str, Any]) -> dict[str, Any]:
        id = self._create(client, request)
        try:
            client.start(id)
            inspected: dict[str, Any] = client.inspect_container(id)
        except docker.errors.APIError:
            with contextlib.suppress(docker.errors.APIError):
                client.remove_container(id, force=True, v=True)
            raise
        return inspected

    def _create(self, client: docker.APIClient, request: dict[str, Any]) -> str:
        name = request.pop("name")
        create: Any = client.create_container_from_config
        try:
            created = create(request, name)
        except docker.errors.APIError as error:
            if error.status_code != 409:
                raise
            with contextlib.suppress(docker.errors.NotFound):
                leftover = client.inspect_container(name)
                if (leftover["Config"].get("Labels") or {}).get(NODE_NAME) != self._node:
                    raise
                log.info("removing the container %s, left over under the name %s", leftover["Id"][:12], name)
                _remove(client, leftover["Id"])
            created = create(request, name)
        return str(created["Id"])

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await self._kill(sandbox_id, "SIGKILL")

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.remove_container(sandbox_id)

    # Containers.

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        await self._find_lowest_score()
        if config.resources.oom_score_adj < self._lowest_score and not self._warned:
            self._warned = True
            log.warning(
                "the engine cannot lower oom_score_adj below %d (it lacks CAP_SYS_RESOURCE): containers that should "
                "have %d get that",
                self._lowest_score,
                config.resources.oom_score_adj,
            )
        request = objects.container_request(config, sandbox_id, self._node, self._lowest_score, self._log_options)
        try:
            return await self._engine.call(lambda client: self._create(client, request))
        except RuntimeFailure as error:
            error.reason = error.reason or "CreateContainerError"
            raise

    async def start_container(self, container_id: str) -> None:
        try:
            await self._engine.call(lambda client: client.start(container_id))
        except RuntimeFailure as error:
            error.reason = error.reason or "RunContainerError"
            raise
        finally:
            self._forget(container_id)

    async def stop_container(self, container_id: str, grace: float) -> None:
        if grace > 0:
            try:
                inspected = await self._engine.call(lambda client: client.inspect_container(container_id))
            except NoSuchContainer:
                return
            if not inspected["State"]["Running"]:
                return
            signal = inspected["Config"].get("StopSignal") or "SIGTERM"
            with self._events.exit_of(container_id) as exited:
                if not await self._kill(container_id, signal):
                    return
                if await self._ended(container_id, exited, grace):
                    return
        await self._kill(container_id, "SIGKILL")

    async def _kill(self, id: str, signal: str) -> bool:
        """Send a signal; False if there was nothing to send it to. SIGKILL: returns when the container has ended."""
        try:
            await self._engine.call(lambda client: client.kill(id, signal))
        except NoSuchContainer:
            return False
        except RuntimeFailure as error:
            if status(error) == 409:  # it is not running
                return False
            raise
        finally:
            self._forget(id)
        return True

    async def _ended(self, id: str, exited: asyncio.Event, grace: float) -> bool:
        """Whether a container ends within `grace`. Woken by its event; looks now and then, should the event be lost."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + grace, 0.5
        while (left := deadline - loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(pause, left)):
                    await exited.wait()
            exited.clear()
            pause = min(pause * 2, 8)
            try:
                inspected = await self._engine.call(lambda client: client.inspect_container(id))
            except NoSuchContainer:
                return True
            if not inspected["State"]["Running"]:
                return True
        return False

    async def remove_container(self, container_id: str) -> None:
        try:
            await self._engine.call(lambda client: _remove(client, container_id))
        finally:
            self._forget(container_id)

    async def usage(self, container_id: str) -> Usage:
        return objects.usage(await self._engine.call(lambda client: _stats(client, container_id)))

    async def exec(self, container_id: str, command: Sequence[str], timeout: float | None) -> ExecResult:
        output, kept = [], 0
        async with asyncio.timeout(timeout):
            created = await self._engine.call(lambda client: client.exec_create(container_id, list(command)))
            stream = self._engine.stream(lambda client: _exec(client, created["Id"]))
            async with contextlib.aclosing(stream) as batches:
                async for batch in batches:
                    for chunk in batch:
                        output.append(chunk[: EXEC_OUTPUT - kept])
                        kept += len(output[-1])
            code = await self._exit_code(created["Id"])
        return ExecResult(code, b"".join(output))

    async def _exit_code(self, exec_id: str) -> int:
        pause = 0.005
        while True:
            result = await self._engine.call(lambda client: client.exec_inspect(exec_id))
            if result["ExitCode"] is not None:
                return int(result["ExitCode"])
            # The output may end a moment before the engine knows of the exit.
            await asyncio.sleep(pause)
            pause *= 2

    async def start_exec(
        self, container_id: str, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> Process:
        id = await self._engine.call(
            lambda client: client.exec_create(
                container_id, list(command), stdin=stdin, stdout=stdout, stderr=stderr, tty=tty
            )["Id"]
        )
        streams = await hijack(self._engine.path, f"/exec/{id}/start", {"Detach": False, "Tty": tty})

        async def resize(width: int, height: int) -> None:
            await self._engine.call(lambda client: client.exec_resize(id, height=height, width=width))

        return DockerProcess(*streams, framed=not tty, resize=resize, exit_code=lambda: self._exit_code(id))

    async def attach(self, container_id: str, *, stdin: bool, stdout: bool, stderr: bool) -> Process:
        config = (await self._engine.call(lambda client: client.inspect_container(container_id)))["Config"]
        wanted = "&".join(f"{name}={int(value)}" for name, value in (
            ("stream", True), ("stdin", stdin), ("stdout", stdout), ("stderr", stderr)
        ))  # fmt: skip
        streams = await hijack(self._engine.path, f"/containers/{container_id}/attach?{wanted}", None)

        async def resize(width: int, height: int) -> None:
            await self._engine.call(lambda client: client.resize(container_id, height=height, width=width))

        return DockerProcess(*streams, framed=not config["Tty"], resize=resize)

    async def port_forward(self, sandbox_id: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        inspected = await self._engine.call(lambda client: client.inspect_container(sandbox_id))
        if not inspected["State"]["Running"]:
            raise RuntimeFailure(f"the sandbox {sandbox_id} is not running")
        sandbox = objects.sandbox_status(inspected)
        try:
            return await connect_to_loopback(sandbox.pid, sandbox.ip or "127.0.0.1", port)
        except OSError as error:
            raise RuntimeFailure(f"connect to port {port} in the pod: {error.strerror or error}") from error

    async def logs(
        self,
        container_id: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        timestamps: bool = False,
    ) -> AsyncIterator[bytes]:
        params = {
            "stdout": 1,
            "stderr": 1,
            "follow": int(follow),
            "timestamps": int(timestamps),
            "tail": "all" if tail is None else tail,
            **({"since": f"{since.timestamp():.6f}"} if since else {}),
        }
        stream = self._engine.stream(lambda client: _logs(client, container_id, params))
        async with contextlib.aclosing(stream) as batches:
            async for batch in batches:
                if batch:
                    yield b"".join(batch)

    async def root(self) -> str:
        return str((await self._engine.call(lambda client: client.info()))["DockerRootDir"])

    # News.

    def changes(self) -> AsyncIterator[Change]:
        return self._events.changes()

    async def close(self) -> None:
        await self._events.close()
        await self._engine.close()

    # The engine's limit on oom_score_adj.

    async def _find_lowest_score(self) -> None:
        if self._score is None:
            self._score = await asyncio.to_thread(lowest_oom_score_adj, self._engine.path)

    @property
    def _lowest_score(self) -> int:
        return -1000 if self._score is None else self._score


def _remove(client: docker.APIClient, id: str) -> None:
    try:
        client.remove_container(id, force=True, v=True)
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as error:
        if error.status_code != 409:  # it is being removed already
            raise


def _stats(client: docker.APIClient, id: str) -> dict[str, Any]:
    # Not the package's own: it makes the engine measure twice, for a second each.
    url = f"{client.base_url}/v{client.api_version}/containers/{id}/stats"
    response = client.request("GET", url, params={"stream": 0, "one-shot": 1}, timeout=client.timeout)
    try:
        response.raise_for_status()
    except requests.HTTPError as error:
        docker.errors.create_api_error_from_http_exception(error)
    measured: dict[str, Any] = response.json()
    return measured


def _logs(client: docker.APIClient, id: str, params: dict[str, Any]) -> Stream[bytes]:
    terminal = client.inspect_container(id)["Config"]["Tty"]
    return open_stream(client, "GET", f"/containers/{id}/logs", iter if terminal else demultiplexed, params=params)


def _exec(client: docker.APIClient, id: str) -> Stream[bytes]:
    return open_stream(client, "POST", f"/exec/{id}/start", demultiplexed, json={"Detach": False, "Tty": False})
