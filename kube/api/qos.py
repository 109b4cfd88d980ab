"""The quality-of-service class of a pod: it follows from the requests and limits of cpu and memory, of its containers
or of the pod as a whole.

The apiserver writes it to the status; the kubelet derives from it whom the kernel kills first when memory runs out.
"""

from __future__ import annotations

from functools import lru_cache

from kube.api import quantity
from kube.api.core import Pod

GUARANTEED = "Guaranteed"
BURSTABLE = "Burstable"
BEST_EFFORT = "BestEffort"


Amounts = tuple[tuple[str, str], ...]


def qos_class(pod: Pod) -> str:
    """`Guaranteed`, `Burstable` or `BestEffort` (upstream's ComputePodQOS)."""
    whole = pod.spec.resources
    if whole is not None and (whole.limits or whole.requests):
        return _class(((tuple(whole.limits.items()), tuple(whole.requests.items())),))
    resources = [container.resources for container in (*pod.spec.initContainers, *pod.spec.containers)]
    return _class(tuple((tuple(each.limits.items()), tuple(each.requests.items())) for each in resources))


@lru_cache(maxsize=4096)
def _class(containers: tuple[tuple[Amounts, Amounts], ...]) -> str:
    """The class, by the limits and requests of all containers: most pods are like others."""
    guaranteed, anything = True, False
    for all_limits, all_requests in containers:
        limits = {name: value for name, value in all_limits if quantity.parse(value)}
        requests = {name: value for name, value in all_requests if quantity.parse(value)}
        for name in ("cpu", "memory"):
            anything = anything or name in limits or name in requests
            limit = limits.get(name)
            if limit is None or quantity.compare(requests.get(name, limit), limit) != 0:
                guaranteed = False
    if not anything:
        return BEST_EFFORT
    return GUARANTEED if guaranteed else BURSTABLE
