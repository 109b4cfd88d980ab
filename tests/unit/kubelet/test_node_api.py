"""The kubelet's own API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from kube.api.core import ContainerStatus, Pod
from kube.kubelet import node_api
from kube.kubelet.fake import Program
from kube.kubelet.pod_state import Seen
from tests.kubelet_node import FakeNode, container, is_ready, make_pod

Http = TestClient[web.Request, web.Application]


@pytest.fixture
async def http(node: FakeNode) -> AsyncIterator[Http]:
    await node.until_runtime(lambda: node.kubelet.synced)
    app = web.Application()
    app.add_routes(node_api.routes(node.kubelet, node.runtime))
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.fixture
async def pod(node: FakeNode) -> Pod:
    node.runtime.programs[("talk",)] = Program(output=b"one\ntwo\nthree\n")
    await node.create("web", container(command=["talk"]))
    return await node.until(is_ready)


async def text(http: Http, path: str, status: int = 200) -> str:
    async with http.get(path) as answer:
        body = await answer.text()
        assert answer.status == status, body
        return body


async def test_the_pods_are_shown_with_their_present_status(http: Http, pod: Pod) -> None:
    async with http.get("/pods") as answer:
        data: dict[str, Any] = await answer.json()
    assert (data["kind"], data["apiVersion"]) == ("PodList", "v1")
    (found,) = data["items"]
    assert (found["kind"], found["metadata"]["name"], found["status"]["phase"]) == ("Pod", "web", "Running")


async def test_running_pods_are_those_with_containers(http: Http, node: FakeNode, pod: Pod) -> None:
    await node.create("waiting", container(image="no/such"))
    await node.until_runtime(lambda: "Pulling" in node.recorder.reasons())
    async with http.get("/runningpods/") as answer:
        assert [p["metadata"]["name"] for p in (await answer.json())["items"]] == ["web"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "one\ntwo\nthree\n"),
        ("?tailLines=2", "two\nthree\n"),
        ("?tailLines=0", ""),
        ("?limitBytes=5", "one\nt"),
        ("?tailLines=1&limitBytes=3", "thr"),
        ("?sinceSeconds=3600", "one\ntwo\nthree\n"),
        ("?sinceTime=2000-01-01T00:00:00Z", "one\ntwo\nthree\n"),
        ("?sinceTime=2100-01-01T00:00:00Z", ""),
    ],
)
async def test_logs(http: Http, pod: Pod, query: str, expected: str) -> None:
    assert await text(http, f"/containerLogs/default/web/main{query}") == expected


async def test_logs_with_the_time_of_each_line(http: Http, pod: Pod) -> None:
    lines = (await text(http, "/containerLogs/default/web/main?timestamps=true")).splitlines()
    assert [line.split(" ")[1] for line in lines] == ["one", "two", "three"]
    assert all(line.split(" ")[0].endswith("Z") for line in lines)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("default/none/main", 404, 'pod "none" not found in namespace "default"'),
        ("default/web/none", 400, 'container "none" in pod "web" is not available'),
        ("default/web/main?previous=true", 400, 'previous terminated container "main" in pod "web" not found'),
        ("default/web/main?tailLines=x", 400, "tailLines must be a number"),
        ("default/web/main?limitBytes=0", 400, "limitBytes must be a number, 1 or more"),
        ("default/web/main?sinceTime=x", 400, "sinceTime must be a time"),
    ],
)
async def test_what_cannot_be_shown(http: Http, pod: Pod, path: str, status: int, message: str) -> None:
    assert message in await text(http, f"/containerLogs/{path}", status)


async def test_a_container_that_has_not_begun_has_no_log(http: Http, node: FakeNode) -> None:
    await node.create("web", container(image="no/such"))
    await node.until_runtime(lambda: "Failed" in node.recorder.reasons())
    await node.until(lambda p: waits(p.status.containerStatuses, "ErrImagePull"))
    message = await text(http, "/containerLogs/default/web/main", 400)
    assert message == 'container "main" in pod "web" is waiting to start: image can\'t be pulled'


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("ErrImagePull", "image can't be pulled"),
        ("ImagePullBackOff", "trying and failing to pull image"),
        ("CreateContainerConfigError", "CreateContainerConfigError"),
    ],
)
def test_what_a_container_waits_for(reason: str, words: str) -> None:
    state = {"waiting": {"reason": reason}}
    waiting = Pod.parse({**make_pod().to_dict(), "status": {"containerStatuses": [{"name": "main", "state": state}]}})
    with pytest.raises(LookupError) as caught:
        node_api.choose(waiting, "main", Seen(), previous=False)
    assert caught.value.args[0] == f'container "main" in pod "web" is waiting to start: {words}'


def waits(statuses: list[ContainerStatus], reason: str) -> bool:
    return bool(statuses) and statuses[0].state.waiting is not None and statuses[0].state.waiting.reason == reason


async def test_an_init_container_that_waits_to_be_started_again_shows_its_log(http: Http, node: FakeNode) -> None:
    node.runtime.programs[("fail",)] = Program(exit_code=1, output=b"no such table\n")
    await node.create("web", initContainers=[container("first", command=["fail"]), container("second")])
    await node.until(lambda p: waits(p.status.initContainerStatuses, "CrashLoopBackOff"))
    for query in ("", "?previous=true"):
        assert await text(http, f"/containerLogs/default/web/first{query}") == "no such table\n"
    for name in ("second", "main"):
        message = await text(http, f"/containerLogs/default/web/{name}", 400)
        assert message == f'container "{name}" in pod "web" is waiting to start: PodInitializing'


async def test_the_log_of_the_container_before(http: Http, node: FakeNode, pod: Pod) -> None:
    node.runtime.write(node.id(pod), b"last words\n")
    node.runtime.exit(node.id(pod), 1)
    await node.until(lambda p: is_ready(p) and p.status.containerStatuses[0].restartCount == 1)
    assert (await text(http, "/containerLogs/default/web/main?previous=true")).endswith("last words\n")
    assert await text(http, "/containerLogs/default/web/main") == "one\ntwo\nthree\n"


async def test_a_followed_log_comes_as_it_is_written_and_ends_with_the_container(
    http: Http, node: FakeNode, pod: Pod
) -> None:
    async with http.get("/containerLogs/default/web/main?follow=true&tailLines=1") as answer:
        assert await line(answer) == b"three\n"
        node.runtime.write(node.id(pod), b"four\n")
        assert await line(answer) == b"four\n"
        node.runtime.exit(node.id(pod), 0)
        assert await line(answer) == b""


async def line(answer: aiohttp.ClientResponse) -> bytes:
    async with asyncio.timeout(5):
        return await answer.content.readline()
