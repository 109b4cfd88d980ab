"""What all pod workers of one node share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kube.api.core import Pod, PodStatus, Service
from kube.kubelet.admission import Refusal
from kube.kubelet.configuration import ConfigurationManager
from kube.kubelet.dns import Dns
from kube.kubelet.events import Recorder
from kube.kubelet.images import Images
from kube.kubelet.pod_files import PodFiles
from kube.kubelet.prober import Prober
from kube.kubelet.runtime import Runtime
from kube.kubelet.termination import TerminationLogs
from kube.kubelet.volume_manager import VolumeManager


class Statuses(Protocol):
    """What a worker needs of status_manager.StatusManager."""

    def last(self, pod: Pod) -> PodStatus: ...
    def set(self, pod: Pod, status: PodStatus) -> None: ...
    def finish(self, pod: Pod) -> None: ...
    def forget(self, uid: str) -> None: ...


async def everybody(pod: Pod) -> Refusal | None:
    """There is room for every pod."""
    return None


@dataclass(slots=True)
class Host:
    """The node's engine, its address and size, and whom a worker tells what."""

    runtime: Runtime
    statuses: Statuses
    recorder: Recorder
    images: Images
    prober: Prober
    volumes: VolumeManager
    termination_logs: TerminationLogs
    pod_files: PodFiles
    services: Callable[[], Iterable[Service]]
    configuration: ConfigurationManager
    ip: str = ""
    pause_image: str = "kube/pause"
    dns: Dns = field(default_factory=Dns)
    memory_capacity: int = 0
    allocatable: dict[str, str] = field(default_factory=dict)
    admit: Callable[[Pod], Awaitable[Refusal | None]] = everybody
    """Why the node has no room for a pod now."""
    seccomp_profiles: Path = Path("/var/lib/kubelet/seccomp")
    allowed_unsafe_sysctls: Sequence[str] = ()
    """Names, or beginnings of names that end in `*`."""
