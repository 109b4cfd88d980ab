"""What kube/kubelet/runtime.py promises, sentence by sentence: the suite that both runtimes pass.

A test module makes a subclass whose `runtime` fixture is the runtime to test: without containers, with the images
kube/pause and kube/web, and as many commands known to the fake as there are in `COMMANDS`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from kube.kubelet.fake import FakeRuntime, Program
from kube.kubelet.fake_process import Console, Script
from kube.kubelet.runtime import (
    STDERR,
    STDOUT,
    Change,
    ContainerConfig,
    ContainerStatus,
    ExecResult,
    ImageNotFound,
    NoSuchContainer,
    PodId,
    Process,
    Runtime,
    RuntimeFailure,
    SandboxConfig,
    SandboxStatus,
    State,
)

PATIENCE = 30.0
"""Seconds for anything to happen."""


@dataclass(frozen=True)
class Command:
    """A command, for a real engine; and what it comes to, for the fake."""

    words: Sequence[str]
    program: Program


def shell(script: str, program: Program) -> Command:
    return Command(("sh", "-c", script), program)


RUNS = shell("trap 'exit 0' TERM; echo ready; sleep 3600 & wait", Program(output=b"ready\n"))
DEAF = shell("trap '' TERM; echo ready; sleep 3600 & wait; wait", Program(on_sigterm=None, output=b"ready\n"))
SAYS_143 = shell("trap 'exit 143' TERM; echo ready; sleep 3600 & wait", Program(on_sigterm=143, output=b"ready\n"))
ENDS = shell("exit 0", Program(exit_code=0))
FAILS = shell("exit 3", Program(exit_code=3))
MISSING = Command(
    ("/no/such/command",),
    Program(exit_code=127, start_error='exec: "/no/such/command": stat /no/such/command: no such file or directory'),
)
FORBIDDEN = Command(
    ("/etc/passwd",), Program(exit_code=126, start_error='exec: "/etc/passwd": permission denied: unknown')
)
WRITES = shell("echo one; echo two; echo three", Program(exit_code=0, output=b"one\ntwo\nthree\n"))
WRITES_ON = shell("echo one; sleep 1; exit 0", Program(exit_code=0, after=1, output=b"one\n"))
COMMANDS = (RUNS, DEAF, SAYS_143, ENDS, FAILS, MISSING, FORBIDDEN, WRITES, WRITES_ON)

EXEC_FAILS = ("sh", "-c", "echo out; exit 7")
EXEC_HANGS = ("sleep", "30")
EXECS: dict[tuple[str, ...], ExecResult | None] = {EXEC_FAILS: ExecResult(7, b"out\n"), EXEC_HANGS: None}

CAT = ("cat",)
BOTH = ("sh", "-c", "echo out; echo err >&2; exit 7")
ASKS = ("sh", "-c", "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done")
ABSENT = ("no-such-command",)
FLOODS = ("sh", "-c", "head -c 3000000 /dev/zero")
ECHOES = shell("echo ready; exec cat", Program(output=b"ready\n"))
SERVES = shell("echo ready; exec httpd -f -p 127.0.0.1:8080", Program(output=b"ready\n"))


async def _cat(console: Console) -> int:
    while data := await console.read():
        await console.write(data)
    return 0


async def _both(console: Console) -> int:
    await console.write(b"out\n", STDOUT)
    await console.write(b"err\n", STDERR)
    return 7


async def _asks(console: Console) -> int:
    await console.write(b"ready\r\n")
    await console.resized.wait()
    width, height = console.size
    await console.write(f"{height} {width}\r\n".encode())
    return 0


async def _absent(console: Console) -> int:
    await console.write(b'exec: "no-such-command": executable file not found in $PATH\r\n')
    return 127


async def _floods(console: Console) -> int:
    for _ in range(30):
        await console.write(b"\0" * 100_000)
    return 0


SCRIPTS: dict[tuple[str, ...], Script] = {CAT: _cat, BOTH: _both, ASKS: _asks, ABSENT: _absent, FLOODS: _floods}


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"HTTP/1.0 404 Not Found\r\n\r\n")


_pods = itertools.count()


def teach(fake: FakeRuntime) -> FakeRuntime:
    """Tell a fake what the suite's commands do."""
    fake.programs |= {tuple(command.words): command.program for command in COMMANDS}
    fake.programs |= {tuple(command.words): command.program for command in (ECHOES, SERVES)}
    fake.exec_results |= EXECS
    fake.scripts |= SCRIPTS
    fake.ports[8080] = _answer
    return fake


def new_pod() -> PodId:
    """A pod that no other test has."""
    number = next(_pods)
    return PodId("default", f"pod-{number}", f"uid-{number}")


async def sandbox(runtime: Runtime, pod: PodId | None = None) -> SandboxStatus:
    """A running sandbox."""
    pod = pod or new_pod()
    return await runtime.run_sandbox(SandboxConfig(pod, hostname=pod.name))


def container(sandbox: SandboxStatus, command: Command = RUNS, name: str = "main", attempt: int = 0) -> ContainerConfig:
    """The config of a container that runs a command."""
    return ContainerConfig(sandbox.pod, name, "kube/web", attempt=attempt, command=command.words)


async def start(runtime: Runtime, sandbox: SandboxStatus, command: Command = RUNS, name: str = "main") -> str:
    """A started container; one that handles signals handles them by now."""
    id = await runtime.create_container(sandbox.id, container(sandbox, command, name))
    await runtime.start_container(id)
    if command.program.output == b"ready\n":
        async with asyncio.timeout(PATIENCE), aclosing(follow(runtime, id)) as lines:
            async for line in lines:
                if b"ready" in line:
                    break
    return id


@asynccontextmanager
async def executed(
    runtime: Runtime, id: str, command: Sequence[str], *, stdin: bool = False, tty: bool = False
) -> AsyncIterator[Process]:
    """A command that runs, with its output; let go of at the end."""
    process = await runtime.start_exec(id, command, stdin=stdin, stdout=True, stderr=not tty, tty=tty)
    async with asyncio.timeout(PATIENCE), aclosing(process):
        yield process


async def said(process: Process) -> dict[int, bytes]:
    """All that a process writes, by stream."""
    found: dict[int, bytes] = {}
    async for stream, data in process.output():
        found[stream] = found.get(stream, b"") + data
    return found


async def until_said(output: AsyncIterator[tuple[int, bytes]], words: bytes) -> None:
    """Read until these words have come."""
    read = b""
    while words not in read:
        read += (await anext(output))[1]


async def follow(runtime: Runtime, id: str) -> AsyncGenerator[bytes, None]:
    async for chunk in runtime.logs(id, follow=True):
        yield chunk


async def look(runtime: Runtime, id: str) -> ContainerStatus:
    """The container's status."""
    return next(status for status in await runtime.list_containers() if status.id == id)


async def until(
    runtime: Runtime, id: str, condition: Callable[[ContainerStatus], bool] = lambda s: s.state is State.EXITED
) -> ContainerStatus:
    """The container's status once the condition holds: looks at it at each change, as a kubelet does."""
    async with asyncio.timeout(PATIENCE), listening(runtime) as changes:
        async for _ in changes:
            status = await look(runtime, id)
            if condition(status):
                return status
    raise AssertionError("the news ended")


@asynccontextmanager
async def listening(runtime: Runtime) -> AsyncIterator[AsyncIterator[Change]]:
    changes = runtime.changes()
    try:
        yield changes
    finally:
        await changes.aclose()  # type: ignore[attr-defined]  # it is a generator, as both runtimes write it


async def log(runtime: Runtime, id: str, **options: object) -> bytes:
    """The container's whole log."""
    return b"".join([chunk async for chunk in runtime.logs(id, **options)])  # type: ignore[arg-type]  # passed on


class RuntimeContract:
    """The suite. `runtime` is the runtime to test."""

    async def test_the_engine_says_its_version(self, runtime: Runtime) -> None:
        assert (await runtime.info()).version

    # Sandboxes.

    async def test_a_sandbox_runs_and_has_an_address(self, runtime: Runtime) -> None:
        pod = new_pod()
        made = await runtime.run_sandbox(SandboxConfig(pod, attempt=2, hostname=pod.name))
        assert (made.pod, made.attempt, made.state, made.host_network) == (pod, 2, State.RUNNING, False)
        assert made.ip
        assert made.pid
        assert abs(made.created_at - datetime.now(UTC)) < timedelta(minutes=5)
        assert await runtime.list_sandboxes() == [made]
        assert await runtime.pod_status(pod.uid) == ([made], [])
        assert await runtime.list_containers() == []

    async def test_two_sandboxes_have_two_addresses(self, runtime: Runtime) -> None:
        one, other = await sandbox(runtime), await sandbox(runtime)
        assert one.ip != other.ip

    async def test_a_sandbox_in_the_hosts_network_has_no_address_of_its_own(self, runtime: Runtime) -> None:
        made = await runtime.run_sandbox(SandboxConfig(new_pod(), host_network=True))
        assert (made.ip, made.host_network) == ("", True)
        assert await runtime.list_sandboxes() == [made]

    async def test_a_stopped_sandbox_has_no_address_and_is_there_until_it_is_removed(self, runtime: Runtime) -> None:
        made = await sandbox(runtime)
        await runtime.stop_sandbox(made.id)
        [stopped] = await runtime.list_sandboxes()
        assert (stopped.id, stopped.state, stopped.ip) == (made.id, State.EXITED, "")
        await runtime.remove_sandbox(made.id)
        assert await runtime.list_sandboxes() == []

    async def test_stopping_and_removing_a_sandbox_again_is_no_error(self, runtime: Runtime) -> None:
        made = await sandbox(runtime)
        await runtime.stop_sandbox(made.id)
        await runtime.stop_sandbox(made.id)
        await runtime.remove_sandbox(made.id)
        await runtime.remove_sandbox(made.id)
        await runtime.stop_sandbox(made.id)

    async def test_a_running_sandbox_can_be_removed(self, runtime: Runtime) -> None:
        await runtime.remove_sandbox((await sandbox(runtime)).id)
        assert await runtime.list_sandboxes() == []

    async def test_a_leftover_sandbox_of_the_same_name_gives_way(self, runtime: Runtime) -> None:
        pod = new_pod()
        leftover, made = await sandbox(runtime, pod), await sandbox(runtime, pod)
        assert leftover.id != made.id
        assert await runtime.list_sandboxes() == [made]

    async def test_a_sandbox_whose_image_is_missing_is_an_image_error(self, runtime: Runtime) -> None:
        with pytest.raises(ImageNotFound, match="kube/none"):
            await runtime.run_sandbox(SandboxConfig(new_pod(), image="kube/none"))
        assert await runtime.list_sandboxes() == []

    async def test_a_pods_sandboxes_and_containers_come_newest_first(self, runtime: Runtime) -> None:
        pod = new_pod()
        first = await runtime.run_sandbox(SandboxConfig(pod))
        await runtime.stop_sandbox(first.id)
        second = await runtime.run_sandbox(SandboxConfig(pod, attempt=1))
        one = await runtime.create_container(second.id, container(second, ENDS))
        two = await runtime.create_container(second.id, container(second, ENDS, attempt=1))
        await sandbox(runtime)
        sandboxes, containers = await runtime.pod_status(pod.uid)
        assert [status.id for status in sandboxes] == [second.id, first.id]
        assert [status.id for status in containers] == [two, one]

    # Containers.

    async def test_a_created_container_waits_to_be_started(self, runtime: Runtime) -> None:
        box = await sandbox(runtime)
        config = ContainerConfig(box.pod, "main", "kube/web", attempt=4, hash="abc", labels={"app": "web"})
        id = await runtime.create_container(box.id, config)
        status = await look(runtime, id)
        assert (status.pod, status.name, status.attempt, status.hash) == (box.pod, "main", 4, "abc")
        assert (status.state, status.sandbox_id, status.labels["app"]) == (State.CREATED, box.id, "web")
        assert (status.started_at, status.finished_at, status.exit_code) == (None, None, 0)
        image = await runtime.image("kube/web")
        assert image is not None
        assert (status.image, status.image_id) == ("kube/web:latest", image.id)
        assert [one.id for one in (await runtime.pod_status(box.pod.uid))[1]] == [id]
        assert [one.id for one in await runtime.list_sandboxes()] == [box.id]

    async def test_a_started_container_runs(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        status = await look(runtime, id)
        assert (status.state, status.finished_at, status.error) == (State.RUNNING, None, "")
        assert status.created_at is not None
        assert status.started_at is not None
        assert status.created_at.tzinfo is not None
        assert status.started_at >= status.created_at

    async def test_starting_a_running_container_is_no_error(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        before = await look(runtime, id)
        await runtime.start_container(id)
        assert await look(runtime, id) == before

    @pytest.mark.parametrize(("command", "code"), [(ENDS, 0), (FAILS, 3)], ids=["success", "failure"])
    async def test_a_container_that_ends_shows_its_exit_code(
        self, runtime: Runtime, command: Command, code: int
    ) -> None:
        id = await start(runtime, await sandbox(runtime), command)
        status = await until(runtime, id)
        assert (status.exit_code, status.oom_killed, status.error) == (code, False, "")
        assert status.started_at is not None
        assert status.finished_at is not None
        assert status.started_at <= status.finished_at

    @pytest.mark.parametrize(
        ("command", "code", "words"),
        [(MISSING, 127, "no such file"), (FORBIDDEN, 126, "permission denied")],
        ids=["no such command", "not executable"],
    )
    async def test_a_command_that_cannot_be_run_is_an_error_and_a_container_that_has_exited(
        self, runtime: Runtime, command: Command, code: int, words: str
    ) -> None:
        box = await sandbox(runtime)
        id = await runtime.create_container(box.id, container(box, command))
        with pytest.raises(RuntimeFailure, match=words) as failure:
            await runtime.start_container(id)
        assert failure.value.reason == "RunContainerError"
        status = await look(runtime, id)
        assert (status.state, status.exit_code) == (State.EXITED, code)
        assert words in status.error
        assert status.started_at == status.finished_at == status.created_at

    async def test_a_container_whose_image_is_missing_is_an_image_error(self, runtime: Runtime) -> None:
        box = await sandbox(runtime)
        with pytest.raises(ImageNotFound, match="kube/none"):
            await runtime.create_container(box.id, ContainerConfig(box.pod, "main", "kube/none"))

    async def test_a_container_does_not_start_in_a_sandbox_that_has_ended(self, runtime: Runtime) -> None:
        box = await sandbox(runtime)
        id = await runtime.create_container(box.id, container(box))
        await runtime.stop_sandbox(box.id)
        with pytest.raises(RuntimeFailure, match="non running container"):
            await runtime.start_container(id)

    async def test_starting_a_container_that_is_gone_says_so(self, runtime: Runtime) -> None:
        with pytest.raises(NoSuchContainer):
            await runtime.start_container("0" * 64)

    async def test_a_leftover_container_of_the_same_name_gives_way(self, runtime: Runtime) -> None:
        box = await sandbox(runtime)
        leftover = await start(runtime, box)
        made = await runtime.create_container(box.id, container(box))
        assert made != leftover
        assert [status.id for status in await runtime.list_containers()] == [made]

    async def test_a_container_that_is_asked_to_end_ends_by_itself(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime), SAYS_143)
        async with asyncio.timeout(PATIENCE):
            await runtime.stop_container(id, 600)
        status = await look(runtime, id)
        assert (status.state, status.exit_code) == (State.EXITED, 143)

    async def test_a_container_that_ignores_sigterm_is_killed_after_the_grace(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime), DEAF)
        loop = asyncio.get_running_loop()
        asked = loop.time()
        await runtime.stop_container(id, 1)
        assert loop.time() - asked >= 1
        status = await look(runtime, id)
        assert (status.state, status.exit_code) == (State.EXITED, 137)

    async def test_without_grace_a_container_is_killed_at_once(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime), SAYS_143)
        await runtime.stop_container(id, 0)
        status = await look(runtime, id)
        assert (status.state, status.exit_code, status.oom_killed) == (State.EXITED, 137, False)

    async def test_stopping_and_removing_a_container_again_is_no_error(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        await runtime.stop_container(id, 5)
        await runtime.stop_container(id, 5)
        await runtime.stop_container(id, 0)
        assert (await look(runtime, id)).exit_code == 0
        await runtime.remove_container(id)
        await runtime.remove_container(id)
        await runtime.stop_container(id, 5)
        assert await runtime.list_containers() == []

    async def test_a_running_container_can_be_removed(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        await runtime.remove_container(id)
        assert await runtime.list_containers() == []

    async def test_a_container_that_is_removed_while_it_is_being_stopped_is_stopped(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime), DEAF)
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            tasks.create_task(runtime.stop_container(id, 600))
            await asyncio.sleep(0.2)
            await runtime.remove_container(id)

    # Commands in a container.

    async def test_a_command_in_a_container_gives_its_output_and_exit_code(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        assert await runtime.exec(id, EXEC_FAILS, 10) == ExecResult(7, b"out\n")
        assert await runtime.exec(id, ["true"], 10) == ExecResult(0, b"")

    async def test_a_command_that_hangs_times_out(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        with pytest.raises(TimeoutError):
            await runtime.exec(id, EXEC_HANGS, 0.5)

    async def test_a_command_in_a_container_that_has_ended_is_an_error(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime), ENDS)
        await until(runtime, id)
        with pytest.raises(RuntimeFailure, match="is not running"):
            await runtime.exec(id, ["true"], 10)
        with pytest.raises(NoSuchContainer):
            await runtime.exec("0" * 64, ["true"], 10)

    # Logs.

    async def test_the_log_of_a_container_that_has_ended_is_kept(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime), WRITES)
        await until(runtime, id)
        assert await log(runtime, id) == b"one\ntwo\nthree\n"
        assert await log(runtime, id, follow=True) == b"one\ntwo\nthree\n"

    @pytest.mark.parametrize(
        ("tail", "lines"), [(0, b""), (2, b"two\nthree\n"), (10, b"one\ntwo\nthree\n")], ids=["none", "some", "all"]
    )
    async def test_the_tail_of_a_log(self, runtime: Runtime, tail: int, lines: bytes) -> None:
        id = await start(runtime, await sandbox(runtime), WRITES)
        await until(runtime, id)
        assert await log(runtime, id, tail=tail) == lines

    async def test_log_lines_carry_their_time_and_can_be_asked_for_by_it(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime), WRITES)
        status = await until(runtime, id)
        assert status.started_at is not None
        for line in (await log(runtime, id, timestamps=True)).splitlines():
            time, _, _ = line.decode().partition(" ")
            written = datetime.fromisoformat(time[:26] + "+00:00")
            assert abs(written - status.started_at) < timedelta(minutes=1)
        since = status.started_at - timedelta(seconds=1)
        assert await log(runtime, id, since=since) == b"one\ntwo\nthree\n"
        assert await log(runtime, id, since=since + timedelta(hours=1)) == b""

    async def test_a_followed_log_ends_with_its_container(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime), WRITES_ON)
        async with asyncio.timeout(PATIENCE):
            assert await log(runtime, id, follow=True) == b"one\n"
        assert (await look(runtime, id)).state is State.EXITED

    async def test_a_followed_log_can_be_left(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        reading = asyncio.create_task(log(runtime, id, follow=True))
        await asyncio.sleep(0.1)
        assert not reading.done()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    async def test_a_container_that_is_gone_has_no_log(self, runtime: Runtime) -> None:
        with pytest.raises(NoSuchContainer):
            await log(runtime, "0" * 64)

    # A command with its streams.

    async def test_a_command_has_its_own_streams_and_exit_code(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        async with executed(runtime, id, BOTH) as process:
            assert await said(process) == {STDOUT: b"out\n", STDERR: b"err\n"}
            assert await process.exit_code() == 7

    async def test_only_the_streams_that_are_asked_for_come(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        process = await runtime.start_exec(id, BOTH, stdin=False, stdout=False, stderr=True, tty=False)
        async with asyncio.timeout(PATIENCE), aclosing(process):
            assert await said(process) == {STDERR: b"err\n"}

    async def test_a_command_reads_its_input_to_the_end(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        sent = bytes(range(256)) * 8000
        async with executed(runtime, id, CAT, stdin=True) as process:

            async def feed() -> None:
                for at in range(0, len(sent), 30_000):
                    await process.write(sent[at : at + 30_000])
                await process.close_stdin()

            feeding = asyncio.create_task(feed())
            assert (await said(process))[STDOUT] == sent
            await feeding
            assert await process.exit_code() == 0

    async def test_a_command_without_an_input_finds_it_at_its_end(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        async with executed(runtime, id, CAT) as process:
            assert await said(process) == {}
            assert await process.exit_code() == 0

    async def test_much_output_comes_whole_to_a_slow_reader(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        async with executed(runtime, id, FLOODS) as process:
            await asyncio.sleep(0.3)  # nobody reads, and nothing is lost or held in memory
            assert (await said(process))[STDOUT] == b"\0" * 3_000_000

    async def test_a_terminal_has_the_size_that_it_is_given(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        async with executed(runtime, id, ASKS, stdin=True, tty=True) as process:
            output = process.output()
            await until_said(output, b"ready")
            await process.resize(123, 45)
            await until_said(output, b"45 123\r\n")
            assert [piece async for piece in output] == []
            assert await process.exit_code() == 0

    async def test_a_command_that_is_not_there_exits_as_a_shell_would_and_says_so(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        async with executed(runtime, id, ABSENT) as process:
            assert b"executable file not found" in b"".join((await said(process)).values())
            assert await process.exit_code() in (126, 127)

    async def test_a_command_can_be_let_go_of(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        async with executed(runtime, id, CAT, stdin=True) as process:
            await process.write(b"x")
        assert (await look(runtime, id)).state is State.RUNNING

    async def test_a_command_cannot_be_started_in_a_container_that_has_ended_or_is_gone(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime), ENDS)
        await until(runtime, id)
        with pytest.raises(RuntimeFailure):
            await runtime.start_exec(id, CAT, stdin=False, stdout=True, stderr=True, tty=False)
        with pytest.raises(NoSuchContainer):
            await runtime.start_exec("0" * 64, CAT, stdin=False, stdout=True, stderr=True, tty=False)

    # The container's own process.

    async def test_one_who_is_attached_speaks_with_the_container(self, runtime: Runtime) -> None:
        box = await sandbox(runtime)
        id = await runtime.create_container(box.id, replace(container(box, ECHOES), stdin=True))
        await runtime.start_container(id)
        process = await runtime.attach(id, stdin=True, stdout=True, stderr=True)
        async with asyncio.timeout(PATIENCE), aclosing(process):
            output = process.output()
            await process.write(b"hello\n")
            await until_said(output, b"hello\n")
        assert (await look(runtime, id)).state is State.RUNNING, "it goes on when its visitor leaves"

    async def test_an_attachment_ends_with_its_container(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        process = await runtime.attach(id, stdin=False, stdout=True, stderr=True)
        async with asyncio.timeout(PATIENCE), aclosing(process):
            reading = asyncio.create_task(said(process))
            await runtime.stop_container(id, 10)
            await reading
            assert await process.exit_code() is None

    # Ports.

    async def test_a_port_of_the_pods_loopback_can_be_reached(self, runtime: Runtime) -> None:
        box = await sandbox(runtime)
        await start(runtime, box, SERVES)
        async with asyncio.timeout(PATIENCE):
            while True:  # it says that it is ready a moment before it listens
                try:
                    reader, writer = await runtime.port_forward(box.id, 8080)
                    break
                except RuntimeFailure:
                    await asyncio.sleep(0.05)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.")
            writer.close()

    async def test_a_port_where_nobody_listens_is_an_error_that_says_so(self, runtime: Runtime) -> None:
        box = await sandbox(runtime)
        with pytest.raises(RuntimeFailure, match="refused"):
            await runtime.port_forward(box.id, 81)

    async def test_what_a_running_container_uses_is_measured(self, runtime: Runtime) -> None:
        id = await start(runtime, await sandbox(runtime))
        usage = await runtime.usage(id)
        assert usage.cpu > 0
        assert 0 < usage.memory <= usage.memory_usage
        with pytest.raises(NoSuchContainer):
            await runtime.usage("0" * 64)

    # Images.

    async def test_an_image_is_found_by_each_of_its_names(self, runtime: Runtime) -> None:
        image = await runtime.image("kube/web")
        assert image is not None
        assert "kube/web:latest" in image.names
        assert await runtime.image("kube/web:latest") == image
        assert await runtime.image(image.id) == image
        assert image.id in [one.id for one in await runtime.list_images()]

    async def test_an_image_that_is_not_here_is_none(self, runtime: Runtime) -> None:
        assert await runtime.image("kube/none") is None
        assert await runtime.image("kube/web:none") is None

    async def test_an_image_that_cannot_be_pulled_is_an_error_with_kubernetes_reason(self, runtime: Runtime) -> None:
        with pytest.raises(RuntimeFailure) as failure:
            await runtime.pull("127.0.0.1:1/none")  # nothing listens there
        assert failure.value.reason == "ErrImagePull"
        assert str(failure.value)

    # News.

    async def test_first_everything_is_to_be_looked_at_and_then_what_changes(self, runtime: Runtime) -> None:
        async with asyncio.timeout(PATIENCE), listening(runtime) as changes:
            assert await anext(changes) == Change(None)
            box = await sandbox(runtime)
            assert await anext(changes) == Change(box.pod)
            other = await sandbox(runtime)
            assert await anext(changes) == Change(other.pod)
            await runtime.remove_sandbox(box.id)
            while await anext(changes) != Change(box.pod):
                pass

    async def test_all_who_listen_hear(self, runtime: Runtime) -> None:
        async with asyncio.timeout(PATIENCE), listening(runtime) as one, listening(runtime) as other:
            assert await anext(one) == Change(None)
            assert await anext(other) == Change(None)
            box = await sandbox(runtime)
            assert await anext(one) == Change(box.pod)
            assert await anext(other) == Change(box.pod)

    async def test_a_listener_that_is_slow_hears_of_each_pod_once(self, runtime: Runtime) -> None:
        async with asyncio.timeout(PATIENCE), listening(runtime) as changes:
            assert await anext(changes) == Change(None)
            box = await sandbox(runtime)
            id = await start(runtime, box, ENDS)
            await until(runtime, id)
            assert await anext(changes) == Change(box.pod)
            other = await sandbox(runtime)
            while (change := await anext(changes)) == Change(box.pod):
                pass
            assert change == Change(other.pod)
