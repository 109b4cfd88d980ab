"""The algebra of field sets, compared with plain sets of paths; and their form on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api.fieldset import FieldSet, Path, field, item, path_text, value

ELEMENTS = st.sampled_from(
    [field("a"), field("b"), field("."), item({"name": "x"}), item({"port": 80}), value("x"), "i:0"]
)
PATHS = st.lists(ELEMENTS, min_size=1, max_size=4).map(tuple)
SETS = st.lists(PATHS, max_size=8).map(lambda paths: FieldSet.of(*paths))


def paths(fields: FieldSet) -> set[Path]:
    return set(fields.paths())


@given(SETS, SETS)
def test_sets_are_sets_of_paths(one: FieldSet, other: FieldSet) -> None:
    assert paths(one | other) == paths(one) | paths(other)
    assert paths(one & other) == paths(one) & paths(other)
    assert paths(one - other) == paths(one) - paths(other)
    assert bool(one) == bool(paths(one))
    assert (one == other) == (paths(one) == paths(other))


@given(SETS, SETS)
def test_without_trees_takes_away_what_is_below_too(one: FieldSet, other: FieldSet) -> None:
    gone = paths(other)
    rest = {path for path in paths(one) if not any(path[:length] in gone for length in range(1, len(path) + 1))}
    assert paths(one.without_trees(other)) == rest


@given(SETS, SETS)
def test_operations_leave_their_operands_alone(one: FieldSet, other: FieldSet) -> None:
    before = paths(one), paths(other)
    for result in (one | other, one & other, one - other, one.without_trees(other)):
        result.insert((field("new"),))
        result.members.clear()
    assert (paths(one), paths(other)) == before


@given(SETS)
def test_the_wire_form_says_it_all(fields: FieldSet) -> None:
    assert FieldSet.from_fields(fields.to_fields()) == fields
    assert all(path in fields for path in fields.paths())


def test_the_wire_form_of_upstreams_documentation() -> None:
    container = (field("spec"), field("containers"), item({"name": "web"}))
    fields = FieldSet.of(container, (*container, field("image")), (field("metadata"), field("labels"), field("app")))
    assert fields.to_fields() == {
        "f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {"f:containers": {'k:{"name":"web"}': {".": {}, "f:image": {}}}},
    }


def test_keys_have_one_spelling() -> None:
    sent: dict[str, object] = {"f:ports": {'k:{ "protocol": "TCP", "containerPort": 80 }': {}}}
    assert FieldSet.from_fields(sent) == FieldSet.of((field("ports"), item({"containerPort": 80, "protocol": "TCP"})))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([], id="no object"),
        pytest.param({"spec": {}}, id="an element without its kind"),
        pytest.param({"k:[1]": {}}, id="keys that are no object"),
        pytest.param({"v:{": {}}, id="a value that is no JSON"),
        pytest.param({"f:spec": 1}, id="a child that is no object"),
        pytest.param({"i:x": {}}, id="an index that is no number"),
    ],
)
def test_what_is_no_set_is_refused(fields: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        FieldSet.from_fields(fields)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((field("spec"), field("replicas")), ".spec.replicas"),
        ((field("containers"), item({"name": "web"}), field("image")), '.containers[name="web"].image'),
        ((field("ports"), item({"protocol": "TCP", "port": 80})), '.ports[port=80,protocol="TCP"]'),
        ((field("finalizers"), value("a/b")), '.finalizers[="a/b"]'),
        ((field("list"), "i:3"), ".list[3]"),
    ],
)
def test_paths_are_printed_as_upstream_prints_them(path: Path, text: str) -> None:
    assert path_text(path) == text
