"""An engine in memory, but for its containers: it answers or fails, tells the time, and has images."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kube.kubelet.changes import Changes
from kube.kubelet.credentials import Credentials
from kube.kubelet.runtime import (
    EngineInfo,
    EngineUnavailable,
    Image,
    ImageNotFound,
    RuntimeFailure,
    full_image_name,
)


@dataclass(frozen=True, slots=True)
class Program:
    """What a container does once it is started."""

    exit_code: int | None = None
    """What it exits with; None: it runs until it is stopped."""
    after: float = 0.0
    """Seconds until it exits by itself."""
    on_sigterm: int | None = 0
    """What it exits with when it is asked to end; None: it ignores that, and is killed."""
    output: bytes = b""
    """What it writes at its start."""
    message: bytes = b""
    """What it leaves in the file at its termination message path, when it ends by itself."""
    oom_killed: bool = False
    start_error: str = ""
    """Why the engine cannot start it; `exit_code` is then what the engine shows (127: no such command)."""


class FakeEngine:
    """As much of a Runtime as needs no container."""

    def __init__(
        self,
        *,
        images: Iterable[str] = (),
        registry: Iterable[str] = (),
        every_image: bool = False,
        pull_delay: float = 0.0,
        epoch: datetime | None = None,
    ) -> None:
        self.images: dict[str, Program] = {full_image_name(name): Program() for name in images}
        self.registry: dict[str, Program] = {full_image_name(name): Program() for name in registry}
        self.every_image = every_image
        self.private: dict[str, str] = {}
        """The password that pulling an image takes, by its full name."""
        self.pull_delay = pull_delay
        self.calls: deque[tuple[str, str]] = deque(maxlen=1000)
        """The latest calls that change something: the method, and the container's name."""
        self._up = True
        self._failures: dict[str, list[Exception]] = {}
        self._changes = Changes(connected=True)
        self._epoch = epoch or datetime.now(UTC)
        self._zero: float | None = None

    def fail(self, method: str, error: Exception, times: int = 1) -> None:
        """The next `times` calls of a method raise this error."""
        self._failures.setdefault(method, []).extend([error] * times)

    def now(self) -> datetime:
        """The loop's time as a date."""
        time = asyncio.get_running_loop().time()
        if self._zero is None:
            self._zero = time
        return self._epoch + timedelta(seconds=time - self._zero)

    async def info(self) -> EngineInfo:
        await self._enter("info")
        return EngineInfo("0.0.0", "fake")

    async def image(self, name: str) -> Image | None:
        await self._enter("image")
        full = full_image_name(name)
        if full in self.images:
            return _image(full)
        return next((_image(known) for known in self.images if image_id(known) == name), None)

    async def pull(self, name: str, credentials: Credentials | None = None) -> Image:
        full = full_image_name(name)
        await self._enter("pull", full, self.pull_delay)
        if full in self.private and (credentials is None or credentials.password != self.private[full]):
            raise RuntimeFailure(f"Head {full}: no basic auth credentials", "ErrImagePull")
        if full not in self.registry and not self.every_image:
            raise ImageNotFound(f"manifest for {full} not found: manifest unknown", "ErrImagePull")
        self.images[full] = self.registry.get(full, Program())
        return _image(full)

    async def list_images(self) -> list[Image]:
        await self._enter("list_images")
        return [_image(name) for name in self.images]

    async def remove_image(self, id: str) -> None:
        await self._enter("remove_image", id)
        if self._is_used(id):
            raise RuntimeFailure(f"conflict: unable to remove {id}: a container is using it")
        for name in [name for name in self.images if image_id(name) == id]:
            del self.images[name]

    async def root(self) -> str:
        await self._enter("root")
        return "/"

    def _is_used(self, image_id: str) -> bool:
        """Whether a container is of the image."""
        return False

    async def _enter(self, method: str, name: str = "", delay: float = 0.0) -> None:
        """The start of every call: the engine is up, and the call is not one that is to fail."""
        if name:
            self.calls.append((method, name))
        await asyncio.sleep(delay)
        if not self._up:
            raise EngineUnavailable("the engine does not answer: the fake one is down")
        if failures := self._failures.get(method):
            raise failures.pop(0)

    def _require_image(self, name: str) -> Program:
        full = full_image_name(name)
        if full not in self.images:
            raise ImageNotFound(f"No such image: {full}")
        return self.images[full]


def image_id(name: str) -> str:
    return "sha256:" + name.encode().hex()[:64].ljust(64, "0")


def _image(name: str) -> Image:
    return Image(image_id(name), [name], 2_000_000)
