"""The client and the recorder at a real apiserver."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from kube.api import errors
from kube.api.core import Container, Event, Node, Pod, PodSpec
from kube.api.meta import ObjectMeta
from kube.client.events import EventRecorder
from kube.client.rest import JSON_PATCH, Client


def make_pod(namespace: str, name: str = "", **labels: str) -> Pod:
    return Pod(
        metadata=ObjectMeta(name=name, generateName="" if name else "gen-", namespace=namespace, labels=labels),
        spec=PodSpec(containers=[Container(name="main", image="kube/web")]),
    )


async def test_an_object_s_life(client: Client, namespace: str) -> None:
    created = await client.create(make_pod(namespace, "a", app="web"))
    assert created.metadata.uid
    with pytest.raises(errors.AlreadyExists):
        await client.create(make_pod(namespace, "a"))
    changed = created.clone()
    changed.metadata.labels["tier"] = "front"
    updated = await client.update(changed)
    assert updated.metadata.labels == {"app": "web", "tier": "front"}
    with pytest.raises(errors.Conflict):
        await client.update(changed)
    patched = await client.patch(Pod, "a", namespace, {"metadata": {"labels": {"tier": None}}})
    assert patched.metadata.labels == {"app": "web"}
    patched = await client.patch(
        Pod, "a", namespace, [{"op": "add", "path": "/metadata/labels/x", "value": "y"}], content_type=JSON_PATCH
    )
    assert patched.metadata.labels == {"app": "web", "x": "y"}
    patched = await client.patch(Pod, "a", namespace, {"status": {"phase": "Running"}}, subresource="status")
    assert patched.status.phase == "Running"
    assert await client.get(Pod, "a", namespace) == patched
    with pytest.raises(errors.Conflict):
        await client.delete(Pod, "a", namespace, uid="another", grace_period=0)
    await client.delete(Pod, "a", namespace, uid=created.metadata.uid, grace_period=0)
    with pytest.raises(errors.NotFound):
        await client.get(Pod, "a", namespace)


async def test_a_generated_name(client: Client, namespace: str) -> None:
    created = await client.create(make_pod(namespace))
    assert created.name.startswith("gen-")
    assert len(created.name) > len("gen-")


async def test_a_mistake_names_its_field(client: Client, namespace: str) -> None:
    pod = make_pod(namespace, "a")
    pod.spec.containers[0].image = ""
    with pytest.raises(errors.Invalid) as raised:
        await client.create(pod)
    assert [cause["field"] for cause in raised.value.details["causes"]] == ["spec.containers[0].image"]


async def test_lists_are_selected_and_paged(client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kube.client.rest.PAGE", 3)
    for n in range(8):
        await client.create(make_pod(namespace, f"p{n}", even=str(n % 2 == 0).lower()))
    everything = await client.list(Pod, namespace)
    assert sorted(pod.name for pod in everything.items) == [f"p{n}" for n in range(8)]
    assert int(everything.resourceVersion) > 0
    even = await client.list(Pod, namespace, labels="even=true")
    assert sorted(pod.name for pod in even.items) == ["p0", "p2", "p4", "p6"]
    one = await client.list(Pod, namespace, fields="metadata.name=p3")
    assert [pod.name for pod in one.items] == ["p3"]


async def test_a_binding_is_given_once(client: Client, namespace: str) -> None:
    await client.create(Node(metadata=ObjectMeta(name=f"{namespace}-node")))
    pod = await client.create(make_pod(namespace, "a"))
    await client.bind(pod, f"{namespace}-node")
    assert (await client.get(Pod, "a", namespace)).spec.nodeName == f"{namespace}-node"
    with pytest.raises(errors.Conflict):
        await client.bind(pod, f"{namespace}-node")


async def test_a_bound_pod_of_that_name_but_another_uid_is_not_ours(client: Client, namespace: str) -> None:
    await client.create(Node(metadata=ObjectMeta(name=f"{namespace}-node")))
    old = await client.create(make_pod(namespace, "a"))
    await client.delete(Pod, "a", namespace, grace_period=0)
    await client.create(make_pod(namespace, "a"))
    with pytest.raises(errors.Conflict):
        await client.bind(old, f"{namespace}-node")


async def test_events_are_counted_not_repeated(client: Client, namespace: str) -> None:
    pod = await client.create(make_pod(namespace, "a"))
    recorder = EventRecorder(client, "kubelet", "node-1")
    running = asyncio.ensure_future(recorder.run())
    for _ in range(3):
        recorder.event(pod, "Warning", "BackOff", "Back-off restarting failed container")
    recorder.event(pod, "Normal", "Pulled", "Container image already present")
    found: dict[str, int] = {}
    async with asyncio.timeout(10):
        while found != {"BackOff": 3, "Pulled": 1}:
            events = await client.list(Event, namespace, fields=f"involvedObject.uid={pod.metadata.uid}")
            found = {event.reason: event.count for event in events.items}
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
