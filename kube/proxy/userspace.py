"""The mode `userspace`: one local port for each service port, open as long as the service is.

The kernel redirects a service's traffic there, and the proxy forwards it to a backend. A change of backends reaches the
balancer at once: one that went gets no further connection. Listeners and rules follow in `sync`, in an order that
keeps the gap closed: first listen, then redirect there, then close what nothing is redirected to any more.

A listener stays on its port whatever happens to the service's endpoints, so that neither connections nor rules are
disturbed. After a restart it takes the port that the rules in the kernel still point to, if that is free: traffic is
served again the moment the listener is open, before any rule is written.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from kube.proxy import portals
from kube.proxy.iptables import Flow, Iptables
from kube.proxy.portals import Address, Portal
from kube.proxy.roundrobin import RoundRobin
from kube.proxy.services import PROTOCOLS, ServicePort, ServicePortName
from kube.proxy.state import Services
from kube.proxy.tables import Table
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


class UserspaceMode:
    """Keeps balancer, listeners and rules as services and endpoints say."""

    def __init__(
        self,
        services: Services,
        iptables: Iptables,
        *,
        service_range: IPv4Network,
        bind_address: IPv4Address = portals.ANY_ADDRESS,
        port_range: range | None = None,
        udp_timeout: float = DEFAULT_UDP_TIMEOUT,
        node_port_addresses: Sequence[str] = (),
    ) -> None:
        self.services = services
        self._iptables = iptables
        self._balancer = RoundRobin()
        self._listeners = Listeners(
            self._balancer, bind_address=bind_address, port_range=port_range, udp_timeout=udp_timeout
        )
        self._service_range = service_range
        self._bind_address = bind_address
        self._node_port_addresses = tuple(node_port_addresses)
        self._redirects: dict[Address, int] = {}
        """What the kernel redirects where, as far as we know."""

    def update(self, key: str) -> None:
        ports, gone = self.services.update(key)
        for name, port in ports.items():
            self._balancer.set_affinity(name, port.affinity_seconds)
            self._balancer.set_backends(name, (endpoint.backend for endpoint in self.services.endpoints(name)))
        for name in gone:
            self._balancer.remove(name)
        for name in (*ports, *gone):
            self._listeners.backends_changed(name)

    def zones_changed(self) -> None:
        """No distance counts here."""

    def tables(self, local_port: Callable[[ServicePort], int] | None = None) -> tuple[Table, ...]:
        """What the kernel is to have. `local_port`: where each service is listened for, if not where it is."""
        local_port = local_port or self._listeners.local_port
        plan = [Portal(port, local_port(port), self._has_backends(port)) for port in self.services.all()]
        return portals.userspace(plan, self._service_range, self._bind_address, self._node_port_addresses)

    async def sync(self, *, resync: bool) -> None:
        if resync:
            self._redirects = portals.redirects((await self._iptables.read()).values())
        wanted = self.services.all()
        self._listeners.open(filter(self._has_backends, wanted), self._redirects)
        tables = self.tables()
        if await self._iptables.ensure(tables):
            log.info("rules written: %d service ports", len(wanted))
        self._listeners.close_others(wanted)
        redirects = portals.redirects(tables)
        moved = {address for address, _ in self._redirects.items() ^ redirects.items() if address[1] == "UDP"}
        await self._iptables.forget_flows(Flow(ip, port) for ip, _protocol, port in sorted(moved))
        self._redirects = redirects

    def close(self) -> None:
        """Connections end with the proxy."""
        self._listeners.close_others(())

    def _has_backends(self, port: ServicePort) -> bool:
        return bool(self._balancer.backends(port.name))
