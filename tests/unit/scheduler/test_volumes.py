"""Disks and claims against upstream's rules."""

from __future__ import annotations

from typing import Any

import pytest

from kube.api import resources
from kube.api.core import Node, Pod, PodSpec
from kube.api.meta import Object, OwnerReference
from kube.scheduler.algorithm import Algorithm, Unschedulable
from kube.scheduler.cache import Cache
from kube.scheduler.framework import Profile
from kube.scheduler.podinfo import PodInfo
from kube.scheduler.volumes import NodeVolumeLimits, VolumeBinding, VolumeRestrictions
from tests.objects import container, node, pod


def using(name: str, *volumes: dict[str, Any], on: str = "") -> Pod:
    described = [{"name": f"v{i}", **volume} for i, volume in enumerate(volumes)]
    return pod(name, node=on, spec=PodSpec.parse({"containers": [container().to_dict()], "volumes": described}))


def gce(name: str, read_only: bool = False) -> dict[str, Any]:
    return {"gcePersistentDisk": {"pdName": name, "readOnly": read_only}}


def aws(name: str) -> dict[str, Any]:
    return {"awsElasticBlockStore": {"volumeID": name, "readOnly": True}}


def rbd(*monitors: str) -> dict[str, Any]:
    return {"rbd": {"monitors": [*monitors], "pool": "p", "image": "i"}}


def said(asking: Pod, *there: Pod, filter_: Any, on: Node | None = None) -> str:
    cache = Cache()
    cache.set_node(on or node("n"))
    for each in there:
        cache.set_pod(each)
    try:
        Algorithm(cache, [Profile("test", (filter_,), ())]).choose(PodInfo.of(asking))
    except Unschedulable as why:
        return str(why)
    return ""


DISK = "0/1 nodes are available: 1 node(s) had no available disk."


@pytest.mark.parametrize(
    ("wants", "has", "expected"),
    [
        pytest.param(gce("a"), gce("a"), DISK, id="one disk"),
        pytest.param(gce("a"), gce("b"), "", id="two disks"),
        pytest.param(gce("a", True), gce("a", True), "", id="two readers of Google's"),
        pytest.param(gce("a", True), gce("a"), DISK, id="a reader and a writer"),
        pytest.param(aws("a"), aws("a"), DISK, id="Amazon's are nobody else's, even to read"),
        pytest.param(rbd("m1", "m2"), rbd("m2", "m3"), DISK, id="Ceph by one monitor that both name"),
        pytest.param(rbd("m1"), rbd("m3"), "", id="another Ceph"),
    ],
)
def test_no_disk_conflict(wants: dict[str, Any], has: dict[str, Any], expected: str) -> None:
    """v1.0, admin: "NoDiskConflict: a pod can fit if the volumes it requests and those mounted do not conflict"."""
    assert said(using("p", wants), using("there", has, on="n"), filter_=VolumeRestrictions()) == expected


def test_volume_limits() -> None:
    limited = node("n")
    limited.status.allocatable = {**limited.status.allocatable, "attachable-volumes-aws-ebs": "2"}
    there = using("there", aws("a"), aws("b"), on="n")
    refused = "0/1 nodes are available: 1 node(s) exceed max volume count."
    assert said(using("p", aws("c")), there, filter_=NodeVolumeLimits(), on=limited) == refused
    assert said(using("p", aws("a")), there, filter_=NodeVolumeLimits(), on=limited) == "", "attached already"
    assert said(using("p", gce("c")), there, filter_=NodeVolumeLimits(), on=limited) == "", "of another kind"


def stored(resource: resources.Resource, name: str, namespace: str = "", **parts: Any) -> Object:
    labels = parts.pop("labels", {})
    return resource.model.parse({"metadata": {"name": name, "namespace": namespace, "labels": labels}, **parts})


def claim(status: dict[str, Any] | None = None, **spec: Any) -> Object:
    return stored(resources.PERSISTENT_VOLUME_CLAIMS, "data", "default", spec=spec, status=status or {})


REACHED_FROM_B = {"required": {"nodeSelectorTerms": [
    {"matchExpressions": [{"key": "host", "operator": "In", "values": ["b"]}]}
]}}  # fmt: skip


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        pytest.param([], 'persistentvolumeclaim "data" not found', id="no claim"),
        pytest.param(
            [claim(volumeName="v", status={"phase": "Lost"}), stored(resources.PERSISTENT_VOLUMES, "v", spec={})],
            'persistentvolumeclaim "data" bound to non-existent persistentvolume "v"', id="a lost claim",
        ),
        pytest.param([claim()], "pod has unbound immediate PersistentVolumeClaims", id="an unbound claim"),
        pytest.param(
            [claim(storageClassName="late"), stored(resources.STORAGE_CLASSES, "late",
                                                    volumeBindingMode="WaitForFirstConsumer")],
            "1 node(s) didn't find available persistent volumes to bind", id="one that waits for its first consumer",
        ),
        pytest.param(
            [claim(volumeName="v")],
            "1 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)", id="no volume",
        ),
        pytest.param([claim(volumeName="v"), stored(resources.PERSISTENT_VOLUMES, "v", spec={})], "", id="bound"),
        pytest.param(
            [claim(volumeName="v"), stored(resources.PERSISTENT_VOLUMES, "v", spec={"nodeAffinity": REACHED_FROM_B})],
            "1 node(s) had volume node affinity conflict", id="a volume of another node",
        ),
        pytest.param(
            [claim(volumeName="v"),
             stored(resources.PERSISTENT_VOLUMES, "v", labels={"topology.kubernetes.io/zone": "2__3"})],
            "1 node(s) had no available volume zone", id="a volume of other zones",
        ),
        pytest.param(
            [claim(volumeName="v"),
             stored(resources.PERSISTENT_VOLUMES, "v", labels={"topology.kubernetes.io/zone": "1__2"})],
            "", id="one of several zones",
        ),
    ],
)  # fmt: skip
def test_claims(objects: list[Object], expected: str) -> None:
    def of(resource: resources.Resource) -> Any:
        found = {each.key: each for each in objects if type(each) is resource.model}
        return found.get

    binding = VolumeBinding(
        of(resources.PERSISTENT_VOLUME_CLAIMS), of(resources.PERSISTENT_VOLUMES), of(resources.STORAGE_CLASSES)
    )
    asking = using("p", {"persistentVolumeClaim": {"claimName": "data"}})
    here = node("n", labels={"host": "a", "topology.kubernetes.io/zone": "1"})
    assert said(asking, filter_=binding, on=here) == (f"0/1 nodes are available: {expected}." if expected else "")


ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
OLD_ZONE, OLD_REGION = "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region"


@pytest.mark.parametrize(
    ("volume", "on", "fits"),
    [
        pytest.param({ZONE: "1"}, {ZONE: "1"}, True, id="the zone"),
        pytest.param({ZONE: "1"}, {ZONE: "2"}, False, id="another zone"),
        pytest.param({ZONE: "1"}, {}, True, id="a node of no zone at all: a cluster of one zone"),
        pytest.param({ZONE: "1"}, {REGION: "r"}, False, id="a node of which a region is known, and no zone"),
        pytest.param({ZONE: "1", REGION: "r"}, {ZONE: "1", REGION: "s"}, False, id="both labels must be met"),
        pytest.param({OLD_ZONE: "1"}, {ZONE: "1"}, True, id="the volume's old label, by the node's present one"),
        pytest.param({OLD_ZONE: "1"}, {ZONE: "2"}, False, id="and another zone"),
        pytest.param({OLD_REGION: "r"}, {REGION: "s"}, False, id="and another region"),
        pytest.param({OLD_ZONE: "1"}, {OLD_ZONE: "1", ZONE: "2"}, True, id="the node's own old label goes first"),
        pytest.param({ZONE: "1"}, {OLD_ZONE: "1"}, False, id="but a present label of the volume's by no old one"),
        pytest.param({ZONE: "1__2"}, {ZONE: "2"}, True, id="one of several"),
        pytest.param({ZONE: "1__"}, {ZONE: "2"}, True, id="a label that cannot be read counts for nothing"),
    ],
)
def test_volume_zones(volume: dict[str, str], on: dict[str, str], fits: bool) -> None:
    """ "Any volume zone-labels must match the equivalent zone-labels on the node", if the node has any (volumezone)."""
    there = stored(resources.PERSISTENT_VOLUMES, "v", labels=volume)
    binding = VolumeBinding({"default/data": claim(volumeName="v")}.get, {"v": there}.get)
    asking = using("p", {"persistentVolumeClaim": {"claimName": "data"}})
    expected = "" if fits else "0/1 nodes are available: 1 node(s) had no available volume zone."
    assert said(asking, filter_=binding, on=node("n", labels=on)) == expected


def test_the_claim_of_an_ephemeral_volume_must_have_been_made_for_the_pod() -> None:
    asking = using("p", {"ephemeral": {"volumeClaimTemplate": {"spec": {}}}})
    found: dict[str, Object] = {}
    binding = VolumeBinding(found.get, {"v": stored(resources.PERSISTENT_VOLUMES, "v", spec={})}.get)
    waiting = 'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-v0"'
    assert said(asking, filter_=binding) == f"0/1 nodes are available: {waiting}."
    foreign = stored(resources.PERSISTENT_VOLUME_CLAIMS, "p-v0", "default", spec={"volumeName": "v"})
    found[foreign.key] = foreign
    not_ours = "PVC default/p-v0 was not created for pod default/p (pod is not owner)"
    assert said(asking, filter_=binding) == f"0/1 nodes are available: {not_ours}."
    foreign.metadata.ownerReferences = [
        OwnerReference(apiVersion="v1", kind="Pod", name="p", uid=asking.metadata.uid, controller=True)
    ]
    assert said(asking, filter_=binding) == ""
