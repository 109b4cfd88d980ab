"""The environment of a container."""

from __future__ import annotations

from typing import Any

import pytest

from kube.api.binary import encoded
from kube.api.core import ConfigMap, Container, Pod, Secret, Service
from kube.kubelet.configuration import ConfigError, Configuration, references
from kube.kubelet.environment import PodFacts, environment, expand, service_variables
from tests.kubelet_node import container, make_pod


def service(name: str, ip: str = "10.96.0.10", *ports: dict[str, Any], namespace: str = "default") -> Service:
    spec = {"clusterIP": ip, "ports": list(ports) or [{"port": 80}]}
    return Service.parse({"metadata": {"name": name, "namespace": namespace}, "spec": spec})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$(NONE)", "$(NONE)"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$", "$"),
        ("$$", "$"),
        ("$()", "$()"),
        ("$(A)$", "1$"),
        ("$($(A))", "$($(A))"),
        ("--flag=$(A)", "--flag=1"),
    ],
)
def test_expansion_is_that_of_kubernetes(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


def test_the_seven_variables_of_a_service_port() -> None:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns-udp", "port": 53, "protocol": "UDP"}]
    assert service_variables([service("redis-master", "10.96.0.11", *ports)]) == {
        "REDIS_MASTER_SERVICE_HOST": "10.96.0.11",
        "REDIS_MASTER_SERVICE_PORT": "80",
        "REDIS_MASTER_SERVICE_PORT_HTTP": "80",
        "REDIS_MASTER_SERVICE_PORT_DNS_UDP": "53",
        "REDIS_MASTER_PORT": "tcp://10.96.0.11:80",
        "REDIS_MASTER_PORT_80_TCP": "tcp://10.96.0.11:80",
        "REDIS_MASTER_PORT_80_TCP_PROTO": "tcp",
        "REDIS_MASTER_PORT_80_TCP_PORT": "80",
        "REDIS_MASTER_PORT_80_TCP_ADDR": "10.96.0.11",
        "REDIS_MASTER_PORT_53_UDP": "udp://10.96.0.11:53",
        "REDIS_MASTER_PORT_53_UDP_PROTO": "udp",
        "REDIS_MASTER_PORT_53_UDP_PORT": "53",
        "REDIS_MASTER_PORT_53_UDP_ADDR": "10.96.0.11",
    }


@pytest.mark.parametrize("ip", ["None", ""])
def test_a_service_without_an_address_has_no_variables(ip: str) -> None:
    assert service_variables([service("headless", ip)]) == {}


NOTHING = Configuration()
THERE = Configuration(
    {"settings": ConfigMap(data={"color": "red", "log.level": "info"})},
    {"login": Secret(data={"user": encoded(b"jo"), "blob": encoded(b"\xff!")})},
)


def variables(
    pod: Pod,
    *services: Service,
    facts: PodFacts = PodFacts(),  # noqa: B008  # immutable
    configuration: Configuration = NOTHING,
) -> dict[str, str]:
    return dict(environment(pod, pod.spec.containers[0], services, facts, configuration))


def test_config_maps_and_secrets_as_variables() -> None:
    env_from = [{"configMapRef": {"name": "settings"}}, {"prefix": "DB_", "secretRef": {"name": "login"}}]
    env = [
        {"name": "USER", "valueFrom": {"secretKeyRef": {"name": "login", "key": "user"}}},
        {"name": "WHO", "value": "$(USER) likes $(color), $$(color) is $(DB_user)'s"},
        {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "log.level"}}},
    ]
    assert variables(make_pod("web", container(env=env, envFrom=env_from)), configuration=THERE) == {
        "color": "red",
        "log.level": "info",
        "DB_user": "jo",
        "DB_blob": "\ufffd!",
        "USER": "jo",
        "WHO": "jo likes red, $(color) is jo's",
        "LEVEL": "info",
    }


def test_later_definitions_win_and_see_what_was_before_them() -> None:
    env_from = [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "login"}}]
    env = [{"name": "color", "value": "dark $(color)"}, {"name": "user", "value": "$(color)"}]
    services = [service("color", "10.96.0.7")]
    found = variables(make_pod("web", container(env=env, envFrom=env_from)), *services, configuration=THERE)
    assert (found["color"], found["user"]) == ("dark red", "dark red")
    assert found["COLOR_SERVICE_HOST"] == "10.96.0.7"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "settings", "key": "k"}}, "couldn't find key k in ConfigMap default/settings"),
        ({"secretKeyRef": {"name": "login", "key": "k"}}, "couldn't find key k in Secret default/login"),
    ],
)
def test_a_key_that_is_missing_is_named_unless_it_is_optional(source: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        variables(make_pod("web", container(env=[{"name": "X", "valueFrom": source}])), configuration=THERE)
    (kind,) = source
    optional = {kind: {**source[kind], "optional": True}}
    pod = make_pod("web", container(env=[{"name": "X", "valueFrom": optional}]))
    assert variables(pod, configuration=THERE) == {}


def test_all_that_a_pod_refers_to_is_followed() -> None:
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "k"}}}]
    env += [{"name": "B", "valueFrom": {"secretKeyRef": {"name": "b", "key": "k"}}}]
    sources = [{"configMap": {"name": "e"}}, {"secret": {"name": "f"}}, {"downwardAPI": {}}]
    pod = make_pod(
        "web",
        container(env=env),
        initContainers=[container(envFrom=[{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "d"}}])],
        volumes=[
            {"name": "1", "projected": {"sources": sources}},
            {"name": "2", "configMap": {"name": "g"}},
            {"name": "3", "secret": {"secretName": "h"}},
            {"name": "4", "emptyDir": {}},
        ],
        imagePullSecrets=[{"name": "i"}],
    )
    found = {name: model.kind for model, name in references(pod)}
    assert found == dict(zip("abcdefghi", ["ConfigMap", "Secret"] * 4 + ["Secret"], strict=True))


def test_a_pod_is_told_of_its_namespace_s_services_and_of_the_master() -> None:
    master, other = service("kubernetes", "10.96.0.1"), service("far", "10.96.0.9", namespace="other")
    own = service("near", "10.96.0.8")
    hosts = {k: v for k, v in variables(make_pod(), own, other, master).items() if k.endswith("_SERVICE_HOST")}
    assert hosts == {"NEAR_SERVICE_HOST": "10.96.0.8", "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    away = make_pod()
    away.metadata.namespace = "other"
    assert {k for k in variables(away, own, other, master) if k.endswith("_SERVICE_HOST")} == {
        "FAR_SERVICE_HOST",
        "KUBERNETES_SERVICE_HOST",
    }
    hosts = variables(make_pod(enableServiceLinks=False), own, other, master)
    assert {k for k in hosts if k.endswith("_SERVICE_HOST")} == {"KUBERNETES_SERVICE_HOST"}


def test_own_variables_win_over_services_and_may_refer_to_them_and_to_earlier_ones() -> None:
    env = [
        {"name": "WEB_PORT", "value": "mine"},
        {"name": "URL", "value": "http://$(WEB_SERVICE_HOST):$(WEB_PORT)"},
        {"name": "AGAIN", "value": "$(URL)$(LATER)"},
        {"name": "LATER", "value": "x"},
    ]
    found = variables(make_pod("p", container(env=env)), service("web", "10.96.0.7"))
    assert found["WEB_PORT"] == "mine"
    assert found["URL"] == "http://10.96.0.7:mine"
    assert found["AGAIN"] == "http://10.96.0.7:mine$(LATER)"


FACTS = PodFacts(pod_ip="10.244.0.5", host_ip="192.168.0.1", allocatable={"cpu": "4", "memory": "8Gi"})
RESOURCES = {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"fieldRef": {"fieldPath": "metadata.name"}}, "web"),
        ({"fieldRef": {"fieldPath": "metadata.namespace"}}, "default"),
        ({"fieldRef": {"fieldPath": "metadata.uid"}}, "uid-1"),
        ({"fieldRef": {"fieldPath": "metadata.labels['app']"}}, "shop"),
        ({"fieldRef": {"fieldPath": "metadata.labels['none']"}}, ""),
        ({"fieldRef": {"fieldPath": "metadata.annotations['note']"}}, "hello"),
        ({"fieldRef": {"fieldPath": "spec.nodeName"}}, "node-1"),
        ({"fieldRef": {"fieldPath": "status.podIP"}}, "10.244.0.5"),
        ({"fieldRef": {"fieldPath": "status.hostIP"}}, "192.168.0.1"),
        ({"resourceFieldRef": {"resource": "requests.cpu"}}, "1"),
        ({"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}, "250"),
        ({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}, "128"),
        ({"resourceFieldRef": {"resource": "limits.cpu"}}, "4"),
        ({"resourceFieldRef": {"containerName": "main", "resource": "requests.memory"}}, str(64 * 2**20)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_value_from_the_pod_itself(source: dict[str, Any], expected: str) -> None:
    pod = make_pod("web", container(env=[{"name": "X", "valueFrom": source}], resources=RESOURCES))
    pod.metadata.labels, pod.metadata.annotations = {"app": "shop"}, {"note": "hello"}
    assert variables(pod, facts=FACTS) == {"X": expected}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "k"}}}]}, 'configmap "a" not'),
        ({"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "a", "key": "k"}}}]}, 'secret "a" not found'),
        ({"envFrom": [{"configMapRef": {"name": "a"}}]}, 'configmap "a" not found'),
        ({"envFrom": [{"secretRef": {"name": "a"}}]}, 'secret "a" not found'),
        ({"env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.what"}}}]}, "unsupported fieldPath"),
    ],
    ids=["config map key", "secret key", "config map", "secret", "unknown field"],
)
def test_what_cannot_be_had_is_a_config_error(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        variables(make_pod("web", container(**more)))


def test_what_is_optional_may_be_missing() -> None:
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "k", "optional": True}}}]
    more = container(env=env, envFrom=[{"secretRef": {"name": "a", "optional": True}}])
    assert variables(make_pod("web", more)) == {}
    assert isinstance(make_pod("web", more).spec.containers[0], Container)
