"""Who may do what: the question, put as upstream puts it, and the modes that answer it without looking at objects.

A request is a verb on a resource, or on another path. Authorizers are asked in turn; the first that allows it decides,
and none of ours forbids what another allows. `system:masters` may do everything, whatever the mode.
(apiserver/pkg/authorization, pkg/kubeapiserver/authorizer, endpoints/handlers/responsewriters/errors.go)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from kube.api import errors
from kube.api.authentication import UserInfo
from kube.api.authorization import NonResourceRule, ResourceRule
from kube.apiserver.authentication import MASTERS
from kube.apiserver.request import Query, parse_path

VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Attributes:
    """What somebody wants to do."""

    user: UserInfo
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    """The plural; empty: it is about `path`."""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def qualified(self) -> str:
        """The resource with its subresource."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Decision(NamedTuple):
    """The answer."""

    allowed: bool
    reason: str = ""


class Rules(NamedTuple):
    """What somebody may do in a namespace, as far as it can be listed."""

    resources: list[ResourceRule]
    others: list[NonResourceRule]
    error: str = ""


class Authorizer(Protocol):
    """Decides."""

    def decide(self, wanted: Attributes) -> Decision:
        """Whether it may be done; if not, somebody else may still allow it."""

    def rules(self, user: UserInfo, namespace: str) -> Rules:
        """What may be done."""


EVERYTHING = Rules(
    [ResourceRule(verbs=["*"], apiGroups=["*"], resources=["*"])], [NonResourceRule(verbs=["*"], nonResourceURLs=["*"])]
)


class AlwaysAllow:
    """Everybody may do everything."""

    def decide(self, wanted: Attributes) -> Decision:
        return Decision(True)

    def rules(self, user: UserInfo, namespace: str) -> Rules:
        return EVERYTHING


class AlwaysDeny:
    """Nobody may do anything."""

    def decide(self, wanted: Attributes) -> Decision:
        return Decision(False, "Everything is forbidden.")

    def rules(self, user: UserInfo, namespace: str) -> Rules:
        return Rules([], [])


class Union:
    """Several authorizers, asked in turn."""

    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers = authorizers

    def decide(self, wanted: Attributes) -> Decision:
        if MASTERS in wanted.user.groups:
            return Decision(True)
        reasons = []
        for authorizer in self._authorizers:
            decision = authorizer.decide(wanted)
            if decision.allowed:
                return decision
            reasons.append(decision.reason)
        return Decision(False, "\n".join(filter(None, reasons)))

    def rules(self, user: UserInfo, namespace: str) -> Rules:
        if MASTERS in user.groups:
            return EVERYTHING
        found = [authorizer.rules(user, namespace) for authorizer in self._authorizers]
        return Rules(
            [rule for each in found for rule in each.resources],
            [rule for each in found for rule in each.others],
            ", ".join(each.error for each in found if each.error),
        )


def of_request(user: UserInfo, method: str, path: str, query_string: bytes) -> Attributes:
    """What a request wants (endpoints/request/requestinfo.go)."""
    target = parse_path(path)
    if target is None:
        return Attributes(user, method.lower(), path=path)
    verb, name = VERBS.get(method, ""), target.name
    if verb == "get" and not target.subresource:
        query = Query(query_string)
        try:
            watching = target.watch or query.flag("watch")
        except errors.BadRequest:
            watching = False
        verb = "watch" if watching else verb if name else "list"
    elif verb == "delete" and not name:
        verb = "deletecollection"
    if not name and verb in ("list", "watch", "deletecollection"):
        name = _selected_name(query_string)
    # A namespace is in itself: so a Role in it can let somebody read or change it.
    namespace = target.name if target.plural == "namespaces" and not target.group else target.namespace
    return Attributes(
        user, verb, target.group, target.version, target.plural, target.subresource, namespace, name
    )  # fmt: skip


def _selected_name(query_string: bytes) -> str:
    """The one name that a field selector asks for: who may read that object may also list or watch it."""
    if b"fieldSelector" not in query_string:
        return ""
    conditions = Query(query_string).text("fieldSelector").split(",")
    found = [
        match[1] for each in conditions if (match := re.fullmatch(r"\s*metadata\.name\s*==?\s*([^=!\s]+)\s*", each))
    ]
    return found[0] if len(found) == 1 else ""


def forbidden(wanted: Attributes, reason: str = "") -> errors.Forbidden:
    """`pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "default"`"""
    user = errors.quote(wanted.user.username)
    if not wanted.resource:
        text, details = f"User {user} cannot {wanted.verb} path {errors.quote(wanted.path)}", {}
        subject = "forbidden"
    else:
        where = f"in the namespace {errors.quote(wanted.namespace)}" if wanted.namespace else "at the cluster scope"
        text = (f"User {user} cannot {wanted.verb} resource {errors.quote(wanted.qualified)} in API group "
                f"{errors.quote(wanted.group)} {where}")  # fmt: skip
        details = {"name": wanted.name, "group": wanted.group, "kind": wanted.resource}
        qualified = f"{wanted.resource}.{wanted.group}" if wanted.group else wanted.resource
        subject = (
            f"{qualified} {errors.quote(wanted.name)} is forbidden" if wanted.name else f"{qualified} is forbidden"
        )
    message = f"{subject}: {text}: {reason}" if reason else f"{subject}: {text}"
    return errors.Forbidden(message, details={key: value for key, value in details.items() if value})
