"""What an engine might show of a pod, in a few words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kube.api.core import Pod
from kube.kubelet.pod_state import Seen
from kube.kubelet.runtime import ContainerStatus, SandboxStatus, State
from kube.kubelet.spec import container_hash, container_named, pod_id

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def sandbox(pod: Pod, attempt: int = 0, state: State = State.RUNNING, ip: str = "10.244.0.9") -> SandboxStatus:
    return SandboxStatus(id=f"sandbox-{attempt}", pod=pod_id(pod), attempt=attempt, state=state, created_at=NOON, ip=ip)


def running(pod: Pod, name: str = "main", attempt: int = 0, **more: Any) -> ContainerStatus:
    status = ContainerStatus(
        id=f"{name}-{attempt}",
        pod=pod_id(pod),
        name=name,
        attempt=attempt,
        state=State.RUNNING,
        image="kube/web:latest",
        image_id="sha256:0123",
        sandbox_id="sandbox-0",
        hash=container_hash(container_named(pod, name)),
        created_at=NOON,
        started_at=NOON,
    )
    return replace(status, **more)


def exited(pod: Pod, name: str = "main", attempt: int = 0, code: int = 1, **more: Any) -> ContainerStatus:
    status = running(pod, name, attempt, state=State.EXITED, exit_code=code, finished_at=NOON)
    return replace(status, **more)


def seen(pod: Pod, *containers: ContainerStatus, sandboxes: list[SandboxStatus] | None = None) -> Seen:
    """With one running sandbox, unless others are given."""
    return Seen([sandbox(pod)] if sandboxes is None else sandboxes, containers)
