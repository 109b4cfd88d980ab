"""What clients of an apiserver see while its etcd is gone, or is silent, and after it."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.conftest import unavailable
from tests.integration.client.own_apiserver import OwnApiserver
from tests.own_etcd import OwnEtcd

MAPS = "/api/v1/namespaces/default/configmaps"
BOUND = 8.0
"""Seconds within which every request is answered. (The store's timeout is 5 s; the machine may be slow.)"""


@pytest.fixture
async def http(apiserver: OwnApiserver) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=apiserver.url, timeout=30) as http:
        yield http


@pytest.fixture(params=["killed", "silent"])
def away(request: pytest.FixtureRequest, own_etcd: OwnEtcd, apiserver: OwnApiserver) -> Any:
    """Two functions: one lets etcd go away, the other brings it back."""
    if request.param == "killed":
        return own_etcd.kill, own_etcd.start
    return own_etcd.pause, own_etcd.resume


def config_map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}}


async def test_requests_are_refused_in_time_health_is_red_and_a_watch_goes_on(
    http: httpx.AsyncClient, away: Any
) -> None:
    leave, come_back = away
    assert (await http.post(MAPS, json=config_map("before"))).status_code == 201
    async with http.stream("GET", MAPS, params={"watch": "1"}, timeout=60) as watch:
        lines = watch.aiter_lines()
        while (await next_name(lines)) != "before":
            pass
        leave()

        async def timed(method: str, path: str, **options: Any) -> tuple[float, httpx.Response]:
            begun = time.monotonic()
            answer = await http.request(method, path, **options)
            return time.monotonic() - begun, answer

        answers = await asyncio.gather(
            timed("GET", MAPS),
            timed("GET", f"{MAPS}/before"),
            timed("POST", MAPS, json=config_map("during")),
            timed("PUT", f"{MAPS}/before", json={**config_map("before"), "data": {"a": "b"}}),
            timed("DELETE", f"{MAPS}/before"),
            timed("DELETE", MAPS),
            timed("GET", MAPS, params={"watch": "1"}),
        )
        for seconds, answer in answers:
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["reason"] == "ServiceUnavailable"
            assert answer.json()["message"].startswith("etcd is unavailable: etcd at http://127.0.0.1:")
            assert seconds < BOUND
        for path in ("/healthz", "/readyz", "/livez"):
            seconds, answer = await timed("GET", path)
            assert answer.status_code == 500
            assert "[-]etcd failed" in answer.text
            assert seconds < BOUND
        assert (await http.get("/readyz/etcd")).status_code == 500
        assert (await http.get("/readyz/ping")).text == "ok"
        assert (await http.get("/readyz", params={"exclude": "etcd"})).text == "ok"
        assert (await http.get(MAPS, params={"resourceVersion": "0"})).status_code == 200, "as old as it may be"
        come_back()
        async with asyncio.timeout(15):
            while (await http.get("/readyz")).text != "ok":
                await asyncio.sleep(0.05)
            while (await http.post(MAPS, json=config_map("after"))).status_code == 503:
                await asyncio.sleep(0.05)
            # What was not answered may have happened, or not; what comes after it is told to the same watch.
            while (await next_name(lines)) != "after":
                pass


async def next_name(lines: AsyncIterator[str]) -> str:
    """Of the object that the next event is about."""
    name: str = json.loads(await anext(lines))["object"]["metadata"]["name"]
    return name


async def test_kubectl_waits_for_an_etcd_that_is_restarted_and_says_so_when_it_stays_away(
    own_etcd: OwnEtcd, apiserver: OwnApiserver
) -> None:
    if shutil.which("kubectl") is None:
        unavailable("kubectl")
    own_etcd.kill()
    waiting = asyncio.create_task(kubectl(apiserver, "get", "namespaces"))
    await asyncio.sleep(1)
    await asyncio.to_thread(own_etcd.start)
    code, said = await waiting
    assert (code, "kube-system" in said) == (0, True), said
    own_etcd.kill()
    code, said = await kubectl(apiserver, "get", "namespaces")
    assert code == 1
    assert said.startswith("Error from server (ServiceUnavailable): etcd is unavailable: etcd at http://127.0.0.1:")
    assert "Connection refused" in said


async def kubectl(apiserver: OwnApiserver, *args: str) -> tuple[int, str]:
    """Exit code, and all it says."""
    process = await asyncio.create_subprocess_exec(
        "kubectl", "-s", apiserver.url, *args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()
