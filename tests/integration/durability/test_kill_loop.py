"""kill -9 of apiservers and etcd, again and again, while clients write: nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import json
import random
import time

import httpx

from kube.store.etcd import EtcdStore
from tests.history import check
from tests.integration.client.own_apiserver import OwnApiserver
from tests.own_etcd import OwnEtcd
from tests.recorder import Recorder

TORMENT = 15.0
"""Seconds that servers are killed for."""


async def test_nothing_is_lost_doubled_or_reordered(own_etcd: OwnEtcd, apiservers: list[OwnApiserver]) -> None:
    one, two = apiservers
    async with httpx.AsyncClient() as http:
        made = await http.post(f"{one.url}/api/v1/namespaces", json={"metadata": {"name": "kept"}})
        assert made.status_code == 201
    recorder = Recorder([one.url, two.url], "kept")
    deaths = {"apiserver": 0, "etcd": 0, "silence": 0}
    async with recorder.running(writers=4):
        end = time.monotonic() + TORMENT
        while time.monotonic() < end:
            await asyncio.sleep(random.uniform(0.2, 1.0))
            victim = random.choice(["apiserver", "apiserver", "etcd", "etcd", "silence"])
            deaths[victim] += 1
            if victim == "apiserver":
                server = random.choice(apiservers)
                server.kill()
                await asyncio.to_thread(server.start)
            elif victim == "etcd":
                await asyncio.to_thread(own_etcd.restart)
            else:
                own_etcd.pause()
                await asyncio.sleep(0.5)
                own_etcd.resume()
    history = recorder.history
    wrong = check(history)
    assert not wrong, f"{deaths}:\n" + "\n".join(wrong[:50])
    # It was a test: there were deaths, and many writes lived through them; some did not, and none was refused.
    assert sum(deaths.values()) >= 4
    assert recorder.acknowledged() > 100
    assert not [str(write) for write in history.writes if write.outcome.value == "refused"]
    assert history.final == await in_etcd(own_etcd)


async def in_etcd(etcd: OwnEtcd) -> dict[str, tuple[str, int]]:
    """What etcd itself holds: value and revision by name."""
    store = EtcdStore([etcd.endpoint])
    try:
        items = (await store.list("/registry/configmaps/kept/")).items
    finally:
        await store.close()
    return {kv.key.rpartition("/")[2]: (json.loads(kv.value)["data"]["value"], kv.revision) for kv in items}
