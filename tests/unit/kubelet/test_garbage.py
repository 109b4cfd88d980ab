"""Dead containers and images that nobody needs: which they are, and that nothing else is removed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kube import daemon
from kube.api import errors
from kube.kubelet import options
from kube.kubelet.eviction import Level
from kube.kubelet.fake import Program
from kube.kubelet.garbage import ContainerPolicy, ImagePolicy, ImageRecord, removable, surplus, to_free
from kube.kubelet.garbage_collector import CollectionFailed, GarbageCollector
from kube.kubelet.pulled_images import PulledImages
from kube.kubelet.runtime import ContainerStatus, Image, RuntimeFailure, full_image_name
from tests.kubelet_node import FakeNode, container, is_ready, make_pod
from tests.unit.kubelet.seen import NOON, exited, running

POD, OTHER = make_pod("web", uid="u1"), make_pod("other", uid="u2")
LATER = NOON + timedelta(hours=1)


def dead(pod: Any, attempt: int, *, minutes: int) -> ContainerStatus:
    """A container that died; made so many minutes before LATER."""
    return exited(pod, attempt=attempt, id=f"{pod.name}-{attempt}", created_at=LATER - timedelta(minutes=minutes))


def ids(found: Iterable[ContainerStatus]) -> list[str]:
    return sorted(container.id for container in found)


MANY = [dead(POD, attempt, minutes=50 - attempt) for attempt in range(5)]
MORE = [dead(OTHER, attempt, minutes=30 - attempt) for attempt in range(3)]
POLICIES = {
    "the two newest of each stay": (ContainerPolicy(), MANY + MORE, set(), ["other-0", "web-0", "web-1", "web-2"]),
    "none has to stay": (ContainerPolicy(per_container=0), MORE, set(), ["other-0", "other-1", "other-2"]),
    "all may stay": (ContainerPolicy(per_container=-1, total=-1), MANY + MORE, set(), []),
    "an equal share, if there are too many": (
        ContainerPolicy(per_container=-1, total=4), MANY + MORE, set(), ["other-0", "web-0", "web-1", "web-2"],
    ),
    "then the oldest": (
        ContainerPolicy(total=1), MANY + MORE, set(),
        ["other-0", "other-1", "web-0", "web-1", "web-2", "web-3", "web-4"],
    ),
    "not the one that says that the pod has run": (
        ContainerPolicy(per_container=0, total=0), MORE, {"other-2"}, ["other-0", "other-1"],
    ),
    "a young one stays": (
        ContainerPolicy(per_container=0), [dead(POD, 0, minutes=2), dead(POD, 1, minutes=0)], set(), ["web-0"],
    ),
    "what runs is no garbage": (
        ContainerPolicy(per_container=0, total=0), [replace(running(POD), created_at=NOON)], set(), [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("policy", "containers", "needed", "gone"), POLICIES.values(), ids=POLICIES.keys())
def test_dead_containers_that_are_too_many(
    policy: ContainerPolicy, containers: list[ContainerStatus], needed: set[str], gone: list[str]
) -> None:
    assert ids(surplus(containers, needed, policy, LATER)) == gone


@pytest.mark.parametrize(
    ("available", "policy", "expected"),
    [
        pytest.param(11, ImagePolicy(), 0, id="below the high threshold"),
        pytest.param(10, ImagePolicy(), 10, id="at it: down to the low one"),
        pytest.param(0, ImagePolicy(), 20, id="full"),
        pytest.param(0, ImagePolicy(100, 0), 0, id="switched off"),
    ],
)
def test_how_much_is_to_be_freed(available: int, policy: ImagePolicy, expected: int) -> None:
    assert to_free(Level(available, 100), policy) == expected


def test_a_disk_without_a_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="invalid capacity 0 on image filesystem"):
        to_free(Level(0, 0), ImagePolicy())


def test_images_go_in_the_order_of_their_last_use() -> None:
    images = [
        Image(name, [f"{name}:1"], 5) for name in ("never", "long-ago", "lately", "used", "named", "young", "own")
    ]
    records = {
        "never": ImageRecord(10), "long-ago": ImageRecord(0, 50), "lately": ImageRecord(0, 90),
        "used": ImageRecord(0), "named": ImageRecord(0), "young": ImageRecord(180),
    }  # fmt: skip
    found = removable(images, {"used", "named:1"}, records, min_age=120, now=200)
    assert [image.id for image in found] == ["never", "long-ago", "lately"]


def test_what_was_pulled_is_known_after_a_restart(tmp_path: Path) -> None:
    pulled = PulledImages(tmp_path / "pulled.json")
    for id in ("a", "b"):
        pulled.add(id)
    pulled.keep({"b", "c"})
    assert PulledImages(tmp_path / "pulled.json").ids == {"b"}
    (tmp_path / "pulled.json").write_text("{")
    assert PulledImages(tmp_path / "pulled.json").ids == set(), "images stay, and nothing breaks"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--image-gc-high-threshold=101"], "from 0 to 100"),
        (["--image-gc-high-threshold=70"], "--image-gc-low-threshold=80 is higher"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(flags: list[str], words: str) -> None:
    with pytest.raises(daemon.Fatal, match=words):
        options.from_args(options.parser().parse_args(flags))


def collector(node: FakeNode, available: int = 100, **policies: Any) -> GarbageCollector:
    policies = {"containers": ContainerPolicy(min_age=0), "images": ImagePolicy(min_age=0), **policies}
    return GarbageCollector(
        "n", node.runtime, node.recorder, lambda: [*node.kubelet.workers.values()], node.pulled, "kube/pause",
        disk=lambda directory: Level(available, 100), clock=node.runtime.now, **policies,
    )  # fmt: skip


async def names(node: FakeNode) -> list[str]:
    return sorted(name for image in await node.runtime.list_images() for name in image.names)


@contextlib.asynccontextmanager
async def pulled(node: FakeNode) -> AsyncIterator[None]:
    """A pod runs whose image was pulled; at the end it is gone."""
    node.runtime.registry[full_image_name("far/away:1")] = Program()
    await node.create("puller", container(image="far/away:1"))
    await node.until(is_ready, "puller")
    yield
    await node.delete("puller", grace=0)
    await node.until_gone("puller")
    await node.until_runtime(lambda: "puller" not in {w.id.name for w in node.kubelet.workers.values()})


@pytest.mark.looptime
async def test_an_image_that_was_pulled_goes_when_nobody_uses_it_and_no_other_ever(node: FakeNode) -> None:
    node.runtime.images["somebody/else:1"] = Program()
    async with pulled(node):
        with pytest.raises(CollectionFailed, match="but only found 0 bytes eligible to free"):
            await collector(node, 5).collect_images()
        assert "far/away:1" in await names(node)
    await collector(node, 50).collect_images()
    assert "far/away:1" in await names(node), "there is room"
    await collector(node, 5).collect_images()
    assert await names(node) == ["kube/pause:latest", "kube/web:latest", "somebody/else:1"]
    assert node.pulled.ids, "it is forgotten at the next look"
    assert node.recorder.messages("FreeDiskSpaceFailed") == [
        "Failed to garbage collect required amount of images. Attempted to free 15 bytes, but only found 0 bytes "
        "eligible to free."
    ]


@pytest.mark.looptime
async def test_a_collection_that_fails_again_and_again_is_told(node: FakeNode) -> None:
    await node.until_runtime(lambda: node.kubelet.synced)
    node.runtime.fail("root", RuntimeFailure("no answer"), times=3)
    task = asyncio.create_task(collector(node).run())
    try:
        await node.until_runtime(lambda: len(node.recorder.messages("ImageGCFailed")) == 2, within=1000)
    finally:
        task.cancel()
    assert node.recorder.messages("ImageGCFailed") == ["no answer"] * 2, "not of the first time"


@pytest.mark.looptime
async def test_a_pod_that_fails_often_keeps_its_last_containers(node: FakeNode) -> None:
    node.runtime.programs[("false",)] = Program(exit_code=1)
    await node.create("web", container(command=["false"]))
    await node.until(
        lambda pod: bool(pod.status.containerStatuses) and pod.status.containerStatuses[0].restartCount == 4, within=400
    )
    assert len(await node.runtime.list_containers()) == 5
    await collector(node).collect_containers()
    assert [c.attempt for c in await node.runtime.list_containers()] == [4, 3]


@pytest.mark.looptime
async def test_garbage_goes_before_pods_do_and_a_pod_that_is_over_stays_over(node: FakeNode) -> None:
    node.runtime.programs[("true",)] = Program(exit_code=0)
    await node.create("done", container(command=["true"]), restartPolicy="Never")
    await node.until(lambda pod: pod.status.phase == "Succeeded", "done")
    async with pulled(node):
        pass
    await node.until_runtime(
        lambda: all(w.pod and w.pod.status.phase == "Succeeded" for w in node.kubelet.workers.values())
    )
    await collector(node).reclaim()
    assert "far/away:1" not in await names(node)
    assert await node.runtime.list_containers() == []
    await node.kill_kubelet()
    node.start_kubelet()
    await node.until_runtime(lambda: node.kubelet.synced)
    await asyncio.sleep(60)
    assert await node.runtime.list_containers() == [], "it is not begun again"
    with contextlib.suppress(errors.NotFound):
        assert (await node.pod("done")).status.phase == "Succeeded"
