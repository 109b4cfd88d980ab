"""Everything that a container is made with: its environment, its mounts and the files behind them, its rights.

The kubelet's own files are written in one visit to a thread; the engine is only asked what it alone knows (as whom an
image runs), and only when that matters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from kube.api.core import Container, Pod
from kube.kubelet.dns import resolver
from kube.kubelet.environment import PodFacts, environment
from kube.kubelet.host import Host
from kube.kubelet.runtime import ContainerConfig, Mount, Security
from kube.kubelet.security import needs_image_user, security
from kube.kubelet.spec import container_config, names


async def set_up(
    host: Host, pod: Pod, container: Container, attempt: int, ip: str, volumes: Mapping[str, Path]
) -> ContainerConfig:
    """The config of a container of a pod that has this address. Raises ConfigError or RuntimeFailure."""
    facts = PodFacts(ip, host.ip, host.allocatable)
    env = environment(pod, container, host.services(), facts, await host.configuration.of(pod))
    image_user = ""
    if needs_image_user(pod, container):
        image = await host.runtime.image(container.image)
        image_user = "" if image is None else image.user
    volume_mounts = await host.volumes.mounts(container, volumes, dict(env), pod)

    def prepare() -> tuple[list[Mount], Security]:
        resolv_conf, _ = resolver(pod, host.dns)
        mounts = [*volume_mounts, *host.pod_files.mounts(pod, container, ip, names(pod, host.dns.domain), resolv_conf)]
        mounts += host.termination_logs.mount(pod, container, attempt)
        return mounts, security(pod, container, image_user, host.seccomp_profiles)

    mounts, rights = await asyncio.to_thread(prepare)
    return container_config(pod, container, attempt, env, mounts, host.memory_capacity, rights)
