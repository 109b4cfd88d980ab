"""Volumes on a real Docker engine: what a container finds in them, and that it follows what the API has."""

from __future__ import annotations

from typing import Any

import pytest

from kube.api.core import ConfigMap, Pod, Secret
from tests.integration.kubelet.test_pods import FOREVER, Node, kubelet, run, sh
from tests.kubelet_node import is_ready

__all__ = ["kubelet"]  # the fixture

META = {"name": "settings", "namespace": "default"}


async def configured(node: Node) -> None:
    await node.api.create(ConfigMap.parse({"metadata": META, "data": {"color": "red"}}))
    await node.api.create(Secret.parse({"metadata": META, "type": "Opaque", "stringData": {"password": "pw"}}))


async def mounted(node: Node, source: dict[str, Any], *more: dict[str, Any], **spec: Any) -> Pod:
    """A pod that runs, with the volume at /data."""
    mounts = [{"name": "data", "mountPath": "/data"}, *more]
    pod = await node.create("web", sh(FOREVER, volumeMounts=mounts), volumes=[{"name": "data", **source}], **spec)
    await node.until(is_ready)
    return pod


async def until_said(node: Node, pod: Pod, script: str, expected: str) -> None:
    for _ in range(100):
        # The script itself waits, so that a busy machine is not asked more often than it answers.
        if await run(node, pod, "main", f"{script}; sleep 0.05") == expected:
            return
    raise AssertionError(f"{script}: {await run(node, pod, 'main', script)!r}, not {expected!r}")


async def test_a_config_map_s_files_follow_it_but_not_those_mounted_by_a_sub_path(kubelet: Node) -> None:
    await configured(kubelet)
    file = {"name": "data", "mountPath": "/etc/color", "subPath": "color"}
    pod = await mounted(kubelet, {"configMap": {"name": "settings", "defaultMode": 0o640}}, file)
    assert await run(kubelet, pod, "main", "cat /data/color /etc/color; stat -L -c %a /data/color") == "redred640"
    assert (
        await run(kubelet, pod, "main", "(echo x > /data/new || echo no; echo x > /etc/color || echo no) 2>/dev/null")
        == "no\nno"
    )
    found = await kubelet.api.get(ConfigMap, "settings", "default")
    found.data = {"color": "blue", "size": "big"}
    await kubelet.api.update(found)
    await until_said(kubelet, pod, "cat /data/color /data/size /etc/color", "bluebigred")


async def test_a_secret_is_in_memory_and_its_group_s(kubelet: Node) -> None:
    await configured(kubelet)
    pod = await mounted(
        kubelet, {"secret": {"secretName": "settings", "defaultMode": 0o400}}, securityContext={"fsGroup": 4711}
    )
    assert await run(kubelet, pod, "main", "cat /data/password; stat -L -c ' %a %g' /data/password") == "pw 440 4711"
    assert await run(kubelet, pod, "main", "grep ' /data ' /proc/mounts | cut -d' ' -f1") == "tmpfs"
    await kubelet.delete(grace=0)
    await kubelet.until_runtime(lambda: not kubelet.kubelet.workers)
    assert not (kubelet.root / "pods" / pod.metadata.uid).exists()


async def test_all_sources_in_one_directory_and_labels_that_change(kubelet: Node) -> None:
    await configured(kubelet)
    sources = [
        {"configMap": {"name": "settings"}},
        {"secret": {"name": "settings", "items": [{"key": "password", "path": "deep/pw"}]}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"serviceAccountToken": {"path": "token"}},
    ]
    pod = await mounted(kubelet, {"projected": {"sources": sources}}, serviceAccountName="default")
    assert await run(kubelet, pod, "main", "cat /data/color /data/deep/pw /data/labels") == "redpw"
    assert await run(kubelet, pod, "main", "cat /data/token") == "default/default web 1"
    await kubelet.api.patch(Pod, "web", "default", {"metadata": {"labels": {"a": "b"}}})
    await until_said(kubelet, pod, "cat /data/labels", 'a="b"')


@pytest.mark.parametrize(
    "source", [{"nfs": {"server": "a", "path": "/b"}}, {"hostPath": {"path": "/etc", "type": "File"}}]
)
async def test_a_volume_that_cannot_be_mounted_is_an_event_and_no_silence(
    kubelet: Node, source: dict[str, Any]
) -> None:
    await kubelet.create("web", volumes=[{"name": "data", **source}])
    await kubelet.until_runtime(lambda: bool(kubelet.recorder.messages("FailedMount")))
    words = {"nfs": "no volume plugin matched (nfs)", "hostPath": "hostPath type check failed: /etc is not a file"}
    assert words[next(iter(source))] in kubelet.recorder.messages("FailedMount")[0]
    assert not (await kubelet.runtime.list_containers())
