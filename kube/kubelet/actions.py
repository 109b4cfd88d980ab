"""The deeds that a plan is made of: values, each a single thing for the worker to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kube.kubelet.pod_state import Waiting
from kube.kubelet.runtime import ContainerStatus


@dataclass(frozen=True, slots=True)
class MountVolumes:
    """Make the pod's volumes ready."""


@dataclass(frozen=True, slots=True)
class MakeSandbox:
    """Create and start a sandbox."""

    attempt: int


@dataclass(frozen=True, slots=True)
class RemoveSandbox:
    """Remove a sandbox, killing it if it runs."""

    id: str


@dataclass(frozen=True, slots=True)
class EnsureImage:
    """See that a container's image is there, and begin to pull it if not."""

    name: str


@dataclass(frozen=True, slots=True)
class Start:
    """Create and start a container."""

    name: str
    attempt: int
    after: str = ""
    """Id of the dead container that it replaces and that counts for the back-off."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Ask a container to end, and kill it after `grace` seconds."""

    container: ContainerStatus
    message: str
    grace: float
    replace: bool = False
    """Start another in its place, whatever the restart policy says of its exit code."""
    after: Sequence[str] = ()
    """Ids of the containers that it outlives, as long as its grace lasts: a sidecar serves those it was started for."""


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    """Remove a dead container."""

    id: str


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the user that the sandbox is gone and everything in it is made anew."""


Action = MountVolumes | MakeSandbox | RemoveSandbox | EnsureImage | Start | Kill | RemoveContainer | Announce


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, why containers are waiting, and when to look again if nothing happens before."""

    actions: Sequence[Action] = ()
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    wake_at: float | None = None
    over: bool = False
    """Nothing of the pod runs, and nothing will."""
