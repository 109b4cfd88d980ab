"""Lifecycle hooks: what a container is asked to do once it has been started, and before it is asked to end.

A command is run in the container, a URL is fetched (whatever its answer's status), or time passes. A tcpSocket is
accepted by the API for old clients' sake, and cannot be run: that fails here, as it does in Kubernetes' kubelet
(pkg/kubelet/lifecycle/handlers.go, whose messages these are).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
from yarl import URL

from kube.api.core import Container, HTTPGetAction, LifecycleHandler, Pod
from kube.kubelet.events import PodEvents
from kube.kubelet.pod_state import ContainerMemory, Waiting
from kube.kubelet.prober import Prober, port_number
from kube.kubelet.runtime import Runtime, RuntimeFailure
from kube.kubelet.spec import pod_format

log = logging.getLogger(__name__)


class HookFailure(Exception):
    """A hook has failed; the message is for the container's status."""


class Hooks:
    """Runs hooks in one node's containers."""

    def __init__(self, runtime: Runtime, prober: Prober) -> None:
        self._runtime = runtime
        self._prober = prober

    async def run(self, handler: LifecycleHandler, pod: Pod, container: Container, id: str, ip: str) -> None:
        """Run a hook to its end, however long it takes. Raises HookFailure."""
        where = f'for Container "{container.name}" in Pod "{pod_format(pod)}"'
        if handler.exec is not None:
            shown = f"[{' '.join(handler.exec.command)}]"
            error, output = await self._exec(id, handler.exec.command)
            if error:
                raise HookFailure(f'Exec lifecycle hook ({shown}) {where} failed - error: {error}, message: "{output}"')
        elif handler.httpGet is not None:
            if error := await self._get(handler.httpGet, container, ip):
                path = handler.httpGet.path
                raise HookFailure(f'HTTP lifecycle hook ({path}) {where} failed - error: {error}, message: ""')
        elif handler.sleep is not None:
            await asyncio.sleep(handler.sleep.seconds)
        else:
            raise HookFailure("Cannot run handler: invalid handler: a hook is an exec, an httpGet or a sleep")

    async def _exec(self, id: str, command: list[str]) -> tuple[str, str]:
        """What went wrong, if anything did, and what the command wrote."""
        try:
            result = await self._runtime.exec(id, command, None)
        except RuntimeFailure as error:
            return str(error), ""
        output = result.output.decode(errors="replace")
        if result.exit_code:
            return f"command '{' '.join(command)}' exited with {result.exit_code}: {output}", output
        return "", output

    async def _get(self, action: HTTPGetAction, container: Container, ip: str) -> str:
        """What went wrong, if anything did."""
        scheme = (action.scheme or "HTTP").lower()
        try:
            port = port_number(container, action.port) if action.port != "" else 80
        except ValueError as error:
            return str(error)
        host = action.host or ip
        path = action.path if action.path.startswith("/") else f"/{action.path}"
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}"
        headers = {"User-Agent": "kube-lifecycle/1.33", "Accept": "*/*"}
        headers.update({header.name: header.value for header in action.httpHeaders})
        try:
            async with self._prober.session().get(
                URL(url, encoded=True), headers=headers, ssl=False, timeout=aiohttp.ClientTimeout(total=None)
            ):
                pass
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return f'Get "{url}": {error}'
        return ""


@dataclass(frozen=True, slots=True)
class Hooked:
    """A container with a hook, and how it is reached."""

    pod: Pod
    container: Container
    id: str
    ip: str
    events: PodEvents


class PodHooks:
    """The hooks of one pod's containers. `changed` is called when a postStart hook is over."""

    def __init__(self, hooks: Hooks, changed: Callable[[], None]) -> None:
        self._hooks = hooks
        self._changed = changed
        self._post_starts: dict[str, asyncio.Task[None]] = {}

    def post_start(self, hooked: Hooked, memory: ContainerMemory) -> None:
        """Begin the hook of a container that has just been started; until it is over, it counts as not started."""
        memory.starting, memory.hook_failed = hooked.id, False
        self._post_starts[hooked.id] = asyncio.create_task(
            self._run_post_start(hooked, memory), name=f"postStart of {hooked.pod.key}/{hooked.container.name}"
        )

    def end_post_start(self, id: str) -> None:
        """The container is asked to end: whatever it was to be told at its start is of no use any more."""
        if task := self._post_starts.get(id):
            task.cancel()

    def cancel(self) -> None:
        """End all of them."""
        for task in self._post_starts.values():
            task.cancel()

    def pre_stop(self, hooked: Hooked) -> Awaitable[None] | None:
        """The hook of a container that is asked to end, if it has one."""
        lifecycle = hooked.container.lifecycle
        return None if lifecycle is None or lifecycle.preStop is None else self._run_pre_stop(hooked, lifecycle.preStop)

    async def _run_post_start(self, hooked: Hooked, memory: ContainerMemory) -> None:
        lifecycle = hooked.container.lifecycle
        assert lifecycle is not None
        assert lifecycle.postStart is not None
        try:
            await self._hooks.run(lifecycle.postStart, hooked.pod, hooked.container, hooked.id, hooked.ip)
        except HookFailure as error:
            if memory.starting == hooked.id:
                memory.trouble, memory.hook_failed = Waiting("PostStartHookError", str(error)), True
            hooked.events.container(hooked.container, "Warning", "FailedPostStartHook", "PostStartHook failed")
            log.info("a postStart hook failed", extra={"pod": hooked.pod.key, "error": error})
        else:
            if memory.starting == hooked.id:
                memory.starting = ""
        finally:
            del self._post_starts[hooked.id]
            self._changed()

    async def _run_pre_stop(self, hooked: Hooked, hook: LifecycleHandler) -> None:
        try:
            await self._hooks.run(hook, hooked.pod, hooked.container, hooked.id, hooked.ip)
        except HookFailure as error:
            hooked.events.container(hooked.container, "Warning", "FailedPreStopHook", "PreStopHook failed")
            log.info("a preStop hook failed", extra={"pod": hooked.pod.key, "error": error})
