"""The files that the kubelet keeps for a pod: /etc/hosts and /etc/resolv.conf, mounted into each of its containers.

They lie in the pod's directory and are written anew, in place, whenever a container is started: the containers that
run already see what has changed, such as the address of a new sandbox. A container with a mount of its own at one of
these paths keeps it. The text of the hosts file is upstream's (pkg/kubelet/kubelet_pods.go).
"""

from __future__ import annotations

from pathlib import Path

from kube.api.core import Container, HostAlias, Pod
from kube.kubelet.dns import ResolvConf
from kube.kubelet.runtime import Mount

HOSTS, RESOLV_CONF = "/etc/hosts", "/etc/resolv.conf"
LOOPBACK = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "fe00::0\tip6-mcastprefix\n"
    "fe00::1\tip6-allnodes\n"
    "fe00::2\tip6-allrouters\n"
)


Names = tuple[str, str]
"""A pod's host name, and its domain or nothing."""


class PodFiles:
    """The files of this node's pods. `root` None: there are none (a hollow node has no files)."""

    def __init__(self, root: Path | None, node_hosts: Path = Path(HOSTS)) -> None:
        self._root = root
        self._node_hosts = node_hosts

    def mounts(self, pod: Pod, container: Container, ip: str, names: Names, resolv_conf: ResolvConf) -> list[Mount]:
        """Write the files of a pod that has this address, and say where a container finds them."""
        if self._root is None:
            return []
        directory = self._root / "pods" / pod.metadata.uid
        directory.mkdir(parents=True, exist_ok=True)
        taken = {mount.mountPath for mount in container.volumeMounts}
        mounts = []
        for target, name, text in (
            (HOSTS, "etc-hosts", self._hosts(pod, ip, names)),
            (RESOLV_CONF, "resolv.conf", resolv_conf.render()),
        ):
            if target not in taken:
                _write(directory / name, text)
                mounts.append(Mount(str(directory / name), target))
        return mounts

    def _hosts(self, pod: Pod, ip: str, names: Names) -> str:
        if not pod.spec.hostNetwork:
            return managed_hosts(ip, names, pod.spec.hostAliases)
        try:
            own = self._node_hosts.read_text(encoding="utf-8", errors="replace")
        except OSError:
            own = LOOPBACK
        return f"# Kubernetes-managed hosts file (host network).\n{own}{_aliases(pod.spec.hostAliases)}"


def managed_hosts(ip: str, names: Names, aliases: list[HostAlias]) -> str:
    """The hosts file of a pod with a network of its own."""
    host, domain = names
    entry = f"{ip}\t{host}.{domain}\t{host}\n" if domain else f"{ip}\t{host}\n"
    return f"# Kubernetes-managed hosts file.\n{LOOPBACK}{entry if ip else ''}{_aliases(aliases)}"


def _aliases(aliases: list[HostAlias]) -> str:
    if not aliases:
        return ""
    entries = ["\t".join((alias.ip, *alias.hostnames)) for alias in aliases]
    return "\n# Entries added by HostAliases.\n" + "".join(f"{entry}\n" for entry in entries)


def _write(path: Path, text: str) -> None:
    """Change a file in place: containers have it mounted."""
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except FileNotFoundError:
        path.touch(0o644)
        path.chmod(0o644)  # whatever the umask: a container's user has to read it
    path.write_text(text, encoding="utf-8")
