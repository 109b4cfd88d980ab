"""What an object uses of its namespace's ResourceQuotas: pure rules that the apiserver and the quota controller share.

As upstream's quota evaluators (pkg/quota/v1/evaluator/core): pods by count, requests and limits; services by kind;
claims by count and requested storage; every other kind by count. A quota with scopes counts only the pods that are in
all of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from kube.api import quantity
from kube.api.core import Pod, ResourceQuota, ScopedResourceSelectorRequirement, Service
from kube.api.meta import Object, now
from kube.api.qos import BEST_EFFORT, qos_class
from kube.api.resources import Resource, of
from kube.api.unstructured import Unstructured

Amounts = dict[str, str]
"""Quantities by the name of a quota's resource."""

COUNTED_BY_NAME = (
    "configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas", "secrets", "services",
)  # fmt: skip
"""Kinds that `hard` may name by their plural alone."""
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_HUGEPAGES = "hugepages-"
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
"""How a claim named its storage class before there was a field; it goes first."""
_MUST_SPECIFY = {"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"}


def requests(pod: Pod) -> Amounts:
    """What the pod asks for: the sum of its containers, or the largest init container, or what it asks for as a whole.

    Its overhead is not in it. A limit of the whole stands in for a request that neither it nor a container names.
    """
    summed, whole = _sum(pod, "requests"), pod.spec.resources
    return summed if whole is None else {**_whole(whole.limits), **summed, **_whole(whole.requests)}


def limits(pod: Pod) -> Amounts:
    """What the pod is limited to, likewise."""
    summed, whole = _sum(pod, "limits"), pod.spec.resources
    return summed if whole is None else {**summed, **_whole(whole.limits)}


def _whole(amounts: Amounts) -> Amounts:
    """What a pod may say of itself as a whole; the containers' sum does not count then."""
    return {name: value for name, value in amounts.items() if name in ("cpu", "memory") or name.startswith(_HUGEPAGES)}


def _sum(pod: Pod, which: str) -> Amounts:
    containers = quantity.add_lists(*(getattr(c.resources, which) for c in pod.spec.containers))
    sidecars: Amounts = {}
    largest: Amounts = {}
    for each in pod.spec.initContainers:
        amounts = getattr(each.resources, which)
        if each.restartPolicy == "Always":
            sidecars = quantity.add_lists(sidecars, amounts)
            largest = _max(largest, sidecars)
        else:
            largest = _max(largest, quantity.add_lists(sidecars, amounts))
    return _max(quantity.add_lists(containers, sidecars), largest)


def _max(a: Mapping[str, str], b: Mapping[str, str]) -> Amounts:
    names = {**a, **b}
    return {n: a[n] if n not in b or (n in a and quantity.compare(a[n], b[n]) >= 0) else b[n] for n in names}


def countable(resource: Resource) -> bool:
    """Whether a quota can count the objects of a kind: what is in a namespace and can be deleted, but for events."""
    return resource.namespaced and "delete" in resource.verbs and resource.plural != "events"


def of_object(obj: Object, moment: datetime | None = None) -> Amounts:
    """What an object uses of any quota."""
    resource = of(type(obj))
    counted = {_count_name(resource): "1"}
    if isinstance(obj, Pod):
        return {**counted, **(_of_pod(obj) if not _over(obj, moment or now()) else {})}
    if resource.plural in COUNTED_BY_NAME and not resource.group:
        counted[resource.plural] = "1"
    if isinstance(obj, Service):
        ports = len(obj.spec.ports)
        if obj.spec.type == "NodePort":
            counted["services.nodeports"] = str(ports)
        elif obj.spec.type == "LoadBalancer":
            counted["services.loadbalancers"] = "1"
            if obj.spec.allocateLoadBalancerNodePorts is False:
                ports = sum(port.nodePort > 0 for port in obj.spec.ports)  # those that were asked for
            counted["services.nodeports"] = str(ports)
    elif isinstance(obj, Unstructured) and resource.plural == "persistentvolumeclaims":
        counted |= _of_claim(obj)
    return counted


def _count_name(resource: Resource) -> str:
    return f"count/{resource.plural}.{resource.group}" if resource.group else f"count/{resource.plural}"


def _of_pod(pod: Pod) -> Amounts:
    amounts: Amounts = {"pods": "1"}
    overhead = pod.spec.overhead
    for name, value in quantity.add_lists(requests(pod), overhead).items():
        amounts[f"requests.{name}"] = value
        if name in _COMPUTE or name.startswith(_HUGEPAGES):
            amounts[name] = value
    for name, value in limits(pod).items():
        if name in _COMPUTE:
            # What is not limited is not so for the overhead's sake.
            amounts[f"limits.{name}"] = quantity.add((value, overhead[name])) if name in overhead else value
    return amounts


def claim_requests(claim: Unstructured) -> Amounts:
    """What a claim asks for. Nobody has checked what is only stored: what is no quantity is left out."""
    found: Amounts = {}
    for name, value in _within(claim.part("spec"), "resources", "requests").items():
        with contextlib.suppress(quantity.QuantityError):
            if isinstance(asked := quantity.from_json(value), str):
                found[name] = asked
    return found


def _within(data: object, *names: str) -> Mapping[str, Any]:
    """A map inside plain data; an empty one if there is none."""
    for name in names:
        data = data.get(name) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def _of_claim(claim: Unstructured) -> Amounts:
    asked = claim_requests(claim).get("storage")
    name = claim.metadata.annotations.get(_CLASS_ANNOTATION, _within(claim.part("spec")).get("storageClassName"))
    amounts = {"requests.storage": asked} if asked is not None else {}
    if name:
        below = f"{name}.storageclass.storage.k8s.io"
        amounts |= {f"{below}/{what}": value for what, value in amounts.items()}
        amounts[f"{below}/persistentvolumeclaims"] = "1"
    return amounts


def _over(pod: Pod, moment: datetime) -> bool:
    """Whether the pod uses nothing any more: it has ended, or should have long since."""
    if pod.status.phase in ("Succeeded", "Failed"):
        return True
    deletion, grace = pod.metadata.deletionTimestamp, pod.metadata.deletionGracePeriodSeconds
    return deletion is not None and grace is not None and moment > deletion + timedelta(seconds=grace)


# Which quotas an object counts for


def counts(quota: ResourceQuota, obj: Object) -> bool:
    """Whether the object is in all scopes of the quota. Only pods can be in scopes."""
    wanted = [
        ScopedResourceSelectorRequirement(scopeName=scope, operator="Exists") for scope in quota.spec.scopes
    ]  # fmt: skip
    if quota.spec.scopeSelector is not None:
        wanted += quota.spec.scopeSelector.matchExpressions
    if not wanted:
        return True
    return isinstance(obj, Pod) and all(_in_scope(obj, each) for each in wanted)


def _in_scope(pod: Pod, scope: ScopedResourceSelectorRequirement) -> bool:
    match scope.scopeName:
        case "Terminating":
            return pod.spec.activeDeadlineSeconds is not None
        case "NotTerminating":
            return pod.spec.activeDeadlineSeconds is None
        case "BestEffort":
            return qos_class(pod) == BEST_EFFORT
        case "NotBestEffort":
            return qos_class(pod) != BEST_EFFORT
        case "PriorityClass":
            return _matches(pod.spec.priorityClassName, scope)
        case "CrossNamespacePodAffinity":
            return _crosses_namespaces(pod)
    return False


def _matches(value: str, scope: ScopedResourceSelectorRequirement) -> bool:
    match scope.operator:
        case "In":
            return value in scope.values
        case "NotIn":
            return value not in scope.values
        case "DoesNotExist":
            return not value
    return bool(value)


def _crosses_namespaces(pod: Pod) -> bool:
    affinity = pod.spec.affinity
    if affinity is None:
        return False
    for each in (affinity.podAffinity, affinity.podAntiAffinity):
        if each is None:
            continue
        terms = [
            *each.requiredDuringSchedulingIgnoredDuringExecution,
            *(p.podAffinityTerm for p in each.preferredDuringSchedulingIgnoredDuringExecution),
        ]
        if any(term.namespaces or term.namespaceSelector is not None for term in terms):
            return True
    return False


def unnamed(pod: Pod, hard: Iterable[str]) -> dict[str, list[str]]:
    """What containers must say, because a quota counts it, and do not: the containers by the name of the resource.

    The containers of a pod that says something as a whole need not.
    """
    whole = pod.spec.resources
    if whole is not None and (_whole(whole.requests) or _whole(whole.limits)):
        return {}
    missing: dict[str, list[str]] = {}
    for container in [*pod.spec.containers, *pod.spec.initContainers]:
        said = {f"requests.{name}" for name in container.resources.requests}
        said |= {f"limits.{name}" for name in container.resources.limits}
        said |= set(container.resources.requests)
        for name in sorted(_MUST_SPECIFY & set(hard) - said):
            missing.setdefault(name, []).append(container.name)
    return missing


def total(quota: ResourceQuota, objects: Iterable[Object], moment: datetime) -> Amounts:
    """How much of the quota's `hard` these objects use together."""
    sums = dict.fromkeys(quota.spec.hard, "0")
    for obj in objects:
        if counts(quota, obj):
            for name, value in of_object(obj, moment).items():
                if name in sums:
                    sums[name] = quantity.add((sums[name], value)) if sums[name] != "0" else value
    return sums
