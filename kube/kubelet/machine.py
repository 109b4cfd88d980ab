"""What the machine is: capacity, names and versions, as a Node reports them. Read from /proc, /sys and /etc."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from kube.kubelet.eviction import Level

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}
"""The machine's name for its architecture, and Go's."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts of a machine."""

    cpus: int
    memory: int
    """Bytes."""
    disk: int
    """Bytes of the file system that holds the kubelet's root directory."""
    architecture: str
    machine_id: str
    system_uuid: str
    boot_id: str
    kernel: str
    os_image: str


def inspect(root: Path) -> Machine:
    """The machine that this process runs on."""
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        disk=_disk(root),
        architecture=ARCHITECTURES.get(platform.machine(), platform.machine()),
        machine_id=_first("/etc/machine-id", "/var/lib/dbus/machine-id"),
        system_uuid=_first("/sys/class/dmi/id/product_uuid", "/etc/machine-id"),
        boot_id=_first("/proc/sys/kernel/random/boot_id"),
        kernel=platform.release(),
        os_image=_os_image(),
    )


def levels(root: Path, images: Path | None = None) -> dict[str, Level]:
    """What is left of what the machine has, by the signals of eviction. `images`: where the engine keeps them."""
    found = {"memory.available": _memory(), "pid.available": _pids()}
    for name, directory in (("nodefs", root), ("imagefs", images or root)):
        with contextlib.suppress(OSError):
            stat = os.statvfs(directory)
            found[f"{name}.available"] = Level(stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize)
            if stat.f_files:  # some file systems do not count them
                found[f"{name}.inodesFree"] = Level(stat.f_ffree, stat.f_files)
    return found


def _memory() -> Level:
    with open("/proc/meminfo", encoding="ascii") as lines:
        sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return Level(sizes["MemAvailable"], sizes["MemTotal"])


def _pids() -> Level:
    most = int(_first("/proc/sys/kernel/pid_max") or 32768)
    used = int((_first("/proc/loadavg") or "0 0 0 0/0").split()[3].partition("/")[2])
    return Level(max(0, most - used), most)


def _disk(root: Path) -> int:
    for directory in (root, *root.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(directory).total
    return 0


def _first(*paths: str) -> str:
    """What the first of these files that can be read says."""
    for path in paths:
        with contextlib.suppress(OSError):
            if text := Path(path).read_text(encoding="utf-8").strip():
                return text
    return ""


def _os_image() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return "Linux"


def hostname() -> str:
    """The machine's name as a node's name: lower case."""
    return socket.gethostname().strip().lower()
