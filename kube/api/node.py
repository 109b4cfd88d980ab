"""core/v1: Node, and Namespace beside it: the two kinds that live in no namespace."""

from __future__ import annotations

from typing import ClassVar

from kube.api.meta import AlwaysStr, Model, Object, always
from kube.api.placement import Taint
from kube.api.scalars import AlwaysInt32, Int64, NullableTime, Present, ResourceList, null_time


class ConfigMapNodeConfigSource(Model):
    """A config map that a kubelet is configured from. Deprecated."""

    namespace: AlwaysStr = always()
    """Namespace of the config map."""
    name: AlwaysStr = always()
    """Name of the config map."""
    uid: str = ""
    """UID of the config map."""
    resourceVersion: str = ""
    """Version of the config map."""
    kubeletConfigKey: AlwaysStr = always()
    """Key of the configuration."""


class NodeConfigSource(Model):
    """Where a kubelet is configured from. Deprecated."""

    configMap: ConfigMapNodeConfigSource | None = None
    """A config map."""


class NodeSpec(Model):
    """What a node is to be."""

    podCIDR: str = ""
    """Network of its pods."""
    podCIDRs: list[str] = []
    """Networks of its pods, the first of which is `podCIDR`."""
    providerID: str = ""
    """Which machine of which cloud it is."""
    unschedulable: bool = False
    """Whether new pods are kept away."""
    taints: list[Taint] = []
    """What keeps pods away."""
    configSource: NodeConfigSource | None = None
    """Where its kubelet is configured from. Deprecated."""
    externalID: str = ""
    """Deprecated; not used."""


class NodeCondition(Model):
    """One aspect of a node's state."""

    type: AlwaysStr = always()
    """`Ready`, `MemoryPressure`, `DiskPressure`, `PIDPressure`, …"""
    status: AlwaysStr = always()
    """`True`, `False` or `Unknown`."""
    lastHeartbeatTime: NullableTime = null_time()
    """When it was last reported."""
    lastTransitionTime: NullableTime = null_time()
    """When `status` last changed."""
    reason: str = ""
    """Why, as one word."""
    message: str = ""
    """Why, in words."""


class NodeAddress(Model):
    """An address of a node."""

    type: AlwaysStr = always()
    """`InternalIP`, `ExternalIP`, `Hostname`, …"""
    address: AlwaysStr = always()
    """The address."""


class DaemonEndpoint(Model):
    """Where a daemon listens."""

    Port: AlwaysInt32 = always()
    """Number of the port."""


class NodeDaemonEndpoints(Model):
    """Where the node's daemons listen."""

    kubeletEndpoint: Present[DaemonEndpoint] = always()
    """The kubelet."""


class NodeSwapStatus(Model):
    """Swap of a node."""

    capacity: Int64 | None = None
    """Bytes."""


class NodeSystemInfo(Model):
    """What a node is made of."""

    machineID: AlwaysStr = always()
    """/etc/machine-id."""
    systemUUID: AlwaysStr = always()
    """UUID of the machine."""
    bootID: AlwaysStr = always()
    """New at every boot."""
    kernelVersion: AlwaysStr = always()
    """Version of the kernel."""
    osImage: AlwaysStr = always()
    """Name of the distribution."""
    containerRuntimeVersion: AlwaysStr = always()
    """Engine and version, as `docker://20.10.24`."""
    kubeletVersion: AlwaysStr = always()
    """Version of the kubelet."""
    kubeProxyVersion: AlwaysStr = always()
    """Version of the proxy. Deprecated."""
    operatingSystem: AlwaysStr = always()
    """`linux`."""
    architecture: AlwaysStr = always()
    """`amd64`, …"""
    swap: NodeSwapStatus | None = None
    """Swap."""


class ContainerImage(Model):
    """An image that a node has."""

    names: list[str] = []
    """Its names."""
    sizeBytes: Int64 = 0
    """Its size."""


class AttachedVolume(Model):
    """A volume attached to a node."""

    name: AlwaysStr = always()
    """Name of the volume."""
    devicePath: AlwaysStr = always()
    """Device it appears as."""


class NodeConfigStatus(Model):
    """How a kubelet's configuration is. Deprecated."""

    assigned: NodeConfigSource | None = None
    """What it is to use."""
    active: NodeConfigSource | None = None
    """What it uses."""
    lastKnownGood: NodeConfigSource | None = None
    """What it falls back to."""
    error: str = ""
    """What is wrong."""


class NodeRuntimeHandlerFeatures(Model):
    """What a runtime handler can do."""

    recursiveReadOnlyMounts: bool | None = None
    """Recursive read-only mounts."""
    userNamespaces: bool | None = None
    """User namespaces."""


class NodeRuntimeHandler(Model):
    """A runtime handler of a node."""

    name: AlwaysStr = always()
    """Name; empty: the default handler."""
    features: NodeRuntimeHandlerFeatures | None = None
    """What it can do."""


class NodeFeatures(Model):
    """What a node's engine can do."""

    supplementalGroupsPolicy: bool | None = None
    """The policy for supplemental groups."""


class NodeStatus(Model):
    """How a node is."""

    capacity: ResourceList = {}
    """What it has."""
    allocatable: ResourceList = {}
    """What pods may use of it."""
    phase: str = ""
    """Deprecated; not used."""
    conditions: list[NodeCondition] = []
    """Aspects of its state."""
    addresses: list[NodeAddress] = []
    """Its addresses."""
    daemonEndpoints: Present[NodeDaemonEndpoints] = always()
    """Where its daemons listen."""
    nodeInfo: Present[NodeSystemInfo] = always()
    """What it is made of."""
    images: list[ContainerImage] = []
    """Images it has."""
    volumesInUse: list[str] = []
    """Volumes in use."""
    volumesAttached: list[AttachedVolume] = []
    """Volumes attached."""
    config: NodeConfigStatus | None = None
    """How its kubelet's configuration is. Deprecated."""
    runtimeHandlers: list[NodeRuntimeHandler] = []
    """Its runtime handlers."""
    features: NodeFeatures | None = None
    """What its engine can do."""


class Node(Object):
    """A machine that runs pods."""

    kind: ClassVar[str] = "Node"

    spec: Present[NodeSpec] = always()
    """What it is to be."""
    status: Present[NodeStatus] = always()
    """How it is, as its kubelet last said."""


class NamespaceSpec(Model):
    """What a namespace is to be."""

    finalizers: list[str] = []
    """Who must be done with it before it goes away."""


class NamespaceCondition(Model):
    """One aspect of a namespace's state."""

    type: AlwaysStr = always()
    """`NamespaceDeletionContentFailure`, …"""
    status: AlwaysStr = always()
    """`True`, `False` or `Unknown`."""
    lastTransitionTime: NullableTime = null_time()
    """When `status` last changed."""
    reason: str = ""
    """Why, as one word."""
    message: str = ""
    """Why, in words."""


class NamespaceStatus(Model):
    """How a namespace is."""

    phase: str = ""
    """`Active` or `Terminating`."""
    conditions: list[NamespaceCondition] = []
    """Aspects of its state."""


class Namespace(Object):
    """A room for names."""

    kind: ClassVar[str] = "Namespace"

    spec: Present[NamespaceSpec] = always()
    """What it is to be."""
    status: Present[NamespaceStatus] = always()
    """How it is."""
