"""ConfigMaps and Secrets in use: followed one by one, and told of when they change. In virtual time."""

from __future__ import annotations

import asyncio

import pytest

from kube.api.binary import encoded
from kube.api.core import ConfigMap, Pod, Secret
from kube.api.meta import ObjectMeta
from kube.client.source import EtcdSources
from kube.kubelet.configuration import ConfigError, ConfigurationManager
from kube.kubelet.projection import MountError
from kube.kubelet.volume_manager import VolumeManager
from kube.store.memory import MemoryStore
from tests.kubelet_node import FakeNode, container, is_ready, make_pod

pytestmark = pytest.mark.looptime

COLOR = {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}}


def settings(**data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name="settings", namespace="default"), data=data)


def login(name: str = "login", **data: bytes) -> Secret:
    values = {key: encoded(value) for key, value in data.items()}
    return Secret(metadata=ObjectMeta(name=name, namespace="default"), data=values, type="Opaque")


def waits_for_configuration(pod: Pod) -> bool:
    waiting = pod.status.containerStatuses[0].state.waiting if pod.status.containerStatuses else None
    return waiting is not None and waiting.reason == "CreateContainerConfigError"


async def test_a_container_without_its_config_map_waits_says_so_and_starts_once_it_is_there(node: FakeNode) -> None:
    await node.create("web", container(env=[COLOR]))
    pod = await node.until(waits_for_configuration)
    waiting = pod.status.containerStatuses[0].state.waiting
    assert waiting is not None
    assert waiting.message == 'configmap "settings" not found'
    assert pod.status.phase == "Pending"
    assert 'Error: configmap "settings" not found' in node.recorder.messages("Failed")
    await node.api.create(settings(size="small"))
    missing = "couldn't find key color in ConfigMap default/settings"
    pod = await node.until(lambda p: missing in str(p.status.containerStatuses[0].state.waiting), within=1)
    found = await node.api.get(ConfigMap, "settings", "default")
    found.data["color"] = "blue"
    await node.api.update(found)
    await node.until(is_ready, within=1)


async def test_only_what_pods_use_is_read_and_only_while_they_do(node: FakeNode) -> None:
    await node.api.create(login(user=b"jo"))
    await node.api.create(login("login-of-another", user=b"al"))
    env = [{"secretRef": {"name": "login"}}]
    one = await node.create("one", container(envFrom=env))
    two = await node.create("two", container(envFrom=env))
    await node.until(is_ready, "one")
    await node.until(is_ready, "two")
    assert node.configuration.followed == [("Secret", "default", "login")]
    assert set((await node.configuration.of(one)).secrets) == {"login"}
    await node.delete("one", grace=0)
    await node.until_gone("one")
    await node.until_runtime(lambda: one.metadata.uid not in node.kubelet.workers)
    assert node.configuration.followed == [("Secret", "default", "login")]
    await node.delete("two", grace=0)
    await node.until_runtime(lambda: two.metadata.uid not in node.kubelet.workers)
    assert node.configuration.followed == []


async def test_what_is_immutable_is_read_once(node: FakeNode) -> None:
    await node.api.create(settings(color="red").model_copy(update={"immutable": True}))
    first = await node.create("first", container(env=[COLOR]))
    await node.until(is_ready, "first")
    await node.api.delete(ConfigMap, "settings", "default")
    await node.api.create(settings(color="green"))
    await node.create("second", container(env=[COLOR]))
    await node.until(is_ready, "second")
    assert (await node.configuration.of(first)).config_maps["settings"].data == {"color": "red"}


VOLUME = {"name": "settings", "configMap": {"name": "settings"}}


async def test_a_pod_without_its_volume_waits_says_so_and_starts_once_it_is_there(node: FakeNode) -> None:
    await node.create(volumes=[VOLUME])
    await node.until_runtime(lambda: bool(node.recorder.messages("FailedMount")))
    assert node.recorder.messages("FailedMount") == [
        'MountVolume.SetUp failed for volume "settings" : configmap "settings" not found'
    ]
    pod = await node.pod()
    assert pod.status.phase == "Pending"
    assert [s.state.waiting.reason for s in pod.status.containerStatuses if s.state.waiting] == ["ContainerCreating"]
    await node.api.create(settings(color="red"))
    await node.until(is_ready, within=2)


async def test_a_volume_waits_for_its_token_and_one_without_waits_for_nothing(node: FakeNode) -> None:
    sources = [{"serviceAccountToken": {"path": "token"}}]
    pod = make_pod(volumes=[{"name": "api", "projected": {"sources": sources}}])
    volumes = VolumeManager(node.volumes, node.configuration, node.token_manager)
    node.api.down = True
    with pytest.raises(MountError, match=r'MountVolume\.SetUp failed for volume "api" : failed to fetch token: cannot'):
        await volumes.mount(pod)
    node.store.down = True
    assert await volumes.mount(make_pod(uid="2", volumes=[{"name": "data", "emptyDir": {}}]))


async def test_files_follow_their_config_map_also_those_of_a_pod_from_before_this_kubelet(node: FakeNode) -> None:
    await node.api.create(settings(color="red"))
    pod = await node.create(volumes=[VOLUME])
    await node.until(is_ready)
    file = node.root / f"pods/{pod.metadata.uid}/volumes/kubernetes.io~configmap/settings/color"
    assert file.read_text() == "red"

    async def paint(color: str) -> None:
        found = await node.api.get(ConfigMap, "settings", "default")
        found.data["color"] = color
        await node.api.update(found)

    await paint("blue")
    await node.until_runtime(lambda: file.read_text() == "blue", within=2)
    await node.kill_kubelet()
    await paint("green")
    node.start_kubelet()
    await node.until_runtime(lambda: file.read_text() == "green", within=5)
    await node.api.delete(ConfigMap, "settings", "default")
    await node.until_runtime(lambda: bool(node.recorder.messages("FailedMount")), within=5)
    assert file.read_text() == "green"
    assert is_ready(await node.pod())


async def test_what_cannot_be_read_in_time_is_an_error_and_no_absence() -> None:
    store = MemoryStore()
    store.down = True
    manager = ConfigurationManager(EtcdSources(store))
    pod = make_pod("web", container(env=[COLOR]))
    running = asyncio.create_task(manager.run())
    manager.use(pod, lambda: None)
    with pytest.raises(ConfigError, match="failed to sync configmap cache: timed out waiting for the condition"):
        await manager.of(pod)
    store.down = False
    await asyncio.sleep(10)
    assert (await manager.of(pod)).config_maps == {}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
