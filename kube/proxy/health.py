"""Health check node ports: a load balancer asks each node whether it has backends of a service on it.

For services whose externalTrafficPolicy is Local, traffic must only be sent to nodes that have some. Status, headers
and body are those of Kubernetes (pkg/proxy/healthcheck/service_health.go).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

from aiohttp import web

from kube.proxy.routes import Route

log = logging.getLogger(__name__)

_BODY = """{{
	"service": {{
		"namespace": "{namespace}",
		"name": "{name}"
	}},
	"localEndpoints": {count},
	"serviceProxyHealthy": {healthy}
}}"""


class Asked(NamedTuple):
    """The service that a port answers for."""

    namespace: str
    name: str


class HealthChecks:
    """Answers at the health check node ports."""

    def __init__(self, healthy: Callable[[], bool] = lambda: True, address: str = "0.0.0.0") -> None:
        self.healthy = healthy
        """Whether this node's rules are as they should be."""
        self._address = address
        self._local: dict[Asked, int] = {}
        self._servers: dict[int, tuple[Asked, web.AppRunner]] = {}
        self._failed: dict[int, Asked] = {}

    async def update(self, routes: Iterable[Route]) -> None:
        """Answer for these services, and for no others."""
        wanted: dict[int, Asked] = {}
        local: dict[Asked, set[str]] = {}
        for route in routes:
            if port := route.service.health_check_node_port:
                service = Asked(route.service.name.namespace, route.service.name.name)
                wanted[port] = service
                local.setdefault(service, set()).update(backend.ip for backend in route.local)
        self._local = {service: len(pods) for service, pods in local.items()}
        for port in [port for port, (service, _) in self._servers.items() if wanted.get(port) != service]:
            await self._servers.pop(port)[1].cleanup()
        for port, service in wanted.items():
            if port not in self._servers:
                await self._open(port, service)
        self._failed = {port: service for port, service in self._failed.items() if wanted.get(port) == service}

    async def close(self) -> None:
        """Answer no more."""
        await self.update(())

    def answer(self, service: Asked) -> web.Response:
        """What a load balancer is told of a service."""
        count, healthy = self._local.get(service, 0), self.healthy()
        return web.Response(
            status=200 if count and healthy else 503,
            text=_BODY.format(
                namespace=service.namespace, name=service.name, count=count, healthy=str(healthy).lower()
            ),
            content_type="application/json",
            headers={"X-Content-Type-Options": "nosniff", "X-Load-Balancing-Endpoint-Weight": str(count)},
        )

    async def _open(self, port: int, service: Asked) -> None:
        async def answer(_request: web.Request) -> web.Response:
            return self.answer(service)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._address, port).start()
        except OSError as error:
            await runner.cleanup()
            if self._failed.get(port) != service:  # it is tried again at each sync
                log.error("%s/%s: cannot listen on its health check node port %d: %s", *service, port, error.strerror)
            self._failed[port] = service
            return
        self._servers[port] = service, runner
        log.info("%s/%s: answering health checks on port %d", *service, port)
