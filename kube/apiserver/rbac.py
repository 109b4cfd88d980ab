"""RBAC: who may do what, by Roles and ClusterRoles that RoleBindings and ClusterRoleBindings give to subjects.

A role is a list of rules, a rule says what it allows; nothing forbids. The four kinds are read from the cache: a
binding counts as soon as the cache has it. What they say is made out once for each version of an object.
(plugin/pkg/auth/authorizer/rbac, pkg/registry/rbac/validation)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson

from kube import serviceaccount
from kube.api import resources
from kube.api.authentication import UserInfo
from kube.api.authorization import NonResourceRule, ResourceRule
from kube.api.errors import quote
from kube.api.resources import Resource
from kube.apiserver.authorization import Attributes, Decision, Rules
from kube.apiserver.cache import Cache, Entry
from kube.store import keys

GROUP = "rbac.authorization.k8s.io"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a role allows (PolicyRule)."""

    verbs: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: dict[str, Any]) -> Rule:
        """A rule as it is stored."""
        fields = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")
        return cls(*(tuple(data.get(field) or ()) for field in fields))

    def allows(self, wanted: Attributes) -> bool:
        """(pkg/apis/rbac/v1/evaluation_helpers.go)"""
        if not _has(self.verbs, wanted.verb):
            return False
        if not wanted.resource:
            return any(_matches_url(url, wanted.path) for url in self.urls)
        return (
            _has(self.groups, wanted.group)
            and (_has(self.resources, wanted.qualified)
                 or (bool(wanted.subresource) and f"*/{wanted.subresource}" in self.resources))
            and (not self.names or wanted.name in self.names)
        )  # fmt: skip


def _has(allowed: tuple[str, ...], wanted: str) -> bool:
    return "*" in allowed or wanted in allowed


def _matches_url(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))


@dataclass(frozen=True, slots=True)
class Role:
    """What a role says."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Binding:
    """What a binding says."""

    text: str
    """`RoleBinding "x/ns" of Role "y"`"""
    role_kind: str
    role_name: str
    namespace: str
    subjects: dict[tuple[str, str], str]
    """By (`User` or `Group`, name), the subject in words."""

    def subject(self, user: UserInfo) -> str:
        """As whom the user has the role, in words; empty: not at all."""
        found = self.subjects.get(("User", user.username), "")
        return found or next((said for group in user.groups if (said := self.subjects.get(("Group", group)))), "")


def _role(entry: Entry) -> Role:
    data = orjson.loads(entry.value)
    return Role(tuple(Rule.of(rule) for rule in data.get("rules") or ()))


def _binding(entry: Entry) -> Binding:
    data = orjson.loads(entry.value)
    meta, role = data["metadata"], data.get("roleRef") or {}
    namespace = meta.get("namespace", "")
    subjects = {}
    for subject in data.get("subjects") or ():
        kind, name = subject.get("kind", ""), subject.get("name", "")
        if kind == "ServiceAccount":
            home = subject.get("namespace") or namespace
            account = serviceaccount.username(home, name)
            subjects["User", account] = f"{kind} {quote(f'{name}/{home}')}"
        else:
            subjects[kind, name] = f"{kind} {quote(name)}"
    named = f"{meta['name']}/{namespace}" if namespace else meta["name"]
    text = f"{data['kind']} {quote(named)} of {role.get('kind', '')} {quote(role.get('name', ''))}"
    return Binding(text, role.get("kind", ""), role.get("name", ""), namespace, subjects)


class _Made(Generic[T]):
    """What was made out of the entries of a resource, kept by version."""

    def __init__(self, cache: Cache, resource: Resource, make: Callable[[Entry], T]) -> None:
        self._objects = cache.of(resource)
        self._make = make
        self._made: dict[str, tuple[Entry, T]] = {}
        self._all: tuple[int, list[T]] = (-1, [])

    def of(self, entry: Entry) -> T:
        known = self._made.get(entry.key)
        if known is None or known[0] is not entry:
            if len(self._made) > 2 * len(self._objects.entries) + 100:
                self._made.clear()  # most are of objects that are gone
            known = self._made[entry.key] = entry, self._make(entry)
        return known[1]

    def get(self, key: str) -> T | None:
        entry = self._objects.entries.get(key)
        return None if entry is None else self.of(entry)

    def all(self) -> list[T]:
        """Of all objects; for resources with few of them."""
        now = self._objects.end()
        if self._all[0] != now:
            self._all = now, [self.of(entry) for entry in self._objects.entries.values()]
        return self._all[1]

    def below(self, prefix: str) -> Iterator[T]:
        return map(self.of, self._objects.select(prefix))


class Rbac:
    """The authorizer."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._cluster_roles = _Made(cache, resources.CLUSTER_ROLES, _role)
        self._roles = _Made(cache, resources.ROLES, _role)
        self._cluster_bindings = _Made(cache, resources.CLUSTER_ROLE_BINDINGS, _binding)
        self._bindings = _Made(cache, resources.ROLE_BINDINGS, _binding)

    def decide(self, wanted: Attributes) -> Decision:
        """Whether a role allows it. Raises ServiceUnavailable while no roles are known."""
        missing: list[str] = []
        for binding, subject in self._of(wanted.user, wanted.namespace):
            role = self._role_of(binding)
            if role is None:
                missing.append(_not_found(binding))
            elif any(rule.allows(wanted) for rule in role.rules):
                return Decision(True, f"RBAC: allowed by {binding.text} to {subject}")
        return Decision(False, f"RBAC: {_aggregate(missing)}" if missing else "")

    def rules(self, user: UserInfo, namespace: str) -> Rules:
        """What the user's roles allow."""
        rules, missing = self.rules_of(user, namespace)
        return Rules(
            [
                ResourceRule(verbs=list(rule.verbs), apiGroups=list(rule.groups), resources=list(rule.resources),
                             resourceNames=list(rule.names))
                for rule in rules if rule.resources
            ],
            [
                NonResourceRule(verbs=list(rule.verbs), nonResourceURLs=list(rule.urls))
                for rule in rules if rule.urls
            ],
            _aggregate(missing),
        )  # fmt: skip

    def rules_of(self, user: UserInfo, namespace: str) -> tuple[list[Rule], list[str]]:
        """The rules of all roles that a user has, and which roles could not be found."""
        found: list[Rule] = []
        missing: list[str] = []
        for binding, _ in self._of(user, namespace):
            role = self._role_of(binding)
            if role is None:
                missing.append(_not_found(binding))
            else:
                found += role.rules
        return found, missing

    def role(self, kind: str, name: str, namespace: str) -> Role | None:
        """The role that a binding in a namespace (or none) means."""
        if kind == "Role":
            return self._roles.get(keys.object_key(resources.ROLES, namespace, name)) if namespace else None
        return self._cluster_roles.get(keys.object_key(resources.CLUSTER_ROLES, "", name))

    def _role_of(self, binding: Binding) -> Role | None:
        return self.role(binding.role_kind, binding.role_name, binding.namespace)

    def _of(self, user: UserInfo, namespace: str) -> Iterator[tuple[Binding, str]]:
        if not self._cache.revision:
            # Nothing is known yet: a refusal would be believed, and remembered. (Later an old view will do.)
            self._cache.check_ready()
        for binding in self._cluster_bindings.all():
            if subject := binding.subject(user):
                yield binding, subject
        if namespace:
            for binding in self._bindings.below(keys.prefix(resources.ROLE_BINDINGS, namespace)):
                if subject := binding.subject(user):
                    yield binding, subject


def _not_found(binding: Binding) -> str:
    plural = "role" if binding.role_kind == "Role" else "clusterrole"
    return f"{plural}.{GROUP} {quote(binding.role_name)} not found"


def _aggregate(problems: list[str]) -> str:
    unique = list(dict.fromkeys(problems))
    return unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]" if unique else ""


# Escalation: nobody gives away what they have not (pkg/registry/rbac/validation/policy_comparator.go)


def missing_rights(owned: Iterable[Rule], given: Iterable[Rule]) -> list[Rule]:
    """What the given rules allow and the owned ones do not, in the smallest pieces."""
    owned = list(owned)
    return [
        piece for rule in given for piece in _pieces(rule) if not any(_covers(owner, piece) for owner in owned)
    ]  # fmt: skip


def _pieces(rule: Rule) -> Iterator[Rule]:
    for verb in rule.verbs:
        for group in rule.groups:
            for resource in rule.resources:
                for name in rule.names or ("",):
                    yield Rule((verb,), (group,), (resource,), (name,) if name else ())
        for url in rule.urls:
            yield Rule((verb,), urls=(url,))


def _covers(owner: Rule, piece: Rule) -> bool:
    if not _has(owner.verbs, piece.verbs[0]):
        return False
    if piece.urls:
        return any(_matches_url(url, piece.urls[0]) for url in owner.urls)
    resource = piece.resources[0]
    return (
        _has(owner.groups, piece.groups[0])
        and (_has(owner.resources, resource) or f"*/{resource.partition('/')[2]}" in owner.resources)
        and (not owner.names or (bool(piece.names) and piece.names[0] in owner.names))
    )


def in_words(pieces: Iterable[Rule]) -> str:
    """The pieces, those that differ in the verb put together, a line each."""
    verbs: dict[Rule, list[str]] = {}
    for piece in pieces:
        rest = Rule((), piece.groups, piece.resources, piece.names, piece.urls)
        verbs.setdefault(rest, []).extend(piece.verbs)
    lines = []
    for rest, found in verbs.items():
        parts = (
            ("APIGroups", rest.groups), ("Resources", rest.resources), ("NonResourceURLs", rest.urls),
            ("ResourceNames", rest.names), ("Verbs", found),
        )  # fmt: skip
        lines.append("{" + ", ".join(f"{name}:[{' '.join(map(quote, each))}]" for name, each in parts if each) + "}")
    return "\n".join(sorted(set(lines)))
