"""Rules for limit ranges, resource quotas and pod templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from kube.api import core, names, quantity
from kube.api.errors import Verbatim, duplicate, field_forbidden, invalid, required
from kube.api.validation import amounts, pods
from kube.api.validation.meta import IMMUTABLE, Errors, each, object_meta, object_meta_update, shown

_LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_PARTS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def validate_limit_range(limits: core.LimitRange) -> Errors:
    """A limit range, new or changed."""
    yield from object_meta(limits.metadata, names.dns_subdomain)
    seen: set[str] = set()
    for i, item in enumerate(limits.spec.limits):
        path = f"spec.limits[{i}]"
        problems = names.qualified(item.type)
        yield from each(f"{path}.type", item.type, problems)
        if not problems and "/" not in item.type and item.type not in _LIMIT_TYPES:
            yield invalid(f"{path}.type", item.type, "must be a standard limit type or fully qualified")
        if item.type in seen:
            yield duplicate(f"{path}.type", item.type)
        seen.add(item.type)
        yield from _limit_item(path, item)


def validate_limit_range_update(new: core.LimitRange, old: core.LimitRange) -> Errors:
    """A changed limit range; upstream asks no more than of a new one."""
    yield from object_meta_update(new.metadata, old.metadata)
    yield from validate_limit_range(new)


def _limit_item(path: str, item: core.LimitRangeItem) -> Errors:
    of_pod, bounded = item.type == "Pod", "storage" in item.min or "storage" in item.max
    used: dict[str, None] = {}
    for part in _PARTS:
        values: dict[str, str] = getattr(item, part)
        if of_pod and part in ("default", "defaultRequest"):
            if values:
                yield field_forbidden(f"{path}.{part}", "may not be specified when `type` is 'Pod'")
            continue
        if part == "maxLimitRequestRatio" and item.type == "PersistentVolumeClaim" and not bounded:
            detail = "either minimum or maximum storage value is required, but neither was provided"
            yield required(f"{path}.limits", detail)
        for name in values:
            rule = amounts.container_resource_name if item.type in ("Pod", "Container") else amounts.resource_name
            yield from rule(f"{path}.{part}[{name}]", name)
            used[name] = None
    for name in used:
        yield from _consistent(path, item, name, of_pod=of_pod)


def _consistent(path: str, item: core.LimitRangeItem, name: str, *, of_pod: bool) -> Errors:
    """The amounts of one resource must fit one another."""
    low, high = item.min.get(name), item.max.get(name)
    default = None if of_pod else item.default.get(name)
    request = None if of_pod else item.defaultRequest.get(name)
    ratio = item.maxLimitRequestRatio.get(name)
    at_request = f"{path}.defaultRequest[{name}]"

    def above(left: str | None, right: str | None) -> bool:
        return left is not None and right is not None and quantity.compare(left, right) > 0

    if above(low, high):
        yield invalid(f"{path}.min[{name}]", Verbatim(low), f"min value {low} is greater than max value {high}")
    if above(low, request):
        yield invalid(at_request, Verbatim(request), f"min value {low} is greater than default request value {request}")
    if above(request, high):
        yield invalid(
            at_request, Verbatim(request), f"default request value {request} is greater than max value {high}"
        )
    if above(request, default):
        yield invalid(
            at_request,
            Verbatim(request),
            f"default request value {request} is greater than default limit value {default}",
        )
    if above(low, default):
        yield invalid(
            f"{path}.default[{name}]", Verbatim(low), f"min value {low} is greater than default value {default}"
        )
    if above(default, high):
        yield invalid(
            f"{path}.default[{name}]", Verbatim(high), f"default value {default} is greater than max value {high}"
        )
    if ratio is not None:
        yield from _ratio(f"{path}.maxLimitRequestRatio[{name}]", ratio, low, high)
    both = default is not None and request is not None
    if both and not amounts.may_overcommit(name) and quantity.compare(default or "", request or ""):
        detail = f"default value {default} must equal to defaultRequest value {request} in {name}"
        yield invalid(at_request, Verbatim(request), detail)


def _ratio(field: str, ratio: str, low: str | None, high: str | None) -> Errors:
    if quantity.parse(ratio) < 1:
        yield invalid(field, Verbatim(ratio), f"ratio {ratio} is less than 1")
    if low is not None and high is not None:
        least = quantity.parse(low)
        largest = quantity.parse(high) / least if least else Decimal("Infinity")
        if quantity.parse(ratio) > largest:
            yield invalid(field, Verbatim(ratio), f"ratio {ratio} is greater than max/min = {largest:f}")


# What a quota may count without a domain (pkg/apis/core/helper).
_COMPUTE = ("cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage",
            "limits.cpu", "limits.memory", "limits.ephemeral-storage")  # fmt: skip
_QUOTA = (*_COMPUTE, "requests.storage", "pods", "resourcequotas", "services", "replicationcontrollers", "secrets",
          "persistentvolumeclaims", "configmaps", "services.nodeports", "services.loadbalancers")  # fmt: skip
_POD_SCOPES = ("Terminating", "NotTerminating", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity")
_SCOPES = (*_POD_SCOPES, "BestEffort", "VolumeAttributesClass")
_CONFLICTING = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_EXISTS_ONLY = ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity")


def _is_standard_quota(name: str) -> bool:
    return name in _QUOTA or name.startswith(("hugepages-", "requests.hugepages-"))


def _scope_fits(scope: str, name: str) -> bool:
    """Whether a scope says anything about a resource."""
    if scope in _POD_SCOPES:
        return name in _COMPUTE or name == "pods"
    if scope == "BestEffort":
        return name == "pods"
    return scope != "VolumeAttributesClass" or name in ("persistentvolumeclaims", "requests.storage")


def _quota_amounts(path: str, values: Mapping[str, str]) -> Errors:
    for name, value in values.items():
        field = f"{path}[{name}]"
        yield from amounts.resource_name(field, name)
        if "/" not in name and not _is_standard_quota(name):
            yield invalid(field, name, "must be a standard resource for quota")
        yield from amounts.amount(field, name, value)


def validate_quota(quota: core.ResourceQuota) -> Errors:
    """A new resource quota."""
    yield from object_meta(quota.metadata, names.dns_subdomain)
    yield from _quota_spec(quota.spec)
    yield from _quota_status(quota.status)


def _quota_spec(spec: core.ResourceQuotaSpec) -> Errors:
    yield from _quota_amounts("spec.hard", spec.hard)
    counted = sorted(name for name in spec.hard if _is_standard_quota(name))
    if spec.scopes:
        for scope in spec.scopes:
            if scope not in _SCOPES:
                yield invalid("spec.scopes", _printed(spec.scopes), "unsupported scope")
            for name in counted:
                if not _scope_fits(scope, name):
                    yield invalid("spec.scopes", _printed(spec.scopes), "unsupported scope applied to resource")
        yield from _conflicts("spec.scopes", set(spec.scopes), spec)
    if spec.scopeSelector is not None:
        yield from _scope_selector("spec.scopeSelector.matchExpressions", spec, spec.scopeSelector, counted)


def _printed(scopes: Sequence[str]) -> Verbatim:
    return Verbatim("[]core.ResourceQuotaScope{" + ", ".join(f'"{scope}"' for scope in scopes) + "}")


def _conflicts(path: str, scopes: set[str], spec: core.ResourceQuotaSpec) -> Errors:
    for pair in _CONFLICTING:
        if pair <= scopes:
            yield invalid(path, _printed(spec.scopes), "conflicting scopes")


def _scope_selector(
    path: str, spec: core.ResourceQuotaSpec, selector: core.ScopeSelector, counted: Sequence[str]
) -> Errors:
    for expression in selector.matchExpressions:
        scope, operator = expression.scopeName, expression.operator
        if scope not in _SCOPES:
            yield invalid(f"{path}.scopeName", scope, "unsupported scope")
        for name in counted:
            if not _scope_fits(scope, name):
                yield invalid(path, shown(selector), "unsupported scope applied to resource")
        if scope in _EXISTS_ONLY and operator != "Exists":
            detail = (
                "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "
                "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
                "ResourceQuotaScopeCrossNamespacePodAffinity"
            )
            yield invalid(f"{path}.operator", operator, detail)
        if operator in ("In", "NotIn"):
            if not expression.values:
                detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                yield required(f"{path}.values", detail)
        elif operator in ("Exists", "DoesNotExist"):
            if expression.values:
                detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                yield invalid(f"{path}.values", expression.values, detail)
        else:
            yield invalid(f"{path}.operator", operator, "not a valid selector operator")
    yield from _conflicts(path, {expression.scopeName for expression in selector.matchExpressions}, spec)


def _quota_status(status: core.ResourceQuotaStatus) -> Errors:
    yield from _quota_amounts("status.hard", status.hard)
    yield from _quota_amounts("status.used", status.used)


def validate_quota_update(new: core.ResourceQuota, old: core.ResourceQuota) -> Errors:
    """A changed resource quota: its scopes stay."""
    yield from object_meta_update(new.metadata, old.metadata)
    yield from _quota_spec(new.spec)
    if set(new.spec.scopes) != set(old.spec.scopes):
        yield invalid("spec.scopes", _printed(new.spec.scopes), IMMUTABLE)


def validate_quota_status_update(new: core.ResourceQuota, old: core.ResourceQuota) -> Errors:
    """A resource quota whose status has changed."""
    yield from object_meta_update(new.metadata, old.metadata)
    yield from _quota_status(new.status)


def validate_pod_template(holder: core.PodTemplate) -> Errors:
    """A new pod template."""
    yield from object_meta(holder.metadata, names.dns_subdomain)
    yield from pods.template("template", holder.template)


def validate_pod_template_update(new: core.PodTemplate, old: core.PodTemplate) -> Errors:
    """A changed pod template."""
    yield from object_meta_update(new.metadata, old.metadata)
    yield from pods.template("template", new.template)
