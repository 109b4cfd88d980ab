"""Field selectors, and the fields that each kind offers."""

from __future__ import annotations

import pytest

from kube.api import core, fields, resources
from kube.api.errors import BadRequest
from kube.api.meta import ObjectMeta

FIELDS = {"metadata.name": "web-1", "spec.nodeName": "n1", "status.phase": "Running", "note": "a,b=c\\d"}

SELECTED = {
    "nothing asked": ("", True),
    "equal": ("spec.nodeName=n1", True),
    "equal, written twice": ("spec.nodeName==n1", True),
    "not equal": ("status.phase!=Running", False),
    "all must hold": ("spec.nodeName=n1,status.phase=Pending", False),
    "a missing field is empty": ("spec.other=", True),
    "escaped": (r"note=a\,b\=c\\d", True),
    "empty parts do not count": (",spec.nodeName=n1,", True),
}


@pytest.mark.parametrize(("text", "expected"), SELECTED.values(), ids=SELECTED)
def test_what_a_selector_selects(text: str, expected: bool) -> None:
    assert fields.parse(text).matches(FIELDS) is expected


REFUSED = {
    "no operator": ("spec.nodeName", "invalid selector: 'spec.nodeName'; can't understand 'spec.nodeName'"),
    "an equals sign in the value": ("a=b=c", "invalid field selector: unescaped character in value: ="),
    "a backslash before a letter": (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
    "a backslash at the end": ("a=b\\", "invalid field selector: invalid escape sequence: \\"),
}


@pytest.mark.parametrize(("text", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_selector_is_refused(text: str, problem: str) -> None:
    with pytest.raises(fields.SelectorError) as caught:
        fields.parse(text)
    assert str(caught.value) == problem


def test_a_selector_prints_as_it_is_read() -> None:
    for text in ("a=b,c!=d", r"a=x\,y\=z\\"):
        assert str(fields.parse(text)) == text


def test_what_a_selector_demands_of_a_field() -> None:
    selector = fields.parse("spec.nodeName=n1,status.phase!=Running")
    assert selector.required("spec.nodeName") == "n1"
    assert selector.required("status.phase") is None


def test_a_field_that_the_kind_does_not_offer() -> None:
    fields.check(fields.parse("spec.nodeName=n1,metadata.name=x"), resources.PODS)
    with pytest.raises(BadRequest) as caught:
        fields.check(fields.parse("spec.color=red"), resources.PODS)
    assert caught.value.message == "field label not supported: spec.color"
    with pytest.raises(BadRequest) as caught:
        fields.check(fields.parse("spec.color=red"), resources.LEASES)
    assert caught.value.message == (
        '"spec.color" is not a known field selector: only "metadata.name", "metadata.namespace"'
    )


META = ObjectMeta(name="a", namespace="ns")
OFFERED = {
    "pod": (
        core.Pod(metadata=META, spec=core.PodSpec(nodeName="n1", hostNetwork=True)),
        {"spec.nodeName": "n1", "spec.hostNetwork": "true", "status.phase": "", "metadata.namespace": "ns"},
    ),
    "node": (core.Node(metadata=ObjectMeta(name="n1")), {"spec.unschedulable": "false", "metadata.namespace": ""}),
    "replication controller": (
        core.ReplicationController(metadata=META, status=core.ReplicationControllerStatus(replicas=3)),
        {"status.replicas": "3"},
    ),
    "event, whose source may be in either form": (
        core.Event(metadata=META, reportingComponent="scheduler", involvedObject=core.ObjectReference(kind="Pod")),
        {"source": "scheduler", "involvedObject.kind": "Pod"},
    ),
}


@pytest.mark.parametrize(("obj", "expected"), OFFERED.values(), ids=OFFERED)
def test_the_fields_of_an_object(obj: core.Pod, expected: dict[str, str]) -> None:
    found = fields.of_object(obj)
    assert {name: found[name] for name in expected} == expected


def test_every_field_of_the_table_can_be_read() -> None:
    for resource in resources.RESOURCES:
        found = fields.of_object(resource.model())
        assert set(found) == {"metadata.name", "metadata.namespace", *resource.fields}
