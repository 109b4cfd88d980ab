"""Rules for the kinds that are only stored: those of the metadata, and no others."""

from __future__ import annotations

from kube.api import names, resources
from kube.api.meta import Object
from kube.api.validation.meta import Errors, object_meta

RBAC = "rbac.authorization.k8s.io"


def validate(obj: Object) -> Errors:
    """What is wrong with the metadata of a new object."""
    resource = resources.of(type(obj))
    # A role may be called system:node; its name need only be fit for a path.
    rule = names.path_segment if resource.group == RBAC else names.dns_subdomain
    yield from object_meta(obj.metadata, rule, namespaced=resource.namespaced)
