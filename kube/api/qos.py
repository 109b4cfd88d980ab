"""The quality-of-service class of a pod: it follows from the requests and limits of its containers' cpu and memory.

The apiserver writes it to the status; the kubelet derives from it whom the kernel kills first when memory runs out.
"""

from __future__ import annotations

from kube.api import quantity
from kube.api.core import Pod

GUARANTEED = "Guaranteed"
BURSTABLE = "Burstable"
BEST_EFFORT = "BestEffort"


def qos_class(pod: Pod) -> str:
    """`Guaranteed`, `Burstable` or `BestEffort` (upstream's ComputePodQOS)."""
    guaranteed, anything = True, False
    for container in [*pod.spec.initContainers, *pod.spec.containers]:
        limits = {name: value for name, value in container.resources.limits.items() if quantity.parse(value)}
        requests = {name: value for name, value in container.resources.requests.items() if quantity.parse(value)}
        for name in ("cpu", "memory"):
            anything = anything or name in limits or name in requests
            limit = limits.get(name)
            if limit is None or quantity.compare(requests.get(name, limit), limit) != 0:
                guaranteed = False
    if not anything:
        return BEST_EFFORT
    return GUARANTEED if guaranteed else BURSTABLE
