"""The listeners of the mode `userspace`: one local port for each service port, open as long as the service is.

A listener stays on its port whatever happens to the service's endpoints, so that neither connections nor rules are
disturbed. After a restart it takes the port that the rules in the kernel still point to, if that is free: traffic is
served again the moment the listener is open, before any rule is written.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from kube.proxy.roundrobin import RoundRobin
from kube.proxy.rules import Address
from kube.proxy.services import PROTOCOLS, ServicePort, ServicePortName
from kube.proxy.tcp import TCPPortal
from kube.proxy.udp import UDPPortal

log = logging.getLogger(__name__)

DEFAULT_UDP_TIMEOUT = 0.25
"""Seconds (pkg/proxy: --udp-timeout)."""


class Listeners:
    """Keeps a listener open for each service port."""

    def __init__(
        self,
        balancer: RoundRobin,
        *,
        bind_address: IPv4Address,
        port_range: range | None = None,
        udp_timeout: float = DEFAULT_UDP_TIMEOUT,
    ) -> None:
        self._balancer = balancer
        self._bind_address = str(bind_address)
        self._port_range = port_range
        self._udp_timeout = udp_timeout
        self._portals: dict[tuple[ServicePortName, str], TCPPortal | UDPPortal] = {}

    def local_port(self, service: ServicePort) -> int:
        """Where a service port is listened for; 0: nowhere."""
        portal = self._portals.get((service.name, service.protocol))
        return portal.port if portal else 0

    def backends_changed(self, name: ServicePortName) -> None:
        """The balancer has new backends for a service port."""
        for protocol in PROTOCOLS:
            if portal := self._portals.get((name, protocol)):
                portal.backends_changed()

    def open(self, services: Iterable[ServicePort], preferred: Mapping[Address, int]) -> None:
        """Listen for these service ports too; where possible on the ports that their addresses are redirected to."""
        for service in services:
            key = (service.name, service.protocol)
            if key in self._portals:
                continue
            try:
                sock = self._bind(
                    service.protocol, preferred.get((service.cluster_ip, service.protocol, service.port), 0)
                )
            except OSError as error:
                log.error("%s: cannot listen on %s: %s; it is not served", service.name, self._bind_address, error)
                continue
            portal: TCPPortal | UDPPortal
            if service.protocol == "UDP":
                portal = UDPPortal(service.name, sock, self._balancer, self._udp_timeout)
            else:
                portal = TCPPortal(service.name, sock, self._balancer)
            self._portals[key] = portal
            log.info("%s: listening on %s port %d/%s", service.name, self._bind_address, portal.port, service.protocol)

    def close_others(self, services: Iterable[ServicePort]) -> None:
        """Close the listeners, and the connections, of all service ports but these."""
        staying = {(service.name, service.protocol) for service in services}
        for key in [key for key in self._portals if key not in staying]:
            log.info("%s: no longer listening on port %d/%s", key[0], self._portals[key].port, key[1])
            self._portals.pop(key).close()

    def _bind(self, protocol: str, preferred: int) -> socket.socket:
        """A socket on the preferred port, or another that is free. Raises OSError."""
        candidates = [preferred] if preferred else []
        if self._port_range is None:
            candidates.append(0)
        else:
            taken = {portal.port for portal in self._portals.values()}
            candidates += [port for port in self._port_range if port not in taken]
        failure = OSError(errno.EADDRINUSE, "no port of --proxy-port-range is free")
        for port in candidates:
            try:
                return self._bound(protocol, port)
            except OSError as error:
                failure = error
                if error.errno != errno.EADDRINUSE:
                    break
        raise failure

    def _bound(self, protocol: str, port: int) -> socket.socket:
        kind = socket.SOCK_DGRAM if protocol == "UDP" else socket.SOCK_STREAM
        sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
        try:
            if protocol == "TCP":
                # Connections of the proxy before us may still be in TIME_WAIT; for UDP it would mean sharing the port.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self._bind_address, port))
        except BaseException:
            sock.close()
            raise
        return sock
