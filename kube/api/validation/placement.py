"""Rules for where a pod may run: affinity, tolerations, taints, topology spread."""

from __future__ import annotations

from collections.abc import Sequence

from kube.api import core, names
from kube.api.errors import FieldError, duplicate, field_forbidden, invalid, not_supported, required
from kube.api.meta import LabelSelector
from kube.api.validation.meta import NOT_POSITIVE, Errors, each, label_name, label_selector

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def affinity(path: str, wanted: core.Affinity | None) -> Errors:
    """Where a pod must and likes to run."""
    if wanted is None:
        return
    if wanted.nodeAffinity is not None:
        yield from _node_affinity(f"{path}.nodeAffinity", wanted.nodeAffinity)
    if wanted.podAffinity is not None:
        yield from _pod_affinity(f"{path}.podAffinity", wanted.podAffinity)
    if wanted.podAntiAffinity is not None:
        yield from _pod_affinity(f"{path}.podAntiAffinity", wanted.podAntiAffinity)


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def _node_affinity(path: str, wanted: core.NodeAffinity) -> Errors:
    must = wanted.requiredDuringSchedulingIgnoredDuringExecution
    if must is not None:
        field = f"{path}.{_REQUIRED}.nodeSelectorTerms"
        if not must.nodeSelectorTerms:
            yield required(field, "must have at least one node selector term")
        for i, term in enumerate(must.nodeSelectorTerms):
            yield from _node_selector_term(f"{field}[{i}]", term, check_values=True)
    for i, preferred in enumerate(wanted.preferredDuringSchedulingIgnoredDuringExecution):
        where = f"{path}.{_PREFERRED}[{i}]"
        yield from _weight(where, preferred.weight)
        yield from _node_selector_term(f"{where}.preference", preferred.preference, check_values=False)


def _weight(path: str, weight: int) -> Errors:
    if not 1 <= weight <= 100:
        yield invalid(f"{path}.weight", weight, "must be in the range 1-100")


def _node_selector_term(path: str, term: core.NodeSelectorTerm, *, check_values: bool) -> Errors:
    for i, requirement in enumerate(term.matchExpressions):
        yield from _node_requirement(f"{path}.matchExpressions[{i}]", requirement, check_values=check_values)
    for i, requirement in enumerate(term.matchFields):
        where = f"{path}.matchFields[{i}]"
        if requirement.operator not in ("In", "NotIn"):
            yield invalid(f"{where}.operator", requirement.operator, "not a valid selector operator")
        elif len(requirement.values) != 1:
            detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            yield required(f"{where}.values", detail)
        if requirement.key != "metadata.name":
            yield invalid(f"{where}.key", requirement.key, "not a valid field selector key")
        else:
            for j, value in enumerate(requirement.values):
                yield from each(f"{where}.values[{j}]", value, names.dns_subdomain(value))


def _node_requirement(path: str, requirement: core.NodeSelectorRequirement, *, check_values: bool) -> Errors:
    operator, values = requirement.operator, requirement.values
    if operator in ("In", "NotIn"):
        if not values:
            yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield field_forbidden(f"{path}.values", detail)
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            yield required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
    else:
        yield invalid(f"{path}.operator", operator, "not a valid selector operator")
    yield from label_name(f"{path}.key", requirement.key)
    if check_values:
        for i, value in enumerate(values):
            yield from each(f"{path}.values[{i}]", value, names.label_value(value))


def _pod_affinity(path: str, wanted: core.PodAffinity | core.PodAntiAffinity) -> Errors:
    for i, term in enumerate(wanted.requiredDuringSchedulingIgnoredDuringExecution):
        yield from _pod_affinity_term(f"{path}.{_REQUIRED}[{i}]", term)
    for i, weighted in enumerate(wanted.preferredDuringSchedulingIgnoredDuringExecution):
        where = f"{path}.{_PREFERRED}[{i}]"
        yield from _weight(where, weighted.weight)
        yield from _pod_affinity_term(f"{where}.podAffinityTerm", weighted.podAffinityTerm)


def _pod_affinity_term(path: str, term: core.PodAffinityTerm) -> Errors:
    yield from label_selector(f"{path}.labelSelector", term.labelSelector)
    yield from label_selector(f"{path}.namespaceSelector", term.namespaceSelector)
    for name in term.namespaces:
        yield from each(f"{path}.namespace", name, names.dns_label(name))
    for field, keys in (("matchLabelKeys", term.matchLabelKeys), ("mismatchLabelKeys", term.mismatchLabelKeys)):
        if keys and term.labelSelector is None:
            yield field_forbidden(f"{path}.{field}", "must not be specified when labelSelector is not set")
            continue
        for i, key in enumerate(keys):
            yield from label_name(f"{path}.{field}[{i}]", key)
    for i, key in enumerate(term.matchLabelKeys):
        if key in term.mismatchLabelKeys:
            detail = "exists in both matchLabelKeys and mismatchLabelKeys"
            yield invalid(f"{path}.matchLabelKeys[{i}]", key, detail)
    if not term.topologyKey:
        yield required(f"{path}.topologyKey", "can not be empty")
    yield from label_name(f"{path}.topologyKey", term.topologyKey)


def tolerations(path: str, wanted: Sequence[core.Toleration]) -> Errors:
    """Taints that a pod bears."""
    for i, toleration in enumerate(wanted):
        where = f"{path}[{i}]"
        if toleration.key:
            yield from label_name(f"{where}.key", toleration.key)
        elif toleration.operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            yield invalid(f"{where}.operator", toleration.operator, detail)
        if toleration.tolerationSeconds is not None and toleration.effect != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            yield invalid(f"{where}.effect", toleration.effect, detail)
        if toleration.operator in ("", "Equal"):
            if problems := names.label_value(toleration.value):
                yield invalid(f"{where}.operator", toleration.value, ";".join(problems))
        elif toleration.operator == "Exists":
            if toleration.value:
                detail = "value must be empty when `operator` is 'Exists'"
                yield invalid(f"{where}.operator", toleration.value, detail)
        else:
            yield not_supported(f"{where}.operator", toleration.operator, ("Equal", "Exists"))
        if toleration.effect and toleration.effect not in EFFECTS:
            yield not_supported(f"{where}.effect", toleration.effect, EFFECTS)


def only_added_tolerations(path: str, new: Sequence[core.Toleration], old: Sequence[core.Toleration]) -> Errors:
    """Tolerations of a running pod: some may be added, and how long one lasts may change."""
    kept = {(t.key, t.operator, t.value, t.effect) for t in new}
    if any((t.key, t.operator, t.value, t.effect) not in kept for t in old):
        yield field_forbidden(path, "existing toleration can not be modified except its tolerationSeconds")
        return
    yield from tolerations(path, new)


def only_narrower(path: str, new: core.NodeAffinity | None, old: core.NodeAffinity | None) -> Errors:
    """The node affinity of a pod behind a scheduling gate: to what was required, conditions may be added; what is
    liked may change. (validateNodeAffinityMutation)
    """
    path = f"{path}.{_REQUIRED}.nodeSelectorTerms"
    before, now = _required_terms(old), _required_terms(new)
    if before and len(before) != len(now):
        detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        yield invalid(path, [term.to_dict() for term in now] or None, detail)
        return
    for i, (old_term, new_term) in enumerate(zip(before, now, strict=False)):
        if not _only_added(new_term, old_term):
            yield invalid(f"{path}[{i}]", new_term.to_dict(), "only additions are allowed (no mutations or deletions)")


def _required_terms(affinity: core.NodeAffinity | None) -> list[core.NodeSelectorTerm]:
    required_nodes = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    return required_nodes.nodeSelectorTerms if required_nodes else []


def _only_added(new: core.NodeSelectorTerm, old: core.NodeSelectorTerm) -> bool:
    """A term without conditions means no node: one more would make it mean some."""
    expressions, fields = len(old.matchExpressions), len(old.matchFields)
    if not expressions and not fields:
        return new == old
    return new.matchExpressions[:expressions] == old.matchExpressions and new.matchFields[:fields] == old.matchFields


def taints(path: str, wanted: Sequence[core.Taint]) -> Errors:
    """What keeps pods away from a node; each key and effect once."""
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(wanted):
        where = f"{path}[{i}]"
        yield from label_name(f"{where}.key", taint.key)
        if problems := names.label_value(taint.value):
            yield invalid(f"{where}.value", taint.value, ";".join(problems))
        if not taint.effect:
            yield required(f"{where}.effect")
        elif taint.effect not in EFFECTS:
            yield not_supported(f"{where}.effect", taint.effect, EFFECTS)
        if (taint.key, taint.effect) in seen:
            body = f"Duplicate value: {taint.to_json().decode()}: taints must be unique by key and effect pair"
            yield FieldError("FieldValueDuplicate", where, body)
        seen.add((taint.key, taint.effect))


def topology_spread(path: str, wanted: Sequence[core.TopologySpreadConstraint]) -> Errors:
    """How a pod's like are spread."""
    for i, constraint in enumerate(wanted):
        where = f"{path}[{i}]"
        if constraint.maxSkew <= 0:
            yield invalid(f"{where}.maxSkew", constraint.maxSkew, NOT_POSITIVE)
        if not constraint.topologyKey:
            yield required(f"{where}.topologyKey", "can not be empty")
        how = constraint.whenUnsatisfiable
        if how not in ("DoNotSchedule", "ScheduleAnyway"):
            yield not_supported(f"{where}.whenUnsatisfiable", how, ("DoNotSchedule", "ScheduleAnyway"))
        kind = (constraint.topologyKey, how)
        if any((other.topologyKey, other.whenUnsatisfiable) == kind for other in wanted[i + 1 :]):
            yield duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{kind[0]}, {kind[1]}}}")
        domains = constraint.minDomains
        if domains is not None:
            if domains <= 0:
                yield invalid(f"{where}.minDomains", domains, NOT_POSITIVE)
            if how != "DoNotSchedule":
                detail = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {how}"
                yield invalid(f"{where}.minDomains", domains, detail)
        for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            policy: str | None = getattr(constraint, name)
            if policy not in (None, "Honor", "Ignore"):
                yield not_supported(f"{where}.{name}", policy, ("Honor", "Ignore"))
        yield from _spread_keys(f"{where}.matchLabelKeys", constraint.matchLabelKeys, constraint.labelSelector)
        yield from label_selector(f"{where}.labelSelector", constraint.labelSelector)


def _spread_keys(path: str, keys: Sequence[str], selector: LabelSelector | None) -> Errors:
    if not keys:
        return
    if selector is None:
        yield field_forbidden(path, "must not be specified when labelSelector is not set")
        used: set[str] = set()
    else:
        used = {*selector.matchLabels, *(expression.key for expression in selector.matchExpressions)}
    for i, key in enumerate(keys):
        yield from label_name(f"{path}[{i}]", key)
        if key in used:
            yield invalid(f"{path}[{i}]", key, "exists in both matchLabelKeys and labelSelector")
