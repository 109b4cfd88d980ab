"""The filters and scores that there are, by name, and which of them a profile has unless it says otherwise.

Others bring theirs by entry points of the group `kube.scheduler.plugins`: a class that is a `Filter` or a `Score` and
needs no arguments. They are known by their entry point's name, and do nothing until a profile enables them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from kube import daemon
from kube.api import nodeaffinity
from kube.api.core import Pod
from kube.api.nodeaffinity import PreferredNodes, RequiredNodes
from kube.scheduler import arguments, filters, scores
from kube.scheduler.cache import Cache
from kube.scheduler.framework import Filter, Profile, Score, Weighted
from kube.scheduler.interpodaffinity import InterPodAffinity, InterPodAffinityScore
from kube.scheduler.scores import Selectors
from kube.scheduler.topologyspread import PodTopologySpread, PodTopologySpreadScore, Spreads, or_by_default, own
from kube.scheduler.volumes import Get, NodeVolumeLimits, VolumeBinding, VolumeRestrictions

GROUP = "kube.scheduler.plugins"


@dataclass(frozen=True, slots=True)
class Context:
    """What plug-ins are made from."""

    cache: Cache
    selectors: Callable[[Pod], Selectors] = field(default=lambda pod: Selectors(()))
    """Those of the services and controllers of a pod."""
    service_selectors: Callable[[Pod], Selectors] = field(default=lambda pod: Selectors(()))
    """Those of its services."""
    claims: Get = lambda key: None
    """A PersistentVolumeClaim by its key."""
    volumes: Get = lambda key: None
    storage_classes: Get = lambda key: None


Given = Mapping[str, Any]
"""A plug-in's `args` in the configuration, which have been checked."""


def check(name: str, given: Given) -> None:
    """Whether a plug-in can be made from these arguments. Raises daemon.Fatal, which says why not."""
    kind = arguments.KINDS.get(name, arguments.Arguments)
    if name not in {*FILTERS, *SCORES, *arguments.KINDS}:
        installed(name)
    try:
        arguments.read(kind, given)
    except ValueError as error:
        raise daemon.Fatal(f"arguments of plug-in {name}: {error}") from None


def _fit(given: Given) -> Filter:
    args = arguments.read(arguments.NodeResourcesFitArgs, given)
    return filters.NodeResourcesFit(frozenset(args.ignoredResources), frozenset(args.ignoredResourceGroups))


def _resources(given: Given) -> Score:
    strategy = arguments.read(arguments.NodeResourcesFitArgs, given).scoringStrategy
    if strategy.requestedToCapacityRatio is not None:
        # Its scores are of 10.
        shape = [(point.utilization, point.score * 10) for point in strategy.requestedToCapacityRatio.shape]
        return scores.RequestedToCapacityRatio(shape, strategy.compared)
    return (scores.MostAllocated if strategy.type == "MostAllocated" else scores.LeastAllocated)(strategy.compared)


def _balanced(given: Given) -> Score:
    return scores.BalancedAllocation(arguments.read(arguments.NodeResourcesBalancedAllocationArgs, given).compared)


def _added(given: Given) -> tuple[RequiredNodes | None, PreferredNodes | None]:
    affinity = arguments.read(arguments.NodeAffinityArgs, given).addedAffinity
    return (None, None) if affinity is None else nodeaffinity.added(affinity)


def _spreads(context: Context, given: Given) -> Spreads:
    constraints = arguments.read(arguments.PodTopologySpreadArgs, given).defaultConstraints
    return or_by_default(constraints, context.selectors) if constraints else own


def _near(context: Context, given: Given) -> Score:
    args = arguments.read(arguments.InterPodAffinityArgs, given)
    ignore = args.ignorePreferredTermsOfExistingPods
    return InterPodAffinityScore(context.cache, args.hardPodAffinityWeight, ignore_existing=ignore)


FILTERS: dict[str, Callable[[Context, Given], Filter]] = {
    "NodeUnschedulable": lambda context, args: filters.NodeUnschedulable(),
    "NodeName": lambda context, args: filters.NodeName(),
    "TaintToleration": lambda context, args: filters.TaintToleration(),
    "NodeConditions": lambda context, args: filters.NodeConditions(),
    "NodeAffinity": lambda context, args: filters.NodeAffinity(_added(args)[0]),
    "NodePorts": lambda context, args: filters.NodePorts(),
    "NodeResourcesFit": lambda context, args: _fit(args),
    "VolumeRestrictions": lambda context, args: VolumeRestrictions(),
    "NodeVolumeLimits": lambda context, args: NodeVolumeLimits(),
    "VolumeBinding": lambda context, args: VolumeBinding(context.claims, context.volumes, context.storage_classes),
    "PodTopologySpread": lambda context, args: PodTopologySpread(context.cache, _spreads(context, args)),
    "InterPodAffinity": lambda context, args: InterPodAffinity(context.cache),
}
"""In the order in which they are asked."""

SCORES: dict[str, Callable[[Context, Given], Score]] = {
    "TaintToleration": lambda context, args: scores.TaintTolerationScore(),
    "NodeAffinity": lambda context, args: scores.NodeAffinityScore(_added(args)[1]),
    "NodeResourcesFit": lambda context, args: _resources(args),
    "PodTopologySpread": lambda context, args: PodTopologySpreadScore(context.cache, _spreads(context, args)),
    "InterPodAffinity": _near,
    "NodeResourcesBalancedAllocation": lambda context, args: _balanced(args),
    "ImageLocality": lambda context, args: scores.ImageLocality(context.cache),
    "SelectorSpread": lambda context, args: scores.SelectorSpread(context.cache, context.selectors),
}

WEIGHTS = {"TaintToleration": 3, "NodeAffinity": 2, "PodTopologySpread": 2, "InterPodAffinity": 2}
"""Upstream's; of all others 1."""


def default_profile(context: Context, scheduler_name: str = "default-scheduler") -> Profile:
    """All that is built in."""
    return Profile(
        scheduler_name,
        tuple(make(context, {}) for make in FILTERS.values()),
        tuple(Weighted(make(context, {}), WEIGHTS.get(name, 1)) for name, make in SCORES.items()),
    )


def installed(name: str) -> Filter | Score:
    """The plug-in of an entry point. Raises daemon.Fatal."""
    for point in metadata.entry_points(group=GROUP):
        if point.name == name:
            plugin = point.load()()
            if not isinstance(plugin, Filter | Score):
                raise daemon.Fatal(f"plug-in {name} ({point.value}) is neither a Filter nor a Score")
            return plugin
    known = sorted({*FILTERS, *SCORES, *(point.name for point in metadata.entry_points(group=GROUP))})
    raise daemon.Fatal(f"no plug-in {name!r}: there are {', '.join(known)}")
