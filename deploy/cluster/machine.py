"""What the machine must have before anything is started: root, Debian's packages, free ports, room on the disk."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from deploy.cluster.steps import Failed, Step, last_lines, run_logged
from deploy.cluster.supervisor import SBIN

PATH = f"{os.environ.get('PATH', '/usr/bin:/bin')}:{SBIN}"

# The command that is needed, and Debian's package that has it.
COMMANDS = {
    "etcd": "etcd-server",
    "dockerd": "docker.io",
    "docker": "docker.io",
    "iptables-restore": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "ss": "iproute2",
    "mount": "mount",
    "curl": "curl",
}
FREE_BYTES = 500 * 1024 * 1024


def require_root(command: str) -> None:
    """Fail unless this is root."""
    if os.geteuid() != 0:
        raise Failed(f"only root may start dockerd and write iptables rules: run `sudo {command}`")


def which(command: str) -> str | None:
    """The path of a command, also of root's."""
    return shutil.which(command, path=PATH)


def missing_packages() -> list[str]:
    """Debian's packages whose commands are not here. (Commands from elsewhere do as well.)"""
    missing = {package for command, package in COMMANDS.items() if not which(command)}
    if not _static_busybox():
        missing.add("busybox-static")
    return sorted(missing)


def _static_busybox() -> bool:
    busybox = which("busybox")
    return bool(busybox) and subprocess.run(["ldd", str(busybox)], capture_output=True).returncode != 0


def install(step: Step, packages: list[str], log: Path) -> None:
    """Install Debian packages with apt-get."""
    apt = which("apt-get")
    if not apt:
        raise Failed(
            f"{', '.join(packages)} missing, and there is no apt-get: this installs by itself only on Debian. "
            "Install what these packages of Debian's hold, and run this again"
        )
    step.say(f"installing {' '.join(packages)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "PATH": PATH}
    command = [apt, "-y", "-o", "DPkg::Lock::Timeout=120", "--no-install-recommends", "install", *packages]
    # The second try is for a machine whose package lists are missing or old.
    if not run_logged(step, command, log, environment) and not (
        run_logged(step, [apt, "update"], log, environment) and run_logged(step, command, log, environment)
    ):
        raise Failed(f"apt-get could not install {' '.join(packages)} (all of it: {log}):\n{last_lines(log, 5)}")
    if still := missing_packages():
        raise Failed(f"{', '.join(still)} installed, but its commands are not on the PATH ({PATH})")


def unpack(step: Step, package: str, directory: Path, log: Path) -> None:
    """Unpack a Debian package into a directory, without installing it."""
    apt, dpkg = which("apt-get"), which("dpkg-deb")
    if not apt or not dpkg:
        raise Failed(f"there is no apt-get or dpkg-deb to unpack {package} with: this works only on Debian")
    step.say(f"unpacking {package}")
    directory.mkdir(parents=True, exist_ok=True)
    download = ["sh", "-c", f'cd "$0" && "$1" -q download {package}', str(directory), apt]
    environment = os.environ | {"PATH": PATH}
    if not run_logged(step, download, log, environment) and not (
        run_logged(step, [apt, "update"], log, environment) and run_logged(step, download, log, environment)
    ):
        raise Failed(f"apt-get could not download {package} (all of it: {log}):\n{last_lines(log, 5)}")
    (archive,) = directory.glob(f"{package}_*.deb")
    if not run_logged(step, [dpkg, "--extract", str(archive), str(directory)], log, environment):
        raise Failed(f"{archive} cannot be unpacked (all of it: {log}):\n{last_lines(log, 5)}")
    archive.unlink()


def require_disk(*paths: Path) -> None:
    """Fail when a file system has too little room for etcd and a few containers."""
    for path in paths:
        existing = next(parent for parent in (path, *path.parents) if parent.exists())
        free = shutil.disk_usage(existing).free
        if free < FREE_BYTES:
            raise Failed(
                f"only {free // 1024**2} MB are free for {path}, and {FREE_BYTES // 1024**2} MB are needed: make room"
            )


def taken(port: int) -> bool:
    """Whether somebody listens on this port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def owner(port: int) -> str:
    """Who listens on a port, in words: `nginx (pid 123)`."""
    found = subprocess.run(
        ["ss", "-Hltnp", f"sport = :{port}"], capture_output=True, text=True, env=os.environ | {"PATH": PATH}
    ).stdout
    name, _, rest = found.partition('users:(("')[2].partition('"')
    pid = rest.partition("pid=")[2].partition(",")[0]
    return f"{name} (pid {pid})" if pid else "another program"


def require_free(port: int, program: str) -> None:
    """Fail when the port of a program that is to be started is taken."""
    if taken(port):
        raise Failed(f"{program} cannot listen on port {port}: {owner(port)} does. Stop that, and run this again")


def processes_here(name: str) -> list[int]:
    """Pids of the processes of this name that share our network namespace (and so its iptables)."""
    ours = os.readlink("/proc/self/ns/net")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().strip() == name and os.readlink(process / "ns/net") == ours:
                found.append(int(process.name))
        except OSError:  # ended meanwhile
            continue
    return found


def service_manager() -> bool:
    """Whether systemd runs this machine's services."""
    return Path("/run/systemd/system").is_dir()
