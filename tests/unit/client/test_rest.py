"""The client, at a server that answers as each test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from kube.api import errors
from kube.api.core import Node, Pod
from kube.api.meta import ObjectMeta
from kube.client.rest import JSON_PATCH, MERGE_PATCH, Client
from tests.unit.client.apiserver import json, serve
from tests.unit.client.cluster import make_pod

POD = make_pod("web", "shop", uid="u1")


async def test_each_verb_is_the_request_that_kubernetes_knows() -> None:
    async with serve(json(POD.to_json())) as server, Client(server.url) as client:
        pod = await client.get(Pod, "web", "shop")
        assert pod == POD
        await client.create(POD)
        await client.update(POD)
        await client.update(POD, "status")
        await client.patch(Pod, "web", "shop", {"metadata": {"labels": {"a": "b"}}})
        await client.patch(Pod, "web", "shop", [{"op": "remove", "path": "/x"}], content_type=JSON_PATCH)
        await client.patch(Pod, "web", "shop", {"status": {}}, subresource="status")
        await client.delete(Pod, "web", "shop")
        await client.bind(POD, "node-1")
    assert [f"{asked.method} {asked.path}" for asked in server.asked] == [
        "GET /api/v1/namespaces/shop/pods/web",
        "POST /api/v1/namespaces/shop/pods",
        "PUT /api/v1/namespaces/shop/pods/web",
        "PUT /api/v1/namespaces/shop/pods/web/status",
        "PATCH /api/v1/namespaces/shop/pods/web",
        "PATCH /api/v1/namespaces/shop/pods/web",
        "PATCH /api/v1/namespaces/shop/pods/web/status",
        "DELETE /api/v1/namespaces/shop/pods/web",
        "POST /api/v1/namespaces/shop/pods/web/binding",
    ]
    assert server.asked[1].body == POD.to_dict()
    assert server.asked[4].headers["Content-Type"] == MERGE_PATCH
    assert server.asked[4].body == {"metadata": {"labels": {"a": "b"}}}
    assert server.asked[5].headers["Content-Type"] == JSON_PATCH
    binding = server.asked[8].body
    assert binding["kind"] == "Binding"
    assert binding["metadata"] == {"name": "web", "namespace": "shop", "uid": "u1"}
    assert binding["target"] == {"kind": "Node", "apiVersion": "v1", "name": "node-1"}


async def test_a_cluster_scoped_object_has_no_namespace_in_its_path() -> None:
    node = Node(metadata=ObjectMeta(name="node-1"))
    async with serve(json(node.to_json())) as server, Client(server.url) as client:
        await client.update(node, "status")
    assert server.asked[0].path == "/api/v1/nodes/node-1/status"


async def test_a_name_that_is_no_name_stays_in_its_place() -> None:
    async with serve(json({}, 404)) as server, Client(server.url) as client:
        with pytest.raises(errors.NotFound):
            await client.get(Pod, "a?b#c d%2F", "shop")
    assert server.asked[0].path == "/api/v1/namespaces/shop/pods/a%3Fb%23c%20d%252F"


@pytest.mark.parametrize(
    ("options", "body"),
    [
        pytest.param({}, {}, id="nothing asked for"),
        pytest.param({"grace_period": 0}, {"gracePeriodSeconds": 0}, id="at once"),
        pytest.param({"uid": "u1"}, {"preconditions": {"uid": "u1"}}, id="only that very object"),
        pytest.param(
            {"uid": "u1", "resource_version": "7", "grace_period": 3},
            {"gracePeriodSeconds": 3, "preconditions": {"uid": "u1", "resourceVersion": "7"}},
            id="everything",
        ),
    ],
)
async def test_delete_options(options: dict[str, Any], body: dict[str, Any]) -> None:
    async with serve(json({"kind": "Status"})) as server, Client(server.url) as client:
        await client.delete(Pod, "web", "shop", **options)
    assert server.asked[0].body == {"kind": "DeleteOptions", "apiVersion": "v1", **body}


class TestList:
    async def test_it_reads_all_pages_and_keeps_the_version(self) -> None:
        pages = (
            json({"metadata": {"resourceVersion": "9", "continue": "more"}, "items": [make_pod("a").to_dict()]}),
            json({"metadata": {"resourceVersion": "9"}, "items": [make_pod("b").to_dict()]}),
        )
        async with serve(*pages) as server, Client(server.url) as client:
            found = await client.list(Pod, "shop", labels="app in (a,b)", fields="spec.nodeName=n1")
        assert [pod.name for pod in found.items] == ["a", "b"]
        assert found.resourceVersion == "9"
        assert server.asked[0].query["labelSelector"] == "app in (a,b)"
        assert server.asked[0].query["fieldSelector"] == "spec.nodeName=n1"
        assert server.asked[1].query["continue"] == "more"

    async def test_an_empty_list_of_a_go_server_is_null(self) -> None:
        answer = json({"metadata": {"resourceVersion": "9"}, "items": None})
        async with serve(answer) as server, Client(server.url) as client:
            assert (await client.list(Pod)).items == []
        assert server.asked[0].path == "/api/v1/pods"

    async def test_an_object_that_cannot_be_read_is_an_error_or_left_out(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        items = [{"metadata": {"name": "bad"}, "spec": {"containers": 7}}, make_pod("good").to_dict()]
        answer = json({"metadata": {"resourceVersion": "9"}, "items": items})
        async with serve(answer) as server, Client(server.url) as client:
            with pytest.raises(errors.InternalError, match=r"not a list of Pod: items\.0\.spec.containers"):
                await client.list(Pod)
            assert [pod.name for pod in (await client.list(Pod, lenient=True)).items] == ["good"]
        assert [record.levelname for record in caplog.records] == ["ERROR"]


class TestErrors:
    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            pytest.param(json(errors.not_found("pods", "x").to_dict(), 404), errors.NotFound, id="404"),
            pytest.param(json(errors.conflict("pods", "x").to_dict(), 409), errors.Conflict, id="409 Conflict"),
            pytest.param(
                json(errors.already_exists("pods", "x").to_dict(), 409), errors.AlreadyExists, id="409 AlreadyExists"
            ),
            pytest.param(json({}, 503), errors.ServiceUnavailable, id="503 without a Status"),
            pytest.param(web.Response(text="<html>", status=500), errors.InternalError, id="500 that is no JSON"),
            pytest.param(json([], 418), errors.Unclassified, id="a code nobody knows"),
        ],
    )
    async def test_an_answer_is_raised_as_the_error_that_it_is(
        self, answer: web.Response, expected: type[errors.ApiError]
    ) -> None:
        async with serve(answer) as server, Client(server.url) as client:
            with pytest.raises(expected) as raised:
                await client.create(POD)
        assert type(raised.value) is expected

    async def test_causes_arrive(self) -> None:
        invalid = errors.invalid_object("Pod", "x", [errors.required("spec.containers")])
        async with serve(json(invalid.to_dict(), 422)) as server, Client(server.url) as client:
            with pytest.raises(errors.Invalid, match="Required value") as raised:
                await client.create(POD)
        assert raised.value.details["causes"][0]["field"] == "spec.containers"

    async def test_a_refused_connection_says_where(self) -> None:
        async with serve(json({})) as server:
            url = server.url
        async with Client(url) as client:
            with pytest.raises(errors.ServiceUnavailable, match=f"cannot reach the apiserver at {url}: ") as raised:
                await client.create(POD)
        assert "refused" in str(raised.value).lower()

    async def test_no_answer_in_time_is_a_timeout(self) -> None:
        async def never(request: web.Request) -> web.StreamResponse:
            await asyncio.sleep(3600)
            raise AssertionError

        async with serve(never) as server, Client(server.url, timeout=0.05) as client:
            with pytest.raises(errors.Timeout, match=r"did not answer POST /api/v1/namespaces/shop/pods within 0.05 s"):
                await client.create(POD)

    async def test_an_answer_that_is_not_the_object_is_an_error(self) -> None:
        async with serve(json({"metadata": 7})) as server, Client(server.url) as client:
            with pytest.raises(errors.InternalError, match="answered with no Pod: metadata"):
                await client.get(Pod, "x", "shop")


class TestTryingAgain:
    async def test_a_get_is_tried_again_while_the_apiserver_is_away(self) -> None:
        away = json({}, 503)
        async with serve(away, away, json(POD.to_json())) as server, Client(server.url) as client:
            assert await client.get(Pod, "web", "shop") == POD
        assert len(server.asked) == 3

    async def test_a_write_is_not(self) -> None:
        async with serve(json({}, 503), json(POD.to_json())) as server, Client(server.url) as client:
            with pytest.raises(errors.ServiceUnavailable):
                await client.create(POD)
        assert len(server.asked) == 1

    @pytest.mark.parametrize("verb", ["create", "update", "delete"])
    async def test_nor_is_one_whose_connection_breaks(self, verb: str) -> None:
        async def hang_up(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            request.transport.abort()
            return json(POD.to_json())

        async with serve(hang_up) as server, Client(server.url) as client:
            asked: dict[str, Callable[[], Awaitable[object]]] = {
                "create": lambda: client.create(POD),
                "update": lambda: client.update(POD),
                "delete": lambda: client.delete(Pod, "web", "shop"),
            }
            with pytest.raises(errors.ServiceUnavailable):
                await asked[verb]()
        assert len(server.asked) == 1

    async def test_a_write_that_was_turned_away_with_retry_after_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        waits: list[float] = []
        sleep = asyncio.sleep

        async def noted(seconds: float) -> None:
            waits.append(seconds)
            await sleep(0)

        busy = json({}, 429, Retry_After="2")
        async with serve(busy, busy, json(POD.to_json())) as server, Client(server.url) as client:
            monkeypatch.setattr("kube.client.rest.asyncio.sleep", noted)
            await client.create(POD)
        assert len(server.asked) == 3
        assert [wait for wait in waits if wait] == [2.0, 2.0]

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(json({}, 429), id="without Retry-After"),
            pytest.param(json({}, 429, Retry_After="3600"), id="with one that is too long to wait for"),
        ],
    )
    async def test_too_many_requests_is_the_caller_s_to_decide(self, answer: web.Response) -> None:
        async with serve(answer) as server, Client(server.url) as client:
            with pytest.raises(errors.TooManyRequests):
                await client.create(POD)
        assert len(server.asked) == 1


async def test_connections_are_used_again_and_headers_are_sent() -> None:
    peers: set[object] = set()

    async def respond(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return json(POD.to_json())

    async with serve(respond) as server, Client(server.url, token="secret", user_agent="kube-test") as client:
        for _ in range(5):
            await client.get(Pod, "web", "shop")
    assert len(peers) == 1
    headers = server.asked[0].headers
    assert headers["Authorization"] == "Bearer secret"
    assert headers["User-Agent"] == "kube-test"


async def test_it_survives_a_restart_of_the_apiserver() -> None:
    async with serve(json(POD.to_json())) as server:
        client = Client(server.url)
        await client.get(Pod, "web", "shop")
    with pytest.raises(errors.ServiceUnavailable):
        await client.create(POD)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(server.url.rpartition(":")[2]), reuse_address=True).start()
    try:
        assert await client.create(POD) == POD
    finally:
        await client.close()
        await runner.cleanup()
