"""Rules for events and leases, and for scales."""

from __future__ import annotations

from kube.api import autoscaling, coordination, core, names
from kube.api.errors import field_forbidden, invalid, not_supported, required
from kube.api.validation.meta import Errors, each, non_negative, object_meta, object_meta_update


def validate(event: core.Event) -> Errors:
    """An event, new or changed, in the older or (with an `eventTime`) the newer form."""
    mine, its = event.metadata.namespace, event.involvedObject.namespace
    field, detail = "involvedObject.namespace", "does not match event.namespace"
    if event.eventTime is None:
        if mine not in ("", "default") if not its else mine != its:
            yield invalid(field, its, detail)
    else:
        if not its and mine not in ("default", "kube-system"):
            yield invalid(field, its, detail)
        yield from _newer(event)
    yield from each("namespace", mine, names.dns_subdomain(mine))


def _newer(event: core.Event) -> Errors:
    reporter = event.reportingComponent
    if not reporter:
        yield required("reportingController")
    yield from each("reportingController", reporter, names.qualified(reporter))
    limits = (("reportingInstance", 128), ("action", 128), ("reason", 128))
    for name, limit in limits:
        value: str = getattr(event, name)
        if not value:
            yield required(name)
        if len(value.encode()) > limit:
            yield invalid(name, "", f"can have at most {limit} characters")
    if len(event.message.encode()) > 1024:
        yield invalid("message", "", "can have at most 1024 characters")


def validate_update(new: core.Event, old: core.Event) -> Errors:
    """A changed event; upstream asks no more than of a new one."""
    yield from validate(new)


def validate_lease(lease: coordination.Lease) -> Errors:
    """A new lease."""
    yield from object_meta(lease.metadata, names.dns_subdomain)
    yield from _lease_spec(lease.spec)


def validate_lease_update(new: coordination.Lease, old: coordination.Lease) -> Errors:
    """A changed lease."""
    yield from object_meta_update(new.metadata, old.metadata)
    yield from _lease_spec(new.spec)


def _lease_spec(spec: coordination.LeaseSpec) -> Errors:
    if spec.leaseDurationSeconds is not None and spec.leaseDurationSeconds <= 0:
        yield invalid("spec.leaseDurationSeconds", spec.leaseDurationSeconds, "must be greater than 0")
    if spec.leaseTransitions is not None and spec.leaseTransitions < 0:
        yield invalid("spec.leaseTransitions", spec.leaseTransitions, "must be greater than or equal to 0")
    if spec.strategy is not None:
        if "/" not in spec.strategy:
            if spec.strategy != "OldestEmulationVersion":
                yield not_supported("spec.strategy.strategy", spec.strategy, ("OldestEmulationVersion",))
        else:
            yield from each("spec.strategy.strategy", spec.strategy, names.qualified(spec.strategy))
    if spec.preferredHolder and not spec.strategy:
        yield field_forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined")


def validate_scale(scale: autoscaling.Scale) -> Errors:
    """A scale that was sent to the subresource `scale`."""
    yield from object_meta(scale.metadata, names.dns_subdomain)
    yield from non_negative("spec.replicas", scale.spec.replicas)
