"""Answers to questions about who somebody is and what somebody may do.

There is no authorizer yet: everybody who is let in may do everything, and the answers say so.
(pkg/registry/{authorization,authentication})
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kube.api import authentication, authorization, errors, names, validation
from kube.api.meta import Object, ObjectMeta
from kube.apiserver.authentication import USER

NO_AUTHORIZER = "everything is allowed: the apiserver has no authorizer"
NO_AUTHENTICATOR = "the apiserver has no token authenticator"


def answer(question: Object) -> Object:
    """The question with its answer. Raises Invalid or BadRequest for one that is not well put."""
    return _ANSWERS[type(question)](question)


def _checked(question: Object, *, metadata_free: bool = False) -> None:
    found = validation.validate(question)
    if metadata_free and question.metadata.model_copy(update={"managedFields": []}) != ObjectMeta():
        found.append(errors.invalid("metadata", question.metadata.to_dict(), "must be empty"))
    if found:
        group = question.apiVersion.rpartition("/")[0]
        raise errors.invalid_object(question.kind, question.metadata.name, found, group)


def _allowed() -> authorization.SubjectAccessReviewStatus:
    return authorization.SubjectAccessReviewStatus(allowed=True, reason=NO_AUTHORIZER)


def _subject_access(review: authorization.SubjectAccessReview) -> Object:
    _checked(review, metadata_free=True)
    return review.model_copy(update={"status": _allowed()})


def _self_access(review: authorization.SelfSubjectAccessReview) -> Object:
    _checked(review, metadata_free=True)
    return review.model_copy(update={"status": _allowed()})


def _self_rules(review: authorization.SelfSubjectRulesReview) -> Object:
    namespace = review.spec.namespace
    if not namespace:
        raise errors.BadRequest("no namespace on request")
    if names.dns_label(namespace):
        found = [errors.invalid("spec.namespace", namespace, problem) for problem in names.dns_label(namespace)]
        raise errors.invalid_object(review.kind, "", found, "authorization.k8s.io")
    status = authorization.SubjectRulesReviewStatus(
        resourceRules=[authorization.ResourceRule(verbs=["*"], apiGroups=["*"], resources=["*"])],
        nonResourceRules=[authorization.NonResourceRule(verbs=["*"], nonResourceURLs=["*"])],
    )
    return review.model_copy(update={"spec": authorization.SelfSubjectRulesReviewSpec(), "status": status})


def _token(review: authentication.TokenReview) -> Object:
    if not review.spec.token:
        raise errors.BadRequest("token is required for TokenReview in authentication")
    return review.model_copy(update={"status": authentication.TokenReviewStatus(error=NO_AUTHENTICATOR)})


def _self(review: authentication.SelfSubjectReview) -> Object:
    status = authentication.SelfSubjectReviewStatus(userInfo=USER.get())
    return review.model_copy(update={"status": status})


_ANSWERS: dict[type[Object], Callable[[Any], Object]] = {
    authentication.SelfSubjectReview: _self,
    authentication.TokenReview: _token,
    authorization.SelfSubjectAccessReview: _self_access,
    authorization.SelfSubjectRulesReview: _self_rules,
    authorization.SubjectAccessReview: _subject_access,
}
