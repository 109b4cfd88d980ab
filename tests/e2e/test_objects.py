"""Objects over REST: create, get, list, watch, update, patch, delete; selectors; conflicts; YAML bodies."""

from __future__ import annotations

import pytest
import yaml

from tests.e2e.api import Api, Manifest, Refused, controller, pod, service
from tests.e2e.waiting import eventually


def idle(name: str, **labels: str) -> Manifest:
    """A pod that no node takes, so that nothing changes it but the test."""
    return pod(name, labels=labels or {"app": name}, nodeSelector={"never": "there"})


@pytest.mark.parametrize(
    ("plural", "manifest"),
    [
        pytest.param("pods", idle("it"), id="pods"),
        pytest.param("services", service("it"), id="services"),
        pytest.param("replicationcontrollers", controller("it", 0), id="replicationcontrollers"),
    ],
)
def test_every_verb_works(api: Api, plural: str, manifest: Manifest) -> None:
    made = api.create(plural, manifest)
    metadata = made["metadata"]
    assert metadata["uid"]
    assert metadata["creationTimestamp"]
    assert metadata["namespace"] == api.namespace
    assert api.get(plural, "it")["metadata"]["uid"] == metadata["uid"]
    assert [each["metadata"]["name"] for each in api.items(plural)] == ["it"]

    def relabel() -> Manifest | None:
        current = api.get(plural, "it")
        current["metadata"]["labels"] = {"by": "put"}
        try:
            return api.replace(plural, current)
        except Refused as refused:
            if refused.code != 409:
                raise
            return None  # its controller, or the scheduler, has written the status meanwhile

    replaced = eventually(relabel, "the object is replaced")
    assert int(replaced["metadata"]["resourceVersion"]) > int(metadata["resourceVersion"])
    assert api.patch(plural, "it", {"metadata": {"labels": {"by": "merge"}}})["metadata"]["labels"] == {"by": "merge"}
    operations = [{"op": "replace", "path": "/metadata/labels/by", "value": "json"}]
    patched = api.patch(plural, "it", operations, "application/json-patch+json")
    assert patched["metadata"]["labels"] == {"by": "json"}

    api.delete(plural, "it", grace=0 if plural == "pods" else None)
    api.wait_gone(plural, "it")


def test_a_stale_resource_version_is_a_conflict(api: Api) -> None:
    stale = api.create("pods", idle("it"))
    api.patch("pods", "it", {"metadata": {"labels": {"changed": "yes"}}})
    stale["metadata"]["labels"] = {"changed": "no"}
    with pytest.raises(Refused) as refused:
        api.replace("pods", stale)
    assert refused.value.code == 409
    assert refused.value.status["reason"] == "Conflict"
    assert "the object has been modified; please apply your changes" in refused.value.status["message"]
    assert api.get("pods", "it")["metadata"]["labels"]["changed"] == "yes"


def test_creating_twice_is_already_exists(api: Api) -> None:
    api.create("pods", idle("it"))
    with pytest.raises(Refused) as refused:
        api.create("pods", idle("it"))
    assert refused.value.code == 409
    assert refused.value.status["reason"] == "AlreadyExists"
    assert refused.value.status["message"] == 'pods "it" already exists'


def test_a_name_is_generated(api: Api) -> None:
    manifest = idle("x")
    manifest["metadata"] = {"generateName": "job-"}
    names = {api.create("pods", manifest)["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("job-") and len(name) == 9 for name in names)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        pytest.param("tier=front", {"a"}, id="equal"),
        pytest.param("tier!=front", {"b", "c"}, id="not equal, or without the label"),
        pytest.param("tier in (front,back)", {"a", "b"}, id="in"),
        pytest.param("tier notin (front)", {"b", "c"}, id="notin"),
        pytest.param("tier", {"a", "b"}, id="exists"),
        pytest.param("!tier", {"c"}, id="does not exist"),
        pytest.param("tier=back,env=prod", {"b"}, id="both"),
    ],
)
def test_labels_select(api: Api, selector: str, names: set[str]) -> None:
    api.create("pods", idle("a", tier="front"))
    api.create("pods", idle("b", tier="back", env="prod"))
    api.create("pods", idle("c", env="prod"))
    assert {each["metadata"]["name"] for each in api.items("pods", selector)} == names


def test_fields_select(api: Api) -> None:
    api.create("pods", idle("a"))
    api.create("pods", idle("b"))
    assert [each["metadata"]["name"] for each in api.items("pods", fields="metadata.name=b")] == ["b"]
    with pytest.raises(Refused) as refused:
        api.items("pods", fields="spec.nonsense=1")
    assert refused.value.code == 400


def test_a_watch_tells_every_change_from_a_version_on(api: Api) -> None:
    version = api.send("GET", api.path("pods"))["metadata"]["resourceVersion"]
    api.create("pods", idle("it"))
    with api.watch("pods", version) as events:
        first = next(events)
        api.patch("pods", "it", {"metadata": {"labels": {"step": "two"}}})
        api.delete("pods", "it", grace=0)
        seen = [(first["type"], first["object"]["metadata"]["name"])]
        for event in events:
            seen.append((event["type"], event["object"]["metadata"]["name"]))
            if event["type"] == "DELETED":
                break
    kinds = [kind for kind, _ in seen]
    assert kinds[0] == "ADDED"
    assert kinds[-1] == "DELETED"
    assert set(kinds[1:-1]) == {"MODIFIED"}


def test_a_watch_with_a_selector_sees_what_comes_to_match(api: Api) -> None:
    version = api.create("pods", idle("it", tier="back"))["metadata"]["resourceVersion"]
    with api.watch("pods", version, labels="tier=front") as events:
        api.patch("pods", "it", {"metadata": {"labels": {"tier": "front"}}})
        assert next(events)["type"] == "ADDED"
        api.patch("pods", "it", {"metadata": {"labels": {"tier": "back"}}})
        while (event := next(events))["type"] == "MODIFIED":
            pass
        assert event["type"] == "DELETED"


def test_a_body_may_be_yaml(api: Api) -> None:
    body = yaml.safe_dump(idle("it"))
    answer = api.http.post(api.path("pods"), content=body, headers={"Content-Type": "application/yaml"})
    assert answer.status_code == 201
    assert answer.json()["metadata"]["name"] == "it"


def test_unknown_paths_and_objects_are_not_found(api: Api) -> None:
    for path in ("/nonsense", "/api/v1/nonsense", api.path("pods", "nobody")):
        answer = api.http.get(path)
        assert answer.status_code == 404
        assert answer.json()["kind"] == "Status"
        assert answer.json()["reason"] == "NotFound"
    assert api.http.get(api.path("pods", "nobody")).json()["message"] == 'pods "nobody" not found'
