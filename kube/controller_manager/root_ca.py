"""The root CA publisher: in every namespace, the config map by which pods know the apiserver (`kube-root-ca.crt`)."""

from __future__ import annotations

import logging

from kube.api import errors
from kube.api.core import ConfigMap, Namespace
from kube.api.meta import ObjectMeta
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller

log = logging.getLogger(__name__)

NAME = "kube-root-ca.crt"
DESCRIPTION = {
    "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using "
    "internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across "
    "distributions of Kubernetes clusters."
}


class RootCAPublisher(Controller):
    """Keeps the config map as it is to be. Its keys are namespaces."""

    def __init__(self, client: Client, informers: Informers, *, root_ca: str, workers: int = 5) -> None:
        """`root_ca`: certificates in PEM."""
        super().__init__("root-ca-cert-publisher", workers)
        self._client, self._data = client, {"ca.crt": root_ca}
        self._namespaces, self._maps = informers.of(Namespace), informers.of(ConfigMap)
        self._namespaces.on_change(lambda old, new: self.queue.add(new.name) if new is not None else None)
        self._maps.on_change(self._map_changed)

    async def reconcile(self, key: str) -> float | None:
        namespace, present = self._namespaces.get(key), self._maps.get(f"{key}/{NAME}")
        if namespace is None or namespace.metadata.deletionTimestamp is not None:
            return None
        try:
            if present is None:
                metadata = ObjectMeta(name=NAME, namespace=key, annotations=dict(DESCRIPTION))
                await self._client.create(ConfigMap(metadata=metadata, data=dict(self._data)))
            elif present.data != self._data or not all(map(present.metadata.annotations.get, DESCRIPTION)):
                changed = present.clone()
                changed.data = dict(self._data)
                changed.metadata.annotations |= DESCRIPTION
                await self._client.update(changed)
        except (errors.AlreadyExists, errors.NotFound, errors.Forbidden) as why:
            if isinstance(why, errors.Forbidden) and not errors.namespace_is_ending(why):
                raise
            # It is there, or gone, or the namespace is going: the cache will know.
            log.debug("not published", extra={"namespace": key, "reason": why})
        return None

    def _map_changed(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        found = new or old
        assert found is not None
        if found.name == NAME:
            self.queue.add(found.namespace)
