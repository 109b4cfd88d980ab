"""The models: what is written and what is left out, and that nothing is lost on the way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from kube.api import (
    authentication,
    authorization,
    autoscaling,
    core,
    descriptions,
    discovery,
    events,
    policy,
    resources,
)
from kube.api.meta import Model, Object, ObjectMeta

WRITTEN = {
    "a container's resources": (core.Container(name="a"), {"name": "a", "resources": {}}),
    "all that a container status says": (
        core.ContainerStatus(name="a"),
        {"name": "a", "state": {}, "lastState": {}, "ready": False, "restartCount": 0, "image": "", "imageID": ""},
    ),
    "the times of what has ended": (
        core.ContainerStateTerminated(),
        {"exitCode": 0, "startedAt": None, "finishedAt": None},
    ),
    "a condition's times": (
        core.PodCondition(type="Ready", status="True"),
        {"type": "Ready", "status": "True", "lastProbeTime": None, "lastTransitionTime": None},
    ),
    "a kubelet's port, with upstream's capital": (core.DaemonEndpoint(Port=10250), {"Port": 10250}),
    "an empty volume source": (
        core.Volume(name="v", emptyDir=core.EmptyDirVolumeSource()),
        {"name": "v", "emptyDir": {}},
    ),
    "zero where absence means something else": (core.PodSpec(priority=0), {"containers": [], "priority": 0}),
}


@pytest.mark.parametrize(("model", "expected"), WRITTEN.values(), ids=WRITTEN)
def test_what_upstream_writes_though_it_is_empty(model: core.Container, expected: dict[str, Any]) -> None:
    assert model.to_dict() == expected


EMPTY: dict[str, dict[str, Any]] = {
    "Pod": {"spec": {"containers": []}, "status": {}},
    "Service": {"spec": {}, "status": {"loadBalancer": {}}},
    "ReplicationController": {"spec": {}, "status": {"replicas": 0}},
    "Endpoints": {},
    "Namespace": {"spec": {}, "status": {}},
    "Lease": {"spec": {}},
    "Event": {
        "involvedObject": {},
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "eventTime": None,
        "reportingComponent": "",
        "reportingInstance": "",
    },
    "Scale": {"spec": {}, "status": {"replicas": 0}},
    "Binding": {"target": {}},
    "ComponentStatus": {},
    "EndpointSlice": {"addressType": "", "endpoints": [], "ports": []},
    "Eviction": {},
    "NewerEvent": {
        "eventTime": None,
        "regarding": {},
        "deprecatedSource": {},
        "deprecatedFirstTimestamp": None,
        "deprecatedLastTimestamp": None,
    },
    "SelfSubjectReview": {"status": {"userInfo": {}}},
    "TokenReview": {"spec": {}, "status": {"user": {}}},
    "SelfSubjectAccessReview": {"spec": {}, "status": {"allowed": False}},
    "ConfigMap": {},
    "Secret": {},
    "ServiceAccount": {},
    "PodTemplate": {"template": {"metadata": {}, "spec": {"containers": []}}},
    "LimitRange": {"spec": {"limits": []}},
    "ResourceQuota": {"spec": {}, "status": {}},
}
MODELS: dict[str, type[Object]] = {
    **{resource.kind: resource.model for resource in (*resources.ANSWERED, *resources.RESOURCES)},
    "Scale": autoscaling.Scale,
    "Eviction": policy.Eviction,
    "NewerEvent": events.Event,
}


@pytest.mark.parametrize("kind", EMPTY)
def test_an_empty_object_writes_what_upstream_writes(kind: str) -> None:
    written = MODELS[kind](metadata=ObjectMeta(name="a")).to_dict()
    head = {"kind": MODELS[kind].kind, "apiVersion": MODELS[kind].apiVersion, "metadata": {"name": "a"}}
    assert written == {**head, **EMPTY[kind]}


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_written_is_read_back_equal(kind: str) -> None:
    obj = MODELS[kind](metadata=ObjectMeta(name="a", namespace="ns", labels={"a": "b"}))
    assert MODELS[kind].parse(obj.to_json()) == obj


def test_kind_comes_first_then_version_then_metadata() -> None:
    pod = core.Pod(metadata=ObjectMeta(name="a"))
    assert pod.to_json().startswith(b'{"kind":"Pod","apiVersion":"v1","metadata":{')


def test_times_have_seconds_and_micro_times_microseconds() -> None:
    moment = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    event = core.Event(firstTimestamp=moment, eventTime=moment).to_dict()
    assert event["firstTimestamp"] == "2024-05-06T07:08:09Z"
    assert event["eventTime"] == "2024-05-06T07:08:09.123456Z"


def test_null_is_as_good_as_nothing() -> None:
    pod = core.Pod.parse(
        {
            "metadata": {"name": "a", "creationTimestamp": None, "labels": None, "annotations": {"a": None}},
            "spec": {"volumes": None, "containers": [{"name": "x", "args": [None], "ports": [None], "env": None}]},
            "status": None,
        }
    )
    assert pod.metadata == ObjectMeta(name="a", annotations={"a": ""})
    assert pod.spec.containers == [core.Container(name="x", args=[""], ports=[core.ContainerPort()])]


def test_quantities_are_held_in_canonical_form() -> None:
    container = core.Container.parse({"resources": {"limits": {"cpu": 0.5, "memory": "1024Ki"}}})
    assert container.resources.limits == {"cpu": "500m", "memory": "1Mi"}
    built = core.ResourceRequirements(requests={"cpu": "1000m"})
    assert built.requests == {"cpu": "1"}


def test_numbers_keep_gos_sizes() -> None:
    with pytest.raises(ValidationError):
        core.ContainerPort.parse({"containerPort": 2**31})
    assert core.PodSpec.parse({"activeDeadlineSeconds": 2**40}).activeDeadlineSeconds == 2**40


def test_a_clone_is_its_owners() -> None:
    pod = core.Pod(metadata=ObjectMeta(name="a", labels={"a": "b"}))
    copy = pod.clone()
    copy.metadata.labels["a"] = "c"
    copy.spec.containers.append(core.Container(name="x"))
    assert pod.metadata.labels == {"a": "b"}
    assert pod.spec.containers == []


GROUPS = (authentication, authorization, autoscaling, discovery, events, policy)


def test_every_field_has_a_description() -> None:
    # The OpenAPI document and `kubectl explain` are made from them.
    missing = [
        f"{model.__name__}.{name}"
        for model in [
            *(getattr(core, exported) for exported in core.__all__),
            *(m for group in GROUPS for m in vars(group).values() if isinstance(m, type) and issubclass(m, Model)),
        ]
        for name in model.model_fields
        if not descriptions.of(model).get(name)
    ]
    assert missing == []


def test_a_clone_shares_nothing_that_can_be_changed() -> None:
    text = b'{"metadata":{"name":"a"},"spec":{"containers":[{"name":"x","env":[{"name":"E"}]}]}}'
    pod = core.Pod.parse(text)
    copy = pod.clone()
    assert copy == pod
    assert copy.model_fields_set == pod.model_fields_set
    copy.spec.containers[0].env[0].value = "changed"
    copy.spec.containers[0].resources.limits["cpu"] = "1"
    copy.status = core.PodStatus()
    assert pod == core.Pod.parse(text)


def test_a_clone_of_what_has_no_model_shares_nothing_either() -> None:
    model = resources.STORED_ONLY[0].model
    text = b'{"metadata":{"name":"a"},"spec":{"list":[{"of":["lists"]}]}}'
    obj = model.parse(text)
    copy = obj.clone()
    assert copy == obj
    copy.part("spec")["list"][0]["of"].append("more")  # type: ignore[attr-defined]  # it is Unstructured
    assert obj == model.parse(text)
