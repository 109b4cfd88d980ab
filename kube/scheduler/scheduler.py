"""The loop: take the next pod, choose a node, assume it is there, and have it bound while the next pod is decided.

It knows neither HTTP nor etcd. Where pods come from, how a node is chosen, how a binding is written and what is told to
people are handed in. Decisions are made one at a time, without a pause in which the cache could change; bindings are
written many at a time.

What an unclear answer means: a binding whose outcome is unknown (the API server did not answer) is written again to
the same node, where it can do no harm, and the room stays taken meanwhile. A conflict says that somebody else bound
or deleted the pod; the watch will tell which, and until then the room stays taken too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from kube.api import errors
from kube.api.core import Pod
from kube.scheduler import metrics
from kube.scheduler.algorithm import Unschedulable
from kube.scheduler.nodeinfo import Cache, PodInfo
from kube.scheduler.queue import SchedulingQueue

log = logging.getLogger(__name__)

UNKNOWN_OUTCOME = (errors.ServiceUnavailable, errors.Timeout, errors.InternalError, errors.TooManyRequests)


class Hooks(Protocol):
    """What is told to the world about a decision."""

    def scheduled(self, pod: Pod, node: str) -> None:
        """The pod was bound."""

    async def unschedulable(self, pod: Pod, why: Unschedulable) -> None:
        """No node can take the pod."""

    def binding_failed(self, pod: Pod, node: str, why: errors.ApiError) -> None:
        """The binding was refused."""


class Scheduler:
    """Gives pods to nodes until cancelled."""

    def __init__(
        self,
        queue: SchedulingQueue,
        cache: Cache,
        choose: Callable[[PodInfo], str],
        bind: Callable[[Pod, str], Awaitable[None]],
        hooks: Hooks,
        *,
        parallel: int = 64,
        expire_after: float = 30.0,
        settle_after: float = 2.0,
    ) -> None:
        """`parallel`: bindings in flight at most. `expire_after`: seconds for which a written binding that the watch
        does not show is believed; `settle_after`: the same for one that was answered with a conflict.
        """
        self._queue, self._cache = queue, cache
        self._choose, self._bind, self._hooks = choose, bind, hooks
        self._writes = asyncio.Semaphore(parallel)
        self._expire_after, self._settle_after = expire_after, settle_after
        self.running = False

    async def run(self) -> None:
        """Schedule pods until cancelled. The cache must have been filled before."""
        self.running = True
        async with asyncio.TaskGroup() as tasks:
            while True:
                # Before the pod is taken: nothing may change between that and the decision.
                await self._writes.acquire()
                pod = await self._queue.pop()
                tasks.create_task(self._written(self._schedule(pod)), name=f"write {pod.key}")
                # A decision does not wait for anything: let the bindings and the watches have their turn.
                await asyncio.sleep(0)

    def _schedule(self, pod: Pod) -> Callable[[], Awaitable[None]]:
        """Decide, and count the decision at once. What is returned, when called, writes it."""
        info = PodInfo.of(pod)
        with metrics.ATTEMPT_SECONDS.time():
            try:
                node = self._choose(info)
            except Unschedulable as why:
                log.debug("no node can take it", extra={"pod": pod.key, "reason": why})
                metrics.ATTEMPTS.labels("unschedulable").inc()
                self._queue.park(pod, why.helped_by)
                return partial(self._hooks.unschedulable, pod, why)
        self._cache.assume(info, node)
        metrics.ATTEMPTS.labels("scheduled").inc()
        return partial(self._carry_out, pod, node)

    async def _written(self, write: Callable[[], Awaitable[None]]) -> None:
        try:
            await write()
        finally:
            self._writes.release()

    async def _carry_out(self, pod: Pod, node: str) -> None:
        level = logging.WARNING
        delay, deadline = 0.1, asyncio.get_running_loop().time() + self._expire_after
        while True:
            try:
                await self._bind(pod, node)
            except UNKNOWN_OUTCOME as why:
                if not self._cache.assumed(pod):
                    return  # the watch has told the outcome
                if asyncio.get_running_loop().time() + delay > deadline:
                    self._refused(pod, node, why)
                    return
                log.log(
                    level, "cannot bind, will retry", extra={"pod": pod.key, "node": node, "after": delay, "error": why}
                )
                level = logging.DEBUG
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
            except errors.Conflict as why:
                log.info("not bound", extra={"pod": pod.key, "node": node, "reason": why})
                self._expire(pod, self._settle_after)
                return
            except errors.ApiError as why:
                self._refused(pod, node, why)
                return
            else:
                log.info("bound", extra={"pod": pod.key, "node": node})
                self._hooks.scheduled(pod, node)
                self._expire(pod, self._expire_after)
                return

    def _refused(self, pod: Pod, node: str, why: errors.ApiError) -> None:
        metrics.ATTEMPTS.labels("error").inc()
        self._give_back(pod)
        if not isinstance(why, errors.NotFound):
            self._hooks.binding_failed(pod, node, why)

    def _expire(self, pod: Pod, seconds: float) -> None:
        """Believe in the assumption for so long, unless the watch confirms or refutes it earlier."""
        if self._cache.assumed(pod):
            asyncio.get_running_loop().call_later(seconds, self._give_back, pod)

    def _give_back(self, pod: Pod) -> None:
        if self._cache.forget(pod):
            self._queue.retry(pod)
