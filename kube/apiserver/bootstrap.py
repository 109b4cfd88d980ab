"""What exists from the first start: the namespaces that everything else is in."""

from __future__ import annotations

import asyncio
import logging

from kube.api import errors
from kube.api.core import Namespace
from kube.api.meta import ObjectMeta
from kube.api.resources import NAMESPACES
from kube.apiserver.verbs import Verbs
from kube.store.store import Unavailable

log = logging.getLogger(__name__)

SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


async def create_namespaces(verbs: Verbs) -> None:
    """Create the namespaces that are missing; several apiservers may do so at once. Tries until the store answers."""
    for name in SYSTEM_NAMESPACES:
        while True:
            try:
                await verbs.get(NAMESPACES, "", name)
            except errors.NotFound:
                try:
                    await verbs.create(NAMESPACES, "", Namespace(metadata=ObjectMeta(name=name)))
                    log.info("created namespace name=%s", name)
                except errors.AlreadyExists:
                    pass
                except Unavailable:
                    await asyncio.sleep(0.2)
                    continue
            except (Unavailable, errors.ServiceUnavailable, errors.Timeout):
                await asyncio.sleep(0.2)
                continue
            break
