"""What of the engine's containers and images is garbage: pure functions, by v1.0's rules and thresholds.

(v1.0/docs/admin/garbage-collection.md, pkg/kubelet/{container_gc,image_manager}.go)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kube.kubelet.eviction import Level
from kube.kubelet.pod_state import dead
from kube.kubelet.runtime import ContainerStatus, Image


@dataclass(frozen=True, slots=True)
class ContainerPolicy:
    """How many dead containers stay. A negative number: all of them."""

    min_age: float = 60.0
    """Seconds from its creation in which a container stays, however many there are."""
    per_container: int = 2
    """Of each container of a pod."""
    total: int = 100
    """Of the node."""


@dataclass(frozen=True, slots=True)
class ImagePolicy:
    """How full the disk may be, in percent."""

    high: int = 90
    """From here on images are removed; 100: never."""
    low: int = 80
    """Until here."""
    min_age: float = 120.0
    """Seconds from when it was first seen in which an image stays."""


@dataclass(slots=True)
class ImageRecord:
    """When an image was seen: first, and in use last (0: never). Seconds of one clock."""

    detected: float
    used: float = 0.0


def surplus(
    containers: Iterable[ContainerStatus], needed: Collection[str], policy: ContainerPolicy, now: datetime
) -> list[ContainerStatus]:
    """The dead containers that are too many.

    First each container of a pod keeps its newest; if there are still too many on the node, each keeps its equal share,
    and then the oldest go. `needed` are the ids of those that stay though they count: without the last container that
    a pod has had, nobody knows that it has run.
    """
    oldest_kept = now - timedelta(seconds=policy.min_age)
    units: dict[tuple[str, str], list[ContainerStatus]] = {}
    for container in containers:
        if dead(container) and container.created_at is not None and container.created_at <= oldest_kept:
            units.setdefault((container.pod.uid, container.name), []).append(container)
    for unit in units.values():
        unit.sort(key=_age)
    gone: list[ContainerStatus] = []

    def keep(number: int) -> None:
        for key, unit in units.items():
            surplus = [c for c in unit[number:] if c.id not in needed]
            gone.extend(surplus)
            units[key] = [c for c in unit if c not in surplus]

    def count() -> int:
        return sum(map(len, units.values()))

    if policy.per_container >= 0:
        keep(policy.per_container)
    if 0 <= policy.total < count():
        keep(max(1, policy.total // len(units)))
        left = sorted((c for unit in units.values() for c in unit), key=_age)
        gone += [c for c in left[policy.total :] if c.id not in needed]
    return gone


def _age(container: ContainerStatus) -> tuple[float, int]:
    """Sorts the newest first."""
    assert container.created_at is not None
    return -container.created_at.timestamp(), -container.attempt


def to_free(disk: Level, policy: ImagePolicy) -> int:
    """Bytes of images to remove now. Raises ValueError for a disk without a size."""
    if policy.high >= 100:
        return 0
    if not disk.capacity:
        raise ValueError("invalid capacity 0 on image filesystem")
    if 100 - disk.available * 100 // disk.capacity < policy.high:
        return 0
    return disk.capacity * (100 - policy.low) // 100 - disk.available


def removable(
    images: Sequence[Image], used: Collection[str], records: Mapping[str, ImageRecord], min_age: float, now: float
) -> list[Image]:
    """The images that may be removed, in this order: first who was used longest ago, and of them the oldest.

    `used` are ids and names of images that stay; an image without a record stays, too.
    """
    found = [
        image
        for image in images
        if (record := records.get(image.id)) is not None
        and now - record.detected >= min_age
        and image.id not in used
        and not any(name in used for name in image.names)
    ]
    return sorted(found, key=lambda image: (records[image.id].used, records[image.id].detected))
