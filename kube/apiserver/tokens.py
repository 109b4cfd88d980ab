"""Service accounts' tokens: given out (`serviceaccounts/<name>/token`), and believed as long as what they say is true.

A signature says who the token was made for; it lives no longer than the service account, and the pod, node or secret
that it is bound to. They are looked up in the cache. (pkg/registry/core/serviceaccount/storage/token.go,
pkg/serviceaccount/claims.go: Validate, legacy.go: Validate)
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from kube import serviceaccount
from kube.api import core, decode, defaults, errors, resources, validation
from kube.api.authentication import BoundObjectReference, TokenRequest, TokenRequestStatus, UserInfo
from kube.api.meta import Object, now
from kube.api.resources import Resource
from kube.apiserver import answers, body, parameters
from kube.apiserver.authentication import CREDENTIAL_ID, Known, unauthorized
from kube.apiserver.certificates import have_signing_key
from kube.apiserver.request import Request, Response
from kube.apiserver.verbs import Verbs
from kube.serviceaccount import Named, NotValid, Signer, Verifier
from kube.store import keys

EXTENDED_SECONDS = 365 * 24 * 3600
EXTENDED_REQUEST = 3607
"""Who asks for a pod's token of so many seconds is a kubelet, for the volume that every pod has: it gets a year, so
that old client libraries that read the file once go on, and a note of when it ought to have been read again."""

DELETED_LEEWAY = 60.0
"""Seconds for which a bound object's token is still good once its grace is over."""
CLOCK_LEEWAY = 60.0
VERIFIED = 4096
"""Tokens whose signature is known to be good: it does not change, and costs more than all the rest."""


@dataclass(frozen=True, slots=True)
class TokenOptions:
    """How tokens are made and believed."""

    signing_key_file: Path
    key_files: Sequence[Path] = ()
    """Keys that are believed; none: the one that signs."""
    issuers: Sequence[str] = (serviceaccount.ISSUER,)
    """The first is written into new tokens, all are believed."""
    audiences: Sequence[str] = ()
    """What the apiserver calls itself; none: the issuers."""
    max_seconds: int = 0
    """The longest life of a token; 0: as long as is asked for."""
    extend: bool = True


class Tokens:
    """The apiserver's side of service accounts' tokens."""

    def __init__(self, options: TokenOptions, verbs: Verbs, clock: Callable[[], float] = time.time) -> None:
        self._options = options
        self._verbs = verbs
        self._clock = clock
        self._loaded: tuple[Signer, Verifier] | None = None
        self._loading = asyncio.Lock()
        self.audiences = list(options.audiences or options.issuers)
        self._verify = lru_cache(VERIFIED)(self._verify_signature)

    @property
    def issuer(self) -> str:
        """Who makes the tokens."""
        return self._options.issuers[0]

    # Keys

    def have_key(self) -> None:
        """Make the key if there is none. Raises Fatal."""
        have_signing_key(self._options.signing_key_file)

    async def load(self) -> tuple[Signer, Verifier]:
        """The keys, read at the first need. Raises Fatal."""
        async with self._loading:
            if self._loaded is None:
                self._loaded = await asyncio.to_thread(self._load)
            return self._loaded

    def _load(self) -> tuple[Signer, Verifier]:
        path = self._options.signing_key_file
        return Signer.load(path), Verifier(self._options.key_files or [path])

    # Giving out

    async def request(self, request: Request, resource: Resource) -> Response:
        """POST serviceaccounts/<name>/token. Raises ApiError."""
        target = request.target
        data, warnings = body.read(request, TokenRequest)
        wanted = decode.decode(TokenRequest, data)
        dry_run = parameters.dry_run(request)
        for field, said, actual in (
            ("name", wanted.metadata.name, target.name),
            ("namespace", wanted.metadata.namespace, target.namespace),
        ):
            if said and said != actual:
                detail = f"must match the service account {field} if specified"
                found = [errors.invalid(f"metadata.{field}", said, detail)]
                raise errors.invalid_object("TokenRequest", target.name, found, "authentication.k8s.io")
        account = (await self._verbs.get(resources.SERVICE_ACCOUNTS, target.namespace, target.name)).decode()
        wanted.spec.audiences = wanted.spec.audiences or self.audiences
        wanted.metadata.name, wanted.metadata.namespace = target.name, target.namespace
        wanted.metadata.creationTimestamp = now()
        defaults.apply(wanted)
        if problems := validation.validate(wanted):
            raise errors.invalid_object("TokenRequest", "", problems, "authentication.k8s.io")
        wanted.status = await self._issue(account, wanted, warnings)
        if dry_run:
            wanted.status.token = ""
        response = answers.plain(wanted, request)
        response.status = 201
        response.headers += answers.warning_headers(warnings)
        return response

    async def _issue(self, account: Object, wanted: TokenRequest, warnings: list[str]) -> TokenRequestStatus:
        spec, most = wanted.spec, self._options.max_seconds
        bound = await self._bound_to(account, spec.boundObjectRef) if spec.boundObjectRef is not None else {}
        seconds = spec.expirationSeconds or 0
        if 0 < most < seconds:
            warnings.append(f"requested expiration of {seconds} seconds shortened to {most} seconds")
            spec.expirationSeconds = seconds = most
        moment, warn_after = int(self._clock()), 0
        expires = datetime.fromtimestamp(moment + seconds, UTC)
        to_apiserver = set(spec.audiences) <= set(self.audiences)
        if self._options.extend and "pod" in bound and seconds == EXTENDED_REQUEST and to_apiserver:
            seconds, warn_after = EXTENDED_SECONDS, seconds
        signer, _ = await self.load()
        claims = serviceaccount.bound_claims(
            account.namespace,
            Named(account.name, account.metadata.uid),
            issuer=self.issuer,
            audiences=spec.audiences,
            now=moment,
            seconds=seconds,
            warn_after=warn_after,
            bound=bound,
        )
        return TokenRequestStatus(token=signer.sign(claims), expirationTimestamp=expires)

    async def _bound_to(self, account: Object, reference: BoundObjectReference) -> dict[str, Named]:
        kind = (reference.apiVersion, reference.kind)
        if kind not in _BINDABLE:
            group, _, version = reference.apiVersion.rpartition("/")
            raise errors.BadRequest(f"cannot bind token to object of type {group}/{version}, Kind={reference.kind}")
        resource = _BINDABLE[kind]
        namespace = account.namespace if resource.namespaced else ""
        obj = (await self._verbs.get(resource, namespace, reference.name)).decode()
        bound = {reference.kind.lower(): Named(obj.name, obj.metadata.uid)}
        if isinstance(obj, core.Pod):
            if obj.spec.serviceAccountName != account.name:
                raise errors.BadRequest(
                    f"cannot bind token for serviceaccount {errors.quote(account.name)} to pod running with different "
                    "serviceaccount name."
                )
            node = self._present(resources.NODES, "", obj.spec.nodeName) if obj.spec.nodeName else None
            if obj.spec.nodeName:
                bound["node"] = Named(obj.spec.nodeName, node.metadata.uid if node else "")
        if reference.uid and reference.uid != obj.metadata.uid:
            why = (f"the UID in the bound object reference ({reference.uid}) does not match the UID in record. The "
                   "object might have been deleted and then recreated")  # fmt: skip
            raise errors.conflict(reference.kind, reference.name, why)
        return bound

    # Believing

    async def authenticate(self, token: str, audiences: Collection[str]) -> Known | None:
        """Whose a token is, if it is one of ours. Raises Unauthorized, with the reason as its cause."""
        if token.count(".") != 2:
            return None
        try:
            issuer = serviceaccount.issuer_of(token)
            if issuer == serviceaccount.LEGACY_ISSUER:
                return await self._legacy(token, audiences)
            if issuer in self._options.issuers:
                return await self._bound(token, audiences)
        except NotValid as error:
            raise unauthorized() from error
        return None

    async def _claims(self, token: str) -> dict[str, Any]:
        await self.load()
        return self._verify(token)

    def _verify_signature(self, token: str) -> dict[str, Any]:
        assert self._loaded is not None
        return self._loaded[1].claims(token)

    async def _bound(self, token: str, audiences: Collection[str]) -> Known:
        claims = await self._claims(token)
        moment = self._clock()
        meant = claims.get("aud") or []
        common = [each for each in ([meant] if isinstance(meant, str) else meant) if each in audiences]
        if not common:
            raise NotValid(f"token audiences {meant} is invalid for the target audiences {sorted(audiences)}")
        if moment > claims.get("exp", 0) + CLOCK_LEEWAY:
            raise NotValid("service account token has expired")
        if moment < claims.get("nbf", 0) - CLOCK_LEEWAY:
            raise NotValid("service account token is not valid yet")
        private = claims.get("kubernetes.io") or {}
        namespace, account = str(private.get("namespace", "")), private.get("serviceaccount") or {}
        await self._still(resources.SERVICE_ACCOUNTS, namespace, account)
        extra = {CREDENTIAL_ID: [f"JTI={claims['jti']}"]} if claims.get("jti") else {}
        for kind, resource in (("pod", resources.PODS), ("secret", resources.SECRETS), ("node", resources.NODES)):
            if (named := private.get(kind)) is None:
                continue
            if kind != "node" or "pod" not in private:  # beside a pod, the node is only told
                await self._still(resource, namespace if resource.namespaced else "", named)
            if kind != "secret":
                extra[f"authentication.kubernetes.io/{kind}-name"] = [str(named.get("name", ""))]
                if named.get("uid"):
                    extra[f"authentication.kubernetes.io/{kind}-uid"] = [str(named["uid"])]
        return Known(_user(namespace, account, extra), common)

    async def _legacy(self, token: str, audiences: Collection[str]) -> Known:
        claims = await self._claims(token)
        common = [each for each in self.audiences if each in audiences]
        if not common:
            raise NotValid("the token is meant for the apiserver alone")
        about = "kubernetes.io/serviceaccount/"
        namespace, secret_name = str(claims.get(f"{about}namespace", "")), str(claims.get(f"{about}secret.name", ""))
        account = {"name": claims.get(f"{about}service-account.name", ""),
                   "uid": claims.get(f"{about}service-account.uid", "")}  # fmt: skip
        secret = self._present(resources.SECRETS, namespace, secret_name)
        if secret is None:
            await self._verbs.cache.fresh()
            secret = self._present(resources.SECRETS, namespace, secret_name)
        if not isinstance(secret, core.Secret) or secret.metadata.deletionTimestamp is not None:
            raise NotValid("token has been invalidated: its secret is gone")
        if base64.b64decode(secret.data.get("token", "")) != token.encode():
            raise NotValid("token does not match server's copy")
        await self._still(resources.SERVICE_ACCOUNTS, namespace, account)
        return Known(_user(namespace, account, {}), common)

    async def _still(self, resource: Resource, namespace: str, named: dict[str, Any]) -> None:
        """The object that a token names is there, and the same. Raises NotValid."""
        if not self._is(resource, namespace, named):
            await self._verbs.cache.fresh()  # perhaps it is newer than what is known
            if not self._is(resource, namespace, named):
                what = f"{resource.singular} {named.get('name')}"
                raise NotValid(f"service account token has been invalidated: {what} is gone")

    def _is(self, resource: Resource, namespace: str, named: dict[str, Any]) -> bool:
        obj = self._present(resource, namespace, str(named.get("name", "")))
        if obj is None or obj.metadata.uid != named.get("uid"):
            return False
        deleted = obj.metadata.deletionTimestamp
        return deleted is None or deleted.timestamp() + DELETED_LEEWAY >= self._clock()

    def _present(self, resource: Resource, namespace: str, name: str) -> Object | None:
        entry = self._verbs.cache.entry(resource, keys.object_key(resource, namespace, name)) if name else None
        return None if entry is None else entry.decode()


_BINDABLE = {
    ("v1", "Pod"): resources.PODS,
    ("v1", "Secret"): resources.SECRETS,
    ("v1", "Node"): resources.NODES,
}


def _user(namespace: str, account: dict[str, Any], extra: dict[str, list[str]]) -> UserInfo:
    return UserInfo(
        username=serviceaccount.username(namespace, str(account.get("name"))),
        uid=str(account.get("uid")),
        groups=serviceaccount.groups(namespace),
        extra=extra,
    )
