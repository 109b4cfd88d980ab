"""Pods: the node's copy that a kubelet watches, graceful deletion, binding."""

from __future__ import annotations

from kube.api import errors
from kube.api.core import Binding, Pod, PodCondition, PodStatus
from kube.api.meta import now
from kube.api.qos import qos_class
from kube.api.resources import Resource
from kube.apiserver.registry.admission import PodAdmission
from kube.apiserver.registry.strategy import Companions, Strategy
from kube.store import keys
from kube.store.store import Delete, Put

TERMINAL = ("Succeeded", "Failed")

SCHEDULING_GATED = PodCondition(
    type="PodScheduled",
    status="False",
    reason="SchedulingGated",
    message="Scheduling is blocked due to non-empty scheduling gates",
)


class PodStrategy(Strategy):
    """Pods."""

    returns_deleted = True
    counts_generations = True

    def __init__(self, resource: Resource, admission: PodAdmission) -> None:
        super().__init__(resource)
        self._admission = admission

    def admit(self, obj: Pod) -> None:
        self._admission.admit(obj)
        obj.status.qosClass = qos_class(obj)

    def patience(self, obj: Pod) -> float:
        return self._admission.patience(obj)

    def prepare_create(self, obj: Pod) -> None:
        super().prepare_create(obj)
        obj.status = PodStatus(phase="Pending")  # its class of service: see admit(), which may add to what is asked for
        if obj.spec.schedulingGates:
            obj.status.conditions = [SCHEDULING_GATED.clone()]

    def prepare_status(self, new: Pod, old: Pod) -> None:
        super().prepare_status(new, old)
        # It is given once and for all: a client that does not know of it leaves it out.
        if not new.status.qosClass:
            new.status.qosClass = old.status.qosClass

    def companions(self, new: Pod | None, old: Pod | None, value: bytes = b"") -> Companions:
        """The copy under the pod's node.

        It is written with the binding, and again when what a kubelet acts on changes: spec, metadata, deletion, and the
        end of a pod that is not being deleted (a restarted kubelet must not run it again); not at every write of the
        status.
        """
        companions = Companions()
        if new is None:
            if old is not None and old.spec.nodeName:
                key = keys.bound_pod_key(old.spec.nodeName, old.metadata.namespace, old.metadata.name)
                companions.ops.append(Delete(key))
        elif new.spec.nodeName and (old is None or self._kubelet_acts_on(new, old)):
            key = keys.bound_pod_key(new.spec.nodeName, new.metadata.namespace, new.metadata.name)
            companions.ops.append(Put(key, value))
        return companions

    @staticmethod
    def _kubelet_acts_on(new: Pod, old: Pod) -> bool:
        deleted = new.metadata.deletionTimestamp is not None
        ended = new.status.phase in TERMINAL and old.status.phase not in TERMINAL and not deleted
        same = new.metadata.equals(old.metadata, but=("resourceVersion", "managedFields"))
        return ended or not same or new.spec != old.spec

    def grace(self, obj: Pod, asked: int | None) -> int:
        """Only a pod that a kubelet may be running is given time (pkg/registry/core/pod/strategy.go)."""
        if not obj.spec.nodeName or obj.status.phase in TERMINAL:
            return 0
        period = obj.spec.terminationGracePeriodSeconds if asked is None else asked
        return 1 if period is not None and period < 0 else period or 0


def bind(pod: Pod, binding: Binding) -> Pod:
    """The pod on its node. Raises Conflict, with upstream's words, if it has one already or is going away."""
    name = pod.metadata.name
    node = binding.target.name
    for what, wanted, found in (
        ("UID", binding.metadata.uid, pod.metadata.uid),
        ("ResourceVersion", binding.metadata.resourceVersion, pod.metadata.resourceVersion),
    ):
        if wanted and wanted != found:
            why = f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            raise errors.conflict("pods/binding", name, why)
    if pod.metadata.deletionTimestamp is not None:
        raise errors.conflict("pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if pod.spec.nodeName:
        raise errors.conflict("pods/binding", name, f'pod {name} is already assigned to node "{pod.spec.nodeName}"')
    if pod.spec.schedulingGates:
        raise errors.conflict("pods/binding", name, f"pod {name} has non-empty .spec.schedulingGates")
    bound = pod.clone()
    bound.spec.nodeName = node
    bound.metadata.annotations = {**bound.metadata.annotations, **binding.metadata.annotations}
    scheduled = PodCondition(type="PodScheduled", status="True", lastTransitionTime=now())
    bound.status.conditions = [c for c in bound.status.conditions if c.type != "PodScheduled"] + [scheduled]
    return bound
