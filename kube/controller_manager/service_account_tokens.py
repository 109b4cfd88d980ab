"""The token controller: the content of Secrets of type `kubernetes.io/service-account-token`, and one for each account.

A Secret that somebody made for an account gets its token; every account has one of ours, listed under its `secrets`, as
Kubernetes had it from 1.0 to 1.23 (newer ones ask for tokens that expire instead, which the apiserver gives out too).
A Secret goes when its account has gone: it would be a key to nothing.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping

from kube import serviceaccount
from kube.api import errors
from kube.api.core import Namespace, ObjectReference, Secret, ServiceAccount
from kube.api.meta import ObjectMeta
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.controller_manager.controller import Controller
from kube.serviceaccount import Named, Signer

log = logging.getLogger(__name__)

TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
BY_ACCOUNT = "service account"


class TokenController(Controller):
    """Keeps token Secrets. Its keys are the accounts'."""

    def __init__(
        self, client: Client, informers: Informers, *, signer: Signer, root_ca: str = "", workers: int = 5
    ) -> None:
        super().__init__("serviceaccount-token", workers)
        self._client, self._signer, self._root_ca = client, signer, root_ca
        self._accounts, self._secrets = informers.of(ServiceAccount), informers.of(Secret)
        self._namespaces = informers.of(Namespace)
        self._secrets.add_index(BY_ACCOUNT, lambda secret: [key] if (key := account_key(secret)) else [])
        self._accounts.on_change(lambda old, new: self.queue.add((new or old).key))  # type: ignore[union-attr]  # one is
        self._secrets.on_change(self._secret_changed)

    async def run(self) -> None:
        for secret in self._secrets.list():
            if key := account_key(secret):
                self.queue.add(key)
        await super().run()

    async def reconcile(self, key: str) -> float | None:
        account = self._accounts.get(key)
        secrets = self._secrets.indexed(BY_ACCOUNT, key)
        if account is None:
            for secret in secrets:
                await self._remove(secret)
            return None
        ours: list[str] = []
        for secret in secrets:
            uid = secret.metadata.annotations.get(ACCOUNT_UID, "")
            if uid not in ("", account.metadata.uid):
                await self._remove(secret)  # of an earlier account of that name
                continue
            await self._fill(account, secret)
            ours.append(secret.name)
        namespace = self._namespaces.get(account.namespace)
        if namespace is None or any(each.metadata.deletionTimestamp is not None for each in (namespace, account)):
            return None
        await self._keep_listed(account, ours)
        return None

    async def _keep_listed(self, account: ServiceAccount, present: list[str]) -> None:
        """Have the account list a token of its own, and none of ours that is gone."""
        prefix = f"{account.name}-token-"
        listed = [ref.name for ref in account.secrets]
        gone = [name for name in listed if name.startswith(prefix) and name not in present]
        if gone:
            # The cache of secrets may be the one that lags: one that was just made is not gone.
            gone = [name for name in gone if await self._absent(account.namespace, name)]
        kept = [name for name in listed if name not in gone]
        if not any(name in kept for name in present) and not any(name.startswith(prefix) for name in kept):
            ours = next((name for name in present if name.startswith(prefix)), None) or await self._make(account)
            if ours is None:
                return
            kept.append(ours)
        if kept != listed:
            changed = account.clone()
            changed.secrets = [ObjectReference(name=name) for name in kept]
            try:
                await self._client.update(changed)
            except errors.NotFound:
                log.debug("gone already", extra={"account": account.key})

    async def _absent(self, namespace: str, name: str) -> bool:
        try:
            await self._client.get(Secret, name, namespace)
        except errors.NotFound:
            return True
        return False

    async def _make(self, account: ServiceAccount) -> str | None:
        """A new token for the account, under a name that follows from its UID: made twice, it is one."""
        name = f"{account.name}-token-{account.metadata.uid.replace('-', '')[:5]}"
        annotations = {ACCOUNT_NAME: account.name, ACCOUNT_UID: account.metadata.uid}
        metadata = ObjectMeta(name=name, namespace=account.namespace, annotations=annotations)
        secret = Secret(metadata=metadata, type=TYPE, data=self._content(account, name))
        try:
            await self._client.create(secret)
        except errors.AlreadyExists:
            log.debug("made already", extra={"account": account.key, "secret": name})
        except (errors.NotFound, errors.Forbidden) as why:
            if isinstance(why, errors.Forbidden) and not errors.namespace_is_ending(why):
                raise
            log.debug("not made", extra={"account": account.key, "reason": why})  # the namespace is going
            return None
        else:
            log.info("made a token", extra={"account": account.key, "secret": name})
        return name

    async def _fill(self, account: ServiceAccount, secret: Secret) -> None:
        wanted = self._content(account, secret.name, secret.data)
        annotated = secret.metadata.annotations.get(ACCOUNT_UID) == account.metadata.uid
        if annotated and all(secret.data.get(name) == value for name, value in wanted.items()):
            return
        changed = secret.clone()
        changed.data = {**changed.data, **wanted}
        changed.metadata.annotations[ACCOUNT_UID] = account.metadata.uid
        try:
            await self._client.update(changed)
        except errors.NotFound:
            log.debug("gone already", extra={"secret": secret.key})

    def _content(self, account: ServiceAccount, secret: str, present: Mapping[str, str] = {}) -> dict[str, str]:
        """What a token Secret holds; a token that is there is not made anew."""
        content = {"namespace": _base64(account.namespace)}
        if self._root_ca:
            content["ca.crt"] = _base64(self._root_ca)
        if present.get("token"):
            content["token"] = present["token"]
        else:
            named = Named(account.name, account.metadata.uid)
            content["token"] = _base64(
                self._signer.sign(serviceaccount.legacy_claims(account.namespace, named, secret))
            )
        return content

    async def _remove(self, secret: Secret) -> None:
        try:
            # The cache of accounts may be behind: asked of the API, an account that has come is spared.
            live = await self._client.get(ServiceAccount, secret.metadata.annotations[ACCOUNT_NAME], secret.namespace)
            uid = secret.metadata.annotations.get(ACCOUNT_UID, "")
            if uid in ("", live.metadata.uid):
                return
        except errors.NotFound:
            pass
        log.info("removing a token, its account is gone", extra={"secret": secret.key})
        try:
            await self._client.delete(Secret, secret.name, secret.namespace, uid=secret.metadata.uid)
        except errors.NotFound:
            log.debug("gone already", extra={"secret": secret.key})

    def _secret_changed(self, old: Secret | None, new: Secret | None) -> None:
        for secret in (old, new):
            if secret is not None and (key := account_key(secret)):
                self.queue.add(key)


def account_key(secret: Secret) -> str:
    """The key of the account whose token a Secret holds; empty if it holds none."""
    name = secret.metadata.annotations.get(ACCOUNT_NAME, "")
    return f"{secret.namespace}/{name}" if secret.type == TYPE and name else ""


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
