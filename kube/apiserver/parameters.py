"""What a request says in its query and its options: read, checked, and in the words of the verbs.

(apimachinery/pkg/apis/meta/v1/validation, metainternalversion)
"""

from __future__ import annotations

from collections.abc import Iterator

from kube.api import conversion, decode, errors, fields, labels
from kube.api.meta import DeleteOptions, Object
from kube.api.resources import Resource
from kube.apiserver import body
from kube.apiserver.listing import ListOptions
from kube.apiserver.request import Query, Request, Target


def need_namespace(target: Target, resource: Resource) -> None:
    if resource.namespaced and not target.namespace:
        raise errors.no_such_method()


def check_namespace(obj: Object, target: Target) -> None:
    if obj.metadata.namespace and obj.metadata.namespace != target.namespace:
        raise errors.BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    obj.metadata.namespace = target.namespace


def check_name(wanted: Object, present: Object) -> None:
    """A patch must leave an object its name and namespace. Raises BadRequest."""
    for field, after, before in (
        ("name", wanted.metadata.name, present.metadata.name),
        ("namespace", wanted.metadata.namespace, present.metadata.namespace),
    ):
        if after != before:
            raise another_name(after, before, field)


def another_name(said: str, on_url: str, field: str = "name") -> errors.BadRequest:
    """The refusal of an object that is not the one of the path."""
    return errors.BadRequest(f"the {field} of the object ({said}) does not match the {field} on the URL ({on_url})")


def options_kind(request: Request) -> str:
    """What the parameters of a request are called in a refusal."""
    by_method = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}
    return by_method.get(request.method, "ListOptions")


def refuse(request: Request, found: list[errors.FieldError]) -> None:
    """Raises Invalid if there is something wrong with the parameters."""
    if found:
        raise errors.invalid_object(options_kind(request), "", found, "meta.k8s.io")


def dry_run(request: Request) -> bool:
    asked = request.query.all("dryRun")
    if any(value != "All" for value in asked):
        refuse(request, [errors.not_supported("dryRun", asked[0], ["All"])])
    return bool(asked)


def _of_list(query: Query) -> Iterator[errors.FieldError]:
    """What is wrong with a list's parameters (metainternalversion/validation)."""
    version, matching = query.text("resourceVersion"), query.text("resourceVersionMatch")
    field = "resourceVersionMatch"
    if matching and not version:
        yield errors.field_forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided")
    if matching and query.text("continue"):
        yield errors.field_forbidden(field, "resourceVersionMatch is forbidden when continue is provided")
    if matching and matching not in ("Exact", "NotOlderThan"):
        yield errors.not_supported(field, matching, ["Exact", "NotOlderThan", ""])
    if matching == "Exact" and version == "0":
        yield errors.field_forbidden(field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    if query.all("sendInitialEvents"):
        yield errors.field_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")


def _of_watch(query: Query) -> Iterator[errors.FieldError]:
    """What is wrong with a watch's parameters."""
    matching, initial = query.text("resourceVersionMatch"), query.all("sendInitialEvents")
    field = "resourceVersionMatch"
    if initial and matching != "NotOlderThan":
        yield errors.field_forbidden(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    if matching and not initial:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        yield errors.field_forbidden(field, why)
    if matching and matching != "NotOlderThan":
        yield errors.not_supported(field, matching, ["NotOlderThan"])
    if matching and query.text("continue"):
        yield errors.field_forbidden(field, "resourceVersionMatch is forbidden when continue is provided")


def list_options(request: Request, resource: Resource, *, watch: bool = False) -> ListOptions:
    """What a list, or a watch, asks for. Raises Invalid, BadRequest."""
    query = request.query
    if query.text("resourceVersionMatch") or query.all("sendInitialEvents"):
        found = list((_of_watch if watch else _of_list)(query))
        if found:
            raise errors.invalid_object("ListOptions", "", found, "meta.k8s.io")
    by_labels, by_fields = query.text("labelSelector"), query.text("fieldSelector")
    version, matching = query.text("resourceVersion"), query.text("resourceVersionMatch")
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
    """How to delete, as the body says, and before that the query. Raises Invalid, BadRequest."""
    options = DeleteOptions()
    if request.body.strip():
        data = body.parse(request.body, request.content_type, DeleteOptions)
        if data.get("kind", "DeleteOptions") != "DeleteOptions":
            raise errors.BadRequest("decoded object cannot be converted to DeleteOptions")
        options = decode.decode(DeleteOptions, data)
    query = request.query
    grace = query.integer("gracePeriodSeconds")
    if grace is not None:
        options.gracePeriodSeconds = grace
    if query.text("propagationPolicy"):
        options.propagationPolicy = query.text("propagationPolicy")
    if query.all("orphanDependents"):
        options.orphanDependents = query.flag("orphanDependents")
    if dry_run(request):
        options.dryRun = ["All"]
    policy = options.propagationPolicy
    found = []
    if policy is not None and options.orphanDependents is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        found.append(errors.invalid("propagationPolicy", policy, why))
    if policy not in (None, "Orphan", "Background", "Foreground"):
        found.append(errors.not_supported("propagationPolicy", policy, ["Foreground", "Background", "Orphan", "nil"]))
    if any(value != "All" for value in options.dryRun):
        found.append(errors.not_supported("dryRun", options.dryRun[0], ["All"]))
    refuse(request, found)
    return options
