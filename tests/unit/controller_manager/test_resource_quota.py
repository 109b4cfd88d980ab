"""`status.used` is what there is, also with stale caches and after a crash."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from kube.api import usage
from kube.api.coordination import Lease
from kube.api.core import (
    ConfigMap,
    Pod,
    PodSpec,
    ResourceQuota,
    ResourceQuotaSpec,
    ResourceQuotaStatus,
    ResourceRequirements,
    ServicePort,
)
from kube.api.meta import Object, ObjectMeta
from kube.api.resources import PERSISTENT_VOLUME_CLAIMS
from kube.api.unstructured import Unstructured
from kube.client.source import EtcdSources
from tests.lagging import LaggingSources
from tests.memory_api import MemoryApi
from tests.objects import NOON, container, pod, service
from tests.unit.controller_manager.conftest import controllers

QUOTA = "resourcequota"


def quota(hard: dict[str, str], name: str = "q") -> ResourceQuota:
    return ResourceQuota(metadata=ObjectMeta(name=name, namespace="default"), spec=ResourceQuotaSpec(hard=hard))


async def used(api: MemoryApi) -> dict[str, str]:
    return (await api.get(ResourceQuota, "q", "default")).status.used


@pytest.mark.looptime
async def test_a_new_quota_is_counted_and_what_goes_is_taken_off(api: MemoryApi) -> None:
    for number in range(3):
        await api.create(pod(f"p{number}", requests={"cpu": "500m"}))
    await api.create(pod("ended", phase="Succeeded", requests={"cpu": "1"}))
    await api.create(ConfigMap(metadata=ObjectMeta(name="c", namespace="default")))
    await api.create(ConfigMap(metadata=ObjectMeta(name="c", namespace="other")))
    await api.create(quota({"pods": "10", "requests.cpu": "4", "count/configmaps": "5", "services": "2"}))
    async with controllers(api, QUOTA):
        await asyncio.sleep(1)
        counted = {"pods": "3", "requests.cpu": "1500m", "count/configmaps": "1", "services": "0"}
        assert await used(api) == counted
        status = (await api.get(ResourceQuota, "q", "default")).status
        assert status.hard["pods"] == "10"
        before = len(api.writes)
        await api.delete(Pod, "p0", "default")
        await asyncio.sleep(1)
        assert await used(api) == {**counted, "pods": "2", "requests.cpu": "1"}
        ending = await api.get(Pod, "p1", "default")
        ending.status.phase = "Failed"
        await api.update(ending, "status")
        await asyncio.sleep(1)
        assert (await used(api))["pods"] == "1"
        await asyncio.sleep(60)
        assert len(api.writes) == before + 4, "nothing is written when nothing changes"


@pytest.mark.looptime
@pytest.mark.parametrize("seed", range(3))
async def test_it_ends_in_what_there_is(api: MemoryApi, seed: int) -> None:
    rng = random.Random(seed)
    await api.create(quota({"pods": "100"}))
    present: set[str] = set()
    for round_ in range(3):
        async with controllers(api, QUOTA, sources=LaggingSources(EtcdSources(api.store), seed)):
            for number in range(5):
                name = f"p{round_}-{number}"
                await api.create(pod(name))
                present.add(name)
                if rng.random() < 0.5:
                    await api.delete(Pod, gone := rng.choice(sorted(present)), "default")
                    present.discard(gone)
                await asyncio.sleep(rng.uniform(0, 0.5))
    async with controllers(api, QUOTA):
        await asyncio.sleep(5)
        assert await used(api) == {"pods": str(len(present))}


@pytest.mark.looptime
async def test_what_is_charged_meanwhile_is_not_lost(api: MemoryApi) -> None:
    """A charge between the reading of the quota and the writing of its status: the write is computed again."""
    await api.create(quota({"pods": "5"}))
    once = [True]
    listing = api.list

    async def charged(*args: Any, **words: Any) -> Any:
        found: Any = await listing(*args, **words)
        if once and args[0] is Pod:
            once.clear()
            await api.create(pod("late"))
            changed = await api.get(ResourceQuota, "q", "default")
            changed.status = ResourceQuotaStatus(hard={"pods": "5"}, used={"pods": "1"})
            await api.update(changed, "status")
        return found

    async with controllers(api, QUOTA):
        api.list = charged  # type: ignore[method-assign]
        await asyncio.sleep(5)
        assert await used(api) == {"pods": "1"}


def test_what_objects_use() -> None:
    init = container({"cpu": "3"}, {"cpu": "3"}, name="init")
    spec = PodSpec(
        containers=[container({"cpu": "1"}), container({"cpu": "1"}, {"memory": "1Gi"})], initContainers=[init]
    )
    assert usage.of_object(pod(spec=spec), NOON) == {
        "count/pods": "1",
        "pods": "1",
        "requests.cpu": "3",
        "cpu": "3",
        "limits.cpu": "3",
        "limits.memory": "1Gi",
    }


def test_what_a_pod_asks_for_as_a_whole_takes_the_place_of_its_containers() -> None:
    whole = ResourceRequirements(requests={"cpu": "4"}, limits={"memory": "1Gi", "example.com/gpu": "1"})
    spec = PodSpec(containers=[container({"cpu": "1"})], resources=whole)
    assert usage.of_object(pod(spec=spec), NOON) == {
        "count/pods": "1", "pods": "1", "requests.cpu": "4", "cpu": "4", "requests.memory": "1Gi", "memory": "1Gi",
        "limits.memory": "1Gi",
    }  # fmt: skip
    assert usage.unnamed(pod(spec=spec), ["limits.cpu", "cpu"]) == {}, "its containers need not say anything"
    assert usage.unnamed(pod(), ["limits.cpu"]) == {"limits.cpu": ["c"]}


def test_huge_pages_are_counted_under_both_their_names() -> None:
    """`hugepages-<size>` in a quota is what is requested of them."""
    used = usage.of_object(pod(requests={"hugepages-2Mi": "4Mi", "example.com/gpu": "1"}), NOON)
    assert used["hugepages-2Mi"] == used["requests.hugepages-2Mi"] == "4Mi"
    assert used["requests.example.com/gpu"] == "1"
    assert "example.com/gpu" not in used


def test_an_overhead_is_requested_and_added_to_the_limits_that_there_are() -> None:
    spec = PodSpec(containers=[container({}, {"cpu": "1"})], overhead={"cpu": "250m", "memory": "100Mi"})
    used = usage.of_object(pod(spec=spec), NOON)
    assert (used["requests.cpu"], used["requests.memory"]) == ("250m", "100Mi")
    assert used["limits.cpu"] == "1250m"
    assert "limits.memory" not in used


def test_what_services_use() -> None:
    balanced = service(type="LoadBalancer", ports=[ServicePort(port=80), ServicePort(port=443)])
    assert usage.of_object(balanced) == {
        "count/services": "1", "services": "1", "services.loadbalancers": "1", "services.nodeports": "2",
    }  # fmt: skip
    balanced.spec.allocateLoadBalancerNodePorts = False
    balanced.spec.ports[0].nodePort = 30080
    assert usage.of_object(balanced)["services.nodeports"] == "1", "who suppresses them may still ask for one"


def claim(name: str, storage: object = "1Gi", **spec: Any) -> Object:
    made = PERSISTENT_VOLUME_CLAIMS.model(metadata=ObjectMeta(name=name, namespace="default"))
    assert isinstance(made, Unstructured)
    made.put("spec", {"resources": {"requests": {"storage": storage}}, **spec})
    return made


def test_what_claims_use() -> None:
    counted = {"count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1"}
    assert usage.of_object(claim("c", "1024Mi", storageClassName="gold")) == {
        **counted,
        "requests.storage": "1Gi",
        "gold.storageclass.storage.k8s.io/requests.storage": "1Gi",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
    }
    by_annotation = claim("c", storageClassName="gold")
    by_annotation.metadata.annotations["volume.beta.kubernetes.io/storage-class"] = "old"
    assert usage.of_object(by_annotation)["old.storageclass.storage.k8s.io/persistentvolumeclaims"] == "1"
    assert usage.of_object(claim("c", "lots")) == counted, "it is stored as it comes"
    assert usage.of_object(claim("c", resources=["none"])) == counted


@pytest.mark.looptime
async def test_what_came_before_the_quota_was_in_force_is_counted_too(api: MemoryApi) -> None:
    """It was charged to nothing: there was no quota, or one that did not count its kind."""
    await api.create(quota({"pods": "5"}))
    listing = api.list
    config = ConfigMap(metadata=ObjectMeta(name="late", namespace="default"))
    late: dict[Any, Any] = {Pod: pod("late"), ConfigMap: config}

    async def crossed(*args: Any, **words: Any) -> Any:
        found: Any = await listing(*args, **words)
        if args[0] in late:
            await api.create(late.pop(args[0]))
        return found

    async with controllers(api, QUOTA):
        api.list = crossed  # type: ignore[method-assign]
        await asyncio.sleep(2)
        assert await used(api) == {"pods": "1"}
        await api.patch(ResourceQuota, "q", "default", {"spec": {"hard": {"pods": None, "configmaps": "5"}}})
        await asyncio.sleep(2)
        assert not late
        assert await used(api) == {"configmaps": "1"}


@pytest.mark.looptime
async def test_a_claim_that_grows_is_counted_anew(api: MemoryApi) -> None:
    made = await api.create(claim("c"))
    await api.create(quota({"requests.storage": "10Gi", "count/leases.coordination.k8s.io": "2"}))
    lease = await api.create(Lease(metadata=ObjectMeta(name="l", namespace="default")))
    async with controllers(api, QUOTA):
        await asyncio.sleep(1)
        assert await used(api) == {"requests.storage": "1Gi", "count/leases.coordination.k8s.io": "1"}
        larger = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
        await api.patch(type(made), "c", "default", larger)
        await api.delete(Lease, lease.name, "default")
        await asyncio.sleep(1)
        assert await used(api) == {"requests.storage": "3Gi", "count/leases.coordination.k8s.io": "0"}
