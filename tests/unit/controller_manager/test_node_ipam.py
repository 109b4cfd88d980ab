"""Every node gets a range of its own, the lowest free one, and keeps it."""

from __future__ import annotations

import asyncio
import functools
from ipaddress import IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kube.api import errors
from kube.api.core import Event, Node
from kube.api.meta import Object
from kube.client.source import EtcdSources
from kube.controller_manager.node_ipam import lowest_free
from kube.controller_manager.options import Options
from tests.lagging import LaggingSources, LateSources
from tests.memory_api import MemoryApi
from tests.objects import node
from tests.unit.controller_manager.conftest import controllers, events, until

CLUSTER = IPv4Network("10.244.0.0/16")


def options(cluster: str = str(CLUSTER), mask_size: int = 24) -> Options:
    return Options(
        controllers=("nodeipam",),
        allocate_node_cidrs=True,
        cluster_cidr=IPv4Network(cluster),
        node_cidr_mask_size=mask_size,
    )


async def given_ranges(api: MemoryApi) -> dict[str, str]:
    return {each.name: each.spec.podCIDR for each in (await api.list(Node)).items}


@pytest.mark.parametrize(
    ("taken", "free"),
    [
        pytest.param([], "10.244.0.0/24", id="the first"),
        pytest.param(["10.244.0.0/24"], "10.244.1.0/24", id="the next"),
        pytest.param(["10.244.1.0/24"], "10.244.0.0/24", id="a gap before"),
        pytest.param(["10.244.0.0/24", "10.244.2.0/24"], "10.244.1.0/24", id="a gap between"),
        pytest.param(["10.244.0.0/23"], "10.244.2.0/24", id="behind a larger one"),
        pytest.param(["10.244.0.128/25"], "10.244.1.0/24", id="not over a smaller one"),
        pytest.param(["10.244.0.0/24", "10.244.0.64/26"], "10.244.1.0/24", id="one within another"),
        pytest.param(["192.168.0.0/16", "fd00::/64", "nonsense", ""], "10.244.0.0/24", id="what lies elsewhere"),
        pytest.param(["10.0.0.0/8"], None, id="all of it is taken by one"),
        pytest.param([f"10.244.{n}.0/24" for n in range(256)], None, id="all of it is taken by many"),
    ],
)
def test_the_lowest_free_range(taken: list[str], free: str | None) -> None:
    found = lowest_free(CLUSTER, 24, taken)
    assert (str(found) if found else None) == free


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(18, 30)), max_size=40), st.integers(17, 25))
def test_what_is_given_is_free_and_when_nothing_is_given_nothing_is_free(
    taken: list[tuple[int, int]], size: int
) -> None:
    networks = [IPv4Network((int(CLUSTER.network_address) + offset, mask), strict=False) for offset, mask in taken]
    found = lowest_free(CLUSTER, size, map(str, networks))
    free = [each for each in CLUSTER.subnets(new_prefix=size) if not any(each.overlaps(other) for other in networks)]
    assert found == (free[0] if free else None)


@pytest.mark.looptime
async def test_every_node_gets_its_own_and_a_freed_one_is_given_again(api: MemoryApi) -> None:
    for name in ("a", "b"):
        await api.create(node(name))
    async with controllers(api, options=options()):
        await until(lambda: _all_have(api))
        assert sorted((await given_ranges(api)).values()) == ["10.244.0.0/24", "10.244.1.0/24"]
        freed = (await api.get(Node, "a")).spec.podCIDR
        await api.delete(Node, "a")
        await api.create(node("c"))
        await until(lambda: _all_have(api))
        assert (await given_ranges(api))["c"] == freed
        assert (await api.get(Node, "c")).spec.podCIDRs == [freed]


@pytest.mark.looptime
async def test_a_node_that_has_a_range_keeps_it(api: MemoryApi) -> None:
    mine = node("mine")
    mine.spec.podCIDR, mine.spec.podCIDRs = "10.244.7.0/24", ["10.244.7.0/24"]
    await api.create(mine)
    await api.create(node("other"))
    async with controllers(api, options=options()):
        await until(lambda: _all_have(api))
    assert await given_ranges(api) == {"mine": "10.244.7.0/24", "other": "10.244.0.0/24"}


@pytest.mark.looptime
async def test_a_node_for_which_nothing_is_left_is_told_and_gets_the_range_of_one_that_leaves(api: MemoryApi) -> None:
    for name in ("a", "b", "c"):
        await api.create(node(name))
    async with controllers(api, options=options("10.244.0.0/23")):

        async def told() -> bool:
            return bool(await events(api, "CIDRNotAvailable"))

        await until(told)
        without = next(name for name, cidr in (await given_ranges(api)).items() if not cidr)
        assert await events(api, "CIDRNotAvailable") == [f"Node {without} status is now: CIDRNotAvailable"]
        about = next(e for e in (await api.list(Event)).items if e.reason == "CIDRNotAvailable").involvedObject
        uid = (await api.get(Node, without)).metadata.uid
        assert (about.apiVersion, about.kind, about.name, about.uid) == ("v1", "Node", without, uid)
        await api.delete(Node, next(name for name in ("a", "b", "c") if name != without))
        await until(lambda: _all_have(api))


@pytest.mark.looptime
@pytest.mark.parametrize("seed", range(5))
async def test_no_two_nodes_share_a_range_though_the_cache_is_stale_and_the_process_dies(
    api: MemoryApi, seed: int
) -> None:
    for number in range(4):
        for each in range(3):
            await api.create(node(f"n{number}-{each}"))
        async with controllers(
            api, options=options(), sources=LaggingSources(EtcdSources(api.store), seed, lag=2.0, cut=3)
        ):
            await until(functools.partial(more_have, api, 3 * number))  # and is killed
    async with controllers(api, options=options()):
        await until(lambda: _all_have(api))
    found = list((await given_ranges(api)).values())
    assert len(set(found)) == len(found) == 12


@pytest.mark.looptime
async def test_a_range_whose_writing_was_not_answered_is_given_to_no_other(api: MemoryApi) -> None:
    left = [1]

    def lost(verb: str, model: type[Object], key: str) -> Exception | None:
        if verb == "update" and left[0]:
            left[0] -= 1
            return errors.ServiceUnavailable("the answer is lost")
        return None

    for name in "abc":
        await api.create(node(name))
    api.fail_after = lost
    sources = LateSources(EtcdSources(api.store), {Node: 2.0})
    async with controllers(api, options=options(), sources=sources):
        await asyncio.sleep(30)
    assert sorted((await given_ranges(api)).values()) == ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]


@pytest.mark.looptime
async def test_the_range_of_a_node_that_goes_before_it_is_seen_to_have_one_is_free_again(
    api: MemoryApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node's end is seen before the answer comes that it has got its range."""
    await api.create(node("a"))
    update = api.update

    async def slow(obj: Node, subresource: str = "") -> Node:
        written = await update(obj, subresource)
        if obj.name == "a":
            await api.delete(Node, "a")
            await asyncio.sleep(1)
        return written

    monkeypatch.setattr(api, "update", slow)
    async with controllers(api, options=options()):
        await asyncio.sleep(5)
        await api.create(node("b"))
        await until(lambda: _all_have(api))
    assert await given_ranges(api) == {"b": "10.244.0.0/24"}


async def more_have(api: MemoryApi, count: int) -> bool:
    return sum(map(bool, (await given_ranges(api)).values())) > count


async def _all_have(api: MemoryApi) -> bool:
    return all((await given_ranges(api)).values())
