"""authentication.k8s.io/v1: TokenReview and SelfSubjectReview, questions about who somebody is, and TokenRequest, which
asks for a token. Never stored.
"""

from __future__ import annotations

from typing import ClassVar

from kube.api.meta import AlwaysStr, Model, Object, always
from kube.api.scalars import Int64, NullableTime, Present, null_time


class UserInfo(Model):
    """Who somebody is."""

    username: str = ""
    """Name of the user."""
    uid: str = ""
    """Tells users of the same name at different times apart."""
    groups: list[str] = []
    """Groups the user is in."""
    extra: dict[str, list[str]] = {}
    """What else the authenticator knows."""


class TokenReviewSpec(Model):
    """The token in question."""

    token: str = ""
    """The bearer token."""
    audiences: list[str] = []
    """Whom the token must be meant for; empty: the apiserver."""


class TokenReviewStatus(Model):
    """Whose the token is."""

    authenticated: bool = False
    """Whether it is anybody's."""
    user: Present[UserInfo] = always()
    """Its user."""
    audiences: list[str] = []
    """Those of the wanted audiences that it is meant for."""
    error: str = ""
    """Why it could not be looked at."""


class TokenReview(Object):
    """Asks whose a token is."""

    kind: ClassVar[str] = "TokenReview"
    apiVersion: ClassVar[str] = "authentication.k8s.io/v1"

    spec: Present[TokenReviewSpec] = always()
    """The token in question."""
    status: Present[TokenReviewStatus] = always()
    """The answer."""


class SelfSubjectReviewStatus(Model):
    """Who is asking."""

    userInfo: Present[UserInfo] = always()
    """The user of the request."""


class SelfSubjectReview(Object):
    """Asks who is asking."""

    kind: ClassVar[str] = "SelfSubjectReview"
    apiVersion: ClassVar[str] = "authentication.k8s.io/v1"

    status: Present[SelfSubjectReviewStatus] = always()
    """The answer."""


class BoundObjectReference(Model):
    """With what a token dies."""

    kind: str = ""
    """`Pod`, `Secret` or `Node`."""
    apiVersion: str = ""
    """Its API version."""
    name: str = ""
    """Its name."""
    uid: str = ""
    """Its UID."""


class TokenRequestSpec(Model):
    """Which token is wanted."""

    audiences: Present[list[str]] = always()
    """Whom the token is meant for; empty: the apiserver."""
    expirationSeconds: Int64 | None = None
    """Seconds until it expires: an hour unless said otherwise, and ten minutes at least."""
    boundObjectRef: BoundObjectReference | None = None
    """With what the token dies."""


class TokenRequestStatus(Model):
    """The token."""

    token: AlwaysStr = always()
    """The bearer token."""
    expirationTimestamp: NullableTime = null_time()
    """When it expires."""


class TokenRequest(Object):
    """Asks for a token of a service account. Sent to `serviceaccounts/<name>/token`, never stored."""

    kind: ClassVar[str] = "TokenRequest"
    apiVersion: ClassVar[str] = "authentication.k8s.io/v1"

    spec: Present[TokenRequestSpec] = always()
    """Which token is wanted."""
    status: Present[TokenRequestStatus] = always()
    """The token."""
