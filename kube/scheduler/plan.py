"""`kube-scheduler --plan -f pods.yaml`: where would these pods go, and why? Nothing is written.

The pods are decided one after another, as if the scheduler met them in this order on the cluster as it is now, each
counting for the next. A ReplicationController stands for the pods that it would make.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from kube import daemon
from kube.api import defaults, resources
from kube.api.core import Pod, ReplicationController
from kube.api.meta import Object
from kube.api.unstructured import Unstructured
from kube.scheduler import explain
from kube.scheduler.algorithm import Algorithm, Unschedulable
from kube.scheduler.cache import Cache
from kube.scheduler.eventhandlers import DEFAULT_SCHEDULER
from kube.scheduler.podinfo import PodInfo
from kube.scheduler.preemption import Preemption


@dataclass(frozen=True, slots=True)
class Planned:
    """What would become of one pod."""

    pod: Pod
    node: str
    """Empty: none could take it."""
    message: str
    text: str
    """Every node's answer, as `explain` shows it."""


def pods_of(path: str) -> list[Pod]:
    """The pods that a file describes (`-`: what is read from stdin). Raises daemon.Fatal."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text()
        return [pod for document in yaml.safe_load_all(text) if document for pod in _pods(document)]
    except (OSError, yaml.YAMLError, ValidationError, ValueError) as error:
        raise daemon.Fatal(f"cannot plan -f {path}: {error}") from None


def _pods(document: Any) -> Iterator[Pod]:
    kind = document.get("kind") if isinstance(document, dict) else None
    match kind:
        case "List":
            for item in document.get("items") or []:
                yield from _pods(item)
        case "Pod":
            pod = Pod.parse(document)
            pod.metadata.namespace = pod.metadata.namespace or "default"
            pod.metadata.name = pod.metadata.name or f"{pod.metadata.generateName}1"
            defaults.apply(pod)
            yield pod
        case "ReplicationController":
            controller = ReplicationController.parse(document)
            defaults.apply(controller)
            template = controller.spec.template
            for number in range(1, (controller.spec.replicas or 0) + 1 if template is not None else 1):
                assert template is not None
                pod = Pod(metadata=template.metadata.clone(), spec=template.spec.clone())
                pod.metadata.namespace = controller.metadata.namespace or "default"
                pod.metadata.name = f"{controller.metadata.name}-{number}"
                defaults.apply(pod)
                yield pod
        case _:
            raise ValueError(f"{kind or 'it'} is neither a Pod nor a ReplicationController")


def with_priority(pod: Pod, classes: Iterable[Object]) -> Pod:
    """The pod with what the apiserver would give it by its priority class."""
    spec = pod.spec
    for each in classes:
        if isinstance(each, Unstructured) and spec.priority is None:
            chosen = each.name == spec.priorityClassName if spec.priorityClassName else each.part("globalDefault")
            if chosen:
                spec.priorityClassName, spec.priority = each.name, each.part("value")
                spec.preemptionPolicy = spec.preemptionPolicy or each.part("preemptionPolicy")
    return pod


def plan(cache: Cache, algorithm: Algorithm, preemption: Preemption, pods: Iterable[Pod]) -> Iterator[Planned]:
    """Decide about the pods, one after another. What one would take, or others make room for, the next does not get."""
    for pod in pods:
        info = PodInfo.of(pod)
        text = explain.text(explain.explain(cache, algorithm, info))
        if (reason := _left_alone(pod, algorithm)) is not None:
            yield Planned(pod, "", reason, text)
            continue
        try:
            choice = algorithm.choose(info)
        except Unschedulable as why:
            candidate = preemption.find(info, why)
            message = str(why)
            if candidate is not None:
                gone = ", ".join(victim.key for victim in candidate.victims)
                message += f" It would push out {gone} from {candidate.node}."
                cache.nominate(info.key, candidate.node, info, candidate.victims)
            yield Planned(pod, "", message, text)
        else:
            cache.assume(info, choice.node)
            equal = f", as good as {choice.best - 1} others" if choice.best > 1 else ""
            yield Planned(pod, choice.node, f"{choice.node} (score {choice.score}{equal})", text)


def _left_alone(pod: Pod, algorithm: Algorithm) -> str | None:
    """Why this scheduler would not take the pod up; None if it would."""
    if pod.spec.schedulingGates:
        return "Scheduling is blocked due to non-empty scheduling gates."
    scheduler = pod.spec.schedulerName or DEFAULT_SCHEDULER
    return None if scheduler in algorithm.profiles else f"It is left to the scheduler {scheduler}."


PRIORITY_CLASSES = resources.PRIORITY_CLASSES.model
