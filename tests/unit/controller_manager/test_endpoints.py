"""Endpoints that follow the pods, with no write too many, over an API in memory."""

from __future__ import annotations

import asyncio
import random

import pytest

from kube.api import errors
from kube.api.core import EndpointAddress, Endpoints, EndpointSubset, Pod, Service
from kube.api.discovery import EndpointSlice
from kube.api.meta import Object, ObjectMeta
from kube.client.source import EtcdSources
from kube.controller_manager.endpoints import LEADER
from kube.controller_manager.options import Options
from kube.controller_manager.subsets import subsets
from tests.lagging import LaggingSources, LateSources
from tests.memory_api import MemoryApi
from tests.memory_node import MemoryNode
from tests.objects import pod, service
from tests.unit.controller_manager.conftest import controllers, events, until

pytestmark = pytest.mark.looptime

ENDPOINT = "endpoint"


async def ready(api: MemoryApi, name: str = "web") -> list[str] | None:
    """The ready addresses behind a service; None without Endpoints."""
    for each in (await api.list(Endpoints)).items:
        if each.name == name:
            return [address.ip for subset in each.subsets for address in subset.addresses]
    return None


def web(name: str, ip: str, **words: object) -> Pod:
    return pod(name, **{"labels": {"app": "web"}, "ip": ip, "ready": True, "node": "n", **words})  # type: ignore[arg-type]


def writes(api: MemoryApi) -> list[str]:
    return [verb for verb, kind, _ in api.writes if kind == "Endpoints"]


async def test_a_service_gets_endpoints_with_its_labels(api: MemoryApi) -> None:
    await api.create(web("a", "10.0.0.1"))
    async with controllers(api, ENDPOINT):
        await api.create(service(labels={"tier": "front"}))
        await asyncio.sleep(1)
        assert await ready(api) == ["10.0.0.1"]
        assert (await api.get(Endpoints, "web", "default")).metadata.labels == {
            "tier": "front",
            "endpoints.kubernetes.io/managed-by": "endpoint-controller",
        }


async def test_a_service_without_pods_gets_empty_endpoints(api: MemoryApi) -> None:
    await api.create(service())
    async with controllers(api, ENDPOINT):
        await asyncio.sleep(1)
        assert await ready(api) == []


async def test_they_follow_the_pods(api: MemoryApi) -> None:
    await api.create(service())
    async with controllers(api, ENDPOINT):
        first = await api.create(web("a", "10.0.0.1", ready=False))
        await asyncio.sleep(1)
        assert await ready(api) == []
        first.status.conditions[0].status = "True"
        await api.update(first, "status")
        await asyncio.sleep(1)
        assert await ready(api) == ["10.0.0.1"]
        await api.patch(Pod, "a", "default", {"metadata": {"labels": {"app": "db"}}})
        await asyncio.sleep(1)
        assert await ready(api) == []
        await api.patch(Pod, "a", "default", {"metadata": {"labels": {"app": "web"}}})
        await asyncio.sleep(1)
        await api.delete(Pod, "a", "default")
        await asyncio.sleep(1)
        assert await ready(api) == [], "a pod that is being deleted is out at once"


async def test_the_first_change_is_written_at_once_and_a_burst_together(api: MemoryApi) -> None:
    await api.create(service())
    async with controllers(api, ENDPOINT):
        await asyncio.sleep(1)
        before = len(writes(api))
        await api.create(web("first", "10.0.0.1"))
        await asyncio.sleep(0.01)
        assert len(writes(api)) == before + 1
        for number in range(30):
            await api.create(web(f"p{number}", f"10.0.1.{number}"))
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        assert len(writes(api)) == before + 2
        assert len(await ready(api) or []) == 31


async def test_what_does_not_matter_is_not_written(api: MemoryApi) -> None:
    await api.create(service())
    await api.create(web("a", "10.0.0.1"))
    async with controllers(api, ENDPOINT):
        await asyncio.sleep(1)
        before = len(writes(api))
        await api.patch(Pod, "a", "default", {"metadata": {"annotations": {"a": "b"}}})
        await api.patch(Service, "web", "default", {"metadata": {"annotations": {"a": "b"}}})
        await asyncio.sleep(5)
        assert len(writes(api)) == before


def by_hand(name: str) -> Endpoints:
    subset = EndpointSubset(addresses=[EndpointAddress(ip="192.0.2.1")])
    return Endpoints(metadata=ObjectMeta(name=name, namespace="default"), subsets=[subset])


async def test_endpoints_made_by_hand_are_left_alone(api: MemoryApi) -> None:
    async with controllers(api, ENDPOINT):
        # Before the service they belong to: nobody may take them for left over.
        await api.create(by_hand("external"))
        await asyncio.sleep(1)
        await api.create(service("external", selector={}))
        await asyncio.sleep(5)
        assert await ready(api, "external") == ["192.0.2.1"]


async def test_endpoints_go_with_their_service(api: MemoryApi) -> None:
    await api.create(service())
    async with controllers(api, ENDPOINT):
        await asyncio.sleep(1)
        await api.delete(Service, "web", "default")
        await asyncio.sleep(1)
        assert await ready(api) is None


async def test_endpoints_go_with_a_service_that_goes_before_they_are_seen(api: MemoryApi) -> None:
    sources = LateSources(EtcdSources(api.store), {Endpoints: 2.0})
    async with controllers(api, ENDPOINT, sources=sources):
        await api.create(service())
        await asyncio.sleep(1)
        assert await ready(api) == []
        await api.delete(Service, "web", "default")
        await asyncio.sleep(10)
        assert await ready(api) is None


async def test_endpoints_whose_service_went_while_nobody_looked_go_at_the_start(api: MemoryApi) -> None:
    lock = by_hand("lock")
    lock.metadata.annotations = {LEADER: "{}"}
    await api.create(by_hand("left-over"))
    await api.create(lock)
    async with controllers(api, ENDPOINT):
        await asyncio.sleep(1)
        assert await ready(api, "left-over") is None
        assert await ready(api, "lock") is not None, "an election's lock is no service's"


async def test_endpoints_that_somebody_changed_or_removed_are_put_right(api: MemoryApi) -> None:
    await api.create(service())
    await api.create(web("a", "10.0.0.1"))
    async with controllers(api, ENDPOINT):
        await asyncio.sleep(1)
        await api.patch(Endpoints, "web", "default", {"subsets": None})
        await asyncio.sleep(1)
        assert await ready(api) == ["10.0.0.1"]
        await api.delete(Endpoints, "web", "default")
        await asyncio.sleep(1)
        assert await ready(api) == ["10.0.0.1"]


@pytest.mark.parametrize("ending", [False, True], ids=["by a quota", "by a namespace that ends"])
async def test_what_is_refused_is_told_and_tried_again_unless_the_namespace_ends(api: MemoryApi, ending: bool) -> None:
    tries: list[str] = []

    def refused(verb: str, model: type[Object], key: str) -> Exception | None:
        if model not in (Endpoints, EndpointSlice):
            return None
        tries.append(model.kind)
        error = errors.forbidden("endpoints", "web", "exceeded quota")
        error.details["causes"] = [{"reason": "NamespaceTerminating"}] if ending else []
        return error

    api.fail_before = refused
    await api.create(service())
    async with controllers(api, ENDPOINT, "endpointslice"):
        await asyncio.sleep(5)
        assert sorted(tries) == ["EndpointSlice", "Endpoints"] or not ending
        why = 'endpoints "web" is forbidden: exceeded quota'
        assert await events(api, "FailedToCreateEndpoint") == (
            [] if ending else [f"Failed to create endpoint for service default/web: {why}"]
        )
        assert await events(api, "FailedToUpdateEndpointSlices") == (
            [] if ending else [f"Error updating Endpoint Slices for Service default/web: {why}"]
        )
        api.fail_before = lambda verb, model, key: None
        await asyncio.sleep(60)
        assert await ready(api) == (None if ending else [])
        assert len((await api.list(EndpointSlice)).items) == (0 if ending else 1)


@pytest.mark.parametrize("seed", range(8))
async def test_with_stale_caches_they_end_as_they_should(api: MemoryApi, seed: int) -> None:
    rng = random.Random(seed)
    await api.create(service())
    sources = LaggingSources(EtcdSources(api.store), seed, lag=2.0)
    async with (
        MemoryNode(api, EtcdSources(api.store), ready_after=1.0).running(),
        controllers(api, ENDPOINT, sources=sources, options=Options(controllers=(ENDPOINT,))),
    ):
        for number in range(12):
            await api.create(pod(f"p{number}", labels={"app": rng.choice(["web", "db"])}))
            if number % 3 == 2:
                victim = rng.choice((await api.list(Pod)).items)
                await api.delete(Pod, victim.name, "default")
            await asyncio.sleep(rng.uniform(0, 2))

        async def right() -> bool:
            of = await api.get(Service, "web", "default")
            pods = [each for each in (await api.list(Pod)).items if each.metadata.labels == {"app": "web"}]
            return (await api.get(Endpoints, "web", "default")).subsets == subsets(of, pods)

        await asyncio.sleep(30)
        await until(right)
        before = len(writes(api))
        await asyncio.sleep(60)
        assert len(writes(api)) == before


async def test_endpoints_that_a_quota_refuses_are_made_when_it_is_raised(api: MemoryApi) -> None:
    def full(verb: str, model: type[Object], key: str) -> Exception | None:
        if verb == "create" and model in (Endpoints, EndpointSlice):
            return errors.forbidden("endpoints", "web", "exceeded quota: q, requested: count/endpoints=1")
        return None

    await api.create(web("a", "10.0.0.1"))
    await api.create(service())
    api.fail_before = full
    async with controllers(api, ENDPOINT, "endpointslice"):
        await asyncio.sleep(10)
        assert await ready(api) is None
        assert await events(api, "FailedToCreateEndpoint")
        api.fail_before = lambda verb, model, key: None
        await asyncio.sleep(60)
        assert await ready(api) == ["10.0.0.1"]
        assert len((await api.list(EndpointSlice)).items) == 1
