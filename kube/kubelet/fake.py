"""The container runtime in memory: for tests, and for hollow nodes (many kubelets in one process, without an engine).

It keeps the contract of `docker.py`, down to the words of the engine where a user sees them. Time is the event loop's,
so that it is exact under virtual time. What a container does is its `Program`: by its command if that is known, by its
image otherwise. Nothing is random.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kube.kubelet.changes import Changes
from kube.kubelet.credentials import Credentials
from kube.kubelet.fake_process import Console, FakeProcess, Script, connected_pair
from kube.kubelet.runtime import (
    STDERR,
    STDOUT,
    Change,
    ContainerConfig,
    ContainerStatus,
    EngineInfo,
    EngineUnavailable,
    ExecResult,
    Image,
    ImageNotFound,
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


@dataclass(frozen=True, slots=True)
class Program:
    """What a container does once it is started."""

    exit_code: int | None = None
    """What it exits with; None: it runs until it is stopped."""
    after: float = 0.0
    """Seconds until it exits by itself."""
    on_sigterm: int | None = 0
    """What it exits with when it is asked to end; None: it ignores that, and is killed."""
    output: bytes = b""
    """What it writes at its start."""
    message: bytes = b""
    """What it leaves in the file at its termination message path, when it ends by itself."""
    oom_killed: bool = False
    start_error: str = ""
    """Why the engine cannot start it; `exit_code` is then what the engine shows (127: no such command)."""


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


class FakeRuntime:
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
        self.node_name = node_name
        self.images: dict[str, Program] = {full_image_name(name): Program() for name in images}
        self.registry: dict[str, Program] = {full_image_name(name): Program() for name in registry}
        self.every_image = every_image
        self.private: dict[str, str] = {}
        """The password that pulling an image takes, by its full name."""
        self.programs: dict[tuple[str, ...], Program] = {}
        self.exec_results: dict[tuple[str, ...], ExecResult | None] = {}
        """By command; None: it hangs. A command that is not here succeeds."""
        self.scripts: dict[tuple[str, ...], Script] = {}
        """By command: what a command with streams does. One that is not here does what `exec_results` says."""
        self.attached: Script = _echo
        """What a container's own process does with whoever is attached to it."""
        self.ports: dict[int, Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]] = {}
        """Who serves a connection to a port of any pod."""
        self.usages: dict[str, Usage] = {}
        """What containers use, by id."""
        self._connections: set[asyncio.Task[None]] = set()
        self.calls: deque[tuple[str, str]] = deque(maxlen=1000)
        """The latest calls that change something: the method, and the container's name."""
        self.sandbox_delay, self.create_delay = sandbox_delay, create_delay
        self.start_delay, self.pull_delay = start_delay, pull_delay
        self._hosts = ipaddress.ip_network(pod_cidr)
        self._next_host = 2  # the first is the bridge's
        self._addresses: set[str] = set()
        self._sandboxes: dict[str, _Sandbox] = {}
        self._containers: dict[str, _Container] = {}
        self._pods: dict[str, set[str]] = {}  # uid -> ids of its sandboxes and containers
        self._names: dict[str, str] = {}
        self._made = 0
        self._up = True
        self._failures: dict[str, list[Exception]] = {}
        self._changes = Changes(connected=True)
        self._epoch = epoch or datetime.now(UTC)
        self._zero: float | None = None

    # The levers of a test.

    def fail(self, method: str, error: Exception, times: int = 1) -> None:
        """The next `times` calls of a method raise this error."""
        self._failures.setdefault(method, []).extend([error] * times)

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

    def now(self) -> datetime:
        """The loop's time as a date."""
        time = asyncio.get_running_loop().time()
        if self._zero is None:
            self._zero = time
        return self._epoch + timedelta(seconds=time - self._zero)

    # Runtime.

    async def info(self) -> EngineInfo:
        await self._enter("info")
        return EngineInfo("0.0.0", "fake")

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
            image_id=_image_id(full_image_name(config.image)),
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
        script = self.scripts.get(tuple(command)) or _says(self.exec_results.get(tuple(command), ExecResult(0, b"")))
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

    async def image(self, name: str) -> Image | None:
        await self._enter("image")
        full = full_image_name(name)
        if full in self.images:
            return _image(full)
        return next((_image(known) for known in self.images if _image_id(known) == name), None)

    async def pull(self, name: str, credentials: Credentials | None = None) -> Image:
        full = full_image_name(name)
        await self._enter("pull", full, self.pull_delay)
        if full in self.private and (credentials is None or credentials.password != self.private[full]):
            raise RuntimeFailure(f"Head {full}: no basic auth credentials", "ErrImagePull")
        if full not in self.registry and not self.every_image:
            raise ImageNotFound(f"manifest for {full} not found: manifest unknown", "ErrImagePull")
        self.images[full] = self.registry.get(full, Program())
        return _image(full)

    async def list_images(self) -> list[Image]:
        await self._enter("list_images")
        return [_image(name) for name in self.images]

    async def remove_image(self, id: str) -> None:
        await self._enter("remove_image", id)
        if any(container.status.image_id == id for container in self._containers.values()):
            raise RuntimeFailure(f"conflict: unable to remove {id}: a container is using it")
        for name in [name for name in self.images if _image_id(name) == id]:
            del self.images[name]

    async def root(self) -> str:
        await self._enter("root")
        return "/"

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

    async def _enter(self, method: str, name: str = "", delay: float = 0.0) -> None:
        """The start of every call: the engine is up, and the call is not one that is to fail."""
        if name:
            self.calls.append((method, name))
        await asyncio.sleep(delay)
        if not self._up:
            raise EngineUnavailable("the engine does not answer: the fake one is down")
        if failures := self._failures.get(method):
            raise failures.pop(0)

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

    def _require_image(self, name: str) -> Program:
        full = full_image_name(name)
        if full not in self.images:
            raise ImageNotFound(f"No such image: {full}")
        return self.images[full]

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


def _says(result: ExecResult | None) -> Script:
    async def script(console: Console) -> int:
        if result is None:
            await asyncio.Event().wait()
        assert result is not None
        await console.write(result.output)
        return result.exit_code

    return script


async def _echo(console: Console) -> int:
    while data := await console.read():
        await console.write(data)
    await asyncio.Event().wait()
    return 0


def _image_id(name: str) -> str:
    return "sha256:" + name.encode().hex()[:64].ljust(64, "0")


def _image(name: str) -> Image:
    return Image(_image_id(name), [name], 2_000_000)


def _newest_first(statuses: list[Any]) -> list[Any]:
    return sorted(statuses, key=lambda status: (status.created_at, status.attempt, status.id), reverse=True)
