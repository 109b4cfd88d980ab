"""A registry of images of a test's own, on loopback: Docker's HTTP API v2, as far as a pull needs it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator
from typing import Any

import docker
from aiohttp import web

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class OwnRegistry:
    """Serves one image. `user` and `password`: who may pull it; None: anybody."""

    def __init__(self, port: int, name: str, user: str | None, password: str) -> None:
        self.image = f"127.0.0.1:{port}/{name}"
        self.asked: list[str] = []
        """The paths that were asked for."""
        self.slow = asyncio.Event()
        """Until it is set, no layer is served."""
        self.slow.set()
        self._blobs: dict[str, bytes] = {}
        self._manifest = b""
        self._allowed = None if user is None else f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"

    def add(self, archive: bytes) -> None:
        """Take over the image in what `docker save` has written."""
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:

            def read(name: str) -> bytes:
                file = tar.extractfile(name)
                assert file is not None
                return file.read()

            described = json.loads(read("manifest.json"))[0]
            config = self._add(read(described["Config"]), "application/vnd.docker.container.image.v1+json")
            kind = "application/vnd.docker.image.rootfs.diff.tar.gzip"
            layers = [self._add(gzip.compress(read(layer)), kind) for layer in described["Layers"]]
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
        self._manifest = json.dumps(document).encode()

    def _add(self, content: bytes, kind: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._blobs[digest] = content
        return {"mediaType": kind, "size": len(content), "digest": digest}

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        headers = {"Docker-Distribution-Api-Version": "registry/2.0"}
        if self._allowed is not None and request.headers.get("Authorization") != self._allowed:
            refusal = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
            return web.json_response(refusal, status=401, headers={**headers, "WWW-Authenticate": 'Basic realm="test"'})
        if request.path == "/v2/":
            return web.json_response({}, headers=headers)
        if "/manifests/" in request.path:
            if request.path.endswith("/none"):
                missing = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
                return web.json_response(missing, status=404, headers=headers)
            headers |= {"Docker-Content-Digest": f"sha256:{hashlib.sha256(self._manifest).hexdigest()}"}
            return web.Response(body=self._manifest, content_type=MANIFEST, headers=headers)
        await self.slow.wait()
        content = self._blobs.get(request.path.rpartition("/")[2])
        return web.Response(status=404) if content is None else web.Response(body=content, headers=headers)


@contextlib.asynccontextmanager
async def own_registry(
    client: docker.APIClient, name: str, *, user: str | None = None, password: str = ""
) -> AsyncIterator[OwnRegistry]:
    """A registry that serves the image kube/web under this name. What was pulled from it is removed at the end."""
    app = web.Application()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    sock = await asyncio.get_running_loop().create_server(lambda: asyncio.Protocol(), "127.0.0.1", 0)
    port = sock.sockets[0].getsockname()[1]
    sock.close()
    await sock.wait_closed()
    registry = OwnRegistry(port, name, user, password)
    registry.add(b"".join(await asyncio.to_thread(lambda: list(client.get_image("kube/web")))))
    app.router.add_route("*", "/{path:.*}", registry.answer)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield registry
    finally:
        await runner.cleanup()
        with contextlib.suppress(docker.errors.APIError):
            await asyncio.to_thread(client.remove_image, registry.image, force=True)
