"""core/v1: LimitRange and ResourceQuota, what a namespace may use: each object, and all together."""

from __future__ import annotations

from typing import ClassVar

from kube.api.meta import AlwaysStr, Model, Object, always
from kube.api.scalars import Present, ResourceList


class LimitRangeItem(Model):
    """Limits for one type of object."""

    type: AlwaysStr = always()
    """`Container`, `Pod` or `PersistentVolumeClaim`."""
    max: ResourceList = {}
    """The most that one may ask for."""
    min: ResourceList = {}
    """The least that one may ask for."""
    default: ResourceList = {}
    """Limits of one that names none."""
    defaultRequest: ResourceList = {}
    """Requests of one that names none."""
    maxLimitRequestRatio: ResourceList = {}
    """How many times its request the limit may be."""


class LimitRangeSpec(Model):
    """The limits."""

    limits: Present[list[LimitRangeItem]] = always()
    """Each for one type of object."""


class LimitRange(Object):
    """What each object of a namespace may use, and what it gets if it says nothing."""

    kind: ClassVar[str] = "LimitRange"

    spec: Present[LimitRangeSpec] = always()
    """The limits."""


class ScopedResourceSelectorRequirement(Model):
    """One condition on the objects that count."""

    scopeName: AlwaysStr = always()
    """`Terminating`, `NotTerminating`, `BestEffort`, `NotBestEffort`, `PriorityClass`, …"""
    operator: AlwaysStr = always()
    """`In`, `NotIn`, `Exists` or `DoesNotExist`."""
    values: list[str] = []
    """The values that `In` and `NotIn` look at."""


class ScopeSelector(Model):
    """Which objects count; all conditions must hold."""

    matchExpressions: list[ScopedResourceSelectorRequirement] = []
    """The conditions."""


class ResourceQuotaSpec(Model):
    """How much a namespace may use."""

    hard: ResourceList = {}
    """The most of each resource."""
    scopes: list[str] = []
    """Which objects count: those to which all of these apply. Cannot be changed."""
    scopeSelector: ScopeSelector | None = None
    """Which objects count, with operators and values."""


class ResourceQuotaStatus(Model):
    """How much a namespace uses."""

    hard: ResourceList = {}
    """The limits in force."""
    used: ResourceList = {}
    """What is used."""


class ResourceQuota(Object):
    """What all objects of a namespace may use together."""

    kind: ClassVar[str] = "ResourceQuota"

    spec: Present[ResourceQuotaSpec] = always()
    """How much it may use."""
    status: Present[ResourceQuotaStatus] = always()
    """How much it uses."""
