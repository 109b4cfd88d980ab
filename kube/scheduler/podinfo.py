"""A pod as the scheduler sees it: what it asks of a node, worked out once for all pods that ask the same.

Pods of one controller differ in their names only. All that decides where they fit is their *class* (as the equivalence
classes of Kubernetes 1.10): one object that they share, so that ten thousand pods cost little, and what was found out
about one of them holds for the next.

Amounts are whole numbers: CPU in thousandths, everything else in its own unit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

from kube.api import labels, quantity
from kube.api.container import AnyContainer
from kube.api.core import Pod, PodSpec, PodStatus, Toleration, Volume
from kube.api.meta import ObjectMeta
from kube.api.nodeaffinity import PreferredNodes, RequiredNodes, preferred_nodes, required_nodes
from kube.api.placement import PodAffinityTerm, TopologySpreadConstraint
from kube.scheduler.matching import Pods, Term, selector_of

CPU, MEMORY, EPHEMERAL_STORAGE, PODS = "cpu", "memory", "ephemeral-storage", "pods"

# What a container without requests is taken to use when nodes are compared (not when they are filtered): upstream's
# DefaultMilliCPURequest and DefaultMemoryRequest.
DEFAULT_MILLI_CPU = 100
DEFAULT_MEMORY = 200 * 1024 * 1024

ANY_IP = "0.0.0.0"
"""What an empty hostIP stands for."""

HostPort = tuple[str, str, int]
"""Host IP, protocol, port."""


def amount(resource: str, value: str) -> int:
    """A quantity as the whole number that is counted."""
    return quantity.milli(value) if resource == CPU else quantity.integer(value)


def amounts(resources: Mapping[str, str]) -> dict[str, int]:
    """A resource list as whole numbers."""
    return {name: amount(name, value) for name, value in resources.items()}


def container_requests(container: AnyContainer) -> dict[str, int]:
    """What a container requests; a limit stands in for a request that is missing."""
    return amounts({**container.resources.limits, **container.resources.requests})


def _together(pod: Pod, missing: Mapping[str, int]) -> dict[str, int]:
    """What the containers of a pod request: the larger of those that run side by side and the largest init container.

    A sidecar (an init container that is restarted always) counts with the containers, and with every init container
    that starts after it. `missing`: what a container requests that does not say.
    """
    total: Counter[str] = Counter()
    for container in pod.spec.containers:
        total.update({**missing, **container_requests(container)})
    sidecars: Counter[str] = Counter()
    peak: dict[str, int] = {}
    for container in pod.spec.initContainers:
        requests = {**missing, **container_requests(container)}
        if container.restartPolicy == "Always":
            sidecars.update(requests)
            requests = dict(sidecars)
        else:
            requests = {name: requests.get(name, 0) + sidecars[name] for name in {**requests, **sidecars}}
        for name, value in requests.items():
            peak[name] = max(peak.get(name, 0), value)
    total.update(sidecars)
    return {name: max(total[name], peak.get(name, 0)) for name in {**total, **peak}}


def _of_the_whole(pod: Pod, together: Mapping[str, int]) -> dict[str, int]:
    """What the pod as a whole requests (spec.resources); its limit, of what neither it nor its containers request."""
    resources = pod.spec.resources
    if resources is None:
        return {}
    limits = {name: limit for name, limit in resources.limits.items() if name not in together}
    return amounts({**limits, **resources.requests})


def _with_overhead(pod: Pod, requests: dict[str, int]) -> dict[str, int]:
    for name, value in amounts(pod.spec.overhead).items():
        requests[name] = requests.get(name, 0) + value
    return requests


def pod_requests(pod: Pod) -> dict[str, int]:
    """What a pod requests: for the whole of it, or else its containers together; and its overhead.

    (component-helpers/resource: PodRequests, after the defaults that the apiserver has for `spec.resources`)
    """
    together = _together(pod, {})
    return _with_overhead(pod, {**together, **_of_the_whole(pod, together)})


def _assumed_use(pod: Pod) -> tuple[int, int]:
    """CPU and memory that the pod is taken to use: a container that does not say gets a small default.

    Of a pod with requests of its own, for what neither it nor any of its containers names.
    """
    whole = _of_the_whole(pod, named := _together(pod, {}))
    defaults = {CPU: DEFAULT_MILLI_CPU, MEMORY: DEFAULT_MEMORY}
    missing = {name: value for name, value in defaults.items() if not whole or name not in {**named, **whole}}
    found = _with_overhead(pod, {**_together(pod, missing), **whole})
    return found.get(CPU, 0), found.get(MEMORY, 0)


def host_ports(pod: Pod) -> tuple[HostPort, ...]:
    """The ports of the node that a pod takes. On the host's network every container port is one."""
    return tuple(
        (port.hostIP or ANY_IP, port.protocol or "TCP", number)
        for container in (*pod.spec.containers, *(c for c in pod.spec.initContainers if c.restartPolicy == "Always"))
        for port in container.ports
        if (number := port.hostPort or (port.containerPort if pod.spec.hostNetwork else 0))
    )


@dataclass(frozen=True, slots=True)
class Disk:
    """A volume that cannot be used by two pods of one node at will (upstream's VolumeRestrictions)."""

    kind: str
    names: frozenset[str]
    """What names the disk; of Ceph one of its monitors and pools and images is enough to name the same one."""
    read_only: bool

    def conflicts(self, other: Disk) -> bool:
        """Whether both cannot be on one node. Google's, Ceph's and iSCSI's may be shared by readers."""
        if self.kind != other.kind or not self.names & other.names:
            return False
        return self.kind == "aws" or not (self.read_only and other.read_only)


def _disks(pod: Pod) -> tuple[Disk, ...]:
    found = []
    for volume in pod.spec.volumes:
        if (gce := volume.gcePersistentDisk) is not None:
            found.append(Disk("gce", frozenset((gce.pdName,)), gce.readOnly))
        elif (aws := volume.awsElasticBlockStore) is not None:
            found.append(Disk("aws", frozenset((aws.volumeID,)), aws.readOnly))
        elif (iscsi := volume.iscsi) is not None:
            found.append(Disk("iscsi", frozenset((iscsi.iqn,)), iscsi.readOnly))
        elif (rbd := volume.rbd) is not None:
            names = frozenset(f"{monitor}/{rbd.pool}/{rbd.image}" for monitor in rbd.monitors)
            found.append(Disk("rbd", names, rbd.readOnly))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Constraint:
    """A topology spread constraint."""

    max_skew: int
    topology_key: str
    required: bool
    """DoNotSchedule, or else ScheduleAnyway."""
    pods: Pods
    min_domains: int
    honor_affinity: bool
    honor_taints: bool


@dataclass(frozen=True, slots=True)
class Affinity:
    """What a pod wants of the pods near to it."""

    near: tuple[Term, ...] = ()
    far: tuple[Term, ...] = ()
    liked: tuple[tuple[Term, int], ...] = ()
    """Preferred terms and their weights, which are negative for those to be far from."""

    def __bool__(self) -> bool:
        return bool(self.near or self.far or self.liked)


NO_AFFINITY = Affinity()


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class PodClass:
    """What a pod asks of a node. Pods that ask the same share one object."""

    namespace: str
    labels: Mapping[str, str]
    priority: int
    requests: Mapping[str, int]
    """Without those of nothing."""
    request_key: frozenset[tuple[str, int]]
    cpu: int
    """CPU it is taken to use, with a default where it does not say."""
    memory: int
    """Memory it is taken to use, with a default where it does not say."""
    best_effort: bool
    """No container asks for CPU or memory."""
    ports: tuple[HostPort, ...]
    tolerations: tuple[Toleration, ...]
    toleration_key: tuple[tuple[str, str, str, str], ...]
    required_nodes: RequiredNodes | None
    preferred_nodes: PreferredNodes | None
    affinity: Affinity
    spread: tuple[Constraint, ...]
    images: tuple[str, ...]
    containers: int
    disks: tuple[Disk, ...]
    claims: tuple[str, ...]
    """The PersistentVolumeClaims it uses."""


_classes: WeakValueDictionary[object, PodClass] = WeakValueDictionary()


def class_of(pod: Pod) -> PodClass:
    """The class of a pod."""
    key = _class_key(pod)
    found = _classes.get(key)
    if found is None:
        found = _classes[key] = _new_class(pod)
    return found


def _class_key(pod: Pod) -> object:
    spec = pod.spec
    return (
        pod.metadata.namespace,
        frozenset(pod.metadata.labels.items()),
        spec.priority,
        tuple([_container_key(each) for each in spec.containers]),
        tuple([_container_key(each) for each in spec.initContainers]) if spec.initContainers else None,
        frozenset(spec.overhead.items()) if spec.overhead else None,
        spec.resources.to_json() if spec.resources is not None else None,
        frozenset(spec.nodeSelector.items()) if spec.nodeSelector else None,
        spec.affinity.to_json() if spec.affinity is not None else None,
        _toleration_key(pod) if spec.tolerations else None,
        tuple([each.to_json() for each in spec.topologySpreadConstraints]) if spec.topologySpreadConstraints else None,
        spec.hostNetwork,
        (_disks(pod), _claims(pod)) if spec.volumes else None,
    )


def _container_key(container: AnyContainer) -> object:
    resources = container.resources
    return (
        container.image,
        frozenset(resources.requests.items()),
        frozenset(resources.limits.items()) if resources.limits else None,
        tuple([(p.hostIP, p.protocol, p.hostPort, p.containerPort) for p in container.ports])
        if container.ports
        else None,
        container.restartPolicy,
    )


def _toleration_key(pod: Pod) -> tuple[tuple[str, str, str, str], ...]:
    return tuple([(t.key, t.operator, t.value, t.effect) for t in pod.spec.tolerations])


def claim_name(pod: Pod, volume: Volume) -> str | None:
    """The claim that a volume is; of a generic ephemeral volume the one that is made for it, `<pod>-<volume>`."""
    if volume.persistentVolumeClaim is not None:
        return volume.persistentVolumeClaim.claimName
    return f"{pod.name}-{volume.name}" if volume.ephemeral is not None else None


def _claims(pod: Pod) -> tuple[str, ...]:
    return tuple(name for volume in pod.spec.volumes if (name := claim_name(pod, volume)) is not None)


def _new_class(pod: Pod) -> PodClass:
    spec = pod.spec
    requests = {name: value for name, value in pod_requests(pod).items() if value}
    cpu, memory = _assumed_use(pod)
    return PodClass(
        namespace=pod.metadata.namespace,
        labels=pod.metadata.labels,
        priority=spec.priority or 0,
        requests=requests,
        request_key=frozenset(requests.items()),
        cpu=cpu,
        memory=memory,
        best_effort=not any(name in (CPU, MEMORY) for name in requests),
        ports=host_ports(pod),
        tolerations=tuple(spec.tolerations),
        toleration_key=_toleration_key(pod),
        required_nodes=required_nodes(spec),
        preferred_nodes=preferred_nodes(spec),
        affinity=_affinity(pod),
        spread=tuple(constraint(pod, each) for each in spec.topologySpreadConstraints),
        images=tuple(each.image for each in (*spec.initContainers, *spec.containers)),
        containers=len(spec.initContainers) + len(spec.containers),
        disks=_disks(pod),
        claims=_claims(pod),
    )


def _affinity(pod: Pod) -> Affinity:
    affinity = pod.spec.affinity
    if affinity is None or (affinity.podAffinity is None and affinity.podAntiAffinity is None):
        return NO_AFFINITY
    near, far = affinity.podAffinity, affinity.podAntiAffinity
    liked: list[tuple[Term, int]] = []
    for terms, sign in ((near, 1), (far, -1)):
        if terms is not None:
            liked += [
                (_term(pod, each.podAffinityTerm), sign * each.weight)
                for each in terms.preferredDuringSchedulingIgnoredDuringExecution
                if each.weight
            ]
    return Affinity(
        tuple(_term(pod, each) for each in near.requiredDuringSchedulingIgnoredDuringExecution) if near else (),
        tuple(_term(pod, each) for each in far.requiredDuringSchedulingIgnoredDuringExecution) if far else (),
        tuple(liked),
    )


def _term(pod: Pod, term: PodAffinityTerm) -> Term:
    """A term with the pod's own namespace, if it names none and selects none, and its own values of the label keys."""
    extra = [*_like(pod, term.matchLabelKeys, labels.IN), *_like(pod, term.mismatchLabelKeys, labels.NOT_IN)]
    selector = selector_of(term.labelSelector, extra)
    namespaces = frozenset(term.namespaces)
    if not namespaces and term.namespaceSelector is None:
        namespaces = frozenset((pod.metadata.namespace,))
    return Term(Pods(selector, namespaces, selector_of(term.namespaceSelector)), term.topologyKey)


def constraint(pod: Pod, described: TopologySpreadConstraint, pods: Pods | None = None) -> Constraint:
    """A constraint of a pod; `pods`: those that it is about, if it does not select them itself."""
    if pods is None:
        pods = Pods(selector_of(described.labelSelector), frozenset((pod.metadata.namespace,)))
    if extra := tuple(_like(pod, described.matchLabelKeys, labels.IN)):
        selector = labels.Selector((*pods.selector.requirements, *extra), pods.selector.nothing)
        pods = Pods(selector, pods.namespaces)
    return Constraint(
        max_skew=described.maxSkew,
        topology_key=described.topologyKey,
        required=described.whenUnsatisfiable == "DoNotSchedule",
        pods=pods,
        min_domains=1 if described.minDomains is None else described.minDomains,
        honor_affinity=described.nodeAffinityPolicy in (None, "Honor"),
        honor_taints=described.nodeTaintsPolicy == "Honor",
    )


def _like(pod: Pod, keys: list[str], operator: str) -> list[labels.Requirement]:
    own = pod.metadata.labels
    return [labels.Requirement(key, operator, frozenset((own[key],))) for key in keys if key in own]


_specs: WeakValueDictionary[bytes, PodSpec] = WeakValueDictionary()
_statuses: WeakValueDictionary[object, PodStatus] = WeakValueDictionary()


def slimmed(pod: Pod) -> Pod:
    """The pod, which is changed, as far as the scheduler looks at it; equal parts of pods are one object.

    A third of the memory: a pod as it is read takes 13 kB, and the caches of a large cluster hold tens of thousands.
    """
    unread_metadata, unread_status = _unread()
    parts = vars(pod)
    vars(pod.metadata).update(unread_metadata)
    vars(pod.status).update(unread_status)
    parts["spec"] = _specs.setdefault(pod.spec.to_json(), pod.spec)
    parts["status"] = _statuses.setdefault(_status_key(pod.status), pod.status)
    for model in (pod, pod.metadata):
        object.__setattr__(model, "__pydantic_fields_set__", _SET)
    return pod


_SET = {"metadata"}
"""Which fields a model was given: of no use here, and one set serves all."""


@cache
def _unread() -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that nobody reads here, as they are when there is nothing in them: one object for all pods."""
    metadata, status = vars(ObjectMeta()), vars(PodStatus())
    read = {"name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "labels"}
    looked_at = {"phase", "conditions", "nominatedNodeName", "startTime"}
    return (
        {name: empty for name, empty in metadata.items() if name not in read},
        {name: empty for name, empty in status.items() if name not in looked_at},
    )


def _status_key(status: PodStatus) -> object:
    return (
        status.phase,
        status.nominatedNodeName,
        status.startTime,
        tuple([tuple(vars(condition).values()) for condition in status.conditions]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class PodInfo:
    """A pod and its class."""

    pod: Pod
    cls: PodClass

    @classmethod
    def of(cls, pod: Pod, before: PodInfo | None = None) -> PodInfo:
        """`before`: the pod as it was, which is of the same class if only its status has changed."""
        if before is not None and before.pod.spec is pod.spec and before.pod.metadata.labels == pod.metadata.labels:
            return cls(pod, before.cls)
        return cls(pod, class_of(pod))

    @property
    def key(self) -> str:
        return self.pod.key

    @property
    def uid(self) -> str:
        return self.pod.metadata.uid

    @property
    def living(self) -> bool:
        """Whether nobody has asked for its deletion."""
        return self.pod.metadata.deletionTimestamp is None
