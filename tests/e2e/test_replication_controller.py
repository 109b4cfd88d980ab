"""Create a replication controller: exactly N pods, always."""

from __future__ import annotations

import pytest

from tests.e2e.api import Api, Manifest, Refused, container_status, controller, is_ready, pod, web_controller
from tests.e2e.node import Node
from tests.e2e.waiting import always, eventually


def test_it_makes_as_many_pods_as_wanted_and_owns_them(api: Api) -> None:
    made = api.create("replicationcontrollers", web_controller("web", 3))
    for each in api.wait_pods("app=web", 3):
        (owner,) = each["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == (
            "ReplicationController",
            "web",
            made["metadata"]["uid"],
        )
        assert owner["controller"] is True
        assert each["metadata"]["name"].startswith("web-")

    def told() -> bool:
        found = api.get("replicationcontrollers", "web")
        status = found["status"]
        counts = [
            status.get(name) for name in ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")
        ]
        return counts == [3, 3, 3, 3] and status["observedGeneration"] == found["metadata"]["generation"]

    eventually(told, "the status counts the pods")


def test_it_scales_up_and_down_and_to_nothing(api: Api, node: Node) -> None:
    api.create("replicationcontrollers", web_controller("web", 1))
    api.wait_pods("app=web", 1)
    for replicas in (4, 2, 0):
        api.scale("web", replicas)
        pods = api.wait_pods("app=web", replicas)
        uids = {each["metadata"]["uid"] for each in pods}
        eventually(lambda uids=uids: node.has_exactly(api.namespace, uids), f"{replicas} pods' containers run")  # type: ignore[misc]


def test_the_scale_subresource_scales(api: Api) -> None:
    api.create("replicationcontrollers", web_controller("web", 1))

    def scaled() -> bool:
        """The controller writes the status at the same time: then it is a conflict, and to be tried again."""
        scale = api.get("replicationcontrollers", "web", "scale")
        assert scale["kind"] == "Scale"
        scale["spec"]["replicas"] = 2
        answer: Manifest = api.send("PUT", api.path("replicationcontrollers", "web", "scale"), scale)
        return bool(answer["spec"]["replicas"] == 2)

    eventually(scaled, "the scale is written")
    api.wait_pods("app=web", 2)


def test_a_deleted_pod_is_replaced(api: Api) -> None:
    api.create("replicationcontrollers", web_controller("web", 2))
    victim, kept = (each["metadata"]["name"] for each in api.wait_pods("app=web", 2))
    api.delete("pods", victim)
    eventually(lambda: victim not in api.names("app=web"), "it is deleted")
    api.wait_pods("app=web", 2)
    assert kept in api.names("app=web")


def test_a_killed_container_is_restarted_in_its_pod(api: Api, node: Node) -> None:
    api.create("replicationcontrollers", web_controller("web", 1))
    (before,) = api.wait_pods("app=web", 1)
    name = before["metadata"]["name"]
    node.container(api.namespace, name).kill()
    eventually(lambda: container_status(api.get("pods", name))["restartCount"] == 1, "it is restarted")
    after = api.wait_ready(name)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["podIP"] == before["status"]["podIP"]
    assert container_status(after)["lastState"]["terminated"]["exitCode"] == 137


def test_a_killed_sandbox_is_rebuilt(api: Api, node: Node) -> None:
    api.create("replicationcontrollers", web_controller("web", 1))
    (before,) = api.wait_pods("app=web", 1)
    name, uid = before["metadata"]["name"], before["metadata"]["uid"]
    (sandbox,) = [each for each in node.containers(api.namespace, name, every=True) if "k8s_POD_" in each.name]
    sandbox.kill()
    eventually(lambda: node.has_exactly(api.namespace, {uid}) and _restarted(api, name), "the pod runs again", 40)
    api.wait_ready(name)


def _restarted(api: Api, name: str) -> bool:
    return bool(container_status(api.get("pods", name))["restartCount"] >= 1)


def test_a_matching_pod_is_adopted_and_counts(api: Api) -> None:
    orphan = api.run(pod("orphan", labels={"app": "web"}))
    made = api.create("replicationcontrollers", web_controller("web", 2))
    pods = api.wait_pods("app=web", 2)
    (adopted,) = [each for each in pods if each["metadata"]["name"] == "orphan"]
    assert adopted["metadata"]["uid"] == orphan["metadata"]["uid"]
    assert adopted["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]


def test_a_pod_whose_label_changes_is_released_and_replaced(api: Api) -> None:
    api.create("replicationcontrollers", web_controller("web", 1))
    (first,) = api.wait_pods("app=web", 1)
    api.patch("pods", first["metadata"]["name"], {"metadata": {"labels": {"app": "debug"}}})
    api.wait_pods("app=web", 1)
    eventually(
        lambda: not api.get("pods", first["metadata"]["name"])["metadata"].get("ownerReferences"), "it is released"
    )


def test_pods_that_are_not_ready_are_removed_first(api: Api) -> None:
    api.create("replicationcontrollers", web_controller("web", 2))
    kept = {each["metadata"]["name"] for each in api.wait_pods("app=web", 2)}
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1}
    never = web_controller("web", 2)["spec"]["template"]["spec"]["containers"][0] | {"readinessProbe": probe}
    api.patch("replicationcontrollers", "web", {"spec": {"template": {"spec": {"containers": [never]}}}})
    api.scale("web", 4)
    eventually(lambda: len(api.pods("app=web")) == 4, "two more are made")
    api.scale("web", 2)
    eventually(lambda: api.names("app=web") == kept, "the two that are Ready stay")


def test_a_deleted_controllers_pods_are_left_to_the_next(api: Api) -> None:
    """Cascading deletion is the garbage collector's; `orphan` says that none is wanted."""
    api.create("replicationcontrollers", web_controller("web", 2))
    before = {each["metadata"]["uid"] for each in api.wait_pods("app=web", 2)}
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Orphan"}
    api.send("DELETE", api.path("replicationcontrollers", "web"), options)
    api.wait_gone("replicationcontrollers", "web")
    api.create("replicationcontrollers", web_controller("web", 2))
    always(lambda: {each["metadata"]["uid"] for each in api.pods("app=web")} == before, "the pods stay", 2)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"restartPolicy": "Never"}, "spec.template.spec.restartPolicy", id="restartPolicy must be Always"),
        pytest.param({}, "spec.template.metadata.labels", id="the selector must match the template"),
    ],
)
def test_a_template_that_cannot_work_is_refused(api: Api, change: dict[str, str], field: str) -> None:
    manifest = controller("web", 1, **change)
    if not change:
        manifest["spec"]["selector"] = {"app": "other"}
    with pytest.raises(Refused) as refused:
        api.create("replicationcontrollers", manifest)
    assert refused.value.code == 422
    assert field in {cause["field"] for cause in refused.value.status["details"]["causes"]}
    assert api.find("replicationcontrollers", "web") is None


def test_a_restart_of_the_controller_manager_in_the_middle_makes_no_duplicates(api: Api, node: Node) -> None:
    seen: set[str] = set()
    version = api.send("GET", api.path("pods"))["metadata"]["resourceVersion"]
    api.create("replicationcontrollers", web_controller("web", 10))
    eventually(lambda: len(api.pods("app=web")) >= 2, "it has begun")
    node.kill("kube-controller-manager")
    api.wait_pods("app=web", 10, 90)
    node.wait_restarted("kube-controller-manager")
    with api.watch("pods", version) as events:
        for event in events:
            seen.add(event["object"]["metadata"]["uid"])
            if len(seen) >= 10 and is_ready(event["object"]) and _all_ready(api):
                break
    assert len(seen) == 10, "no pod was ever made but the ten"


def _all_ready(api: Api) -> bool:
    return all(is_ready(each) for each in api.pods("app=web"))
