"""ServiceAccount admission: who a pod runs as, and what its containers find of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from kube.store.memory import MemoryStore
from tests.unit.apiserver.conftest import Server, running

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
PODS = "/api/v1/namespaces/default/pods"
PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running(Server(MemoryStore(), disabled=())) as made:
        yield made


async def account(http: httpx.AsyncClient, name: str = "default", **more: Any) -> None:
    made = {"kind": "ServiceAccount", "apiVersion": "v1", **more}
    made["metadata"] = {"name": name, **more.get("metadata", {})}
    assert (await http.post(ACCOUNTS, json=made)).status_code == 201


async def create(http: httpx.AsyncClient, annotations: dict[str, str] | None = None, **spec: Any) -> httpx.Response:
    described = {"containers": [{"name": "c", "image": "i"}], **spec}
    meta = {"name": "p", "annotations": annotations or {}}
    return await http.post(PODS, json={"kind": "Pod", "metadata": meta, "spec": described})


async def test_a_pod_runs_as_the_default_account_and_has_its_token(http: httpx.AsyncClient) -> None:
    await account(http, imagePullSecrets=[{"name": "registry"}])
    answer = await create(http, initContainers=[{"name": "first", "image": "i"}])
    spec = answer.json()["spec"]
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    (volume,) = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    field = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    assert volume["projected"] == {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field}]}},
        ],
    }
    for container in (*spec["initContainers"], *spec["containers"]):
        assert container["volumeMounts"] == [{"name": volume["name"], "readOnly": True, "mountPath": PATH}]
    assert "warning" not in answer.headers


async def test_a_volume_of_that_name_and_a_mount_at_that_place_stay_as_they_are(http: httpx.AsyncClient) -> None:
    await account(http)
    mine = {"name": "kube-api-access-mine", "emptyDir": {}}
    spec = (await create(http, volumes=[mine])).json()["spec"]
    assert spec["volumes"] == [mine]
    assert spec["containers"][0]["volumeMounts"][0]["name"] == "kube-api-access-mine"
    await http.delete(f"{PODS}/p")
    mounted = {"name": "c", "image": "i", "volumeMounts": [{"name": "own", "mountPath": PATH}]}
    spec = (await create(http, volumes=[{"name": "own", "emptyDir": {}}], containers=[mounted])).json()["spec"]
    assert [volume["name"] for volume in spec["volumes"]] == ["own"]


@pytest.mark.parametrize(
    ("of_account", "of_pod", "mounted"),
    [
        pytest.param({}, {}, True, id="nobody says anything"),
        pytest.param({"automountServiceAccountToken": False}, {}, False, id="the account says no"),
        pytest.param({}, {"automountServiceAccountToken": False}, False, id="the pod says no"),
        pytest.param(
            {"automountServiceAccountToken": False},
            {"automountServiceAccountToken": True},
            True,
            id="the pod's word goes",
        ),
    ],
)
async def test_whether_the_token_is_mounted(
    http: httpx.AsyncClient, of_account: dict[str, Any], of_pod: dict[str, Any], mounted: bool
) -> None:
    await account(http, **of_account)
    spec = (await create(http, **of_pod)).json()["spec"]
    assert ("volumes" in spec) == mounted
    assert spec["serviceAccountName"] == "default"


async def test_an_account_that_is_not_there_is_refused_at_once(http: httpx.AsyncClient) -> None:
    answer = await create(http, serviceAccountName="robot")
    assert answer.status_code == 403
    assert answer.json()["message"] == (
        'pods "p" is forbidden: error looking up service account default/robot: serviceaccount "robot" not found'
    )


async def test_the_default_account_of_a_new_namespace_is_waited_for(http: httpx.AsyncClient) -> None:
    waiting = asyncio.create_task(create(http))
    await asyncio.sleep(0)
    await account(http)
    assert (await waiting).status_code == 201


@pytest.mark.looptime
async def test_but_not_for_ever(http: httpx.AsyncClient) -> None:
    answer = await create(http)
    assert answer.status_code == 403
    assert answer.json()["message"].endswith('default/default: serviceaccount "default" not found')


async def test_a_namespace_that_is_going_away_says_so_first(http: httpx.AsyncClient) -> None:
    await http.post("/api/v1/namespaces", json={"metadata": {"name": "going"}})
    await http.delete("/api/v1/namespaces/going")
    spec = {"containers": [{"name": "c", "image": "i"}]}
    answer = await http.post("/api/v1/namespaces/going/pods", json={"metadata": {"name": "p"}, "spec": spec})
    assert "because it is being terminated" in answer.json()["message"]


MIRROR = {"kubernetes.io/config.mirror": "hash"}
SECRET = {"name": "s", "secret": {"secretName": "s"}}
TOKEN = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}


async def test_a_mirror_pod_is_left_as_it_is(http: httpx.AsyncClient) -> None:
    answer = await create(http, MIRROR, nodeName="n")
    assert answer.status_code == 201
    assert not {"serviceAccountName", "volumes"} & answer.json()["spec"].keys()


@pytest.mark.parametrize(
    ("annotations", "spec", "why"),
    [
        pytest.param(
            MIRROR, {"serviceAccountName": "x"}, "a mirror pod may not reference service accounts", id="account"
        ),
        pytest.param(MIRROR, {"volumes": [SECRET]}, "a mirror pod may not reference secrets", id="secret"),
        pytest.param(
            MIRROR, {"volumes": [TOKEN]}, "a mirror pod may not use ServiceAccountToken volume projections", id="token"
        ),
        pytest.param(
            {}, {"volumes": [SECRET]},
            'volume with secret.secretName="s" is not allowed because service account default does not reference that '
            "secret", id="a secret that the account does not list",
        ),
        pytest.param(
            {}, {"imagePullSecrets": [{"name": "other"}]},
            'imagePullSecrets[0].name="other" is not allowed because service account default does not reference that '
            "imagePullSecret", id="a pull secret that the account does not list",
        ),
        pytest.param(
            {},
            {"containers": [{"name": "c", "image": "i", "env": [
                {"name": "V", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]},
            'container c with envVar V referencing secret.secretName="s" is not allowed because service account '
            "default does not reference that secret", id="a variable from a secret that the account does not list",
        ),
    ],
)  # fmt: skip
async def test_what_a_pod_may_not_use(
    http: httpx.AsyncClient, annotations: dict[str, str], spec: dict[str, Any], why: str
) -> None:
    await account(http, metadata={"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}})
    answer = await create(http, annotations, nodeName="n", **spec)
    assert (answer.status_code, answer.json()["message"]) == (403, f'pods "p" is forbidden: {why}')


async def test_a_secret_that_the_account_lists_may_be_used(http: httpx.AsyncClient) -> None:
    enforced = {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}
    await account(http, metadata=enforced, secrets=[{"name": "s"}])
    assert (await create(http, volumes=[SECRET])).status_code == 201
