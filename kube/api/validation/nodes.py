"""Rules for nodes and namespaces."""

from __future__ import annotations

from kube.api import core, names
from kube.api.errors import duplicate, field_forbidden, invalid
from kube.api.validation import addresses, amounts, placement
from kube.api.validation.meta import Errors, each, finalizer_name, object_meta, object_meta_update, shown


def validate(node: core.Node) -> Errors:
    """A new node."""
    yield from object_meta(node.metadata, names.dns_subdomain, namespaced=False)
    yield from _always(node)
    cidrs = node.spec.podCIDRs
    for i, cidr in enumerate(cidrs):
        yield from each(f"spec.podCIDRs[{i}]", cidr, names.cidr(cidr))
    families = [addresses.family(cidr.partition("/")[0]) for cidr in cidrs]
    if len(set(families)) < len(families):
        yield invalid("spec.podCIDRs", cidrs, "may specify no more than one CIDR for each IP family")


def _always(node: core.Node) -> Errors:
    # The path is upstream's.
    yield from placement.taints("metadata.taints", node.spec.taints)
    yield from amounts.capacity("status.capacity", node.status.capacity)
    yield from amounts.capacity("status.allocatable", node.status.allocatable)


def validate_update(new: core.Node, old: core.Node) -> Errors:
    """A changed node: what identifies it and its network stays."""
    yield from object_meta_update(new.metadata, old.metadata)
    yield from _always(new)
    for i, address in enumerate(new.status.addresses):
        if address in new.status.addresses[:i]:
            yield duplicate(f"status.addresses[{i}]", shown(address))
    if old.spec.podCIDRs and new.spec.podCIDRs != old.spec.podCIDRs:
        yield field_forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
    if old.spec.providerID and new.spec.providerID != old.spec.providerID:
        yield field_forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')
    if new.spec.externalID != old.spec.externalID:
        yield field_forbidden("spec.externalID", "may not be updated")


def validate_namespace(namespace: core.Namespace) -> Errors:
    """A new namespace."""
    yield from object_meta(namespace.metadata, names.dns_label, namespaced=False)
    for name in namespace.spec.finalizers:
        yield from _namespace_finalizer("spec.finalizers", name)


def _namespace_finalizer(field: str, name: str) -> Errors:
    yield from finalizer_name(field, name)
    if "/" not in name and name not in ("kubernetes", "orphan", "foregroundDeletion"):
        yield invalid(field, name, "name is neither a standard finalizer name nor is it fully qualified")


def validate_namespace_update(new: core.Namespace, old: core.Namespace) -> Errors:
    """A changed namespace."""
    yield from object_meta_update(new.metadata, old.metadata)


def validate_namespace_status_update(new: core.Namespace, old: core.Namespace) -> Errors:
    """A namespace whose status has changed: its phase says whether it is being deleted."""
    yield from object_meta_update(new.metadata, old.metadata)
    phase = new.status.phase
    if new.metadata.deletionTimestamp is None:
        if phase != "Active":
            yield invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty")
    elif phase != "Terminating":
        yield invalid("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")


def validate_namespace_finalize(new: core.Namespace, old: core.Namespace) -> Errors:
    """A namespace whose finalizers have changed, through the subresource `finalize`."""
    yield from object_meta_update(new.metadata, old.metadata)
    for i, name in enumerate(new.spec.finalizers):
        yield from _namespace_finalizer(f"spec.finalizers[{i}]", name)
