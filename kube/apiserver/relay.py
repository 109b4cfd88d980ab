"""The subresource `proxy`: a request passed on to a pod, a service's endpoint or a node's kubelet.

    GET /api/v1/namespaces/<ns>/services/[scheme:]<name>[:port]/proxy/<path>

(pkg/registry/core/{pod,service,node}/…/proxy.go) Unlike upstream, links in HTML answers are not rewritten.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from kube.api import errors, resources
from kube.api.core import Endpoints, Node, Pod, Service
from kube.api.resources import Resource
from kube.apiserver.nodes import NodeClient, kubelet_url
from kube.apiserver.request import Request, Response
from kube.apiserver.streams import join
from kube.apiserver.verbs import Verbs

if TYPE_CHECKING:
    # Where it is used it is imported: that takes a tenth of a second, and nobody needs it at the start.
    import aiohttp

HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade", "host", "content-length", "accept-encoding",
})  # fmt: skip
"""Headers of one connection, not of the request (RFC 9110, 7.6.1), and those that aiohttp sets itself."""

RESPONSE_HOP_BY_HOP = HOP_BY_HOP - {"content-length"} | {"content-type"}


@dataclass(frozen=True, slots=True)
class Name:
    """`[scheme:]name[:port]`, as the path gives it."""

    scheme: str
    name: str
    port: str


def parse_name(text: str) -> Name:
    """Split the name of a proxied object. Raises BadRequest."""
    parts = text.split(":")
    if len(parts) == 3:
        scheme, name, port = parts
    elif len(parts) == 2:
        scheme, (name, port) = "", parts
    else:
        scheme, name, port = "", text, ""
    if len(parts) > 3 or scheme not in ("", "http", "https") or not name:
        raise errors.BadRequest(f"invalid service request {errors.quote(text)}")
    return Name(scheme or "http", name, port)


def pod_address(pod: Pod, port: str) -> str:
    """`ip:port` of a pod: the port named, or the first that a container has. Raises BadRequest."""
    if not proxyable(pod.status.podIP):
        raise errors.BadRequest("address not allowed")
    if not port:
        ports = [p.containerPort for c in pod.spec.containers for p in c.ports]
        port = str(ports[0]) if ports else "80"
    elif not port.isdigit():
        named = [p.containerPort for c in pod.spec.containers for p in c.ports if p.name == port]
        if not named:
            raise errors.BadRequest(f"pod {pod.metadata.name} has no port named {errors.quote(port)}")
        port = str(named[0])
    return f"{pod.status.podIP}:{port}"


def proxyable(address: str) -> bool:
    """Whether a pod may have this address: nobody is to reach this machine's own ports by a status that says so."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)


def endpoint_address(service: Service, endpoints: Endpoints | None, port: str) -> str:
    """`ip:port` of one of a service's ready endpoints. Raises ServiceUnavailable, with upstream's words."""
    name = service.metadata.name
    if port.isdigit():
        # A number is the service's port; endpoints know it by its name.
        found = [p.name for p in service.spec.ports if p.port == int(port)]
        if not found:
            raise errors.ServiceUnavailable(f"no service port {port} found for service {errors.quote(name)}")
        port = found[0]
    candidates = [
        f"{address.ip}:{p.port}"
        for subset in (endpoints.subsets if endpoints else ())
        for p in subset.ports
        for address in subset.addresses
        if not port or p.name == port
    ]
    if not candidates:
        raise errors.ServiceUnavailable(f"no endpoints available for service {errors.quote(name)}")
    return random.choice(candidates)


def node_url(node: Node, wanted: Name) -> tuple[str, bool]:
    """The base of a URL of a node's kubelet, or of another port of the node, and whether it is the kubelet's.

    Raises BadRequest for another port of a node whose address may be this machine's own.
    """
    kubelet = kubelet_url(node)
    address = urlsplit(kubelet)
    if wanted.port in ("", str(address.port)):
        return kubelet, True
    if not wanted.port.isdigit() or not proxyable(address.hostname or ""):
        raise errors.BadRequest("address not allowed")
    host = f"[{address.hostname}]" if ":" in (address.hostname or "") else address.hostname
    return f"{wanted.scheme}://{host}:{wanted.port}", False


async def url_of(request: Request, resource: Resource, verbs: Verbs) -> tuple[str, bool]:
    """Where a request goes: the base of a URL, and whether it is a kubelet's."""
    wanted = parse_name(request.target.name)
    obj = (await verbs.get(resource, request.target.namespace, wanted.name)).decode()
    match obj:
        case Pod():
            return f"{wanted.scheme}://{pod_address(obj, wanted.port)}", False
        case Service():
            try:
                entry = await verbs.get(resources.ENDPOINTS, request.target.namespace, wanted.name)
                endpoints = entry.decode()
            except errors.NotFound:
                endpoints = None
            assert endpoints is None or isinstance(endpoints, Endpoints)
            return f"{wanted.scheme}://{endpoint_address(obj, endpoints, wanted.port)}", False
        case Node():
            return node_url(obj, wanted)
        case _:
            raise errors.no_such_method()


async def relay(
    request: Request, resource: Resource, verbs: Verbs, nodes: NodeClient, stopping: asyncio.Event
) -> Response:
    """Pass a request on, and its answer back, as it comes; or the connection itself, when another protocol is asked for
    and granted. Raises ServiceUnavailable when nobody answers.
    """
    import aiohttp

    base, to_kubelet = await url_of(request, resource, verbs)
    rest, query = request.target.rest, urlencode([*request.query.items().items()], doseq=True)
    query = f"?{query}" if query else ""
    if rest and request.path.endswith("/"):
        rest += "/"
    if request.upgrade is not None:
        path = quote(f"/{rest}", safe="/:@!$&'()*+,;=~") + query
        return await join(request.upgrade, request, nodes, base, path, stopping, to_kubelet=to_kubelet)
    if not rest and not request.path.endswith("/"):
        # Else links that are relative would lead elsewhere.
        return Response(status=301, headers=[(b"location", f"{quote(request.path, safe='/:@')}/{query}".encode())])
    url = f"{base}/{rest}"
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.items()}
    headers = {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}
    params = [(name, value) for name, values in request.query.items().items() for value in values]
    # A pod's certificate is its own affair, as upstream has it; a kubelet is shown who asks.
    tls = nodes.tls if to_kubelet else nodes.tls_of_pods
    stack = AsyncExitStack()
    try:
        answer = await stack.enter_async_context(
            nodes.session.request(
                request.method, url, params=params, headers=headers, data=request.body or None, allow_redirects=False,
                ssl=tls,
            )
        )  # fmt: skip
    except (aiohttp.ClientError, OSError) as error:
        await stack.aclose()
        why = str(error)
        if isinstance(error, aiohttp.ClientConnectorError):
            why = f"dial tcp {urlsplit(base).netloc}: connect: {_in_words(error.os_error)}"
        raise errors.ServiceUnavailable(f"error trying to reach service: {why}") from None
    kept = [(k.lower().encode(), v.encode("latin-1")) for k, v in answer.headers.items()]
    passed = [(k, v) for k, v in kept if k.decode() not in RESPONSE_HOP_BY_HOP and k != b"content-encoding"]
    passed = [(k, v) for k, v in passed if k != b"content-length" or b"content-encoding" not in dict(kept)]
    content_type = answer.headers.get("content-type", "application/octet-stream")
    return Response(status=answer.status, content_type=content_type, headers=passed, stream=_body(stack, answer))


def _in_words(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)


async def _body(stack: AsyncExitStack, answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    async with stack:
        async for chunk in answer.content.iter_any():
            yield chunk
