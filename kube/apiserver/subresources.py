"""The subresources that are not a part of the stored object: a pod's log and a controller's scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kube.api import decode, errors, labels, resources
from kube.api.autoscaling import Scale, ScaleSpec, ScaleStatus
from kube.api.core import Node, Pod, ReplicationController
from kube.api.meta import LabelSelector, Object, ObjectMeta
from kube.api.unstructured import Unstructured
from kube.apiserver import body
from kube.apiserver.nodes import NodeClient
from kube.apiserver.request import Request, Response
from kube.apiserver.verbs import Verbs

LOG_OPTIONS = ("follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes")


def log_container(pod: Pod, asked: str) -> str:
    """The container whose log is meant. Raises BadRequest with upstream's words (pkg/registry/core/pod/strategy.go)."""
    containers = [container.name for container in pod.spec.containers]
    inits = [container.name for container in pod.spec.initContainers]
    if not asked:
        if len(containers) == 1:
            return containers[0]
        text = (
            f"a container name must be specified for pod {pod.metadata.name}, choose one of: [{' '.join(containers)}]"
        )
        if inits:
            text += f" or one of the init containers: [{' '.join(inits)}]"
        raise errors.BadRequest(text)
    if asked not in containers + inits:
        raise errors.BadRequest(f"container {asked} is not valid for pod {pod.metadata.name}")
    return asked


async def log(request: Request, verbs: Verbs, nodes: NodeClient) -> Response:
    """GET pods/<name>/log: asks the kubelet and streams what it says."""
    target, query = request.target, request.query
    pod = (await verbs.get(resources.PODS, target.namespace, target.name)).decode()
    assert isinstance(pod, Pod)
    container = log_container(pod, query.text("container"))
    for name in ("tailLines", "sinceSeconds", "limitBytes"):
        value = query.integer(name)
        if value is not None and value < (0 if name == "tailLines" else 1):
            detail = "must be greater than or equal to 0" if name == "tailLines" else "must be greater than 0"
            found = [errors.invalid(name, value, detail)]
            raise errors.invalid_object("PodLogOptions", target.name, found)
    if not pod.spec.nodeName:
        return Response(b"", content_type="text/plain")  # upstream: nothing to show before the pod is scheduled
    try:
        node = (await verbs.get(resources.NODES, "", pod.spec.nodeName)).decode()
    except errors.NotFound:
        raise errors.InternalError(
            f'the node "{pod.spec.nodeName}" of the pod is gone: there is no one to ask'
        ) from None
    assert isinstance(node, Node)
    params = {name: query.text(name) for name in LOG_OPTIONS if query.text(name)}
    path = f"/containerLogs/{target.namespace}/{target.name}/{container}"
    stream = await nodes.get(node, path, params)
    return Response(content_type="text/plain", stream=stream)


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
