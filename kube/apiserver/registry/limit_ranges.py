"""LimitRange admission: what each container, pod and claim of a namespace may use, and gets if it says nothing.

Defaults are set before a pod is validated; then it is held against the limits, all violations in one refusal, in the
words of upstream's LimitRanger (plugin/pkg/admission/limitranger). A pod's overhead is not limited. Claims have no
defaults; one that grows is held against the limits again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kube.api import errors, quantity, usage
from kube.api.core import Container, LimitRange, LimitRangeItem, Pod
from kube.api.meta import Object
from kube.api.resources import LIMIT_RANGES, PERSISTENT_VOLUME_CLAIMS, PODS, Resource
from kube.api.unstructured import Unstructured
from kube.apiserver.cache import Cache
from kube.apiserver.registry.others import StoredOnly
from kube.store import keys

ANNOTATION = "kubernetes.io/limit-ranger"

Amounts = Mapping[str, str]


class LimitRanger:
    """Holds pods and claims against the LimitRanges of their namespace."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def admit(self, pod: Pod) -> None:
        """Fill in defaults, and refuse what is out of bounds. Raises Forbidden."""
        items = self._items(pod.metadata.namespace)
        if not items:
            return
        set_defaults(pod, items)
        _refuse(PODS, pod, [problem for item in items for problem in violations(pod, item)])

    def admit_claim(self, claim: Unstructured, old: Unstructured | None = None) -> None:
        """Refuse a claim that asks for what is out of bounds; `old`: what it has got already. Raises Forbidden."""
        items = self._items(claim.metadata.namespace)
        if not items:
            return
        asked, had = usage.claim_requests(claim), usage.claim_requests(old) if old is not None else {}
        problems = [problem for item in items for problem in claim_violations(asked, had, item)]
        _refuse(PERSISTENT_VOLUME_CLAIMS, claim, problems)

    def _items(self, namespace: str) -> list[LimitRangeItem]:
        ranges, items = self._cache.of(LIMIT_RANGES), []
        if ranges.entries:
            for entry in ranges.select(keys.prefix(LIMIT_RANGES, namespace)):
                found = entry.decode()
                assert isinstance(found, LimitRange)
                items += found.spec.limits
        return items


class ClaimStrategy(StoredOnly):
    """Claims are stored as they come, within the limits of their namespace."""

    def __init__(self, limits: LimitRanger) -> None:
        super().__init__(PERSISTENT_VOLUME_CLAIMS)
        self._limits = limits

    def admit(self, obj: Unstructured) -> None:
        self._limits.admit_claim(obj)

    def validate_update(self, new: Unstructured, old: Unstructured) -> list[errors.FieldError]:
        found = super().validate_update(new, old)
        if not found:
            self._limits.admit_claim(new, old)
        return found


def _refuse(resource: Resource, obj: Object, problems: Iterable[str]) -> None:
    """Raises Forbidden if there are problems. The same of two containers is told once, as upstream's aggregate does."""
    told = list(dict.fromkeys(problems))
    if told:
        why = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
        raise errors.forbidden(resource.plural, obj.metadata.name or obj.metadata.generateName, why)


def set_defaults(pod: Pod, items: list[LimitRangeItem]) -> None:
    """Give the containers the requests and limits that they do not name; an annotation tells what was set."""
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}
    for item in items:
        if item.type == "Container":
            limits |= item.default
            requests |= item.defaultRequest
    told: list[str] = []
    for kind, containers in (("container", pod.spec.containers), ("init container", pod.spec.initContainers)):
        for container in containers:
            for what, amounts, defaults in (
                ("request", container.resources.requests, requests),
                ("limit", container.resources.limits, limits),
            ):
                added = sorted(defaults.keys() - amounts.keys())
                for name in added:
                    amounts[name] = defaults[name]
                if added:
                    told.append(f"{', '.join(added)} {what} for {kind} {container.name}")
    if told:
        said = f"LimitRanger plugin set: {'; '.join(told)}"
        pod.metadata.annotations = {**pod.metadata.annotations, ANNOTATION: said}


def violations(pod: Pod, item: LimitRangeItem) -> Iterator[str]:
    """How a pod breaks a limit."""
    if item.type == "Container":
        for container in [*pod.spec.containers, *pod.spec.initContainers]:
            yield from _of_one(item, *_asked(container))
    elif item.type == "Pod":
        yield from _of_one(item, usage.requests(pod), usage.limits(pod))


def claim_violations(asked: Amounts, had: Amounts, item: LimitRangeItem) -> Iterator[str]:
    """How a claim breaks a limit with what it did not ask for before."""
    if item.type != "PersistentVolumeClaim":
        return
    for name, bound in sorted(item.min.items()):
        if not _same(asked.get(name), had.get(name)):
            yield from _too_little(item.type, name, bound, asked.get(name), None)
    for name, bound in sorted(item.max.items()):
        if not _same(asked.get(name), had.get(name)):
            yield from _too_much_asked(item.type, name, bound, asked.get(name))


def _same(asked: str | None, had: str | None) -> bool:
    return asked is not None and had is not None and quantity.compare(asked, had) == 0


def _asked(container: Container) -> tuple[Amounts, Amounts]:
    return container.resources.requests, container.resources.limits


def _of_one(item: LimitRangeItem, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, bound in sorted(item.min.items()):
        yield from _too_little(item.type, name, bound, requests.get(name), limits.get(name))
    for name, bound in sorted(item.max.items()):
        yield from _too_much(item.type, name, bound, requests.get(name), limits.get(name))
    for name, bound in sorted(item.maxLimitRequestRatio.items()):
        yield from _too_far_apart(item.type, name, bound, requests.get(name), limits.get(name))


def _too_little(kind: str, name: str, bound: str, request: str | None, limit: str | None) -> Iterator[str]:
    base = f"minimum {name} usage per {kind} is {bound}"
    if request is None:
        yield f"{base}.  No request is specified"
    elif quantity.compare(request, bound) < 0:
        yield f"{base}, but request is {request}"
    elif limit is not None and quantity.compare(limit, bound) < 0:
        yield f"{base}, but limit is {limit}"


def _too_much(kind: str, name: str, bound: str, request: str | None, limit: str | None) -> Iterator[str]:
    base = f"maximum {name} usage per {kind} is {bound}"
    if limit is None:
        yield f"{base}.  No limit is specified"
    elif quantity.compare(limit, bound) > 0:
        yield f"{base}, but limit is {limit}"
    elif request is not None and quantity.compare(request, bound) > 0:
        yield f"{base}, but request is {request}"


def _too_much_asked(kind: str, name: str, bound: str, request: str | None) -> Iterator[str]:
    """Of what knows no limits of its own."""
    base = f"maximum {name} usage per {kind} is {bound}"
    if request is None:
        yield f"{base}.  No request is specified"
    elif quantity.compare(request, bound) > 0:
        yield f"{base}, but request is {request}"


def _too_far_apart(kind: str, name: str, bound: str, request: str | None, limit: str | None) -> Iterator[str]:
    base = f"{name} max limit to request ratio per {kind} is {bound}"
    if request is None or not quantity.parse(request):
        yield f"{base}, but no request is specified or request is 0"
    elif limit is None or not quantity.parse(limit):
        yield f"{base}, but no limit is specified or limit is 0"
    else:
        ratio = quantity.parse(limit) / quantity.parse(request)
        if ratio > quantity.parse(bound):
            yield f"{base}, but provided ratio is {float(ratio):f}"
