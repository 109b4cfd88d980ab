"""A pod's volumes, from what the API has to what is on the disk: fetches what they are made of, and has them written.

Everything that waits is here, everything that touches the disk is in `volumes.py` and runs in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from kube.api.core import Container, Pod
from kube.kubelet.configuration import ConfigError, ConfigurationManager
from kube.kubelet.projection import KINDS, MountError, Sources, kind
from kube.kubelet.runtime import Mount
from kube.kubelet.tokens import TokenManager
from kube.kubelet.volumes import Volumes, container_mounts


class VolumeManager:
    """The volumes of this node's pods."""

    def __init__(
        self,
        volumes: Volumes,
        configuration: ConfigurationManager,
        tokens: TokenManager,
        allocatable: Mapping[str, str] | None = None,
    ) -> None:
        self._volumes = volumes
        self._configuration = configuration
        self._tokens = tokens
        self._allocatable = allocatable or {}

    async def mount(self, pod: Pod) -> dict[str, Path]:
        """Make all volumes of a pod ready, or bring them up to date; where each is, by name. Raises MountError."""
        if not pod.spec.volumes:
            return {}
        sources = Sources(allocatable=self._allocatable)
        if from_api := [volume.name for volume in pod.spec.volumes if kind(volume) in KINDS]:
            try:
                sources = Sources(await self._configuration.of(pod), await self._tokens.of(pod), self._allocatable)
            except (ConfigError, MountError) as error:
                raise MountError(f'MountVolume.SetUp failed for volume "{from_api[0]}" : {error}') from error
        return await asyncio.to_thread(self._volumes.mount, pod, sources)

    def refresh_at(self, pod: Pod) -> float:
        """When the files of a pod's volumes become old by themselves, by the event loop's clock; infinity: never."""
        return self._tokens.renew_at(pod)

    async def mounts(
        self, container: Container, paths: Mapping[str, Path], env: Mapping[str, str], pod: Pod
    ) -> Sequence[Mount]:
        """The mounts of a container. Raises ConfigError."""
        if not container.volumeMounts:
            return []
        return await asyncio.to_thread(container_mounts, container, paths, env, pod)

    async def remove(self, uid: str) -> None:
        """Unmount and delete everything of a pod. Raises MountError, OSError."""
        self._tokens.forget(uid)
        await asyncio.to_thread(self._volumes.remove, uid)

    async def used(self, pod: Pod, name: str) -> int:
        """Bytes on the disk that the files of an emptyDir take."""
        return await asyncio.to_thread(self._volumes.used, pod, name)

    async def uids(self) -> list[str]:
        """The pods that have a directory here."""
        return await asyncio.to_thread(self._volumes.uids)
