"""How one object names another."""

from __future__ import annotations

from kube.api.meta import AlwaysStr, Model, always


class ObjectReference(Model):
    """An object, or a part of one, that another object speaks of."""

    kind: str = ""
    """Kind of the object."""
    namespace: str = ""
    """Namespace of the object."""
    name: str = ""
    """Name of the object."""
    uid: str = ""
    """UID of the object."""
    apiVersion: str = ""
    """API version of the object."""
    resourceVersion: str = ""
    """The version of the object that is meant."""
    fieldPath: str = ""
    """The part that is meant, as `spec.containers{name}`."""


class LocalObjectReference(Model):
    """An object in the same namespace; its kind follows from the place."""

    name: str = ""
    """Name of the object."""


class TypedLocalObjectReference(Model):
    """An object of any kind in the same namespace."""

    apiGroup: str | None = None
    """API group of the object; none means the core."""
    kind: AlwaysStr = always()
    """Kind of the object."""
    name: AlwaysStr = always()
    """Name of the object."""


class TypedObjectReference(TypedLocalObjectReference):
    """An object of any kind in any namespace."""

    namespace: str | None = None
    """Namespace of the object; none means the same one."""


class SecretReference(Model):
    """A secret in any namespace."""

    name: str = ""
    """Name of the secret."""
    namespace: str = ""
    """Namespace of the secret."""
