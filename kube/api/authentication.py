"""authentication.k8s.io/v1: TokenReview and SelfSubjectReview, questions about who somebody is. Never stored."""

from __future__ import annotations

from typing import ClassVar

from kube.api.meta import Model, Object, always
from kube.api.scalars import Present


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
