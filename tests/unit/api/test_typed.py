"""Merging, comparing and pruning values by their shape."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api import core, resources, schema, typed
from kube.api.fieldset import FieldSet
from kube.api.schema import DEDUCED, LEAF, Shape

ITEM = Shape({"name": LEAF, "image": LEAF, "args": Shape(element=LEAF, atomic=True)})
SHAPE = Shape({
    "scalar": LEAF,
    "struct": Shape({"a": LEAF, "b": LEAF}),
    "map": Shape(element=LEAF),
    "items": Shape(element=ITEM, keys=("name",)),
    "set": Shape(element=LEAF, values=True),
    "atomic": Shape(element=LEAF, atomic=True),
    "any": DEDUCED,
})  # fmt: skip

PLAIN = st.sampled_from(["x", "y", 1, True])
NAMES = st.sampled_from(["a", "b", "c"])
ITEMS = st.lists(
    st.fixed_dictionaries({"name": NAMES}, optional={"image": PLAIN, "args": st.lists(PLAIN, max_size=2)}),
    unique_by=lambda entry: str(entry["name"]),
    min_size=1,
)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "scalar": PLAIN,
        "struct": st.fixed_dictionaries({}, optional={"a": PLAIN, "b": PLAIN}).filter(bool),
        "map": st.dictionaries(NAMES, PLAIN, min_size=1),
        "items": ITEMS,
        "set": st.lists(st.sampled_from(["x", "y", "z"]), unique=True, min_size=1),
        "atomic": st.dictionaries(NAMES, PLAIN, min_size=1),
        "any": st.recursive(
            PLAIN, lambda inner: st.dictionaries(NAMES, inner, min_size=1) | st.lists(inner), max_leaves=4
        ),
    },
)  # fmt: skip


@given(VALUES)
def test_nothing_differs_from_itself(value: Any) -> None:
    assert typed.compare(value, value, SHAPE).same
    assert list(typed.check(value, SHAPE)) == []


@given(VALUES)
def test_a_value_merged_into_itself_is_itself(value: Any) -> None:
    assert typed.merge(value, value, SHAPE) == value
    assert typed.merge({}, value, SHAPE) == value
    assert typed.merge(value, {}, SHAPE) == value


@given(VALUES, VALUES)
def test_what_is_merged_in_is_there_and_stays(live: Any, config: Any) -> None:
    merged = typed.merge(live, config, SHAPE)
    there = typed.compare(config, merged, SHAPE)
    assert not there.modified
    assert not there.removed
    assert typed.equal(typed.merge(merged, config, SHAPE), merged)
    assert not typed.compare(live, merged, SHAPE).removed or isinstance(live.get("any"), list | dict)


@given(VALUES, VALUES)
def test_a_comparison_tells_each_path_once_and_mirrors(old: Any, new: Any) -> None:
    there, back = typed.compare(old, new, SHAPE), typed.compare(new, old, SHAPE)
    assert there.added == back.removed
    assert there.modified == back.modified
    assert not there.added & there.removed
    assert not there.added & there.modified
    assert there.same == typed.equal(_sorted(old), _sorted(new))


def _sorted(value: Any) -> Any:
    """Lists that are merged have no order of their own to a comparison."""
    result = dict(value)
    if "items" in result:
        result["items"] = sorted(result["items"], key=lambda entry: str(entry["name"]))
    if "set" in result:
        result["set"] = sorted(result["set"])
    return result


@given(VALUES)
def test_a_value_without_its_fields_is_nothing(value: Any) -> None:
    everything = typed.with_structs(typed.field_set(value, SHAPE), SHAPE)
    assert not typed.remove(value, everything, SHAPE)
    assert typed.remove(value, FieldSet(), SHAPE) in (value, None)


def names(items: list[dict[str, Any]]) -> str:
    return "".join(entry["name"] for entry in items)


@pytest.mark.parametrize(
    ("live", "config", "merged"),
    [
        pytest.param("ab", "b", "ab", id="what is only live stays where it was"),
        pytest.param("ab", "ba", "ba", id="the configured order counts"),
        pytest.param("ab", "c", "abc", id="what is new comes last"),
        pytest.param("ab", "cb", "acb", id="what is new comes before what it stands before"),
        pytest.param("axb", "ba", "xba", id="a live one between"),
        pytest.param("", "ba", "ba", id="nothing live"),
    ],
)
def test_the_order_of_merged_items(live: str, config: str, merged: str) -> None:
    def items(text: str) -> list[dict[str, Any]]:
        return [{"name": name} for name in text]

    assert names(typed.merge(items(live), items(config), SHAPE.fields["items"])) == merged


def test_an_item_that_stands_twice_is_replaced_when_it_is_configured() -> None:
    live = [{"name": "a", "image": "1"}, {"name": "a", "image": "2"}, {"name": "b"}]
    merged = typed.merge(live, [{"name": "a", "image": "3"}], SHAPE.fields["items"])
    assert merged == [{"name": "a", "image": "3"}, {"name": "b"}]
    assert next(typed.field_set(live, SHAPE.fields["items"]).paths()) == ('k:{"name":"a"}',)


def pod(**spec: Any) -> dict[str, Any]:
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web"}, "spec": spec}


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        (pod(containerz=[]), ".spec.containerz: field not declared in schema"),
        (
            pod(containers=[{"name": "a", "imag": "x"}]),
            '.spec.containers[name="a"].imag: field not declared in schema',
        ),
        (pod(containers={}), ".spec.containers: expected list, got map"),
        (pod(containers=[{"name": "a"}, {"name": "a"}]), '.spec.containers: duplicate entries for key [name="a"]'),
        (
            pod(containers=["a"]),
            ".spec.containers: element 0: associative list with keys may not have non-map elements",
        ),
        (pod(tolerations=[{"keyy": "a"}]), ".spec.tolerations[0].keyy: field not declared in schema"),
        (pod(nodeSelector={"a": "b"}, volumes=[{"name": "v", "emptyDir": {}}]), None),
    ],
)
def test_a_configuration_must_fit_the_schema(config: Any, wrong: str | None) -> None:
    assert list(typed.check(config, schema.of(core.Pod))) == ([] if wrong is None else [wrong])


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        pytest.param({"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]},
                     ['k:{"name":"a"}', 'k:{"containerPort":80,"protocol":"TCP"}', "f:containerPort"],
                     id="ports by number and protocol, which is TCP"),
        pytest.param({"tolerations": [{"key": "a"}]}, ["f:tolerations"], id="tolerations as a whole"),
        pytest.param({"nodeSelector": {"a": "b"}}, ["f:nodeSelector"], id="a node selector as a whole"),
        pytest.param({"imagePullSecrets": [{"name": "s"}]}, ['k:{"name":"s"}'], id="a reference as a whole"),
        pytest.param({"overhead": {"cpu": "1"}}, ["f:cpu"], id="amounts one by one"),
        pytest.param({"volumes": [{"name": "v", "emptyDir": {}}]}, ["f:emptyDir"], id="an empty struct"),
        pytest.param({"containers": [{"name": "a", "args": ["x"]}]}, ["f:args"], id="arguments as a whole"),
        pytest.param({"topologySpreadConstraints": [{"topologyKey": "k", "whenUnsatisfiable": "w", "maxSkew": 1}]},
                     ['k:{"topologyKey":"k","whenUnsatisfiable":"w"}'], id="constraints by two keys"),
    ],
)  # fmt: skip
def test_the_fields_of_a_pod(value: dict[str, Any], paths: list[str]) -> None:
    found = list(typed.field_set({"spec": value}, schema.of(core.Pod)).paths())
    assert set(paths) <= {element for path in found for element in path}
    assert paths[-1] in {path[-1] for path in found}


def test_metadata() -> None:
    meta = {"labels": {"a": "b"}, "finalizers": ["x/y"], "ownerReferences": [{"uid": "1", "name": "o"}]}
    assert typed.field_set({"metadata": meta}, schema.of(core.Pod)).to_fields() == {
        "f:metadata": {
            "f:labels": {"f:a": {}},
            "f:finalizers": {'v:"x/y"': {}},
            "f:ownerReferences": {'k:{"uid":"1"}': {}},
        }
    }


def test_a_kind_that_is_only_stored_knows_its_pod_template() -> None:
    resource = resources.by_kind("apps/v1", "Deployment")
    assert resource is not None
    deployment = {"spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "strategy": {"type": "Recreate"},
        "template": {"spec": {"containers": [{"name": "web", "image": "i"}]}},
    }}  # fmt: skip
    assert typed.field_set(deployment, schema.of(resource.model)).to_fields() == {
        "f:spec": {
            "f:selector": {},
            "f:strategy": {".": {}, "f:type": {}},
            "f:template": {"f:spec": {"f:containers": {'k:{"name":"web"}': {".": {}, "f:image": {}, "f:name": {}}}}},
        }
    }


def test_every_kind_has_a_shape() -> None:
    for resource in resources.RESOURCES:
        assert "metadata" in schema.of(resource.model).fields
