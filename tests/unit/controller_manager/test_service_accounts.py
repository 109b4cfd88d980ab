"""Who pods are: an account in every namespace, its token, and the authority that they know the apiserver by."""

from __future__ import annotations

import asyncio
import base64
import random
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kube.api import errors
from kube.api.core import ConfigMap, Namespace, Secret, ServiceAccount
from kube.api.meta import ObjectMeta
from kube.client.source import EtcdSources
from kube.controller_manager.options import Options
from kube.controller_manager.root_ca import DESCRIPTION, NAME
from kube.controller_manager.service_account_tokens import ACCOUNT_NAME, ACCOUNT_UID, TYPE
from tests.lagging import LaggingSources
from tests.memory_api import MemoryApi
from tests.unit.controller_manager.conftest import controllers

pytestmark = pytest.mark.looptime


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Options:
    directory: Path = tmp_path_factory.mktemp("keys")
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "sa.key").write_bytes(pem)
    (directory / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    return Options(
        controllers=("serviceaccount", "serviceaccount-token", "root-ca-cert-publisher"),
        service_account_private_key_file=str(directory / "sa.key"),
        root_ca_file=str(directory / "ca.crt"),
    )


async def namespace(api: MemoryApi, name: str) -> None:
    await api.create(Namespace(metadata=ObjectMeta(name=name)))


async def tokens(api: MemoryApi, where: str = "default") -> dict[str, Secret]:
    return {each.name: each for each in (await api.list(Secret, where)).items}


async def test_every_namespace_gets_an_account_its_token_and_the_authority(api: MemoryApi, files: Options) -> None:
    await namespace(api, "default")
    async with controllers(api, options=files):
        await namespace(api, "later")
        await asyncio.sleep(2)
        for where in ("default", "later"):
            account = await api.get(ServiceAccount, "default", where)
            ((name, secret),) = (await tokens(api, where)).items()
            assert [ref.name for ref in account.secrets] == [name]
            assert secret.type == TYPE
            assert base64.b64decode(secret.data["namespace"]).decode() == where
            claims = jwt.decode(base64.b64decode(secret.data["token"]), options={"verify_signature": False})
            assert claims["sub"] == f"system:serviceaccount:{where}:default"
            assert claims["kubernetes.io/serviceaccount/service-account.uid"] == account.metadata.uid
            published = await api.get(ConfigMap, NAME, where)
            assert published.data == {"ca.crt": "-----BEGIN CERTIFICATE-----\n"}
        before = len(api.writes)
        await asyncio.sleep(60)
        assert len(api.writes) == before, "nothing is written when nothing changes"


async def test_what_is_removed_by_hand_comes_back(api: MemoryApi, files: Options) -> None:
    await namespace(api, "default")
    async with controllers(api, options=files):
        await asyncio.sleep(2)
        (name,) = await tokens(api)
        await api.delete(Secret, name, "default")
        await api.patch(ConfigMap, NAME, "default", {"data": {"ca.crt": "another"}})
        await asyncio.sleep(2)
        assert (await api.get(ConfigMap, NAME, "default")).data["ca.crt"].startswith("-----BEGIN")
        await api.patch(ConfigMap, NAME, "default", {"metadata": {"annotations": None}})
        await asyncio.sleep(1)
        assert (await api.get(ConfigMap, NAME, "default")).metadata.annotations == DESCRIPTION
        await api.delete(ConfigMap, NAME, "default")
        await asyncio.sleep(1)
        assert (await api.get(ConfigMap, NAME, "default")).data["ca.crt"].startswith("-----BEGIN")
        assert len(await tokens(api)) == 1
        first = await api.get(ServiceAccount, "default", "default")
        await api.delete(ServiceAccount, "default", "default")
        await asyncio.sleep(2)
        second = await api.get(ServiceAccount, "default", "default")
        assert second.metadata.uid != first.metadata.uid
        (secret,) = (await tokens(api)).values()
        assert secret.metadata.annotations[ACCOUNT_UID] == second.metadata.uid, "the old token is gone"


async def test_a_secret_made_by_hand_is_filled_and_goes_with_its_account(api: MemoryApi, files: Options) -> None:
    await namespace(api, "default")
    metadata = ObjectMeta(name="mine", namespace="default", annotations={ACCOUNT_NAME: "robot"})
    await api.create(Secret(metadata=metadata, type=TYPE))
    await api.create(ServiceAccount(metadata=ObjectMeta(name="robot", namespace="default")))
    async with controllers(api, options=files):
        await asyncio.sleep(2)
        mine = (await tokens(api))["mine"]
        assert mine.data["token"]
        await api.delete(ServiceAccount, "robot", "default")
        await asyncio.sleep(2)
        assert "mine" not in await tokens(api)


async def test_a_namespace_that_is_going_gets_nothing(api: MemoryApi, files: Options) -> None:
    going = Namespace(metadata=ObjectMeta(name="going", finalizers=["x"]))
    await api.create(going)
    await api.delete(Namespace, "going")
    async with controllers(api, options=files):
        await asyncio.sleep(2)
        assert (await api.list(ServiceAccount)).items == []
        assert (await api.list(ConfigMap)).items == []


@pytest.mark.parametrize("seed", range(3))
async def test_one_token_each_with_stale_caches_lost_answers_and_restarts(
    api: MemoryApi, files: Options, seed: int
) -> None:
    rng = random.Random(seed)
    left = [4]

    def lost(verb: str, model: type[object], key: str) -> Exception | None:
        if left[0] and rng.random() < 0.4:
            left[0] -= 1
            return TimeoutError("no answer")
        return None

    await namespace(api, "default")
    for number in range(5):
        await api.create(ServiceAccount(metadata=ObjectMeta(name=f"a{number}", namespace="default")))
    api.fail_after = lost
    for _ in range(3):
        async with controllers(api, sources=LaggingSources(EtcdSources(api.store), seed), options=files):
            await asyncio.sleep(rng.uniform(0.1, 2))
    async with controllers(api, options=files):
        await asyncio.sleep(10)
    accounts = (await api.list(ServiceAccount)).items
    assert len(accounts) == 6
    listed = sorted(ref.name for account in accounts for ref in account.secrets)
    assert listed == sorted(await tokens(api))
    assert len(listed) == 6


async def test_what_a_quota_refuses_is_made_when_the_quota_is_raised(api: MemoryApi, files: Options) -> None:
    """Only a namespace that is going needs nothing any more."""

    def full(verb: str, model: type[object], key: str) -> Exception | None:
        if verb == "create" and model in (ServiceAccount, Secret, ConfigMap):
            return errors.forbidden("secrets", "x", "exceeded quota: q, requested: secrets=1, used: secrets=0")
        return None

    await namespace(api, "default")
    api.fail_before = full
    async with controllers(api, options=files):
        await asyncio.sleep(30)
        api.fail_before = lambda verb, model, key: full(verb, model, key) if model is Secret else None
        await asyncio.sleep(100)
        assert (await api.get(ServiceAccount, "default", "default")).secrets == []
        assert (await api.get(ConfigMap, NAME, "default")).data
        api.fail_before = lambda verb, model, key: None
        await asyncio.sleep(100)
        assert len((await api.get(ServiceAccount, "default", "default")).secrets) == 1


async def test_an_account_that_is_held_keeps_its_token_until_it_is_gone(
    api: MemoryApi, files: Options, caplog: pytest.LogCaptureFixture
) -> None:
    await namespace(api, "default")
    await api.create(ServiceAccount(metadata=ObjectMeta(name="held", namespace="default", finalizers=["a/b"])))
    async with controllers(api, options=files):
        await asyncio.sleep(2)
        await api.delete(ServiceAccount, "held", "default")
        await asyncio.sleep(2)
        assert sum(name.startswith("held-token-") for name in await tokens(api)) == 1
        assert "removing a token, its account is gone" not in caplog.messages
        await api.patch(ServiceAccount, "held", "default", {"metadata": {"finalizers": None}})
        await asyncio.sleep(2)
        assert not any(name.startswith("held-token-") for name in await tokens(api))
