"""Bad input is refused with the field's path, and nothing of it is stored."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.api import Api, Manifest, container, pod, service


def changed(manifest: Manifest, path: str, value: object) -> Manifest:
    """The manifest with one field set (`spec.containers.0.name`); None removes it."""
    *parents, last = path.split(".")
    target: Any = manifest
    for part in parents:
        target = target[int(part)] if part.isdigit() else target.setdefault(part, {})
    if value is None:
        del target[last]
    else:
        target[last] = value
    return manifest


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        pytest.param("spec.containers.0.image", None, "spec.containers[0].image", id="no image"),
        pytest.param("spec.containers.0.name", None, "spec.containers[0].name", id="no container name"),
        pytest.param("spec.containers.0.name", "No_Good", "spec.containers[0].name", id="bad container name"),
        pytest.param("spec.containers", [], "spec.containers", id="no containers"),
        pytest.param(
            "spec.containers", [container("a"), container("a")], "spec.containers[1].name", id="two of one name"
        ),
        pytest.param("spec.restartPolicy", "Sometimes", "spec.restartPolicy", id="unknown restart policy"),
        pytest.param(
            "spec.containers.0.imagePullPolicy", "Maybe", "spec.containers[0].imagePullPolicy", id="unknown pull policy"
        ),
        pytest.param(
            "spec.containers.0.ports", [{"containerPort": 0}], "spec.containers[0].ports[0].containerPort", id="port 0"
        ),
        pytest.param(
            "spec.containers.0.ports",
            [{"containerPort": 70000}],
            "spec.containers[0].ports[0].containerPort",
            id="port too high",
        ),
        pytest.param(
            "spec.containers.0.resources",
            {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}},
            "spec.containers[0].resources.requests",
            id="request over the limit",
        ),
        pytest.param(
            "spec.containers.0.volumeMounts",
            [{"name": "none", "mountPath": "/x"}],
            "spec.containers[0].volumeMounts[0].name",
            id="mount of no volume",
        ),
        pytest.param("metadata.labels", {"bad label": "x"}, "metadata.labels", id="bad label key"),
        pytest.param("metadata.labels", {"ok": "not ok!"}, "metadata.labels", id="bad label value"),
        pytest.param("metadata.name", "Upper", "metadata.name", id="bad name"),
        pytest.param("metadata.name", "x" * 254, "metadata.name", id="name too long"),
    ],
)
def test_a_pod_that_cannot_be_is_unprocessable(api: Api, path: str, value: object, field: str) -> None:
    answer = api.http.post(api.path("pods"), json=changed(pod("bad"), path, value))
    status = answer.json()
    assert answer.status_code == 422, status
    assert status["kind"] == "Status"
    assert status["reason"] == "Invalid"
    assert field in {cause["field"] for cause in status["details"]["causes"]}
    assert field in status["message"]
    assert not api.items("pods")


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        pytest.param("spec.ports", [], "spec.ports", id="no ports"),
        pytest.param("spec.ports.0.port", 0, "spec.ports[0].port", id="port 0"),
        pytest.param("spec.ports.0.protocol", "ICMP", "spec.ports[0].protocol", id="unknown protocol"),
        pytest.param("spec.clusterIP", "nonsense", "spec.clusterIPs[0]", id="malformed address"),
        pytest.param("spec.clusterIP", "192.0.2.77", "spec.clusterIPs", id="address outside the range"),
        pytest.param("spec.sessionAffinity", "Cookie", "spec.sessionAffinity", id="unknown affinity"),
        pytest.param("metadata.name", "9web", "metadata.name", id="name that is no DNS label"),
    ],
)
def test_a_service_that_cannot_be_is_unprocessable(api: Api, path: str, value: object, field: str) -> None:
    answer = api.http.post(api.path("services"), json=changed(service("bad"), path, value))
    status = answer.json()
    assert answer.status_code == 422, status
    assert field in {cause["field"] for cause in status["details"]["causes"]}
    assert not api.items("services")


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        pytest.param("{", "application/json", "", id="JSON cut off"),
        pytest.param("", "application/json", "", id="nothing"),
        pytest.param("[]", "application/json", "", id="a list"),
        pytest.param("a: [", "application/yaml", "", id="YAML cut off"),
        pytest.param('{"kind": "Pud", "apiVersion": "v1"}', "application/json", "Pud", id="unknown kind"),
        pytest.param('{"kind": "Service", "apiVersion": "v1"}', "application/json", "", id="another kind"),
        pytest.param('{"kind": "Pod", "apiVersion": "v9"}', "application/json", "v9", id="unknown version"),
        pytest.param(
            '{"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "bad"}, "spec": {"containers": "none"}}',
            "application/json",
            "spec.containers",
            id="wrong type",
        ),
        pytest.param(
            '{"kind": "Pod", "apiVersion": "v1", "metadata": {"name": 7}}',
            "application/json",
            "name",
            id="number as name",
        ),
    ],
)
def test_a_body_that_is_no_object_is_a_bad_request(api: Api, body: str, content_type: str, words: str) -> None:
    answer = api.http.post(api.path("pods"), content=body, headers={"Content-Type": content_type})
    status = answer.json()
    assert answer.status_code == 400, status
    assert status["kind"] == "Status"
    assert status["reason"] == "BadRequest"
    assert words in status["message"]
    assert not api.items("pods")


def test_a_body_of_an_unknown_type_is_refused(api: Api) -> None:
    answer = api.http.post(api.path("pods"), content="<pod/>", headers={"Content-Type": "text/xml"})
    assert answer.status_code == 415
    assert answer.json()["reason"] == "UnsupportedMediaType"


def test_a_namespace_that_is_missing_is_not_found(api: Api) -> None:
    answer = api.http.post("/api/v1/namespaces/nowhere/pods", json=pod("lost"))
    assert answer.status_code == 404
    assert answer.json()["message"] == 'namespaces "nowhere" not found'


def test_a_namespace_that_is_another_is_a_bad_request(api: Api) -> None:
    answer = api.http.post(api.path("pods"), json=changed(pod("lost"), "metadata.namespace", "other"))
    assert answer.status_code == 400
    assert "does not match the namespace" in answer.json()["message"]


def test_what_may_not_change_is_refused(api: Api) -> None:
    api.create("pods", pod("fixed", nodeSelector={"never": "there"}))
    answer = api.http.patch(
        api.path("pods", "fixed"),
        json={"spec": {"restartPolicy": "Never"}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert answer.status_code == 422
    assert "pod updates may not change fields other than" in answer.json()["message"]
    assert api.get("pods", "fixed")["spec"]["restartPolicy"] == "Always"
