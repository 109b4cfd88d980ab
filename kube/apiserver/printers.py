"""The server's side of `kubectl get`: objects as a Table of upstream's columns (pkg/printers/internalversion).

A column of priority 0 is always shown, one of priority 1 with `-o wide`. Ages are computed here, when the table
is made, as upstream does.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from kube.api import conversion, labels, resources
from kube.api.coordination import Lease
from kube.api.core import (
    ComponentStatus,
    ConfigMap,
    Container,
    Endpoints,
    Event,
    LimitRange,
    Namespace,
    Node,
    Pod,
    PodTemplate,
    ReplicationController,
    ResourceQuota,
    Secret,
    Service,
    ServiceAccount,
)
from kube.api.discovery import EndpointSlice
from kube.api.meta import Object
from kube.api.resources import Resource
from kube.apiserver import printers_stored
from kube.apiserver.columns import NONE, UNKNOWN, UNSET, Printer, Row, age, columns


def table(resource: Resource, objects: Sequence[Object], revision: str, include: str) -> dict[str, Any]:
    """A meta.k8s.io/v1 Table. `include` says how much of each object goes with its row: None, Metadata or Object."""
    heads, cells = _PRINTERS.get(resource.kind) or printers_stored.PRINTERS.get(resource.kind) or _DEFAULT
    moment = datetime.now(UTC)
    rows = []
    for obj in objects:
        row: dict[str, Any] = {"cells": list(cells(obj, moment))}
        if include == "Object":
            row["object"] = obj.to_dict()
        elif include != "None":
            row["object"] = {
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj.metadata.to_dict(),
            }  # fmt: skip
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": revision},
        "columnDefinitions": heads,
        "rows": rows,
    }


def pod_reason(pod: Pod) -> tuple[str, int, int, int, datetime | None]:
    """The STATUS of a pod in one word, its ready and total containers, restarts, and when the last restart was.

    It is the most telling of the phase and its containers' states (printPod).
    """
    status = pod.status
    reason = status.reason or status.phase
    if any(c.type == "PodScheduled" and c.reason == "SchedulingGated" for c in status.conditions):
        reason = "SchedulingGated"
    restarts, ready, last_restart = 0, 0, None
    initializing = False
    for index, container in enumerate(status.initContainerStatuses):
        restarts += container.restartCount
        state = container.state
        if state is not None and state.terminated is not None and state.terminated.exitCode == 0:
            continue
        if state is not None and state.terminated is not None:
            terminated = state.terminated
            word = terminated.reason or (f"Signal:{terminated.signal}" if terminated.signal
                                         else f"ExitCode:{terminated.exitCode}")  # fmt: skip
            reason = f"Init:{word}"
        elif state is not None and state.waiting is not None and state.waiting.reason not in ("", "PodInitializing"):
            reason = f"Init:{state.waiting.reason}"
        else:
            reason = f"Init:{index}/{len(pod.spec.initContainers)}"
        initializing = True
        break
    if not initializing:
        restarts = 0
        has_running = False
        for container in reversed(status.containerStatuses):
            restarts += container.restartCount
            last = container.lastState.terminated if container.lastState else None
            if last is not None and last.finishedAt is not None:
                last_restart = max(filter(None, (last_restart, last.finishedAt)))
            state = container.state
            if state is None:
                continue
            if state.waiting is not None and state.waiting.reason:
                reason = state.waiting.reason
            elif state.terminated is not None:
                terminated = state.terminated
                reason = terminated.reason or (f"Signal:{terminated.signal}" if terminated.signal
                                               else f"ExitCode:{terminated.exitCode}")  # fmt: skip
            elif container.ready and state.running is not None:
                has_running = True
                ready += 1
        if reason == "Completed" and has_running:
            is_ready = any(c.type == "Ready" and c.status == "True" for c in status.conditions)
            reason = "Running" if is_ready else "NotReady"
    if pod.metadata.deletionTimestamp is not None:
        reason = "Unknown" if status.reason == "NodeLost" else "Terminating"
    return reason, ready, len(pod.spec.containers), restarts, last_restart


def _pod(pod: Pod, moment: datetime) -> Row:
    reason, ready, total, restarts, last_restart = pod_reason(pod)
    shown = f"{restarts} ({age(last_restart, moment)} ago)" if restarts and last_restart else str(restarts)
    gates = NONE
    if pod.spec.readinessGates:
        true = {c.type for c in pod.status.conditions if c.status == "True"}
        met = sum(gate.conditionType in true for gate in pod.spec.readinessGates)
        gates = f"{met}/{len(pod.spec.readinessGates)}"
    return (
        pod.metadata.name, f"{ready}/{total}", reason, shown, age(pod.metadata.creationTimestamp, moment),
        pod.status.podIP or NONE, pod.spec.nodeName or NONE, pod.status.nominatedNodeName or NONE, gates,
    )  # fmt: skip


def _external_ip(service: Service) -> str:
    spec = service.spec
    if spec.type == "ExternalName":
        return spec.externalName
    if spec.type == "LoadBalancer":
        given = [point.ip or point.hostname for point in service.status.loadBalancer.ingress]
        return ",".join([*given, *spec.externalIPs]) or "<pending>"
    return ",".join(spec.externalIPs) or NONE


def _service(service: Service, moment: datetime) -> Row:
    spec = service.spec
    ports = ",".join(
        f"{p.port}:{p.nodePort}/{p.protocol}" if p.nodePort else f"{p.port}/{p.protocol}" for p in spec.ports
    )
    return (
        service.metadata.name, spec.type, spec.clusterIP or NONE, _external_ip(service), ports or NONE,
        age(service.metadata.creationTimestamp, moment), str(labels.from_map(spec.selector)) or NONE,
    )  # fmt: skip


def _containers(containers: Sequence[Container]) -> tuple[str, str]:
    return ",".join(c.name for c in containers), ",".join(c.image for c in containers)


def _replication_controller(rc: ReplicationController, moment: datetime) -> Row:
    names, images = _containers(rc.spec.template.spec.containers) if rc.spec.template else ("", "")
    return (
        rc.metadata.name, rc.spec.replicas or 0, rc.status.replicas, rc.status.readyReplicas,
        age(rc.metadata.creationTimestamp, moment), names, images, str(labels.from_map(rc.spec.selector)) or NONE,
    )  # fmt: skip


def _endpoints(endpoints: Endpoints, moment: datetime) -> Row:
    shown: list[str] = []
    for subset in endpoints.subsets:
        if subset.ports:
            shown += [f"{address.ip}:{port.port}" for port in subset.ports for address in subset.addresses]
        else:
            shown += [address.ip for address in subset.addresses]
    text = ",".join(shown[:3]) + (f" + {len(shown) - 3} more..." if len(shown) > 3 else "")
    return endpoints.metadata.name, text or NONE, age(endpoints.metadata.creationTimestamp, moment)


def _few(items: Sequence[str]) -> str:
    return ",".join(items[:3]) + (f" + {len(items) - 3} more..." if len(items) > 3 else "") or UNSET


def _endpoint_slice(slice_: EndpointSlice, moment: datetime) -> Row:
    ports = [str(port.port) if port.port is not None else port.name or "*" for port in slice_.ports]
    addresses = [address for endpoint in slice_.endpoints for address in endpoint.addresses]
    return (
        slice_.metadata.name, slice_.addressType, _few(ports), _few(addresses),
        age(slice_.metadata.creationTimestamp, moment),
    )  # fmt: skip


def _node(node: Node, moment: datetime) -> Row:
    ready = next((c for c in node.status.conditions if c.type == "Ready"), None)
    status = "Unknown" if ready is None else "Ready" if ready.status == "True" else "NotReady"
    if node.spec.unschedulable:
        status += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = sorted(key.removeprefix(prefix) for key in node.metadata.labels if key.startswith(prefix))
    addresses = {address.type: address.address for address in node.status.addresses}
    info = node.status.nodeInfo
    return (
        node.metadata.name, status, ",".join(roles) or NONE, age(node.metadata.creationTimestamp, moment),
        info.kubeletVersion, addresses.get("InternalIP", NONE), addresses.get("ExternalIP", NONE),
        info.osImage or UNKNOWN, info.kernelVersion or UNKNOWN, info.containerRuntimeVersion or UNKNOWN,
    )  # fmt: skip


def _namespace(namespace: Namespace, moment: datetime) -> Row:
    return namespace.metadata.name, namespace.status.phase, age(namespace.metadata.creationTimestamp, moment)


def _event(shown: Object, moment: datetime) -> Row:
    event = conversion.to_stored(resources.of(type(shown)), shown)
    assert isinstance(event, Event)
    first = age(event.firstTimestamp, moment) if event.firstTimestamp else age(event.eventTime, moment)
    last = age(event.lastTimestamp, moment) if event.lastTimestamp else first
    count = event.count or 1
    about = event.involvedObject
    source = event.source.component or event.reportingComponent
    return (
        last, event.type, event.reason, f"{about.kind.lower()}/{about.name}", event.message.strip(),
        about.fieldPath, f"{source}, {event.source.host}" if event.source.host else source, first, count,
        event.metadata.name,
    )  # fmt: skip


def _lease(lease: Lease, moment: datetime) -> Row:
    return lease.metadata.name, lease.spec.holderIdentity or "", age(lease.metadata.creationTimestamp, moment)


def _config_map(config: ConfigMap, moment: datetime) -> Row:
    count = len(config.data) + len(config.binaryData)
    return config.metadata.name, count, age(config.metadata.creationTimestamp, moment)


def _secret(secret: Secret, moment: datetime) -> Row:
    return secret.metadata.name, secret.type, len(secret.data), age(secret.metadata.creationTimestamp, moment)


def _service_account(account: ServiceAccount, moment: datetime) -> Row:
    return account.metadata.name, len(account.secrets), age(account.metadata.creationTimestamp, moment)


def _pod_template(holder: PodTemplate, moment: datetime) -> Row:
    names, images = _containers(holder.template.spec.containers)
    return holder.metadata.name, names, images, str(labels.from_map(holder.template.metadata.labels)) or NONE


def _limit_range(limits: LimitRange, moment: datetime) -> Row:
    created = limits.metadata.creationTimestamp
    return limits.metadata.name, UNKNOWN if created is None else created.strftime("%Y-%m-%dT%H:%M:%SZ")


def _resource_quota(quota: ResourceQuota, moment: datetime) -> Row:
    status = quota.status
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(status.hard):
        shown = f"{name}: {status.used.get(name, '0')}/{status.hard[name]}"
        (limits if name.startswith("limits") else requests).append(shown)
    made = age(quota.metadata.creationTimestamp, moment)
    return quota.metadata.name, ", ".join(requests), ", ".join(limits), made


def _component_status(component: ComponentStatus, moment: datetime) -> Row:
    healthy = next((c for c in component.conditions if c.type == "Healthy"), None)
    if healthy is None:
        return component.metadata.name, "Unknown", "", ""
    status = {"True": "Healthy", "False": "Unhealthy"}.get(healthy.status, "Unknown")
    return component.metadata.name, status, healthy.message, healthy.error


def _any(obj: Object, moment: datetime) -> Row:
    return obj.metadata.name, age(obj.metadata.creationTimestamp, moment)


_DEFAULT: Printer = (columns("Name|Age"), _any)

_PRINTERS: dict[str, Printer] = {
    "Pod": (columns("Name|Ready|Status|Restarts|Age", "IP|Node|Nominated Node|Readiness Gates"), _pod),
    "Service": (columns("Name|Type|Cluster-IP|External-IP|Port(s)|Age", "Selector"), _service),
    "ReplicationController": (
        columns(
            "Name|Desired|Current|Ready|Age", "Containers|Images|Selector", numbers=("Desired", "Current", "Ready")
        ),
        _replication_controller,
    ),
    "Endpoints": (columns("Name|Endpoints|Age"), _endpoints),
    "EndpointSlice": (columns("Name|AddressType|Ports|Endpoints|Age"), _endpoint_slice),
    "Node": (
        columns(
            "Name|Status|Roles|Age|Version",
            "Internal-IP|External-IP|OS-Image|Kernel-Version|Container-Runtime",
        ),
        _node,
    ),
    "Namespace": (columns("Name|Status|Age"), _namespace),
    "Event": (
        columns("Last Seen|Type|Reason|Object|Message", "Subobject|Source|First Seen|Count|Name", numbers=("Count",)),
        _event,
    ),
    "Lease": (columns("Name|Holder|Age"), _lease),
    "ConfigMap": (columns("Name|Data|Age", numbers=("Data",)), _config_map),
    "Secret": (columns("Name|Type|Data|Age", numbers=("Data",)), _secret),
    "ServiceAccount": (columns("Name|Secrets|Age", numbers=("Secrets",)), _service_account),
    "PodTemplate": (columns("Name|Containers|Images|Pod Labels"), _pod_template),
    "LimitRange": (columns("Name|Created At"), _limit_range),
    "ResourceQuota": (columns("Name|Request|Limit|Age"), _resource_quota),
    "ComponentStatus": (columns("Name|Status|Message|Error"), _component_status),
}
