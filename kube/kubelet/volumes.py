"""The volumes of a pod: directories of the node, made before the first container and removed after the last.

Everything of a pod lies under `<root>/pods/<uid>/volumes/kubernetes.io~<kind>/<name>`, as in Kubernetes, so that what
is left over can be found by the pod's uid alone. Mounting is idempotent: a restarted kubelet does it again.

Mounting it again brings its files up to date. Kinds that the kubelet does not have are a MountError: the pod waits in
ContainerCreating, and an event says why.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

from kube.api import quantity
from kube.api.core import Container, EmptyDirVolumeSource, Pod, Volume
from kube.kubelet.atomic_writer import write
from kube.kubelet.configuration import ConfigError
from kube.kubelet.environment import expand, references
from kube.kubelet.host_path import host_path
from kube.kubelet.projection import IN_MEMORY, KINDS, MountError, Sources, fs_group, kind, payload
from kube.kubelet.runtime import Mount

log = logging.getLogger(__name__)

SUPPORTED = ("emptyDir", "hostPath", *KINDS)
"""The kinds of volumes that there are here."""


class Volumes:
    """The volumes of this node's pods. Its methods touch the disk: call them from a thread."""

    def __init__(self, root: Path) -> None:
        self._pods = root / "pods"

    def mount(self, pod: Pod, sources: Sources) -> dict[str, Path]:
        """Make all volumes of a pod ready, or bring them up to date; where each is, by name. Raises MountError."""
        if unknown := [volume for volume in pod.spec.volumes if kind(volume) not in SUPPORTED]:
            names, why = " ".join(volume.name for volume in unknown), _unsupported(pod, unknown[0])
            raise MountError(
                f"Unable to attach or mount volumes: unmounted volumes=[{names}], unattached volumes=[], "
                f"failed to process volumes=[{names}]: {why}"
            )
        paths: dict[str, Path] = {}
        for volume in pod.spec.volumes:
            try:
                paths[volume.name] = self._mount(pod, volume, sources)
            except (OSError, ValueError, MountError, ConfigError) as error:
                raise MountError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error
        return paths

    def remove(self, uid: str) -> None:
        """Unmount and delete everything of a pod."""
        directory = self._pods / uid
        if uid in ("", ".", "..") or "/" in uid or not directory.is_dir():
            return
        for mounted in sorted(_mounts_below(directory), reverse=True):
            _run("umount", "-l", mounted)
        if leftover := _mounts_below(directory):
            raise OSError(f"still mounted, so not removed: {', '.join(leftover)}")
        shutil.rmtree(directory)

    def used(self, pod: Pod, name: str) -> int:
        """Bytes on the disk that the files of an emptyDir take."""
        top = self._pods / pod.metadata.uid / "volumes" / "kubernetes.io~empty-dir" / name
        total = 0
        for directory, _, files in os.walk(top):
            for file in files:
                with contextlib.suppress(OSError):  # it was removed meanwhile
                    total += os.lstat(os.path.join(directory, file)).st_blocks * 512
        return total

    def uids(self) -> list[str]:
        """The pods that have a directory here."""
        return [entry.name for entry in self._pods.iterdir()] if self._pods.is_dir() else []

    def _mount(self, pod: Pod, volume: Volume, sources: Sources) -> Path:
        if volume.hostPath is not None:
            return host_path(volume.hostPath)
        name = kind(volume)
        if name == "emptyDir":
            path = self._path(pod, "empty-dir", volume)
            self._empty_dir(path, volume.emptyDir or EmptyDirVolumeSource(), pod)
            return path
        path = self._path(pod, "downward-api" if name == "downwardAPI" else name.lower(), volume)
        files = payload(pod, volume, sources)
        path.mkdir(parents=True, exist_ok=True)
        if name in IN_MEMORY and not os.path.ismount(path):
            _mount_tmpfs(path)
        if (group := fs_group(pod)) is not None:
            give(path, group, 0o440)
        if write(path, files, group):
            log.debug("wrote a volume", extra={"pod": pod.key, "volume": volume.name})
        return path

    def _path(self, pod: Pod, kind: str, volume: Volume) -> Path:
        return self._pods / pod.metadata.uid / "volumes" / f"kubernetes.io~{kind}" / volume.name

    def _empty_dir(self, path: Path, source: EmptyDirVolumeSource, pod: Pod) -> None:
        if source.medium not in ("", "Memory"):
            raise MountError(f'unknown storage medium "{source.medium}"')
        in_memory = source.medium == "Memory"
        if path.is_dir() and (os.path.ismount(path) or not in_memory):
            return  # it is the pod's by now: nothing in it is ours to change
        path.mkdir(parents=True, exist_ok=True)
        if in_memory:
            _mount_tmpfs(path, memory_limit(pod, source))
        path.chmod(0o777)  # whoever the container runs as may write; mkdir's mode is subject to the umask
        if (group := fs_group(pod)) is not None:
            give(path, group, 0o660)


def memory_limit(pod: Pod, source: EmptyDirVolumeSource) -> int | None:
    """Bytes that an emptyDir in memory may hold: its sizeLimit, at most what all containers together may use."""
    limits = [container.resources.limits.get("memory") for container in pod.spec.containers]
    sizes = [quantity.integer(source.sizeLimit)] if source.sizeLimit is not None else []
    if all(limits):
        sizes.append(sum(quantity.integer(limit) for limit in limits if limit))
    return min((size for size in sizes if size > 0), default=None)


def give(directory: Path, group: int, bits: int) -> None:
    """Let a group into a directory; what is made in it belongs to the group (pkg/volume/volume_linux.go)."""
    os.chown(directory, -1, group)
    directory.chmod(stat.S_IMODE(directory.stat().st_mode) | stat.S_ISGID | 0o110 | bits)


def _unsupported(pod: Pod, volume: Volume) -> str:
    if (claim := volume.persistentVolumeClaim) is not None:
        return f"error processing PVC {pod.namespace}/{claim.claimName}: this kubelet has no persistent volumes"
    missing = "err=no volume plugin matched"
    return f'failed to get Plugin from volumeSpec for volume "{volume.name}" {missing} ({kind(volume)})'


def _mount_tmpfs(path: Path, size: int | None = None) -> None:
    _run("mount", "-t", "tmpfs", "-o", "mode=0777" + (f",size={size}" if size else ""), "tmpfs", str(path))


PROPAGATION = {"HostToContainer": "rslave", "Bidirectional": "rshared"}
"""A mountPropagation, in mount(8)'s words."""


def container_mounts(
    container: Container, volumes: Mapping[str, Path], env: Mapping[str, str], pod: Pod
) -> list[Mount]:
    """The mounts of a container. Makes the directories that a `subPath` names. Raises ConfigError."""
    kinds = {volume.name: kind(volume) for volume in pod.spec.volumes}
    mounts = []
    for mount in container.volumeMounts:
        if mount.name not in volumes:
            raise ConfigError(f'cannot find volume "{mount.name}" to mount into container "{container.name}"')
        path = volumes[mount.name]
        sub = mount.subPath or _expanded(mount.subPathExpr, env)
        if sub:
            path = _sub_path(path, sub, create=kinds[mount.name] != "hostPath")
        # What the kubelet writes is not the container's to change, whatever the mount says.
        read_only = mount.readOnly or kinds[mount.name] in KINDS
        propagation = PROPAGATION.get(mount.mountPropagation or "", "")
        mounts.append(Mount(str(path), mount.mountPath, read_only, propagation))
    return mounts


def _expanded(path: str, env: Mapping[str, str]) -> str:
    """A `subPathExpr` with its variables, each of which must say something. Raises ConfigError."""
    if missing := sorted({name for name in references(path) if not env.get(name)}):
        raise ConfigError(f"missing value for {', '.join(missing)}")
    return expand(path, env)


def _sub_path(volume: Path, sub: str, *, create: bool) -> Path:
    """A path below a volume, which no symbolic link and no `..` may lead out of."""
    if sub.startswith("/") or ".." in sub.split("/"):
        raise ConfigError(f'failed to prepare subPath "{sub}": it must be a relative path without ".."')
    path = volume / sub
    resolved, root = path.resolve(), volume.resolve()
    if not resolved.is_relative_to(root):
        raise ConfigError(f'failed to prepare subPath "{sub}": it leads out of the volume')
    if not resolved.exists():
        try:
            resolved.mkdir(parents=True, exist_ok=True)
            if create:
                resolved.chmod(0o777)
        except OSError as error:
            raise ConfigError(f'failed to create subPath directory "{sub}": {error}') from error
    return resolved


def _mounts_below(directory: Path) -> list[str]:
    """Mount points at or below a directory."""
    prefix = str(directory.resolve())
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as table:
        points = [line.split()[1].encode().decode("unicode_escape") for line in table]
    return [point for point in points if point == prefix or point.startswith(f"{prefix}/")]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise MountError(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
