"""What the apiserver answers besides the API: health, version, metrics, and FastAPI's own pages at /docs."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from kube import daemon
from kube.api import errors
from kube.apiserver.discovery import Discovery
from kube.apiserver.openapi import OpenApi

VERSION = {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.0-kube",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": f"python{platform.python_version()}",
    "compiler": platform.python_implementation(),
    "platform": f"{platform.system().lower()}/{platform.machine()}",
}
"""What the API is like; kubectl compares it with its own version."""


def pages(discovery: Discovery, checks: Mapping[str, daemon.Check]) -> FastAPI:
    """The FastAPI application around the API."""
    app = FastAPI(title="kube-apiserver", description=__doc__, openapi_url="/openapi.json")

    @app.get("/version/", include_in_schema=False)  # as generated clients ask
    @app.get("/version")
    async def version() -> dict[str, str]:
        """Which Kubernetes the API is like."""
        return VERSION

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counters and timings, for Prometheus."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def health(request: Request) -> Response:
        """Each check on a line of its own with `?verbose`; 500 if one fails. `?exclude=<check>` leaves one out."""
        name = request.url.path.strip("/")
        left_out = request.query_params.getlist("exclude")
        asked = {check: ask for check, ask in checks.items() if check not in left_out}
        code, text = daemon.health_text(name, await daemon.run_checks(asked), verbose="verbose" in request.query_params)
        return PlainTextResponse(text, code)

    async def one_check(request: Request, check: str) -> Response:
        """A single check: `ok`, or 500 with the reason."""
        if check not in checks:
            raise HTTPException(404)
        why = (await daemon.run_checks({check: checks[check]}))[check]
        return PlainTextResponse(f"internal server error: {why}\n" if why else "ok", 500 if why else 200)

    for path in ("/healthz", "/livez", "/readyz"):
        app.add_api_route(path, health, methods=["GET", "HEAD"], response_class=PlainTextResponse)
        app.add_api_route(f"{path}/{{check:path}}", one_check, methods=["GET", "HEAD"], include_in_schema=False)

    @app.get("/", include_in_schema=False)
    async def root() -> dict[str, list[str]]:
        return {"paths": discovery.paths()}

    documents = OpenApi()

    @app.get("/openapi/v2", include_in_schema=False)
    async def openapi_v2(request: Request) -> Response:
        found = await asyncio.to_thread(documents.find_v2, request.headers.get("accept", ""))
        return Response(found.body, media_type=found.content_type)

    @app.get("/openapi/v3{rest:path}", include_in_schema=False)
    async def openapi(rest: str) -> Response:
        found = await asyncio.to_thread(documents.find, rest.strip("/"))
        if found is None:
            raise HTTPException(404)
        return Response(found.body, found.status, media_type=found.content_type)

    @app.exception_handler(HTTPException)
    async def status(request: Request, error: HTTPException) -> Response:
        """A path or method that nobody serves: a `Status`, as everywhere."""
        answer = errors.no_such_method() if error.status_code == 405 else errors.no_such_path()
        return JSONResponse(answer.to_dict(), answer.code)

    return app
