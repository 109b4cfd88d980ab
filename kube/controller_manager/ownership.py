"""Changing whose an object is, without losing what somebody else changes at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from kube.api import errors
from kube.api.meta import Object, OwnerReference
from kube.client.rest import Client


async def set_owners(client: Client, obj: Object, owners: Sequence[OwnerReference]) -> bool:
    """Write an object's owners, if it is still what the caller has seen; False if it is gone, with nothing to do.

    Raises Conflict if it has changed meanwhile: the new list was made from the old one.
    """
    metadata = {
        "uid": obj.metadata.uid,
        "resourceVersion": obj.metadata.resourceVersion,
        "ownerReferences": [owner.to_dict() for owner in owners] or None,
    }
    try:
        await client.patch(type(obj), obj.name, obj.namespace, {"metadata": metadata})
    except errors.NotFound:
        return False
    return True
