"""What is known of services and endpoints, joined: every service port with its endpoints, as the informers have them.

The proxy reads Endpoints, not EndpointSlices: one object for a service, of the same name and namespace, written in one
go, so that a service's backends are never seen half changed, and hand-made ones need no mirror. EndpointSlices pay off
for services of thousands of pods, where each change rewrites the whole Endpoints object; and they alone tell of zones,
and of endpoints that are going away and still serve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kube.client.informer import Informer
from kube.proxy import lean
from kube.proxy.services import Endpoint, ServicePort, ServicePortName


class Services:
    """Service ports and their endpoints, by name of the port."""

    def __init__(self, services: Informer[lean.Service], endpoints: Informer[lean.Endpoints]) -> None:
        self._services = services
        self._endpoints = endpoints
        self._ports: dict[str, tuple[ServicePort, ...]] = {}
        self._ends: dict[ServicePortName, tuple[Endpoint, ...]] = {}

    def update(self, key: str) -> tuple[Mapping[ServicePortName, ServicePort], set[ServicePortName]]:
        """Look again at the service and the endpoints of this key. Its ports, and the names of those that went."""
        service, endpoints = self._services.get(key), self._endpoints.get(key)
        before = {port.name for port in self._ports.pop(key, ())}
        now = {port.name: port for port in service.ports} if service else {}
        if service and now:
            self._ports[key] = service.ports
        found = endpoints.by_port if endpoints else {}
        for name in before - now.keys():
            del self._ends[name]
        for name in now:
            self._ends[name] = found.get(name.port, ())
        return now, before - now.keys()

    def all(self) -> list[ServicePort]:
        """Every service port that a node has to serve."""
        return [port for ports in self._ports.values() for port in ports]

    def endpoints(self, name: ServicePortName) -> Sequence[Endpoint]:
        """The endpoints of a service port."""
        return self._ends.get(name, ())
