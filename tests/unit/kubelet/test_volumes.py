"""Volumes as directories."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from kube.api.core import ConfigMap, EmptyDirVolumeSource, HostPathVolumeSource
from kube.kubelet.configuration import ConfigError, Configuration
from kube.kubelet.host_path import host_path
from kube.kubelet.projection import MountError, Sources
from kube.kubelet.runtime import Mount
from kube.kubelet.volumes import Volumes, container_mounts, memory_limit
from tests.kubelet_node import container, make_pod


def test_an_empty_dir_is_made_under_the_pod_s_uid_and_anybody_may_write(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path)
    pod = make_pod(volumes=[{"name": "data", "emptyDir": {}}, {"name": "plain"}])
    paths = volumes.mount(pod, Sources())
    assert paths["data"] == tmp_path / "pods/uid-1/volumes/kubernetes.io~empty-dir/data"
    assert paths["data"].stat().st_mode & 0o777 == 0o777
    (paths["data"] / "file").write_text("kept")
    assert volumes.mount(pod, Sources()) == paths
    assert (paths["data"] / "file").read_text() == "kept"
    assert volumes.uids() == ["uid-1"]
    volumes.remove("uid-1")
    assert volumes.uids() == []


@pytest.mark.parametrize("uid", ["", "..", "../x", "nothing"])
def test_removing_what_is_not_there_removes_nothing(tmp_path: Path, uid: str) -> None:
    (tmp_path / "pods").mkdir()
    Volumes(tmp_path).remove(uid)
    assert (tmp_path / "pods").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"nfs": {"server": "a", "path": "/b"}},
            "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], failed to process "
            'volumes=[data]: failed to get Plugin from volumeSpec for volume "data" err=no volume plugin matched (nfs)',
        ),
        (
            {"persistentVolumeClaim": {"claimName": "disk"}},
            "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], failed to process "
            "volumes=[data]: error processing PVC default/disk: this kubelet has no persistent volumes",
        ),
        ({"configMap": {"name": "a"}}, 'MountVolume.SetUp failed for volume "data" : configmap "a" not found'),
        (
            {"emptyDir": {"medium": "HugePages"}},
            'MountVolume.SetUp failed for volume "data" : unknown storage medium "HugePages"',
        ),
    ],
)
def test_what_cannot_be_mounted_is_said_in_upstream_s_words(
    tmp_path: Path, source: dict[str, Any], message: str
) -> None:
    with pytest.raises(MountError) as failure:
        Volumes(tmp_path).mount(make_pod(volumes=[{"name": "data", **source}]), Sources())
    assert str(failure.value) == message


def test_a_config_map_is_a_directory_of_files_that_nobody_writes_to(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path)
    pod = make_pod(
        "web", container(volumeMounts=[{"name": "data", "mountPath": "/a", "subPath": "color"}]),
        volumes=[{"name": "data", "configMap": {"name": "settings"}}],
    )  # fmt: skip
    red = Sources(Configuration({"settings": ConfigMap(data={"color": "red"})}))
    paths = volumes.mount(pod, red)
    assert paths["data"] == tmp_path / "pods/uid-1/volumes/kubernetes.io~configmap/data"
    assert (paths["data"] / "color").read_text() == "red"
    (mount,) = container_mounts(pod.spec.containers[0], paths, {}, pod)
    assert mount.read_only
    volumes.mount(pod, Sources(Configuration({"settings": ConfigMap(data={"color": "blue"})})))
    assert (paths["data"] / "color").read_text() == "blue"


@pytest.mark.parametrize(
    ("limits", "size", "expected"),
    [(["1Gi", "1Gi"], "3Gi", 2**31), (["1Gi", ""], "3Gi", 3 * 2**30), (["1Gi"], None, 2**30), ([""], None, None)],
)
def test_a_volume_in_memory_holds_what_it_may_and_no_more_than_the_containers(
    limits: list[str], size: str | None, expected: int | None
) -> None:
    containers = [
        container(str(i), resources={"limits": {"memory": limit} if limit else {}}) for i, limit in enumerate(limits)
    ]
    assert memory_limit(make_pod("web", *containers), EmptyDirVolumeSource(sizeLimit=size)) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_an_empty_dir_belongs_to_the_group(tmp_path: Path) -> None:
    pod = make_pod(volumes=[{"name": "data", "emptyDir": {}}], securityContext={"fsGroup": 4711})
    found = Volumes(tmp_path).mount(pod, Sources())["data"].stat()
    assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (4711, 0o2777)


@pytest.mark.parametrize(
    ("kind", "there"),
    [
        ("", "nothing"),
        ("Directory", "directory"),
        ("File", "file"),
        ("Socket", "socket"),
        ("DirectoryOrCreate", "directory"),
        ("DirectoryOrCreate", "nothing"),
        ("FileOrCreate", "file"),
        ("FileOrCreate", "nothing"),
    ],
)
def test_a_host_path_that_is_what_it_should_be(tmp_path: Path, kind: str, there: str) -> None:
    path = make(tmp_path, there)
    assert host_path(HostPathVolumeSource(path=str(path), type=kind)) == path
    if kind == "DirectoryOrCreate":
        assert path.is_dir()
    elif kind == "FileOrCreate":
        assert path.is_file()
    elif not kind:
        assert not path.exists()


@pytest.mark.parametrize(
    ("kind", "there", "message"),
    [
        ("Directory", "nothing", "is not a directory"),
        ("Directory", "file", "is not a directory"),
        ("File", "directory", "is not a file"),
        ("Socket", "file", "is not a socket file"),
        ("CharDevice", "file", "is not a character device"),
        ("BlockDevice", "file", "is not a block device"),
        ("DirectoryOrCreate", "file", "is not a directory"),
        ("FileOrCreate", "directory", "is not a file"),
        ("Nonsense", "file", "Nonsense is an invalid volume type"),
    ],
)
def test_a_host_path_that_is_something_else(tmp_path: Path, kind: str, there: str, message: str) -> None:
    path = make(tmp_path, there)
    with pytest.raises(MountError, match=message):
        host_path(HostPathVolumeSource(path=str(path), type=kind))


def test_a_host_path_with_dots_is_refused() -> None:
    with pytest.raises(MountError, match="must not contain"):
        host_path(HostPathVolumeSource(path="/a/../etc"))


def make(directory: Path, what: str) -> Path:
    path = directory / "it"
    if what == "directory":
        path.mkdir()
    elif what == "file":
        path.touch()
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    return path


def mounts(root: Path, mount: dict[str, Any], source: dict[str, Any]) -> list[Mount]:
    pod = make_pod("web", container(volumeMounts=[{"name": "data", "mountPath": "/data", **mount}]),
                   volumes=[{"name": "data", **source}])  # fmt: skip
    return container_mounts(
        pod.spec.containers[0], Volumes(root).mount(pod, Sources()), {"WHO": "me", "EMPTY": ""}, pod
    )


EMPTY: dict[str, Any] = {"emptyDir": {}}
PLACE = "pods/uid-1/volumes/kubernetes.io~empty-dir/data"


@pytest.mark.parametrize(
    ("mount", "path", "read_only"),
    [
        ({}, "", False),
        ({"readOnly": True}, "", True),
        ({"subPath": "a/b"}, "/a/b", False),
        ({"subPathExpr": "x-$(WHO)"}, "/x-me", False),
    ],
)
def test_where_a_volume_is_mounted(tmp_path: Path, mount: dict[str, Any], path: str, read_only: bool) -> None:
    assert mounts(tmp_path, mount, EMPTY) == [Mount(f"{tmp_path}/{PLACE}{path}", "/data", read_only)]
    assert (tmp_path / f"{PLACE}{path}").is_dir()


@pytest.mark.parametrize("sub", ["../x", "a/../../x", "/etc"])
def test_a_sub_path_stays_in_its_volume(tmp_path: Path, sub: str) -> None:
    with pytest.raises(ConfigError, match="relative path"):
        mounts(tmp_path, {"subPath": sub}, EMPTY)


@pytest.mark.parametrize(
    ("expression", "missing"),
    [("$(NOBODY)", "NOBODY"), ("$(ZERO)/$(NOBODY)/$(WHO)", "NOBODY, ZERO"), ("$(EMPTY)", "EMPTY")],
)
def test_a_variable_of_a_sub_path_that_says_nothing_is_a_config_error(
    tmp_path: Path, expression: str, missing: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        mounts(tmp_path, {"subPathExpr": expression}, EMPTY)
    assert str(caught.value) == f"missing value for {missing}"
    assert [*(tmp_path / PLACE).iterdir()] == []


def test_a_dollar_in_a_sub_path_is_no_variable(tmp_path: Path) -> None:
    assert mounts(tmp_path, {"subPathExpr": "$$(WHO)"}, EMPTY)[0].host_path.endswith("/$(WHO)")


def test_a_symbolic_link_does_not_lead_out_of_the_volume(tmp_path: Path) -> None:
    place = tmp_path / PLACE
    place.mkdir(parents=True)
    os.symlink("/etc", place / "link")
    with pytest.raises(ConfigError, match="leads out of the volume"):
        mounts(tmp_path, {"subPath": "link"}, EMPTY)


def test_a_mount_of_no_volume_is_a_config_error(tmp_path: Path) -> None:
    pod = make_pod("web", container(volumeMounts=[{"name": "none", "mountPath": "/x"}]))
    with pytest.raises(ConfigError, match='cannot find volume "none"'):
        container_mounts(pod.spec.containers[0], {}, {}, pod)
