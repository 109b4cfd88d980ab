"""core/v1: Pod, its template and its binding to a node."""

from __future__ import annotations

from typing import ClassVar

from kube.api.container import (
    AppArmorProfile,
    Container,
    ContainerStatus,
    EphemeralContainer,
    ResourceRequirements,
    SeccompProfile,
    SELinuxOptions,
    WindowsSecurityContextOptions,
)
from kube.api.meta import AlwaysStr, Model, Object, ObjectMeta, Time, always
from kube.api.placement import Affinity, Toleration, TopologySpreadConstraint
from kube.api.references import LocalObjectReference, ObjectReference
from kube.api.scalars import Int32, Int64, NullableTime, Present, ResourceList, null_time
from kube.api.volumes import Volume


class Sysctl(Model):
    """A kernel parameter."""

    name: AlwaysStr = always()
    """Name of the parameter."""
    value: AlwaysStr = always()
    """Its value."""


class PodSecurityContext(Model):
    """Rights of all containers of a pod."""

    seLinuxOptions: SELinuxOptions | None = None
    """SELinux label."""
    windowsOptions: WindowsSecurityContextOptions | None = None
    """Windows' settings."""
    runAsUser: Int64 | None = None
    """UID of the entrypoints."""
    runAsGroup: Int64 | None = None
    """GID of the entrypoints."""
    runAsNonRoot: bool | None = None
    """Refuse to run as UID 0."""
    supplementalGroups: list[Int64] = []
    """Further groups of the first processes."""
    supplementalGroupsPolicy: str | None = None
    """Whether the image's groups count too: `Merge` or `Strict`."""
    fsGroup: Int64 | None = None
    """Group that owns the volumes."""
    sysctls: list[Sysctl] = []
    """Kernel parameters."""
    fsGroupChangePolicy: str | None = None
    """When the volumes' group is set: `OnRootMismatch` or `Always`."""
    seccompProfile: SeccompProfile | None = None
    """Allowed system calls."""
    appArmorProfile: AppArmorProfile | None = None
    """AppArmor profile."""
    seLinuxChangePolicy: str | None = None
    """How volumes are labelled: `MountOption` or `Recursive`."""


class HostAlias(Model):
    """A line of the pod's /etc/hosts."""

    ip: AlwaysStr = always()
    """Address."""
    hostnames: list[str] = []
    """Its names."""


class PodDNSConfigOption(Model):
    """An option of the resolver."""

    name: str = ""
    """Name of the option."""
    value: str | None = None
    """Its value."""


class PodDNSConfig(Model):
    """Lines added to the pod's resolv.conf."""

    nameservers: list[str] = []
    """Addresses of name servers."""
    searches: list[str] = []
    """Domains to search."""
    options: list[PodDNSConfigOption] = []
    """Options of the resolver."""


class PodReadinessGate(Model):
    """A condition that must hold too before the pod is ready."""

    conditionType: AlwaysStr = always()
    """Type of the condition."""


class PodOS(Model):
    """The operating system that the pod is for."""

    name: AlwaysStr = always()
    """`linux` or `windows`."""


class PodSchedulingGate(Model):
    """Something that must be removed before the pod is scheduled."""

    name: AlwaysStr = always()
    """Name of the gate."""


class PodResourceClaim(Model):
    """A resource claim of the pod."""

    name: AlwaysStr = always()
    """Name that containers use."""
    resourceClaimName: str | None = None
    """The claim object."""
    resourceClaimTemplateName: str | None = None
    """The template that a claim is made from."""


class PodSpec(Model):
    """What a pod is to be."""

    volumes: list[Volume] = []
    """Volumes that containers may mount."""
    initContainers: list[Container] = []
    """Run one after another, to their end, before the containers."""
    containers: Present[list[Container]] = always()
    """The containers; at least one."""
    ephemeralContainers: list[EphemeralContainer] = []
    """Added to the running pod through a subresource."""
    restartPolicy: str = ""
    """Whether ended containers run again: `Always`, `OnFailure` or `Never`."""
    terminationGracePeriodSeconds: Int64 | None = None
    """Seconds from SIGTERM to SIGKILL."""
    activeDeadlineSeconds: Int64 | None = None
    """Seconds from its start after which the pod has failed."""
    dnsPolicy: str = ""
    """`ClusterFirst`, `ClusterFirstWithHostNet`, `Default` or `None`."""
    nodeSelector: dict[str, str] = {}
    """Labels that the node must have."""
    serviceAccountName: str = ""
    """Service account it runs as."""
    serviceAccount: str = ""
    """Deprecated name of `serviceAccountName`; always the same."""
    automountServiceAccountToken: bool | None = None
    """Whether the account's token is mounted."""
    nodeName: str = ""
    """Node it is bound to; empty: not scheduled yet."""
    hostNetwork: bool = False
    """Whether it uses the node's network."""
    hostPID: bool = False
    """Whether it sees the node's processes."""
    hostIPC: bool = False
    """Whether it uses the node's IPC."""
    shareProcessNamespace: bool | None = None
    """Whether its containers see each other's processes."""
    securityContext: PodSecurityContext | None = None
    """Rights of all its containers."""
    imagePullSecrets: list[LocalObjectReference] = []
    """Secrets for pulling its images."""
    hostname: str = ""
    """Host name; empty: its name."""
    subdomain: str = ""
    """Its full name is `<hostname>.<subdomain>.<namespace>.svc.<domain>`."""
    affinity: Affinity | None = None
    """Where it must and likes to run."""
    schedulerName: str = ""
    """The scheduler that places it."""
    tolerations: list[Toleration] = []
    """Taints it bears."""
    hostAliases: list[HostAlias] = []
    """Lines of its /etc/hosts."""
    priorityClassName: str = ""
    """Class that gives its priority."""
    priority: Int32 | None = None
    """Its priority; the higher goes first."""
    dnsConfig: PodDNSConfig | None = None
    """Lines added to its resolv.conf."""
    readinessGates: list[PodReadinessGate] = []
    """Conditions that must hold before it is ready."""
    runtimeClassName: str | None = None
    """Runtime class that runs it."""
    enableServiceLinks: bool | None = None
    """Whether services become environment variables."""
    preemptionPolicy: str | None = None
    """Whether it may push out others: `PreemptLowerPriority` or `Never`."""
    overhead: ResourceList = {}
    """What the sandbox itself uses."""
    topologySpreadConstraints: list[TopologySpreadConstraint] = []
    """How its like are spread."""
    setHostnameAsFQDN: bool | None = None
    """Whether the full name is the host name."""
    os: PodOS | None = None
    """Operating system it is for."""
    hostUsers: bool | None = None
    """Whether it uses the node's user namespace."""
    schedulingGates: list[PodSchedulingGate] = []
    """What keeps it from being scheduled."""
    resourceClaims: list[PodResourceClaim] = []
    """Claims its containers may use."""
    resources: ResourceRequirements | None = None
    """What all containers together are promised and may use."""


class PodCondition(Model):
    """One aspect of a pod's state."""

    type: AlwaysStr = always()
    """`PodScheduled`, `Initialized`, `ContainersReady`, `Ready`, …"""
    observedGeneration: Int64 = 0
    """Generation of the pod that it was computed from."""
    status: AlwaysStr = always()
    """`True`, `False` or `Unknown`."""
    lastProbeTime: NullableTime = null_time()
    """When it was last looked at."""
    lastTransitionTime: NullableTime = null_time()
    """When `status` last changed."""
    reason: str = ""
    """Why, as one word."""
    message: str = ""
    """Why, in words."""


class PodIP(Model):
    """An address of a pod."""

    ip: AlwaysStr = always()
    """The address."""


class HostIP(Model):
    """An address of a pod's node."""

    ip: AlwaysStr = always()
    """The address."""


class PodResourceClaimStatus(Model):
    """Which claim was made for an entry of the pod's `resourceClaims`."""

    name: AlwaysStr = always()
    """Name of the entry."""
    resourceClaimName: str | None = None
    """The claim object."""


class PodStatus(Model):
    """How a pod is."""

    observedGeneration: Int64 = 0
    """Generation of the pod that the kubelet has acted on."""
    phase: str = ""
    """`Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`."""
    conditions: list[PodCondition] = []
    """Aspects of its state."""
    message: str = ""
    """Why it is in its phase, in words."""
    reason: str = ""
    """Why it is in its phase, as one word: `Evicted`, …"""
    nominatedNodeName: str = ""
    """Node on which room is being made for it."""
    hostIP: str = ""
    """Address of its node."""
    hostIPs: list[HostIP] = []
    """Addresses of its node."""
    podIP: str = ""
    """Its address."""
    podIPs: list[PodIP] = []
    """Its addresses."""
    startTime: Time | None = None
    """When the kubelet first saw it."""
    initContainerStatuses: list[ContainerStatus] = []
    """How its init containers are."""
    containerStatuses: list[ContainerStatus] = []
    """How its containers are."""
    qosClass: str = ""
    """`Guaranteed`, `Burstable` or `BestEffort`."""
    ephemeralContainerStatuses: list[ContainerStatus] = []
    """How its ephemeral containers are."""
    resize: str = ""
    """How a resize is going. Deprecated."""
    resourceClaimStatuses: list[PodResourceClaimStatus] = []
    """Claims made for it."""


class Pod(Object):
    """A group of containers that run together on one node and share its network."""

    kind: ClassVar[str] = "Pod"

    spec: Present[PodSpec] = always()
    """What it is to be."""
    status: Present[PodStatus] = always()
    """How it is, as its kubelet last said."""


class PodTemplateSpec(Model):
    """What pods are made from."""

    metadata: Present[ObjectMeta] = always()
    """Labels and annotations of the pods."""
    spec: Present[PodSpec] = always()
    """What the pods are to be."""


class Binding(Object):
    """Puts a pod on a node. Sent to `pods/<name>/binding`, never stored."""

    kind: ClassVar[str] = "Binding"

    target: Present[ObjectReference] = always()
    """The node."""


class PodTemplate(Object):
    """A template of pods, kept for whoever makes them."""

    kind: ClassVar[str] = "PodTemplate"

    template: Present[PodTemplateSpec] = always()
    """What pods are made from."""
