"""The file of --policy-config-file: which predicates and priorities there are, as until Kubernetes 1.22.

    {"kind": "Policy", "apiVersion": "v1",
     "predicates": [{"name": "PodFitsPorts"}, {"name": "PodFitsResources"}, {"name": "HostName"},
                    {"name": "Zoned", "argument": {"labelsPresence": {"labels": ["zone"], "presence": true}}},
                    {"name": "OneRegion", "argument": {"serviceAffinity": {"labels": ["region"]}}}],
     "priorities": [{"name": "LeastRequestedPriority", "weight": 1},
                    {"name": "ZoneSpread", "weight": 2, "argument": {"serviceAntiAffinity": {"label": "zone"}}}]}

Nothing else is asked but what no policy can leave out: that the node is ready and not cordoned, and its taints.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kube import daemon
from kube.scheduler import filters, plugins, scores
from kube.scheduler.configuration import Settings, _Model, read
from kube.scheduler.framework import Filter, Profile, Score, Weighted
from kube.scheduler.plugins import Context
from kube.scheduler.serviceaffinity import ServiceAffinity

ALWAYS = ("NodeUnschedulable", "TaintToleration", "NodeConditions")

PREDICATES: dict[str, tuple[str, ...]] = {
    "PodFitsPorts": ("NodePorts",),
    "PodFitsHostPorts": ("NodePorts",),
    "PodFitsResources": ("NodeResourcesFit",),
    "NoDiskConflict": ("VolumeRestrictions",),
    "MatchNodeSelector": ("NodeAffinity",),
    "HostName": ("NodeName",),
    "GeneralPredicates": ("NodeName", "NodeAffinity", "NodePorts", "NodeResourcesFit"),
    "MatchInterPodAffinity": ("InterPodAffinity",),
    "EvenPodsSpread": ("PodTopologySpread",),
    "PodToleratesNodeTaints": (),
    "CheckNodeUnschedulable": (),
    "CheckNodeCondition": (),
    "CheckNodeMemoryPressure": (),
    "CheckNodeDiskPressure": (),
    "CheckNodePIDPressure": (),
}
"""The filters that a predicate stands for; none for what is asked always."""

PRIORITIES: dict[str, Callable[[Context], Score | None]] = {
    "LeastRequestedPriority": lambda context: scores.LeastAllocated(),
    "MostRequestedPriority": lambda context: scores.MostAllocated(),
    "BalancedResourceAllocation": lambda context: scores.BalancedAllocation(),
    "ServiceSpreadingPriority": lambda context: scores.SelectorSpread(context.cache, context.service_selectors),
    "SelectorSpreadPriority": lambda context: scores.SelectorSpread(context.cache, context.selectors),
    "EqualPriority": lambda context: None,
    "NodeAffinityPriority": lambda context: plugins.SCORES["NodeAffinity"](context, {}),
    "TaintTolerationPriority": lambda context: plugins.SCORES["TaintToleration"](context, {}),
    "InterPodAffinityPriority": lambda context: plugins.SCORES["InterPodAffinity"](context, {}),
    "EvenPodsSpreadPriority": lambda context: plugins.SCORES["PodTopologySpread"](context, {}),
    "ImageLocalityPriority": lambda context: plugins.SCORES["ImageLocality"](context, {}),
}


class LabelsPresence(_Model):
    """CheckNodeLabelPresence."""

    labels: list[str]
    presence: bool = False


class Labels(_Model):
    """ServiceAffinity."""

    labels: list[str]


class PredicateArgument(_Model):
    """What a predicate of one's own is made from."""

    labelsPresence: LabelsPresence | None = None
    serviceAffinity: Labels | None = None


class Predicate(_Model):
    """A condition on nodes."""

    name: str = ""
    argument: PredicateArgument | None = None


class Label(_Model):
    """A node label."""

    label: str


class LabelPresence(Label):
    """A node label that is to be there, or not to be."""

    presence: bool = False


class PriorityArgument(_Model):
    """What a priority of one's own is made from."""

    serviceAntiAffinity: Label | None = None
    labelPreference: LabelPresence | None = None


class Priority(_Model):
    """A wish about nodes."""

    name: str = ""
    weight: int = 1
    argument: PriorityArgument | None = None


class Policy(_Model):
    """The whole file."""

    kind: str
    apiVersion: str
    predicates: list[Predicate] = []
    priorities: list[Priority] = []


def load(path: Path, scheduler_name: str) -> Settings:
    """Raises daemon.Fatal, which says what is wrong with the file."""
    policy = read(path, "--policy-config-file", Policy)
    if (policy.kind, policy.apiVersion) != ("Policy", "v1"):
        raise daemon.Fatal(f"cannot use --policy-config-file={path}: it is no v1 Policy")
    for predicate in policy.predicates:
        if predicate.argument is None and predicate.name not in PREDICATES:
            raise _unknown(path, "predicate", predicate.name, PREDICATES)
    for priority in policy.priorities:
        if priority.argument is None and priority.name not in PRIORITIES:
            raise _unknown(path, "priority", priority.name, PRIORITIES)
        if priority.weight <= 0:
            raise daemon.Fatal(f"cannot use --policy-config-file={path}: {priority.name}: the weight must be positive")
    return Settings(lambda context: [profile(policy, context, scheduler_name)])


def _unknown(path: Path, what: str, name: str, known: dict[str, object] | object) -> daemon.Fatal:
    names = ", ".join(known) if isinstance(known, dict) else ""
    return daemon.Fatal(f"cannot use --policy-config-file={path}: no {what} {name!r}: there are {names}")


def profile(policy: Policy, context: Context, scheduler_name: str) -> Profile:
    """The profile that a policy describes."""
    named = dict.fromkeys(ALWAYS)
    own: list[Filter] = []
    for predicate in policy.predicates:
        argument = predicate.argument or PredicateArgument()
        if (presence := argument.labelsPresence) is not None:
            own.append(filters.NodeLabels(presence.labels, presence.presence))
        if (affinity := argument.serviceAffinity) is not None:
            own.append(ServiceAffinity(context.cache, context.service_selectors, affinity.labels))
        named.update(dict.fromkeys(PREDICATES.get(predicate.name, ())))
    built_in = [make(context, {}) for name, make in plugins.FILTERS.items() if name in named]
    weighted = []
    for priority in policy.priorities:
        score = _score(priority, context)
        if score is not None:
            weighted.append(Weighted(score, priority.weight))
    return Profile(scheduler_name, (*built_in, *own), tuple(weighted))


def _score(priority: Priority, context: Context) -> Score | None:
    argument = priority.argument
    if argument is None:
        return PRIORITIES[priority.name](context)
    if argument.serviceAntiAffinity is not None:
        label = argument.serviceAntiAffinity.label
        return scores.ServiceAntiAffinity(context.cache, context.service_selectors, label)
    if argument.labelPreference is not None:
        return scores.LabelPreference(argument.labelPreference.label, argument.labelPreference.presence)
    return None
