"""What the kubelet asks of a container engine: sandboxes, containers, images, and news of them.

The shape is that of Kubernetes' container runtime interface, cut down to what a pod needs. Two implementations pass
one contract suite: `docker.py`, on a real engine, and `fake.py`, in memory, for tests and hollow nodes.

A *sandbox* is the pod's pause container: it owns the network namespace (and IP) that the pod's containers share. All
names and labels that let a restarted kubelet recognise its containers are made here, so that both runtimes agree.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol

from kube.kubelet.credentials import Credentials

# Labels on every container the kubelet makes, named as Kubernetes names them (pkg/kubelet/types/labels.go).
POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
CONTAINER_TYPE = "io.kubernetes.docker.type"
"""`podsandbox` or `container`."""
SANDBOX_ID = "io.kubernetes.sandbox.id"
CONTAINER_HASH = "io.kubernetes.container.hash"
RESTART_COUNT = "io.kubernetes.container.restartCount"
GRACE_PERIOD = "io.kubernetes.pod.terminationGracePeriod"
NODE_NAME = "io.kubernetes.node.name"
"""Ours: the kubelet the container belongs to, so that several may share one engine."""


@dataclass(frozen=True, slots=True)
class PodId:
    """Which pod a container belongs to."""

    namespace: str
    name: str
    uid: str


class State(Enum):
    """Where a container is in its life."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the pod that is published on the host."""

    container_port: int
    host_port: int
    protocol: str = "TCP"
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """A path of the host, seen inside a container."""

    host_path: str
    container_path: str
    read_only: bool = False
    propagation: str = ""
    """`rslave`: what the host mounts below it later is seen; `rshared`: and the other way round; empty: neither is."""
    termination_log: bool = False
    """It is where the container leaves its termination message."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits of a container, as the engine wants them."""

    cpu_shares: int = 2
    cpu_quota: int = 0
    """Microseconds of CPU in each period; 0: no limit."""
    cpu_period: int = 100_000
    memory: int = 0
    """Bytes; 0: no limit."""
    oom_score_adj: int = 1000


@dataclass(frozen=True, slots=True)
class Security:
    """As whom a container runs, and what it may do."""

    user: str = ""
    """`uid[:gid]`; empty: as its image says."""
    groups: Sequence[str] = ()
    """Groups beside its first."""
    privileged: bool = False
    read_only_root: bool = False
    no_new_privileges: bool = False
    add_capabilities: Sequence[str] = ()
    drop_capabilities: Sequence[str] = ()
    seccomp: str = ""
    """`unconfined`, or a profile's text; empty: the engine's own."""
    apparmor: str = ""
    """`unconfined`, or a profile's name; empty: the engine's own."""
    unmasked: bool = False
    """All of /proc is to be seen."""
    selinux: Mapping[str, str] = field(default_factory=dict)
    """user, role, type and level of its label."""


class Pid(Enum):
    """Whose processes a container sees."""

    OWN = "own"
    POD = "pod"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """A sandbox to make."""

    pod: PodId
    attempt: int = 0
    hostname: str = ""
    image: str = "kube/pause"
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    ports: Sequence[PortMapping] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """A container to make in a sandbox."""

    pod: PodId
    name: str
    image: str
    attempt: int = 0
    hash: str = ""
    """Of the container's spec: a container of another hash is another version and is replaced."""
    command: Sequence[str] | None = None
    """Replaces the image's entrypoint; None keeps it."""
    args: Sequence[str] | None = None
    """Replaces the image's cmd; None keeps it (unless `command` is given)."""
    env: Sequence[tuple[str, str]] = ()
    working_dir: str = ""
    mounts: Sequence[Mount] = ()
    resources: Resources = field(default_factory=Resources)
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False
    security: Security = field(default_factory=Security)
    pid: Pid = Pid.OWN
    host_ipc: bool = False
    grace_period: int = 30
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SandboxStatus:
    """A sandbox as it is."""

    id: str
    pod: PodId
    attempt: int
    state: State
    created_at: datetime
    ip: str = ""
    """The pod's address; empty with host network, or when not running."""
    host_network: bool = False
    pid: int = 0


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """A container as it is."""

    id: str
    pod: PodId
    name: str
    attempt: int
    state: State
    image: str
    image_id: str
    sandbox_id: str
    hash: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    """What the engine said when it could not start the container."""
    message: str = ""
    """What the container said at its end: the kubelet knows it, not the engine."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to a container or sandbox of this pod: look at it. Empty pod: look at everything."""

    pod: PodId | None


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the engine has."""

    id: str
    names: Sequence[str]
    size: int = 0
    user: str = ""
    """As whom its containers run: `user[:group]`, by name or number; empty: root. Not known of a listed image."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container uses."""

    cpu: int = 0
    """Nanoseconds of cpu time since its start."""
    memory: int = 0
    """Bytes that the kernel cannot take back at once: the working set."""
    memory_usage: int = 0
    """Bytes with all caches."""
    rss: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    pids: int = 0


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command run in a container came to."""

    exit_code: int
    output: bytes


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a node reports of its engine."""

    version: str
    name: str = "docker"


class RuntimeFailure(Exception):
    """The engine refused or failed; the message is its own. `reason` is Kubernetes' word for it, if it has one."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class ImageNotFound(RuntimeFailure):
    """The image is not on the node, or not in its registry."""


class NoSuchContainer(RuntimeFailure):
    """The container is gone."""


class EngineUnavailable(RuntimeFailure):
    """The engine does not answer."""


STDOUT, STDERR = 1, 2
LOG_SIZE, LOG_FILES = 10 * 2**20, 5
"""How large a file of a container's log grows before it is turned over, and how many are kept."""


class Process(Protocol):
    """A command that runs in a container, or a container's own, with the ends of its standard streams.

    Whoever holds it reads its output (nothing else makes it go on once the pipes are full), and closes it.
    """

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """What it writes, as it comes, with STDOUT or STDERR; all is STDOUT on a terminal. Ends when the process does.

        Reads no further than its consumer.
        """

    async def write(self, data: bytes) -> None:
        """To its standard input; waits while the process is behind. Raises ConnectionError once it has ended."""

    async def close_stdin(self) -> None:
        """Its standard input is at its end."""

    async def resize(self, width: int, height: int) -> None:
        """Its terminal has another size. No error if it has none, or has ended."""

    async def exit_code(self) -> int | None:
        """What it exited with, after the output's end; None if it was attached to, and may run on."""

    async def aclose(self) -> None:
        """Let go of it. A command that still runs goes on, without a standard input."""


class Runtime(Protocol):
    """A container engine. Any call may raise RuntimeFailure; none blocks the event loop."""

    async def info(self) -> EngineInfo:
        """Of the engine; raises EngineUnavailable when it does not answer."""

    async def list_sandboxes(self) -> list[SandboxStatus]:
        """This node's sandboxes, of every state."""

    async def list_containers(self) -> list[ContainerStatus]:
        """This node's containers (not sandboxes), of every state, with everything a status needs."""

    async def pod_status(self, uid: str) -> tuple[list[SandboxStatus], list[ContainerStatus]]:
        """One pod's sandboxes and containers, newest first."""

    async def run_sandbox(self, config: SandboxConfig) -> SandboxStatus:
        """Create and start a sandbox. Idempotent by name: a leftover of the same name is removed first."""

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Kill it at once; no error if it is gone."""

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Remove it; no error if it is gone."""

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Create a container in a sandbox's namespaces; returns its id. Idempotent by name as run_sandbox is.

        Raises ImageNotFound.
        """

    async def start_container(self, container_id: str) -> None:
        """Start it. Raises RuntimeFailure with the engine's message when the command cannot be run."""

    async def stop_container(self, container_id: str, grace: float) -> None:
        """SIGTERM, and SIGKILL after `grace` seconds; returns when it has ended. No error if it is gone."""

    async def remove_container(self, container_id: str) -> None:
        """Remove it, killing it first if needed; no error if it is gone."""

    async def usage(self, container_id: str) -> Usage:
        """What a running container or sandbox uses. Raises NoSuchContainer."""

    async def exec(self, container_id: str, command: Sequence[str], timeout: float | None) -> ExecResult:
        """Run a command to its end. Raises TimeoutError after `timeout` seconds, if there is one."""

    async def start_exec(
        self, container_id: str, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> Process:
        """Run a command with these of its streams. A command that cannot be run says so, and exits with 126 or 127."""

    async def attach(self, container_id: str, *, stdin: bool, stdout: bool, stderr: bool) -> Process:
        """The container's own process. On a terminal if the container was made with one."""

    async def port_forward(self, sandbox_id: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a TCP port on the pod's loopback. Raises RuntimeFailure that says why nobody answers."""

    def logs(
        self,
        container_id: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        timestamps: bool = False,
    ) -> AsyncIterator[bytes]:
        """Chunks of what the container wrote (stdout and stderr as they came), streamed. Raises NoSuchContainer."""

    async def image(self, name: str) -> Image | None:
        """The image that a name stands for on this node."""

    async def pull(self, name: str, credentials: Credentials | None = None) -> Image:
        """Fetch an image, in somebody's name or in nobody's.

        Raises ImageNotFound, or RuntimeFailure with the engine's words.
        """

    async def list_images(self) -> list[Image]:
        """All images on the node."""

    async def remove_image(self, id: str) -> None:
        """Remove an image, with all its names; no error if it is gone. Raises RuntimeFailure if a container uses it."""

    async def root(self) -> str:
        """The directory that images and containers are kept in."""

    def changes(self) -> AsyncIterator[Change]:
        """News, without end, across engine restarts.

        A Change(None) comes first, once the runtime is listening, and after each break in the stream: what happens
        after it is not missed.
        """

    async def close(self) -> None:
        """Let go of the engine; containers go on."""


def container_name(config: ContainerConfig) -> str:
    """`k8s_<container>_<pod>_<namespace>_<uid>_<attempt>`"""
    pod = config.pod
    return f"k8s_{config.name}_{pod.name}_{pod.namespace}_{pod.uid}_{config.attempt}"


def sandbox_name(config: SandboxConfig) -> str:
    """`k8s_POD_<pod>_<namespace>_<uid>_<attempt>`"""
    pod = config.pod
    return f"k8s_POD_{pod.name}_{pod.namespace}_{pod.uid}_{config.attempt}"


def full_image_name(image: str) -> str:
    """The name with its tag: `kube/web` is `kube/web:latest`. A digest or an id stays what it is."""
    if "@" in image or image.startswith("sha256:") or ":" in image.rpartition("/")[2]:
        return image
    return f"{image}:latest"
