"""Pods that this node cannot run as they are meant: they fail at once, with upstream's reasons, and are not tried.

A pod is judged before anything of it is made; one that runs already is never judged again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kube.api.core import Pod

SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
"""Sysctls that are the pod's own, and harm nobody else (pkg/kubelet/sysctl/safe_sysctls.go)."""
_OF_IPC = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
"""Sysctls of the IPC namespace begin so; those of the network's with `net.`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pod is not run."""

    reason: str
    message: str


def refusal(pod: Pod, *, allowed_sysctls: Iterable[str] = (), apparmor: bool | None = None) -> Refusal | None:
    """Why this node does not run a pod, if so. `apparmor`: whether the kernel has it; None: look."""
    if pod.spec.os is not None and pod.spec.os.name not in ("", "linux"):
        return Refusal("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    return _sysctls(pod, tuple(allowed_sysctls)) or _apparmor(pod, apparmor)


def _sysctls(pod: Pod, allowed: tuple[str, ...]) -> Refusal | None:
    for sysctl in pod.spec.securityContext.sysctls if pod.spec.securityContext else ():
        name = sysctl.name.replace("/", ".")
        if name not in SAFE_SYSCTLS and not any(_matches(name, pattern) for pattern in allowed):
            return Refusal("SysctlForbidden", f'forbidden sysctl: "{name}" not allowlisted')
        if pod.spec.hostNetwork and name.startswith("net."):
            return Refusal("SysctlForbidden", f'forbidden sysctl: "{name}" not allowed with host net enabled')
        if pod.spec.hostIPC and name.startswith(_OF_IPC):
            return Refusal("SysctlForbidden", f'forbidden sysctl: "{name}" not allowed with host ipc enabled')
    return None


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _apparmor(pod: Pod, enabled: bool | None) -> Refusal | None:
    rights = [pod.spec.securityContext, *(c.securityContext for c in (*pod.spec.initContainers, *pod.spec.containers))]
    asked = [r.appArmorProfile for r in rights if r is not None and r.appArmorProfile is not None]
    if all(profile.type == "Unconfined" for profile in asked):
        return None
    if apparmor_enabled() if enabled is None else enabled:
        return None
    return Refusal("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")


def apparmor_enabled() -> bool:
    """Whether the node's kernel has AppArmor."""
    try:
        return Path("/sys/module/apparmor/parameters/enabled").read_text().startswith("Y")
    except OSError:
        return False
