"""What the kernel has to be told for the mode `iptables`, besides the rules: sysctls, and hairpin mode of bridges.

A pod that reaches itself through a service has its packet sent back to the very port of the bridge that it came from,
which a bridge does not do unless asked (in Kubernetes the kubelet asks: --hairpin-mode=hairpin-veth). It matters for
backends on this node alone, so the proxy, which knows them, sees to it.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from kube.proxy.rules import Settings

log = logging.getLogger(__name__)

SYSCTLS = Path("/proc/sys")
ROUTES = Path("/proc/net/route")
DEVICES = Path("/sys/class/net")


class NodeNetwork:
    """The settings of this network namespace."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._failed: set[Path] = set()
        """What could not be set: it is said once."""

    def ensure(self, near: Iterable[str]) -> None:
        """Set all that is not as it should be. `near`: addresses of backends that may be on this node."""
        self._set(SYSCTLS / "net/ipv4/ip_forward", "1")
        if self._settings.loopback_node_ports:
            # Answers come back to 127.0.0.1 from another interface. KUBE-FIREWALL keeps everybody else out.
            self._set(SYSCTLS / "net/ipv4/conf/all/route_localnet", "1")
        # Pods on one bridge answer each other directly: without this, past connection tracking.
        self._set(SYSCTLS / "net/bridge/bridge-nf-call-iptables", "1")
        for bridge in bridges(ROUTES.read_text(), near, lambda device: (DEVICES / device / "bridge").exists()):
            for port in (DEVICES / bridge / "brif").glob("*"):
                self._set(port / "hairpin_mode", "1")

    def _set(self, path: Path, value: str) -> None:
        try:
            if path.read_text().strip() != value:
                path.write_text(value)
                log.info("set", extra={"file": path, "to": value})
        except FileNotFoundError:
            log.debug("not there", extra={"file": path})  # a port of a pod that is gone; a kernel without bridges
        except OSError as error:
            if path not in self._failed:
                self._failed.add(path)
                log.warning("cannot set %s to %s: %s", path, value, error.strerror)


def bridges(routes: str, near: Iterable[str], is_bridge: Callable[[str], bool]) -> set[str]:
    """The bridges that some addresses are on, by the node's routes (in the form of /proc/net/route)."""
    networks = []
    for line in routes.splitlines()[1:]:
        device, destination, gateway, *_, mask = line.split()[:8]
        if int(gateway, 16) == 0 and int(mask, 16) != 0 and is_bridge(device):
            networks.append((IPv4Network(f"{_ip(destination)}/{_ip(mask)}"), device))
    addresses = [*map(IPv4Address, near)]
    return {device for network, device in networks if any(address in network for address in addresses)}


def _ip(text: str) -> str:
    return socket.inet_ntoa(struct.pack("=I", int(text, 16)))
