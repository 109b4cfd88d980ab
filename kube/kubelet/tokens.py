"""Tokens of pods' service accounts: asked for when a volume needs one, and again long before it expires.

As upstream (pkg/kubelet/token): a token is renewed when four fifths of its life are over, or after a day; while that
fails, the old one is kept for as long as it is good.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from kube.api import errors
from kube.api.authentication import BoundObjectReference, TokenRequest, TokenRequestSpec
from kube.api.core import Pod
from kube.kubelet.projection import MountError, TokenKey, token_key, tokens

LONGEST_USE = 24 * 3600.0
"""Seconds after which a token is renewed, however long it would be good."""
JITTER = 10.0
"""Seconds by which renewals are spread."""


class Api(Protocol):
    """What the kubelet needs of client.rest.Client for it."""

    async def create_token(self, account: str, namespace: str, request: TokenRequest) -> TokenRequest: ...


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    renew_at: float
    """By the event loop's clock, as is the next."""
    expires_at: float


class TokenManager:
    """The tokens of this node's pods."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._tokens: dict[str, dict[TokenKey, _Token]] = {}

    async def of(self, pod: Pod) -> Mapping[TokenKey, str]:
        """The tokens that a pod's volumes need, by audience and lifetime. Raises MountError."""
        wanted = {token_key(token) for token in tokens(pod)}
        if not wanted:
            return {}
        have = self._tokens.setdefault(pod.metadata.uid, {})
        for key in wanted:
            now = asyncio.get_running_loop().time()
            old = have.get(key)
            if old is not None and now < old.renew_at:
                continue
            try:
                have[key] = await self._ask(pod, key)
            except errors.ApiError as error:
                if old is None or now >= old.expires_at:
                    raise MountError(f"failed to fetch token: {error}") from error
        return {key: have[key].text for key in wanted}

    def renew_at(self, pod: Pod) -> float:
        """When a token of a pod is to be renewed, by the event loop's clock; infinity: it has none."""
        return min((token.renew_at for token in self._tokens.get(pod.metadata.uid, {}).values()), default=math.inf)

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._tokens.pop(uid, None)

    async def _ask(self, pod: Pod, key: TokenKey) -> _Token:
        audience, seconds = key
        bound = BoundObjectReference(kind="Pod", apiVersion="v1", name=pod.name, uid=pod.metadata.uid)
        audiences = [audience] if audience else []
        spec = TokenRequestSpec(audiences=audiences, expirationSeconds=seconds, boundObjectRef=bound)
        account = pod.spec.serviceAccountName or "default"
        answer = await self._api.create_token(account, pod.namespace, TokenRequest(spec=spec))
        now, expires = asyncio.get_running_loop().time(), answer.status.expirationTimestamp
        # It may be good for a shorter or a longer time than was asked for.
        left = (expires - datetime.now(UTC)).total_seconds() if expires is not None else float(seconds)
        used = min(left * 0.8, LONGEST_USE) - random.uniform(0, JITTER)
        return _Token(answer.status.token, now + max(used, 1.0), now + left)
