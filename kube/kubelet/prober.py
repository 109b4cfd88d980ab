"""Asks a container how it is, once: by a command in it, a URL, a connection to a port, or gRPC's health service.

What comes of it and its words are upstream's (pkg/probe): an answer is a success, a failure, or nobody knows, which
counts as neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from kube.api import core
from kube.api.core import Container, HTTPGetAction
from kube.kubelet.runtime import EngineUnavailable, NoSuchContainer, Runtime, RuntimeFailure

MAX_BODY = 10 * 1024
"""Bytes of an HTTP answer that are read for the event's message."""
MAX_REDIRECTS = 10
USER_AGENT = "kube-probe/1.33"
"""What a probe calls itself."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one question came to. `success` None: nobody knows, so nothing is counted."""

    success: bool | None
    message: str = ""
    warning: bool = False
    """It is a success about which somebody should be told."""


class Prober:
    """Asks the questions. One a kubelet; it holds the HTTP session."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, probe: core.Probe, container: Container, id: str, ip: str) -> Answer:
        """Ask once. An answer that does not come in time is a failure; never raises."""
        timeout = float(probe.timeoutSeconds or 1)
        try:
            if probe.exec is not None:
                return await self._exec(id, probe.exec.command, timeout)
            if probe.httpGet is not None:
                return await self._http(probe.httpGet, container, ip, timeout)
            if probe.tcpSocket is not None:
                host = probe.tcpSocket.host or ip
                return await _tcp(host, port_number(container, probe.tcpSocket.port), timeout)
            if probe.grpc is not None:
                # gRPC takes 12 MB: of those kubelets only that have such a probe.
                from kube.kubelet.grpc_probe import ask

                return await ask(ip, probe.grpc.port, probe.grpc.service or "", timeout)
        except _BadPort as error:
            return Answer(None, str(error))
        return Answer(None, "missing probe handler")

    async def _exec(self, id: str, command: list[str], timeout: float) -> Answer:
        try:
            result = await self._runtime.exec(id, command, timeout)
        except TimeoutError:
            return Answer(False, f'command timed out: "{" ".join(command)}" timed out after {timeout:g}s')
        except (NoSuchContainer, EngineUnavailable):
            return Answer(None)
        except RuntimeFailure as error:
            return Answer(None, str(error))
        text = result.output[:MAX_BODY].decode(errors="replace")
        return Answer(result.exit_code == 0, text)

    async def _http(self, action: HTTPGetAction, container: Container, ip: str, timeout: float) -> Answer:
        scheme = (action.scheme or "HTTP").lower()
        host, port = action.host or ip, port_number(container, action.port)
        path = action.path if action.path.startswith("/") else f"/{action.path}"
        shown = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}"
        headers = CIMultiDict((header.name, header.value) for header in action.httpHeaders)
        for name, value in (("User-Agent", USER_AGENT), ("Accept", "*/*"), ("Connection", "close")):
            headers.setdefault(name, value)
        try:
            async with asyncio.timeout(timeout):
                return await self._get(URL(shown, encoded=True), headers)
        except TimeoutError:
            why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            return Answer(False, f'Get "{shown}": {why}')
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(False, f'Get "{shown}": {_dial(error, host, port)}')

    async def _get(self, url: URL, headers: CIMultiDict[str]) -> Answer:
        """Fetch, and follow redirects to the same host; that there is one to another is answer enough."""
        host = url.host
        for _ in range(MAX_REDIRECTS):
            async with self.session().get(
                url, headers=headers, ssl=_UNVERIFIED if url.scheme == "https" else True, allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None),
            ) as response:  # fmt: skip
                location = response.headers.get("Location") if 300 <= response.status < 400 else None
                target = url.join(URL(location)) if location else None
                if target is None or target.host != host:
                    body = (await response.content.read(MAX_BODY)).decode(errors="replace")
                    if 300 <= response.status < 400:
                        return Answer(True, f"Probe terminated redirects, Response body: {body}", warning=True)
                    if 200 <= response.status < 300:
                        return Answer(True, body)
                    return Answer(False, f"HTTP probe failed with statuscode: {response.status}")
            url = target
        return Answer(False, f'Get "{url}": stopped after {MAX_REDIRECTS} redirects')

    def session(self) -> aiohttp.ClientSession:
        """What pods are called with: no proxy, no cookies, a new connection for each question."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(
                connector=connector, trust_env=False, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session


class _BadPort(ValueError):
    """The probe names a port that the container does not have."""


def port_number(container: Container, port: int | str) -> int:
    """The number of a port that is given by number or name. Raises ValueError."""
    if isinstance(port, int):
        number = port
    else:
        named = next((p.containerPort for p in container.ports if p.name == port), None)
        if named is None and port.isdigit():
            named = int(port)
        if named is None:
            raise _BadPort(f"couldn't find port: {port} in container {container.name}")
        number = named
    if not 0 < number < 65536:
        raise _BadPort(f"invalid port number: {number}")
    return number


async def _tcp(host: str, port: int, timeout: float) -> Answer:
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Answer(False, f"dial tcp {host}:{port}: i/o timeout")
    except OSError as error:
        return Answer(False, f"dial tcp {host}:{port}: connect: {_reason(error)}")
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return Answer(True)


def _dial(error: Exception, host: str, port: int) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"dial tcp {host}:{port}: connect: {_reason(error.os_error)}"
    return str(error) or type(error).__name__


def _reason(error: OSError) -> str:
    """As Go words it: lower case, without the number."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return (error.strerror or str(error)).lower()


_UNVERIFIED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without authorities, as nobody is verified
_UNVERIFIED.check_hostname = False
_UNVERIFIED.verify_mode = ssl.CERT_NONE
