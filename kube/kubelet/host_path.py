"""hostPath: a path of the node, if it is what its type says (pkg/volume/hostpath)."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from kube.api.core import HostPathVolumeSource
from kube.kubelet.projection import MountError


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
