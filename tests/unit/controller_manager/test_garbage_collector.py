"""What nobody owns goes, what somebody owns stays: the three ways of deleting an owner."""

from __future__ import annotations

import asyncio

import pytest

from kube.api import errors
from kube.api.core import Pod, ReplicationController
from kube.api.meta import Object, OwnerReference
from kube.client.source import EtcdSources
from tests.lagging import LaggingSources
from tests.memory_api import MemoryApi
from tests.objects import controlled_by, pod, rc
from tests.unit.controller_manager.conftest import controllers
from tests.unit.controller_manager.test_foreground_deletion import stored

pytestmark = pytest.mark.looptime

GC = "garbagecollector"


async def names(api: MemoryApi, model: type[Object] = Pod) -> list[str]:
    return [each.name for each in (await api.list(model)).items]


async def test_pods_go_after_their_controller(api: MemoryApi) -> None:
    web, db = await api.create(rc("web")), await api.create(rc("db"))
    for number in range(3):
        await api.create(pod(f"web-{number}", owner=web))
    await api.create(pod("db-0", owner=db))
    await api.create(pod("alone"))
    async with controllers(api, GC):
        await asyncio.sleep(1)
        assert len(await names(api)) == 5
        await api.delete(ReplicationController, "web", "default")
        await asyncio.sleep(1)
        assert await names(api) == ["alone", "db-0"]


async def test_an_owner_that_went_while_nobody_looked_is_missed_too(api: MemoryApi) -> None:
    await api.create(pod("web-0", owner=rc("web")))
    async with controllers(api, GC):
        await asyncio.sleep(1)
        assert await names(api) == []


async def test_another_owner_of_the_same_name_is_somebody_else(api: MemoryApi) -> None:
    await api.create(rc("web"))
    await api.create(pod("old", owner=rc("web")))
    async with controllers(api, GC):
        await asyncio.sleep(1)
        assert await names(api) == []


async def test_one_living_owner_is_enough_and_the_others_are_dropped(api: MemoryApi) -> None:
    living, gone = await api.create(rc("living")), rc("gone")
    shared = pod("shared", owner=living)
    extra = controlled_by(gone)
    extra.controller = None
    shared.metadata.ownerReferences.append(extra)
    await api.create(shared)
    async with controllers(api, GC):
        await asyncio.sleep(1)
        assert (await api.get(Pod, "shared", "default")).metadata.ownerReferences == [controlled_by(living)]


async def test_owners_of_kinds_that_are_not_known_cannot_be_judged(api: MemoryApi) -> None:
    odd = pod("odd")
    odd.metadata.ownerReferences = [OwnerReference(apiVersion="example.com/v1", kind="Thing", name="t", uid="u")]
    await api.create(odd)
    async with controllers(api, GC):
        await asyncio.sleep(30)
        assert await names(api) == ["odd"]


async def test_the_cache_alone_condemns_nobody(api: MemoryApi) -> None:
    """The owner is there; the collector's caches show the pod long before they show its owner."""
    for seed in range(5):
        async with controllers(api, GC, sources=LaggingSources(EtcdSources(api.store), seed, lag=10.0)):
            web = await api.create(rc(f"web-{seed}"))
            await api.create(pod(f"p-{seed}", owner=web))
            await asyncio.sleep(60)
    assert len(await names(api)) == 5


async def test_while_the_api_is_away_nobody_is_condemned(api: MemoryApi, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dark(*args: object) -> object:
        raise errors.ServiceUnavailable("cannot reach the apiserver")

    await api.create(pod("web-0", owner=rc("web")))
    with monkeypatch.context() as patch:
        patch.setattr(api, "get", dark)
        async with controllers(api, GC):
            await asyncio.sleep(30)
            assert await names(api) == ["web-0"]
            patch.undo()
            await asyncio.sleep(60)
            assert await names(api) == []


async def test_a_name_may_hold_whatever_names_may(api: MemoryApi) -> None:
    """Those of roles are segments of a path, with hardly a rule."""
    role = stored("rbac.authorization.k8s.io/v1", "Role", "a|b:c")
    role.metadata.ownerReferences = [controlled_by(rc("gone"))]
    await api.create(role)
    async with controllers(api, GC):
        await asyncio.sleep(1)
        assert await names(api, type(role)) == []
