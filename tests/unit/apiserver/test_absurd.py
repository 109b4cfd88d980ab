"""Bodies that are meant to hurt: refused at once, with a 4xx and nothing stored."""

from __future__ import annotations

import asyncio
import gzip

import httpx
import pytest

PODS = "/api/v1/namespaces/default/pods"
RCS = "/api/v1/namespaces/default/replicationcontrollers"

BOMB = b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (level + 1, level + 1, b",".join([b"*%c" % level] * 10)) for level in range(ord("a"), ord("i"))
)

ABSURD = {
    "nested JSON": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "application/json", 400),
    "nested lists": (b'{"spec":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "application/json", 400),
    "nested YAML": (b"[" * 20_000 + b"]" * 20_000, "application/yaml", 400),
    "YAML that unfolds to a billion words": (BOMB, "application/yaml", 400),
    "a number beyond any": (b'{"metadata":{"name":"x"},"spec":{"replicas":1e999}}', "application/json", 400),
    "a number of many digits": (
        b'{"metadata":{"name":"x"},"spec":{"replicas":' + b"9" * 5000 + b"}}", "application/json", 400,
    ),
    "a fraction where none belongs": (b'{"metadata":{"name":"x"},"spec":{"replicas":1.5}}', "application/json", 400),
    "not UTF-8": (b'{"metadata":{"name":"\xff"}}', "application/json", 400),
    "a lone surrogate": (b'{"metadata":{"name":"\\ud800"}}', "application/json", 400),
    "too long": (b'{"metadata":{"name":"' + b"x" * (3 * 1024 * 1024) + b'"}}', "application/json", 413),
    "a YAML tag": (b"!!python/object/apply:os.system [true]", "application/yaml", 400),
    "a word": (b'"x"', "application/json", 400),
}  # fmt: skip


@pytest.mark.parametrize(("body", "media_type", "code"), ABSURD.values(), ids=ABSURD.keys())
async def test_an_absurd_body_is_refused(http: httpx.AsyncClient, body: bytes, media_type: str, code: int) -> None:
    async with asyncio.timeout(5):
        answer = await http.post(RCS, content=body, headers={"content-type": media_type})
    assert answer.status_code == code, answer.text[:500]
    assert answer.json()["kind"] == "Status"
    assert len(answer.content) < 20_000
    assert (await http.get(RCS)).json()["items"] == []


async def test_a_small_body_that_unpacks_to_a_large_one(http: httpx.AsyncClient) -> None:
    packed = gzip.compress(b" " * (64 * 1024 * 1024))
    answer = await http.post(
        PODS, content=packed, headers={"content-type": "application/json", "content-encoding": "gzip"}
    )
    assert answer.status_code == 413


async def test_aliases_in_reason_are_fine(http: httpx.AsyncClient) -> None:
    text = "metadata: {name: y, labels: &l {a: b}, annotations: *l}\nspec: {containers: [{name: c, image: i}]}\n"
    answer = await http.post(PODS, content=text, headers={"content-type": "application/yaml"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["metadata"]["annotations"] == {"a": "b"}


@pytest.mark.parametrize("query", ["limit=x", "resourceVersion=abc", "labelSelector=a%20b", "fieldSelector=spec.x%3D1",
                                   "watch=perhaps", "continue=!!", "timeoutSeconds=x&watch=1", "resourceVersion=-1",
                                   "limit=-5&continue=e30",
                                   f"watch=1&timeoutSeconds={10**400}", f"limit={2**63}"])  # fmt: skip
async def test_an_absurd_parameter_is_a_bad_request(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"{PODS}?{query}")
    assert answer.status_code == 400, answer.text
    assert answer.json()["kind"] == "Status"
