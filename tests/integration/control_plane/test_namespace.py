"""A namespace that is deleted goes with everything in it."""

from __future__ import annotations

import asyncio

import pytest

from kube.api import errors
from kube.api.core import Namespace, Pod, ReplicationController, Service
from kube.api.meta import ObjectMeta
from tests.integration.control_plane.conftest import ControlPlane
from tests.objects import pod, rc, service

SECONDS = 30.0


async def gone(plane: ControlPlane, name: str) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await plane.client.get(Namespace, name)
            except errors.NotFound:
                return
            await asyncio.sleep(0.1)


async def test_a_deleted_namespace_takes_its_contents_along(control_plane: ControlPlane) -> None:
    client = control_plane.client
    await client.create(Namespace(metadata=ObjectMeta(name="going")))
    for obj in (rc("web", 3), service("web", cluster_ip=""), pod("alone")):
        obj.metadata.namespace = "going"
        await client.create(obj)
    await client.create(pod("elsewhere"))
    async with asyncio.timeout(SECONDS):
        while len((await client.list(Pod, "going")).items) < 4:
            await asyncio.sleep(0.1)
    await client.delete(Namespace, "going")
    late = pod("late")
    late.metadata.namespace = "going"
    with pytest.raises(errors.Forbidden, match="because it is being terminated"):
        await client.create(late)
    await gone(control_plane, "going")
    for model in (Pod, ReplicationController, Service):
        assert (await client.list(model, "going")).items == []
    assert [each.name for each in (await client.list(Pod, "default")).items] == ["elsewhere"]


async def test_a_finalizer_keeps_a_namespace_and_the_conditions_say_so(control_plane: ControlPlane) -> None:
    client = control_plane.client
    await client.create(Namespace(metadata=ObjectMeta(name="held")))
    keeper = service("kept", cluster_ip="")
    keeper.metadata.namespace, keeper.metadata.finalizers = "held", ["example.com/keep"]
    await client.create(keeper)
    await client.delete(Namespace, "held")
    async with asyncio.timeout(SECONDS):
        while True:
            namespace = await client.get(Namespace, "held")
            told = {each.type: each for each in namespace.status.conditions}
            if told and told["NamespaceFinalizersRemaining"].status == "True":
                break
            await asyncio.sleep(0.1)
    assert (
        told["NamespaceContentRemaining"].message == "Some resources are remaining: services. has 1 resource instances"
    )
    assert "example.com/keep in 1 resource instances" in told["NamespaceFinalizersRemaining"].message
    assert namespace.status.phase == "Terminating"
    await client.patch(Service, "kept", "held", {"metadata": {"finalizers": None}})
    await gone(control_plane, "held")
