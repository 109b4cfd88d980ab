"""discovery.k8s.io/v1: EndpointSlice, a part of what stands behind a service."""

from __future__ import annotations

from typing import ClassVar

from kube.api.meta import AlwaysStr, Model, Object, always
from kube.api.references import ObjectReference
from kube.api.scalars import Int32, Present


class EndpointConditions(Model):
    """How an endpoint is. What is not said is as good as true, but for `terminating`."""

    ready: bool | None = None
    """Whether it takes traffic."""
    serving: bool | None = None
    """Whether it could take traffic, also while it is going away."""
    terminating: bool | None = None
    """Whether it is going away."""


class ForZone(Model):
    """A zone whose clients had better use the endpoint."""

    name: AlwaysStr = always()
    """Name of the zone."""


class ForNode(Model):
    """A node whose clients had better use the endpoint."""

    name: AlwaysStr = always()
    """Name of the node."""


class EndpointHints(Model):
    """Who had better use the endpoint."""

    forZones: list[ForZone] = []
    """Zones."""
    forNodes: list[ForNode] = []
    """Nodes."""


class Endpoint(Model):
    """One endpoint, with all its addresses of the slice's type."""

    addresses: Present[list[str]] = always()
    """Its addresses; traffic goes to the first."""
    conditions: Present[EndpointConditions] = always()
    """How it is."""
    hostname: str | None = None
    """Its host name in the service's domain."""
    targetRef: ObjectReference | None = None
    """The pod behind it."""
    deprecatedTopology: dict[str, str] = {}
    """Left over from v1beta1; cannot be written."""
    nodeName: str | None = None
    """Node it is on."""
    zone: str | None = None
    """Zone it is in."""
    hints: EndpointHints | None = None
    """Who had better use it."""


class EndpointPort(Model):
    """A port of all endpoints of a slice."""

    name: str | None = None
    """Name of the service's port."""
    protocol: str | None = None
    """`TCP`, `UDP` or `SCTP`."""
    port: Int32 | None = None
    """Number; none: all ports."""
    appProtocol: str | None = None
    """What is spoken on the port."""


class EndpointSlice(Object):
    """Some of a service's endpoints; the label `kubernetes.io/service-name` says whose."""

    kind: ClassVar[str] = "EndpointSlice"
    apiVersion: ClassVar[str] = "discovery.k8s.io/v1"

    addressType: AlwaysStr = always()
    """`IPv4`, `IPv6` or `FQDN`. Cannot be changed."""
    endpoints: Present[list[Endpoint]] = always()
    """The endpoints; at most 1000."""
    ports: Present[list[EndpointPort]] = always()
    """Their ports."""
