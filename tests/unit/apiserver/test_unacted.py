"""What is stored although nothing acts on it is named in a warning."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from kube.api import core, defaults
from kube.api.meta import Object
from kube.apiserver import unacted
from tests import objects

CONTAINER = {"name": "a", "image": "x"}


def container(**fields: Any) -> dict[str, Any]:
    return {"containers": [CONTAINER, {**CONTAINER, **fields}]}


def volume(**source: Any) -> dict[str, Any]:
    return {"containers": [CONTAINER], "volumes": [{"name": "v", **source}]}


PODS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a plain pod": ({"containers": [CONTAINER]}, []),
    "a field of a container": (
        container(volumeDevices=[{"name": "a", "devicePath": "/dev/a"}]),
        ["spec.containers[1].volumeDevices"],
    ),
    "deep in a container": (
        container(securityContext={"windowsOptions": {"hostProcess": True}, "runAsUser": 1}),
        ["spec.containers[1].securityContext.windowsOptions"],
    ),
    "what is false asks for nothing": (container(securityContext={"readOnlyRootFilesystem": False}), []),
    "where false asks for something": (
        {"containers": [CONTAINER], "hostUsers": False},
        ["spec.hostUsers=false"],
    ),
    "deep in a list": (
        container(volumeMounts=[{"name": "a", "mountPath": "/a"},
                                {"name": "b", "mountPath": "/b", "recursiveReadOnly": "Enabled"}]),
        ["spec.containers[1].volumeMounts[1].recursiveReadOnly=Enabled"],
    ),
    "a volume that the kubelet has": (volume(hostPath={"path": "/"}), []),
    "a volume that it has not": (volume(nfs={"server": "s", "path": "/"}), ["spec.volumes[0].nfs"]),
    "a value that changes nothing": ({"containers": [CONTAINER], "os": {"name": "linux"}}, []),
    "a value that would": ({"containers": [CONTAINER], "os": {"name": "windows"}}, ["spec.os.name=windows"]),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "fields"), PODS.values(), ids=PODS)
def test_pods(spec: dict[str, Any], fields: list[str]) -> None:
    found = unacted.warnings(core.Pod.parse({"metadata": {"name": "p"}, "spec": spec}))
    assert found == [f"{field}: stored, but nothing here acts on it yet" for field in fields]


def test_services() -> None:
    assert unacted.warnings(objects.service()) == []
    preferring = objects.service(type="LoadBalancer")
    preferring.spec.trafficDistribution = "PreferClose"
    assert unacted.warnings(preferring) == []
    preferring.spec.ports[0].protocol = "SCTP"
    assert unacted.warnings(preferring) == ["spec.ports[0].protocol=SCTP: stored, but nothing here acts on it yet"]


@pytest.mark.parametrize("obj", [objects.pod(), objects.rc(), objects.service(), objects.node()], ids=lambda o: o.kind)
def test_defaults_are_not_warned_of(obj: Object) -> None:
    defaults.apply(obj)
    assert unacted.warnings(obj) == []


def test_a_header_stays_small() -> None:
    unknown = {"resizePolicy": [{"resourceName": "cpu"}], "volumeDevices": [{"name": "a"}]}
    containers = [{**CONTAINER, "name": f"c{i}", **unknown} for i in range(50)]
    found = unacted.warnings(core.Pod.parse({"spec": {"containers": containers}}))
    assert len(found) == unacted.MOST + 1
    assert found[-1] == "80 more fields are stored, but nothing here acts on them yet"


async def test_the_warning_is_in_the_answer_to_every_write_of_the_object(http: httpx.AsyncClient) -> None:
    pods = "/api/v1/namespaces/default/pods"
    body = {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER], "hostUsers": False}}
    made = await http.post(pods, json=body)
    expected = '299 - "spec.hostUsers=false: stored, but nothing here acts on it yet"'
    assert made.headers.get_list("warning") == [expected]
    assert (await http.put(f"{pods}/p", json=made.json())).headers.get_list("warning") == [expected]
    merge = {"content-type": "application/merge-patch+json"}
    patched = await http.patch(f"{pods}/p", json={"metadata": {"labels": {"a": "b"}}}, headers=merge)
    assert patched.headers.get_list("warning") == [expected]
    status = await http.patch(f"{pods}/p/status", json={"status": {"message": "m"}}, headers=merge)
    assert "warning" not in status.headers
    assert "warning" not in (await http.get(f"{pods}/p")).headers


async def test_a_kind_that_is_only_stored_says_so(http: httpx.AsyncClient) -> None:
    made = await http.post("/apis/apps/v1/namespaces/default/deployments", json={"metadata": {"name": "d"}})
    assert made.headers["warning"] == '299 - "apps/v1 Deployment is stored, but no controller here acts on it"'
