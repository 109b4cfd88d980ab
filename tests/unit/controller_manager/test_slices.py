"""Endpoint slices: packed so that little is written, and always exactly what the pods are."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api.core import (
    Container,
    ContainerPort,
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    Pod,
    PodSpec,
    Service,
    ServicePort,
)
from kube.api.discovery import EndpointSlice
from kube.api.meta import ObjectMeta, OwnerReference
from kube.client.source import EtcdSources
from kube.controller_manager.endpoint_slice_mirroring import LAST_APPLIED
from kube.controller_manager.options import Options
from kube.controller_manager.slices import MANAGED_BY, SERVICE_NAME, SlicePlan, of_service, of_subsets, plan
from kube.controller_manager.trigger_times import ANNOTATION
from tests.lagging import LaggingSources
from tests.memory_api import MemoryApi
from tests.memory_node import MemoryNode
from tests.objects import NOON, container, node, pod, service
from tests.unit.controller_manager.conftest import controllers, until

OWNER = OwnerReference(apiVersion="v1", kind="Service", name="web", uid="u", controller=True)
META = ObjectMeta(generateName="web-", namespace="default", labels={SERVICE_NAME: "web"})
SLICE, MIRROR = "endpointslice", "endpointslicemirroring"


def web(name: str, ip: str, **words: object) -> Pod:
    return pod(name, **{"labels": {"app": "web"}, "ip": ip, "ready": True, "node": "n", **words})  # type: ignore[arg-type]


def pods(numbers: set[int]) -> list[Pod]:
    return [web(f"p{n}", f"10.0.{n // 250}.{n % 250 + 1}", uid=f"u{n}") for n in sorted(numbers)]


def carried_out(slices: list[EndpointSlice], todo: SlicePlan) -> list[EndpointSlice]:
    there = {each.name: each for each in slices}
    for each in todo.delete:
        del there[each.name]
    for each in todo.update:
        assert each.name in there
        there[each.name] = each
    for each in todo.create:
        each.metadata.name = f"{each.metadata.generateName}{random.random()}"
        there[each.name] = each
    return [*there.values()]


def addresses(slices: list[EndpointSlice]) -> Counter[str]:
    return Counter(endpoint.addresses[0] for each in slices for endpoint in each.endpoints)


@given(st.lists(st.sets(st.integers(0, 400), max_size=60), min_size=1, max_size=5), st.integers(1, 30))
def test_slices_always_hold_each_pod_once_and_a_plan_carried_out_leaves_nothing(
    steps: list[set[int]], most: int
) -> None:
    slices: list[EndpointSlice] = []
    for numbers in steps:
        wanted = of_service(service(), pods(numbers), {})
        slices = carried_out(slices, plan(OWNER, META, slices, wanted, most=most))
        assert addresses(slices) == Counter(each.status.podIP for each in pods(numbers))
        assert all(len(each.endpoints) <= most for each in slices)
        again = plan(OWNER, META, slices, wanted, most=most)
        assert again == SlicePlan()
        assert len(slices) >= 1, "that there are no endpoints is said, too"


def test_one_pod_more_or_less_is_one_slice_written() -> None:
    slices = carried_out([], plan(OWNER, META, [], of_service(service(), pods(set(range(250))), {})))
    assert sorted(len(each.endpoints) for each in slices) == [50, 100, 100]
    more = plan(OWNER, META, slices, of_service(service(), pods(set(range(251))), {}))
    assert [len(each.endpoints) for each in more.update] == [51]
    less = plan(OWNER, META, slices, of_service(service(), pods(set(range(1, 250))), {}))
    assert (len(less.create), len(less.update), len(less.delete)) == (0, 1, 0)
    swapped = plan(OWNER, META, slices, of_service(service(), pods(set(range(1, 251))), {}))
    assert len(swapped.update) == 1, "what is new goes where something went"


def test_slices_that_go_become_those_that_come() -> None:
    """Upstream's finalize: "If there are slices to create and delete, change the creates to updates of the slices that
    would otherwise be deleted." """
    empty = carried_out([], plan(OWNER, META, [], {}))
    first = plan(OWNER, META, empty, of_service(service(), pods({1}), {}))
    assert (len(first.create), [each.name for each in first.update], first.delete) == (0, [empty[0].name], [])
    full = carried_out(empty, first)
    assert [port.port for port in full[0].ports] == [80]
    last = plan(OWNER, META, full, {})
    assert (len(last.create), [each.name for each in last.update], last.delete) == (0, [empty[0].name], [])
    assert (last.update[0].endpoints, last.update[0].ports) == ([], [])
    six = plan(
        OWNER,
        META,
        full,
        {("IPv6", ()): of_subsets([EndpointSubset(addresses=[EndpointAddress(ip="::1")])])["IPv6", ()]},
    )
    assert (len(six.create), six.update, len(six.delete)) == (1, [], 1), "the type of addresses cannot be changed"
    strange = full[0].clone()
    strange.metadata.ownerReferences = []
    other = plan(OWNER, META, [strange], {})
    assert (len(other.create), other.update, len(other.delete)) == (1, [], 1), "it is another service's"


def test_what_does_not_fit_into_one_slice_is_a_new_one() -> None:
    """Upstream: "we try to fit the endpoints in a single existing slice. If there are no slices with that capacity, we
    create new slices for the endpoints." """
    slices = carried_out([], plan(OWNER, META, [], of_service(service(), pods(set(range(95))), {})))
    wanted = of_service(service(), pods(set(range(105))), {})
    more = plan(OWNER, META, slices, wanted)
    assert ([len(each.endpoints) for each in more.create], more.update) == ([10], [])
    slices = carried_out(slices, more)
    fitting = plan(OWNER, META, slices, of_service(service(), pods(set(range(110))), {}))
    assert (fitting.create, [len(each.endpoints) for each in fitting.update]) == ([], [100])


def test_a_slice_that_was_made_twice_goes() -> None:
    wanted = of_service(service(), pods({1, 2}), {})
    twins = [carried_out([], plan(OWNER, META, [], wanted))[0] for _ in "ab"]
    todo = plan(OWNER, META, twins, wanted)
    assert (len(todo.create), len(todo.update), len(todo.delete)) == (0, 0, 1)


@pytest.mark.parametrize(
    ("words", "publish", "expected"),
    [
        pytest.param({}, False, (True, True, False), id="ready"),
        pytest.param({"ready": False}, False, (False, False, False), id="not ready"),
        pytest.param({"deleting": True}, False, (False, True, True), id="serves on while it terminates"),
        pytest.param({"ready": False}, True, (True, False, False), id="published though not ready"),
    ],
)
def test_conditions(words: dict[str, object], publish: bool, expected: tuple[bool, bool, bool]) -> None:
    groups = of_service(service(publish_not_ready=publish), [web("a", "10.0.0.1", **words)], {"n": "west"})
    (((_, _), (endpoint,)),) = groups.items()
    said = endpoint.conditions
    assert (said.ready, said.serving, said.terminating) == expected
    assert (endpoint.nodeName, endpoint.zone) == ("n", "west")


def test_pods_that_offer_different_ports_stand_apart() -> None:
    named = service(ports=[ServicePort(name="http", port=80, targetPort="http", protocol="TCP")])

    def offering(name: str, ip: str, number: int) -> Pod:
        spec = PodSpec(containers=[container(ports=[ContainerPort(name="http", containerPort=number)])])
        return web(name, ip, spec=spec)

    groups = of_service(
        named, [offering("a", "10.0.0.1", 80), offering("b", "10.0.0.2", 8080), web("c", "1.1.1.1")], {}
    )
    assert {ports and ports[0][2]: len(found) for (_, ports), found in groups.items()} == {80: 1, 8080: 1, (): 1}


def test_a_named_port_may_be_that_of_a_sidecar() -> None:
    """Upstream's FindPort: containers first, then init containers that are restarted always."""
    named = service(ports=[ServicePort(name="http", port=80, targetPort="http", protocol="TCP")])
    port = [ContainerPort(name="http", containerPort=8080)]
    init, sidecar = (container(ports=port, name=name) for name in ("init", "sidecar"))
    sidecar.restartPolicy = "Always"

    def numbers(*containers: Container, first: Sequence[Container] = ()) -> list[int | None]:
        spec = PodSpec(containers=list(containers), initContainers=list(first))
        return [port[2] for _, ports in of_service(named, [web("a", "1.1.1.1", spec=spec)], {}) for port in ports]

    assert numbers(container(), first=[sidecar]) == [8080]
    assert numbers(container(), first=[init]) == []
    assert numbers(container(ports=[ContainerPort(name="http", containerPort=80)]), first=[sidecar]) == [80]


# The controllers


async def slices(api: MemoryApi) -> list[EndpointSlice]:
    return (await api.list(EndpointSlice)).items


def writes(api: MemoryApi) -> list[str]:
    return [verb for verb, kind, _ in api.writes if kind == "EndpointSlice"]


@pytest.mark.looptime
async def test_a_service_gets_slices_that_it_owns(api: MemoryApi) -> None:
    await api.create(node("n", labels={"topology.kubernetes.io/zone": "west"}))
    await api.create(web("a", "10.0.0.1"))
    made = await api.create(service(labels={"tier": "front"}))
    async with controllers(api, SLICE):
        await asyncio.sleep(1)
    (only,) = await slices(api)
    assert only.metadata.labels == {
        "tier": "front",
        SERVICE_NAME: "web",
        MANAGED_BY: "endpointslice-controller.k8s.io",
    }
    assert only.metadata.ownerReferences[0].uid == made.metadata.uid
    assert only.addressType == "IPv4"
    assert [endpoint.zone for endpoint in only.endpoints] == ["west"]
    assert [(port.name, port.port, port.protocol) for port in only.ports] == [("", 80, "TCP")]


@pytest.mark.looptime
async def test_a_burst_is_a_few_writes_and_nothing_new_none(api: MemoryApi) -> None:
    await api.create(service())
    async with MemoryNode(api, EtcdSources(api.store)).running(), controllers(api, SLICE):
        await asyncio.sleep(1)
        for number in range(50):
            await api.create(pod(f"p{number}", labels={"app": "web"}))
        await until(lambda: all_there(api, 50))
        assert len(writes(api)) <= 12, "the node makes them ready eight at a time"
        before = len(api.writes)
        await asyncio.sleep(60)
        assert len(api.writes) == before


async def all_there(api: MemoryApi, count: int) -> bool:
    return sum(bool(e.conditions.ready) for each in await slices(api) for e in each.endpoints) == count


def lose_answers(api: MemoryApi, rng: random.Random) -> None:
    """Three writes of slices take effect, and nobody hears of it."""
    left = 3

    def lost(verb: str, model: type[object], key: str) -> Exception | None:
        nonlocal left
        if model is EndpointSlice and left and rng.random() < 0.3:
            left -= 1
            return TimeoutError("no answer")
        return None

    api.fail_after = lost


@pytest.mark.looptime
@pytest.mark.parametrize("seed", range(4))
async def test_exactly_the_pods_with_stale_caches_lost_answers_and_restarts(api: MemoryApi, seed: int) -> None:
    rng = random.Random(seed)
    lose_answers(api, rng)
    await api.create(service())
    options = Options(controllers=(SLICE,), max_endpoints_per_slice=5)
    present: set[int] = set()
    for _ in range(3):
        async with controllers(api, sources=LaggingSources(EtcdSources(api.store), seed), options=options):
            for number in rng.sample(range(40), 10):
                if number in present:
                    await api.delete(Pod, f"p{number}", "default", grace_period=0)
                    present.discard(number)
                else:
                    await api.create(web(f"p{number}", f"10.0.0.{number + 1}"))
                    present.add(number)
                await asyncio.sleep(rng.uniform(0, 0.3))
    async with controllers(api, options=options):
        await asyncio.sleep(10)
    assert addresses(await slices(api)) == Counter(f"10.0.0.{number + 1}" for number in present)


@pytest.mark.looptime
async def test_the_moment_of_the_change_is_told(api: MemoryApi) -> None:
    made = service()
    made.metadata.creationTimestamp = NOON
    await api.create(made)
    async with controllers(api, SLICE, "endpoint"):
        await asyncio.sleep(1)
        (only,) = await slices(api)
        assert only.metadata.annotations == {ANNOTATION: "2026-06-01T12:00:00Z"}
        endpoints = await api.get(Endpoints, "web", "default")
        assert endpoints.metadata.annotations == {ANNOTATION: "2026-06-01T12:00:00Z"}


@pytest.mark.looptime
async def test_hand_made_endpoints_are_mirrored_and_go_with_them(api: MemoryApi) -> None:
    await api.create(service("db", selector={}))
    subset = EndpointSubset(
        addresses=[EndpointAddress(ip="10.9.0.1"), EndpointAddress(ip="fd00::1")],
        notReadyAddresses=[EndpointAddress(ip="10.9.0.2")],
        ports=[EndpointPort(name="sql", port=5432, protocol="TCP")],
    )
    annotations = {"by": "hand", ANNOTATION: "2026-06-01T12:00:00Z", LAST_APPLIED: "{}"}
    made = ObjectMeta(name="db", namespace="default", labels={"tier": "back"}, annotations=annotations)
    await api.create(Endpoints(metadata=made, subsets=[subset]))
    skipped = ObjectMeta(name="not", namespace="default", labels={"endpointslice.kubernetes.io/skip-mirror": "true"})
    await api.create(Endpoints(metadata=skipped, subsets=[subset]))
    await api.create(service("not", selector={}))
    async with controllers(api, SLICE, MIRROR):
        await asyncio.sleep(1)
        found = {each.addressType: each for each in await slices(api)}
        assert {kind: [e.conditions.ready for e in s.endpoints] for kind, s in found.items()} == {
            "IPv4": [True, False],
            "IPv6": [True],
        }
        assert {s.metadata.labels[MANAGED_BY] for s in found.values()} == {"endpointslicemirroring-controller.k8s.io"}
        assert {s.metadata.labels["tier"] for s in found.values()} == {"back"}
        assert [s.metadata.annotations for s in found.values()] == [{"by": "hand"}] * 2
        await api.patch(Endpoints, "db", "default", {"metadata": {"annotations": {"by": None, "for": "us"}}})
        await asyncio.sleep(1)
        assert [s.metadata.annotations for s in await slices(api)] == [{"for": "us"}] * 2
        changed = await api.get(Endpoints, "db", "default")
        changed.subsets[0].addresses = []
        changed.subsets[0].notReadyAddresses = [EndpointAddress(ip="10.9.0.9")]
        await api.update(changed)
        await asyncio.sleep(1)
        assert addresses(await slices(api)) == Counter(["10.9.0.9"])
        await api.delete(Service, "db", "default")
        await asyncio.sleep(1)
        assert await slices(api) == []


@pytest.mark.looptime
@pytest.mark.parametrize("seed", range(4))
async def test_hand_made_endpoints_are_mirrored_with_stale_caches_lost_answers_and_restarts(
    api: MemoryApi, seed: int
) -> None:
    rng = random.Random(seed)
    lose_answers(api, rng)
    await api.create(service("db", selector={}))
    await api.create(Endpoints(metadata=ObjectMeta(name="db", namespace="default")))
    ips: list[str] = []
    for _ in range(3):
        async with controllers(api, MIRROR, sources=LaggingSources(EtcdSources(api.store), seed)):
            for number in range(5):
                ips = [f"10.9.0.{rng.randrange(1, 99)}" for _ in range(rng.randrange(4))]
                subsets = [EndpointSubset(addresses=[EndpointAddress(ip=ip) for ip in sorted({*ips})])] if ips else []
                changed = await api.get(Endpoints, "db", "default")
                changed.subsets, changed.metadata.annotations = subsets, {"number": str(number)}
                await api.update(changed)
                await asyncio.sleep(rng.uniform(0, 2))
    async with controllers(api, MIRROR):
        await asyncio.sleep(10)
        assert addresses(await slices(api)) == Counter({*ips})
        assert all(each.metadata.annotations == {"number": "4"} for each in await slices(api))
        before = len(api.writes)
        await asyncio.sleep(60)
        assert len(api.writes) == before


@pytest.mark.looptime
async def test_nothing_is_remembered_of_services_that_are_gone(api: MemoryApi) -> None:
    async with controllers(api, SLICE, MIRROR) as running:
        for name in "abc":
            await api.create(service(name, selector={} if name == "a" else None))
        await asyncio.sleep(10)
        for name in "abc":
            await api.delete(Service, name, "default")
        await asyncio.sleep(10)
        for each in running.values():
            assert each._writer._written == each._writer._patience == {}  # type: ignore[attr-defined]
