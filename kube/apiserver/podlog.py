"""GET pods/<name>/log: asks the pod's kubelet, and streams what it says.

(pkg/registry/core/pod/strategy.go: LogLocation)
"""

from __future__ import annotations

from kube.api import errors, resources
from kube.api.core import Node, Pod
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
    if query.text("sinceSeconds") and query.text("sinceTime"):
        why = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        raise errors.invalid_object("PodLogOptions", target.name, [errors.field_forbidden("", why)])
    if not pod.spec.nodeName:
        return Response(b"", content_type="text/plain")  # upstream: nothing to show before the pod is scheduled
    node = (await verbs.get(resources.NODES, "", pod.spec.nodeName)).decode()
    assert isinstance(node, Node)
    params = {name: query.text(name) for name in LOG_OPTIONS if query.text(name)}
    path = f"/containerLogs/{target.namespace}/{target.name}/{container}"
    stream = await nodes.get(node, path, params)
    return Response(content_type="text/plain", stream=stream)
