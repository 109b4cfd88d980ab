"""Requests and limits, as the kernel counts them: cpu shares and quota, memory, and who is killed first.

The formulas are upstream's (pkg/kubelet/cm/helpers_linux.go, pkg/kubelet/qos/policy.go).
"""

from __future__ import annotations

from kube.api import quantity
from kube.api.core import Container, Pod
from kube.api.qos import BEST_EFFORT, GUARANTEED, qos_class
from kube.kubelet.eviction import is_critical
from kube.kubelet.runtime import Resources

SHARES_PER_CPU = 1024
MIN_SHARES = 2
MAX_SHARES = 262144
PERIOD = 100_000
MIN_QUOTA = 1000
GUARANTEED_SCORE = -997
BEST_EFFORT_SCORE = 1000
NODE_CRITICAL = "system-node-critical"


def shares(milli_cpu: int) -> int:
    """Relative weight of a container that requests so much cpu."""
    return min(MAX_SHARES, max(MIN_SHARES, milli_cpu * SHARES_PER_CPU // 1000))


def quota(milli_cpu: int) -> int:
    """Microseconds of cpu in each period; 0: no limit."""
    return max(MIN_QUOTA, milli_cpu * PERIOD // 1000) if milli_cpu else 0


def oom_score_adj(pod: Pod, container: Container, memory_capacity: int) -> int:
    """From -997 (guaranteed) to 1000 (best effort): the higher, the sooner the kernel kills it.

    What the node itself depends on is as safe as what is guaranteed; and a sidecar is no less safe than the containers
    that it serves.
    """
    if is_critical(pod) and pod.spec.priorityClassName == NODE_CRITICAL:
        return GUARANTEED_SCORE
    qos = pod.status.qosClass or qos_class(pod)
    if qos == GUARANTEED:
        return GUARANTEED_SCORE
    if qos == BEST_EFFORT or memory_capacity <= 0:
        return BEST_EFFORT_SCORE
    requested = _memory(container)
    if container.restartPolicy == "Always":
        requested = max(requested, min(map(_memory, pod.spec.containers), default=0))
    score = 1000 - 1000 * requested // memory_capacity
    # Burstable lies between the two others, whatever it requests.
    return min(max(score, 1000 + GUARANTEED_SCORE), BEST_EFFORT_SCORE - 1)


def _memory(container: Container) -> int:
    resources = container.resources
    return quantity.integer(resources.requests.get("memory") or resources.limits.get("memory") or "0")


def container_resources(pod: Pod, container: Container, memory_capacity: int) -> Resources:
    """What the engine is told of a container's requests and limits."""
    limits, requests = container.resources.limits, container.resources.requests
    cpu_limit = quantity.milli(limits.get("cpu", "0"))
    # A limit stands in for a request that is not set; a request of zero is a request.
    cpu_request = quantity.milli(requests["cpu"]) if "cpu" in requests else cpu_limit
    return Resources(
        cpu_shares=shares(cpu_request),
        cpu_quota=quota(cpu_limit),
        cpu_period=PERIOD,
        memory=quantity.integer(limits.get("memory", "0")),
        oom_score_adj=oom_score_adj(pod, container, memory_capacity),
    )
