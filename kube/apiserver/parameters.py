"""What a request says in its query and its options: read, checked, and in the words of the verbs.

(apimachinery/pkg/apis/meta/v1/validation, metainternalversion)
"""

from __future__ import annotations

from kube.api import conversion, decode, errors, fields, labels
from kube.api.meta import DeleteOptions, Object
from kube.api.resources import Resource
from kube.apiserver import body
from kube.apiserver.request import Request, Target
from kube.apiserver.verbs import ListOptions


def need_namespace(target: Target, resource: Resource) -> None:
    if resource.namespaced and not target.namespace:
        raise errors.no_such_method()


def check_namespace(obj: Object, target: Target) -> None:
    if obj.metadata.namespace and obj.metadata.namespace != target.namespace:
        raise errors.BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    obj.metadata.namespace = target.namespace


def dry_run(request: Request) -> bool:
    asked = request.query.all("dryRun")
    if any(value != "All" for value in asked):
        found = [errors.not_supported("dryRun", asked[0], ["All"])]
        raise errors.invalid_object("CreateOptions", "", found, "meta.k8s.io")
    return bool(asked)


def list_options(request: Request, resource: Resource) -> ListOptions:
    query = request.query
    by_labels, by_fields = query.text("labelSelector"), query.text("fieldSelector")
    version, matching = query.text("resourceVersion"), query.text("resourceVersionMatch")
    if matching and not version:
        why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        found = [errors.field_forbidden("resourceVersionMatch", why)]
        raise errors.invalid_object("ListOptions", "", found, "meta.k8s.io")
    if matching and query.text("continue"):
        why = "resourceVersionMatch is forbidden when continue is provided"
        found = [errors.field_forbidden("resourceVersionMatch", why)]
        raise errors.invalid_object("ListOptions", "", found, "meta.k8s.io")
    if matching == "Exact" and version == "0":
        why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        found = [errors.field_forbidden("resourceVersionMatch", why)]
        raise errors.invalid_object("ListOptions", "", found, "meta.k8s.io")
    if matching and matching not in ("Exact", "NotOlderThan"):
        found = [errors.not_supported("resourceVersionMatch", matching, ["Exact", "NotOlderThan", ""])]
        raise errors.invalid_object("ListOptions", "", found, "meta.k8s.io")
    limit = query.integer("limit") or 0
    try:
        label_selector = labels.parse(by_labels) if by_labels else None
        field_selector = fields.parse(by_fields) if by_fields else None
    except (labels.SelectorError, fields.SelectorError) as error:
        raise errors.BadRequest(str(error)) from None
    if field_selector is not None:
        fields.check(field_selector, resource)
        field_selector = conversion.stored_selector(resource, field_selector)
    return ListOptions(
        labels=label_selector,
        fields=field_selector,
        limit=max(limit, 0),
        continue_=query.text("continue"),
        resource_version=version,
        resource_version_match=matching,
    )


def delete_options(request: Request) -> DeleteOptions:
    options = DeleteOptions()
    if request.body.strip():
        data = body.parse(request.body, request.content_type, DeleteOptions)
        options = decode.decode(DeleteOptions, data)
    query = request.query
    grace = query.integer("gracePeriodSeconds")
    if grace is not None:
        options.gracePeriodSeconds = grace
    if query.text("propagationPolicy"):
        options.propagationPolicy = query.text("propagationPolicy")
    if dry_run(request):
        options.dryRun = ["All"]
    if options.propagationPolicy is not None and options.orphanDependents is not None:
        found = [errors.invalid("propagationPolicy", options.propagationPolicy,
                                "orphanDependents and deletionPropagation cannot be both set")]  # fmt: skip
        raise errors.invalid_object("DeleteOptions", "", found, "meta.k8s.io")
    if options.propagationPolicy not in (None, "Orphan", "Background", "Foreground"):
        found = [errors.not_supported("propagationPolicy", options.propagationPolicy,
                                      ["Foreground", "Background", "Orphan", "nil"])]  # fmt: skip
        raise errors.invalid_object("DeleteOptions", "", found, "meta.k8s.io")
    return options
