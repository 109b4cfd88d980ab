"""authorization.k8s.io/v1: questions about what somebody may do. Never stored."""

from __future__ import annotations

from typing import ClassVar

from kube.api.meta import AlwaysBool, LabelSelectorRequirement, Model, Object, always
from kube.api.scalars import Present


class FieldSelectorRequirement(Model):
    """One condition on a field."""

    key: str = ""
    """The field."""
    operator: str = ""
    """`In`, `NotIn`, `Exists` or `DoesNotExist`."""
    values: list[str] = []
    """The values that `In` and `NotIn` look at."""


class FieldSelectorAttributes(Model):
    """The field selector of a request."""

    rawSelector: str = ""
    """As text."""
    requirements: list[FieldSelectorRequirement] = []
    """Or taken apart."""


class LabelSelectorAttributes(Model):
    """The label selector of a request."""

    rawSelector: str = ""
    """As text."""
    requirements: list[LabelSelectorRequirement] = []
    """Or taken apart."""


class ResourceAttributes(Model):
    """A request for a resource."""

    namespace: str = ""
    """Namespace; empty: all of them, or a resource without."""
    verb: str = ""
    """`get`, `list`, `create`, …, or `*`."""
    group: str = ""
    """API group, or `*`."""
    version: str = ""
    """API version, or `*`."""
    resource: str = ""
    """Plural, or `*`."""
    subresource: str = ""
    """Subresource."""
    name: str = ""
    """Name of the object; empty: any."""
    fieldSelector: FieldSelectorAttributes | None = None
    """Only objects with such fields."""
    labelSelector: LabelSelectorAttributes | None = None
    """Only objects with such labels."""


class NonResourceAttributes(Model):
    """A request for another path."""

    path: str = ""
    """The path."""
    verb: str = ""
    """`get`, `post`, …"""


class SubjectAccessReviewSpec(Model):
    """Who wants what."""

    resourceAttributes: ResourceAttributes | None = None
    """A request for a resource."""
    nonResourceAttributes: NonResourceAttributes | None = None
    """A request for another path."""
    user: str = ""
    """Who asks."""
    groups: list[str] = []
    """In which groups."""
    extra: dict[str, list[str]] = {}
    """What else the authenticator knows of the user."""
    uid: str = ""
    """UID of the user."""


class SubjectAccessReviewStatus(Model):
    """Whether it is allowed."""

    allowed: AlwaysBool = always()
    """It is."""
    denied: bool = False
    """It is not, whoever else might allow it."""
    reason: str = ""
    """Why."""
    evaluationError: str = ""
    """What went wrong while it was looked at."""


class SubjectAccessReview(Object):
    """Asks whether somebody may do something."""

    kind: ClassVar[str] = "SubjectAccessReview"
    apiVersion: ClassVar[str] = "authorization.k8s.io/v1"

    spec: Present[SubjectAccessReviewSpec] = always()
    """Who wants what."""
    status: Present[SubjectAccessReviewStatus] = always()
    """The answer."""


class SelfSubjectAccessReviewSpec(Model):
    """What the asker wants."""

    resourceAttributes: ResourceAttributes | None = None
    """A request for a resource."""
    nonResourceAttributes: NonResourceAttributes | None = None
    """A request for another path."""


class SelfSubjectAccessReview(Object):
    """Asks whether the asker may do something."""

    kind: ClassVar[str] = "SelfSubjectAccessReview"
    apiVersion: ClassVar[str] = "authorization.k8s.io/v1"

    spec: Present[SelfSubjectAccessReviewSpec] = always()
    """What the asker wants."""
    status: Present[SubjectAccessReviewStatus] = always()
    """The answer."""


class SelfSubjectRulesReviewSpec(Model):
    """Where."""

    namespace: str = ""
    """The namespace."""


class ResourceRule(Model):
    """What may be done with resources."""

    verbs: Present[list[str]] = always()
    """The verbs, or `*`."""
    apiGroups: list[str] = []
    """In these groups, or `*`."""
    resources: list[str] = []
    """With these resources, or `*`."""
    resourceNames: list[str] = []
    """With objects of these names; empty: any."""


class NonResourceRule(Model):
    """What may be done with other paths."""

    verbs: Present[list[str]] = always()
    """The verbs, or `*`."""
    nonResourceURLs: list[str] = []
    """The paths, or `*`."""


class SubjectRulesReviewStatus(Model):
    """What may be done."""

    resourceRules: Present[list[ResourceRule]] = always()
    """With resources."""
    nonResourceRules: Present[list[NonResourceRule]] = always()
    """With other paths."""
    incomplete: AlwaysBool = always()
    """Whether there may be more."""
    evaluationError: str = ""
    """What went wrong while it was looked at."""


class SelfSubjectRulesReview(Object):
    """Asks what the asker may do in a namespace."""

    kind: ClassVar[str] = "SelfSubjectRulesReview"
    apiVersion: ClassVar[str] = "authorization.k8s.io/v1"

    spec: Present[SelfSubjectRulesReviewSpec] = always()
    """Where."""
    status: Present[SubjectRulesReviewStatus] = always()
    """The answer."""


class LocalSubjectAccessReview(Object):
    """Asks whether somebody may do something in a namespace: who may ask this need not be trusted with all others."""

    kind: ClassVar[str] = "LocalSubjectAccessReview"
    apiVersion: ClassVar[str] = "authorization.k8s.io/v1"

    spec: Present[SubjectAccessReviewSpec] = always()
    """Who wants what."""
    status: Present[SubjectAccessReviewStatus] = always()
    """The answer."""
