"""Rules for limit ranges, resource quotas and pod templates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kube.api import core
from kube.api.meta import Object

Complaints = Callable[..., list[str]]
METADATA = {"name": "a", "namespace": "default"}


def limits(*items: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": METADATA, "spec": {"limits": list(items)}}


def quota(hard: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": METADATA, "spec": {"hard": hard or {}, **spec}}


NEW: dict[str, tuple[type[Object], dict[str, Any], list[str]]] = {
    "limits of containers": (
        core.LimitRange,
        limits({"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "100m"}, "default": {"cpu": "500m"},
                "maxLimitRequestRatio": {"cpu": "10"}}),
        [],
    ),
    "a type that is not known": (
        core.LimitRange,
        limits({"type": "Thing"}),
        ['spec.limits[0].type: Invalid value: "Thing": must be a standard limit type or fully qualified'],
    ),
    "a type twice": (
        core.LimitRange,
        limits({"type": "Pod"}, {"type": "Pod"}),
        ['spec.limits[1].type: Duplicate value: "Pod"'],
    ),
    "a pod has no defaults": (
        core.LimitRange,
        limits({"type": "Pod", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}}),
        ["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
         "spec.limits[0].defaultRequest: Forbidden: may not be specified when `type` is 'Pod'"],
    ),
    "the least above the most": (
        core.LimitRange,
        limits({"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}}),
        ["spec.limits[0].min[cpu]: Invalid value: 2: min value 2 is greater than max value 1"],
    ),
    "a default above the most": (
        core.LimitRange,
        limits({"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}}),
        ["spec.limits[0].default[cpu]: Invalid value: 1: default value 2 is greater than max value 1"],
    ),
    "a ratio that cannot be": (
        core.LimitRange,
        limits({"type": "Pod", "max": {"cpu": "2"}, "min": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "3"}}),
        ["spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: 3: ratio 3 is greater than max/min = 2"],
    ),
    "a claim without bounds": (
        core.LimitRange,
        limits({"type": "PersistentVolumeClaim"}),
        ["spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was "
         "provided"],
    ),
    "what is no resource of containers": (
        core.LimitRange,
        limits({"type": "Pod", "max": {"pods": "2"}}),
        ['spec.limits[0].max[pods]: Invalid value: "pods": must be a standard resource for containers'],
    ),
    "a quota": (
        core.ResourceQuota,
        quota({"pods": "10", "requests.cpu": "4", "count/deployments.apps": "3", "requests.nvidia.com/gpu": "1"}),
        [],
    ),
    "what no quota counts": (
        core.ResourceQuota,
        quota({"storage": "1Gi"}),
        ['spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota'],
    ),
    "half a pod": (
        core.ResourceQuota,
        quota({"pods": "500m"}),
        ["spec.hard[pods]: Invalid value: 500m: must be an integer"],
    ),
    "less than nothing": (
        core.ResourceQuota,
        quota({"cpu": "-1"}),
        ['spec.hard[cpu]: Invalid value: "-1": must be greater than or equal to 0'],
    ),
    "scopes that contradict each other": (
        core.ResourceQuota,
        quota({"pods": "1"}, scopes=["BestEffort", "NotBestEffort"]),
        ['spec.scopes: Invalid value: []core.ResourceQuotaScope{"BestEffort", "NotBestEffort"}: conflicting scopes'],
    ),
    "a scope that does not know the resource": (
        core.ResourceQuota,
        quota({"cpu": "1"}, scopes=["BestEffort"]),
        ['spec.scopes: Invalid value: []core.ResourceQuotaScope{"BestEffort"}: unsupported scope applied to resource'],
    ),
    "a scope that is not known": (
        core.ResourceQuota,
        quota(scopes=["Sunday"]),
        ['spec.scopes: Invalid value: []core.ResourceQuotaScope{"Sunday"}: unsupported scope'],
    ),
    "a selector by priority": (
        core.ResourceQuota,
        quota({"pods": "1"}, scopeSelector={"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}),
        [],
    ),
    "a selector without values": (
        core.ResourceQuota,
        quota({"pods": "1"}, scopeSelector={"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}),
        ["spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is "
         "'In' or 'NotIn' for scope selector"],
    ),
    "a pod template": (
        core.PodTemplate,
        {"metadata": METADATA, "template": {"spec": {"containers": [{"name": "a", "image": "x"}]}}},
        [],
    ),
    "a pod template without containers": (
        core.PodTemplate,
        {"metadata": METADATA},
        ["template.spec.containers: Required value"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "data", "expected"), NEW.values(), ids=NEW)
def test_new_objects(complaints: Complaints, model: type[Object], data: dict[str, Any], expected: list[str]) -> None:
    assert complaints(model, data) == expected


def test_the_scopes_of_a_quota_stay(update_complaints: Complaints) -> None:
    old, new = quota(scopes=["BestEffort"]), quota({"pods": "2"}, scopes=["BestEffort"])
    assert update_complaints(core.ResourceQuota, new, old) == []
    assert update_complaints(core.ResourceQuota, quota(), old) == [
        "spec.scopes: Invalid value: []core.ResourceQuotaScope{}: field is immutable"
    ]


def test_the_use_of_a_quota_is_checked_too(status_complaints: Complaints) -> None:
    wrong = {"metadata": METADATA, "status": {"used": {"pods": "-1"}}}
    assert status_complaints(core.ResourceQuota, wrong, quota()) == [
        'status.used[pods]: Invalid value: "-1": must be greater than or equal to 0'
    ]
