"""Patches: JSON (RFC 6902), merge (RFC 7396), and strategic merge as kubectl's own library merges."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api import core, patch
from kube.api.errors import ApiError, BadRequest, Invalid, RequestEntityTooLarge

Json = dict[str, Any]


def test_a_json_patch_is_applied_to_a_copy() -> None:
    doc = {"spec": {"replicas": 1, "ports": [1, 2]}}
    before = copy.deepcopy(doc)
    ops = [
        {"op": "test", "path": "/spec/replicas", "value": 1},
        {"op": "replace", "path": "/spec/replicas", "value": 3},
        {"op": "add", "path": "/spec/ports/-", "value": 3},
        {"op": "remove", "path": "/spec/ports/0"},
    ]
    assert patch.json_patch(doc, ops) == {"spec": {"replicas": 3, "ports": [2, 3]}}
    assert doc == before


NOT_JSON_PATCHES: dict[str, tuple[object, type[ApiError], str]] = {
    "no list": ({"op": "add"}, BadRequest, "json: cannot unmarshal object into Go value of type jsonpatch.Patch"),
    "an item that is none": (
        [1],
        BadRequest,
        "json: cannot unmarshal number into Go value of type jsonpatch.Operation",
    ),
    "a test that fails": ([{"op": "test", "path": "/a", "value": 2}], Invalid, patch.REJECTED),
    "a path that is not there": ([{"op": "remove", "path": "/b/c"}], Invalid, patch.REJECTED),
    "an unknown operation": ([{"op": "append", "path": "/a"}], Invalid, patch.REJECTED),
    "a path without slash": ([{"op": "add", "path": "a", "value": 1}], Invalid, patch.REJECTED),
    "no operation": ([{"path": "/a"}], Invalid, patch.REJECTED),
    "too many": (
        [{"op": "test", "path": "/a", "value": 1}] * 10_001,
        RequestEntityTooLarge,
        "The allowed maximum operations in a JSON patch is 10000, got 10001",
    ),
}


@pytest.mark.parametrize(("ops", "error", "message"), NOT_JSON_PATCHES.values(), ids=NOT_JSON_PATCHES)
def test_json_patches_that_are_refused(ops: object, error: type[ApiError], message: str) -> None:
    with pytest.raises(error) as caught:
        patch.json_patch({"a": 1}, ops)
    assert type(caught.value) is error
    assert caught.value.message == message


# The examples of RFC 7396, appendix A, whose outcome is an object.
MERGED: dict[str, tuple[Json, Json, Json]] = {
    "a value is replaced": ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    "a value is added": ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    "null removes": ({"a": "b"}, {"a": None}, {}),
    "null removes only what it names": ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    "a list gives way to a value": ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    "a value gives way to a list": ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    "maps are merged": ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    "lists are replaced": ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    "null stays where the document has it": ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    "nulls of a new map are left out": ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
}


@pytest.mark.parametrize(("doc", "change", "expected"), MERGED.values(), ids=MERGED)
def test_merge_patch(doc: Json, change: Json, expected: Json) -> None:
    assert patch.merge_patch(doc, change) == expected


def test_a_merge_patch_is_an_object() -> None:
    with pytest.raises(BadRequest, match="Invalid JSON Patch"):
        patch.merge_patch({}, [])


NAMES = st.sampled_from("abc")
VALUES = st.recursive(
    st.one_of(st.integers(0, 3), st.text("xy", max_size=2)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
DOCS = st.dictionaries(NAMES, VALUES, max_size=3)
CHANGES = st.dictionaries(NAMES, st.one_of(st.none(), VALUES), max_size=3)


@given(DOCS, CHANGES)
def test_a_merge_patch_applied_twice_is_applied_once(doc: Json, change: Json) -> None:
    once = patch.merge_patch(doc, change)
    assert patch.merge_patch(once, change) == once


@given(DOCS)
def test_an_empty_merge_patch_changes_nothing(doc: Json) -> None:
    assert patch.merge_patch(doc, {}) == doc


@given(DOCS)
def test_a_document_is_a_merge_patch_from_nothing_to_itself(doc: Json) -> None:
    assert patch.merge_patch({}, doc) == doc


@given(DOCS, CHANGES)
def test_patches_leave_their_arguments_alone(doc: Json, change: Json) -> None:
    before = copy.deepcopy((doc, change))
    patch.merge_patch(doc, change)
    patch.strategic_merge_patch(doc, change, core.Pod)
    assert (doc, change) == before


@given(DOCS, CHANGES)
def test_without_known_lists_a_strategic_patch_is_a_merge_patch(doc: Json, change: Json) -> None:
    assert patch.strategic_merge_patch(doc, change, core.Pod) == patch.merge_patch(doc, change)


def containers(*items: Json, **more: Any) -> Json:
    return {"spec": {"containers": list(items), **more}}


A, B, C = {"name": "a", "image": "1"}, {"name": "b", "image": "1"}, {"name": "c", "image": "1"}

# Each outcome is that of `kubectl patch --local --type=strategic`.
STRATEGIC: dict[str, tuple[Json, Json, Json]] = {
    "containers are merged by name": (
        containers(A, B),
        containers({"name": "b", "image": "2"}),
        containers(A, {**B, "image": "2"}),
    ),
    "new ones come before those that the patch does not name": (containers(A), containers(B), containers(B, A)),
    "one is deleted": (containers(A, B), containers({"name": "a", "$patch": "delete"}), containers(B)),
    "all are replaced": (containers(A, B), containers({"$patch": "replace"}, C), containers(C)),
    "null removes a field of an item": (
        containers(A),
        containers({"name": "a", "image": None}),
        containers({"name": "a"}),
    ),
    "the order is given": (
        containers(A, B),
        containers(**{"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
        containers(B, A),
    ),
    "an order without the list leaves items alone": (
        containers(A, B),
        {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}},
        containers(B, A),
    ),
    "deleted and added under an order": (
        containers(B, C, A),
        {
            "spec": {
                "$setElementOrder/containers": [{"name": "d"}, {"name": "b"}],
                "containers": [{"name": "d", "image": "1"}, {"name": "a", "$patch": "delete"}],
            }
        },
        containers(C, {"name": "d", "image": "1"}, B),
    ),
    "ports are merged by number": (
        containers({"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 81}]}),
        containers({"name": "a", "ports": [{"containerPort": 81, "name": "web"}]}),
        containers({"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 81, "name": "web"}]}),
    ),
    "a volume changes its kind": (
        {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}},
        {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}},
        {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}},
    ),
    "tolerations are replaced": (
        {"spec": {"tolerations": [{"key": "a"}]}},
        {"spec": {"tolerations": [{"key": "b"}]}},
        {"spec": {"tolerations": [{"key": "b"}]}},
    ),
    "finalizers are merged as a set": (
        {"metadata": {"finalizers": ["x/a", "x/b"]}},
        {"metadata": {"finalizers": ["x/b", "x/c"]}},
        {"metadata": {"finalizers": ["x/a", "x/b", "x/c"]}},
    ),
    "values are deleted from a list of values": (
        {"metadata": {"finalizers": ["x/a", "x/b"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"]}},
        {"metadata": {"finalizers": ["x/b"]}},
    ),
    "a map is replaced": (
        {"metadata": {"labels": {"a": "1"}}},
        {"metadata": {"labels": {"$patch": "replace", "b": "2"}}},
        {"metadata": {"labels": {"b": "2"}}},
    ),
    "conditions are merged by type": (
        {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "x"}]}},
        {"status": {"conditions": [{"type": "Ready", "status": "True"}]}},
        {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "x"}]}},
    ),
}


@pytest.mark.parametrize(("doc", "change", "expected"), STRATEGIC.values(), ids=STRATEGIC)
def test_strategic_merge_patch(doc: Json, change: Json, expected: Json) -> None:
    assert patch.strategic_merge_patch(doc, change, core.Pod) == expected


def test_merge_keys_are_found_through_nested_models() -> None:
    doc = {"spec": {"template": containers(A)}}
    change = {"spec": {"template": containers({"name": "a", "env": [{"name": "E", "value": "1"}]})}}
    merged = patch.strategic_merge_patch(doc, change, core.ReplicationController)
    assert merged == {"spec": {"template": containers({**A, "env": [{"name": "E", "value": "1"}]})}}


def test_services_ports_are_merged_by_port() -> None:
    doc = {"spec": {"ports": [{"port": 80, "name": "a"}]}}
    change = {"spec": {"ports": [{"port": 80, "nodePort": 30080}]}}
    merged = patch.strategic_merge_patch(doc, change, core.Service)
    assert merged == {"spec": {"ports": [{"port": 80, "name": "a", "nodePort": 30080}]}}


def test_the_pull_secrets_of_an_account_are_replaced_and_its_secrets_merged() -> None:
    doc = {"secrets": [{"name": "a"}], "imagePullSecrets": [{"name": "a"}]}
    change = {"secrets": [{"name": "b"}], "imagePullSecrets": [{"name": "b"}]}
    merged = patch.strategic_merge_patch(doc, change, core.ServiceAccount)
    assert merged["imagePullSecrets"] == [{"name": "b"}]
    assert sorted(each["name"] for each in merged["secrets"]) == ["a", "b"]


def test_the_table_of_merge_keys_names_lists_that_exist() -> None:
    for model, keys in patch.MERGE_KEYS.items():
        for field in keys:
            annotation = str(model.model_fields[field].annotation)
            assert annotation.startswith("list["), f"{model.__name__}.{field}"


REFUSED: dict[str, tuple[Json, type[ApiError], str]] = {
    "an unknown directive": (containers({"name": "a", "$patch": "burn"}), Invalid, patch.REJECTED),
    "an item without its key": (containers({"image": "2"}), Invalid, patch.REJECTED),
    "fields that are not retained": (
        {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name"], "emptyDir": {}}]}},
        BadRequest,
        "invalid patch format of retainKeys",
    ),
    "an order that is no list": (
        {"spec": {"$setElementOrder/containers": {}}},
        BadRequest,
        "invalid patch format of setElementOrder list",
    ),
    "values to delete that are no list": (
        {"metadata": {"$deleteFromPrimitiveList/finalizers": "x"}},
        BadRequest,
        "invalid patch format of primitive list",
    ),
}


@pytest.mark.parametrize(("change", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_strategic_patches_that_are_refused(change: Json, error: type[ApiError], message: str) -> None:
    doc = containers(A, volumes=[{"name": "v"}])
    with pytest.raises(error) as caught:
        patch.strategic_merge_patch(doc, change, core.Pod)
    assert caught.value.message == message


def test_an_order_that_the_patch_contradicts_is_refused() -> None:
    change = containers(A, B, **{"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]})
    with pytest.raises(BadRequest, match="doesn't match"):
        patch.strategic_merge_patch(containers(A), change, core.Pod)


def test_a_strategic_patch_is_an_object() -> None:
    with pytest.raises(BadRequest, match="cannot unmarshal array"):
        patch.strategic_merge_patch({}, [], core.Pod)
