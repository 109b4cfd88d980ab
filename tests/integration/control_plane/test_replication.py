"""Scheduler and controllers as processes, on a real apiserver and a real etcd."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx

from kube.api import errors
from kube.api.core import Endpoints, Event, Pod, ReplicationController, ResourceQuota
from kube.client.informer import Informer
from kube.client.source import ApiSources
from tests.integration.control_plane.conftest import ControlPlane
from tests.objects import rc, service

SECONDS = 30.0


async def settled(plane: ControlPlane, replicas: int) -> None:
    """Wait until there are so many pods, all ready, and the status says so."""
    async with asyncio.timeout(SECONDS):
        while True:
            web = await plane.client.get(ReplicationController, "web", "default")
            pods = (await plane.client.list(Pod, "default")).items
            if len(pods) == replicas == web.status.availableReplicas == web.status.replicas:
                return
            await asyncio.sleep(0.1)


async def gone(plane: ControlPlane) -> None:
    async with asyncio.timeout(SECONDS):
        while (await plane.client.list(Pod, "default")).items:
            await asyncio.sleep(0.1)


async def scale(plane: ControlPlane, replicas: int) -> None:
    await plane.client.patch(ReplicationController, "web", "default", {"spec": {"replicas": replicas}})


@contextlib.asynccontextmanager
async def counting(plane: ControlPlane) -> AsyncIterator[set[str]]:
    """The UIDs of all pods that there ever were."""
    seen: set[str] = set()
    pods = Informer(ApiSources(plane.client).of(Pod))
    pods.on_change(lambda old, new: seen.add(new.metadata.uid) if new else None)
    following = asyncio.ensure_future(pods.run())
    try:
        yield seen
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_from_a_controller_to_endpoints_and_back(control_plane: ControlPlane) -> None:
    plane = control_plane
    await plane.client.create(rc("web", 3))
    await plane.client.create(service("web", cluster_ip=""))
    await settled(plane, 3)
    pods = {each.status.podIP: each for each in (await plane.client.list(Pod, "default")).items}
    assert {each.spec.nodeName for each in pods.values()} == {"n"}
    async with asyncio.timeout(SECONDS):
        while True:
            subsets = (await plane.client.get(Endpoints, "web", "default")).subsets
            if {address.ip for subset in subsets for address in subset.addresses} == set(pods):
                break
            await asyncio.sleep(0.1)
    reasons = {each.reason for each in (await plane.client.list(Event, "default")).items}
    assert {"SuccessfulCreate", "Scheduled"} <= reasons
    await scale(plane, 1)
    await settled(plane, 1)
    await plane.client.delete(ReplicationController, "web", "default", propagation="Background")
    await gone(plane)


async def test_killed_in_the_middle_there_is_no_pod_too_many(control_plane: ControlPlane) -> None:
    """kill -9 of the controller manager and of the scheduler while they work: 60 pods wanted, 60 pods ever made."""
    plane = control_plane
    await plane.client.create(rc("web", 0))
    await settled(plane, 0)
    async with counting(plane) as seen:
        await scale(plane, 60)
        for pause in (0.05, 1.2, 1.4):
            await asyncio.sleep(pause)
            plane.controller_manager.restart()
            plane.scheduler.restart()
        await settled(plane, 60)
        assert len(seen) == 60
        await scale(plane, 0)
        await asyncio.sleep(0.05)
        plane.controller_manager.restart()
        await settled(plane, 0)
        assert len(seen) == 60


async def test_an_apiserver_that_is_killed_loses_and_doubles_nothing(control_plane: ControlPlane) -> None:
    plane = control_plane
    await plane.client.create(rc("web", 0))
    await settled(plane, 0)
    await scale(plane, 100)
    await asyncio.sleep(0.15)
    plane.apiserver.kill()
    await asyncio.sleep(0.5)
    plane.apiserver.start()
    async with counting(plane) as seen:
        await settled(plane, 100)
        assert len(seen) == 100


async def test_orphans_stay_and_are_adopted_by_the_next_controller(control_plane: ControlPlane) -> None:
    plane = control_plane
    await plane.client.create(rc("web", 2))
    await settled(plane, 2)
    before = {each.metadata.uid for each in (await plane.client.list(Pod, "default")).items}
    async with httpx.AsyncClient(base_url=plane.apiserver.url) as http:
        path = "/api/v1/namespaces/default/replicationcontrollers/web"
        await http.request("DELETE", path, json={"propagationPolicy": "Orphan"})
        async with asyncio.timeout(SECONDS):
            while (await http.get(path)).status_code != 404:
                await asyncio.sleep(0.1)
    pods = (await plane.client.list(Pod, "default")).items
    assert {each.metadata.uid for each in pods} == before
    assert not any(each.metadata.ownerReferences for each in pods)
    await plane.client.create(rc("web", 2))
    await settled(plane, 2)
    assert {each.metadata.uid for each in (await plane.client.list(Pod, "default")).items} == before


async def test_a_quota_holds_a_controller_back_and_it_says_so(control_plane: ControlPlane) -> None:
    plane = control_plane
    await plane.client.create(ResourceQuota.parse({"metadata": {"name": "q", "namespace": "default"},
                                                   "spec": {"hard": {"pods": "2"}}}))  # fmt: skip
    async with asyncio.timeout(SECONDS):
        while not (await plane.client.get(ResourceQuota, "q", "default")).status.used:
            await asyncio.sleep(0.1)
    await plane.client.create(rc("web", 4))
    async with asyncio.timeout(SECONDS):
        while not (conditions := (await plane.client.get(ReplicationController, "web", "default")).status.conditions):
            await asyncio.sleep(0.1)
    (failure,) = conditions
    assert (failure.type, failure.status, failure.reason) == ("ReplicaFailure", "True", "FailedCreate")
    assert failure.message.startswith('pods "web-')
    assert failure.message.endswith("exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2")
    assert len((await plane.client.list(Pod, "default")).items) == 2
    await plane.client.delete(ResourceQuota, "q", "default")
    await settled(plane, 4)
    assert (await plane.client.get(ReplicationController, "web", "default")).status.conditions == []


async def test_in_the_foreground_a_controller_goes_after_its_pods(control_plane: ControlPlane) -> None:
    plane = control_plane
    await plane.client.create(rc("web", 3))
    await settled(plane, 3)
    await plane.client.delete(ReplicationController, "web", "default", propagation="Foreground")
    async with asyncio.timeout(SECONDS):
        with contextlib.suppress(errors.NotFound):
            while True:
                await plane.client.get(ReplicationController, "web", "default")
                await asyncio.sleep(0.05)
    assert (await plane.client.list(Pod, "default")).items == []
