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
from kube.api.core import Pod
from kube.scheduler import filters, scores
from kube.scheduler.cache import Cache
from kube.scheduler.framework import Filter, Profile, Score, Weighted
from kube.scheduler.interpodaffinity import HARD_WEIGHT, InterPodAffinity, InterPodAffinityScore
from kube.scheduler.scores import Selectors
from kube.scheduler.topologyspread import PodTopologySpread, PodTopologySpreadScore
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


Arguments = Mapping[str, Any]
"""A plug-in's `args` in the configuration."""


def _resources(arguments: Arguments) -> Score:
    strategy = arguments.get("scoringStrategy", {}).get("type", "LeastAllocated")
    kinds: dict[str, type[Score]] = {"LeastAllocated": scores.LeastAllocated, "MostAllocated": scores.MostAllocated}
    if strategy not in kinds:
        raise daemon.Fatal(f"NodeResourcesFit: no scoringStrategy {strategy!r}: there are {', '.join(kinds)}")
    return kinds[strategy]()


FILTERS: dict[str, Callable[[Context, Arguments], Filter]] = {
    "NodeUnschedulable": lambda context, args: filters.NodeUnschedulable(),
    "NodeName": lambda context, args: filters.NodeName(),
    "TaintToleration": lambda context, args: filters.TaintToleration(),
    "NodeConditions": lambda context, args: filters.NodeConditions(),
    "NodeAffinity": lambda context, args: filters.NodeAffinity(),
    "NodePorts": lambda context, args: filters.NodePorts(),
    "NodeResourcesFit": lambda context, args: filters.NodeResourcesFit(),
    "VolumeRestrictions": lambda context, args: VolumeRestrictions(),
    "NodeVolumeLimits": lambda context, args: NodeVolumeLimits(),
    "VolumeBinding": lambda context, args: VolumeBinding(context.claims, context.volumes, context.storage_classes),
    "PodTopologySpread": lambda context, args: PodTopologySpread(context.cache),
    "InterPodAffinity": lambda context, args: InterPodAffinity(context.cache),
}
"""In the order in which they are asked."""

SCORES: dict[str, Callable[[Context, Arguments], Score]] = {
    "TaintToleration": lambda context, args: scores.TaintTolerationScore(),
    "NodeAffinity": lambda context, args: scores.NodeAffinityScore(),
    "NodeResourcesFit": lambda context, args: _resources(args),
    "PodTopologySpread": lambda context, args: PodTopologySpreadScore(context.cache),
    "InterPodAffinity": lambda context, args: InterPodAffinityScore(
        context.cache, args.get("hardPodAffinityWeight", HARD_WEIGHT)
    ),
    "NodeResourcesBalancedAllocation": lambda context, args: scores.BalancedAllocation(),
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
