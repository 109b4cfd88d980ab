"""Answers to questions about who somebody is and what somebody may do.

What is asked about oneself is about the user of the request; who came in by the plain port may do everything.
(pkg/registry/{authorization,authentication})
"""

from __future__ import annotations

from kube.api import authentication, authorization, errors, names, validation
from kube.api.authentication import UserInfo
from kube.api.authorization import NonResourceAttributes, ResourceAttributes
from kube.api.meta import Object, ObjectMeta
from kube.apiserver.access import Access
from kube.apiserver.authentication import USER
from kube.apiserver.authorization import Attributes


class Reviews:
    """Answers, by an apiserver's access control."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def answer(self, question: Object, namespace: str) -> Object:
        """The question with its answer. Raises Invalid or BadRequest for one that is not well put."""
        match question:
            case authentication.SelfSubjectReview():
                status = authentication.SelfSubjectReviewStatus(userInfo=USER.get())
                return question.model_copy(update={"status": status})
            case authentication.TokenReview():
                return await self._token(question)
            case authorization.SelfSubjectRulesReview():
                return self._rules(question)
            case authorization.SelfSubjectAccessReview():
                _check(question)
                return self._access_of(question, USER.get())
            case authorization.SubjectAccessReview():
                _check(question)
                return self._access_of(question, _subject(question.spec))
            case authorization.LocalSubjectAccessReview():
                _check(question, namespace)
                return self._access_of(question, _subject(question.spec))
        raise errors.no_such_path()

    def _access_of(self, review: authorization.SubjectAccessReview | authorization.SelfSubjectAccessReview
                   | authorization.LocalSubjectAccessReview, user: UserInfo) -> Object:  # fmt: skip
        wanted = _wanted(user, review.spec.resourceAttributes, review.spec.nonResourceAttributes)
        decision = self._access.authorizer.decide(wanted)
        status = authorization.SubjectAccessReviewStatus(allowed=decision.allowed, reason=decision.reason)
        return review.model_copy(update={"status": status})

    def _rules(self, review: authorization.SelfSubjectRulesReview) -> Object:
        namespace = review.spec.namespace
        if not namespace:
            raise errors.BadRequest("no namespace on request")
        if names.dns_label(namespace):
            found = [errors.invalid("spec.namespace", namespace, problem) for problem in names.dns_label(namespace)]
            raise errors.invalid_object(review.kind, "", found, "authorization.k8s.io")
        rules = self._access.authorizer.rules(USER.get(), namespace)
        status = authorization.SubjectRulesReviewStatus(
            resourceRules=rules.resources,
            nonResourceRules=rules.others,
            incomplete=bool(rules.error),
            evaluationError=rules.error,
        )
        return review.model_copy(update={"spec": authorization.SelfSubjectRulesReviewSpec(), "status": status})

    async def _token(self, review: authentication.TokenReview) -> Object:
        if not review.spec.token:
            raise errors.BadRequest("token is required for TokenReview in authentication")
        authenticator = self._access.authentication
        audiences = review.spec.audiences or authenticator.audiences
        try:
            known = await authenticator.known_by(review.spec.token, audiences)
        except errors.Unauthorized as error:
            why = f"[invalid bearer token, {error.__cause__}]" if error.__cause__ else "invalid bearer token"
            status = authentication.TokenReviewStatus(error=why)
        else:
            status = authentication.TokenReviewStatus()
            if known is not None:
                status = authentication.TokenReviewStatus(
                    authenticated=True, user=known.user, audiences=known.audiences
                )
        return review.model_copy(update={"status": status})


def _check(question: Object, namespace: str = "") -> None:
    found = validation.validate(question)
    bare = question.metadata.model_copy(update={"managedFields": []})
    if bare != ObjectMeta(namespace=bare.namespace if namespace else ""):
        what = "must be empty except for namespace" if namespace else "must be empty"
        found.append(errors.invalid("metadata", question.metadata.to_dict(), what))
    if isinstance(question, authorization.LocalSubjectAccessReview):
        attributes = question.spec.resourceAttributes
        if attributes is not None and attributes.namespace != namespace:
            detail = "must match metadata.namespace"
            found.append(errors.invalid("spec.resourceAttributes.namespace", attributes.namespace, detail))
        if question.spec.nonResourceAttributes is not None:
            detail = "disallowed on this kind of request"
            found.append(errors.invalid("spec.nonResourceAttributes", None, detail))
        if not found and question.metadata.namespace not in ("", namespace):
            raise errors.BadRequest(f"spec.resourceAttributes.namespace must match namespace: {namespace}")
    if found:
        group = question.apiVersion.rpartition("/")[0]
        raise errors.invalid_object(question.kind, question.metadata.name, found, group)


def _subject(spec: authorization.SubjectAccessReviewSpec) -> UserInfo:
    return UserInfo(username=spec.user, uid=spec.uid, groups=spec.groups, extra=spec.extra)


def _wanted(user: UserInfo, about: ResourceAttributes | None, other: NonResourceAttributes | None) -> Attributes:
    if about is None:
        assert other is not None  # validation has seen to it
        return Attributes(user, other.verb, path=other.path)
    return Attributes(
        user, about.verb, about.group, about.version, about.resource, about.subresource, about.namespace, about.name
    )
