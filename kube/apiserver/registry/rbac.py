"""Roles and bindings: nobody gives away rights that they have not, unless they may `escalate` or `bind`.

(pkg/registry/rbac/{role,rolebinding,clusterrole,clusterrolebinding}/policybased, pkg/apis/rbac/validation)
"""

from __future__ import annotations

from typing import Any

from kube.api import errors, names
from kube.api.unstructured import Unstructured
from kube.apiserver.authentication import USER
from kube.apiserver.authorization import Attributes, Authorizer
from kube.apiserver.rbac import GROUP, Rbac, Rule, in_words, missing_rights
from kube.apiserver.registry.others import StoredOnly


class RbacStrategy(StoredOnly):
    """What the four kinds have in common."""

    guard: tuple[Authorizer, Rbac] | None = None
    """Who watches over rights; None: nobody, as where roles mean nothing."""

    def validate(self, obj: Unstructured) -> list[errors.FieldError]:
        found = [*super().validate(obj), *self.problems(obj)]
        if not found:
            self.check(obj)
        return found

    def validate_update(self, new: Unstructured, old: Unstructured) -> list[errors.FieldError]:
        found = [*super().validate_update(new, old), *self.problems(new), *self.problems_of_change(new, old)]
        changed = any(new.part(name) != old.part(name) for name in ("rules", "subjects", "roleRef"))
        if not found and changed:
            self.check(new)
        return found

    def problems(self, obj: Unstructured) -> list[errors.FieldError]:
        """What is wrong with an object."""
        return []

    def problems_of_change(self, new: Unstructured, old: Unstructured) -> list[errors.FieldError]:
        """What is wrong with a change."""
        return []

    def check(self, obj: Unstructured) -> None:
        """Raises Forbidden for who gives away what they have not."""

    def confirm(self, obj: Unstructured, given: list[Rule]) -> None:
        """The user of the request has all that is given. Raises Forbidden."""
        assert self.guard is not None
        user = USER.get()
        owned, unknown = self.guard[1].rules_of(user, obj.namespace)
        missing = missing_rights(owned, given)
        if missing:
            groups = " ".join(map(errors.quote, user.groups))
            why = (f"user {errors.quote(user.username)} (groups=[{groups}]) is attempting to grant RBAC permissions "
                   f"not currently held:\n{in_words(missing)}")  # fmt: skip
            if unknown:
                why += f"; resolution errors: [{', '.join(unknown)}]"
            raise errors.forbidden(self.resource.plural, obj.name, why, GROUP)


class RoleStrategy(RbacStrategy):
    """Roles and cluster roles."""

    def problems(self, obj: Unstructured) -> list[errors.FieldError]:
        found = []
        for i, rule in enumerate(_dicts(obj.part("rules"))):
            path = f"rules[{i}]"
            if not rule.get("verbs"):
                found.append(errors.required(f"{path}.verbs", "verbs must contain at least one value"))
            urls, named = rule.get("nonResourceURLs"), rule.get("apiGroups") or rule.get("resources")
            if urls and self.resource.namespaced:
                detail = "namespaced rules cannot apply to non-resource URLs"
                found.append(errors.invalid(f"{path}.nonResourceURLs", urls, detail))
            elif urls and (named or rule.get("resourceNames")):
                detail = "rules cannot apply to both regular resources and non-resource URLs"
                found.append(errors.invalid(f"{path}.nonResourceURLs", urls, detail))
            elif not urls:
                if not rule.get("apiGroups"):
                    detail = "resource rules must supply at least one api group"
                    found.append(errors.required(f"{path}.apiGroups", detail))
                if not rule.get("resources"):
                    detail = "resource rules must supply at least one resource"
                    found.append(errors.required(f"{path}.resources", detail))
        return found

    def check(self, obj: Unstructured) -> None:
        if self.guard is None or _may(self.guard[0], "escalate", self.resource.plural, obj.namespace, obj.name):
            return
        self.confirm(obj, [Rule.of(rule) for rule in _dicts(obj.part("rules"))])


class BindingStrategy(RbacStrategy):
    """Bindings of roles and of cluster roles."""

    def prepare_create(self, obj: Unstructured) -> None:
        super().prepare_create(obj)
        _fill_in_groups(obj)

    def prepare_update(self, new: Unstructured, old: Unstructured) -> None:
        _fill_in_groups(new)
        super().prepare_update(new, old)

    def problems(self, obj: Unstructured) -> list[errors.FieldError]:
        role = obj.part("roleRef") or {}
        kinds = ["ClusterRole", "Role"] if self.resource.namespaced else ["ClusterRole"]
        found = []
        if role.get("apiGroup", GROUP) != GROUP:
            found.append(errors.not_supported("roleRef.apiGroup", role.get("apiGroup"), [GROUP]))
        if role.get("kind") not in kinds:
            found.append(errors.not_supported("roleRef.kind", role.get("kind", ""), kinds))
        if not role.get("name"):
            found.append(errors.required("roleRef.name"))
        for i, subject in enumerate(_dicts(obj.part("subjects"))):
            path, kind = f"subjects[{i}]", subject.get("kind", "")
            if not subject.get("name"):
                found.append(errors.required(f"{path}.name"))
            if kind not in ("ServiceAccount", "User", "Group"):
                found.append(errors.not_supported(f"{path}.kind", kind, ["ServiceAccount", "User", "Group"]))
                continue
            name, group = str(subject.get("name") or ""), subject.get("apiGroup") or ""
            if kind != "ServiceAccount" and not name:
                found.append(errors.invalid(f"{path}.name", name, f"{kind.lower()} name cannot be empty"))
            elif kind == "ServiceAccount" and name:
                found += [errors.invalid(f"{path}.name", name, why) for why in names.dns_subdomain(name)]
            wanted = "" if kind == "ServiceAccount" else GROUP
            if group != wanted:
                found.append(errors.not_supported(f"{path}.apiGroup", group, [wanted]))
            if kind == "ServiceAccount" and not subject.get("namespace") and not self.resource.namespaced:
                found.append(errors.required(f"{path}.namespace"))
        return found

    def problems_of_change(self, new: Unstructured, old: Unstructured) -> list[errors.FieldError]:
        if _role_ref(new) != _role_ref(old):
            return [errors.invalid("roleRef", new.part("roleRef"), "cannot change roleRef")]
        return []

    def check(self, obj: Unstructured) -> None:
        if self.guard is None:
            return
        kind, name = _role_ref(obj)
        plural, namespace = ("roles", obj.namespace) if kind == "Role" else ("clusterroles", "")
        if _may(self.guard[0], "bind", plural, namespace or obj.namespace, name):
            return
        role = self.guard[1].role(kind, name, obj.namespace)
        if role is None:
            raise errors.not_found(plural, name, GROUP)
        self.confirm(obj, list(role.rules))


def _fill_in_groups(binding: Unstructured) -> None:
    """The API group of the role, and of users and groups, if it is left out (pkg/apis/rbac/v1/defaults.go)."""
    role, subjects = binding.part("roleRef"), binding.part("subjects")
    if isinstance(role, dict) and not role.get("apiGroup"):
        binding.put("roleRef", {**role, "apiGroup": GROUP})
    if isinstance(subjects, list):
        binding.put("subjects", [_with_group(subject) for subject in subjects])


def _with_group(subject: Any) -> Any:
    if not isinstance(subject, dict) or subject.get("kind") not in ("User", "Group") or subject.get("apiGroup"):
        return subject
    return {**subject, "apiGroup": GROUP}


def _role_ref(obj: Unstructured) -> tuple[str, str]:
    role = obj.part("roleRef") or {}
    return role.get("kind", ""), role.get("name", "")


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _may(authorizer: Authorizer, verb: str, plural: str, namespace: str, name: str) -> bool:
    wanted = Attributes(USER.get(), verb, GROUP, "v1", plural, namespace=namespace, name=name)
    return authorizer.decide(wanted).allowed
