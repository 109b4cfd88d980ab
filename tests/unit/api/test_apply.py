"""Who owns what: upstream's documented examples as tables, and the laws that hold for all of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api import typed
from kube.api.apply import APPLY, UPDATE, Conflict, Conflicts, Manager, apply, message, update
from kube.api.fieldset import FieldSet, field, item
from kube.api.schema import LEAF, Shape

ITEM = Shape({"name": LEAF, "image": LEAF})
SHAPE = Shape({
    "replicas": LEAF,
    "struct": Shape({"a": LEAF, "b": LEAF}),
    "labels": Shape(element=LEAF),
    "items": Shape(element=ITEM, keys=("name",)),
    "status": Shape({"replicas": LEAF}),
})  # fmt: skip
ALICE, BOB = Manager("alice", APPLY, ""), Manager("bob", APPLY, "")
CONTROLLER = Manager("controller", UPDATE, "v1")
NOTHING = FieldSet()


class World:
    """An object and its owners."""

    def __init__(self) -> None:
        self.object: Any = {}
        self.managers: dict[Manager, FieldSet] = {}

    def apply(self, manager: Manager, config: Any, *, force: bool = False) -> World:
        self.object, self.managers = apply(
            self.object, config, SHAPE, self.managers, manager, force=force, ignored=NOTHING
        )
        return self

    def update(self, manager: Manager, new: Any) -> World:
        self.managers = update(self.object, new, SHAPE, self.managers, manager, NOTHING)
        self.object = new
        return self

    def owns(self, manager: Manager) -> dict[str, Any]:
        return self.managers.get(manager, NOTHING).to_fields()


def test_an_applier_owns_what_it_names() -> None:
    world = World().apply(ALICE, {"replicas": 1, "items": [{"name": "a", "image": "i"}]})
    assert world.owns(ALICE) == {
        "f:items": {'k:{"name":"a"}': {".": {}, "f:image": {}, "f:name": {}}},
        "f:replicas": {},
    }


def test_what_an_applier_gives_up_goes_away() -> None:
    world = World().apply(ALICE, {"replicas": 1, "labels": {"a": "1", "b": "2"}, "struct": {"a": 1}})
    assert world.apply(ALICE, {"labels": {"a": "1"}}).object == {"labels": {"a": "1"}}


def test_what_another_owns_too_stays() -> None:
    world = World().apply(ALICE, {"replicas": 1}).apply(BOB, {"replicas": 1}).apply(ALICE, {})
    assert world.object == {"replicas": 1}
    assert world.owns(ALICE) == {}
    assert world.owns(BOB) == {"f:replicas": {}}


def test_what_nobody_owns_stays() -> None:
    world = World()
    world.object = {"labels": {"z": "0"}}
    assert world.apply(ALICE, {"labels": {"a": "1"}}).apply(ALICE, {}).object == {"labels": {"z": "0"}}


def test_another_value_for_what_another_owns_is_a_conflict() -> None:
    world = World().apply(ALICE, {"replicas": 1})
    with pytest.raises(Conflicts) as caught:
        world.apply(BOB, {"replicas": 2})
    assert caught.value.conflicts == [Conflict(ALICE, (field("replicas"),))]
    assert world.object == {"replicas": 1}


def test_force_takes_it_away() -> None:
    world = World().apply(ALICE, {"replicas": 1, "labels": {"a": "1"}}).apply(BOB, {"replicas": 2}, force=True)
    assert world.object["replicas"] == 2
    assert world.owns(ALICE) == {"f:labels": {"f:a": {}}}
    assert world.owns(BOB) == {"f:replicas": {}}


def test_an_update_takes_what_it_changes_without_asking() -> None:
    world = World().apply(ALICE, {"replicas": 1, "labels": {"a": "1"}})
    world.update(CONTROLLER, {"replicas": 5, "labels": {"a": "1"}})
    assert world.owns(ALICE) == {"f:labels": {"f:a": {}}}
    assert world.owns(CONTROLLER) == {"f:replicas": {}}
    with pytest.raises(Conflicts, match=r'conflict with "controller" using v1: .replicas'):
        world.apply(ALICE, {"replicas": 1})


def test_what_an_update_removes_nobody_owns() -> None:
    world = World().apply(ALICE, {"replicas": 1, "labels": {"a": "1"}}).update(CONTROLLER, {"labels": {"a": "1"}})
    assert world.managers == {ALICE: FieldSet.of((field("labels"), field("a")))}


def test_giving_up_to_an_autoscaler() -> None:
    """The documentation's transfer of ownership: the autoscaler has replicas; the user leaves it out from then on."""
    world = World().apply(ALICE, {"replicas": 3, "labels": {"a": "1"}})
    world.update(CONTROLLER, {"replicas": 5, "labels": {"a": "1"}}).apply(ALICE, {"labels": {"a": "1"}})
    assert world.object["replicas"] == 5


def test_an_item_goes_with_what_others_own_in_it() -> None:
    """An item of which nobody owns the item itself is removed, whatever was written below it."""
    world = World().apply(ALICE, {"items": [{"name": "a"}, {"name": "b"}]})
    world.update(CONTROLLER, {"items": [{"name": "a", "image": "i"}, {"name": "b"}]})
    assert world.apply(ALICE, {"items": [{"name": "b"}]}).object == {"items": [{"name": "b"}]}


def test_a_struct_goes_with_its_last_field() -> None:
    world = World().apply(ALICE, {"struct": {"a": 1}, "replicas": 1})
    assert world.apply(ALICE, {"replicas": 1}).object == {"replicas": 1}


def test_parts_that_a_path_does_not_write_are_not_owned() -> None:
    ignored = FieldSet.of((field("status"),))
    _, managers = apply({}, {"replicas": 1, "status": {"replicas": 1}}, SHAPE, {}, ALICE, ignored=ignored)
    assert managers[ALICE].to_fields() == {"f:replicas": {}}


@pytest.mark.parametrize(
    ("conflicts", "text"),
    [
        ([Conflict(Manager("kubectl-client-side-apply", UPDATE, "v1"), (field("spec"), field("replicas")))],
         'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .spec.replicas'),
        ([Conflict(Manager("kubectl", UPDATE, "v1", "scale"), (field("spec"), field("replicas")))],
         'Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale" using v1: .spec.replicas'),
        ([Conflict(BOB, (field("b"),)), Conflict(ALICE, (field("items"), item({"name": "x"}))),
          Conflict(BOB, (field("c"),))],
         'Apply failed with 3 conflicts: conflicts with "alice":\n- .items[name="x"]\n'
         'conflicts with "bob":\n- .b\n- .c'),
    ],
    ids=["one", "through a subresource", "many"],
)  # fmt: skip
def test_conflicts_are_told_as_upstream_does(conflicts: list[Conflict], text: str) -> None:
    assert message(conflicts) == text


NAMES = st.sampled_from(["a", "b", "c"])
PLAIN = st.sampled_from([1, 2, "x"])
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "replicas": PLAIN,
        "struct": st.fixed_dictionaries({}, optional={"a": PLAIN, "b": PLAIN}).filter(bool),
        "labels": st.dictionaries(NAMES, PLAIN, min_size=1),
        "items": st.lists(
            st.fixed_dictionaries({"name": NAMES}, optional={"image": PLAIN}),
            unique_by=lambda entry: str(entry["name"]), min_size=1,
        ),
    },
)  # fmt: skip
STEPS = st.lists(
    st.tuples(st.sampled_from(["apply", "force", "update"]), st.sampled_from(["x", "y", "z"]), CONFIGS), max_size=6
)


def after(steps: list[tuple[str, str, Any]]) -> World:
    world = World()
    for how, name, config in steps:
        try:
            if how == "update":
                world.update(Manager(name, UPDATE, "v1"), config)
            else:
                world.apply(Manager(name, APPLY, ""), config, force=how == "force")
        except Conflicts:
            continue
    return world


@given(STEPS, CONFIGS)
def test_a_forced_apply_gives_what_it_names(steps: list[tuple[str, str, Any]], config: Any) -> None:
    world = after(steps).apply(ALICE, config, force=True)
    difference = typed.compare(config, world.object, SHAPE)
    assert not difference.modified
    assert not difference.removed
    assert world.managers.get(ALICE, NOTHING) == typed.field_set(config, SHAPE)


@given(STEPS, CONFIGS)
def test_applying_twice_is_applying_once(steps: list[tuple[str, str, Any]], config: Any) -> None:
    once = after(steps).apply(ALICE, config, force=True)
    object_, managers = once.object, once.managers
    again = once.apply(ALICE, config)
    assert again.object is object_
    assert again.managers == managers


@given(STEPS, CONFIGS)
def test_nobody_owns_what_is_not_there(steps: list[tuple[str, str, Any]], config: Any) -> None:
    world = after(steps).apply(ALICE, config, force=True)
    there = typed.with_structs(typed.field_set(world.object, SHAPE), SHAPE)
    there |= typed.compare({}, world.object, SHAPE).added
    for manager, owned in world.managers.items():
        assert owned, manager
        assert not owned - there, manager


@given(STEPS, CONFIGS)
def test_to_apply_and_give_up_leaves_nothing_behind(steps: list[tuple[str, str, Any]], config: Any) -> None:
    world = after(steps)
    try:
        world.apply(ALICE, config)
    except Conflicts:
        return
    before = typed.field_set(after(steps).object, SHAPE)
    world.apply(ALICE, {})
    assert ALICE not in world.managers
    assert not typed.field_set(world.object, SHAPE) - before
