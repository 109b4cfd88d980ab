"""Rules for replication controllers."""

from __future__ import annotations

from kube.api import core, names
from kube.api.errors import field_forbidden, invalid, not_supported, required
from kube.api.validation import pods
from kube.api.validation.meta import Errors, non_negative, object_meta, object_meta_update


def validate(rc: core.ReplicationController) -> Errors:
    """A new replication controller."""
    yield from object_meta(rc.metadata, names.dns_subdomain)
    yield from _spec(rc.spec)


def validate_update(new: core.ReplicationController, old: core.ReplicationController) -> Errors:
    """A changed replication controller."""
    yield from object_meta_update(new.metadata, old.metadata)
    yield from _spec(new.spec)


def _spec(spec: core.ReplicationControllerSpec) -> Errors:
    yield from non_negative("spec.minReadySeconds", spec.minReadySeconds)
    if not spec.selector:
        yield required("spec.selector")
    yield from non_negative("spec.replicas", spec.replicas or 0)
    template = spec.template
    if template is None:
        yield required("spec.template")
        return
    labels = template.metadata.labels
    if any(labels.get(name) != value for name, value in spec.selector.items()):
        # It would make pods without end and never see one of them.
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from pods.template("spec.template", template)
    if template.spec.restartPolicy != "Always":
        yield not_supported("spec.template.spec.restartPolicy", template.spec.restartPolicy, ("Always",))
    if template.spec.activeDeadlineSeconds is not None:
        detail = "activeDeadlineSeconds in ReplicationController is not Supported"
        yield field_forbidden("spec.template.spec.activeDeadlineSeconds", detail)


def validate_status_update(new: core.ReplicationController, old: core.ReplicationController) -> Errors:
    """A replication controller whose status has changed."""
    yield from object_meta_update(new.metadata, old.metadata)
    status = new.status
    for name in ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"):
        yield from non_negative(f"status.{name}", getattr(status, name))
    for name in ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"):
        count: int = getattr(status, name)
        if count > status.replicas:
            yield invalid(f"status.{name}", count, "cannot be greater than status.replicas")
    if status.availableReplicas > status.readyReplicas:
        yield invalid("status.availableReplicas", status.availableReplicas, "cannot be greater than readyReplicas")
