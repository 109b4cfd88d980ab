"""How the apiserver reaches a node: HTTPS to the kubelet's port, streamed through."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kube import certificates
from kube.api import errors
from kube.api.core import Node

if TYPE_CHECKING:
    # Where it is used it is imported: that takes a tenth of a second, and nobody needs it at the start.
    import aiohttp

ADDRESS_TYPES = ("InternalIP", "ExternalIP", "Hostname")
"""In this order a node's addresses are tried (upstream's --kubelet-preferred-address-types, less the names of DNS)."""

DEFAULT_KUBELET_PORT = 10250


CONNECT_TIMEOUT = 5.0
UPGRADE_TIMEOUT = 30.0
"""Seconds for a kubelet to answer a request to upgrade."""
CHUNK = 64 * 1024
MAX_ERROR = 1024 * 1024

NOT_PASSED_ON = frozenset({b"host", b"authorization", b"content-length", b"transfer-encoding"})
"""Headers of a client that are for us alone."""
NOT_FOR_KUBELETS = NOT_PASSED_ON | {b"cookie", b"origin"}

BEARER = b"base64url.bearer.authorization.k8s.io."
"""What a browser, which can set no headers, puts its token behind, among the protocols of a WebSocket."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A kubelet's answer to a request to upgrade: the connection, or an ordinary answer."""

    status: int
    head: bytes
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    content_type: str = "text/plain"
    body: bytes = b""


def kubelet_url(node: Node) -> str:
    """Where a node's kubelet listens. Raises ServiceUnavailable if the node names no address."""
    by_type = {address.type: address.address for address in reversed(node.status.addresses)}
    host = next((by_type[type_] for type_ in ADDRESS_TYPES if by_type.get(type_)), None)
    if host is None:
        raise errors.ServiceUnavailable(f"no preferred addresses found; known addresses: {list(by_type)}")
    return f"https://{host}:{node.status.daemonEndpoints.kubeletEndpoint.Port or DEFAULT_KUBELET_PORT}"


class NodeClient:
    """Asks kubelets. One session for all nodes."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """`tls`: whom to believe, and what to show; by default everybody, and nothing."""
        self.tls = tls or certificates.client_context(None)
        """For kubelets."""
        self.tls_of_pods = certificates.client_context(None)
        """A pod's certificate is its own affair."""
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The one session, made at first use (it belongs to a running loop)."""
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=5))
        return self._session

    async def get(self, node: Node, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """The body of a GET on the node's kubelet, as it comes.

        Raises the kubelet's own error, or ServiceUnavailable when the kubelet does not answer.
        """
        import aiohttp

        url = kubelet_url(node) + path
        stack = AsyncExitStack()
        try:
            response = await stack.enter_async_context(self.session.get(url, params=query, ssl=self.tls))
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

    async def upgrade(
        self,
        url: str,
        method: str,
        path: str,
        headers: Iterable[tuple[bytes, bytes]],
        *,
        tls: ssl.SSLContext,
        not_passed_on: Collection[bytes],
    ) -> Upgraded:
        """Ask the server at a URL to give a connection up for another protocol; `path` includes the query.

        `tls`: whom to believe, and what to show, if the URL is https. Raises ServiceUnavailable when nobody answers.
        """
        address = urlsplit(url)
        secure = address.scheme == "https"
        port = address.port or (443 if secure else 80)
        kept = [(name, _without_token(name, value)) for name, value in headers if name.lower() not in not_passed_on]
        lines = [f"{method} {path} HTTP/1.1".encode(), b"host: " + address.netloc.encode()]
        lines += [name + b": " + value for name, value in kept]
        writer = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                reader, writer = await asyncio.open_connection(
                    address.hostname, port, limit=CHUNK, ssl=tls if secure else None
                )
            async with asyncio.timeout(UPGRADE_TIMEOUT):
                writer.write(b"\r\n".join([*lines, b"content-length: 0", b"", b""]))
                head = await reader.readuntil(b"\r\n\r\n")
                status = int(head.split(b" ", 2)[1])
                if status == 101:
                    return Upgraded(status, head, (reader, writer))
                answer = await _refusal(status, head, reader)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError) as error:
            # (TimeoutError is an OSError.)
            if writer is not None:
                writer.close()
            said = str(error) or "no answer in time"
            raise errors.ServiceUnavailable(f"{method} {errors.quote(url + path)}: {said}") from None
        except asyncio.CancelledError:
            if writer is not None:
                writer.close()
            raise
        writer.close()
        return answer

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _without_token(name: bytes, value: bytes) -> bytes:
    if name.lower() != b"sec-websocket-protocol":
        return value
    return b", ".join(word for part in value.split(b",") if not (word := part.strip()).startswith(BEARER))


async def _refusal(status: int, head: bytes, reader: asyncio.StreamReader) -> Upgraded:
    fields = dict(line.partition(": ")[::2] for line in head.decode("latin-1").splitlines()[1:])
    by_name = {name.lower(): value for name, value in fields.items()}
    body = await reader.readexactly(min(int(by_name.get("content-length", "0")), MAX_ERROR))
    return Upgraded(status, head, None, by_name.get("content-type", "text/plain"), body)


async def _chunks(stack: AsyncExitStack, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    import aiohttp

    async with stack:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except aiohttp.ClientError:
            return  # the container or its kubelet ended: so does the stream
