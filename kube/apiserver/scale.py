"""The subresource `scale`: the number of an object's replicas, as an object of its own (autoscaling/v1).

(pkg/registry/core/replicationcontroller/storage)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kube.api import decode, errors, labels
from kube.api.autoscaling import Scale, ScaleSpec, ScaleStatus
from kube.api.core import ReplicationController
from kube.api.meta import LabelSelector, Object, ObjectMeta
from kube.api.resources import Resource
from kube.api.unstructured import Unstructured
from kube.apiserver import answers, apply, body, parameters, patches
from kube.apiserver.request import Request, Response
from kube.apiserver.verbs import Verbs


async def scale(request: Request, resource: Resource, verbs: Verbs) -> Response:
    """A request for the scale of an object. Raises ApiError."""
    target = request.target
    if request.method in ("GET", "HEAD"):
        entry = await verbs.get(resource.stored, target.namespace, target.name)
        return answers.plain(scale_of(entry.decode()), request)
    if request.content_type == apply.APPLY_PATCH:
        # The change of a scale is one of the object: no other subresource's rules, and it must be there.
        value, _ = await verbs.update(
            resource.stored, target.namespace, target.name, apply.read_scale(request, resource, Scale),
            dry_run=parameters.dry_run(request),
        )  # fmt: skip
        return answers.plain(scale_of(resource.model.parse(value)), request)
    wanted = _replacement(request) if request.method == "PUT" else patches.of(request, Scale)

    def change(present: Object | None) -> Object:
        if present is None:
            raise errors.not_found(resource.plural, target.name, resource.group)
        return scaled(present, wanted)

    value, _ = await verbs.update(
        resource.stored,
        target.namespace,
        target.name,
        change,
        dry_run=parameters.dry_run(request),
        author=apply.author(request),
    )
    return answers.plain(scale_of(resource.model.parse(value)), request)


def _replacement(request: Request) -> Callable[[dict[str, Any]], Any]:
    """The body of a PUT, in the form of a patch that leaves nothing of the present scale."""
    data = body.parse(request.body, request.content_type, Scale)
    return lambda present: data


def scale_of(obj: Object) -> Scale:
    """The scale (autoscaling/v1) of a replication controller, or of a kind that is only stored but counts replicas."""
    meta = obj.metadata
    if isinstance(obj, ReplicationController):
        wanted, present = obj.spec.replicas or 0, obj.status.replicas
        selector = labels.from_map(obj.spec.selector)
    else:
        assert isinstance(obj, Unstructured)
        spec, status = obj.part("spec") or {}, obj.part("status") or {}
        wanted, present = spec.get("replicas", 1), status.get("replicas", 0)
        selector = labels.from_label_selector(LabelSelector.parse(spec.get("selector") or {}))
    return Scale(
        metadata=ObjectMeta(
            name=meta.name,
            namespace=meta.namespace,
            uid=meta.uid,
            resourceVersion=meta.resourceVersion,
            creationTimestamp=meta.creationTimestamp,
        ),
        spec=ScaleSpec(replicas=wanted),
        status=ScaleStatus(replicas=present, selector=str(selector)),
    )


def scaled(obj: Object, apply: Callable[[dict[str, Any]], Any]) -> Object:
    """The object with the scale that a PUT or PATCH of its scale gives."""
    present = scale_of(obj).to_dict()
    present["metadata"].pop("resourceVersion", None)
    wanted = decode.decode(Scale, body.without_nulls(apply(present)))
    if wanted.spec.replicas < 0:
        found = [errors.invalid("spec.replicas", wanted.spec.replicas, "must be greater than or equal to 0")]
        raise errors.invalid_object("Scale", obj.metadata.name, found, "autoscaling")
    if isinstance(obj, ReplicationController):
        obj.spec.replicas = wanted.spec.replicas
    else:
        assert isinstance(obj, Unstructured)
        obj.put("spec", {**(obj.part("spec") or {}), "replicas": wanted.spec.replicas})
    obj.metadata.resourceVersion = wanted.metadata.resourceVersion
    return obj
