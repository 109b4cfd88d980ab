"""The rules that an object must keep to be stored: upstream's, with upstream's words and paths.

An object is validated after its defaults were applied. Four entries, one for each way in which an object changes; each
answers with every rule that is broken, in upstream's order. What concerns several objects or the cluster (is the
address free, does the namespace exist) is the registry's, not this package's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kube.api import authentication, authorization, autoscaling, coordination, core, discovery
from kube.api.errors import FieldError
from kube.api.meta import Object
from kube.api.validation import (
    configuration,
    endpoints,
    endpointslices,
    events,
    nodes,
    pods,
    quotas,
    replicationcontrollers,
    reviews,
    services,
    stored,
)
from kube.api.validation.meta import Errors, object_meta_update

_NEW: dict[type[Object], Callable[[Any], Errors]] = {
    core.Pod: pods.validate,
    core.ReplicationController: replicationcontrollers.validate,
    core.Service: services.validate,
    core.Endpoints: endpoints.validate,
    core.Node: nodes.validate,
    core.Namespace: nodes.validate_namespace,
    core.Event: events.validate,
    core.Binding: pods.validate_binding,
    discovery.EndpointSlice: endpointslices.validate,
    authentication.TokenRequest: reviews.validate_token_request,
    authorization.SubjectAccessReview: reviews.validate,
    authorization.LocalSubjectAccessReview: reviews.validate,
    authorization.SelfSubjectAccessReview: reviews.validate_self,
    core.ConfigMap: configuration.validate_config_map,
    core.Secret: configuration.validate_secret,
    core.ServiceAccount: configuration.validate_service_account,
    core.LimitRange: quotas.validate_limit_range,
    core.ResourceQuota: quotas.validate_quota,
    core.PodTemplate: quotas.validate_pod_template,
    coordination.Lease: events.validate_lease,
    autoscaling.Scale: events.validate_scale,
}

_CHANGED: dict[type[Object], Callable[[Any, Any], Errors]] = {
    core.Pod: pods.validate_update,
    core.ReplicationController: replicationcontrollers.validate_update,
    core.Service: services.validate_update,
    core.Endpoints: endpoints.validate_update,
    core.Node: nodes.validate_update,
    core.Namespace: nodes.validate_namespace_update,
    core.Event: events.validate_update,
    discovery.EndpointSlice: endpointslices.validate_update,
    core.ConfigMap: configuration.validate_config_map_update,
    core.Secret: configuration.validate_secret_update,
    core.ServiceAccount: configuration.validate_service_account_update,
    core.LimitRange: quotas.validate_limit_range_update,
    core.ResourceQuota: quotas.validate_quota_update,
    core.PodTemplate: quotas.validate_pod_template_update,
    coordination.Lease: events.validate_lease_update,
}

_STATUS: dict[type[Object], Callable[[Any, Any], Errors]] = {
    core.Pod: pods.validate_status_update,
    core.ReplicationController: replicationcontrollers.validate_status_update,
    core.Service: services.validate_status_update,
    core.Node: nodes.validate_update,
    core.Namespace: nodes.validate_namespace_status_update,
    core.ResourceQuota: quotas.validate_quota_status_update,
}


def validate(obj: Object) -> list[FieldError]:
    """What is wrong with a new object."""
    function = _NEW.get(type(obj))
    return list(function(obj) if function else stored.validate(obj))


def validate_update(new: Object, old: Object) -> list[FieldError]:
    """What is wrong with a change of an object."""
    function = _CHANGED.get(type(new))
    return list(function(new, old) if function else object_meta_update(new.metadata, old.metadata))


def validate_status_update(new: Object, old: Object) -> list[FieldError]:
    """What is wrong with a change of an object's status, through the subresource `status`."""
    function = _STATUS.get(type(new))
    return list(function(new, old) if function else object_meta_update(new.metadata, old.metadata))


def validate_finalize(new: core.Namespace, old: core.Namespace) -> list[FieldError]:
    """What is wrong with a change of a namespace's finalizers, through the subresource `finalize`."""
    return list(nodes.validate_namespace_finalize(new, old))
