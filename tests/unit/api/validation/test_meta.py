"""Rules for metadata: names, labels, owners, and what may not change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kube.api import core
from kube.api.meta import Object

Complaints = Callable[..., list[str]]

SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
DNS_1035 = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
QUALIFIED = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)

NAMES: dict[str, tuple[type[Object], str, list[str]]] = {
    "a pod may have dots": (core.Pod, "web.1", []),
    "a pod's capital": (core.Pod, "Web", [f'metadata.name: Invalid value: "Web": {SUBDOMAIN}']),
    "a pod's name too long": (
        core.Pod,
        "a" * 254,
        [f'metadata.name: Invalid value: "{"a" * 254}": must be no more than 253 bytes'],
    ),
    "a service may not begin with a digit": (
        core.Service,
        "1web",
        [f'metadata.name: Invalid value: "1web": {DNS_1035}'],
    ),
    "a namespace may not have dots": (
        core.Namespace,
        "a.b",
        ['metadata.name: Invalid value: "a.b": must not contain dots'],
    ),
    "a namespace's underscore": (core.Namespace, "a_b", [f'metadata.name: Invalid value: "a_b": {LABEL}']),
    "no name": (core.Node, "", ["metadata.name: Required value: name or generateName is required"]),
    "a slash": (core.Node, "a/b", [f'metadata.name: Invalid value: "a/b": {SUBDOMAIN}']),
}


@pytest.mark.parametrize(("model", "name", "expected"), NAMES.values(), ids=NAMES)
def test_names(complaints: Complaints, model: type[Object], name: str, expected: list[str]) -> None:
    metadata = {"name": name, "namespace": "" if model in (core.Namespace, core.Node) else "default"}
    found = complaints(model, {"metadata": metadata})
    assert [line for line in found if line.startswith("metadata.name:")] == expected


META: dict[str, tuple[dict[str, Any], list[str]]] = {
    "all fine": ({"labels": {"example.com/a": "B_1"}, "annotations": {"Any": "text here"}, "finalizers": ["x/y"]}, []),
    "a label's key": ({"labels": {"a b": ""}}, [f'metadata.labels: Invalid value: "a b": name part {QUALIFIED}']),
    "an empty name behind a domain": (
        {"labels": {"a.b/": ""}},
        [
            'metadata.labels: Invalid value: "a.b/": name part must be non-empty',
            f'metadata.labels: Invalid value: "a.b/": name part {QUALIFIED}',
        ],
    ),
    "two slashes": (
        {"labels": {"a/b/c": ""}},
        [
            f'metadata.labels: Invalid value: "a/b/c": a qualified name {QUALIFIED} with an optional DNS subdomain '
            "prefix and '/' (e.g. 'example.com/MyName')"
        ],
    ),
    "a label's value": ({"labels": {"a": "b c"}}, [f'metadata.labels: Invalid value: "b c": {VALUE}']),
    "a label's value too long": (
        {"labels": {"a": "b" * 64}},
        [f'metadata.labels: Invalid value: "{"b" * 64}": must be no more than 63 bytes'],
    ),
    "annotations too large": (
        {"annotations": {"a": "b" * 262144}},
        ["metadata.annotations: Too long: may not be more than 262144 bytes"],
    ),
    "an owner without name": (
        {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "uid": "1"}]},
        ['metadata.ownerReferences.name: Invalid value: "": must not be empty'],
    ),
    "a prefix that names cannot have": (
        {"generateName": "A-"},
        [f'metadata.generateName: Invalid value: "A-": {SUBDOMAIN}'],
    ),
    "a prefix may end in a dash": ({"generateName": "web-"}, []),
    "a bad namespace": (
        {"namespace": "A"},
        [f'metadata.namespace: Invalid value: "A": {LABEL}'],
    ),
}


@pytest.mark.parametrize(("metadata", "expected"), META.values(), ids=META)
def test_metadata(complaints: Complaints, metadata: dict[str, Any], expected: list[str]) -> None:
    data = {"metadata": {"name": "a", "namespace": "default", **metadata}}
    found = complaints(core.Endpoints, data)
    assert found == expected


def test_only_one_controller(complaints: Complaints) -> None:
    owner = {"apiVersion": "v1", "kind": "ReplicationController", "name": "a", "uid": "1", "controller": True}
    owners = [owner, {**owner, "name": "b", "uid": "2"}]
    (line,) = complaints(core.Endpoints, {"metadata": {"name": "a", "namespace": "d", "ownerReferences": owners}})
    assert line.endswith(
        'Only one reference can have Controller set to true. Found "true" in references for '
        "ReplicationController/a and ReplicationController/b"
    )


CHANGES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, []),
    "labels and annotations": ({"labels": {"a": "b"}, "annotations": {"a": "b"}}, []),
    "another uid": ({"uid": "2"}, ['metadata.uid: Invalid value: "2": field is immutable']),
    "another name": ({"name": "b"}, ['metadata.name: Invalid value: "b": field is immutable']),
    "an earlier generation": ({"generation": 1}, ["metadata.generation: Invalid value: 1: must not be decremented"]),
}


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
def test_what_may_not_change(update_complaints: Complaints, change: dict[str, Any], expected: list[str]) -> None:
    old = {"name": "a", "namespace": "d", "uid": "1", "generation": 2, "creationTimestamp": "2024-01-01T00:00:00Z"}
    found = update_complaints(core.Endpoints, {"metadata": {**old, **change}}, {"metadata": old})
    assert found == expected


def test_no_finalizer_is_added_to_what_is_being_deleted(update_complaints: Complaints) -> None:
    old = {"name": "a", "namespace": "d", "deletionTimestamp": "2024-01-01T00:00:00Z", "finalizers": ["x/a"]}
    assert update_complaints(core.Endpoints, {"metadata": {**old, "finalizers": []}}, {"metadata": old}) == []
    assert update_complaints(core.Endpoints, {"metadata": {**old, "finalizers": ["x/b"]}}, {"metadata": old}) == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new "
        'finalizers []string{"x/b"}'
    ]
