"""Tokens of service accounts: asked for once, renewed in time, kept while they are good. In virtual time."""

from __future__ import annotations

import asyncio
import math

import pytest

from kube.api import errors
from kube.api.authentication import TokenRequest
from kube.api.meta import now
from kube.kubelet.projection import MountError
from kube.kubelet.tokens import TokenManager
from tests.kubelet_node import make_pod

pytestmark = pytest.mark.looptime

SOURCES = [
    {"serviceAccountToken": {"path": "token"}},
    {"serviceAccountToken": {"path": "vault", "audience": "vault", "expirationSeconds": 600}},
]
POD = make_pod("web", volumes=[{"name": "a", "projected": {"sources": SOURCES}}], serviceAccountName="robot")


class Api:
    def __init__(self) -> None:
        self.asked: list[tuple[str, TokenRequest]] = []
        self.down = False

    async def create_token(self, account: str, namespace: str, request: TokenRequest) -> TokenRequest:
        if self.down:
            raise errors.ServiceUnavailable("it is down")
        self.asked.append((f"{namespace}/{account}", request))
        answer = request.clone()
        answer.status.token = f"token-{len(self.asked)}"
        return answer


async def test_a_token_is_bound_to_the_pod_and_asked_for_once() -> None:
    api = Api()
    manager = TokenManager(api)
    first = await manager.of(POD)
    assert set(first) == {("", 3600), ("vault", 600)}
    assert await manager.of(POD) == first
    assert [account for account, _ in api.asked] == ["default/robot"] * 2
    (vault,) = [request.spec for _, request in api.asked if request.spec.audiences]
    assert (vault.audiences, vault.expirationSeconds) == (["vault"], 600)
    assert vault.boundObjectRef is not None
    assert (vault.boundObjectRef.kind, vault.boundObjectRef.name, vault.boundObjectRef.uid) == ("Pod", "web", "uid-1")
    manager.forget("uid-1")
    assert manager.renew_at(POD) == math.inf


async def test_it_is_renewed_when_four_fifths_are_over_and_kept_while_that_fails() -> None:
    api = Api()
    manager = TokenManager(api)
    before = await manager.of(POD)
    due = manager.renew_at(POD) - asyncio.get_running_loop().time()
    assert 600 * 0.8 - 10 <= due <= 600 * 0.8
    await asyncio.sleep(due + 1)
    api.down = True
    assert await manager.of(POD) == before
    api.down = False
    after = await manager.of(POD)
    assert after["vault", 600] != before["vault", 600]
    assert after["", 3600] == before["", 3600]
    api.down = True
    await asyncio.sleep(601)
    with pytest.raises(MountError, match="failed to fetch token: it is down"):
        await manager.of(POD)


async def test_what_the_apiserver_says_of_its_end_counts() -> None:
    class Short(Api):
        async def create_token(self, account: str, namespace: str, request: TokenRequest) -> TokenRequest:
            answer = await super().create_token(account, namespace, request)
            answer.status.expirationTimestamp = now()
            return answer

    api = Short()
    manager = TokenManager(api)
    await manager.of(POD)
    await asyncio.sleep(1)
    await manager.of(POD)
    assert len(api.asked) == 4
