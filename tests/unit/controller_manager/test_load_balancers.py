"""Addresses of load balancers: each given out once, and given back."""

from __future__ import annotations

import asyncio
import random
from ipaddress import IPv4Network

import pytest

from kube.api.core import Service
from kube.client.source import EtcdSources
from kube.controller_manager.options import Options
from tests.lagging import LaggingSources
from tests.memory_api import MemoryApi
from tests.objects import service
from tests.unit.controller_manager.conftest import controllers, events

pytestmark = pytest.mark.looptime

OPTIONS = Options(controllers=("service",), load_balancer_ip_range=IPv4Network("10.77.0.0/30"))


async def addresses(api: MemoryApi) -> dict[str, list[str]]:
    return {s.name: [i.ip for i in s.status.loadBalancer.ingress] for s in (await api.list(Service)).items}


async def test_given_out_and_given_back(api: MemoryApi) -> None:
    for name in "abc":
        await api.create(service(name, type="LoadBalancer"))
    await api.create(service("plain"))
    async with controllers(api, options=OPTIONS):
        await asyncio.sleep(1)
        given = await addresses(api)
        assert sorted(given["a"] + given["b"] + given["c"]) == ["10.77.0.1", "10.77.0.2"]
        assert given["plain"] == []
        (without,) = (name for name in "abc" if not given[name])
        assert len(await events(api, "SyncLoadBalancerFailed")) == 1
        holder = next(name for name in "abc" if given[name])
        await api.patch(Service, holder, "default", {"spec": {"type": "ClusterIP"}})
        await asyncio.sleep(1)
        now = await addresses(api)
        assert (now[holder], now[without]) == ([], given[holder]), "who waited gets it at once"


async def test_the_address_of_a_service_that_is_deleted_goes_to_one_that_waits_at_once(api: MemoryApi) -> None:
    for name in "abc":
        await api.create(service(name, type="LoadBalancer"))
    async with controllers(api, options=OPTIONS):
        await asyncio.sleep(1)
        given = await addresses(api)
        (without,) = (name for name in "abc" if not given[name])
        holder = next(name for name in "abc" if given[name])
        await api.delete(Service, holder, "default")
        await asyncio.sleep(1)
        assert (await addresses(api))[without] == given[holder]


async def test_what_was_asked_for_or_written_by_hand(api: MemoryApi) -> None:
    asked = service("asked", type="LoadBalancer")
    asked.spec.loadBalancerIP = "10.77.0.2"
    await api.create(asked)
    foreign = service("foreign", type="LoadBalancer")
    foreign.spec.loadBalancerClass = "example.com/lb"
    await api.create(foreign)
    async with controllers(api, options=OPTIONS):
        await asyncio.sleep(1)
        assert await addresses(api) == {"asked": ["10.77.0.2"], "foreign": []}


@pytest.mark.parametrize("seed", range(4))
async def test_no_address_twice_with_stale_caches_and_restarts(api: MemoryApi, seed: int) -> None:
    rng = random.Random(seed)
    options = Options(controllers=("service",), load_balancer_ip_range=IPv4Network("10.77.0.0/28"))
    for _ in range(3):
        async with controllers(api, sources=LaggingSources(EtcdSources(api.store), seed), options=options):
            for _ in range(3):
                name = f"s{rng.randrange(1000)}"
                if name not in await addresses(api):
                    await api.create(service(name, type="LoadBalancer"))
                await asyncio.sleep(rng.uniform(0, 1))
            await asyncio.sleep(5)
    async with controllers(api, options=options):
        await asyncio.sleep(5)
    given = [ip for ips in (await addresses(api)).values() for ip in ips]
    assert len(given) == len(set(given)) == len(await addresses(api))
