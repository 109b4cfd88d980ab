"""Which EndpointSlices a service is to have: pure decisions, carried out by endpoint_slices.py and its neighbour.

As upstream's endpointslice reconciler: endpoints that offer the same ports stand together, at most a hundred in a
slice, and whatever is there already stays where it is: a change of one pod is a write of one slice. What is new goes
into slices that are written anyhow, then all of the rest into one that has room for it, then into new ones; and what
would be created is made of what would be deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from kube.api.core import EndpointSubset, ObjectReference, Pod, Service
from kube.api.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kube.api.meta import ObjectMeta, OwnerReference
from kube.controller_manager.pod import ended, ready
from kube.controller_manager.subsets import HEADLESS, target_port

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
MIRRORING = "endpointslicemirroring-controller.k8s.io"
MOST = 100
"""Endpoints in a slice, unless --max-endpoints-per-slice says otherwise."""

_Port = tuple[str, str, int | None, str | None]
Group = tuple[str, tuple[_Port, ...]]
"""What the endpoints of a slice have in common: the type of their addresses, and their ports."""
Wanted = Mapping[Group, Sequence[Endpoint]]


@dataclass(frozen=True, slots=True)
class SlicePlan:
    """What to do to the slices of a service."""

    create: list[EndpointSlice] = field(default_factory=list)
    update: list[EndpointSlice] = field(default_factory=list)
    delete: list[EndpointSlice] = field(default_factory=list)


def of_service(service: Service, pods: Iterable[Pod], zones: Mapping[str, str]) -> dict[Group, list[Endpoint]]:
    """The endpoints of a service. `pods`: those that it selects; `zones`: of the nodes that have one.

    Other than in Endpoints, a pod that is being deleted stays as long as it runs, and says so: it may finish what it
    has begun. And one that has none of the ports is there, in a slice without ports.
    """
    groups: dict[Group, list[Endpoint]] = {}
    for pod in sorted(pods, key=lambda pod: pod.key):
        if ended(pod) or not pod.status.podIP:
            continue
        ports = tuple(
            sorted(
                (port.name, port.protocol or "TCP", number, port.appProtocol)
                for port in service.spec.ports
                if (number := target_port(pod, port)) is not None
            )
        )
        groups.setdefault((_family(pod.status.podIP), ports), []).append(_endpoint(service, pod, zones))
    return groups


def of_subsets(subsets: Iterable[EndpointSubset]) -> dict[Group, list[Endpoint]]:
    """The endpoints of Endpoints that were made by hand."""
    groups: dict[Group, list[Endpoint]] = {}
    for subset in subsets:
        ports = tuple(sorted((p.name, p.protocol or "TCP", p.port, p.appProtocol) for p in subset.ports))
        for is_ready, addresses in ((True, subset.addresses), (False, subset.notReadyAddresses)):
            for address in addresses:
                endpoint = Endpoint(
                    addresses=[address.ip],
                    conditions=EndpointConditions(ready=is_ready),
                    hostname=address.hostname or None,
                    nodeName=address.nodeName,
                    targetRef=address.targetRef,
                )
                groups.setdefault((_family(address.ip), ports), []).append(endpoint)
    return groups


def service_labels(service: Service) -> dict[str, str]:
    """The labels of a service's slices: its own, and what finds them."""
    labels = {key: value for key, value in service.metadata.labels.items() if key not in (HEADLESS, SERVICE_NAME)}
    if service.spec.clusterIP in ("", "None"):
        labels[HEADLESS] = ""
    return {**labels, SERVICE_NAME: service.name, MANAGED_BY: CONTROLLER}


def plan(
    owner: OwnerReference,
    metadata: ObjectMeta,
    existing: Iterable[EndpointSlice],
    wanted: Wanted,
    *,
    most: int = MOST,
) -> SlicePlan:
    """What makes the slices fit. `metadata`: namespace, generateName and labels of every slice.

    A service without endpoints keeps one empty slice: that there are none is different from not yet knowing any.
    """
    by_group: dict[Group, list[EndpointSlice]] = {}
    for each in sorted(existing, key=lambda s: s.name):
        by_group.setdefault(_group(each), []).append(each)
    result = SlicePlan()
    spare: list[EndpointSlice] = []
    for group in {**by_group, **wanted}:
        endpoints = wanted.get(group, ())
        if endpoints:
            _plan_group(owner, metadata, group, by_group.get(group, []), endpoints, most, result)
        else:
            spare += by_group.get(group, [])
    if not any(wanted.values()):
        empty = next((s for s in spare if not s.endpoints and not s.ports), None)
        if empty is None:
            result.create.append(_new(owner, metadata, ("IPv4", ()), []))
        else:
            spare.remove(empty)
            _keep(owner, metadata, empty, empty.endpoints, result)
    result.delete.extend(spare)
    _recycle(owner, result)
    return result


def _plan_group(
    owner: OwnerReference,
    metadata: ObjectMeta,
    group: Group,
    slices: list[EndpointSlice],
    endpoints: Sequence[Endpoint],
    most: int,
    result: SlicePlan,
) -> None:
    missing = {_identity(endpoint): endpoint for endpoint in endpoints}
    contents: list[tuple[EndpointSlice, list[Endpoint]]] = []
    for each in slices:
        # What stands twice (a create whose answer was lost) stays where it stands first.
        kept = [found for e in each.endpoints if (found := missing.pop(_identity(e), None)) is not None]
        contents.append((each, kept))
    rest = list(missing.values())
    changed: list[list[Endpoint]] = []
    others: list[list[Endpoint]] = []
    for each, kept in contents:
        same = kept == each.endpoints and each.metadata.labels == metadata.labels
        (others if same else changed).append(kept)
    # First into those that are written anyhow, the fullest before the others.
    for kept in sorted(changed, key=len, reverse=True):
        room = max(0, most - len(kept))
        kept += rest[:room]
        del rest[:room]
    while rest:
        fullest = max((kept for kept in others if len(kept) + len(rest) <= most), key=len, default=None)
        if fullest is None:
            result.create.append(_new(owner, metadata, group, rest[:most]))
            del rest[:most]
        else:
            fullest += rest
            rest = []
    for each, kept in contents:
        if kept:
            _keep(owner, metadata, each, kept, result)
        else:
            result.delete.append(each)


def _recycle(owner: OwnerReference, result: SlicePlan) -> None:
    """Make the slices that are to be created of those that are to be deleted: one write instead of two. Not of those of
    an earlier object of the owner's name, which the garbage collector is about to delete.
    """
    for gone in [*result.delete]:
        made = next((each for each in result.create if each.addressType == gone.addressType), None)
        if made is None or not _owned(gone, owner):
            continue
        changed = gone.clone()
        changed.endpoints, changed.ports, changed.metadata.labels = made.endpoints, made.ports, made.metadata.labels
        result.update.append(changed)
        result.create.remove(made)
        result.delete.remove(gone)


def _owned(each: EndpointSlice, owner: OwnerReference) -> bool:
    return any(reference.uid == owner.uid for reference in each.metadata.ownerReferences)


def _keep(
    owner: OwnerReference, metadata: ObjectMeta, old: EndpointSlice, endpoints: list[Endpoint], result: SlicePlan
) -> None:
    owned = _owned(old, owner)
    if endpoints == old.endpoints and old.metadata.labels == metadata.labels and owned:
        return
    changed = old.clone()
    changed.endpoints = endpoints
    changed.metadata.labels = dict(metadata.labels)
    if not owned:
        changed.metadata.ownerReferences = [owner]
    result.update.append(changed)


def _new(owner: OwnerReference, metadata: ObjectMeta, group: Group, endpoints: list[Endpoint]) -> EndpointSlice:
    made = metadata.clone()
    made.ownerReferences = [owner]
    ports = [
        EndpointPort(name=name, protocol=protocol, port=port, appProtocol=app) for name, protocol, port, app in group[1]
    ]
    return EndpointSlice(metadata=made, addressType=group[0], endpoints=endpoints, ports=ports)


def _group(each: EndpointSlice) -> Group:
    ports = ((p.name or "", p.protocol or "TCP", p.port, p.appProtocol) for p in each.ports)
    return each.addressType, tuple(sorted(ports, key=str))


def _family(ip: str) -> str:
    return f"IPv{ip_address(ip).version}"


def _identity(endpoint: Endpoint) -> tuple[object, ...]:
    ref = endpoint.targetRef
    return (*endpoint.addresses, endpoint.hostname, ref and ref.uid)


def _endpoint(service: Service, pod: Pod, zones: Mapping[str, str]) -> Endpoint:
    serving, terminating = ready(pod), pod.metadata.deletionTimestamp is not None
    named = bool(pod.spec.hostname) and pod.spec.subdomain == service.name
    return Endpoint(
        addresses=[pod.status.podIP],
        conditions=EndpointConditions(
            ready=service.spec.publishNotReadyAddresses or (serving and not terminating),
            serving=serving,
            terminating=terminating,
        ),
        hostname=pod.spec.hostname if named else None,
        nodeName=pod.spec.nodeName or None,
        zone=zones.get(pod.spec.nodeName),
        targetRef=ObjectReference(kind="Pod", namespace=pod.namespace, name=pod.name, uid=pod.metadata.uid),
    )
