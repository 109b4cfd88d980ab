"""Component statuses, of daemons that answer, answer badly, or do not answer."""

from __future__ import annotations

import socket

from aiohttp import web
from aiohttp.test_utils import TestServer

from kube.apiserver.components import Components
from kube.store.memory import MemoryStore


async def test_a_daemon_that_is_well_one_that_is_not_and_one_that_is_gone() -> None:
    async def well(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ill(request: web.Request) -> web.Response:
        return web.Response(text="etcd failed", status=500)

    app = web.Application()
    app.router.add_get("/well", well)
    app.router.add_get("/ill", ill)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # taken, but nobody listens
        gone = f"127.0.0.1:{taken.getsockname()[1]}"
        async with TestServer(app) as server:
            urls = {
                "a": str(server.make_url("/well")),
                "b": str(server.make_url("/ill")),
                "c": f"http://{gone}/healthz",
            }
            found = await Components(MemoryStore(), urls).list()
    shown = {component.name: component.conditions[0] for component in found}
    assert (shown["a"].status, shown["a"].message) == ("True", "ok")
    assert (shown["b"].status, shown["b"].message) == ("False", "etcd failed")
    assert shown["c"].message == f'Get "http://{gone}/healthz": dial tcp {gone}: connect: connection refused'
    assert shown["etcd-0"].status == "True"
