"""A namespace that is being deleted is emptied, in order, and says meanwhile what keeps it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from kube.api import errors
from kube.api.core import Namespace, Pod
from kube.api.meta import Object
from tests.memory_api import MemoryApi
from tests.objects import pod
from tests.unit.controller_manager.conftest import controllers, until
from tests.unit.controller_manager.test_foreground_deletion import left, stored

pytestmark = pytest.mark.looptime


async def test_a_namespace_is_emptied_pods_first(api: MemoryApi) -> None:
    spec = {"finalizers": ["kubernetes"]}
    await api.create(Namespace.parse({"metadata": {"name": "going"}, "spec": spec}))
    slow = pod("p", namespace="going", node="n")
    slow.spec.terminationGracePeriodSeconds = 30
    await api.create(slow)
    await api.create(stored("networking.k8s.io/v1", "NetworkPolicy", "policy", namespace="going"))
    held = stored("apps/v1", "Deployment", "held", namespace="going")
    held.metadata.finalizers = ["example.com/keep"]
    await api.create(held)
    async with controllers(api, "namespace"):
        await api.delete(Namespace, "going")
        await asyncio.sleep(5)
        assert len(await left(api)) == 4, "the policy holds as long as there is a pod"
        assert await told(api) == {"NamespaceContentRemaining": "SomeResourcesRemain"}
        await api.delete(Pod, "p", "going", grace_period=0)
        await asyncio.sleep(10)
        assert await left(api) == ["Deployment held", "Namespace going"]
        assert await told(api) == {
            "NamespaceContentRemaining": "SomeResourcesRemain",
            "NamespaceFinalizersRemaining": "SomeFinalizersRemain",
        }
        await api.patch(type(held), "held", "going", {"metadata": {"finalizers": None}})
        await asyncio.sleep(10)
    assert await left(api) == []


async def told(api: MemoryApi) -> dict[str, str]:
    """The namespace's conditions that are not as they should be."""
    found = (await api.get(Namespace, "going")).status.conditions
    assert len(found) == 5
    return {each.type: each.reason for each in found if each.status == "True"}


async def test_what_cannot_be_deleted_is_told_and_tried_again(api: MemoryApi) -> None:
    def refuse(verb: str, model: type[Object], key: str) -> Exception | None:
        return errors.forbidden("pods", "p", "the webhook says no") if (verb, model) == ("delete", Pod) else None

    await api.create(Namespace.parse({"metadata": {"name": "going"}, "spec": {"finalizers": ["kubernetes"]}}))
    await api.create(pod("p", namespace="going"))
    api.fail_before = refuse
    async with controllers(api, "namespace"):
        await api.delete(Namespace, "going")
        await asyncio.sleep(5)
        (failure,) = [each for each in (await api.get(Namespace, "going")).status.conditions if each.status == "True"]
        assert (failure.type, failure.message) == (
            "NamespaceDeletionContentFailure",
            'Failed to delete all resource types, 1 remaining: pods "p" is forbidden: the webhook says no',
        )
        api.fail_before = lambda verb, model, key: None

        async def gone() -> bool:
            with contextlib.suppress(errors.NotFound):
                await api.get(Namespace, "going")
                return False
            return True

        await until(gone)
    assert await left(api) == []
