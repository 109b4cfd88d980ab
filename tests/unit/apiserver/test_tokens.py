"""Service accounts' tokens: what is asked for is given, and believed as long as it is true."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from kube import certificates, serviceaccount
from kube.api import errors
from kube.apiserver.access import Access
from kube.apiserver.app import Api, App
from kube.apiserver.authentication import Authentication, Known
from kube.apiserver.cache import Cache
from kube.apiserver.discovery import Discovery
from kube.apiserver.handlers import Handlers
from kube.apiserver.openid import add_pages
from kube.apiserver.pages import pages
from kube.apiserver.tokens import TokenOptions, Tokens
from kube.daemon import Fatal
from kube.serviceaccount import ISSUER, Named, Signer, Verifier
from tests.unit.apiserver.conftest import Server

CORE = "/api/v1/namespaces/default"
TOKEN = f"{CORE}/serviceaccounts/builder/token"
START = 1_800_000_000


@dataclass
class Cluster:
    """An apiserver that knows service accounts, with a clock of its own."""

    http: httpx.AsyncClient
    tokens: Tokens
    cache: Cache
    key: Path
    now: float = START

    async def create(self, plural: str, name: str, **more: Any) -> str:
        answer = await self.http.post(f"{CORE}/{plural}", json={"metadata": {"name": name}, **more})
        assert answer.status_code == 201, answer.text
        uid: str = answer.json()["metadata"]["uid"]
        return uid

    async def token(self, **spec: Any) -> str:
        answer = await self.http.post(TOKEN, json={"spec": spec})
        assert answer.status_code == 201, answer.text
        token: str = answer.json()["status"]["token"]
        return token

    async def known(self, token: str, audiences: Sequence[str] = (ISSUER,)) -> Known | None:
        return await self.tokens.authenticate(token, audiences)

    async def refused(self, token: str, audiences: Sequence[str] = (ISSUER,)) -> str:
        """Why a token is not believed, once the cache knows what has happened."""
        await self.cache.fresh()
        with pytest.raises(errors.Unauthorized) as refused:
            await self.known(token, audiences)
        return str(refused.value.__cause__)


@pytest.fixture
async def cluster(server: Server, tmp_path: Path) -> Cluster:
    key = tmp_path / "sa.key"
    made: Cluster
    tokens = Tokens(TokenOptions(key, max_seconds=7200), server.verbs, clock=lambda: made.now)
    tokens.have_key()
    access = Access(Authentication([tokens.authenticate], audiences=tokens.audiences), tokens=tokens)
    discovery = Discovery()
    rest = pages(discovery, {})
    add_pages(rest, tokens, "192.168.7.7:6443")
    app = App(Api(Handlers(server.verbs, server.cache, server.nodes, access=access), discovery), rest)
    made = Cluster(
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://kube"), tokens, server.cache, key
    )
    await made.create("serviceaccounts", "builder")
    return made


def pod(account: str) -> dict[str, Any]:
    return {"spec": {"serviceAccountName": account, "containers": [{"name": "c", "image": "i"}]}}


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def test_a_token_says_who_by_whom_for_whom_and_how_long(cluster: Cluster) -> None:
    answer = (await cluster.http.post(TOKEN, json={"spec": {"expirationSeconds": 600}})).json()
    assert answer["spec"] == {"audiences": [ISSUER], "expirationSeconds": 600}
    assert answer["metadata"]["name"] == "builder"
    assert answer["status"]["expirationTimestamp"] == "2027-01-15T08:10:00Z"
    account = (await cluster.http.get(f"{CORE}/serviceaccounts/builder")).json()["metadata"]
    claims = claims_of(answer["status"]["token"])
    assert claims.pop("jti")
    assert claims == {
        "aud": [ISSUER], "exp": START + 600, "iat": START, "nbf": START, "iss": ISSUER,
        "sub": "system:serviceaccount:default:builder",
        "kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "builder", "uid": account["uid"]}},
    }  # fmt: skip


async def test_its_holder_is_the_service_account(cluster: Cluster) -> None:
    known = await cluster.known(await cluster.token())
    assert known is not None
    assert known.user.username == "system:serviceaccount:default:builder"
    assert known.user.groups == ["system:serviceaccounts", "system:serviceaccounts:default"]
    review = {"spec": {"token": await cluster.token()}}
    answer = (await cluster.http.post("/apis/authentication.k8s.io/v1/tokenreviews", json=review)).json()
    assert answer["status"]["authenticated"] is True
    assert answer["status"]["audiences"] == [ISSUER]
    assert answer["status"]["user"]["username"] == "system:serviceaccount:default:builder"


async def test_a_token_is_good_until_it_expires(cluster: Cluster) -> None:
    token = await cluster.token(expirationSeconds=600)
    cluster.now = START + 600
    assert await cluster.known(token)
    cluster.now = START + 600 + 61
    assert await cluster.refused(token) == "service account token has expired"
    cluster.now = START - 61
    assert await cluster.refused(token) == "service account token is not valid yet"


async def test_a_token_for_others_is_not_good_here(cluster: Cluster) -> None:
    token = await cluster.token(audiences=["vault"])
    assert "invalid for the target audiences" in await cluster.refused(token)
    known = await cluster.known(token, ["vault", "other"])
    assert known is not None
    assert known.audiences == ["vault"]


async def test_a_token_dies_with_its_service_account_also_if_another_takes_the_name(cluster: Cluster) -> None:
    token = await cluster.token()
    await cluster.http.delete(f"{CORE}/serviceaccounts/builder")
    assert await cluster.refused(token) == "service account token has been invalidated: serviceaccount builder is gone"
    await cluster.create("serviceaccounts", "builder")
    assert "is gone" in await cluster.refused(token)
    assert await cluster.known(await cluster.token())


async def test_a_bound_token_names_its_pod_and_dies_with_it(cluster: Cluster) -> None:
    uid = await cluster.create("pods", "p", **pod("builder"))
    token = await cluster.token(boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid})
    known = await cluster.known(token)
    assert known is not None
    assert known.user.extra["authentication.kubernetes.io/pod-name"] == ["p"]
    assert known.user.extra["authentication.kubernetes.io/pod-uid"] == [uid]
    await cluster.http.delete(f"{CORE}/pods/p")
    assert await cluster.refused(token) == "service account token has been invalidated: pod p is gone"


@pytest.mark.parametrize(("plural", "kind"), [("secrets", "Secret"), ("nodes", "Node")])
async def test_a_token_may_be_bound_to_a_secret_or_a_node(cluster: Cluster, plural: str, kind: str) -> None:
    path = "/api/v1/nodes" if kind == "Node" else f"{CORE}/{plural}"
    uid = (await cluster.http.post(path, json={"metadata": {"name": "it"}})).json()["metadata"]["uid"]
    token = await cluster.token(boundObjectRef={"kind": kind, "apiVersion": "v1", "name": "it"})
    assert claims_of(token)["kubernetes.io"][kind.lower()] == {"name": "it", "uid": uid}
    known = await cluster.known(token)
    assert known is not None
    assert known.user.extra.get("authentication.kubernetes.io/node-uid") == ([uid] if kind == "Node" else None)
    await cluster.http.delete(f"{path}/it")
    assert await cluster.refused(token) == f"service account token has been invalidated: {kind.lower()} it is gone"
    await cluster.http.post(path, json={"metadata": {"name": "it"}})
    assert "is gone" in await cluster.refused(token), "another of the same name"


async def test_a_pod_that_ends_keeps_its_token_for_a_minute_after_its_grace(cluster: Cluster) -> None:
    placed = pod("builder")
    placed["spec"] |= {"nodeName": "n"}
    await cluster.create("pods", "p", **placed)
    cluster.now = time.time()
    token = await cluster.token(expirationSeconds=7200, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p"})
    await cluster.http.delete(f"{CORE}/pods/p?gracePeriodSeconds=30")
    assert await cluster.known(token), "it may say farewell"
    cluster.now += 80
    assert await cluster.known(token)
    cluster.now += 20
    assert await cluster.refused(token) == "service account token has been invalidated: pod p is gone"


async def test_a_node_that_is_not_there_is_told_by_its_name(cluster: Cluster) -> None:
    placed = pod("builder")
    placed["spec"] |= {"nodeName": "vanished"}
    await cluster.create("pods", "p", **placed)
    token = await cluster.token(boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p"})
    assert claims_of(token)["kubernetes.io"]["node"] == {"name": "vanished"}
    known = await cluster.known(token)
    assert known is not None
    assert known.user.extra["authentication.kubernetes.io/node-name"] == ["vanished"]
    assert "authentication.kubernetes.io/node-uid" not in known.user.extra


async def test_what_every_pod_asks_for_lives_a_year_and_tells_when_to_read_it_again(cluster: Cluster) -> None:
    await cluster.create("pods", "p", **pod("builder"))
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
    answer = (
        await cluster.http.post(TOKEN, json={"spec": {"expirationSeconds": 3607, "boundObjectRef": reference}})
    ).json()
    claims = claims_of(answer["status"]["token"])
    assert claims["exp"] == START + 365 * 24 * 3600
    assert claims["kubernetes.io"]["warnafter"] == START + 3607
    assert answer["status"]["expirationTimestamp"] == "2027-01-15T09:00:07Z"


async def test_a_longer_life_than_allowed_is_shortened_with_a_warning(cluster: Cluster) -> None:
    answer = await cluster.http.post(TOKEN, json={"spec": {"expirationSeconds": 90000}})
    assert answer.json()["spec"]["expirationSeconds"] == 7200
    assert answer.headers["warning"] == '299 - "requested expiration of 90000 seconds shortened to 7200 seconds"'


MISTAKES: dict[str, tuple[dict[str, Any], int, str]] = {
    "too short": (
        {"spec": {"expirationSeconds": 599}}, 422,
        'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify '
        "a duration less than 10 minutes",
    ),
    "too long": (
        {"spec": {"expirationSeconds": 2**32}}, 422,
        'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 4294967296: may not '
        "specify a duration larger than 2^32 seconds",
    ),
    "another name": (
        {"metadata": {"name": "x"}}, 422,
        'TokenRequest.authentication.k8s.io "builder" is invalid: metadata.name: Invalid value: "x": must match the '
        "service account name if specified",
    ),
    "no such pod": (
        {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "none"}}}, 404, 'pods "none" not found',
    ),
    "a pod of another": (
        {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "other"}}}, 400,
        'cannot bind token for serviceaccount "builder" to pod running with different serviceaccount name.',
    ),
    "another uid": (
        {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "mine", "uid": "u"}}}, 409,
        'Operation cannot be fulfilled on Pod "mine": the UID in the bound object reference (u) does not match the UID '
        "in record. The object might have been deleted and then recreated",
    ),
    "what cannot be bound": (
        {"spec": {"boundObjectRef": {"kind": "Deployment", "apiVersion": "apps/v1", "name": "d"}}}, 400,
        "cannot bind token to object of type apps/v1, Kind=Deployment",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "code", "message"), MISTAKES.values(), ids=MISTAKES)
async def test_a_request_that_is_not_well_put(cluster: Cluster, body: dict[str, Any], code: int, message: str) -> None:
    await cluster.create("serviceaccounts", "another")
    await cluster.create("pods", "other", **pod("another"))
    await cluster.create("pods", "mine", **pod("builder"))
    answer = await cluster.http.post(TOKEN, json=body)
    assert (answer.status_code, answer.json()["message"]) == (code, message)


async def test_nobody_else_can_sign(cluster: Cluster, tmp_path: Path) -> None:
    certificates.make_key(tmp_path / "other.key")
    claims = claims_of(await cluster.token())
    forged = Signer.load(tmp_path / "other.key").sign(claims)
    assert await cluster.refused(forged) == "invalid signature"
    unsigned = jwt.encode(claims, "", algorithm="none")
    assert await cluster.refused(unsigned) == "invalid signature"
    public = Signer.load(cluster.key).key.public_key()
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    secret = base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    assert await cluster.refused(jwt.encode(claims, secret, algorithm="HS256")) == "invalid signature"


async def test_what_is_no_token_of_ours_is_left_to_others(cluster: Cluster, tmp_path: Path) -> None:
    certificates.make_key(tmp_path / "other.key")
    other = Signer.load(tmp_path / "other.key").sign({"iss": "https://elsewhere", "sub": "x"})
    for token in ("abc", "a.b.c", other):
        assert await cluster.known(token) is None


async def test_a_token_of_a_secret_lives_as_long_as_the_secret(cluster: Cluster) -> None:
    account = (await cluster.http.get(f"{CORE}/serviceaccounts/builder")).json()["metadata"]
    claims = serviceaccount.legacy_claims("default", Named("builder", account["uid"]), "builder-token")
    token = Signer.load(cluster.key).sign(claims)
    assert "its secret is gone" in await cluster.refused(token)
    content = {
        "type": "kubernetes.io/service-account-token",
        "data": {"token": base64.b64encode(token.encode()).decode()},
    }
    body = {"metadata": {"name": "builder-token",
                         "annotations": {"kubernetes.io/service-account.name": "builder"}}, **content}  # fmt: skip
    assert (await cluster.http.post(f"{CORE}/secrets", json=body)).status_code == 201
    known = await cluster.known(token)
    assert known is not None
    assert known.user.username == "system:serviceaccount:default:builder"
    patch = {"data": {"token": base64.b64encode(b"another").decode()}}
    await cluster.http.patch(
        f"{CORE}/secrets/builder-token", json=patch, headers={"content-type": "application/merge-patch+json"}
    )
    assert await cluster.refused(token) == "token does not match server's copy"


async def test_others_can_check_by_the_openid_documents(cluster: Cluster) -> None:
    document = (await cluster.http.get("/.well-known/openid-configuration")).json()
    assert document["issuer"] == ISSUER
    assert document["jwks_uri"] == "https://192.168.7.7:6443/openid/v1/jwks"
    answer = await cluster.http.get("/openid/v1/jwks")
    assert answer.headers["content-type"] == "application/jwk-set+json"
    token = await cluster.token()
    (key,) = answer.json()["keys"]
    assert key["kid"] == jwt.get_unverified_header(token)["kid"]
    options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
    assert jwt.decode(token, jwt.PyJWK(key), audience=ISSUER, options=options)["iss"] == ISSUER
    assert not {"d", "p", "q"} & key.keys(), "nothing private"


def test_keys_of_kubeadm_are_read_and_others_are_told(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (tmp_path / "sa.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    (tmp_path / "sa.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    token = Signer.load(tmp_path / "sa.key").sign({"iss": "x"})
    assert jwt.get_unverified_header(token)["alg"] == "RS256"
    assert Verifier([tmp_path / "sa.pub"]).claims(token) == {"iss": "x"}
    (tmp_path / "text").write_text("no key")
    odd = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "odd").write_bytes(odd.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for path, words in (("text", "it holds no private key in PEM"), ("none", "cannot read"), ("odd", "keys are RSA")):
        with pytest.raises(Fatal, match=words):
            Signer.load(tmp_path / path)
    with pytest.raises(Fatal, match="it holds no key in PEM"):
        Verifier([tmp_path / "text"])
