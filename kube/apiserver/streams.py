"""The subresources that are connections: pods/exec, pods/attach and pods/portforward, passed on to the pod's kubelet.

(pkg/registry/core/pod/rest/subresources.go, strategy.go: ExecLocation, AttachLocation, PortForwardLocation) What the
kubelet says against it before the connection stands is passed on as it is.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode, urlsplit

from kube.api import errors, resources
from kube.api.core import Node, Pod
from kube.apiserver.nodes import NOT_FOR_KUBELETS, NOT_PASSED_ON, NodeClient, kubelet_url
from kube.apiserver.podlog import log_container
from kube.apiserver.request import Request, Response
from kube.apiserver.upgrade import Tunnel, Upgrade
from kube.apiserver.verbs import Verbs

SUBRESOURCES = ("exec", "attach", "portforward")
STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
"""The options' names here, and at the kubelet."""


async def connect(request: Request, verbs: Verbs, nodes: NodeClient, stopping: asyncio.Event) -> Response:
    """Join the client with the kubelet. Raises ApiError."""
    target = request.target
    pod = (await verbs.get(resources.PODS, target.namespace, target.name)).decode()
    assert isinstance(pod, Pod)
    path = kubelet_path(request, pod)
    if not pod.spec.nodeName:
        raise errors.BadRequest(f"pod {target.name} does not have a host assigned")
    if request.upgrade is None:
        raise errors.BadRequest("Upgrade request required")
    node = (await verbs.get(resources.NODES, "", pod.spec.nodeName)).decode()
    assert isinstance(node, Node)
    return await join(request.upgrade, request, nodes, kubelet_url(node), path, stopping)


async def join(
    upgrade: Upgrade,
    request: Request,
    nodes: NodeClient,
    url: str,
    path: str,
    stopping: asyncio.Event,
    *,
    to_kubelet: bool = True,
) -> Response:
    """Join the client with the server at a URL, if that gives its connection up too; else pass its answer on."""
    if foreign_origin(request.header(b"origin"), request.header(b"host")):
        raise errors.Forbidden("a page of another origin may not open this connection")
    tls, kept_back = (nodes.tls, NOT_FOR_KUBELETS) if to_kubelet else (nodes.tls_of_pods, NOT_PASSED_ON)
    answer = await nodes.upgrade(url, request.method, path, upgrade.headers, tls=tls, not_passed_on=kept_back)
    if answer.connection is None:
        return Response(answer.body, answer.status, answer.content_type)
    return Response(status=101, tunnel=Tunnel(upgrade, answer.connection, answer.head, stopping))


def foreign_origin(origin: str, host: str) -> bool:
    """Whether a browser says that a page from elsewhere asks: of WebSockets, servers must keep them out themselves."""
    return bool(origin) and urlsplit(origin).netloc != host


def kubelet_path(request: Request, pod: Pod) -> str:
    """The same request of the node API. Raises BadRequest."""
    target, query = request.target, request.query
    where = f"{target.namespace}/{target.name}"
    if target.subresource == "portforward":
        ports = [("port", value) for value in query.all("ports")]
        return _with_query(f"/portForward/{where}", ports)
    container = log_container(pod, query.text("container"))
    params = [(there, "1") for here, there in STREAMS.items() if query.flag(here)]
    if not any(name != "tty" for name, _ in params):
        raise errors.BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    if target.subresource == "exec":
        command = query.all("command")
        if not command:
            raise errors.BadRequest("you must specify at least one command for the container")
        params += [("command", word) for word in command]
    return _with_query(f"/{target.subresource}/{where}/{container}", params)


def _with_query(path: str, params: list[tuple[str, str]]) -> str:
    return f"{path}?{urlencode(params)}" if params else path
