"""LimitRange admission: what each container and pod of a namespace may use, and gets if it says nothing.

Defaults are set before a pod is validated; then it is held against the limits, all violations in one refusal, in the
words of upstream's LimitRanger (plugin/pkg/admission/limitranger).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kube.api import errors, quantity, usage
from kube.api.core import Container, LimitRange, LimitRangeItem, Pod
from kube.api.resources import LIMIT_RANGES
from kube.apiserver.cache import Cache
from kube.store import keys

ANNOTATION = "kubernetes.io/limit-ranger"

Amounts = Mapping[str, str]


class LimitRanger:
    """Holds pods against the LimitRanges of their namespace."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def admit(self, pod: Pod) -> None:
        """Fill in defaults, and refuse what is out of bounds. Raises Forbidden."""
        ranges = self._cache.of(LIMIT_RANGES)
        if not ranges.entries:
            return
        items: list[LimitRangeItem] = []
        for entry in ranges.select(keys.prefix(LIMIT_RANGES, pod.metadata.namespace)):
            found = entry.decode()
            assert isinstance(found, LimitRange)
            items += found.spec.limits
        set_defaults(pod, items)
        problems = [problem for item in items for problem in violations(pod, item)]
        if problems:
            why = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
            raise errors.forbidden("pods", pod.metadata.name or pod.metadata.generateName, why)


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
