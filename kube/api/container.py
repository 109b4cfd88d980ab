"""core/v1: a container of a pod, as wanted and as it is, with its environment, ports, probes and resources."""

from __future__ import annotations

from kube.api.meta import AlwaysBool, AlwaysStr, Model, always
from kube.api.references import LocalObjectReference
from kube.api.scalars import (
    AlwaysInt32,
    AlwaysInt64,
    AlwaysPort,
    Int32,
    Int64,
    NullableTime,
    Present,
    Quantity,
    ResourceList,
    null_time,
)


class ContainerPort(Model):
    """A port that a container listens on."""

    name: str = ""
    """Name that services and probes may use instead of the number."""
    hostPort: Int32 = 0
    """Port of the node that leads to this one; 0: none."""
    containerPort: AlwaysInt32 = always()
    """Port in the pod's network."""
    protocol: str = ""
    """`TCP`, `UDP` or `SCTP`."""
    hostIP: str = ""
    """Address of the node that the host port is bound to."""


class ObjectFieldSelector(Model):
    """A field of the pod itself."""

    apiVersion: str = ""
    """Version of the schema that the path is written in."""
    fieldPath: AlwaysStr = always()
    """Path of the field, as `metadata.name` or `status.podIP`."""


class ResourceFieldSelector(Model):
    """A container's request or limit."""

    containerName: str = ""
    """Which container; required in volumes."""
    resource: AlwaysStr = always()
    """Which amount, as `limits.cpu`."""
    divisor: Quantity = "0"
    """Unit in which the amount is given; 0 means 1."""


class ConfigMapKeySelector(LocalObjectReference):
    """One key of a config map."""

    key: AlwaysStr = always()
    """The key."""
    optional: bool | None = None
    """Whether the config map or the key may be missing."""


class SecretKeySelector(LocalObjectReference):
    """One key of a secret."""

    key: AlwaysStr = always()
    """The key."""
    optional: bool | None = None
    """Whether the secret or the key may be missing."""


class EnvVarSource(Model):
    """Where the value of an environment variable comes from: one of these."""

    fieldRef: ObjectFieldSelector | None = None
    """A field of the pod."""
    resourceFieldRef: ResourceFieldSelector | None = None
    """A request or limit of a container."""
    configMapKeyRef: ConfigMapKeySelector | None = None
    """A key of a config map."""
    secretKeyRef: SecretKeySelector | None = None
    """A key of a secret."""


class EnvVar(Model):
    """An environment variable."""

    name: AlwaysStr = always()
    """Name of the variable."""
    value: str = ""
    """Its value; `$(NAME)` stands for a variable defined before it."""
    valueFrom: EnvVarSource | None = None
    """Where its value comes from, if it is not given."""


class ConfigMapEnvSource(LocalObjectReference):
    """All keys of a config map."""

    optional: bool | None = None
    """Whether the config map may be missing."""


class SecretEnvSource(LocalObjectReference):
    """All keys of a secret."""

    optional: bool | None = None
    """Whether the secret may be missing."""


class EnvFromSource(Model):
    """Many environment variables at once."""

    prefix: str = ""
    """Text before each key."""
    configMapRef: ConfigMapEnvSource | None = None
    """The config map to take."""
    secretRef: SecretEnvSource | None = None
    """The secret to take."""


class ResourceClaim(Model):
    """A claim of the pod that a container uses."""

    name: AlwaysStr = always()
    """Name of the claim in the pod's `resourceClaims`."""
    request: str = ""
    """Which request of the claim; empty: all."""


class ResourceRequirements(Model):
    """What a container is promised, and what it may not exceed."""

    limits: ResourceList = {}
    """The most it may use."""
    requests: ResourceList = {}
    """What is kept free for it; a missing request is the limit."""
    claims: list[ResourceClaim] = []
    """Claims that it uses."""


class ContainerResizePolicy(Model):
    """What happens to a container when one of its resources is resized."""

    resourceName: AlwaysStr = always()
    """The resource."""
    restartPolicy: AlwaysStr = always()
    """`NotRequired` or `RestartContainer`."""


class VolumeMount(Model):
    """A volume of the pod, seen at a path of a container."""

    name: AlwaysStr = always()
    """Name of the volume."""
    readOnly: bool = False
    """Whether the container may not write."""
    recursiveReadOnly: str | None = None
    """Whether mounts below are read-only too: `Disabled`, `IfPossible` or `Enabled`."""
    mountPath: AlwaysStr = always()
    """Path in the container."""
    subPath: str = ""
    """Path in the volume; empty: its root."""
    mountPropagation: str | None = None
    """How mounts travel between host and container: `None`, `HostToContainer` or `Bidirectional`."""
    subPathExpr: str = ""
    """`subPath` with `$(NAME)` of the container's environment."""


class VolumeDevice(Model):
    """A raw block device of the pod, seen in a container."""

    name: AlwaysStr = always()
    """Name of the volume."""
    devicePath: AlwaysStr = always()
    """Path in the container."""


class ExecAction(Model):
    """Run a command in the container; exit code 0 is success."""

    command: list[str] = []
    """The command and its arguments; no shell."""


class HTTPHeader(Model):
    """A header of a probe's request."""

    name: AlwaysStr = always()
    """Name of the header."""
    value: AlwaysStr = always()
    """Its value."""


class HTTPGetAction(Model):
    """Ask over HTTP; a status from 200 to 399 is success."""

    path: str = ""
    """Path of the request."""
    port: AlwaysPort = always()
    """Number or name of the port."""
    host: str = ""
    """Host to connect to; empty: the pod's IP."""
    scheme: str = ""
    """`HTTP` or `HTTPS`."""
    httpHeaders: list[HTTPHeader] = []
    """Headers to send."""


class TCPSocketAction(Model):
    """Open a connection; that it opens is success."""

    port: AlwaysPort = always()
    """Number or name of the port."""
    host: str = ""
    """Host to connect to; empty: the pod's IP."""


class GRPCAction(Model):
    """Ask gRPC's health service."""

    port: AlwaysInt32 = always()
    """Number of the port."""
    service: str | None = None
    """Name of the service to ask for; none: the server."""


class SleepAction(Model):
    """Wait."""

    seconds: AlwaysInt64 = always()
    """How long."""


class ProbeHandler(Model):
    """How a probe asks: one of these."""

    exec: ExecAction | None = None
    """By running a command."""
    httpGet: HTTPGetAction | None = None
    """By a HTTP request."""
    tcpSocket: TCPSocketAction | None = None
    """By opening a connection."""
    grpc: GRPCAction | None = None
    """By gRPC's health service."""


class Probe(ProbeHandler):
    """A question that the kubelet asks a container again and again."""

    initialDelaySeconds: Int32 = 0
    """Seconds from the container's start to the first question."""
    timeoutSeconds: Int32 = 0
    """Seconds to wait for an answer."""
    periodSeconds: Int32 = 0
    """Seconds from one question to the next."""
    successThreshold: Int32 = 0
    """Successes in a row that make a failed probe good again."""
    failureThreshold: Int32 = 0
    """Failures in a row that make a good probe failed."""
    terminationGracePeriodSeconds: Int64 | None = None
    """Grace of the container that the probe kills; none: the pod's."""


class LifecycleHandler(Model):
    """What is done at a point of a container's life: one of these."""

    exec: ExecAction | None = None
    """Run a command."""
    httpGet: HTTPGetAction | None = None
    """Send a HTTP request."""
    tcpSocket: TCPSocketAction | None = None
    """Not supported; kept for old objects."""
    sleep: SleepAction | None = None
    """Wait."""


class Lifecycle(Model):
    """What is done when a container starts and ends."""

    postStart: LifecycleHandler | None = None
    """Right after the start; its failure kills the container."""
    preStop: LifecycleHandler | None = None
    """Before the container is asked to end."""
    stopSignal: str | None = None
    """The signal that asks it to end; none: the image's, or SIGTERM."""


class Capabilities(Model):
    """Linux capabilities of a container."""

    add: list[str] = []
    """Capabilities it gets besides the engine's own set."""
    drop: list[str] = []
    """Capabilities it loses."""


class SELinuxOptions(Model):
    """A SELinux label."""

    user: str = ""
    """SELinux user."""
    role: str = ""
    """SELinux role."""
    type: str = ""
    """SELinux type."""
    level: str = ""
    """SELinux level."""


class WindowsSecurityContextOptions(Model):
    """What only Windows knows."""

    gmsaCredentialSpecName: str | None = None
    """Name of the GMSA credential spec."""
    gmsaCredentialSpec: str | None = None
    """The GMSA credential spec itself."""
    runAsUserName: str | None = None
    """User that runs the entrypoint."""
    hostProcess: bool | None = None
    """Whether it runs as a process of the host."""


class SeccompProfile(Model):
    """Which system calls are allowed."""

    type: AlwaysStr = always()
    """`Localhost`, `RuntimeDefault` or `Unconfined`."""
    localhostProfile: str | None = None
    """File of the profile on the node, for `Localhost`."""


class AppArmorProfile(Model):
    """Which AppArmor profile confines."""

    type: AlwaysStr = always()
    """`Localhost`, `RuntimeDefault` or `Unconfined`."""
    localhostProfile: str | None = None
    """Name of the profile loaded on the node, for `Localhost`."""


class SecurityContext(Model):
    """Rights of one container; goes before the pod's."""

    capabilities: Capabilities | None = None
    """Capabilities to add and drop."""
    privileged: bool | None = None
    """Whether it is as good as root on the host."""
    seLinuxOptions: SELinuxOptions | None = None
    """SELinux label."""
    windowsOptions: WindowsSecurityContextOptions | None = None
    """Windows' settings."""
    runAsUser: Int64 | None = None
    """UID of the entrypoint."""
    runAsGroup: Int64 | None = None
    """GID of the entrypoint."""
    runAsNonRoot: bool | None = None
    """Refuse to run as UID 0."""
    readOnlyRootFilesystem: bool | None = None
    """Whether the root file system is read-only."""
    allowPrivilegeEscalation: bool | None = None
    """Whether a process may gain more rights than its parent."""
    procMount: str | None = None
    """How /proc is mounted: `Default` or `Unmasked`."""
    seccompProfile: SeccompProfile | None = None
    """Allowed system calls."""
    appArmorProfile: AppArmorProfile | None = None
    """AppArmor profile."""


class AnyContainer(Model):
    """What containers and ephemeral containers have in common."""

    name: AlwaysStr = always()
    """Name, unique in the pod."""
    image: str = ""
    """Name of the image."""
    command: list[str] = []
    """Entrypoint; empty: the image's."""
    args: list[str] = []
    """Arguments; empty: the image's."""
    workingDir: str = ""
    """Working directory; empty: the image's."""
    ports: list[ContainerPort] = []
    """Ports it listens on."""
    envFrom: list[EnvFromSource] = []
    """Environment taken from config maps and secrets."""
    env: list[EnvVar] = []
    """Environment."""
    resources: Present[ResourceRequirements] = always()
    """What it is promised and may use."""
    resizePolicy: list[ContainerResizePolicy] = []
    """What a resize does."""
    restartPolicy: str | None = None
    """`Always` makes an init container a sidecar."""
    volumeMounts: list[VolumeMount] = []
    """Volumes it sees."""
    volumeDevices: list[VolumeDevice] = []
    """Block devices it sees."""
    livenessProbe: Probe | None = None
    """Restarted when it fails."""
    readinessProbe: Probe | None = None
    """Taken out of services when it fails."""
    startupProbe: Probe | None = None
    """The other probes begin when it succeeds."""
    lifecycle: Lifecycle | None = None
    """What is done when it starts and ends."""
    terminationMessagePath: str = ""
    """File whose text becomes the last state's message."""
    terminationMessagePolicy: str = ""
    """`File`, or `FallbackToLogsOnError`."""
    imagePullPolicy: str = ""
    """`Always`, `IfNotPresent` or `Never`."""
    securityContext: SecurityContext | None = None
    """Rights."""
    stdin: bool = False
    """Whether stdin is kept open."""
    stdinOnce: bool = False
    """Whether stdin ends after the first attach."""
    tty: bool = False
    """Whether it has a terminal."""


class Container(AnyContainer):
    """A container of a pod."""


class EphemeralContainer(AnyContainer):
    """A container added to a running pod, to look around in it."""

    targetContainerName: str = ""
    """Container whose process namespace it joins."""


class ContainerStateWaiting(Model):
    """Not running yet."""

    reason: str = ""
    """Why, as one word: `ContainerCreating`, `CrashLoopBackOff`, …"""
    message: str = ""
    """Why, in words."""


class ContainerStateRunning(Model):
    """Running."""

    startedAt: NullableTime = null_time()
    """Since when."""


class ContainerStateTerminated(Model):
    """Ended."""

    exitCode: AlwaysInt32 = always()
    """Exit code."""
    signal: Int32 = 0
    """Signal that ended it."""
    reason: str = ""
    """Why, as one word: `Completed`, `Error`, `OOMKilled`, …"""
    message: str = ""
    """Its last words."""
    startedAt: NullableTime = null_time()
    """When it began."""
    finishedAt: NullableTime = null_time()
    """When it ended."""
    containerID: str = ""
    """Which container, as `docker://<id>`."""


class ContainerState(Model):
    """State of a container: one of these; none means waiting."""

    waiting: ContainerStateWaiting | None = None
    """Not running yet."""
    running: ContainerStateRunning | None = None
    """Running."""
    terminated: ContainerStateTerminated | None = None
    """Ended."""


class VolumeMountStatus(Model):
    """How a volume was mounted."""

    name: AlwaysStr = always()
    """Name of the mount."""
    mountPath: AlwaysStr = always()
    """Path in the container."""
    readOnly: bool = False
    """Whether it is read-only."""
    recursiveReadOnly: str | None = None
    """Whether mounts below are read-only too."""


class LinuxContainerUser(Model):
    """Whom the first process runs as."""

    uid: AlwaysInt64 = always()
    """UID."""
    gid: AlwaysInt64 = always()
    """GID."""
    supplementalGroups: list[Int64] = []
    """Further groups."""


class ContainerUser(Model):
    """Whom the first process runs as."""

    linux: LinuxContainerUser | None = None
    """On Linux."""


class ResourceHealth(Model):
    """Health of one device."""

    resourceID: AlwaysStr = always()
    """Which device."""
    health: str = ""
    """`Healthy`, `Unhealthy` or `Unknown`."""


class ResourceStatus(Model):
    """Health of the devices of one resource."""

    name: AlwaysStr = always()
    """Name of the resource."""
    resources: list[ResourceHealth] = []
    """Its devices."""


class ContainerStatus(Model):
    """How a container is."""

    name: AlwaysStr = always()
    """Name of the container."""
    state: Present[ContainerState] = always()
    """State now."""
    lastState: Present[ContainerState] = always()
    """State before the last restart."""
    ready: AlwaysBool = always()
    """Whether its readiness probe succeeds."""
    restartCount: AlwaysInt32 = always()
    """How often it was restarted."""
    image: AlwaysStr = always()
    """Image it runs."""
    imageID: AlwaysStr = always()
    """Exact image it runs."""
    containerID: str = ""
    """Which container, as `docker://<id>`."""
    started: bool | None = None
    """Whether its startup probe has succeeded."""
    allocatedResources: ResourceList = {}
    """Requests that the node has granted."""
    resources: ResourceRequirements | None = None
    """Requests and limits in force."""
    volumeMounts: list[VolumeMountStatus] = []
    """How its volumes were mounted."""
    user: ContainerUser | None = None
    """Whom its first process runs as."""
    allocatedResourcesStatus: list[ResourceStatus] = []
    """Health of its devices."""
    stopSignal: str | None = None
    """The signal that asks it to end."""
