"""Deletion in the foreground, in circles, across kinds and namespaces; and all of it with a view that is late, requests
that are lost and a collector that is killed.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from kube.api import errors, resources
from kube.api.core import Event, Pod
from kube.api.meta import Object, ObjectMeta, OwnerReference
from kube.client.source import EtcdSources
from tests.lagging import LaggingSources
from tests.memory_api import MemoryApi
from tests.objects import node, pod, rc
from tests.unit.controller_manager.conftest import controllers, events

pytestmark = pytest.mark.looptime

GC = "garbagecollector"


def ref(owner: Object, *, block: bool = True) -> OwnerReference:
    return OwnerReference(
        apiVersion=owner.apiVersion, kind=owner.kind, name=owner.name, uid=owner.metadata.uid, blockOwnerDeletion=block
    )


def owned(obj: Any, *owners: OwnerReference) -> Any:
    obj.metadata.ownerReferences = [*owners]
    return obj


def stored(api_version: str, kind: str, name: str, *owners: OwnerReference, namespace: str = "default") -> Object:
    """An object of a kind that is only stored."""
    resource = resources.by_kind(api_version, kind)
    assert resource is not None
    made = resource.model(metadata=ObjectMeta(name=name, namespace=namespace))
    made.metadata.ownerReferences = [*owners]
    return made


async def left(api: MemoryApi) -> list[str]:
    """Kind and name of all there is, but for events."""
    found = []
    for resource in resources.RESOURCES:
        if resource.model is not Event:
            found += [f"{resource.kind} {each.name}" for each in (await api.list(resource.model)).items]
    return sorted(found)


def went(api: MemoryApi) -> list[str]:
    """The names of what was removed, in that order."""
    return [key.rpartition("/")[2] for verb, _, key in api.writes if verb == "remove"]


async def delete(api: MemoryApi, obj: Object, propagation: str) -> None:
    await api.delete(type(obj), obj.name, obj.namespace, propagation=propagation)


async def chain(api: MemoryApi, *, block: bool = True) -> Object:
    """A Deployment that owns a ReplicaSet that owns two pods."""
    top = await api.create(stored("apps/v1", "Deployment", "top"))
    middle = await api.create(stored("apps/v1", "ReplicaSet", "middle", ref(top, block=block)))
    for name in ("a", "b"):
        await api.create(owned(pod(name), ref(middle, block=block)))
    return top


async def test_background_the_owner_goes_at_once_and_the_rest_after_it(api: MemoryApi) -> None:
    top = await chain(api)
    async with controllers(api, GC):
        await delete(api, top, "Background")
        await asyncio.sleep(1)
    assert await left(api) == []
    assert went(api)[:2] == ["top", "middle"]


async def test_foreground_who_owns_goes_after_what_it_owns(api: MemoryApi) -> None:
    top = await chain(api)
    async with controllers(api, GC):
        await delete(api, top, "Foreground")
        await asyncio.sleep(1)
    assert await left(api) == []
    assert went(api)[2:] == ["middle", "top"]


async def test_orphan_only_the_owner_goes(api: MemoryApi) -> None:
    top = await chain(api)
    async with controllers(api, GC):
        await delete(api, top, "Orphan")
        await asyncio.sleep(1)
    assert await left(api) == ["Pod a", "Pod b", "ReplicaSet middle"]


async def test_foreground_what_does_not_block_is_deleted_but_not_waited_for(api: MemoryApi) -> None:
    top = await api.create(stored("apps/v1", "Deployment", "top"))
    await api.create(owned(pod("slow", node="n"), ref(top, block=False)))
    async with controllers(api, GC):
        await delete(api, top, "Foreground")
        await asyncio.sleep(1)
    assert await left(api) == ["Pod slow"]
    assert (await api.get(Pod, "slow", "default")).metadata.deletionTimestamp is not None


async def test_foreground_one_that_is_let_go_is_not_waited_for(api: MemoryApi) -> None:
    top = await api.create(stored("apps/v1", "Deployment", "top"))
    await api.create(owned(pod("slow", node="n"), ref(top)))
    async with controllers(api, GC):
        await delete(api, top, "Foreground")
        await asyncio.sleep(100)
        assert await left(api) == ["Deployment top", "Pod slow"]
        await api.patch(Pod, "slow", "default", {"metadata": {"ownerReferences": None}})
        await asyncio.sleep(1)
        assert await left(api) == ["Pod slow"]


async def test_foreground_who_has_another_owner_stays(api: MemoryApi) -> None:
    one, two = await api.create(rc("one")), await api.create(rc("two"))
    await api.create(owned(pod("shared"), ref(one), ref(two)))
    async with controllers(api, GC):
        await delete(api, one, "Foreground")
        await asyncio.sleep(1)
    assert await left(api) == ["Pod shared", "ReplicationController two"]
    assert (await api.get(Pod, "shared", "default")).metadata.ownerReferences == [ref(two)]


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
@pytest.mark.parametrize("length", [1, 2, 3, 5])
async def test_owners_in_a_circle_go_all(api: MemoryApi, propagation: str, length: int) -> None:
    made = [await api.create(rc(f"rc-{number}")) for number in range(length)]
    for number, each in enumerate(made):
        owner = ref(made[number - 1])
        await api.patch(type(each), each.name, each.namespace, {"metadata": {"ownerReferences": [owner.to_dict()]}})
    async with controllers(api, GC):
        await asyncio.sleep(1)
        assert len(await left(api)) == length, "each has its owner"
        await delete(api, made[0], propagation)
        await asyncio.sleep(1)
    assert await left(api) == []


async def test_a_namespaced_object_may_have_an_owner_without_a_namespace(api: MemoryApi) -> None:
    owner = await api.create(node("n"))
    await api.create(owned(pod("p"), ref(owner)))
    async with controllers(api, GC):
        await asyncio.sleep(1)
        assert await left(api) == ["Node n", "Pod p"]
        await delete(api, owner, "Foreground")
        await asyncio.sleep(1)
    assert await left(api) == []


async def test_an_owner_in_another_namespace_is_absent_and_its_own_dependents_stay(api: MemoryApi) -> None:
    owner = await api.create(rc("web"))
    await api.create(owned(pod("stray", namespace="other"), ref(owner)))
    async with controllers(api, GC):
        await asyncio.sleep(1)
        await api.create(owned(pod("web-0"), ref(owner)))
        await asyncio.sleep(1)
    assert await left(api) == ["Pod web-0", "ReplicationController web"]
    assert await events(api, "OwnerRefInvalidNamespace") == [
        f"ownerRef [v1/ReplicationController, namespace: other, name: web, uid: {owner.metadata.uid}] "
        'does not exist in namespace "other"'
    ]


async def test_what_is_in_no_namespace_cannot_be_judged_by_an_owner_in_one(api: MemoryApi) -> None:
    await api.create(owned(node("n"), ref(rc("web"))))
    async with controllers(api, GC):
        await asyncio.sleep(1)
    assert await left(api) == ["Node n"]
    assert len(await events(api, "OwnerRefInvalidNamespace")) == 1


@pytest.mark.parametrize("seed", range(4))
async def test_orphans_that_are_seen_late_stay_too(api: MemoryApi, seed: int) -> None:
    """The collector sees the owner's deletion up to ten seconds before it sees some of the dependents."""
    sources = LaggingSources(EtcdSources(api.store), seed, lag=10.0)
    async with controllers(api, GC, sources=sources):
        await asyncio.sleep(20)
        owner = await api.create(rc("web"))
        for number in range(4):
            await api.create(owned(pod(f"web-{number}"), ref(owner)))
        await delete(api, owner, "Orphan")
        await asyncio.sleep(100)
    assert await left(api) == [f"Pod web-{number}" for number in range(4)]
    assert all(not each.metadata.ownerReferences for each in (await api.list(Pod)).items)


@pytest.mark.parametrize("seed", range(9))
async def test_late_cut_off_and_killed_it_ends_with_exactly_what_is_wanted(api: MemoryApi, seed: int) -> None:
    rng = random.Random(seed)
    propagation = ("Background", "Foreground", "Orphan")[seed % 3]

    def lose(verb: str, model: type[Object], key: str) -> Exception | None:
        return errors.ServiceUnavailable("cannot reach the apiserver") if rng.random() < 0.1 else None

    top, kept = await chain(api), await api.create(rc("kept"))
    await api.create(owned(pod("keeps"), ref(kept), ref(top)))
    async with controllers(api, GC):
        await asyncio.sleep(1)  # what is orphaned has been seen: a process that knew of it may be killed
    await delete(api, top, propagation)
    api.fail_before = api.fail_after = lose
    for _ in range(12):
        sources = LaggingSources(EtcdSources(api.store), rng.randrange(1000), lag=rng.choice([0.0, 0.01, 0.5]))
        async with controllers(api, GC, sources=sources):
            await asyncio.sleep(rng.choice([0, 0.001, 0.3]))
            for _ in range(rng.randrange(60)):
                await asyncio.sleep(0)
    async with controllers(api, GC):
        await asyncio.sleep(100)
    rest = ["Pod a", "Pod b", "ReplicaSet middle"] if propagation == "Orphan" else []
    assert await left(api) == sorted(["Pod keeps", "ReplicationController kept", *rest])
    assert (await api.get(Pod, "keeps", "default")).metadata.ownerReferences == [ref(kept)]
