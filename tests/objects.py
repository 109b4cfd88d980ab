"""Objects for tests, in a few words."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from kube.api.core import (
    Container,
    ContainerPort,
    ContainerStatus,
    Node,
    NodeCondition,
    NodeSpec,
    NodeStatus,
    Pod,
    PodCondition,
    PodSpec,
    PodStatus,
    PodTemplateSpec,
    ReplicationController,
    ReplicationControllerSpec,
    ResourceRequirements,
    Service,
    ServicePort,
    ServiceSpec,
    Taint,
)
from kube.api.meta import ObjectMeta, OwnerReference

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    """A moment before noon."""
    return NOON - timedelta(seconds=seconds)


def condition_ready(status: str = "True", since: datetime | None = NOON) -> PodCondition:
    return PodCondition(type="Ready", status=status, lastTransitionTime=since)


def container(
    requests: Mapping[str, str] | None = None,
    limits: Mapping[str, str] | None = None,
    ports: Iterable[ContainerPort] = (),
    name: str = "c",
) -> Container:
    resources = ResourceRequirements(requests=dict(requests or {}), limits=dict(limits or {}))
    return Container(name=name, image="kube/web", resources=resources, ports=list(ports))


def pod(
    name: str = "p",
    *,
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    node: str = "",
    phase: str = "Pending",
    ready: bool | None = None,
    ready_since: datetime | None = NOON,
    ip: str = "",
    owner: ReplicationController | None = None,
    restarts: int = 0,
    created: datetime | None = NOON,
    deleting: bool = False,
    requests: Mapping[str, str] | None = None,
    ports: Iterable[ContainerPort] = (),
    spec: PodSpec | None = None,
    annotations: Mapping[str, str] | None = None,
    uid: str = "",
) -> Pod:
    """A pod; `spec` replaces the one that the other words would make."""
    spec = spec or PodSpec(containers=[container(requests, ports=ports)])
    spec.nodeName = node or spec.nodeName
    owners = [controlled_by(owner)] if owner else []
    return Pod(
        metadata=ObjectMeta(
            name=name,
            namespace=namespace,
            uid=uid or str(uuid.uuid4()),
            labels=dict(labels or {}),
            annotations=dict(annotations or {}),
            creationTimestamp=created,
            deletionTimestamp=NOON if deleting else None,
            ownerReferences=owners,
        ),
        spec=spec,
        status=PodStatus(
            phase=phase,
            podIP=ip,
            conditions=[] if ready is None else [condition_ready(str(ready), ready_since)],
            containerStatuses=[ContainerStatus(name="c", restartCount=restarts)] if restarts else [],
        ),
    )


def controlled_by(rc: ReplicationController) -> OwnerReference:
    return OwnerReference(
        apiVersion="v1",
        kind=rc.kind,
        name=rc.name,
        uid=rc.metadata.uid,
        controller=True,
        blockOwnerDeletion=True,
    )


def node(
    name: str = "n",
    *,
    cpu: str = "4",
    memory: str = "8Gi",
    pods: str = "110",
    ready: str = "True",
    labels: Mapping[str, str] | None = None,
    taints: Iterable[Taint] = (),
    unschedulable: bool = False,
    heartbeat: datetime | None = NOON,
) -> Node:
    """A node; `ready=""` leaves out the condition."""
    amounts = {"cpu": cpu, "memory": memory, "pods": pods}
    condition = NodeCondition(type="Ready", status=ready, lastHeartbeatTime=heartbeat, lastTransitionTime=NOON)
    return Node(
        metadata=ObjectMeta(name=name, uid=str(uuid.uuid4()), labels=dict(labels or {})),
        spec=NodeSpec(taints=list(taints), unschedulable=unschedulable),
        status=NodeStatus(capacity=amounts, allocatable=amounts, conditions=[condition] if ready else []),
    )


def rc(
    name: str = "web",
    replicas: int = 3,
    *,
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    min_ready: int = 0,
    deleting: bool = False,
    generation: int = 1,
) -> ReplicationController:
    labels = dict(labels or {"app": name})
    return ReplicationController(
        metadata=ObjectMeta(
            name=name,
            namespace=namespace,
            uid=str(uuid.uuid4()),
            generation=generation,
            deletionTimestamp=NOON if deleting else None,
        ),
        spec=ReplicationControllerSpec(
            replicas=replicas,
            selector=labels,
            minReadySeconds=min_ready,
            template=PodTemplateSpec(
                metadata=ObjectMeta(labels=labels), spec=PodSpec(containers=[container()], restartPolicy="Always")
            ),
        ),
    )


def service(
    name: str = "web",
    selector: Mapping[str, str] | None = None,
    ports: Iterable[ServicePort] = (),
    *,
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    cluster_ip: str = "10.96.0.9",
    publish_not_ready: bool = False,
    type: str = "ClusterIP",
) -> Service:
    return Service(
        metadata=ObjectMeta(name=name, namespace=namespace, uid=str(uuid.uuid4()), labels=dict(labels or {})),
        spec=ServiceSpec(
            selector={"app": name} if selector is None else dict(selector),
            ports=list(ports) or [ServicePort(port=80, targetPort=80, protocol="TCP")],
            clusterIP=cluster_ip,
            type=type,
            publishNotReadyAddresses=publish_not_ready,
        ),
    )
