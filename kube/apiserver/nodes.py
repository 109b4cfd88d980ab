"""How the apiserver reaches a node: plain HTTP to the kubelet's port, streamed through."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack

import aiohttp

from kube.api import errors
from kube.api.core import Node

ADDRESS_TYPES = ("InternalIP", "ExternalIP", "Hostname")
"""In this order a node's addresses are tried (upstream's --kubelet-preferred-address-types, less the names of DNS)."""

DEFAULT_KUBELET_PORT = 10250


def kubelet_url(node: Node) -> str:
    """Where a node's kubelet listens. Raises ServiceUnavailable if the node names no address."""
    by_type = {address.type: address.address for address in reversed(node.status.addresses)}
    host = next((by_type[type_] for type_ in ADDRESS_TYPES if by_type.get(type_)), None)
    if host is None:
        raise errors.ServiceUnavailable(f"no preferred addresses found; known addresses: {list(by_type)}")
    return f"http://{host}:{node.status.daemonEndpoints.kubeletEndpoint.Port or DEFAULT_KUBELET_PORT}"


class NodeClient:
    """Asks kubelets. One session for all nodes."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The one session, made at first use (it belongs to a running loop)."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=5))
        return self._session

    async def get(self, node: Node, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """The body of a GET on the node's kubelet, as it comes.

        Raises the kubelet's own error, or ServiceUnavailable when the kubelet does not answer.
        """
        url = kubelet_url(node) + path
        stack = AsyncExitStack()
        try:
            response = await stack.enter_async_context(self.session.get(url, params=query))
            if response.status >= 400:
                text = (await response.text(errors="replace")).strip()
                raise errors.from_status({"message": text}, response.status)
        except (aiohttp.ClientError, OSError) as error:
            await stack.aclose()
            raise errors.ServiceUnavailable(f"Get {errors.quote(url)}: {error}") from None
        except BaseException:
            await stack.aclose()
            raise
        return _chunks(stack, response)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


async def _chunks(stack: AsyncExitStack, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    async with stack:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except aiohttp.ClientError:
            return  # the container or its kubelet ended: so does the stream
