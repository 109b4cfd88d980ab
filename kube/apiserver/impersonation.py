"""Acting as somebody else (`kubectl --as`), for those who may `impersonate` that user, group, uid and extra.

(apiserver/pkg/endpoints/filters/impersonation.go)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from urllib.parse import unquote

from kube import serviceaccount
from kube.api import errors
from kube.api.authentication import UserInfo
from kube.apiserver.authentication import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED
from kube.apiserver.authorization import Attributes, Authorizer, forbidden

PREFIX = b"impersonate-"
EXTRA = b"impersonate-extra-"
AUTHENTICATION = "authentication.k8s.io"


def wanted(headers: Collection[tuple[bytes, bytes]]) -> UserInfo | None:
    """Whom a request asks to be; None: nobody else. Raises InternalError for groups without a user."""
    if not any(name.startswith(PREFIX) for name, _ in headers):
        return None
    user = UserInfo()
    for name, value in headers:
        if not name.startswith(PREFIX):
            continue
        text = value.decode("latin-1")
        if name == b"impersonate-user":
            user.username = text
        elif name == b"impersonate-uid":
            user.uid = text
        elif name == b"impersonate-group":
            user.groups = [*user.groups, text]
        elif name.startswith(EXTRA):
            key = unquote(name.removeprefix(EXTRA).decode("latin-1"))
            user.extra = {**user.extra, key: [*user.extra.get(key, []), text]}
    if not user.username and (user.groups or user.uid or user.extra):
        raise errors.InternalError(
            "Internal error occurred: requested groups, uid or extra without impersonating a user"
        )
    return user if user.username else None


def checks(asker: UserInfo, user: UserInfo) -> Iterator[Attributes]:
    """What the asker must be allowed to be that user."""
    account = serviceaccount.split_username(user.username)
    if account is not None:
        yield Attributes(asker, "impersonate", version="v1", resource="serviceaccounts", namespace=account[0],
                         name=account[1])  # fmt: skip
    else:
        yield Attributes(asker, "impersonate", version="v1", resource="users", name=user.username)
    for group in user.groups:
        yield Attributes(asker, "impersonate", version="v1", resource="groups", name=group)
    for key, values in user.extra.items():
        for value in values:
            yield Attributes(asker, "impersonate", AUTHENTICATION, "v1", "userextras", key, name=value)
    if user.uid:
        yield Attributes(asker, "impersonate", AUTHENTICATION, "v1", "uids", name=user.uid)


def impersonated(asker: UserInfo, headers: Collection[tuple[bytes, bytes]], authorizer: Authorizer) -> UserInfo:
    """Who the request is taken to be from. Raises Forbidden."""
    user = wanted(headers)
    if user is None:
        return asker
    for attributes in checks(asker, user):
        decision = authorizer.decide(attributes)
        if not decision.allowed:
            raise forbidden(attributes, decision.reason)
    account = serviceaccount.split_username(user.username)
    groups = list(user.groups)
    if account is not None and not groups:
        groups = serviceaccount.groups(account[0])
    ours = UNAUTHENTICATED if user.username == ANONYMOUS.username else AUTHENTICATED
    if ours not in groups:
        groups.append(ours)
    return user.model_copy(update={"groups": groups})
