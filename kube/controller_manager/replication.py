"""The replication controller: as many pods as wanted, always, and never one too many by our own haste.

What to do is decided by replicas.py; here it is done. Pods are created in batches of 1, 2, 4, … for as long as all of
a batch succeed, so that a quota that is used up costs one refused request and not hundreds. Each pod's name is chosen
here, not by the server: a create whose outcome is unknown can be sent again, and cannot make a second pod.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from kube.api import errors
from kube.api.core import Pod, ReplicationController, ReplicationControllerStatus
from kube.api.meta import ObjectMeta, OwnerReference, now
from kube.client.events import EventRecorder
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller
from kube.controller_manager.expectations import Expectations
from kube.controller_manager.indexes import BY_CONTROLLER, BY_SELECTOR, ORPHANS_BY_LABEL, label_keys, selected_pods
from kube.controller_manager.ownership import set_owners
from kube.controller_manager.pod import active
from kube.controller_manager.replicas import (
    Failure,
    Plan,
    failure_conditions,
    owner_reference,
    plan,
    selector,
    selects,
    status,
)

log = logging.getLogger(__name__)

BURST = 500
"""How many pods one reconcile creates or deletes at most."""
GATHER = 0.05
"""Seconds in which the changes of a controller's pods are gathered before it is looked at again."""
UNKNOWN_OUTCOME = (errors.ServiceUnavailable, errors.Timeout)
_RETRIES = (0.1, 0.3, 1.0, 3.0)
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_LONGEST_BASE = 58


class ReplicationManager(Controller):
    """Keeps the pods of every ReplicationController at the wanted number."""

    def __init__(
        self, client: Client, informers: Informers, recorder: EventRecorder, *, workers: int = 5, burst: int = BURST
    ) -> None:
        super().__init__("replicationcontroller", workers)
        self._client, self._recorder, self._burst = client, recorder, burst
        self._pods = informers.of(Pod)
        self._controllers = informers.of(ReplicationController)
        self._pods.on_change(self._pod_changed)
        self._controllers.on_change(self._controller_changed)
        self.expectations = Expectations(lambda: asyncio.get_running_loop().time())

    async def reconcile(self, key: str) -> float | None:
        rc = self._controllers.get(key)
        if rc is None:
            self.expectations.forget(key)
            return None
        self._look_again(rc)
        pods = self._candidates(rc)
        todo = plan(rc, pods, now())
        wait = self.expectations.wait(key)
        conditions, failed = rc.status.conditions, None
        if not wait:
            if gone := await self._claim(rc, todo):
                todo = plan(rc, [pod for pod in pods if pod.key not in gone], now())
            if self._controllers.get(key) is not rc:
                # Claiming takes time, and what is wanted has changed meanwhile.
                return 0.0
            failure, failed = await self._manage(rc, todo)
            conditions = failure_conditions(conditions, failure, now())
        new_status, next_change = status(rc, todo.claimed, conditions, now())
        if new_status != rc.status:
            await self._put_status(rc, new_status)
        if failed is not None:
            raise failed
        return min((seconds for seconds in (wait, next_change) if seconds), default=None)

    # What wakes it

    def _controller_changed(self, old: ReplicationController | None, new: ReplicationController | None) -> None:
        rc = new or old
        assert rc is not None
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self.expectations.forget(old.key)
        if old is not None and new is not None and old.metadata.generation == new.metadata.generation:
            # Our own status comes back, most of the time, while more of its pods change.
            self.queue.add_after(rc.key, GATHER)
        else:
            self.queue.add(rc.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and old.metadata.uid != new.metadata.uid:
            self._pod_changed(old, None)
            old = None
        pod = new or old
        assert pod is not None
        rc = self._controller_of(pod)
        if rc is not None:
            if old is None:
                self.expectations.creation_observed(rc.key, pod.key)
            if new is None or new.metadata.deletionTimestamp is not None:
                self.expectations.deletion_observed(rc.key, pod.key)
            if (old is not None and new is not None) or self.expectations.wait(rc.key):
                # One of many that follow: a look at all of a controller's pods for each would be quadratic.
                self.queue.add_after(rc.key, GATHER)
            else:
                self.queue.add(rc.key)
        if old is not None and new is not None:
            previous = self._controller_of(old)
            if previous is not None and (rc is None or previous.key != rc.key):
                self.queue.add(previous.key)
        if new is not None and new.metadata.controller() is None:
            self._orphan_changed(old, new)

    def _orphan_changed(self, old: Pod | None, new: Pod) -> None:
        """Whoever selects a pod without a controller may adopt it; only a change of labels or owner makes it news."""
        if old is not None and old.metadata.labels == new.metadata.labels and old.metadata.controller() is None:
            return
        for key in label_keys(new.namespace, new.metadata.labels):
            for rc in self._controllers.indexed(BY_SELECTOR, key):
                if selects(selector(rc), new):
                    self.queue.add(rc.key)

    def _controller_of(self, pod: Pod) -> ReplicationController | None:
        owner = pod.metadata.controller()
        if owner is None or owner.kind != ReplicationController.kind:
            return None
        rc = self._controllers.get(f"{pod.namespace}/{owner.name}")
        return rc if rc is not None and rc.metadata.uid == owner.uid else None

    # What there is

    def _candidates(self, rc: ReplicationController) -> list[Pod]:
        """The pods it owns, and those without a controller that it selects."""
        namespace = rc.namespace
        owned = self._pods.indexed(BY_CONTROLLER, rc.metadata.uid)
        found = selected_pods(self._pods, namespace, selector(rc), ORPHANS_BY_LABEL)
        orphans = [pod for pod in found if active(pod)]
        return [pod for pod in owned if pod.metadata.namespace == namespace] + orphans

    def _look_again(self, rc: ReplicationController) -> None:
        """Meet expectations by what the cache shows, for events that were folded into a new list."""
        for pod_key in self.expectations.created(rc.key):
            if self._pods.get(pod_key) is not None:
                self.expectations.creation_observed(rc.key, pod_key)
        for pod_key in self.expectations.deleted(rc.key):
            pod = self._pods.get(pod_key)
            if pod is None or pod.metadata.deletionTimestamp is not None:
                self.expectations.deletion_observed(rc.key, pod_key)

    # What is done

    async def _claim(self, rc: ReplicationController, todo: Plan) -> set[str]:
        """Adopt and release; the keys of those that are gone. Raises Conflict when a pod has changed meanwhile; the
        cache will know soon.

        A pod that is gone before it is adopted must not count: it is nobody's, so its deletion will wake nobody.
        """
        if todo.adopt:
            # The cache may show a controller that is gone: its pods would be adopted by nobody.
            fresh = await self._client.get(ReplicationController, rc.name, rc.namespace)
            if fresh.metadata.uid != rc.metadata.uid or fresh.metadata.deletionTimestamp is not None:
                raise errors.conflict("replicationcontrollers", rc.name, "it was deleted; it adopts no pods")
        changes: list[tuple[Pod, list[OwnerReference]]] = []
        for pod in todo.adopt:
            log.info("adopting", extra={"rc": rc.key, "pod": pod.name})
            changes.append((pod, [*pod.metadata.ownerReferences, owner_reference(rc)]))
        for pod in todo.release:
            log.info("releasing", extra={"rc": rc.key, "pod": pod.name})
            others = [owner for owner in pod.metadata.ownerReferences if owner.uid != rc.metadata.uid]
            changes.append((pod, others))
        rest = iter(changes)
        gone: set[str] = set()

        async def change() -> None:
            pod, owners = next(rest)
            if not await set_owners(self._client, pod, owners):
                gone.add(pod.key)

        failed = await _all(change, len(changes))
        if failed is not None:
            raise failed
        return gone

    async def _manage(self, rc: ReplicationController, todo: Plan) -> tuple[Failure | None, errors.ApiError | None]:
        if todo.missing:
            failed = await self._create(rc, min(todo.missing, self._burst))
            return (Failure("FailedCreate", str(failed)) if failed else None), failed
        if todo.surplus:
            failed = await self._delete(rc, todo.surplus[: self._burst])
            return (Failure("FailedDelete", str(failed)) if failed else None), failed
        return None, None

    async def _create(self, rc: ReplicationController, count: int) -> errors.ApiError | None:
        log.info("too few pods, creating", extra={"rc": rc.key, "count": count})
        batch = 1
        while count > 0:
            failed = await _all(lambda: self._create_one(rc), min(batch, count))
            if failed is not None:
                return None if errors.namespace_is_ending(failed) else failed
            count -= batch
            batch *= 2
        return None

    async def _create_one(self, rc: ReplicationController) -> None:
        pod = pod_from_template(rc, random.choices(_ALPHABET, k=5))
        self.expectations.expect_creation(rc.key, [pod.key])
        try:
            await self._create_surely(rc, pod)
        except errors.ApiError as why:
            self.expectations.creation_observed(rc.key, pod.key)
            if not errors.namespace_is_ending(why):
                self._recorder.event(rc, "Warning", "FailedCreate", f"Error creating: {why}")
            raise
        self._recorder.event(rc, "Normal", "SuccessfulCreate", f"Created pod: {pod.name}")

    async def _create_surely(self, rc: ReplicationController, pod: Pod) -> None:
        """Create, until the outcome is known. The name is ours: if it exists then, it was this request that made it."""

        async def create() -> None:
            try:
                await self._client.send(pod)
            except errors.AlreadyExists:
                there = await self._client.get(Pod, pod.name, pod.namespace)
                owner = there.metadata.controller()
                if owner is None or owner.uid != rc.metadata.uid:
                    raise

        await _surely(create)

    async def _delete(self, rc: ReplicationController, pods: Sequence[Pod]) -> errors.ApiError | None:
        log.info("too many pods, deleting", extra={"rc": rc.key, "count": len(pods)})
        self.expectations.expect_deletion(rc.key, [pod.key for pod in pods])
        rest = iter(pods)
        return await _all(lambda: self._delete_one(rc, next(rest)), len(pods))

    async def _delete_one(self, rc: ReplicationController, pod: Pod) -> None:
        try:
            # Else another pod might be chosen, by what is known then, and both would be gone.
            await _surely(lambda: self._client.delete(Pod, pod.name, pod.namespace, uid=pod.metadata.uid))
        except errors.NotFound:
            self.expectations.deletion_observed(rc.key, pod.key)
        except errors.Conflict as why:
            # Another pod has taken its name: the cache will know soon.
            log.debug("not deleted", extra={"pod": pod.key, "reason": why})
            self.expectations.deletion_observed(rc.key, pod.key)
            self.queue.add_after(rc.key, 1.0)
        except errors.ApiError as why:
            self.expectations.deletion_observed(rc.key, pod.key)
            self._recorder.event(rc, "Warning", "FailedDelete", f"Error deleting: {why}")
            raise
        else:
            self._recorder.event(rc, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.name}")

    async def _put_status(self, rc: ReplicationController, new: ReplicationControllerStatus) -> None:
        for attempt in (1, 2):
            changed = rc.clone()
            changed.status = new
            try:
                await self._client.update(changed, "status")
            except errors.NotFound:
                return
            except errors.Conflict:
                # The spec was changed, or our own last status is not in the cache yet.
                fresh = await self._client.get(ReplicationController, rc.name, rc.namespace)
                if attempt == 2 or fresh.metadata.uid != rc.metadata.uid:
                    raise
                rc = fresh
            else:
                return


def pod_from_template(rc: ReplicationController, suffix: Sequence[str]) -> Pod:
    """A pod of this controller, not yet created. Its spec is the template's own: to be written, not to be changed."""
    template = rc.spec.template
    assert template is not None, "the API server stores no replication controller without a template"
    base = f"{rc.name}-"
    return Pod(
        metadata=ObjectMeta(
            name=base[:_LONGEST_BASE] + "".join(suffix),
            generateName=base,
            namespace=rc.namespace,
            labels=dict(template.metadata.labels),
            annotations=dict(template.metadata.annotations),
            finalizers=list(template.metadata.finalizers),
            ownerReferences=[owner_reference(rc)],
        ),
        spec=template.spec,
    )


async def _surely(request: Callable[[], Awaitable[None]]) -> None:
    """Make a request that may be made again, until its outcome is known. Raises what the last try raised."""
    for pause in _RETRIES:
        try:
            return await request()
        except UNKNOWN_OUTCOME:
            await asyncio.sleep(pause)
    return await request()


async def _all(make: Callable[[], Awaitable[None]], count: int) -> errors.ApiError | None:
    """Do something `count` times at once. Returns the first refusal, when all have ended."""
    results = await asyncio.gather(*(make() for _ in range(count)), return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in failures:
        if not isinstance(failure, errors.ApiError):
            raise failure
    return failures[0] if failures and isinstance(failures[0], errors.ApiError) else None
