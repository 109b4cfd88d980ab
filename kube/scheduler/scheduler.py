"""The loop: take the next pod, choose a node, assume it is there, and have it bound while the next pod is decided.

It knows neither HTTP nor etcd. Where pods come from, how a node is chosen, how a binding is written and what is told to
people are handed in. Decisions are made one at a time, without a pause in which the cache could change; bindings are
written many at a time.

What an unclear answer means: a binding whose outcome is unknown (the API server did not answer) is written again to
the same node, where it can do no harm, and the room stays taken meanwhile. A conflict says that somebody else bound,
deleted or replaced the pod: how the pod is now is read at once, and one that still has no node is tried again at once.
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
from kube.scheduler.algorithm import Choice, Unschedulable
from kube.scheduler.cache import Cache
from kube.scheduler.changes import ClusterChange
from kube.scheduler.podinfo import PodInfo
from kube.scheduler.preemption import Candidate, Preemption
from kube.scheduler.queue import SchedulingQueue

log = logging.getLogger(__name__)

UNKNOWN_OUTCOME = (errors.ServiceUnavailable, errors.Timeout, errors.InternalError, errors.TooManyRequests)

AT_ONCE = 3
"""A pod whose binding conflicts is tried again at once so many times in all, then after its back-off."""


class Hooks(Protocol):
    """What is told to the world about a decision."""

    def scheduled(self, pod: Pod, node: str) -> None:
        """The pod was bound."""

    async def unschedulable(self, pod: Pod, why: Unschedulable, nominated: str) -> None:
        """No node can take the pod; on the one that is nominated, room is being made."""

    async def preempt(self, pod: Pod, candidate: Candidate) -> None:
        """Ask the victims to go. Raises ApiError."""

    async def give_up(self, pods: list[Pod]) -> None:
        """The pods are no longer nominated for the node that they were: others of higher priority are."""

    async def failed(self, pod: Pod, message: str) -> None:
        """The attempt came to nothing for a reason that says nothing about the nodes."""

    async def current(self, pod: Pod) -> Pod | None:
        """The pod as it is now; None if it is gone. Raises ApiError."""


class Recorder(Protocol):
    """Who remembers decisions, so that they can be explained."""

    def chosen(self, pod: PodInfo, choice: Choice) -> None:
        """A pod was given a node."""

    def refused(self, pod: PodInfo, why: Unschedulable, nominated: str) -> None:
        """No node could take a pod."""


class Scheduler:
    """Gives pods to nodes until cancelled."""

    def __init__(
        self,
        queue: SchedulingQueue,
        cache: Cache,
        choose: Callable[[PodInfo], Choice],
        preemption: Preemption,
        bind: Callable[[Pod, str], Awaitable[None]],
        hooks: Hooks,
        recorder: Recorder,
        *,
        parallel: int = 64,
        expire_after: float = 30.0,
    ) -> None:
        """`parallel`: bindings in flight at most. `expire_after`: seconds for which a written binding that the watch
        does not show is believed.
        """
        self._queue, self._cache = queue, cache
        self._choose, self._preemption, self._bind = choose, preemption, bind
        self._hooks, self._recorder = hooks, recorder
        self._writes = asyncio.Semaphore(parallel)
        self._expire_after = expire_after

    async def run(self) -> None:
        """Schedule pods until cancelled. The cache must have been filled before."""
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
        try:
            with metrics.ATTEMPT_SECONDS.time():
                try:
                    choice = self._choose(info)
                except Unschedulable as why:
                    return self._refuse(info, why)
        except Exception as failure:  # of a plug-in, which may be anybody's: it is this pod's trouble, and no other's
            log.exception("cannot decide", extra={"pod": pod.key})
            metrics.ATTEMPTS.labels("error").inc()
            self._queue.retry(pod)
            return partial(self._hooks.failed, pod, f"{type(failure).__name__}: {failure}")
        if self._cache.nominated_node(pod.key) not in (None, choice.node):
            self._give_up(pod)
        self._cache.assume(info, choice.node)
        self._recorder.chosen(info, choice)
        metrics.ATTEMPTS.labels("scheduled").inc()
        return partial(self._carry_out, pod, choice.node)

    def _refuse(self, info: PodInfo, why: Unschedulable) -> Callable[[], Awaitable[None]]:
        candidate = self._preemption.find(info, why)
        nominated = candidate.node if candidate is not None else ""
        pod = info.pod
        log.debug("no node can take it", extra={"pod": pod.key, "reason": why, "nominated": nominated})
        metrics.ATTEMPTS.labels("unschedulable").inc()
        self._recorder.refused(info, why, nominated)
        self._queue.park(pod, why.helped_by, alike=why.alike)
        if candidate is None:
            if not why.waits:
                self._give_up(pod)
            kept = self._cache.nominated_node(pod.key) or ""
            return partial(self._hooks.unschedulable, pod, why, kept)
        metrics.PREEMPTION_ATTEMPTS.inc()
        metrics.PREEMPTION_VICTIMS.observe(len(candidate.victims))
        outdone = [each.pod for each in self._cache.nominated_below(candidate.node, info.cls.priority)]
        for each in outdone:
            self._cache.nominate(each.key, "")
        self._give_up(pod)
        self._cache.nominate(pod.key, candidate.node, info, candidate.victims)
        return partial(self._make_room, info, why, candidate, outdone)

    def _give_up(self, pod: Pod) -> None:
        """Keep no room for the pod any more; others may take it."""
        node = self._cache.nominated_node(pod.key)
        if node is not None:
            self._cache.nominate(pod.key, "")
            self._queue.happened(ClusterChange.POD_REMOVED, node)

    async def _written(self, write: Callable[[], Awaitable[None]]) -> None:
        try:
            await write()
        finally:
            self._writes.release()

    async def _make_room(self, info: PodInfo, why: Unschedulable, candidate: Candidate, outdone: list[Pod]) -> None:
        pod = info.pod
        try:
            await self._hooks.preempt(pod, candidate)
        except errors.ApiError as failure:
            log.warning("cannot preempt", extra={"pod": pod.key, "node": candidate.node, "error": failure})
            why.preemption = f"preemption: {failure}"
            self._give_up(pod)
            self._queue.wake(pod)
            await self._hooks.unschedulable(pod, why, "")
            return
        log.info("preempts", extra={"pod": pod.key, "node": candidate.node, "victims": len(candidate.victims)})
        if outdone:
            await self._hooks.give_up(outdone)
        await self._hooks.unschedulable(pod, why, candidate.node)

    async def _carry_out(self, pod: Pod, node: str) -> None:
        level, unheard = logging.WARNING, False
        delay, deadline = 0.1, asyncio.get_running_loop().time() + self._expire_after
        while True:
            try:
                await self._bind(pod, node)
            except UNKNOWN_OUTCOME as why:
                unheard = True
                if not self._cache.assumed(pod):  # the watch has told the outcome
                    self._found(pod, node)
                    return
                if asyncio.get_running_loop().time() + delay > deadline:
                    await self._refused(pod, node, why)
                    return
                log.log(
                    level, "cannot bind, will retry", extra={"pod": pod.key, "node": node, "after": delay, "error": why}
                )
                level = logging.DEBUG
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
            except errors.Conflict as why:
                log.info("not bound", extra={"pod": pod.key, "node": node, "reason": why})
                await self._settle(pod)
                if unheard:
                    self._found(pod, node)
                return
            except errors.ApiError as why:
                await self._refused(pod, node, why)
                return
            else:
                log.info("bound", extra={"pod": pod.key, "node": node})
                self._hooks.scheduled(pod, node)
                self._expire(pod, self._expire_after)
                return

    def _found(self, pod: Pod, node: str) -> None:
        """The answer to a binding was lost. If the pod is there now, it was bound, and that is told."""
        there = self._cache.pod(pod.key)
        bound = there is not None and there.uid == pod.metadata.uid and not self._cache.assumed(pod)
        if bound and self._cache.node_of(pod.key) == node:
            self._hooks.scheduled(pod, node)

    async def _settle(self, pod: Pod) -> None:
        """After a conflict: see how the pod is. Until that is known the room stays taken."""
        try:
            now = await self._hooks.current(pod)
        except errors.ApiError:
            # The watch will tell; and if it has nothing to tell, the pod is tried again.
            self._expire(pod, self._expire_after)
            return
        if not self._cache.assumed(pod):
            return
        if now is None or now.metadata.uid != pod.metadata.uid or now.metadata.deletionTimestamp is not None:
            self._forget(pod)
        elif now.spec.nodeName:
            self._forget(pod)
            self._cache.set_pod(now)
        else:
            metrics.ATTEMPTS.labels("error").inc()
            self._forget(pod)
            self._queue.retry(pod, at_once=self._queue.attempts(pod.key) < AT_ONCE)

    async def _refused(self, pod: Pod, node: str, why: errors.ApiError) -> None:
        metrics.ATTEMPTS.labels("error").inc()
        self._give_back(pod)
        if not isinstance(why, errors.NotFound):
            log.warning("binding refused", extra={"pod": pod.key, "node": node, "error": why})
            await self._hooks.failed(pod, f'running Bind plugin "DefaultBinder": {why}')

    def _expire(self, pod: Pod, seconds: float) -> None:
        """Believe in the assumption for so long, unless the watch confirms or refutes it earlier."""
        if self._cache.assumed(pod):
            asyncio.get_running_loop().call_later(seconds, self._give_back, pod)

    def _give_back(self, pod: Pod) -> None:
        if self._forget(pod):
            self._queue.retry(pod)

    def _forget(self, pod: Pod) -> bool:
        """Give back the room that was assumed to be the pod's, to who waits for it. Tells whether it still was."""
        node = self._cache.node_of(pod.key)
        if node is None or not self._cache.forget(pod):
            return False
        self._queue.happened(ClusterChange.POD_REMOVED, node)
        return True
