"""The kubelet's own HTTP API: the pods as it sees them, and the logs of their containers.

Paths and parameters are upstream's (pkg/kubelet/server). Logs are streamed as the engine gives them, never held; when
the reader goes away, or the daemon stops, the stream is closed.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from aiohttp import web

from kube.api.core import Pod
from kube.kubelet.kubelet import Kubelet
from kube.kubelet.pod_state import Seen, dead
from kube.kubelet.runtime import ContainerStatus, NoSuchContainer, Runtime, RuntimeFailure, State

log = logging.getLogger(__name__)


def routes(kubelet: Kubelet, runtime: Runtime) -> list[web.RouteDef]:
    """The routes of the node API (health and metrics are daemon.serve_health's)."""
    api = NodeApi(kubelet, runtime)
    return [
        web.get("/pods", api.pods),
        web.get("/runningpods", api.running_pods),
        web.get("/runningpods/", api.running_pods),
        web.get("/containerLogs/{namespace}/{pod}/{container}", api.container_logs),
    ]


class NodeApi:
    """The handlers."""

    def __init__(self, kubelet: Kubelet, runtime: Runtime) -> None:
        self._kubelet = kubelet
        self._runtime = runtime

    async def pods(self, request: web.Request) -> web.Response:
        """The pods bound to this node."""
        return _pod_list(self._kubelet.pods())

    async def running_pods(self, request: web.Request) -> web.Response:
        """The pods that have containers running in the engine."""
        uids = {uid for uid, worker in self._kubelet.workers.items() if worker.seen.alive()}
        return _pod_list([pod for pod in self._kubelet.pods() if pod.metadata.uid in uids])

    async def container_logs(self, request: web.Request) -> web.StreamResponse:
        """What a container wrote."""
        match = request.match_info
        try:
            options = LogOptions.parse(request)
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        key = f"{match['namespace']}/{match['pod']}"
        pod = next((p for p in self._kubelet.pods() if p.key == key), None)
        if pod is None:
            return web.Response(status=404, text=f'pod "{match["pod"]}" not found in namespace "{match["namespace"]}"')
        worker = self._kubelet.workers.get(pod.metadata.uid)
        seen = worker.seen if worker is not None else Seen()
        try:
            container = choose(pod, match["container"], seen, previous=options.previous)
        except LookupError as error:
            return web.Response(status=400, text=str(error.args[0]))
        chunks = self._runtime.logs(
            container.id,
            follow=options.follow,
            tail=options.tail,
            since=options.since,
            timestamps=options.timestamps,
        )
        return await _streamed(request, limited(chunks, options.limit))


class LogOptions:
    """What the query of a log request asks for."""

    def __init__(
        self,
        *,
        follow: bool = False,
        previous: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        timestamps: bool = False,
        limit: int | None = None,
    ) -> None:
        self.follow, self.previous, self.tail = follow, previous, tail
        self.since, self.timestamps, self.limit = since, timestamps, limit

    @classmethod
    def parse(cls, request: web.Request) -> LogOptions:
        """Raises ValueError, with words for the user."""
        query = request.query

        def flag(name: str) -> bool:
            return query.get(name, "").lower() in ("true", "1", "t")

        def number(name: str, least: int) -> int | None:
            text = query.get(name, "")
            if not text or (name == "tailLines" and text == "all"):
                return None
            if not text.isdigit() or int(text) < least:
                raise ValueError(f"{name} must be a number, {least} or more, not {text!r}")
            return int(text)

        seconds, since = number("sinceSeconds", 1), None
        if seconds is not None:
            since = datetime.now(UTC) - timedelta(seconds=seconds)
        elif text := query.get("sinceTime", ""):
            try:
                since = datetime.fromisoformat(text)
            except ValueError:
                raise ValueError(f"sinceTime must be a time as RFC 3339 has it, not {text!r}") from None
            since = since if since.tzinfo else since.replace(tzinfo=UTC)
        return cls(
            follow=flag("follow"),
            previous=flag("previous"),
            tail=number("tailLines", 0),
            since=since,
            timestamps=flag("timestamps"),
            limit=number("limitBytes", 1),
        )


def choose(pod: Pod, name: str, seen: Seen, *, previous: bool) -> ContainerStatus:
    """The container whose log is meant. Raises LookupError with upstream's words."""
    known = {container.name for container in [*pod.spec.initContainers, *pod.spec.containers]}
    if name not in known:
        raise LookupError(f'container "{name}" in pod "{pod.name}" is not available')
    found = [c for c in seen.of(name) if c.state is not State.CREATED or c.error]
    statuses = [*pod.status.containerStatuses, *pod.status.initContainerStatuses]
    waiting = next((s.state.waiting for s in statuses if s.name == name), None)
    if previous:
        # The one before the present one; a container that is dead and waits to be restarted is its own predecessor.
        earlier = [c for c in (found if waiting is not None else found[1:]) if dead(c)]
        if not earlier:
            raise LookupError(f'previous terminated container "{name}" in pod "{pod.name}" not found')
        return earlier[0]
    if not found:
        reason = (waiting.reason if waiting is not None else "") or "ContainerCreating"
        raise LookupError(f'container "{name}" in pod "{pod.name}" is waiting to start: {_WORDS.get(reason, reason)}')
    return found[0]


_WORDS = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}


async def limited(chunks: AsyncIterator[bytes], limit: int | None) -> AsyncIterator[bytes]:
    """The first `limit` bytes."""
    left = limit
    async with contextlib.aclosing(chunks) as stream:  # type: ignore[type-var]  # runtimes' streams are generators
        async for chunk in stream:
            if left is None:
                yield chunk
                continue
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return


async def _streamed(request: web.Request, chunks: AsyncIterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    response.enable_chunked_encoding()
    async with contextlib.aclosing(chunks) as stream:  # type: ignore[type-var]  # limited is a generator
        try:
            first = await anext(stream, None)
        except NoSuchContainer as error:
            return web.Response(status=404, text=str(error))
        except RuntimeFailure as error:
            return web.Response(status=500, text=str(error))
        await response.prepare(request)
        try:
            if first is not None:
                await response.write(first)
                async for chunk in stream:
                    await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            pass  # the reader has gone away
        except RuntimeFailure as error:
            log.debug("a log ended early", extra={"path": request.path, "error": error})
            await response.write_eof()
    return response


def _pod_list(pods: list[Pod]) -> web.Response:
    items = b",".join(pod.to_json() for pod in sorted(pods, key=lambda pod: pod.key))
    body = b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[' + items + b"]}"
    return web.Response(body=body, content_type="application/json")
