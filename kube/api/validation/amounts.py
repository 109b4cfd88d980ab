"""Rules for resource names and amounts: requests, limits, capacity."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache

from kube.api import core, names, quantity
from kube.api.errors import FieldError, Verbatim, duplicate, field_forbidden, invalid, required
from kube.api.validation.meta import NEGATIVE, Errors, each

_HUGE_PAGES = "hugepages-"
_CONTAINER = ("cpu", "memory", "ephemeral-storage")
_COUNTED = frozenset(
    (
        "pods",
        "replicationcontrollers",
        "services",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "resourcequotas",
        "services.nodeports",
        "services.loadbalancers",
    )
)
_STANDARD = _COUNTED.union(
    _CONTAINER,
    ("storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage", "requests.storage"),
    ("limits.cpu", "limits.memory", "limits.ephemeral-storage"),
)


def is_native(name: str) -> bool:
    """Whether Kubernetes itself defines the resource."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """Whether somebody else defines the resource, as `example.com/gpu`."""
    return not is_native(name) and not name.startswith("requests.") and not names.qualified(f"requests.{name}")


def may_overcommit(name: str) -> bool:
    """Whether the limits on a node may add up to more than it has."""
    return is_native(name) and not name.startswith(_HUGE_PAGES)


def amount(field: str, name: str, value: str) -> Errors:
    """An amount of a resource: not negative, and whole if the resource is counted."""
    number = quantity.parse(value)
    if number < 0:
        yield invalid(field, value, NEGATIVE)
    if (name in _COUNTED or is_extended(name)) and number != number.to_integral_value():
        yield invalid(field, Verbatim(value), "must be an integer")


def resource_name(field: str, name: str) -> Errors:
    """The name of any resource."""
    problems = names.qualified(name)
    yield from each(field, name, problems)
    standard = name in _STANDARD or name.startswith((_HUGE_PAGES, f"requests.{_HUGE_PAGES}"))
    if not problems and "/" not in name and not standard:
        yield invalid(field, name, "must be a standard resource type or fully qualified")


def container_resource_name(field: str, name: str) -> Errors:
    """The name of a resource that containers may ask for."""
    if name in _CONTAINER:
        return
    yield from resource_name(field, name)
    if "/" not in name:
        if not name.startswith(_HUGE_PAGES):
            yield invalid(field, name, "must be a standard resource for containers")
    elif not is_native(name) and not is_extended(name):
        yield invalid(field, name, "doesn't follow extended resource name standard")


def requirements(path: str, wanted: core.ResourceRequirements, claims: Collection[str] = ()) -> Errors:
    """Requests and limits of a container, and the pod's claims that it uses."""
    if not _flawless(tuple(wanted.limits.items()), tuple(wanted.requests.items())):
        yield from _amounts(path, wanted.limits, wanted.requests)
    yield from _claims(f"{path}.claims", wanted.claims, claims)


@lru_cache(maxsize=4096)
def _flawless(limits: tuple[tuple[str, str], ...], requests: tuple[tuple[str, str], ...]) -> bool:
    """Whether there is nothing to say of the amounts: the same ones come with every pod of a kind."""
    return not any(_amounts("", dict(limits), dict(requests)))


def _amounts(path: str, limits: Mapping[str, str], requests: Mapping[str, str]) -> Errors:
    for name, value in limits.items():
        yield from container_resource_name(f"{path}.limits[{name}]", name)
        yield from amount(f"{path}.limits[{name}]", name, value)
    for name, value in requests.items():
        yield from container_resource_name(f"{path}.requests[{name}]", name)
        yield from amount(f"{path}.requests[{name}]", name, value)
        if name in limits:
            order = quantity.compare(value, limits[name])
            if order and not may_overcommit(name):
                yield invalid(f"{path}.requests", value, f"must be equal to {name} limit of {limits[name]}")
            elif order > 0:
                yield invalid(
                    f"{path}.requests", value, f"must be less than or equal to {name} limit of {limits[name]}"
                )
        elif not may_overcommit(name):
            yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")
    asked = {*limits, *requests}
    if not asked & {"cpu", "memory"} and any(name.startswith(_HUGE_PAGES) for name in asked):
        yield field_forbidden(path, "HugePages require cpu or memory")


def _claims(path: str, used: list[core.ResourceClaim], known: Collection[str]) -> Errors:
    seen: set[str] = set()
    for i, claim in enumerate(used):
        if not claim.name:
            yield required(f"{path}[{i}]")
            continue
        name = f"{claim.name}/{claim.request}" if claim.request else claim.name
        if claim.request:
            yield from each(f"{path}[{i}].request", claim.request, names.dns_label(claim.request))
        if name in seen or claim.name in seen:
            yield duplicate(f"{path}[{i}]", name)
        seen.add(name)
        if claim.name not in known:
            listed = f": {', '.join(sorted(known))}" if known else " which is empty"
            detail = f"must be one of the names in pod.spec.resourceClaims{listed}"
            yield FieldError("FieldValueNotFound", f"{path}[{i}]", f'Not found: "{claim.name}": {detail}')


def capacity(path: str, amounts: Mapping[str, str]) -> Errors:
    """What a node has, or has to give."""
    for name, value in amounts.items():
        yield from amount(f"{path}.{name}", name, value)
