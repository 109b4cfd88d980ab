"""The service account controller: every namespace has the account `default`, which pods run as that name none."""

from __future__ import annotations

import logging

from kube.api import errors
from kube.api.core import Namespace, ServiceAccount
from kube.api.meta import ObjectMeta
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller

log = logging.getLogger(__name__)

DEFAULT = "default"


class ServiceAccountController(Controller):
    """Makes default accounts. Its keys are namespaces."""

    def __init__(self, client: Client, informers: Informers, *, workers: int = 5) -> None:
        super().__init__("serviceaccount", workers)
        self._client = client
        self._namespaces, self._accounts = informers.of(Namespace), informers.of(ServiceAccount)
        self._namespaces.on_change(lambda old, new: self.queue.add(new.name) if new is not None else None)
        self._accounts.on_change(self._account_changed)

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get(key)
        if namespace is None or namespace.metadata.deletionTimestamp is not None:
            return None
        if self._accounts.get(f"{key}/{DEFAULT}") is not None:
            return None
        try:
            await self._client.create(ServiceAccount(metadata=ObjectMeta(name=DEFAULT, namespace=key)))
        except (errors.AlreadyExists, errors.NotFound, errors.Forbidden) as why:
            if isinstance(why, errors.Forbidden) and not errors.namespace_is_ending(why):
                raise
            # It is there, or the namespace is going.
            log.debug("not created", extra={"namespace": key, "reason": why})
        else:
            log.info("created the default service account", extra={"namespace": key})
        return None

    def _account_changed(self, old: ServiceAccount | None, new: ServiceAccount | None) -> None:
        if new is None and old is not None and old.name == DEFAULT:
            self.queue.add(old.namespace)
