"""Rules for questions about what somebody may do, and for who asks for a token
(pkg/apis/authorization/validation, pkg/apis/authentication/validation).
"""

from __future__ import annotations

from collections.abc import Sequence

from kube.api import authentication, authorization
from kube.api.errors import invalid, not_supported, required
from kube.api.meta import LabelSelectorRequirement
from kube.api.validation.meta import Errors, shown

_OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")


def validate(review: authorization.SubjectAccessReview | authorization.LocalSubjectAccessReview) -> Errors:
    """Whether somebody may do something."""
    yield from _wanted(review.spec)
    if not review.spec.user and not review.spec.groups:
        yield invalid("spec.user", review.spec.user, "at least one of user or group must be specified")
    yield from _resource(review.spec.resourceAttributes)


def validate_self(review: authorization.SelfSubjectAccessReview) -> Errors:
    """Whether the asker may do something."""
    yield from _wanted(review.spec)
    yield from _resource(review.spec.resourceAttributes)


def validate_token_request(request: authentication.TokenRequest) -> Errors:
    """Which token is wanted."""
    seconds = request.spec.expirationSeconds or 0
    if seconds < 600:
        yield invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if seconds >= 2**32:
        yield invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")


def _wanted(spec: authorization.SubjectAccessReviewSpec | authorization.SelfSubjectAccessReviewSpec) -> Errors:
    other = spec.nonResourceAttributes
    if spec.resourceAttributes is not None and other is not None:
        yield invalid(
            "spec.nonResourceAttributes", shown(other), "cannot be specified in combination with resourceAttributes"
        )
    elif spec.resourceAttributes is None and other is None:
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        yield invalid("spec.resourceAttributes", None, detail)


def _resource(attributes: authorization.ResourceAttributes | None) -> Errors:
    if attributes is None:
        return
    for name in ("fieldSelector", "labelSelector"):
        selector: authorization.FieldSelectorAttributes | authorization.LabelSelectorAttributes | None
        selector = getattr(attributes, name)
        if selector is None:
            continue
        path = f"spec.resourceAttributes.{name}"
        if selector.rawSelector and selector.requirements:
            detail = "may not specified at the same time as requirements"
            yield invalid(f"{path}.rawSelector", selector.rawSelector, detail)
        if not selector.rawSelector and not selector.requirements:
            yield required(f"{path}.requirements", f"when {path} is specified, requirements or rawSelector is required")
        yield from _requirements(f"{path}.requirements", selector.requirements)


def _requirements(
    path: str, requirements: Sequence[authorization.FieldSelectorRequirement | LabelSelectorRequirement]
) -> Errors:
    for i, requirement in enumerate(requirements):
        where = f"{path}[{i}]"
        if not requirement.key:
            yield required(f"{where}.key", "must be specified")
        if requirement.operator not in _OPERATORS:
            yield not_supported(f"{where}.operator", requirement.operator, _OPERATORS)
        elif requirement.operator in ("In", "NotIn"):
            if not requirement.values:
                yield required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif requirement.values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield invalid(f"{where}.values", requirement.values, detail)
