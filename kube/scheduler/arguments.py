"""The arguments of the plug-ins that are built in, as a profile's `pluginConfig` gives them.

What of upstream's does not change where pods go is read over; a word that nobody knows is an error, and so is a value
that upstream refuses. (pkg/scheduler/apis/config: types_pluginargs.go, validation/validation_pluginargs.go)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from kube.api.core import Affinity
from kube.api.errors import FieldError
from kube.api.placement import NodeAffinity, TopologySpreadConstraint
from kube.api.validation import placement
from kube.scheduler.scores import CPU_AND_MEMORY, Resources

STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")


class Arguments(BaseModel):
    """What a plug-in is made from."""

    model_config = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)
    apiVersion: str = ""
    kind: str = ""


class Part(BaseModel):
    """A part of them."""

    model_config = ConfigDict(strict=True, extra="forbid")


class ResourceSpec(Part):
    """A resource, and how much it counts."""

    name: str
    weight: int = Field(1, ge=0, le=100)

    @property
    def counts(self) -> int:
        return self.weight or 1


def _resources(specs: Sequence[ResourceSpec]) -> Resources:
    return tuple((each.name, each.counts) for each in specs) or CPU_AND_MEMORY


class ShapePoint(Part):
    """What score, of 10, a node gets that is used so far, in percent."""

    utilization: int = Field(ge=0, le=100)
    score: int = Field(ge=0, le=10)


class RequestedToCapacityRatio(Part):
    """The points between which scores lie on straight lines."""

    shape: list[ShapePoint] = Field(min_length=1)

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        utilizations = [point.utilization for point in self.shape]
        if utilizations != sorted(set(utilizations)):
            raise ValueError("shape: values must be sorted in increasing order")
        return self


class ScoringStrategy(Part):
    """How NodeResourcesFit compares nodes."""

    type: str = "LeastAllocated"
    resources: list[ResourceSpec] = []
    requestedToCapacityRatio: RequestedToCapacityRatio | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.type not in STRATEGIES:
            raise ValueError(f"no scoringStrategy {self.type!r}: there are {', '.join(STRATEGIES)}")
        if (self.type == "RequestedToCapacityRatio") != (self.requestedToCapacityRatio is not None):
            raise ValueError("requestedToCapacityRatio: must be specified when type is RequestedToCapacityRatio, only")
        return self

    @property
    def compared(self) -> Resources:
        return _resources(self.resources)


class NodeResourcesFitArgs(Arguments):
    """What is not looked at, and how nodes are compared."""

    ignoredResources: list[str] = []
    ignoredResourceGroups: list[str] = []
    scoringStrategy: ScoringStrategy = ScoringStrategy()


class BalancedResource(Part):
    """A resource; all count alike."""

    name: str
    weight: Literal[1] = 1


class NodeResourcesBalancedAllocationArgs(Arguments):
    """What is to be used in equal parts."""

    resources: list[BalancedResource] = []

    @property
    def compared(self) -> Resources:
        return tuple((each.name, 1) for each in self.resources) or CPU_AND_MEMORY


def _node_affinity(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    affinity = NodeAffinity.parse(value)
    _no_errors(placement.affinity("addedAffinity", Affinity(nodeAffinity=affinity)))
    return affinity


class NodeAffinityArgs(Arguments):
    """What is asked of nodes for all pods of the profile."""

    addedAffinity: Annotated[NodeAffinity, BeforeValidator(_node_affinity)] | None = None


def _constraints(value: object) -> object:
    if not isinstance(value, list):
        return value
    found = [TopologySpreadConstraint.parse(each) for each in value]
    _no_errors(placement.topology_spread("defaultConstraints", found))
    if any(each.labelSelector is not None for each in found):
        raise ValueError("constraint must not define a selector, as they deduced for each pod")
    return found


class PodTopologySpreadArgs(Arguments):
    """The constraints of pods that have none of their own."""

    defaultConstraints: Annotated[list[TopologySpreadConstraint], BeforeValidator(_constraints)] = []
    defaultingType: Literal["System", "List"] = "System"

    @model_validator(mode="after")
    def _listed(self) -> Self:
        if self.defaultConstraints and self.defaultingType != "List":
            raise ValueError('defaultingType: "System" when .defaultConstraints are not empty')
        return self


class InterPodAffinityArgs(Arguments):
    """What pods that are there count for."""

    hardPodAffinityWeight: int = Field(1, ge=0, le=100)
    ignorePreferredTermsOfExistingPods: bool = False


class ReadOver(Arguments):
    """What does not change where pods go here."""

    model_config = ConfigDict(extra="allow")


KINDS: Mapping[str, type[Arguments]] = {
    "NodeResourcesFit": NodeResourcesFitArgs,
    "NodeResourcesBalancedAllocation": NodeResourcesBalancedAllocationArgs,
    "NodeAffinity": NodeAffinityArgs,
    "PodTopologySpread": PodTopologySpreadArgs,
    "InterPodAffinity": InterPodAffinityArgs,
    "VolumeBinding": ReadOver,
    "DefaultPreemption": ReadOver,
    "DynamicResources": ReadOver,
}
"""Those of plug-ins that have some; a plug-in that is not here has none."""

Kind = TypeVar("Kind", bound=Arguments)


def read(kind: type[Kind], given: Mapping[str, Any]) -> Kind:
    """Raises ValueError, which says what is wrong."""
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        why = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {why}" if where else why) from None


def _no_errors(found: Iterable[FieldError]) -> None:
    for error in found:
        raise ValueError(str(error))
