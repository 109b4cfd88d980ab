"""Bodies that are no object of the kind: the refusal is upstream's, to the path and the type."""

from __future__ import annotations

from typing import Any

import pytest

from kube.api import autoscaling, core, decode
from kube.api.errors import BadRequest
from kube.api.meta import Object

_JSON = "json: cannot unmarshal "


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "a", **fields}]}}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a number for text": (
        container(image=5),
        _JSON + "number into Go struct field Container.spec.containers.image of type string",
    ),
    "text for a number": (
        container(ports=[{"containerPort": "80"}]),
        _JSON + "string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
    ),
    "a number too large": (
        container(ports=[{"containerPort": 99999999999}]),
        _JSON
        + "number 99999999999 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
    ),
    "a fraction for a whole number": (
        {"spec": {"terminationGracePeriodSeconds": 1.5}},
        _JSON + "number 1.5 into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64",
    ),
    "a number as the value of a label": (
        {"metadata": {"labels": {"a": 1}}},
        _JSON + "number into Go struct field ObjectMeta.metadata.labels of type string",
    ),
    "text for a list": (
        {"spec": {"containers": "a"}},
        _JSON + "string into Go struct field PodSpec.spec.containers of type []v1.Container",
    ),
    "text for an item": (
        {"spec": {"containers": ["a"]}},
        _JSON + "string into Go struct field PodSpec.spec.containers of type v1.Container",
    ),
    "a number for an object": ({"spec": 5}, _JSON + "number into Go struct field Pod.spec of type v1.PodSpec"),
    "a list for a map": (
        {"metadata": {"labels": []}},
        _JSON + "array into Go struct field ObjectMeta.metadata.labels of type map[string]string",
    ),
    "a named type of text": (
        {"spec": {"restartPolicy": 1}},
        _JSON + "number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
    ),
    "text for true or false": (
        {"spec": {"hostNetwork": "yes"}},
        _JSON + "string into Go struct field PodSpec.spec.hostNetwork of type bool",
    ),
    "a port that is neither number nor name": (
        container(livenessProbe={"tcpSocket": {"port": True}}),
        _JSON + "bool into Go struct field TCPSocketAction.spec.containers.livenessProbe.tcpSocket.port of type string",
    ),
    "no quantity": (
        container(resources={"limits": {"cpu": "lots"}}),
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
    "no time": (
        {"metadata": {"creationTimestamp": "yesterday"}},
        'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
    ),
    "a null before what is wrong": (
        {"spec": {"volumes": None, "nodeName": 1}},
        _JSON + "number into Go struct field PodSpec.spec.nodeName of type string",
    ),
}


@pytest.mark.parametrize(("body", "problem"), WRONG.values(), ids=WRONG)
def test_a_wrong_type_is_a_bad_request_that_names_field_and_type(body: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode.decode(core.Pod, body)
    assert caught.value.message == f'Pod in version "v1" cannot be handled as a Pod: {problem}'


UNRECOGNISED = {
    "another known kind": (
        b'{"kind":"Service","apiVersion":"v1"}',
        'Service in version "v1" cannot be handled as a Pod: converting (v1.Service) to (core.Pod): unknown conversion',
    ),
    "an unknown kind": (
        b'{"kind":"Prod","apiVersion":"v1"}',
        'Prod in version "v1" cannot be handled as a Pod: no kind "Prod" is registered for version "v1" in scheme '
        '"pkg/api/legacyscheme/scheme.go:30"',
    ),
    "another version": (
        b'{"kind":"Pod","apiVersion":"v2"}',
        'Pod in version "v2" cannot be handled as a Pod: no kind "Pod" is registered for version "v2" in scheme '
        '"pkg/api/legacyscheme/scheme.go:30"',
    ),
    "cut off": (
        b'{"kind":',
        "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: "
        'unexpected end of JSON input ({"kind":)',
    ),
    "a list": (
        b"[]",
        "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: json: "
        'cannot unmarshal array into Go value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; '
        'Kind string "json:\\"kind,omitempty\\"" } (5b5d)',
    ),
}


@pytest.mark.parametrize(("body", "problem"), UNRECOGNISED.values(), ids=UNRECOGNISED)
def test_what_is_not_even_of_the_kind(body: bytes, problem: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode.decode(core.Pod, body)
    assert caught.value.message == problem


def test_kind_and_version_may_be_left_out() -> None:
    assert decode.decode(core.Pod, b'{"metadata":{"name":"a"}}').name == "a"


def test_unknown_fields_are_dropped_named_or_refused() -> None:
    body = container(imge="x", resources={"limits": {"cpu": "1"}, "limit": {}})
    body["metadata"] = {"name": "a", "labels": {"any": "thing"}}
    body["extra"] = 1
    expected = ["spec.containers[0].imge", "spec.containers[0].resources.limit", "extra"]
    assert decode.decode(core.Pod, body).spec.containers[0].name == "a"
    assert decode.unknown_fields(core.Pod, body) == expected
    with pytest.raises(BadRequest) as caught:
        decode.decode(core.Pod, body, strict=True)
    listed = ", ".join(f'unknown field "{path}"' for path in expected)
    assert caught.value.message == (f'Pod in version "v1" cannot be handled as a Pod: strict decoding error: {listed}')


@pytest.mark.parametrize("model", [core.Pod, core.Service, core.Node, autoscaling.Scale])
def test_what_we_write_has_no_unknown_field(model: type[Object]) -> None:
    assert decode.unknown_fields(model, model().to_dict()) == []
