"""The container runtime in memory: for tests, and for hollow nodes (many kubelets in one process, without an engine).

It keeps the contract of `docker.py`, down to the words of the engine where a user sees them. Time is the event loop's,
so that it is exact under virtual time. What a container does is its `Program`: by its command if that is known, by its
image otherwise. Nothing is random.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from kube.kubelet.fake_engine import FakeEngine, Program, image_id
from kube.kubelet.fake_process import Console, FakeProcess, Script, connected_pair, echo, says
from kube.kubelet.runtime import (
    STDERR,
    STDOUT,
    Change,
    ContainerConfig,
    ContainerStatus,
    EngineUnavailable,
    ExecResult,
    NoSuchContainer,
    PodId,
    Process,
    RuntimeFailure,
    SandboxConfig,
    SandboxStatus,
    State,
    Usage,
    container_name,
    full_image_name,
    sandbox_name,
)

__all__ = ["FakeRuntime", "Program"]


@dataclass(slots=True)
class _Sandbox:
    name: str
    status: SandboxStatus


@dataclass(slots=True)
class _Container:
    name: str
    status: ContainerStatus
    program: Program
    lines: list[tuple[datetime, bytes]] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """It has exited, or is removed."""
    written: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced, at each write."""
    timer: asyncio.TimerHandle | None = None
    tty: bool = False
    termination_log: str = ""
    """Where its termination message goes."""


class FakeRuntime(FakeEngine):
    """A Runtime in memory.

    `programs`: by command and arguments together. `images`: what the node has; `registry`: what it can pull, which is
    anything with `every_image`.
    `sandbox_delay`, `create_delay`, `start_delay`, `pull_delay`: seconds. `fail` makes calls fail.
    """

    def __init__(
        self,
        node_name: str = "fake",
        *,
        pod_cidr: str = "10.244.0.0/16",
        images: Iterable[str] = ("kube/pause", "kube/web"),
        registry: Iterable[str] = (),
        every_image: bool = False,
        sandbox_delay: float = 0.0,
        create_delay: float = 0.0,
        start_delay: float = 0.0,
        pull_delay: float = 0.0,
        epoch: datetime | None = None,
    ) -> None:
        super().__init__(images=images, registry=registry, every_image=every_image, pull_delay=pull_delay, epoch=epoch)
        self.node_name = node_name
        self.programs: dict[tuple[str, ...], Program] = {}
        self.exec_results: dict[tuple[str, ...], ExecResult | None] = {}
        """By command; None: it hangs. A command that is not here succeeds."""
        self.scripts: dict[tuple[str, ...], Script] = {}
        """By command: what a command with streams does. One that is not here does what `exec_results` says."""
        self.attached: Script = echo
        """What a container's own process does with whoever is attached to it."""
        self.ports: dict[int, Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]] = {}
        """Who serves a connection to a port of any pod."""
        self.usages: dict[str, Usage] = {}
        """What containers use, by id."""
        self._connections: set[asyncio.Task[None]] = set()
        self.sandbox_delay, self.create_delay = sandbox_delay, create_delay
        self.start_delay = start_delay
        self._hosts = ipaddress.ip_network(pod_cidr)
        self._next_host = 2  # the first is the bridge's
        self._addresses: set[str] = set()
        self._sandboxes: dict[str, _Sandbox] = {}
        self._containers: dict[str, _Container] = {}
        self._pods: dict[str, set[str]] = {}  # uid -> ids of its sandboxes and containers
        self._names: dict[str, str] = {}
        self._made = 0

    # The levers of a test.

    def exit(self, id: str, code: int = 0, *, oom_killed: bool = False) -> None:
        """A running container or sandbox ends by itself."""
        if id in self._sandboxes:
            self._end_sandbox(self._sandboxes[id])
        elif self._container(id).status.state is State.RUNNING:
            self._end(self._container(id), code, oom_killed=oom_killed)

    def write(self, container_id: str, output: bytes) -> None:
        """The container writes lines to its log."""
        container = self._container(container_id)
        container.lines.extend((self.now(), line) for line in output.splitlines(keepends=True))
        container.written.set()
        container.written = asyncio.Event()

    def teach(self, container_id: str, program: Program) -> None:
        """What a container will do that has not been started."""
        self._container(container_id).program = program

    def id_of(self, name: str) -> str:
        """The id of the container or sandbox with this name in the engine. Raises KeyError."""
        return self._names[name]

    def kill_engine(self) -> None:
        """The engine dies: every call raises EngineUnavailable. Its containers run on."""
        self._up = self._changes.connected = False

    def start_engine(self, *, containers_survive: bool = True) -> None:
        """The engine is back. As after a reboot, all may have ended."""
        self._up = self._changes.connected = True
        if not containers_survive:
            for container in self._containers.values():
                if container.status.state is State.RUNNING:
                    self._end(container, 255, tell=False)
            for sandbox in self._sandboxes.values():
                self._end_sandbox(sandbox, tell=False)
        self._changes.tell(None)

    # Runtime.

    async def list_sandboxes(self) -> list[SandboxStatus]:
        await self._enter("list_sandboxes")
        return _newest_first([sandbox.status for sandbox in self._sandboxes.values()])

    async def list_containers(self) -> list[ContainerStatus]:
        await self._enter("list_containers")
        return _newest_first([container.status for container in self._containers.values()])

    async def pod_status(self, uid: str) -> tuple[list[SandboxStatus], list[ContainerStatus]]:
        await self._enter("pod_status")
        ids = self._pods.get(uid, set())
        return (
            _newest_first([self._sandboxes[id].status for id in ids if id in self._sandboxes]),
            _newest_first([self._containers[id].status for id in ids if id in self._containers]),
        )

    async def run_sandbox(self, config: SandboxConfig) -> SandboxStatus:
        name = sandbox_name(config)
        await self._enter("run_sandbox", name, self.sandbox_delay)
        self._require_image(config.image)
        self._remove_leftover(name)
        id = self._new_id(name, config.pod)
        status = SandboxStatus(
            id=id,
            pod=config.pod,
            attempt=config.attempt,
            state=State.RUNNING,
            created_at=self.now(),
            ip="" if config.host_network else self._take_address(),
            host_network=config.host_network,
            pid=self._made,
        )
        self._sandboxes[id] = _Sandbox(name, status)
        self._changes.tell(config.pod)
        return status

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await self._enter("stop_sandbox", self._name(sandbox_id))
        if sandbox := self._sandboxes.get(sandbox_id):
            self._end_sandbox(sandbox)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._enter("remove_sandbox", self._name(sandbox_id))
        self._remove(sandbox_id)

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        name = container_name(config)
        await self._enter("create_container", name, self.create_delay)
        image = self._require_image(config.image)
        if sandbox_id not in self._sandboxes:
            raise NoSuchContainer(f"No such container: {sandbox_id}", "CreateContainerError")
        self._remove_leftover(name)
        id = self._new_id(name, config.pod)
        command = (*(config.command or ()), *(config.args or ()))
        status = ContainerStatus(
            id=id,
            pod=config.pod,
            name=config.name,
            attempt=config.attempt,
            state=State.CREATED,
            image=full_image_name(config.image),
            image_id=image_id(full_image_name(config.image)),
            sandbox_id=sandbox_id,
            hash=config.hash,
            created_at=self.now(),
            labels=config.labels,
        )
        container = _Container(name, status, self.programs.get(command, image), tty=config.tty)
        container.termination_log = next((m.host_path for m in config.mounts if m.termination_log), "")
        self._containers[id] = container
        return id

    async def start_container(self, container_id: str) -> None:
        await self._enter("start_container", self._name(container_id), self.start_delay)
        container = self._container(container_id)
        status, program = container.status, container.program
        if status.state is State.RUNNING:
            return
        sandbox = self._sandboxes.get(status.sandbox_id)
        if sandbox is None or sandbox.status.state is not State.RUNNING:
            raise RuntimeFailure("cannot join network of a non running container", "RunContainerError")
        if program.start_error:
            self._end(container, 127 if program.exit_code is None else program.exit_code)
            # As on Docker: the times of a container that never ran are that of its creation.
            created = status.created_at
            container.status = replace(
                container.status, started_at=created, finished_at=created, error=program.start_error
            )
            raise RuntimeFailure(program.start_error, "RunContainerError")
        container.status = replace(status, state=State.RUNNING, started_at=self.now())
        if program.output:
            self.write(container_id, program.output)
        if program.exit_code is not None:
            container.timer = asyncio.get_running_loop().call_later(program.after, self._run_out, container)
        self._changes.tell(status.pod)

    async def stop_container(self, container_id: str, grace: float) -> None:
        await self._enter("stop_container", self._name(container_id))
        container = self._containers.get(container_id)
        if container is None or container.status.state is not State.RUNNING:
            return
        if grace > 0:
            if container.program.on_sigterm is not None:
                self._end(container, container.program.on_sigterm)
                return
            try:
                async with asyncio.timeout(grace):
                    await container.ended.wait()
            except TimeoutError:
                pass
        await self._enter("")
        if container.status.state is State.RUNNING:
            self._end(container, 137)

    async def remove_container(self, container_id: str) -> None:
        await self._enter("remove_container", self._name(container_id))
        self._remove(container_id)

    async def usage(self, container_id: str) -> Usage:
        await self._enter("usage")
        if container_id not in self._sandboxes:
            self._container(container_id)
        return self.usages.get(container_id, Usage(cpu=1, memory=1, memory_usage=1, rss=1))

    async def exec(self, container_id: str, command: Sequence[str], timeout: float | None) -> ExecResult:
        await self._enter("exec")
        self._running(container_id)
        result = self.exec_results.get(tuple(command), ExecResult(0, b""))
        if result is None:
            async with asyncio.timeout(timeout):
                await asyncio.Event().wait()
        assert result is not None
        return result

    async def start_exec(
        self, container_id: str, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> Process:
        await self._enter("start_exec")
        self._running(container_id)
        script = self.scripts.get(tuple(command)) or says(self.exec_results.get(tuple(command), ExecResult(0, b"")))
        streams = _streams(stdout, stderr)
        return FakeProcess(script, stdin=stdin, streams=streams, tty=tty, attached=False)

    async def attach(self, container_id: str, *, stdin: bool, stdout: bool, stderr: bool) -> Process:
        await self._enter("attach")
        container = self._running(container_id)
        streams = _streams(stdout, stderr)

        async def until_it_ends(console: Console) -> int:
            script = asyncio.ensure_future(self.attached(console))
            ended = asyncio.ensure_future(container.ended.wait())
            try:
                await asyncio.wait((script, ended), return_when=asyncio.FIRST_COMPLETED)
            finally:
                script.cancel()
                ended.cancel()
            return 0

        return FakeProcess(until_it_ends, stdin=stdin, streams=streams, tty=container.tty, attached=True)

    async def port_forward(self, sandbox_id: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        await self._enter("port_forward")
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            raise NoSuchContainer(f"No such container: {sandbox_id}")
        if sandbox.status.state is not State.RUNNING:
            raise RuntimeFailure(f"the sandbox {sandbox_id} is not running")
        if port not in self.ports:
            raise RuntimeFailure(f"connect to port {port} in the pod: Connection refused")
        return await connected_pair(self.ports[port], self._connections)

    async def logs(
        self,
        container_id: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        timestamps: bool = False,
    ) -> AsyncIterator[bytes]:
        await self._enter("logs")
        container = self._container(container_id)
        at = max(0, len(container.lines) - tail) if tail is not None else 0
        while True:
            # Before the lines are read: what is written or happens from here on wakes the wait below.
            written, over = container.written, container.ended.is_set() or container.status.state is State.CREATED
            lines, at = container.lines[at:], len(container.lines)
            chunk = b"".join(
                (time.strftime("%Y-%m-%dT%H:%M:%S.%fZ ").encode() if timestamps else b"") + line
                for time, line in lines
                if since is None or time >= since
            )
            if chunk:
                yield chunk
            if not follow or over:
                return
            await written.wait()

    def changes(self) -> AsyncIterator[Change]:
        return self._changes.listen()

    async def close(self) -> None:
        for container in self._containers.values():
            if container.timer:
                container.timer.cancel()
        for task in list(self._connections):
            task.cancel()
        self._changes.fail(EngineUnavailable("the runtime is closed"))

    # Within.

    def _is_used(self, image_id: str) -> bool:
        return any(container.status.image_id == image_id for container in self._containers.values())

    def _container(self, id: str) -> _Container:
        if id not in self._containers:
            raise NoSuchContainer(f"No such container: {id}")
        return self._containers[id]

    def _running(self, id: str) -> _Container:
        container = self._container(id)
        if container.status.state is not State.RUNNING:
            raise RuntimeFailure(f"Container {id} is not running")
        return container

    def _name(self, id: str) -> str:
        known: _Sandbox | _Container | None = self._sandboxes.get(id) or self._containers.get(id)
        return known.name if known else id

    def _new_id(self, name: str, pod: PodId) -> str:
        self._made += 1
        id = f"{self._made:064x}"
        self._names[name] = id
        self._pods.setdefault(pod.uid, set()).add(id)
        return id

    def _take_address(self) -> str:
        for _ in range(self._hosts.num_addresses):
            address = str(self._hosts[self._next_host])
            self._next_host += 1
            if self._next_host >= self._hosts.num_addresses - 1:
                self._next_host = 2
            if address not in self._addresses:
                self._addresses.add(address)
                return address
        raise RuntimeFailure(f"no available IPv4 addresses on this network's address pools: {self._hosts}")

    def _run_out(self, container: _Container) -> None:
        if container.program.message and container.termination_log:
            Path(container.termination_log).write_bytes(container.program.message)
        self._end(container, container.program.exit_code or 0, oom_killed=container.program.oom_killed)

    def _end(self, container: _Container, code: int, *, oom_killed: bool = False, tell: bool = True) -> None:
        if container.timer:
            container.timer.cancel()
        container.status = replace(
            container.status, state=State.EXITED, exit_code=code, oom_killed=oom_killed, finished_at=self.now()
        )
        container.ended.set()
        container.written.set()
        if tell:
            self._changes.tell(container.status.pod)

    def _end_sandbox(self, sandbox: _Sandbox, *, tell: bool = True) -> None:
        if sandbox.status.state is State.RUNNING:
            self._addresses.discard(sandbox.status.ip)
            sandbox.status = replace(sandbox.status, state=State.EXITED, ip="", pid=0)
            if tell:
                self._changes.tell(sandbox.status.pod)

    def _remove_leftover(self, name: str) -> None:
        if name in self._names:
            self._remove(self._names[name])

    def _remove(self, id: str) -> None:
        pod: PodId
        if sandbox := self._sandboxes.get(id):
            self._end_sandbox(sandbox, tell=False)
            name, pod = sandbox.name, sandbox.status.pod
            del self._sandboxes[id]
        elif container := self._containers.get(id):
            if container.status.state is State.RUNNING:
                self._end(container, 137, tell=False)
            container.ended.set()
            container.written.set()
            name, pod = container.name, container.status.pod
            del self._containers[id]
        else:
            return
        del self._names[name]
        ids = self._pods[pod.uid]
        ids.discard(id)
        if not ids:
            del self._pods[pod.uid]
        self._changes.tell(pod)


def _streams(stdout: bool, stderr: bool) -> tuple[int, ...]:
    return (STDOUT,) * stdout + (STDERR,) * stderr


def _newest_first(statuses: list[Any]) -> list[Any]:
    return sorted(statuses, key=lambda status: (status.created_at, status.attempt, status.id), reverse=True)
