"""Writes the files of a volume so that whoever reads them sees all of the old ones or all of the new ones.

As upstream (pkg/volume/util/atomic_writer.go): the files are in a directory of their own, `..2026_11_23_…`; `..data` is
a symbolic link to it, and each name that a user sees is a symbolic link into `..data`. A new version is a new
directory, and one rename of `..data` makes it the present one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

DATA = "..data"
NEW_DATA = "..data_tmp"


@dataclass(frozen=True, slots=True)
class File:
    """A file to be there."""

    content: bytes
    mode: int
    owner: int | None = None
    """User id; None: the kubelet's."""


Payload = Mapping[str, File]
"""Files by their path in the volume."""


def write(directory: Path, payload: Payload, group: int | None = None) -> bool:
    """Make a directory hold these files and no others; `group` may read them all. Whether anything had to be done.

    Raises OSError, ValueError for a path that leads elsewhere.
    """
    for path in payload:
        _check(path)
    current = _current(directory)
    if current is not None and _files(current) == {path: (f.content, _mode(f, group)) for path, f in payload.items()}:
        _link(directory, payload)  # a kubelet that died in between has left some out
        return False
    before = _names(current) if current is not None else set()
    fresh = Path(tempfile.mkdtemp(prefix=datetime.now(UTC).strftime("..%Y_%m_%d_%H_%M_%S."), dir=directory))
    try:
        fresh.chmod(0o755)
        for path, file in payload.items():
            _write(fresh, path, file, group)
        if group is not None:
            _give(fresh, group)
        with contextlib.suppress(FileNotFoundError):
            (directory / NEW_DATA).unlink()
        (directory / NEW_DATA).symlink_to(fresh.name)
        (directory / NEW_DATA).rename(directory / DATA)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    _link(directory, payload)
    for name in before - {_top(path) for path in payload}:
        with contextlib.suppress(FileNotFoundError):
            (directory / name).unlink()
    for entry in directory.iterdir():  # the version before, and what a kubelet that died has left
        if entry.name.startswith("..") and entry.name not in (DATA, fresh.name) and not entry.is_symlink():
            shutil.rmtree(entry)
    return True


def _check(path: str) -> None:
    if not path or path.startswith(("/", "..")) or ".." in path.split("/"):
        raise ValueError(f"invalid path: must not be absolute, or contain '..': {path}")


def _top(path: str) -> str:
    return path.split("/")[0]


def _current(directory: Path) -> Path | None:
    """The directory with the present version."""
    found = directory / DATA
    return directory / os.readlink(found) if found.is_symlink() and found.exists() else None


def _names(version: Path) -> set[str]:
    return {entry.name for entry in version.iterdir()}


def _files(version: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(file.relative_to(version)): (file.read_bytes(), stat.S_IMODE(file.stat().st_mode))
        for file in version.rglob("*")
        if file.is_file()
    }


def _mode(file: File, group: int | None) -> int:
    """Who a volume is shared with by `fsGroup` may read it (pkg/volume/volume_linux.go roMask)."""
    return file.mode if group is None else file.mode | 0o440


def _write(version: Path, path: str, file: File, group: int | None) -> None:
    target = version / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(file.content)
    if file.owner is not None or group is not None:
        os.chown(target, -1 if file.owner is None else file.owner, -1 if group is None else group)
    target.chmod(_mode(file, group))  # behind the other: a change of owner takes bits away


def _give(version: Path, group: int) -> None:
    """Let the group into the directories; what is made in them belongs to it."""
    for directory in [version, *(path for path in version.rglob("*") if path.is_dir())]:
        os.chown(directory, -1, group)
        directory.chmod(stat.S_IMODE(directory.stat().st_mode) | stat.S_ISGID | 0o550)


def _link(directory: Path, payload: Payload) -> None:
    """Show each file, or the directory that it is in."""
    for name in {_top(path) for path in payload}:
        with contextlib.suppress(FileExistsError):
            (directory / name).symlink_to(f"{DATA}/{name}")
