"""Exactly N pods: the replication controller over an API in memory, caches stale, requests lost, itself killed."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest

from kube.api import errors
from kube.api.core import Pod, ReplicationController
from kube.api.meta import Object
from kube.client.source import EtcdSources
from kube.controller_manager import replication
from kube.controller_manager.replicas import owner_reference
from tests.lagging import LaggingSources, LateSources
from tests.memory_api import MemoryApi
from tests.memory_node import MemoryNode
from tests.objects import NOON, pod, rc
from tests.unit.controller_manager.conftest import controllers, events, until

pytestmark = pytest.mark.looptime

RC = "replicationcontroller"


async def living(api: MemoryApi) -> list[Pod]:
    return [each for each in (await api.list(Pod)).items if each.metadata.deletionTimestamp is None]


async def scale(api: MemoryApi, replicas: int, name: str = "web") -> None:
    await api.patch(ReplicationController, name, "default", {"spec": {"replicas": replicas}})


def writes(api: MemoryApi, verb: str, kind: str = "Pod") -> int:
    return [(v, k) for v, k, _ in api.writes].count((verb, kind))


async def settled(api: MemoryApi, replicas: int, name: str = "web") -> None:
    """Wait for so many pods and a status that says so."""

    async def so() -> bool:
        status = (await api.get(ReplicationController, name, "default")).status
        return len((await api.list(Pod)).items) == replicas == status.replicas

    await until(so)


async def test_pods_are_made_from_the_template_and_owned(api: MemoryApi) -> None:
    web = await api.create(rc("web", 3))
    async with controllers(api, RC):
        await settled(api, 3)
    for each in await living(api):
        assert each.name.startswith("web-")
        assert each.metadata.generateName == "web-"
        assert len(each.name) == len("web-") + 5
        assert each.metadata.labels == {"app": "web"}
        assert each.metadata.ownerReferences == [owner_reference(web)]
    told = await events(api, "SuccessfulCreate")
    assert told == sorted(f"Created pod: {each.name}" for each in await living(api))


async def test_the_status_is_written_when_it_changes_and_only_then(api: MemoryApi) -> None:
    await api.create(rc("web", 2))
    async with MemoryNode(api, EtcdSources(api.store)).running(), controllers(api, RC):

        async def ready() -> bool:
            return (await api.get(ReplicationController, "web", "default")).status.availableReplicas == 2

        await until(ready)
        status = (await api.get(ReplicationController, "web", "default")).status
        assert (status.replicas, status.fullyLabeledReplicas, status.readyReplicas) == (2, 2, 2)
        assert status.observedGeneration == 1
        before = len(api.writes)
        await asyncio.sleep(60)
        assert len(api.writes) == before, "nothing is written when nothing changes"


async def test_scaling_down_and_up_again(api: MemoryApi) -> None:
    await api.create(rc("web", 5))
    async with MemoryNode(api, EtcdSources(api.store)).running(), controllers(api, RC):
        await settled(api, 5)
        await scale(api, 2)
        await settled(api, 2)
        assert len(await events(api, "SuccessfulDelete")) == 3
        await scale(api, 0)
        await settled(api, 0)
        await scale(api, 4)
        await settled(api, 4)
    assert writes(api, "create") == 9, "never one too many"


async def test_a_pod_deleted_by_hand_is_replaced(api: MemoryApi) -> None:
    await api.create(rc("web", 2))
    async with MemoryNode(api, EtcdSources(api.store)).running(), controllers(api, RC):
        await settled(api, 2)
        first = (await living(api))[0]
        await api.delete(Pod, first.name, "default")
        await settled(api, 2)
        assert first.name not in [each.name for each in await living(api)]


async def test_orphans_are_adopted_and_those_that_no_longer_match_let_go(api: MemoryApi) -> None:
    web = await api.create(rc("web", 2))
    await api.create(pod("orphan", labels={"app": "web"}))
    await api.create(pod("stranger", labels={"app": "db"}))
    async with controllers(api, RC):
        await until(lambda: owned(api, web, 2))
        orphan = await api.get(Pod, "orphan", "default")
        assert orphan.metadata.ownerReferences == [owner_reference(web)]
        assert (await api.get(Pod, "stranger", "default")).metadata.ownerReferences == []
        await api.patch(Pod, "orphan", "default", {"metadata": {"labels": {"app": "debug"}}})
        await until(lambda: owned(api, web, 2))
        assert (await api.get(Pod, "orphan", "default")).metadata.ownerReferences == []
    assert writes(api, "create") == 2 + 1 + 1, "two by hand, one beside the orphan, one in its place"


async def test_an_orphan_that_is_gone_when_it_is_to_be_adopted_does_not_count(api: MemoryApi) -> None:
    """Its deletion wakes nobody, for it belonged to nobody: who took it for adopted would wait for ever."""
    web = await api.create(rc("web", 2))
    await api.create(pod("mine", owner=web, labels={"app": "web"}))
    await api.create(pod("orphan", labels={"app": "web"}))
    web.status.replicas, web.status.fullyLabeledReplicas, web.status.observedGeneration = 2, 2, 1
    await api.update(web, "status")
    sources = LateSources(EtcdSources(api.store), {Pod: 1.0})
    async with controllers(api, RC, sources=sources):
        await api.delete(Pod, "orphan", "default")
        await asyncio.sleep(30)
        assert await owned(api, web, 2)


async def owned(api: MemoryApi, web: ReplicationController, count: int) -> bool:
    """Whether the controller owns so many pods, all of which match."""
    pods = [each for each in await living(api) if each.metadata.ownerReferences == [owner_reference(web)]]
    return len(pods) == count and all(each.metadata.labels.get("app") == "web" for each in pods)


async def test_a_controller_that_was_recreated_adopts_nothing_of_the_old_ones(api: MemoryApi) -> None:
    old = await api.create(rc("web", 2))
    async with controllers(api, RC):
        await settled(api, 2)
        await api.delete(ReplicationController, "web", "default")
        await api.create(rc("web", 2))
        await until(lambda: count(api, 4))
        of_old = [each for each in await living(api) if each.metadata.ownerReferences == [owner_reference(old)]]
        assert len(of_old) == 2, "they are the garbage collector's"


async def count(api: MemoryApi, pods: int) -> bool:
    return len(await living(api)) == pods


async def test_min_ready_seconds_pass_without_an_event(api: MemoryApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Availability comes by time alone; the wall clock is moved by hand, as it is not the loop's."""
    monkeypatch.setattr(replication, "now", lambda: NOON)
    web = await api.create(rc("web", 1, min_ready=10))
    await api.create(pod("p", owner=web, labels={"app": "web"}, node="n", phase="Running", ready=True))
    async with controllers(api, RC):
        await settled(api, 1)
        assert (await api.get(ReplicationController, "web", "default")).status.availableReplicas == 0
        monkeypatch.setattr(replication, "now", lambda: NOON + timedelta(seconds=10))
        await asyncio.sleep(11)
        assert (await api.get(ReplicationController, "web", "default")).status.availableReplicas == 1


async def test_creation_starts_slowly_and_stops_at_the_first_refusal(api: MemoryApi) -> None:
    asked: list[str] = []

    def quota(verb: str, model: type[Object], key: str) -> Exception | None:
        if verb == "create" and model is Pod:
            asked.append(key)
            if writes(api, "create") >= 3:
                return errors.forbidden("pods", "web-x", "exceeded quota: pods, requested: 1, used: 3, limited: 3")
        return None

    api.fail_before = quota
    await api.create(rc("web", 100))
    async with controllers(api, RC):
        await asyncio.sleep(0.004)
        assert len(asked) < 20, "batches of 1, 2, 4, none after the one that failed, and then 1 at a time"
        await asyncio.sleep(1)
        conditions = (await api.get(ReplicationController, "web", "default")).status.conditions
        assert [(c.type, c.status, c.reason) for c in conditions] == [("ReplicaFailure", "True", "FailedCreate")]
        assert "exceeded quota" in conditions[0].message
        assert any(message.startswith("Error creating: pods") for message in await events(api, "FailedCreate"))
        api.fail_before = lambda verb, model, key: None
        await settled(api, 100)
        assert (await api.get(ReplicationController, "web", "default")).status.conditions == []


async def test_in_a_namespace_that_ends_nothing_is_tried_again(api: MemoryApi) -> None:
    details = {"causes": [{"reason": "NamespaceTerminating", "message": "it is being terminated"}]}
    tries: list[str] = []

    def ending(verb: str, model: type[Object], key: str) -> Exception | None:
        if verb == "create" and model is Pod:
            tries.append(key)
            return errors.Forbidden("unable to create new content", details=details)
        return None

    await api.create(rc("web", 3))
    api.fail_before = ending
    async with controllers(api, RC):
        await asyncio.sleep(60)
    assert len(tries) <= 3
    assert await events(api, "FailedCreate") == []


@pytest.mark.parametrize("when", ["before", "after"])
async def test_requests_whose_outcome_is_unknown_make_no_second_pod(api: MemoryApi, when: str) -> None:
    rng = random.Random(1)

    def flaky(verb: str, model: type[Object], key: str) -> Exception | None:
        if model in (Pod, ReplicationController) and rng.random() < 0.4:
            return errors.ServiceUnavailable("cannot reach the apiserver")
        return None

    await api.create(rc("web", 20))
    setattr(api, f"fail_{when}", flaky)
    async with controllers(api, RC):
        await until(lambda: count(api, 20), 600)
        await asyncio.sleep(30)
        assert await count(api, 20)
    assert writes(api, "create") == 20
    assert writes(api, "remove") == 0


async def test_a_deletion_whose_outcome_is_unknown_is_asked_for_again_and_no_other_pod_goes(
    api: MemoryApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nobody answers, the cache learns something else, by which another pod would be the one to go."""
    web = await api.create(rc("web", 2))
    for name, ready in (("first", False), ("second", True)):
        await api.create(pod(name, owner=web, labels={"app": "web"}, node="n", phase="Running", ready=ready))

    delete = api.delete

    async def lost(model: type[Object], name: str, namespace: str, *, uid: str) -> None:
        await delete(model, name, namespace, uid=uid)
        if asyncio.get_running_loop().time() - begun < 2.2:
            raise errors.ServiceUnavailable("no answer")

    monkeypatch.setattr(api, "delete", lost)
    async with controllers(api, RC, sources=LateSources(EtcdSources(api.store), {Pod: 1.0})):
        begun = asyncio.get_running_loop().time()
        for name, now_ready in (("first", "True"), ("second", "False")):
            changed = await api.get(Pod, name, "default")
            changed.status.conditions[0].status = now_ready
            await api.update(changed, "status")
        await asyncio.sleep(1.9)
        await scale(api, 1)
        await asyncio.sleep(30)
    assert [each.name for each in await living(api)] == ["second"]


@pytest.mark.parametrize("seed", range(8))
async def test_with_stale_caches_there_are_exactly_as_many_pods_as_wanted(api: MemoryApi, seed: int) -> None:
    """Informers late and cut at random, the number changed all the time: no pod too many, in the end just enough."""
    rng = random.Random(seed)
    await api.create(rc("web", 0))
    sources = LaggingSources(EtcdSources(api.store), seed, lag=rng.choice([0.05, 1.0, 5.0]))
    wanted = most = 0
    async with MemoryNode(api, EtcdSources(api.store)).running(), controllers(api, RC, sources=sources):
        for _ in range(6):
            wanted = rng.randrange(12)
            most = max(most, wanted)
            await scale(api, wanted)
            await asyncio.sleep(rng.uniform(0, 20))
            assert len(await living(api)) <= most
        await asyncio.sleep(400)
        await settled(api, wanted)
        before = len(api.writes)
        await asyncio.sleep(100)
        assert len(api.writes) == before


@pytest.mark.parametrize("seed", range(8))
async def test_killed_in_the_middle_it_goes_on_without_duplicates(api: MemoryApi, seed: int) -> None:
    rng = random.Random(seed)
    await api.create(rc("web", 30))
    async with MemoryNode(api, EtcdSources(api.store)).running():
        for _ in range(12):
            async with controllers(api, RC):
                await asyncio.sleep(rng.choice([0, 0, 0.0005, 0.001]))
                # Each turn lets one more step of the work happen before it is killed.
                for _ in range(rng.randrange(60)):
                    await asyncio.sleep(0)
            assert len(await living(api)) <= 30
        async with controllers(api, RC):
            await settled(api, 30)
    assert writes(api, "create") == 30
    assert writes(api, "delete") == 0


async def test_two_controllers_hand_over_a_pod_whose_labels_change(api: MemoryApi) -> None:
    await api.create(rc("web", 2))
    await api.create(rc("db", 1))
    async with controllers(api, RC):
        await until(lambda: count(api, 3))
        moved = next(each for each in await living(api) if each.name.startswith("web"))
        await api.patch(Pod, moved.name, "default", {"metadata": {"labels": {"app": "db"}}})
        await asyncio.sleep(5)
        owners = [owner.name for each in await living(api) if (owner := each.metadata.controller())]
        assert sorted(owners) == ["db", "web", "web"]


@pytest.mark.parametrize("lag", [0.0, 0.3, 3.0])
async def test_a_hundred_none_and_a_hundred_again_and_never_one_too_many(api: MemoryApi, lag: float) -> None:
    """Looked at after every single write, with a view that is late and cut off, and a manager that is killed."""
    rng = random.Random(3)
    alive: set[str] = set()
    most = 0

    def look(verb: str, model: type[Object], key: str) -> Exception | None:
        nonlocal most
        if model is Pod and verb == "create":
            alive.add(key)
        elif model is Pod and verb == "delete":
            alive.discard(key)
        most = max(most, len(alive))
        return None

    await api.create(rc("web", 0))
    api.fail_after = look
    async with MemoryNode(api, EtcdSources(api.store), bind=True).running():
        for wanted in (100, 0, 100):
            await scale(api, wanted)
            for _ in range(3):
                sources = LaggingSources(EtcdSources(api.store), rng.randrange(99), lag=lag, cut=200)
                async with controllers(api, RC, sources=sources):
                    await asyncio.sleep(rng.uniform(0.01, 0.2) + lag)
            async with controllers(api, RC):
                await settled(api, wanted)
    assert writes(api, "create") == 200
    assert most == 100


async def test_a_hundred_pods_are_handed_over_by_their_labels_and_none_is_made_or_deleted(api: MemoryApi) -> None:
    old = await api.create(rc("old", 100))
    for number in range(100):
        await api.create(pod(f"old-{number:03}", owner=old, labels={"app": "old"}))
    before = {each.metadata.uid for each in await living(api)}
    async with controllers(api, RC, "garbagecollector"):
        await settled(api, 100, "old")
        await api.delete(ReplicationController, "old", "default", propagation="Orphan")

        async def gone() -> bool:
            return not (await api.list(ReplicationController)).items

        await until(gone)
        for each in await living(api):
            await api.patch(Pod, each.name, "default", {"metadata": {"labels": {"app": "new"}}})
        new = await api.create(rc("new", 100))
        await settled(api, 100, "new")
    assert {each.metadata.uid for each in await living(api)} == before
    assert all(each.metadata.ownerReferences == [owner_reference(new)] for each in await living(api))
    assert (writes(api, "create"), writes(api, "delete"), writes(api, "remove")) == (100, 0, 0)
