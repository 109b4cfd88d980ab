"""The endpoints controller: behind every service with a selector, the addresses of the pods that it selects.

The first change is written at once; those that follow within a tenth of a second are written together, so that a burst
of pods becoming ready is a few writes and not one for each. Nothing is written when nothing has changed. Endpoints of a
service without a selector belong to whoever wrote them; those of a service that is gone are removed.
"""

from __future__ import annotations

import asyncio
import logging

from kube.api import errors
from kube.api.core import Endpoints, Pod, Service
from kube.api.meta import ObjectMeta, split_key
from kube.client.events import EventRecorder
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller
from kube.controller_manager.indexes import BY_SELECTOR, label_keys, selected_pods
from kube.controller_manager.pod import ended, ready
from kube.controller_manager.subsets import has_endpoints, labels, subsets
from kube.controller_manager.trigger_times import ANNOTATION, TriggerTimes, text

log = logging.getLogger(__name__)

LEADER = "control-plane.alpha.kubernetes.io/leader"
"""On Endpoints that are somebody's election lock, and belong to no service."""
MOMENT = 0.001
"""Seconds that are not worth waiting for: a timer may fire a rounding error too early."""
BATCH_PERIOD = 0.1
"""Seconds in which further changes of a service's endpoints are gathered after one was written."""


class EndpointsController(Controller):
    """Keeps an Endpoints object for every service."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        workers: int = 5,
        batch_period: float = BATCH_PERIOD,
    ) -> None:
        super().__init__("endpoint", workers)
        self._client, self._recorder, self._batch_period = client, recorder, batch_period
        self._pods = informers.of(Pod)
        self._services = informers.of(Service)
        self._endpoints = informers.of(Endpoints)
        self._pods.on_change(self._pod_changed)
        self._services.on_change(self._service_changed)
        self._endpoints.on_change(self._endpoints_changed)
        self._times = TriggerTimes()
        self._quiet_until: dict[str, float] = {}
        """For services whose endpoints were just written: when they may be written again."""

    async def run(self) -> None:
        # Services that went while nobody looked.
        for endpoints in self._endpoints.list():
            if LEADER not in endpoints.metadata.annotations:
                self.queue.add(endpoints.key)
        await super().run()

    async def reconcile(self, key: str) -> float | None:
        wait = self._quiet_until.get(key, 0.0) - asyncio.get_running_loop().time()
        if wait > MOMENT:
            return wait
        self._quiet_until.pop(key, None)
        service = self._services.get(key)
        if service is None:
            self._times.forget(key)
            await self._remove(key)
        elif has_endpoints(service):
            await self._sync(service)
        return None

    async def _sync(self, service: Service) -> None:
        current = self._endpoints.get(service.key)
        pods = list(selected_pods(self._pods, service.namespace, service.spec.selector))
        since = self._times.of(service, pods)
        wanted = Endpoints(
            metadata=current.metadata.clone()
            if current
            else ObjectMeta(name=service.name, namespace=service.namespace),
            subsets=subsets(service, pods),
        )
        wanted.metadata.labels = labels(service)
        if (
            current is not None
            and current.subsets == wanted.subsets
            and current.metadata.labels == wanted.metadata.labels
        ):
            return
        wanted.metadata.annotations.pop(ANNOTATION, None)
        if since is not None:
            wanted.metadata.annotations[ANNOTATION] = text(since)
        try:
            if current is None:
                await self._client.create(wanted)
            else:
                await self._client.update(wanted)
        except errors.ApiError as why:
            if current is None and errors.namespace_is_ending(why):
                # The namespace is being deleted: nothing is lost, and trying again helps nobody.
                log.debug("not written", extra={"service": service.key, "reason": why})
                return
            if not isinstance(why, errors.Conflict | errors.AlreadyExists | errors.NotFound):
                verb, what = ("create", "endpoint for service") if current is None else ("update", "endpoint")
                message = f"Failed to {verb} {what} {service.key}: {why}"
                self._recorder.event(wanted, "Warning", f"FailedTo{verb.capitalize()}Endpoint", message)
            # A conflict is our own last write that the cache does not show yet: compare again when it does.
            raise
        self._quiet_until[service.key] = asyncio.get_running_loop().time() + self._batch_period
        ready_count = sum(len(subset.addresses) for subset in wanted.subsets)
        log.info("endpoints written", extra={"service": service.key, "ready": ready_count})

    async def _remove(self, key: str) -> None:
        """Remove the endpoints of a service that is gone, also those that were just written and are not seen yet: when
        they are, nobody will remember that they were ours."""
        current = self._endpoints.get(key)
        namespace, name = split_key(key)
        try:
            await self._client.delete(Endpoints, name, namespace, uid=current.metadata.uid if current else "")
        except errors.NotFound:
            log.debug("gone already", extra={"endpoints": key})
        else:
            log.info("endpoints removed, their service is gone", extra={"service": key})

    # What wakes it

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        service = new or old
        assert service is not None
        self.queue.add(service.key)

    def _endpoints_changed(self, old: Endpoints | None, new: Endpoints | None) -> None:
        """Ours, and written or removed by somebody else: compare again.

        Endpoints without a service are left alone, but for those that are left over at the start: who makes them by
        hand may make them before the service, and its watch may be the slower one.
        """
        endpoints = new or old
        assert endpoints is not None
        if self._services.get(endpoints.key) is not None:
            self.queue.add(endpoints.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and matters(old) == matters(new):
            return
        for pod in (old, new):
            if pod is None:
                continue
            for key in label_keys(pod.namespace, pod.metadata.labels):
                for service in self._services.indexed(BY_SELECTOR, key):
                    if service.spec.selector.items() <= pod.metadata.labels.items():
                        self.queue.add(service.key)


def matters(pod: Pod) -> tuple[object, ...]:
    """What of a pod its endpoints depend on: most changes of a pod are none of ours."""
    return (
        pod.metadata.uid,
        pod.metadata.labels,
        pod.metadata.deletionTimestamp is None,
        ended(pod),
        ready(pod),
        pod.status.podIP,
        pod.spec,
    )
