"""What exists from the first start: the namespaces that everything else is in, and the system's priority classes."""

from __future__ import annotations

import asyncio
import logging

from kube.api import errors
from kube.api.core import Namespace
from kube.api.meta import Object, ObjectMeta
from kube.api.resources import NAMESPACES, PRIORITY_CLASSES, Resource
from kube.apiserver.registry.priorities import system_classes
from kube.apiserver.verbs import Verbs
from kube.store.store import Unavailable

log = logging.getLogger(__name__)

SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


async def create_namespaces(verbs: Verbs) -> None:
    """Create the namespaces that are missing; several apiservers may do so at once. Tries until the store answers."""
    for name in SYSTEM_NAMESPACES:
        await _ensure(verbs, NAMESPACES, Namespace(metadata=ObjectMeta(name=name)))


async def create_priority_classes(verbs: Verbs) -> None:
    """Create the priority classes that are missing, in the same way."""
    for each in system_classes():
        await _ensure(verbs, PRIORITY_CLASSES, each)


async def _ensure(verbs: Verbs, resource: Resource, obj: Object) -> None:
    while True:
        try:
            await verbs.get(resource, "", obj.name)
        except errors.NotFound:
            try:
                await verbs.create(resource, "", obj)
                log.info("created %s name=%s", resource.singular, obj.name)
            except errors.AlreadyExists:
                pass
            except Unavailable:
                await asyncio.sleep(0.2)
                continue
        except (Unavailable, errors.ServiceUnavailable, errors.Timeout):
            await asyncio.sleep(0.2)
            continue
        return
