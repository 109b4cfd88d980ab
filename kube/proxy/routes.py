"""Which backends take a service port's traffic on this node: pure, and the same for every way of getting it there.

Kubernetes' CategorizeEndpoints, by what Endpoints tell: ready endpoints, with a traffic policy Local only those on this
node, and with a traffic distribution those nearby if there are any. (In Kubernetes it is hints in EndpointSlices that
say who is nearby; they too come from the zones of nodes. Slices also tell of endpoints that are going away and still
serve, for when nobody else does.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kube.proxy.services import Backend, Endpoint, ServicePort


@dataclass(frozen=True, slots=True)
class Route:
    """A service port and who takes its traffic."""

    service: ServicePort
    cluster: tuple[Backend, ...] = ()
    """Backends anywhere, in the order of the endpoints; empty where no traffic needs them."""
    local: tuple[Backend, ...] = ()
    """Backends on this node; empty where no traffic policy asks for them."""
    has_backends: bool = False
    """Whether there is a backend anywhere."""
    near: tuple[str, ...] = ()
    """Addresses of backends that are or may be on this node: a pod among them may reach itself."""

    @property
    def internal(self) -> tuple[Backend, ...]:
        """Who takes what comes to the cluster IP."""
        return self.local if self.service.internal_local else self.cluster

    @property
    def external(self) -> tuple[Backend, ...]:
        """Who takes what comes from outside to any other address."""
        return self.local if self.service.external_local else self.cluster


def route(
    service: ServicePort, endpoints: Sequence[Endpoint], node: str, zone_of: Callable[[str], str] = lambda node: ""
) -> Route:
    """The backends of a service port on a node. `zone_of`: the zone of a node, empty if it is not known."""
    # Who comes from the cluster to an external address is served by any backend, even where the policy is Local.
    needs_cluster = not service.internal_local or service.external
    needs_local = service.internal_local or (service.external_local and service.external)
    anywhere = tuple(endpoint.backend for endpoint in endpoints)
    here = tuple(endpoint.backend for endpoint in endpoints if endpoint.node == node)
    return Route(
        service,
        _preferred(service, endpoints, node, zone_of) or anywhere if needs_cluster else (),
        here if needs_local else (),
        bool(anywhere),
        tuple(dict.fromkeys(endpoint.backend.ip for endpoint in endpoints if endpoint.node in (node, ""))),
    )


def _preferred(
    service: ServicePort, endpoints: Sequence[Endpoint], node: str, zone_of: Callable[[str], str]
) -> tuple[Backend, ...]:
    """The backends that a traffic distribution prefers: on the node, then in its zone. Empty: any will do.

    Zones count only where they are known of the node and of all endpoints (upstream: where all have hints).
    """
    if not service.prefer:
        return ()
    here = tuple(endpoint.backend for endpoint in endpoints if endpoint.node == node)
    if service.prefer == "node" and here:
        return here
    zone = zone_of(node)
    zones = [zone_of(endpoint.node) if endpoint.node else "" for endpoint in endpoints] if zone else []
    if not all(zones):
        return ()
    return tuple(endpoint.backend for endpoint, its in zip(endpoints, zones, strict=False) if its == zone)
