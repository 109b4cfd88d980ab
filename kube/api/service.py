"""core/v1: Service, and the Endpoints that stand behind it."""

from __future__ import annotations

from typing import ClassVar

from kube.api.meta import AlwaysStr, Condition, Model, Object, always
from kube.api.references import ObjectReference
from kube.api.scalars import AlwaysInt32, AlwaysPort, Int32, Present


class ServicePort(Model):
    """A port of a service."""

    name: str = ""
    """Name; needed when there is more than one port."""
    protocol: str = ""
    """`TCP`, `UDP` or `SCTP`."""
    appProtocol: str | None = None
    """What is spoken on the port."""
    port: AlwaysInt32 = always()
    """Port of the cluster IP."""
    targetPort: AlwaysPort = always()
    """Port of the pods, by number or name; 0: the same as `port`."""
    nodePort: Int32 = 0
    """Port of every node; 0: none, or to be allocated."""


class ClientIPConfig(Model):
    """How long a client stays with a pod."""

    timeoutSeconds: Int32 | None = None
    """Seconds without a connection after which it is forgotten."""


class SessionAffinityConfig(Model):
    """Details of session affinity."""

    clientIP: ClientIPConfig | None = None
    """For `ClientIP`."""


class ServiceSpec(Model):
    """What a service is to be."""

    ports: list[ServicePort] = []
    """Its ports."""
    selector: dict[str, str] = {}
    """Labels of its pods; empty: somebody else writes its endpoints."""
    clusterIP: str = ""
    """Its address; empty: to be allocated; `None`: headless."""
    clusterIPs: list[str] = []
    """Its addresses, the first of which is `clusterIP`."""
    type: str = ""
    """`ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`."""
    externalIPs: list[str] = []
    """Further addresses at which nodes take its traffic."""
    sessionAffinity: str = ""
    """`ClientIP` or `None`."""
    loadBalancerIP: str = ""
    """Wanted address of the load balancer. Deprecated."""
    loadBalancerSourceRanges: list[str] = []
    """Networks that may use the load balancer."""
    externalName: str = ""
    """Name it stands for, for `ExternalName`."""
    externalTrafficPolicy: str = ""
    """Where traffic from outside goes: `Cluster` or `Local`."""
    healthCheckNodePort: Int32 = 0
    """Node port that says whether the node has endpoints, for `Local`."""
    publishNotReadyAddresses: bool = False
    """Whether pods that are not ready count as ready."""
    sessionAffinityConfig: SessionAffinityConfig | None = None
    """Details of session affinity."""
    ipFamilies: list[str] = []
    """`IPv4`, `IPv6`."""
    ipFamilyPolicy: str | None = None
    """`SingleStack`, `PreferDualStack` or `RequireDualStack`."""
    allocateLoadBalancerNodePorts: bool | None = None
    """Whether a load balancer gets node ports."""
    loadBalancerClass: str | None = None
    """Implementation of the load balancer."""
    internalTrafficPolicy: str | None = None
    """Where traffic from inside goes: `Cluster` or `Local`."""
    trafficDistribution: str | None = None
    """Which endpoints are preferred: `PreferSameZone` (`PreferClose` means the same), `PreferSameNode`."""


class PortStatus(Model):
    """How a port of a load balancer is."""

    port: AlwaysInt32 = always()
    """The port."""
    protocol: AlwaysStr = always()
    """Its protocol."""
    error: str | None = None
    """What is wrong with it."""


class LoadBalancerIngress(Model):
    """An address of a load balancer."""

    ip: str = ""
    """IP address."""
    hostname: str = ""
    """Host name."""
    ipMode: str | None = None
    """Whether nodes take the address' traffic themselves (`VIP`) or not (`Proxy`)."""
    ports: list[PortStatus] = []
    """How its ports are."""


class LoadBalancerStatus(Model):
    """How a load balancer is."""

    ingress: list[LoadBalancerIngress] = []
    """Its addresses."""


class ServiceStatus(Model):
    """How a service is."""

    loadBalancer: Present[LoadBalancerStatus] = always()
    """How its load balancer is."""
    conditions: list[Condition] = []
    """Aspects of its state."""


class Service(Object):
    """A stable address in front of pods."""

    kind: ClassVar[str] = "Service"

    spec: Present[ServiceSpec] = always()
    """What it is to be."""
    status: Present[ServiceStatus] = always()
    """How it is."""


class EndpointAddress(Model):
    """An address of an endpoint."""

    ip: AlwaysStr = always()
    """IP address."""
    hostname: str = ""
    """Its host name in the service's domain."""
    nodeName: str | None = None
    """Node it is on."""
    targetRef: ObjectReference | None = None
    """The pod behind it."""


class EndpointPort(Model):
    """A port of an endpoint."""

    name: str = ""
    """Name of the service's port."""
    port: AlwaysInt32 = always()
    """Number of the port."""
    protocol: str = ""
    """`TCP`, `UDP` or `SCTP`."""
    appProtocol: str | None = None
    """What is spoken on the port."""


class EndpointSubset(Model):
    """Addresses that have the same ports: every address with every port."""

    addresses: list[EndpointAddress] = []
    """Addresses that are ready."""
    notReadyAddresses: list[EndpointAddress] = []
    """Addresses that are not."""
    ports: list[EndpointPort] = []
    """Ports."""


class Endpoints(Object):
    """What stands behind the service of the same name."""

    kind: ClassVar[str] = "Endpoints"

    subsets: list[EndpointSubset] = []
    """Addresses and ports; no address is twice with the same port."""
