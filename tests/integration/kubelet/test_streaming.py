"""The node API's streams over WebSockets, as clients other than kubectl speak them; the runtime is the fake."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

from kube.api.core import Pod
from kube.kubelet import streaming
from kube.kubelet.fake import FakeRuntime
from kube.kubelet.fake_process import Console
from kube.kubelet.pod_state import Seen
from kube.kubelet.runtime import ContainerConfig, PodId, SandboxConfig
from tests.runtime_contract import ASKS, BOTH, CAT, teach

V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"


@dataclass
class Worker:
    seen: Seen


class OnePod:
    """As much of a Kubelet as the streams need: one pod, that runs."""

    def __init__(self, seen: Seen) -> None:
        self.workers = {"uid": Worker(seen)}

    def pods(self) -> list[Pod]:
        return [Pod.parse({"metadata": {"name": "web", "namespace": "default", "uid": "uid"}})]


@dataclass
class Api:
    """The node API, and a client of it."""

    http: aiohttp.ClientSession
    fake: FakeRuntime

    def connect(self, path: str, *protocols: str) -> Any:
        return self.http.ws_connect(path, protocols=protocols)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    fake = teach(FakeRuntime())
    box = await fake.run_sandbox(SandboxConfig(PodId("default", "web", "uid")))
    id = await fake.create_container(box.id, ContainerConfig(box.pod, "web", "kube/web"))
    await fake.start_container(id)
    sandboxes, containers = await fake.pod_status("uid")
    app = web.Application()
    kubelet: Any = OnePod(Seen(sandboxes, containers))
    app.add_routes(streaming.routes(kubelet, fake))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (address,) = runner.addresses
    async with aiohttp.ClientSession(f"http://127.0.0.1:{address[1]}") as http, asyncio.timeout(20):
        yield Api(http, fake)
    await runner.cleanup()
    await fake.close()


def of(*command: str) -> str:
    return "".join(f"&command={quote(word)}" for word in command)


async def heard(socket: aiohttp.ClientWebSocketResponse) -> dict[int, bytes]:
    """All that comes until the end, by channel."""
    found: dict[int, bytes] = {}
    async for message in socket:
        found[message.data[0]] = found.get(message.data[0], b"") + message.data[1:]
    return found


async def test_v4_has_a_channel_each_and_the_exit_code_in_a_status(api: Api) -> None:
    async with api.connect(f"/exec/default/web/web?output=1&error=1{of(*BOTH)}", V4) as socket:
        assert socket.protocol == V4
        found = await heard(socket)
    assert (found[1], found[2]) == (b"out\n", b"err\n")
    status = json.loads(found[3])
    assert (status["status"], status["reason"]) == ("Failure", "NonZeroExitCode")
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]


async def test_v5_lets_the_client_close_its_input(api: Api) -> None:
    async with api.connect(f"/exec/default/web/web?input=1&output=1{of(*CAT)}", V5, V4) as socket:
        assert socket.protocol == V5
        await socket.send_bytes(b"\0hello")
        await socket.send_bytes(b"\xff\0")
        found = await heard(socket)
    assert found[1] == b"hello"
    assert json.loads(found[3]) == {"metadata": {}, "status": "Success"}


async def test_without_a_protocol_the_error_channel_is_text(api: Api) -> None:
    async with api.connect(f"/exec/default/web/web?output=1&error=1{of(*BOTH)}") as socket:
        found = await heard(socket)
    assert found[3] == b"command terminated with non-zero exit code: exit status 7"


async def test_base64_is_for_browsers(api: Api) -> None:
    async with api.connect(f"/exec/default/web/web?output=1{of(*BOTH)}", "v4.base64.channel.k8s.io") as socket:
        said = [message.data async for message in socket]
    assert "1" + base64.b64encode(b"out\n").decode() in said


async def test_a_terminal_is_resized_by_its_own_channel(api: Api) -> None:
    async with api.connect(f"/exec/default/web/web?input=1&output=1&tty=1{of(*ASKS)}", V4) as socket:
        await socket.send_bytes(b'\x04{"Width":120,"Height":40}')
        assert b"40 120\r\n" in (await heard(socket))[1]


async def test_a_command_whose_client_leaves_loses_its_input(api: Api) -> None:
    left = asyncio.Event()

    async def waits(console: Console) -> int:
        try:
            return len(await console.read())
        finally:
            left.set()

    api.fake.scripts["waits",] = waits
    async with api.connect("/exec/default/web/web?input=1&output=1&command=waits", V4) as socket:
        await socket.receive()
    await left.wait()


async def test_ports_are_pairs_of_channels_that_begin_with_their_number(api: Api) -> None:
    async with api.connect("/portForward/default/web?port=8080,81", V4) as socket:
        first = [(await socket.receive()).data for _ in range(4)]
        number = (8080).to_bytes(2, "little"), (81).to_bytes(2, "little")
        assert first == [b"\0" + number[0], b"\1" + number[0], b"\2" + number[1], b"\3" + number[1]]
        await socket.send_bytes(b"\0GET / HTTP/1.0\r\n\r\n")
        found = await heard(socket)
    assert found[0].startswith(b"HTTP/1.0 404")
    assert b"refused" in found[3]


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        pytest.param("/exec/default/none/web?output=1&command=ls", 404, "pod does not exist", id="no pod"),
        pytest.param("/exec/default/web/x?output=1&command=ls", 404, 'container not found ("x")', id="no container"),
        pytest.param("/exec/default/web/web?command=ls", 400, "you must specify at least 1 of stdin, stdout, stderr",
                     id="no streams"),
        pytest.param("/exec/default/web/web?output=1", 400, "you must specify at least one command for the container",
                     id="no command"),
        pytest.param("/attach/default/web/web?output=1", 400, "unable to upgrade: missing upgrade headers in request",
                     id="no upgrade"),
        pytest.param("/portForward/default/web?port=0", 400, 'unable to parse "0" as a port', id="no port"),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_a_request_is_an_answer(api: Api, path: str, code: int, words: str) -> None:
    async with api.http.get(path) as answer:
        assert (answer.status, await answer.text()) == (code, words)


async def test_run_answers_with_the_output(api: Api) -> None:
    async with api.http.post("/run/default/web/web?cmd=true") as answer:
        assert answer.status == 200
    async with api.http.post("/run/default/web/web?" + of(*("sh", "-c", "echo out; exit 7"))[1:]) as answer:
        assert answer.status == 500
        assert "exit code 7: out" in await answer.text()
