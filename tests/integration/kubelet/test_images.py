"""Images from a registry, on a real Docker engine: who may pull them, and what a user is told."""

from __future__ import annotations

import json
import re

import pytest

from kube.api.core import Pod, Secret
from tests.integration.kubelet.test_pods import Node, kubelet
from tests.kubelet_node import is_ready
from tests.own_node import OwnNode
from tests.own_registry import own_registry

__all__ = ["kubelet"]  # the fixture


def waiting(pod: Pod) -> str:
    state = pod.status.containerStatuses[0].state.waiting if pod.status.containerStatuses else None
    return state.reason if state is not None else ""


def message(pod: Pod) -> str:
    state = pod.status.containerStatuses[0].state.waiting
    return state.message if state is not None else ""


async def pull_secret(kubelet: Node, registry: str, password: str) -> None:
    auths = {"auths": {registry: {"username": "jo", "password": password}}}
    secret = {"metadata": {"name": "pull", "namespace": "default"}, "type": "kubernetes.io/dockerconfigjson"}
    await kubelet.api.create(Secret.parse({**secret, "stringData": {".dockerconfigjson": json.dumps(auths)}}))


async def test_an_image_is_pulled_and_the_pod_runs(kubelet: Node, node: OwnNode) -> None:
    async with own_registry(node.client, "open/web:v1") as registry:
        await kubelet.create("web", {"name": "main", "image": registry.image})
        await kubelet.until(is_ready)
        assert kubelet.pulled.ids == set(), "the engine had it under another name: it is not ours to remove"
    pulled = kubelet.recorder.messages("Pulled")[0]
    words = re.escape(f'Successfully pulled image "{registry.image}" in ')
    assert re.fullmatch(words + r"[0-9.]+m?s \([0-9.]+m?s including waiting\)\. Image size: [0-9]+ bytes\.", pulled)


@pytest.mark.parametrize("password", ["right", "wrong", ""], ids=["a good secret", "a bad one", "none"])
async def test_a_private_image_takes_the_secret_that_the_pod_names(kubelet: Node, node: OwnNode, password: str) -> None:
    async with own_registry(node.client, "closed/web:v1", user="jo", password="right") as registry:
        if password:
            await pull_secret(kubelet, registry.image.partition("/")[0], password)
        await kubelet.create("web", {"name": "main", "image": registry.image}, imagePullSecrets=[{"name": "pull"}])
        if password == "right":
            await kubelet.until(is_ready)
            return
        failed = await kubelet.until(lambda p: waiting(p) == "ErrImagePull")
        assert ("unauthorized" if password else "no basic auth credentials") in message(failed)
        backing_off = await kubelet.until(lambda p: waiting(p) == "ImagePullBackOff")
        assert message(backing_off).startswith(f'Back-off pulling image "{registry.image}": ErrImagePull: ')
        told = kubelet.recorder.messages("FailedToRetrieveImagePullSecret")
        missing = "Unable to retrieve some image pull secrets (pull); attempting to pull the image may not succeed."
        assert set(told) == (set() if password else {missing})


async def test_an_image_that_the_registry_has_not_is_named(kubelet: Node, node: OwnNode) -> None:
    async with own_registry(node.client, "open/web:none") as registry:
        await kubelet.create("web", {"name": "main", "image": registry.image})
        failed = await kubelet.until(lambda p: waiting(p) == "ErrImagePull")
    assert "manifest unknown" in message(failed)
    assert f'Failed to pull image "{registry.image}": {message(failed)}' in kubelet.recorder.messages("Failed")
    assert "Error: ErrImagePull" in kubelet.recorder.messages("Failed")
