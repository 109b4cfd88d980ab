"""Probes: counting answers, asking real sockets, and the times of the questions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kube.api import core
from kube.kubelet.fake import FakeRuntime
from kube.kubelet.pod_state import Unhealthy
from kube.kubelet.prober import Answer, Prober, port_number
from kube.kubelet.probes import Tally
from kube.kubelet.runtime import ContainerConfig, ExecResult, PodId, SandboxConfig
from kube.kubelet.status import Health as Verdict
from tests.kubelet_node import FakeNode, container, is_ready, make_pod


@pytest.mark.parametrize(
    ("thresholds", "answers", "verdicts"),
    [
        pytest.param((1, 3), "FFF", [None, None, False], id="three failures in a row"),
        pytest.param((1, 3), "FFSFF", [None, None, True, True, True], id="a success in between begins anew"),
        pytest.param((1, 1), "SFSF", [True, False, True, False], id="thresholds of one"),
        pytest.param((3, 1), "SSFSSS", [None, None, False, False, False, True], id="three successes in a row"),
    ],
)
def test_answers_in_a_row_make_a_verdict(
    thresholds: tuple[int, int], answers: str, verdicts: list[bool | None]
) -> None:
    tally = Tally(*thresholds)
    found = []
    for answer in answers:
        before = tally.verdict
        assert tally.count(answer == "S") == (tally.verdict is not before)
        found.append(tally.verdict)
    assert found == verdicts


PORTS = make_pod("p", container(ports=[{"name": "http", "containerPort": 8080}])).spec.containers[0]


@pytest.mark.parametrize(("port", "number"), [(80, 80), ("http", 8080), ("81", 81)])
def test_a_port_by_number_or_name(port: int | str, number: int) -> None:
    assert port_number(PORTS, port) == number


@pytest.mark.parametrize("port", ["none", 0, 70000])
def test_a_port_that_is_none(port: int | str) -> None:
    with pytest.raises(ValueError, match="port"):
        port_number(PORTS, port)


@asynccontextmanager
async def serving(
    status: int = 200, delay: float = 0.0, location: str = "/end"
) -> AsyncIterator[tuple[int, list[web.Request]]]:
    """A web server on loopback; its port, and the requests that it got."""
    requests: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        requests.append(request)
        await asyncio.sleep(delay)
        if 300 <= status < 399 and request.path != "/end":
            return web.Response(status=status, headers={"Location": location})
        return web.Response(status=status if status not in (301, 302) else 200, text="hello")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1], requests
    finally:
        await runner.cleanup()


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    prober = Prober(FakeRuntime())
    yield prober
    await prober.close()


async def ask(prober: Prober, probe: dict[str, object]) -> Answer:
    return await prober.ask(core.Probe.parse(probe), PORTS, "id", "127.0.0.1")


@pytest.mark.parametrize(
    ("status", "good"), [(200, True), (204, True), (302, True), (399, True), (400, False), (404, False), (500, False)]
)
async def test_an_http_probe_looks_at_the_status(prober: Prober, status: int, good: bool) -> None:
    async with serving(status) as (port, requests):
        answer = await ask(prober, {"httpGet": {"port": port, "path": "/a?b=%2F"}})
    assert answer.success is good
    assert requests[0].raw_path == "/a?b=%2F"
    assert requests[0].headers["User-Agent"].startswith("kube-probe/")
    if not good:
        assert answer.message == f"HTTP probe failed with statuscode: {status}"


@pytest.mark.parametrize(
    ("location", "answer", "asked"),
    [
        pytest.param("/end", Answer(True, "hello"), 2, id="to another page"),
        pytest.param(
            "http://example.com/", Answer(True, "Probe terminated redirects, Response body: ", warning=True), 1,
            id="to another host: that is answer enough",
        ),
        pytest.param("/x", Answer(False, "stopped after 10 redirects"), 10, id="in a circle"),
    ],
)  # fmt: skip
async def test_an_http_probe_follows_redirects_to_its_own_host(
    prober: Prober, location: str, answer: Answer, asked: int
) -> None:
    async with serving(302, location=location) as (port, requests):
        found = await ask(prober, {"httpGet": {"port": port, "path": "/x"}})
    assert (found.success, found.warning, len(requests)) == (answer.success, answer.warning, asked)
    assert found.message.endswith(answer.message)


async def test_an_http_probe_sends_the_headers_that_it_is_given(prober: Prober) -> None:
    async with serving() as (port, requests):
        given = [("Host", "example.com"), ("X-A", "b"), ("X-A", "c"), ("user-agent", "me")]
        headers = [{"name": name, "value": value} for name, value in given]
        await ask(prober, {"httpGet": {"port": port, "path": "x", "httpHeaders": headers}})
    found = requests[0]
    assert (found.host, found.headers.getall("X-A"), found.path) == ("example.com", ["b", "c"], "/x")
    assert found.headers.getall("User-Agent") == ["me"]


async def test_an_answer_that_comes_too_late_is_a_failure(prober: Prober) -> None:
    async with serving(delay=1) as (port, _):
        answer = await prober._http(core.HTTPGetAction(port=port), PORTS, "127.0.0.1", 0.05)
    assert answer.success is False
    assert "context deadline exceeded" in answer.message


@pytest.mark.parametrize("kind", ["httpGet", "tcpSocket"])
async def test_nobody_listening_is_a_failure_in_words(prober: Prober, kind: str) -> None:
    async with serving() as (port, _):
        pass
    answer = await ask(prober, {kind: {"port": port}})
    assert answer.success is False
    assert answer.message.endswith(f"dial tcp 127.0.0.1:{port}: connect: connection refused")


async def test_a_tcp_probe_is_content_with_a_connection(prober: Prober) -> None:
    async with serving() as (port, requests):
        assert (await ask(prober, {"tcpSocket": {"port": port}})).success
    assert not requests


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it comes without types
    """Knows two services."""

    async def Check(self, request: Any, context: Any) -> Any:  # as the service calls it
        if request.service == "slow":
            await asyncio.sleep(60)
        states = {"": "SERVING", "broken": "NOT_SERVING"}
        if request.service not in states:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return health_pb2.HealthCheckResponse(status=states[request.service])


@pytest.mark.parametrize(
    ("service", "good", "message"),
    [
        ("", True, "service healthy"),
        ("broken", False, 'service unhealthy (responded with "NOT_SERVING")'),
        ("none", False, "error: health rpc failed: rpc error: code = NOT_FOUND desc = unknown service"),
        ("slow", False, "timeout: health rpc did not complete within 1s"),
    ],
)
async def test_a_grpc_probe_asks_the_health_service(prober: Prober, service: str, good: bool, message: str) -> None:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(Health(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert await ask(prober, {"grpc": {"port": port, "service": service}}) == Answer(good, message)
    finally:
        await server.stop(None)


async def test_a_grpc_probe_of_who_does_not_serve_it_says_so(prober: Prober) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    answer = await ask(prober, {"grpc": {"port": port}})
    await server.stop(None)
    assert answer.success is False
    assert "does not implement the grpc health protocol" in answer.message
    answer = await ask(prober, {"grpc": {"port": port}})
    assert answer.success is False
    assert answer.message.startswith(f'error: failed to connect service at "127.0.0.1:{port}": ')


async def test_a_probe_of_a_port_that_is_none_is_an_error_and_no_failure(prober: Prober) -> None:
    answer = await ask(prober, {"tcpSocket": {"port": "none"}})
    assert answer == Answer(None, "couldn't find port: none in container main")


@pytest.mark.looptime
async def test_an_exec_probe_looks_at_the_exit_code_and_the_time() -> None:
    runtime = FakeRuntime()
    prober = Prober(runtime)
    pod = PodId("default", "web", "uid")
    sandbox = await runtime.run_sandbox(SandboxConfig(pod))
    id = await runtime.create_container(sandbox.id, ContainerConfig(pod, "main", "kube/web"))
    await runtime.start_container(id)
    runtime.exec_results = {("bad",): ExecResult(1, b"no\n"), ("slow",): None}

    async def run(*command: str) -> Answer:
        return await prober.ask(core.Probe(exec=core.ExecAction(command=list(command))), PORTS, id, "")

    assert await run("good") == Answer(True, "")
    assert await run("bad") == Answer(False, "no\n")
    assert await run("slow") == Answer(False, 'command timed out: "slow" timed out after 1s')
    runtime.kill_engine()
    assert await run("good") == Answer(None)


@pytest.mark.looptime
async def test_the_times_of_the_questions(node: FakeNode) -> None:
    probe = {"exec": {"command": ["x"]}, "initialDelaySeconds": 3, "periodSeconds": 2}
    await node.create("web", container(livenessProbe=probe))
    begin = asyncio.get_running_loop().time()
    await asyncio.sleep(10)
    assert [round(at - begin) for at, _ in node.answers.asked] == [3, 5, 7, 9]


@pytest.mark.looptime
async def test_a_container_that_is_not_ready_yet_is_asked_soon_again(node: FakeNode) -> None:
    node.answers.answers["main"] = Answer(False, "starting")
    await node.create("web", container(readinessProbe={"exec": {"command": ["x"]}, "periodSeconds": 10}))
    await asyncio.sleep(0.25)
    del node.answers.answers["main"]
    begin = asyncio.get_running_loop().time()
    await node.until(is_ready)
    assert asyncio.get_running_loop().time() - begin < 0.5


@pytest.mark.looptime
async def test_what_is_asked_early_is_no_event_until_its_regular_time(node: FakeNode) -> None:
    node.answers.answers["main"] = Answer(False, "starting")
    await node.create("web", container(readinessProbe={"exec": {"command": ["x"]}, "periodSeconds": 10}))
    await asyncio.sleep(9)
    assert "Unhealthy" not in node.recorder.reasons()
    await asyncio.sleep(20)
    assert "Unhealthy" in node.recorder.reasons()


@pytest.mark.looptime
async def test_a_success_with_a_warning_is_told(node: FakeNode) -> None:
    answer = "Probe terminated redirects, Response body: "
    node.answers.answers["main"] = Answer(True, answer, warning=True)
    await node.create("web", container(readinessProbe={"httpGet": {"port": 80}}))
    await node.until(is_ready)
    assert node.recorder.messages("ProbeWarning")[0] == f"Readiness probe warning: {answer}"
    assert "Unhealthy" not in node.recorder.reasons()


@pytest.mark.looptime
async def test_probes_end_with_their_container(node: FakeNode) -> None:
    probe = {"exec": {"command": ["x"]}, "periodSeconds": 1}
    await node.create("web", container(livenessProbe=probe, readinessProbe=probe))
    await node.until(is_ready)
    await node.delete(grace=0)
    await node.until_runtime(lambda: not node.kubelet.workers)
    node.answers.asked.clear()
    await asyncio.sleep(5)
    assert not node.answers.asked


def test_health_and_verdicts_are_values() -> None:
    assert Verdict() == Verdict(ready=True, started=True)
    assert Unhealthy("liveness") == Unhealthy("liveness", None)
