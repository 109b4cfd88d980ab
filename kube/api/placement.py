"""core/v1: where a pod may run: node selectors, affinity, taints and tolerations, topology spread."""

from __future__ import annotations

from kube.api.meta import AlwaysStr, LabelSelector, Model, Time, always
from kube.api.scalars import AlwaysInt32, Int32, Int64, Present


class NodeSelectorRequirement(Model):
    """One condition on a node's labels or fields."""

    key: AlwaysStr = always()
    """Label or field."""
    operator: AlwaysStr = always()
    """`In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`."""
    values: list[str] = []
    """What the operator compares with."""


class NodeSelectorTerm(Model):
    """Conditions that must all hold; none means no node."""

    matchExpressions: list[NodeSelectorRequirement] = []
    """Conditions on labels."""
    matchFields: list[NodeSelectorRequirement] = []
    """Conditions on fields."""


class NodeSelector(Model):
    """Terms of which one must hold."""

    nodeSelectorTerms: Present[list[NodeSelectorTerm]] = always()
    """The terms."""


class PreferredSchedulingTerm(Model):
    """Nodes that are liked."""

    weight: AlwaysInt32 = always()
    """How much, 1 to 100."""
    preference: Present[NodeSelectorTerm] = always()
    """Which nodes."""


class NodeAffinity(Model):
    """Which nodes a pod may run on, and which it likes."""

    requiredDuringSchedulingIgnoredDuringExecution: NodeSelector | None = None
    """Nodes it may run on."""
    preferredDuringSchedulingIgnoredDuringExecution: list[PreferredSchedulingTerm] = []
    """Nodes it likes."""


class PodAffinityTerm(Model):
    """Pods to be near to, or far from."""

    labelSelector: LabelSelector | None = None
    """Which pods."""
    namespaces: list[str] = []
    """In which namespaces; none of this and the next: the pod's own."""
    topologyKey: AlwaysStr = always()
    """Node label whose value says what is near."""
    namespaceSelector: LabelSelector | None = None
    """In which namespaces, by their labels."""
    matchLabelKeys: list[str] = []
    """Labels in which the other pods must equal the incoming one."""
    mismatchLabelKeys: list[str] = []
    """Labels in which the other pods must differ from the incoming one."""


class WeightedPodAffinityTerm(Model):
    """Pods that are liked or disliked."""

    weight: AlwaysInt32 = always()
    """How much, 1 to 100."""
    podAffinityTerm: Present[PodAffinityTerm] = always()
    """Which pods."""


class PodAffinity(Model):
    """Pods to be near to."""

    requiredDuringSchedulingIgnoredDuringExecution: list[PodAffinityTerm] = []
    """Must be near."""
    preferredDuringSchedulingIgnoredDuringExecution: list[WeightedPodAffinityTerm] = []
    """Had better be near."""


class PodAntiAffinity(Model):
    """Pods to be far from."""

    requiredDuringSchedulingIgnoredDuringExecution: list[PodAffinityTerm] = []
    """Must be far."""
    preferredDuringSchedulingIgnoredDuringExecution: list[WeightedPodAffinityTerm] = []
    """Had better be far."""


class Affinity(Model):
    """Where a pod must and likes to run."""

    nodeAffinity: NodeAffinity | None = None
    """By nodes."""
    podAffinity: PodAffinity | None = None
    """Near other pods."""
    podAntiAffinity: PodAntiAffinity | None = None
    """Far from other pods."""


class Taint(Model):
    """Keeps away pods that do not tolerate it."""

    key: AlwaysStr = always()
    """Key."""
    value: str = ""
    """Value."""
    effect: AlwaysStr = always()
    """`NoSchedule`, `PreferNoSchedule` or `NoExecute`."""
    timeAdded: Time | None = None
    """When it was added; NoExecute only."""


class Toleration(Model):
    """Taints that a pod bears."""

    key: str = ""
    """Key of the taint; empty with `Exists`: any."""
    operator: str = ""
    """`Equal` (the default) or `Exists`."""
    value: str = ""
    """Value of the taint, for `Equal`."""
    effect: str = ""
    """Effect of the taint; empty: any."""
    tolerationSeconds: Int64 | None = None
    """How long NoExecute is borne; none: for ever."""


class TopologySpreadConstraint(Model):
    """How evenly pods are spread."""

    maxSkew: AlwaysInt32 = always()
    """The most by which two domains may differ."""
    topologyKey: AlwaysStr = always()
    """Node label whose values are the domains."""
    whenUnsatisfiable: AlwaysStr = always()
    """`DoNotSchedule` or `ScheduleAnyway`."""
    labelSelector: LabelSelector | None = None
    """Which pods are counted."""
    minDomains: Int32 | None = None
    """Domains there must be at least, or the least is taken as 0."""
    nodeAffinityPolicy: str | None = None
    """Whether nodes the pod cannot run on count: `Honor` or `Ignore`."""
    nodeTaintsPolicy: str | None = None
    """Whether nodes whose taints the pod does not bear count: `Honor` or `Ignore`."""
    matchLabelKeys: list[str] = []
    """Labels in which counted pods must equal the incoming one."""
