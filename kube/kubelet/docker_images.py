"""The images of a Docker engine."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import docker
from docker.utils import parse_repository_tag

from kube.kubelet import docker_objects as objects
from kube.kubelet.credentials import Credentials
from kube.kubelet.docker_engine import Engine, Stream, json_lines, open_stream, status
from kube.kubelet.runtime import Image, ImageNotFound, RuntimeFailure, full_image_name

PULL_SILENCE = 60.0
"""Seconds without progress after which a pull is given up: Kubernetes' --image-pull-progress-deadline."""


class DockerImages:
    """As much of a Runtime as is about images."""

    def __init__(self, engine: Engine, pull_silence: float = PULL_SILENCE) -> None:
        self._engine = engine
        self._pull_silence = pull_silence

    async def image(self, name: str) -> Image | None:
        try:
            return objects.image(await self._engine.call(lambda client: _inspect_image(client, name)))
        except ImageNotFound:
            return None

    async def pull(self, name: str, credentials: Credentials | None = None) -> Image:
        repository, tag = parse_repository_tag(full_image_name(name))
        try:
            stream = self._engine.stream(
                lambda client: _pull(client, repository, tag, credentials), silence=self._pull_silence
            )
            async with contextlib.aclosing(stream) as batches:
                async for batch in batches:
                    for line in batch:
                        if "error" in line:
                            raise _pull_failure(line["error"])
        except TimeoutError:
            raise RuntimeFailure(f"no progress pulling {name} for {self._pull_silence:g} s", "ErrImagePull") from None
        except RuntimeFailure as error:
            if type(error) is RuntimeFailure and status(error):
                raise _pull_failure(str(error)) from error
            raise
        image = await self.image(name)
        if image is None:
            raise ImageNotFound(f"{name} was pulled, but is not there", "ErrImagePull")
        return image

    async def list_images(self) -> list[Image]:
        return [objects.image(item) for item in await self._engine.call(lambda client: client.images())]

    async def remove_image(self, id: str) -> None:
        with contextlib.suppress(ImageNotFound):
            await self._engine.call(lambda client: _remove_image(client, id))


def _inspect_image(client: docker.APIClient, name: str) -> dict[str, Any]:
    inspect: Any = client.inspect_image
    inspected: dict[str, Any] = inspect(name)
    return inspected


def _remove_image(client: docker.APIClient, id: str) -> None:
    # By force an image would go that a stopped container is of; without, one that has several names goes name by name.
    remove: Any = client.remove_image
    for name in objects.image(_inspect_image(client, id)).names:
        with contextlib.suppress(docker.errors.ImageNotFound):  # the name before was its last
            remove(name)
    with contextlib.suppress(docker.errors.ImageNotFound):
        remove(id)


def _pull(
    client: docker.APIClient, repository: str, tag: str | None, credentials: Credentials | None
) -> Stream[dict[str, Any]]:
    headers = {}
    if credentials is not None:
        user = {
            "username": credentials.username,
            "password": credentials.password,
            "serveraddress": credentials.registry,
        }
        headers["X-Registry-Auth"] = base64.urlsafe_b64encode(json.dumps(user).encode()).decode()
    params = {"fromImage": repository, "tag": tag}
    return open_stream(client, "POST", "/images/create", json_lines, params=params, headers=headers)


def _pull_failure(words: str) -> RuntimeFailure:
    missing = ("not found", "manifest unknown", "does not exist", "access denied")
    kind = ImageNotFound if any(word in words.lower() for word in missing) else RuntimeFailure
    return kind(words, "ErrImagePull")
