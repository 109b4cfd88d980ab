"""The REST client: how a daemon writes, and how one without etcd reads.

Every answer that is not a success is raised as the `kube.api.errors` class that it is; an apiserver that cannot be
reached is a ServiceUnavailable, one that does not answer in time a Timeout (the outcome of a write is unknown then).
A GET is tried a few times, and so is anything that the apiserver answers with 429 and Retry-After, for it has done
nothing then. All other trying again is left to the caller's work queue, which knows whether it still matters.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import logging
import os
import random
import ssl as tls
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from pydantic import ValidationError
from yarl import URL

from kube.api import core, errors, resources
from kube.api.authentication import TokenRequest
from kube.api.meta import ListMeta, Model, Object
from kube.client import kubeconfig as kubeconfigs
from kube.client.watch import WatchEvent, parse_line, problem

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Object)

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

PAGE = 5000
"""Objects that one request lists at most."""
TRIES = 4
"""How often a request that may be repeated is sent."""
LONGEST_RETRY_AFTER = 10.0
"""Seconds that a server may make us wait by Retry-After; a longer wait is the caller's decision."""
WATCH_SECONDS = 300
"""A watch is asked to end after this to twice this many seconds (so that the watches of many clients spread)."""
SILENCE = 90.0
"""Seconds of silence after which a watch is taken for dead: an apiserver sends a bookmark every minute."""


@dataclasses.dataclass(frozen=True, slots=True)
class ObjectList(Generic[T]):
    """Objects as of one moment."""

    items: list[T]
    resourceVersion: str
    """Where a watch goes on."""


class _ListPage(Model, Generic[T]):
    """A list as it is sent; `items` is null where Go had none."""

    metadata: ListMeta = ListMeta()
    items: list[T] | None = None


def _parse_page(model: type[T], body: bytes, lenient: bool) -> _ListPage[T]:
    """All at once, and only if that fails one by one."""
    try:
        return _ListPage[model].model_validate_json(body)  # type: ignore[valid-type]  # a type at run time
    except ValidationError:
        if not lenient:
            raise
    raw = orjson.loads(body)
    items = []
    for each in raw.pop("items", None) or []:
        try:
            items.append(model.parse(each))
        except ValidationError as error:
            name = each.get("metadata", {}).get("name") if isinstance(each, dict) else each
            log.error("left out an object that cannot be read", extra={"object": name, "error": problem(error)})
    page = _ListPage[T].model_validate_json(orjson.dumps(raw))
    page.items = items
    return page


class Client:
    """A client of one apiserver. One a process: it keeps connections open."""

    def __init__(
        self,
        server: str,
        *,
        token: str = "",
        ssl: tls.SSLContext | None = None,
        user_agent: str = "kube",
        timeout: float = 30.0,
    ) -> None:
        """`server`: `http(s)://host:port`. `timeout`: seconds that one answer may take."""
        self.server = server.rstrip("/")
        self.timeout = timeout
        self.fence: Callable[[], None] = _no_fence
        """Asked before each write that is sent; it raises to keep it back (leaderelection.py)."""
        self._ssl = ssl
        self._headers = {"Accept": "application/json", "User-Agent": user_agent}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._requests: aiohttp.ClientSession | None = None
        self._watches: aiohttp.ClientSession | None = None

    @classmethod
    def from_flags(cls, master: str, kubeconfig: str = "", *, user_agent: str = "kube") -> Self:
        """A client by a daemon's flags: `--master` overrides the kubeconfig's server. Raises KubeconfigError."""
        access = kubeconfigs.load(kubeconfig) if kubeconfig else kubeconfigs.Access("")
        return cls(master or access.server, token=access.token, ssl=access.ssl, user_agent=user_agent)

    def sibling(self, *, timeout: float) -> Self:
        """Another client of the same apiserver, with connections of its own and no fence."""
        other = copy.copy(self)
        other._requests = other._watches = None
        other.timeout, other.fence = timeout, _no_fence
        return other

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; open watches end."""
        for session in (self._requests, self._watches):
            if session is not None:
                await session.close()
        self._requests = self._watches = None

    async def get(self, model: type[T], name: str, namespace: str = "") -> T:
        """One object. Raises NotFound."""
        return self._parse(model, await self._request("GET", resources.of(model).path(namespace, name)))

    async def list(
        self, model: type[T], namespace: str = "", *, labels: str = "", fields: str = "", lenient: bool = False
    ) -> ObjectList[T]:
        """All objects of a kind (in a namespace), as of one moment, however many pages it takes.

        `lenient`: objects that cannot be read are left out, and logged; otherwise they are an InternalError.
        """
        path = resources.of(model).path(namespace)
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": str(PAGE)}
        items: list[T] = []
        while True:
            body = await self._request("GET", path, query)
            try:
                page = _parse_page(model, body, lenient)
            except (ValidationError, ValueError) as error:
                what = problem(error) if isinstance(error, ValidationError) else str(error)
                raise errors.InternalError(f"{self.server}{path}: not a list of {model.kind}: {what}") from None
            items += page.items or []
            if not page.metadata.continue_:
                return ObjectList(items, page.metadata.resourceVersion)
            query["continue"] = page.metadata.continue_

    async def create(self, obj: T) -> T:
        """POST an object, into the namespace that its metadata names. Raises AlreadyExists, Invalid, …"""
        path = resources.of(type(obj)).path(obj.namespace)
        return self._parse(type(obj), await self._request("POST", path, body=obj.to_json()))

    async def send(self, obj: Object) -> None:
        """POST an object as `create` does; the answer is not looked at."""
        await self._request("POST", resources.of(type(obj)).path(obj.namespace), body=obj.to_json())

    async def patch_status(self, obj: Object, changes: Mapping[str, Any]) -> str:
        """Merge changes into the status of an object as it was read; the resourceVersion that it has then.

        Raises Conflict when the stored object is another one, or has another version. The answer is not read further.
        """
        patch = {"metadata": {"resourceVersion": obj.metadata.resourceVersion}, "status": changes}
        path = resources.of(type(obj)).path(obj.namespace, obj.name, "status")
        body = await self._request("PATCH", path, body=orjson.dumps(patch), content=MERGE_PATCH)
        return _version(body)

    async def update(self, obj: T, subresource: str = "") -> T:
        """PUT an object. If it has a resourceVersion, raises Conflict when the stored object has another."""
        path = resources.of(type(obj)).path(obj.namespace, obj.name, subresource)
        return self._parse(type(obj), await self._request("PUT", path, body=obj.to_json()))

    async def patch(
        self,
        model: type[T],
        name: str,
        namespace: str,
        patch: Mapping[str, Any] | Sequence[Any],
        *,
        subresource: str = "",
        content_type: str = MERGE_PATCH,
    ) -> T:
        """PATCH an object, or its subresource; returns it as it then is."""
        path = resources.of(model).path(namespace, name, subresource)
        return self._parse(model, await self._request("PATCH", path, body=orjson.dumps(patch), content=content_type))

    async def delete(
        self,
        model: type[T],
        name: str,
        namespace: str = "",
        *,
        grace_period: int | None = None,
        uid: str = "",
        resource_version: str = "",
        propagation: str = "",
    ) -> None:
        """DELETE an object: only the one of that UID and version, if given (else Conflict). Raises NotFound.

        `propagation`: what becomes of its dependents, `Orphan`, `Background` or `Foreground`; else what its kind does.
        """
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if propagation:
            options["propagationPolicy"] = propagation
        if grace_period is not None:
            options["gracePeriodSeconds"] = grace_period
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if any(preconditions.values()):
            options["preconditions"] = {key: value for key, value in preconditions.items() if value}
        await self._request("DELETE", resources.of(model).path(namespace, name), body=orjson.dumps(options))

    async def bind(self, pod: core.Pod, node: str) -> None:
        """Give a pod to a node. Raises Conflict if it has one already, or is another pod of that name."""
        binding = {
            "kind": "Binding",
            "apiVersion": "v1",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.metadata.uid},
            "target": {"kind": "Node", "apiVersion": "v1", "name": node},
        }
        path = resources.PODS.path(pod.namespace, pod.name, "binding")
        await self._request("POST", path, body=orjson.dumps(binding))

    async def create_token(self, account: str, namespace: str, request: TokenRequest) -> TokenRequest:
        """A token of a service account, in the answer's status."""
        path = resources.SERVICE_ACCOUNTS.path(namespace, account, "token")
        return self._parse(TokenRequest, await self._request("POST", path, body=request.to_json()))

    async def watch(
        self, model: type[T], namespace: str = "", *, resource_version: str, labels: str = "", fields: str = ""
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """Changes after a resourceVersion, bookmarks among them, until the server ends the watch (it does, by and by).

        Raises Expired if it does not know that far back, ServiceUnavailable if the connection breaks.
        """
        seconds = int(WATCH_SECONDS * random.uniform(1, 2))
        query = {
            "watch": "true",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
            "labelSelector": labels,
            "fieldSelector": fields,
        }
        if self._watches is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.timeout, sock_read=SILENCE)
            self._watches = self._session(timeout, limit=0)
        url = self._url(resources.of(model).path(namespace), query)
        try:
            async with self._watches.get(url) as response:
                if response.status >= 300:
                    raise _error(response.status, response.headers, await response.read())
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
                    for line in lines:
                        event = parse_line(model, line) if line.strip() else None
                        if event is not None:
                            yield event
        except aiohttp.ConnectionTimeoutError as error:
            raise self._unreachable(error) from None
        except TimeoutError:
            return  # silent for too long: whoever watches goes on from the last revision, in a new connection
        except aiohttp.ClientError as error:
            raise self._unreachable(error) from None

    def _parse(self, model: type[T], body: bytes) -> T:
        try:
            return model.parse(body)
        except ValidationError as error:
            what = f"the apiserver at {self.server} answered with no {model.kind}: {problem(error)}"
            raise errors.InternalError(what) from None

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: bytes | None = None,
        content: str = "application/json",
    ) -> bytes:
        """The body of a successful answer."""
        url = self._url(path, query or {})
        tries = 1
        while True:
            try:
                return await self._send(method, url, body, content)
            except errors.TooManyRequests as error:
                wait = float(error.retry_after or 0)
                if not 0 < wait <= LONGEST_RETRY_AFTER or tries >= TRIES:
                    raise
            except errors.ServiceUnavailable:
                if method != "GET" or tries >= TRIES:
                    raise
                wait = 0.1 * 2**tries
            tries += 1
            await asyncio.sleep(wait)

    async def _send(self, method: str, url: URL, body: bytes | None, content: str) -> bytes:
        if method != "GET":
            self.fence()
        if self._requests is None:
            timeout = aiohttp.ClientTimeout(total=self.timeout)
            self._requests = self._session(timeout, limit=64)
        headers = {"Content-Type": content} if body is not None else None
        try:
            async with self._requests.request(method, url, data=body, headers=headers) as response:
                answer = await response.read()
                if response.status >= 300:
                    raise _error(response.status, response.headers, answer)
                return answer
        except TimeoutError:
            what = f"the apiserver at {self.server} did not answer {method} {url.path} within {self.timeout:g} s"
            raise errors.Timeout(what) from None
        except aiohttp.ClientError as error:
            raise self._unreachable(error) from None

    def _session(self, timeout: aiohttp.ClientTimeout, limit: int) -> aiohttp.ClientSession:
        # An idle connection is closed before the server does it (uvicorn: after 5 s): a request that is sent into a
        # connection that is just being closed fails, and a write may not be repeated.
        connector = aiohttp.TCPConnector(limit=limit, ssl=self._ssl or True, keepalive_timeout=4.0)
        session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, headers=self._headers, raise_for_status=False, trust_env=False
        )
        # Else aiohttp by itself repeats a PUT or DELETE whose connection broke: perhaps when the fence would not let
        # it pass any more, and what the first was answered nobody would know.
        session._retry_connection = False
        return session

    def _url(self, path: str, query: Mapping[str, str]) -> URL:
        given = {key: value for key, value in query.items() if value}
        text = f"{self.server}{quote(path)}"
        return URL(f"{text}?{urlencode(given)}" if given else text, encoded=True)

    def _unreachable(self, error: Exception) -> errors.ServiceUnavailable:
        # OpenSSL's error numbers are its own.
        number = error.errno if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientSSLError) else None
        reason = os.strerror(number).lower() if number and number > 0 else str(error) or type(error).__name__
        return errors.ServiceUnavailable(f"cannot reach the apiserver at {self.server}: {reason}")


def _no_fence() -> None:
    """Everything may be written."""


def _version(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["metadata"]["resourceVersion"])
    except (ValueError, KeyError, TypeError):
        raise errors.InternalError("the apiserver answered with no object") from None


def _error(code: int, headers: Mapping[str, str], body: bytes) -> errors.ApiError:
    """The error that an answer stands for, whether or not its body is a Status."""
    try:
        status = orjson.loads(body)
    except ValueError:
        status = None
    if not isinstance(status, dict):
        status = {"message": body[:500].decode(errors="replace").strip()}
    retry_after = headers.get("Retry-After", "")
    if retry_after.isdigit():
        details = status.get("details")
        status["details"] = {"retryAfterSeconds": int(retry_after), **(details if isinstance(details, dict) else {})}
    return errors.from_status(status, code)
