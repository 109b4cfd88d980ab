"""A Docker engine, called from the event loop without blocking it.

The `docker` package is synchronous. A short call runs on a bounded pool of threads, which is also the limit on parallel
calls to the engine; whatever lasts (logs, events, a pull, a command run in a container) has a thread of its own, so
that a hundred followed logs or hung probes never keep a container from being started.

Every error leaves here as a RuntimeFailure: EngineUnavailable when there was no answer, the engine's words otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
import struct
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound, create_api_error_from_http_exception
from docker.errors import ImageNotFound as DockerImageNotFound
from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection, UnixHTTPConnectionPool

from kube.kubelet.runtime import EngineUnavailable, ImageNotFound, NoSuchContainer, RuntimeFailure

T = TypeVar("T")

SOCKET = "/var/run/docker.sock"
TIMEOUT = 120.0
"""Seconds for a short call: Kubernetes' --runtime-request-timeout."""
BASE_URL = "http+docker://localhost"
CAP_SYS_RESOURCE = 24
CHUNK = 64 * 1024


class Stream(Generic[T]):
    """A response of the engine without an end, or with a distant one, that one thread reads.

    (The docker package's own streams are not used: the one of `exec` may lose what comes right behind the headers,
    that of a pull cannot be interrupted, and none closes its connection.)
    """

    def __init__(self, response: requests.Response, decode: Callable[[Iterator[bytes]], Iterator[T]]) -> None:
        self._response = response
        self._decode = decode
        # The same connection once more, to be shut from another thread whatever state the reader has it in.
        self._wire: socket.socket | None = None
        if not response.raw.closed:  # an empty answer is at its end already
            self._wire = socket.socket(fileno=os.dup(response.raw.fileno()))

    def __iter__(self) -> Iterator[T]:
        return self._decode(self._response.raw.stream(CHUNK))

    def interrupt(self) -> None:
        """End the reading, from another thread."""
        with contextlib.suppress(OSError):  # the reader came to its end by itself
            if self._wire:
                self._wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection; only the thread that reads may."""
        if self._wire:
            self._wire.close()
        self._response.close()


def open_stream(
    client: docker.APIClient,
    method: str,
    path: str,
    decode: Callable[[Iterator[bytes]], Iterator[T]],
    *,
    params: Mapping[str, Any] | None = None,
    json: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Stream[T]:
    """Make a request whose answer is a stream. Raises what every call of the docker package does."""
    response = client.request(
        method,
        f"{client.base_url}/v{client.api_version}{path}",
        params=params,
        json=json,
        headers={**(headers or {}), "Connection": "close"},  # it is not worth a place in the pool
        stream=True,
        timeout=(client.timeout, None),  # it may be silent for ever
    )
    try:
        response.raise_for_status()
    except requests.HTTPError as error:
        create_api_error_from_http_exception(error)
    return Stream(response, decode)


class Engine:
    """Calls to one engine. Holds no state of its own, so an engine may go away and come back."""

    def __init__(self, path: str = SOCKET, *, parallel: int = 16, timeout: float = TIMEOUT) -> None:
        self.path = path
        self._timeout = timeout
        self._parallel = parallel
        self._threads = ThreadPoolExecutor(parallel, "docker")
        self._client: docker.APIClient | None = None
        self._connecting = threading.Lock()
        self._closed = False

    async def call(self, function: Callable[[docker.APIClient], T]) -> T:
        """Run a short function on a thread. Cancelling does not undo what the engine has begun."""
        if self._closed:
            raise EngineUnavailable("the connection to the Docker engine is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, function)

    async def stream(
        self, opened: Callable[[docker.APIClient], Stream[T]], *, silence: float | None = None
    ) -> AsyncGenerator[list[T], None]:
        """Batches of what the stream gives. The first batch is empty: it says that the stream is open.

        The thread that reads waits while the consumer is behind. Closing this generator closes the stream. Raises
        TimeoutError when nothing comes for `silence` seconds.
        """
        feed: _Feed[T] = _Feed(asyncio.get_running_loop())

        def read() -> None:
            try:
                self._run(lambda client: feed.read(opened(client)))
            except Exception as error:  # noqa: BLE001 - the thread's boundary: the consumer raises it
                feed.finish(error)
            else:
                feed.finish(None)

        threading.Thread(target=read, name="docker-stream", daemon=True).start()
        try:
            while True:
                async with asyncio.timeout(silence):
                    batch = await feed.take()
                if batch is None:
                    return
                yield batch
        finally:
            feed.close()

    async def close(self) -> None:
        """Let go of the threads and connections."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client:
            self._client.close()

    def _run(self, function: Callable[[docker.APIClient], T]) -> T:
        with translated():
            return function(self._connected())

    def _connected(self) -> docker.APIClient:
        with self._connecting:
            if self._client is None:
                self._client = connect(self.path, self._timeout, self._parallel)
            return self._client


class _Connection(UnixHTTPConnection):
    """docker's own leaves its socket to the garbage collector when nobody listens."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self.unix_socket)
        except OSError:
            self.close()
            raise


class _Pool(UnixHTTPConnectionPool):
    def _new_conn(self) -> Any:
        seconds: Any = self.timeout
        return _Connection(self.base_url, self.socket_path, seconds)


class _Adapter(UnixHTTPAdapter):
    """One pool of connections for the engine. docker's own adapter keeps one for each URL, and so reuses none."""

    def __init__(self, path: str, timeout: int, connections: int) -> None:
        super().__init__(f"http+unix://{path}", timeout)
        self._pool = _Pool(BASE_URL, path, timeout, connections)

    def get_connection(self, url: Any, proxies: Any = None) -> _Pool:
        return self._pool

    def close(self) -> None:
        super().close()
        self._pool.close()


def connect(path: str, timeout: float, connections: int) -> docker.APIClient:
    """A client that speaks the engine's own version of its API."""
    with contextlib.closing(_client(path, timeout, 1, "1.41")) as unversioned:
        version = unversioned.version(api_version=False)["ApiVersion"]
    return _client(path, timeout, connections, version)


def _client(path: str, timeout: float, connections: int, version: str) -> docker.APIClient:
    client = docker.APIClient(f"unix://{path}", version, timeout=int(timeout))
    client.mount("http+docker://", _Adapter(path, int(timeout), connections))
    # A proxy or .netrc of the kubelet's environment has no part in this, and looking for them takes time.
    client.trust_env = False
    return client


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn the errors of the docker package, and of what it stands on, into ours."""
    try:
        yield
    except DockerImageNotFound as error:
        raise ImageNotFound(_words(error)) from error
    except NotFound as error:
        raise NoSuchContainer(_words(error)) from error
    except APIError as error:
        raise RuntimeFailure(_words(error)) from error
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        http.client.HTTPException,
        DockerException,
        OSError,
    ) as error:
        raise EngineUnavailable(f"the Docker engine does not answer: {error}") from error


def _words(error: APIError) -> str:
    return str(error.explanation or error).strip()


def status(error: RuntimeFailure) -> int:
    """The HTTP status of the engine's answer; 0 if it was none."""
    cause = error.__cause__
    return int(cause.status_code or 0) if isinstance(cause, APIError) else 0


def lowest_oom_score_adj(path: str) -> int:
    """The lowest oom_score_adj that the engine can give a container.

    Without CAP_SYS_RESOURCE a process cannot go below the score that it inherited, and Docker does not start a
    container that asks for it. The engine is at the other end of its socket; when it cannot be seen, it can do all.
    """
    try:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(1)
            peer.connect(path)
            pid, _, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        with open(f"/proc/{pid}/status") as lines:
            effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
        if effective >> CAP_SYS_RESOURCE & 1:
            return -1000
        with open(f"/proc/{pid}/oom_score_adj") as score:
            return int(score.read())
    except (OSError, ValueError, StopIteration):
        return -1000


class _Feed(Generic[T]):
    """Carries items from a thread to the event loop, in batches, at the pace of the slower one."""

    LIMIT = 512

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready = asyncio.Event()
        self._room = threading.Condition()
        self._items: list[T] = []
        self._opened = False
        self._ended = False
        self._error: Exception | None = None
        self._closed = False
        self._stream: Stream[T] | None = None

    # The thread's side.

    def read(self, stream: Stream[T]) -> None:
        with self._room:
            self._stream = stream
            self._opened = True
            closed = self._closed
        try:
            if closed:
                return
            self._wake()
            for item in stream:
                with self._room:
                    self._room.wait_for(lambda: self._closed or len(self._items) < self.LIMIT)
                    if self._closed:
                        return
                    self._items.append(item)
                    first = len(self._items) == 1
                if first:
                    self._wake()
        finally:
            with self._room:
                self._stream = None
            stream.close()

    def finish(self, error: Exception | None) -> None:
        with self._room:
            self._ended, self._error = True, error
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is interested
            self._loop.call_soon_threadsafe(self._ready.set)

    # The event loop's side.

    async def take(self) -> list[T] | None:
        """The next batch; None at the end. Raises what ended the stream."""
        while True:
            await self._ready.wait()
            with self._room:
                if self._opened:
                    self._opened = False
                    if not self._items and not self._ended:
                        self._ready.clear()
                    return []
                if self._items:
                    batch, self._items = self._items, []
                    if not self._ended:
                        self._ready.clear()
                    self._room.notify()
                    return batch
                if self._ended:
                    if self._error:
                        raise self._error
                    return None
                self._ready.clear()

    def close(self) -> None:
        with self._room:
            self._closed = True
            self._items = []
            self._room.notify()
            if self._stream:
                self._stream.interrupt()


def demultiplexed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The payloads of Docker's framed stdout and stderr, in the order in which they were written.

    A frame is [stream, 0, 0, 0, length as big-endian uint32] and then the payload. Many small frames of one chunk come
    out as one.
    """
    rest = b""
    for chunk in chunks:
        data = rest + chunk if rest else chunk
        at, out = 0, []
        while len(data) - at >= 8:
            end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "big")
            if end > len(data):
                break
            out.append(data[at + 8 : end])
            at = end
        rest = data[at:]
        if out:
            yield b"".join(out)


def json_lines(chunks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """JSON objects, one a line."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (json.loads(line) for line in lines if line.strip())
    if rest.strip():
        yield json.loads(rest)
