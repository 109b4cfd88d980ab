"""Volumes: which disks cannot be on one node twice, and which nodes a claim's volume can be reached from.

Claims are only stored here, and nobody binds or provisions them; but a claim that is bound, by hand or by somebody
else's controller, keeps its pods on the nodes that its volume can be reached from.
(pkg/scheduler/framework/plugins: volumerestrictions, volumebinding, volumezone, nodevolumelimits)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from pydantic import ValidationError

from kube.api.core import Pod
from kube.api.meta import Object, key
from kube.api.nodeaffinity import RequiredNodes
from kube.api.placement import NodeSelector
from kube.api.unstructured import Unstructured
from kube.scheduler.changes import ClusterChange
from kube.scheduler.framework import Check, Filter, GlobalFilter, Refusal
from kube.scheduler.nodeinfo import NodeInfo
from kube.scheduler.podinfo import PodInfo, claim_name

TOPOLOGY: Mapping[str, str] = {
    "topology.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region": "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
"""The labels that say where a volume or a node is, and what each is called today."""


class VolumeRestrictions(Filter):
    """No disk of the pod may be in use on the node by another pod, unless both only read (v1.0: NoDiskConflict).

    Google's disks, iSCSI and Ceph may be shared by readers, Amazon's volumes by nobody.
    """

    name = "VolumeRestrictions"
    helped_by = ClusterChange.POD_REMOVED
    _REFUSAL = Refusal(("node(s) had no available disk",), resolvable=True)

    def sign(self, pod: PodInfo) -> Hashable:
        return pod.cls.disks

    def for_pod(self, pod: PodInfo) -> Check | None:
        disks = pod.cls.disks

        def check(node: NodeInfo) -> Refusal | None:
            for other in node.with_volumes.values():
                if any(mine.conflicts(theirs) for mine in disks for theirs in other.cls.disks):
                    return self._REFUSAL
            return None

        return check if disks else None


class NodeVolumeLimits(Filter):
    """A node that says how many volumes of a kind can be attached to it gets no more (`attachable-volumes-*`)."""

    name = "NodeVolumeLimits"
    helped_by = ClusterChange.POD_REMOVED | ClusterChange.NODE_ALLOCATABLE
    KINDS: Mapping[str, str] = {"gce": "attachable-volumes-gce-pd", "aws": "attachable-volumes-aws-ebs"}
    _REFUSAL = Refusal(("node(s) exceed max volume count",), resolvable=True)

    def sign(self, pod: PodInfo) -> Hashable:
        return pod.cls.disks

    def for_pod(self, pod: PodInfo) -> Check | None:
        wanted = {(disk.kind, disk.names) for disk in pod.cls.disks if disk.kind in self.KINDS}

        def check(node: NodeInfo) -> Refusal | None:
            there = {(disk.kind, disk.names) for other in node.with_volumes.values() for disk in other.cls.disks}
            for kind, resource in self.KINDS.items():
                limit = node.allocatable.get(resource)
                if limit is None or not any(each[0] == kind for each in wanted):
                    continue
                if sum(each[0] == kind for each in there | wanted) > limit:
                    return self._REFUSAL
            return None

        return check if wanted else None


Get = Callable[[str], Object | None]
"""An object by its key."""


def _nothing(key: str) -> Object | None:
    return None


class VolumeBinding(GlobalFilter):
    """Each claim must exist and be bound, to a volume that exists and can be reached from the node.

    A claim that waits for its first consumer would be bound now; nobody here does that.
    """

    name = "VolumeBinding"
    helped_by = ClusterChange.VOLUME | ClusterChange.NODE_LABELS
    MISSING = Refusal(("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",))
    UNBOUND = Refusal(("node(s) didn't find available persistent volumes to bind",))
    CONFLICT = Refusal(("node(s) had volume node affinity conflict",))
    ZONE = Refusal(("node(s) had no available volume zone",))

    def __init__(self, claims: Get = _nothing, volumes: Get = _nothing, classes: Get = _nothing) -> None:
        self._claims, self._volumes, self._classes = claims, volumes, classes

    def sign(self, pod: PodInfo) -> Hashable:
        found = [self._claims(key(pod.cls.namespace, claim)) for claim in pod.cls.claims]
        bound = [self._volumes(_volume(claim)) for claim in found if claim is not None]
        return tuple([(each.key, each.metadata.resourceVersion) for each in (*found, *bound) if each is not None])

    def refused(self, pod: PodInfo) -> Refusal | None:
        unbound = False
        for volume in pod.pod.spec.volumes if pod.cls.claims else ():
            name = claim_name(pod.pod, volume)
            if name is None:
                continue
            claim = self._claims(key(pod.cls.namespace, name))
            if why := _unusable(claim, name, for_pod=pod.pod if volume.ephemeral is not None else None):
                return Refusal((why,))
            assert claim is not None
            unbound = unbound or (not _volume(claim) and not self._waits(claim))
        return Refusal(("pod has unbound immediate PersistentVolumeClaims",)) if unbound else None

    def for_pod(self, pod: PodInfo) -> Check | None:
        if not pod.cls.claims:
            return None
        found = [self._claims(key(pod.cls.namespace, claim)) for claim in pod.cls.claims]
        names = [_volume(claim) if claim is not None else "" for claim in found]
        volumes = [self._volumes(name) if name else None for name in names]
        affinities = [_affinity(volume) for volume in volumes if volume is not None]
        zones = [_zones(volume) for volume in volumes if volume is not None]

        def check(node: NodeInfo) -> Refusal | None:
            for name, volume in zip(names, volumes, strict=True):
                if volume is None:
                    return self.MISSING if name else self.UNBOUND
            if any(affinity is not None and not affinity.match(node.known) for affinity in affinities):
                return self.CONFLICT
            labels = node.known.metadata.labels
            if any(zones) and any(label in labels for label in TOPOLOGY):
                for zone in zones:
                    # A volume may still bear the old label where the node has the present one.
                    if any(labels.get(old, labels.get(TOPOLOGY[old])) not in values for old, values in zone.items()):
                        return self.ZONE
            return None

        return check

    def _waits(self, claim: Object) -> bool:
        storage_class = self._classes(str(_part(claim, "spec").get("storageClassName") or ""))
        mode = storage_class.part("volumeBindingMode") if isinstance(storage_class, Unstructured) else None
        return bool(mode == "WaitForFirstConsumer")


def _unusable(claim: Object | None, name: str, *, for_pod: Pod | None) -> str:
    """Why no node can help a pod with this claim; `for_pod`: the one that the claim must have been made for."""
    if claim is None:
        if for_pod is not None:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
        return f'persistentvolumeclaim "{name}" not found'
    if _part(claim, "status").get("phase") == "Lost":
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{_volume(claim)}"'
    if claim.metadata.deletionTimestamp is not None:
        return f'persistentvolumeclaim "{name}" is being deleted'
    if for_pod is not None:
        owner = claim.metadata.controller()
        if owner is None or owner.uid != for_pod.metadata.uid:
            return f"PVC {claim.key} was not created for pod {for_pod.key} (pod is not owner)"
    return ""


def _part(obj: Object | None, name: str) -> Mapping[str, Any]:
    part = obj.part(name) if isinstance(obj, Unstructured) else None
    return part if isinstance(part, Mapping) else {}


def _volume(claim: Object) -> str:
    return str(_part(claim, "spec").get("volumeName") or "")


def _affinity(volume: Object) -> RequiredNodes | None:
    affinity = _part(volume, "spec").get("nodeAffinity")
    required = affinity.get("required") if isinstance(affinity, Mapping) else None
    if not isinstance(required, Mapping):
        return None
    try:
        return RequiredNodes(frozenset(), NodeSelector.parse(required).nodeSelectorTerms)
    except ValidationError:
        return RequiredNodes(frozenset(), [])  # what cannot be read is met by no node


def _zones(volume: Object) -> dict[str, frozenset[str]]:
    """The zones that a volume's own labels name; several are separated by `__`."""
    labels = volume.metadata.labels
    named = {label: [part.strip() for part in labels[label].split("__")] for label in TOPOLOGY if label in labels}
    return {label: frozenset(parts) for label, parts in named.items() if all(parts)}
