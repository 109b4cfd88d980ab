"""Whether a pod fits on this node, judged once more by the node itself: a scheduler's view may be old, and a pod may be
bound by hand. Reasons and messages are upstream's (pkg/kubelet/lifecycle/predicate.go).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from kube.api import quantity
from kube.api.container import AnyContainer
from kube.api.core import Pod
from kube.kubelet.admission import Refusal


def unfit(
    pod: Pod, others: Iterable[Pod], allocatable: Mapping[str, str], labels: Mapping[str, str] | None = None
) -> Refusal | None:
    """Why a pod does not fit beside others. `labels`: of the node; None: not known, so not asked for."""
    if labels is not None and any(labels.get(key) != value for key, value in pod.spec.nodeSelector.items()):
        why = "node(s) didn't match Pod's node affinity/selector"
        return Refusal("NodeAffinity", f"Predicate NodeAffinity failed: {why}")
    used: Counter[str] = Counter()
    for other in others:
        used.update(requests(other))
    for name, wanted in sorted(requests(pod).items()):
        if name not in allocatable:
            continue
        capacity = amount(name, allocatable[name])
        if wanted and used[name] + wanted > capacity:
            message = f"Node didn't have enough resource: {name}, requested: {wanted}, used: {used[name]}, "
            return Refusal(f"OutOf{name}", f"{message}capacity: {capacity}")
    return None


def amount(name: str, text: str) -> int:
    """A quantity as the message counts it: cpu in thousandths."""
    return quantity.milli(text) if name == "cpu" else quantity.integer(text)


def requests(pod: Pod) -> dict[str, int]:
    """What a pod takes of the node: its containers together, or its largest init container, and its overhead."""
    together: Counter[str] = Counter({"pods": 1})
    for container in pod.spec.containers:
        together.update(_requests(container))
    sidecars: Counter[str] = Counter()
    peak: dict[str, int] = {}
    for container in pod.spec.initContainers:
        wanted = Counter(_requests(container))
        if container.restartPolicy == "Always":
            sidecars.update(wanted)
            wanted = Counter()
        for name, value in (sidecars + wanted).items():
            peak[name] = max(peak.get(name, 0), value)
    together.update(sidecars)
    total = {name: max(together[name], peak.get(name, 0)) for name in {*together, *peak}}
    for name, text in pod.spec.overhead.items():
        total[name] = total.get(name, 0) + amount(name, text)
    return total


def _requests(container: AnyContainer) -> dict[str, int]:
    wanted = {**container.resources.limits, **container.resources.requests}
    return {name: amount(name, text) for name, text in wanted.items()}
