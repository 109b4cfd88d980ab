"""What is filled in where a client said nothing (pkg/apis/core/v1/defaults.go)."""

from __future__ import annotations

from typing import Any

import pytest

from kube.api import core, defaults
from kube.api.meta import Object


def defaulted(model: type[Object], **fields: Any) -> dict[str, Any]:
    obj = model.parse({"metadata": {"name": "a"}, **fields})
    defaults.apply(obj)
    once = obj.to_dict()
    defaults.apply(obj)
    assert obj.to_dict() == once, "applied twice is applied once"
    return once


def pod_spec(**fields: Any) -> dict[str, Any]:
    spec: dict[str, Any] = defaulted(core.Pod, spec={"containers": [{"name": "a", "image": "web:1"}], **fields})["spec"]
    return spec


def container(**fields: Any) -> dict[str, Any]:
    spec = defaulted(core.Pod, spec={"containers": [{"name": "a", "image": "web:1", **fields}]})["spec"]
    found: dict[str, Any] = spec["containers"][0]
    return found


def test_a_pod_with_nothing_but_an_image() -> None:
    assert pod_spec() == {
        "containers": [
            {
                "name": "a",
                "image": "web:1",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "IfNotPresent",
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
    }


def test_what_is_said_stays() -> None:
    spec = pod_spec(restartPolicy="Never", terminationGracePeriodSeconds=0, enableServiceLinks=False)
    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"], spec["enableServiceLinks"]) == (
        "Never",
        0,
        False,
    )


POLICIES = {
    "no tag": ("web", "Always"),
    "latest": ("web:latest", "Always"),
    "a tag": ("web:1", "IfNotPresent"),
    "a registry with a port, no tag": ("localhost:5000/web", "Always"),
    "a registry with a port, and a tag": ("localhost:5000/web:1", "IfNotPresent"),
    "a digest": ("web@sha256:" + "0" * 64, "IfNotPresent"),
    "latest and a digest": ("web:latest@sha256:" + "0" * 64, "Always"),
}


@pytest.mark.parametrize(("image", "policy"), POLICIES.values(), ids=POLICIES)
def test_the_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert defaults.pull_policy(image) == policy


CONTAINERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a port's protocol": (
        {"ports": [{"containerPort": 80}]},
        {"ports": [{"containerPort": 80, "protocol": "TCP"}]},
    ),
    "requests from limits": (
        {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}},
        {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}},
    ),
    "amounts finer than a thousandth are rounded up": (
        {"resources": {"requests": {"cpu": "100u"}}},
        {"resources": {"requests": {"cpu": "1m"}}},
    ),
    "a probe's timings": (
        {"livenessProbe": {"exec": {"command": ["true"]}}},
        {
            "livenessProbe": {
                "exec": {"command": ["true"]},
                "timeoutSeconds": 1,
                "periodSeconds": 10,
                "successThreshold": 1,
                "failureThreshold": 3,
            }
        },
    ),
    "what a hook asks over HTTP": (
        {"lifecycle": {"preStop": {"httpGet": {"port": 80}}}},
        {"lifecycle": {"preStop": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}}}},
    ),
    "a field reference's version": (
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}]},
    ),
}


@pytest.mark.parametrize(("given", "expected"), CONTAINERS.values(), ids=CONTAINERS)
def test_a_container(given: dict[str, Any], expected: dict[str, Any]) -> None:
    found = container(**given)
    assert {name: found[name] for name in expected} == expected


VOLUMES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no kind is an empty directory": ({}, {"emptyDir": {}}),
    "a path of the node": ({"hostPath": {"path": "/x"}}, {"hostPath": {"path": "/x", "type": ""}}),
    "a secret's mode": ({"secret": {"secretName": "s"}}, {"secret": {"secretName": "s", "defaultMode": 420}}),
    "a token's life": (
        {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
        {
            "projected": {
                "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}],
                "defaultMode": 420,
            }
        },
    ),
}


@pytest.mark.parametrize(("given", "expected"), VOLUMES.values(), ids=VOLUMES)
def test_a_volume(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert pod_spec(volumes=[{"name": "v", **given}])["volumes"] == [{**expected, "name": "v"}]


def test_on_the_nodes_network_ports_are_the_nodes() -> None:
    spec = pod_spec(hostNetwork=True, containers=[{"name": "a", "image": "x:1", "ports": [{"containerPort": 80}]}])
    assert spec["containers"][0]["ports"] == [{"hostPort": 80, "containerPort": 80, "protocol": "TCP"}]


def test_the_service_account_has_two_names() -> None:
    assert pod_spec(serviceAccount="bot")["serviceAccountName"] == "bot"
    assert pod_spec(serviceAccountName="bot")["serviceAccount"] == "bot"
    assert pod_spec(serviceAccountName="bot", serviceAccount="old")["serviceAccount"] == "bot"


def test_a_replication_controller_takes_labels_from_its_template() -> None:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "a", "image": "x:1", "resources": {"limits": {"cpu": "1"}}}]},
    }
    rc = defaulted(core.ReplicationController, spec={"template": template})
    assert rc["metadata"]["labels"] == {"app": "web"}
    assert rc["spec"]["selector"] == {"app": "web"}
    assert rc["spec"]["replicas"] == 1
    spec = rc["spec"]["template"]["spec"]
    assert spec["restartPolicy"] == "Always"
    # Only pods get requests from limits, and service links: a template keeps what its author wrote.
    assert spec["containers"][0]["resources"] == {"limits": {"cpu": "1"}}
    assert "enableServiceLinks" not in spec


def test_zero_replicas_are_zero() -> None:
    assert defaulted(core.ReplicationController, spec={"replicas": 0})["spec"]["replicas"] == 0


SERVICES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a plain service": (
        {"ports": [{"port": 80}], "selector": {"a": "b"}},
        {
            "ports": [{"protocol": "TCP", "port": 80, "targetPort": 80}],
            "selector": {"a": "b"},
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
    ),
    "a named target port stays": (
        {"ports": [{"port": 80, "targetPort": "web"}]},
        {"ports": [{"protocol": "TCP", "port": 80, "targetPort": "web"}]},
    ),
    "an address given": ({"clusterIP": "10.96.0.9"}, {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}),
    "affinity by client": (
        {"sessionAffinity": "ClientIP"},
        {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}},
    ),
    "node ports": ({"type": "NodePort"}, {"externalTrafficPolicy": "Cluster"}),
    "a load balancer": (
        {"type": "LoadBalancer"},
        {"externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": True},
    ),
    "headless without selector may have any family": (
        {"clusterIP": "None"},
        {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"},
    ),
}


@pytest.mark.parametrize(("given", "expected"), SERVICES.values(), ids=SERVICES)
def test_a_service(given: dict[str, Any], expected: dict[str, Any]) -> None:
    spec = defaulted(core.Service, spec=given)["spec"]
    assert {name: spec[name] for name in expected} == expected


def test_an_external_name_has_no_family() -> None:
    spec = defaulted(core.Service, spec={"type": "ExternalName", "externalName": "example.com"})["spec"]
    assert spec == {"type": "ExternalName", "externalName": "example.com", "sessionAffinity": "None"}


def test_endpoints_speak_tcp() -> None:
    subsets = [{"addresses": [{"ip": "10.244.0.5"}], "ports": [{"port": 80}]}]
    assert defaulted(core.Endpoints, subsets=subsets)["subsets"][0]["ports"] == [{"port": 80, "protocol": "TCP"}]


def test_a_namespace_is_labelled_with_its_name_and_active() -> None:
    namespace = defaulted(core.Namespace)
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "a"}
    assert namespace["spec"] == {"finalizers": ["kubernetes"]}
    assert namespace["status"] == {"phase": "Active"}


def test_a_namespace_that_is_deleted_may_lose_its_finalizer() -> None:
    namespace = core.Namespace.parse({"metadata": {"name": "a", "deletionTimestamp": "2024-01-01T00:00:00Z"}})
    defaults.apply(namespace)
    assert namespace.spec.finalizers == []


def test_a_node_can_give_what_it_has() -> None:
    status = defaulted(core.Node, status={"capacity": {"cpu": "4", "pods": "110"}})["status"]
    assert status["allocatable"] == {"cpu": "4", "pods": "110"}


def test_a_secret_takes_plain_text_into_its_data() -> None:
    made = defaulted(core.Secret, data={"a": "b2xk", "b": "Yg=="}, stringData={"a": "new", "c": "\u00e9"})
    assert made["type"] == "Opaque"
    assert made["data"] == {"a": "bmV3", "b": "Yg==", "c": "w6k="}
    assert "stringData" not in made


def test_limits_of_containers_follow_from_one_another() -> None:
    limits = [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}, {"type": "Pod", "max": {"cpu": 4}}]
    container, pod = defaulted(core.LimitRange, spec={"limits": limits})["spec"]["limits"]
    assert container["default"] == {"cpu": "2"}
    assert container["defaultRequest"] == {"cpu": "2", "memory": "1Mi"}
    assert pod == {"type": "Pod", "max": {"cpu": "4"}}


def test_the_pods_of_a_pod_template_are_defaulted() -> None:
    made = defaulted(core.PodTemplate, template={"spec": {"containers": [{"name": "a", "image": "web"}]}})
    assert made["template"]["spec"]["restartPolicy"] == "Always"
    assert made["template"]["spec"]["containers"][0]["imagePullPolicy"] == "Always"
