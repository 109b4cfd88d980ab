"""What a pod's worker does, action by action: volumes, sandbox, images, containers.

Each is tried once. What goes wrong is told by an event, and remembered, with the time from which on it may be tried
again: then `plan` asks for it anew. Only an engine that does not answer is the worker's own affair.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Sequence
from pathlib import Path

from kube.api import core
from kube.api.core import Pod
from kube.kubelet.actions import (
    Action,
    Announce,
    EnsureImage,
    Kill,
    MakeSandbox,
    MountVolumes,
    RemoveContainer,
    RemoveSandbox,
    Start,
)
from kube.kubelet.configuration import ConfigError
from kube.kubelet.container_setup import set_up
from kube.kubelet.dns import resolver
from kube.kubelet.events import PodEvents
from kube.kubelet.host import Host
from kube.kubelet.killing import Kills
from kube.kubelet.lifecycle import Hooked, Hooks, PodHooks
from kube.kubelet.pod_state import ImageState, PodMemory, Seen, Waiting
from kube.kubelet.projection import MountError, is_projected
from kube.kubelet.runtime import (
    ContainerStatus,
    EngineUnavailable,
    ImageNotFound,
    PodId,
    RuntimeFailure,
)
from kube.kubelet.spec import container_named, find_container, sandbox_config
from kube.kubelet.status import pod_ip

log = logging.getLogger(__name__)

FIRST_RETRY = 0.25
"""Seconds until what failed is tried again, at first."""
CREATE_RETRY = 10.0
"""Seconds until a container or volume that could not be made is tried again."""


class PodActions:
    """One pod's actions, and what they are about."""

    def __init__(self, host: Host, id: PodId, pod: Pod | None, seen: Seen | None) -> None:
        """`seen`: what the engine has of the pod, if that is known."""
        self.id = id
        self.pod = pod
        self.removed = pod is None
        """The pod is bound here no more: nothing of it may stay."""
        self.seen = seen or Seen()
        self._host = host
        self._stale = seen is None
        """Whether the engine may have something else by now."""
        self._memory = PodMemory()
        self._wake = asyncio.Event()
        self._hooks = PodHooks(Hooks(host.runtime, host.prober), self.changed)
        self._kills = Kills(host.runtime, self.name, self.changed, self._pre_stop)
        self._volumes: dict[str, Path] = {}
        self._refresh_at = 0.0
        """When the files of its volumes are to be brought up to date; 0: now."""

    def wake(self) -> None:
        """Look again at what is known."""
        self._wake.set()

    def changed(self) -> None:
        """The engine has news of the pod: look at it again."""
        self._stale = True
        self._wake.set()

    @property
    def _events(self) -> PodEvents:
        assert self.pod is not None
        return PodEvents(self._host.recorder, self.pod)

    @property
    def name(self) -> str:
        return f"{self.id.namespace}/{self.id.name}"

    @property
    def _ending(self) -> bool:
        return self.pod is None or self.removed or self.pod.metadata.deletionTimestamp is not None

    async def _act(self, actions: Sequence[Action]) -> None:
        """Perform actions; kills go on beside, the rest is over when this returns."""
        beside = [action for action in actions if isinstance(action, MakeSandbox | EnsureImage)]
        for action in actions:
            match action:
                case Kill():
                    self._kill(action)
                case MountVolumes():
                    await self._mount()
                case Start():
                    await self._start(action)
                case RemoveSandbox():
                    await self._host.runtime.remove_sandbox(action.id)
                    self._stale = True
                case RemoveContainer():
                    await self._host.runtime.remove_container(action.id)
                    self._stale = True
                case Announce():
                    self._sandbox_changed()
        results = await asyncio.gather(*(self._prepare(action) for action in beside), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _prepare(self, action: MakeSandbox | EnsureImage) -> None:
        if isinstance(action, MakeSandbox):
            await self._make_sandbox(action.attempt)
        else:
            await self._ensure_image(action.name)

    def _sandbox_changed(self) -> None:
        self._memory.loss_told = True
        self._events.pod("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")

    async def _mount(self) -> None:
        assert self.pod is not None
        self._refresh_at = math.inf  # before: news that come meanwhile make it due again
        try:
            self._volumes = await self._host.volumes.mount(self.pod)
            self._memory.volumes_ready = True
            again = self._host.volumes.refresh_at(self.pod)
        except MountError as error:
            self._memory.volumes_retry_at = again = _now() + CREATE_RETRY
            self._events.pod("Warning", "FailedMount", str(error))
        self._refresh_at = min(self._refresh_at, again)

    @property
    def _refreshes(self) -> bool:
        """Whether files in the pod's volumes may change while it runs."""
        begun = self._memory.volumes_ready or bool(self.seen.alive())
        return begun and self.pod is not None and not self._ending and is_projected(self.pod)

    async def _refresh_volumes(self) -> None:
        """Bring the files of the volumes up to date, if it is time to, in a pod that runs."""
        if self._refreshes and _now() >= self._refresh_at:
            await self._mount()

    async def _make_sandbox(self, attempt: int) -> None:
        assert self.pod is not None
        host = self._host
        for message in resolver(self.pod, host.dns)[1]:
            self._events.pod("Warning", "DNSConfigForming", message)
        try:
            config = sandbox_config(self.pod, attempt, host.pause_image, host.dns.domain)
            sandbox = await self._host.runtime.run_sandbox(config)
        except EngineUnavailable as error:
            self._events.pod("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            raise
        except (ConfigError, RuntimeFailure) as error:
            self._stale = True
            self._memory.sandbox_attempts = max(self._memory.sandbox_attempts, attempt + 1)
            delay = min(FIRST_RETRY * 2.0 ** min(attempt + 2, 16), CREATE_RETRY)
            self._memory.sandbox_retry_at = _now() + delay
            message = f"Failed to create pod sandbox: {error}"
            self._events.pod("Warning", "FailedCreatePodSandBox", message)
            log.warning("cannot create a sandbox", extra={"pod": self.name, "after": delay, "error": error})
            return
        log.info("made a sandbox", extra={"pod": self.name, "ip": sandbox.ip, "attempt": attempt})
        self.seen = Seen([sandbox, *self.seen.sandboxes], self.seen.containers)
        self._memory.loss_told = False

    async def _ensure_image(self, name: str) -> None:
        assert self.pod is not None
        container, memory = container_named(self.pod, name), self._memory.of(name)

        def done(state: ImageState) -> None:
            memory.image = state
            self.wake()

        memory.image = ImageState()
        try:
            state = await self._host.images.ensure(self.pod, container, self._events, done)
        except RuntimeFailure:
            memory.image = None
            raise
        if memory.image == ImageState():  # else the pull is over already
            memory.image = state

    async def _start(self, action: Start) -> None:
        """Create and start a container. What goes wrong is remembered, told, and tried again later."""
        pod, name = self.pod, action.name
        assert pod is not None
        container, memory, events = container_named(pod, name), self._memory.of(name), self._events
        now = _now()
        self._stale = True
        memory.image = None
        sandbox = self.seen.sandbox()
        if sandbox is None:
            return
        try:
            config = await set_up(
                self._host, pod, container, action.attempt, pod_ip(pod, self.seen, self._host.ip), self._volumes
            )
            id = await self._host.runtime.create_container(sandbox.id, config)
        except ConfigError as error:
            self._trouble(container, "CreateContainerConfigError", str(error), f"Error: {error}")
            return
        except EngineUnavailable:
            raise
        except ImageNotFound:
            return  # it was removed after we looked: look again
        except RuntimeFailure as error:
            self._trouble(container, error.reason or "CreateContainerError", str(error), f"Error: {error}")
            return
        events.container(container, "Normal", "Created", f"Created container: {name}")
        memory.trouble = None
        memory.attempts = max(memory.attempts, action.attempt + 1)
        if action.after:
            memory.back_off = memory.back_off.next(memory.dead_since.get(action.after, now), now)
        try:
            await self._host.runtime.start_container(id)
        except EngineUnavailable:
            raise
        except RuntimeFailure as error:
            self._trouble(container, "RunContainerError", str(error), f"Error: {error}")
            return
        log.info("started a container", extra={"pod": self.name, "container": name, "attempt": action.attempt})
        events.container(container, "Normal", "Started", f"Started container {name}")
        if container.lifecycle is not None and container.lifecycle.postStart is not None:
            self._hooks.post_start(self._hooked(pod, container, id), memory)

    def _pre_stop(self, status: ContainerStatus) -> Awaitable[None] | None:
        container = None if self.pod is None else find_container(self.pod, status.name)
        if self.pod is None or container is None:
            return None
        return self._hooks.pre_stop(self._hooked(self.pod, container, status.id))

    def _hooked(self, pod: Pod, container: core.Container, id: str) -> Hooked:
        return Hooked(pod, container, id, pod_ip(pod, self.seen, self._host.ip), self._events)

    def _trouble(self, container: core.Container, reason: str, message: str, event: str) -> None:
        memory = self._memory.of(container.name)
        memory.trouble = Waiting(reason, message)
        memory.retry_at = _now() + CREATE_RETRY
        self._events.container(container, "Warning", "Failed", event)
        log.warning(
            "cannot start a container",
            extra={"pod": self.name, "container": container.name, "reason": reason, "error": message},
        )

    def _kill(self, action: Kill) -> None:
        name = action.container.name
        if action.replace:
            self._memory.of(name).restart = action.container.id
        self._hooks.end_post_start(action.container.id)
        if self._kills.begin(action) and self.pod is not None:
            self._events.container(name, "Normal", "Killing", action.message)


def _now() -> float:
    return asyncio.get_running_loop().time()
