"""The volumes of a pod: directories of the node, made before the first container and removed after the last.

Everything of a pod lies under `<root>/pods/<uid>/volumes/kubernetes.io~<kind>/<name>`, as in Kubernetes, so that what
is left over can be found by the pod's uid alone. Mounting is idempotent: a restarted kubelet does it again.

Kinds that the kubelet does not have are a MountError: the pod waits in ContainerCreating and an event says why.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from kube.api import quantity
from kube.api.core import Container, EmptyDirVolumeSource, HostPathVolumeSource, Pod, Volume
from kube.kubelet.configuration import ConfigError
from kube.kubelet.environment import expand
from kube.kubelet.runtime import Mount

log = logging.getLogger(__name__)


class MountError(Exception):
    """A volume cannot be made ready; the message says which and why."""


class Volumes:
    """The volumes of this node's pods. Its methods touch the disk: call them from a thread."""

    def __init__(self, root: Path) -> None:
        self._pods = root / "pods"

    def mount(self, pod: Pod) -> dict[str, Path]:
        """Make all volumes of a pod ready; where each is, by name. Raises MountError."""
        paths: dict[str, Path] = {}
        for volume in pod.spec.volumes:
            try:
                paths[volume.name] = self._mount(pod, volume)
            except OSError as error:
                raise MountError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error
            except MountError as error:
                raise MountError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from None
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

    def uids(self) -> list[str]:
        """The pods that have a directory here."""
        return [entry.name for entry in self._pods.iterdir()] if self._pods.is_dir() else []

    def _mount(self, pod: Pod, volume: Volume) -> Path:
        if volume.hostPath is not None:
            return host_path(volume.hostPath)
        kind = next((name for name in type(volume).model_fields if name != "name" and getattr(volume, name)), None)
        if volume.emptyDir is not None or kind is None:
            path = self._path(pod, "empty-dir", volume)
            return self._empty_dir(path, volume.emptyDir or EmptyDirVolumeSource())
        raise MountError(f"volumes of kind {kind} are not supported by this kubelet")

    def _path(self, pod: Pod, kind: str, volume: Volume) -> Path:
        return self._pods / pod.metadata.uid / "volumes" / f"kubernetes.io~{kind}" / volume.name

    def _empty_dir(self, path: Path, source: EmptyDirVolumeSource) -> Path:
        if source.medium not in ("", "Memory"):
            raise MountError(f'unknown storage medium "{source.medium}"')
        path.mkdir(parents=True, exist_ok=True)
        if source.medium == "Memory" and not os.path.ismount(path):
            options = "mode=0777"
            if source.sizeLimit is not None:
                options += f",size={quantity.integer(source.sizeLimit)}"
            _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path))
        path.chmod(0o777)  # whoever the container runs as may write; mkdir's mode is subject to the umask
        return path


def container_mounts(
    container: Container, volumes: Mapping[str, Path], env: Mapping[str, str], pod: Pod
) -> list[Mount]:
    """The mounts of a container. Makes the directories that a `subPath` names. Raises ConfigError."""
    host_paths = {volume.name for volume in pod.spec.volumes if volume.hostPath is not None}
    mounts = []
    for mount in container.volumeMounts:
        if mount.name not in volumes:
            raise ConfigError(f'cannot find volume "{mount.name}" to mount into container "{container.name}"')
        path = volumes[mount.name]
        sub = mount.subPath or expand(mount.subPathExpr, env)
        if sub:
            path = _sub_path(path, sub, create=mount.name not in host_paths)
        mounts.append(Mount(str(path), mount.mountPath, mount.readOnly))
    return mounts


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


def host_path(source: HostPathVolumeSource) -> Path:
    """A path of the host, if it is what its type says (pkg/volume/hostpath checkType). Raises MountError."""
    path, wanted = Path(source.path), source.type or ""
    if ".." in source.path.split("/"):
        raise MountError(f"invalid HostPath `{source.path}`: must not contain '..'")
    if wanted == "":
        return path
    if wanted not in _CHECKS:
        raise MountError(f"{wanted} is an invalid volume type")
    if wanted == "DirectoryOrCreate" and not path.exists():
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif wanted == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    elif not path.exists():
        raise MountError(f"hostPath type check failed: {path} is not a {_CHECKS[wanted][0]}")
    word, check = _CHECKS[wanted]
    if not check(path.stat().st_mode):
        raise MountError(f"hostPath type check failed: {path} is not a {word}")
    return path


_CHECKS: dict[str, tuple[str, Callable[[int], bool]]] = {
    "DirectoryOrCreate": ("directory", stat.S_ISDIR),
    "Directory": ("directory", stat.S_ISDIR),
    "FileOrCreate": ("file", stat.S_ISREG),
    "File": ("file", stat.S_ISREG),
    "Socket": ("socket file", stat.S_ISSOCK),
    "CharDevice": ("character device", stat.S_ISCHR),
    "BlockDevice": ("block device", stat.S_ISBLK),
}


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
