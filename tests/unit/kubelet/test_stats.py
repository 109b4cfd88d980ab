"""What /stats/summary says."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import make_mocked_request

from kube.kubelet import machine
from kube.kubelet.runtime import Usage
from kube.kubelet.stats import Stats
from tests.kubelet_node import NODE, FakeNode, container, is_ready


@pytest.mark.looptime
async def test_what_pods_use_and_at_which_rate(node: FakeNode) -> None:
    pod = await node.create("web", container("a"), container("b"))
    await node.until(is_ready)
    stats = Stats(node.kubelet, node.runtime, lambda: machine.levels(node.root))

    async def ask() -> dict[str, Any]:
        answer = await stats.summary(make_mocked_request("GET", "/stats/summary"))
        assert isinstance(answer.body, bytes)
        found: dict[str, Any] = orjson.loads(answer.body)
        return found

    for name, seconds in (("a", 1), ("b", 2)):
        node.runtime.usages[node.id(pod, name)] = Usage(cpu=seconds * 10**9, memory=1000, memory_usage=1500, rss=500)
    await ask()
    node.runtime.usages[node.id(pod, "a")] = Usage(cpu=3 * 10**9, memory=2000, memory_usage=2500, rss=500)
    await asyncio.sleep(4)
    summary = await ask()
    (found,) = summary["pods"]
    assert found["podRef"] == {"name": "web", "namespace": "default", "uid": pod.metadata.uid}
    by_name = {c["name"]: c for c in found["containers"]}
    assert by_name["a"]["cpu"]["usageNanoCores"] == 500_000_000
    assert by_name["b"]["cpu"]["usageNanoCores"] == 0
    assert by_name["a"]["memory"]["workingSetBytes"] == 2000
    assert found["cpu"]["usageCoreNanoSeconds"] == 5 * 10**9
    assert found["memory"]["workingSetBytes"] == 3000
    of_node = summary["node"]
    assert of_node["nodeName"] == NODE
    assert (
        0
        < of_node["memory"]["workingSetBytes"]
        < of_node["memory"]["workingSetBytes"] + of_node["memory"]["availableBytes"]
    )
    assert of_node["fs"]["capacityBytes"] > of_node["fs"]["availableBytes"]
