"""Images: whether one is there, and fetching it in the background by the container's pull policy.

`ensure` never waits for a pull: a pod whose image takes minutes is still observed, probed and deleted. A pull that
failed is tried again after 10 s, then 20 s … 5 min, for each pod and image. It is made with each of the credentials
that the pod's imagePullSecrets have for the registry, until one is good; without any, in nobody's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kube.api.core import Container, Pod
from kube.kubelet.backoff import BackOff, exact
from kube.kubelet.configuration import ConfigError, ConfigurationManager
from kube.kubelet.credentials import Credentials, lookup, read
from kube.kubelet.events import PodEvents
from kube.kubelet.pod_state import ImageState, Waiting
from kube.kubelet.pulled_images import PulledImages
from kube.kubelet.runtime import EngineUnavailable, Image, Runtime, RuntimeFailure

log = logging.getLogger(__name__)

SHOWN = 3.0
"""Seconds for which the error itself is shown (ErrImagePull) before the status says ImagePullBackOff."""

# The grammar of a reference (distribution/reference), as far as a wrong one can be told from a right one.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9-]+))*(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*(?::[\w][\w.-]{{0,127}})?(?:@[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{{32,}})?"
)


@dataclass(slots=True)
class _Attempts:
    """The pulls of one image for one pod."""

    back_off: BackOff = field(default_factory=BackOff)
    failed_at: float = 0.0
    error: str = ""
    """What the last one came to."""
    task: asyncio.Task[None] | None = None


class Images:
    """The images of one node. `parallel` pulls go on at once."""

    def __init__(
        self,
        runtime: Runtime,
        configuration: ConfigurationManager,
        *,
        parallel: int = 4,
        pulled: PulledImages | None = None,
    ) -> None:
        """`pulled`: told of each image that was not there before."""
        self._runtime = runtime
        self._brought = pulled
        self._configuration = configuration
        self._slots = asyncio.Semaphore(parallel)
        self._attempts: dict[tuple[str, str], _Attempts] = {}

    async def ensure(
        self, pod: Pod, container: Container, events: PodEvents, done: Callable[[ImageState], None]
    ) -> ImageState:
        """How the image is; `done` is told when a pull that goes on now is over. Raises EngineUnavailable."""
        name, policy = container.image, container.imagePullPolicy or default_policy(container.image)
        if not valid(name):
            message = f'Failed to apply default image tag "{name}": couldn\'t parse image name "{name}": '
            message += "invalid reference format"
            events.container(container, "Warning", "InspectFailed", message)
            events.container(container, "Warning", "Failed", "Error: InvalidImageName")
            return ImageState(waiting=Waiting("InvalidImageName", message), retry_at=self._now() + 60)
        try:
            present = await self._runtime.image(name) is not None
        except EngineUnavailable:
            raise
        except RuntimeFailure as error:
            message = f'Failed to inspect image "{name}": {error}'
            events.container(container, "Warning", "InspectFailed", message)
            return ImageState(waiting=Waiting("ImageInspectError", message), retry_at=self._now() + 10)
        if policy == "Never" or (present and policy == "IfNotPresent"):
            if present:
                message = f'Container image "{name}" already present on machine'
                events.container(container, "Normal", "Pulled", message)
                return ImageState(ready=True)
            message = f'Container image "{name}" is not present with pull policy of Never'
            events.container(container, "Warning", "ErrImageNeverPull", message)
            events.container(container, "Warning", "Failed", "Error: ErrImageNeverPull")
            return ImageState(waiting=Waiting("ErrImageNeverPull", message), retry_at=self._now() + 10)
        return self._pull(pod, container, events, done)

    def forget(self, uid: str) -> None:
        """The pod is gone: end its pulls."""
        for key in [key for key in self._attempts if key[0] == uid]:
            attempts = self._attempts.pop(key)
            if attempts.task is not None:
                attempts.task.cancel()

    def _pull(
        self, pod: Pod, container: Container, events: PodEvents, done: Callable[[ImageState], None]
    ) -> ImageState:
        attempts = self._attempts.setdefault((pod.metadata.uid, container.image), _Attempts())
        left = attempts.back_off.remaining(attempts.failed_at, self._now())
        if left > 0:
            message = f'Back-off pulling image "{container.image}"'
            events.container(container, "Normal", "BackOff", message)
            events.container(container, "Warning", "Failed", "Error: ImagePullBackOff")
            message += f": ErrImagePull: {attempts.error}"
            return ImageState(waiting=Waiting("ImagePullBackOff", message), retry_at=self._now() + left)
        if attempts.task is not None and not attempts.task.done():
            attempts.task.add_done_callback(lambda _: done(ImageState(retry_at=0.0)))
        else:
            attempts.task = asyncio.create_task(
                self._fetch(pod, container, events, attempts, done), name=f"pull {container.image}"
            )
        return ImageState()

    async def _fetch(
        self, pod: Pod, container: Container, events: PodEvents, attempts: _Attempts, done: Callable[[ImageState], None]
    ) -> None:
        name, asked = container.image, self._now()
        credentials = await self._credentials(pod, name, events)
        async with self._slots:
            events.container(container, "Normal", "Pulling", f'Pulling image "{name}"')
            started = self._now()
            try:
                before = {each.id for each in await self._runtime.list_images()} if self._brought is not None else {""}
                image = await self._pull_as(name, credentials)
                if self._brought is not None and image.id not in before:
                    await asyncio.to_thread(self._brought.add, image.id)
            except RuntimeFailure as error:
                message = f'Failed to pull image "{name}": {error}'
                events.container(container, "Warning", "Failed", message)
                events.container(container, "Warning", "Failed", "Error: ErrImagePull")
                attempts.back_off = attempts.back_off.next(self._now(), self._now())
                attempts.failed_at, attempts.error = self._now(), str(error)
                done(ImageState(waiting=Waiting("ErrImagePull", str(error)), retry_at=self._now() + SHOWN))
                return
            took, waited = exact(self._now() - started), exact(self._now() - asked)
            message = f'Successfully pulled image "{name}" in {took} ({waited} including waiting). '
            events.container(container, "Normal", "Pulled", f"{message}Image size: {image.size} bytes.")
            attempts.back_off = BackOff()
            done(ImageState(ready=True))

    async def _pull_as(self, name: str, credentials: Sequence[Credentials]) -> Image:
        """Pull with the first credentials that are good. Raises RuntimeFailure, the last one's."""
        for each in credentials[:-1]:
            with contextlib.suppress(RuntimeFailure):
                return await self._runtime.pull(name, each)
        return await self._runtime.pull(name, credentials[-1] if credentials else None)

    async def _credentials(self, pod: Pod, name: str, events: PodEvents) -> list[Credentials]:
        wanted = [reference.name for reference in pod.spec.imagePullSecrets if reference.name]
        if not wanted:
            return []
        try:
            secrets = (await self._configuration.of(pod)).secrets
        except ConfigError:
            secrets = {}
        if missing := [secret for secret in wanted if secret not in secrets]:
            message = f"Unable to retrieve some image pull secrets ({', '.join(missing)}); "
            message += "attempting to pull the image may not succeed."
            events.pod("Warning", "FailedToRetrieveImagePullSecret", message)
        return lookup(read(secrets[secret] for secret in wanted if secret in secrets), name)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def valid(name: str) -> bool:
    """Whether a text can name an image."""
    return bool(_REFERENCE.fullmatch(name)) or (name.startswith("sha256:") and len(name) == 71)


def default_policy(name: str) -> str:
    """`Always` for the tag `latest` or none, else `IfNotPresent`: what the apiserver's defaulting would have said."""
    last = name.rpartition("/")[2]
    if "@" in last:
        return "IfNotPresent"
    tag = last.partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"
