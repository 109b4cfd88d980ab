"""Label selectors: what they select, how they print, and what is said of those that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api import labels
from kube.api.meta import LabelSelector, LabelSelectorRequirement

WEB = {"app": "web", "tier": "front", "size": "10"}

SELECTED = {
    "nothing asked": ("", True),
    "equal": ("app=web", True),
    "equal, written twice": ("app==web", True),
    "not equal to what it is": ("app!=web", False),
    "not equal, and not there": ("stage!=prod", True),
    "in": ("tier in (front,back)", True),
    "not in": ("tier notin (front)", False),
    "not in, and not there": ("stage notin (prod)", True),
    "there": ("app", True),
    "not there": ("!stage", True),
    "not there, but it is": ("!app", False),
    "all must hold": ("app=web,tier=back", False),
    "greater": ("size>9", True),
    "less": ("size<10", False),
    "greater than what is no number": ("app>1", False),
    "an empty value": ("stage=", False),
    "spaces around": ("  app = web , tier in ( front ) ", True),
    "a key that is a keyword": ("in=x", False),
    "a key with a domain": ("example.com/app!=x", True),
}


@pytest.mark.parametrize(("text", "expected"), SELECTED.values(), ids=SELECTED)
def test_what_a_selector_selects(text: str, expected: bool) -> None:
    selector = labels.parse(text)
    assert selector.matches(WEB) is expected
    assert selector.predicate()(WEB) is expected


CANONICAL = {
    "sorted by key": ("b=2,a=1", "a=1,b=2"),
    "values sorted": ("a in (z,y)", "a in (y,z)"),
    "spaces gone": ("a   notin ( x )", "a notin (x)"),
    "double equals stays": ("a==1", "a==1"),
    "there and not there": ("!b,a", "a,!b"),
    "an empty value in a set": ("a in (,x)", "a in (,x)"),
    "greater": ("a > 5", "a>5"),
}


@pytest.mark.parametrize(("text", "expected"), CANONICAL.values(), ids=CANONICAL)
def test_a_selector_prints_canonically(text: str, expected: str) -> None:
    assert str(labels.parse(text)) == expected


# The sentences of apimachinery's pkg/labels/selector.go.
REFUSED = {
    "a comma at the end": ("a=b,", "found '', expected: identifier after ','"),
    "a comma at the beginning": (",a", "found ',', expected: !, identifier, or 'end of string'"),
    "two keys": ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
    "a set without parentheses": ("a in b", "unable to parse requirement: found 'b' expected: '('"),
    "a set that is not closed": ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
    "an empty set": (
        "a in ()",
        "unable to parse requirement: values: Invalid value: []string(nil): for 'in', 'notin' operators, "
        "values set can't be empty",
    ),
    "text behind a requirement": ("a=b c", "found 'c', expected: ',' or 'end of string'"),
    "only an exclamation mark": ("!", "unable to parse requirement: found '', expected: identifier"),
    "a bound that is no number": (
        "a>x",
        "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be "
        "an integer",
    ),
    "a bad key": (
        "-a=b",
        'unable to parse requirement: <nil>: Invalid value: "-a": name part must consist of alphanumeric characters, '
        "'-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or "
        "'123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
    ),
    "a bad value": (
        "a=b_",
        'unable to parse requirement: values[0][a]: Invalid value: "b_": a valid label must be an empty string or '
        "consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
        "(e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
        "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
    ),
}


@pytest.mark.parametrize(("text", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_selector_is_refused_in_upstreams_words(text: str, problem: str) -> None:
    with pytest.raises(labels.SelectorError) as caught:
        labels.parse(text)
    assert str(caught.value) == problem


KEYS = st.text("abn", min_size=1, max_size=3)
VALUES = st.text("ab1", max_size=3)
# The set of the empty value alone prints as `()`, which is no set: upstream's quirk.
SETS = st.lists(VALUES, min_size=1, max_size=3).filter(lambda values: set(values) != {""})
REQUIREMENTS = st.one_of(
    st.builds(lambda k, v: labels.requirement(k, "=", [v]), KEYS, VALUES),
    st.builds(lambda k, v: labels.requirement(k, "!=", [v]), KEYS, VALUES),
    st.builds(lambda k, v: labels.requirement(k, "in", v), KEYS, SETS),
    st.builds(lambda k, v: labels.requirement(k, "notin", v), KEYS, SETS),
    st.builds(lambda k: labels.requirement(k, "exists"), KEYS),
    st.builds(lambda k: labels.requirement(k, "!"), KEYS),
    st.builds(lambda k, v: labels.requirement(k, "gt", [str(v)]), KEYS, st.integers(0, 99)),
)


@given(st.lists(REQUIREMENTS, max_size=4), st.dictionaries(KEYS, VALUES, max_size=4))
def test_a_selector_printed_and_parsed_is_the_same(found: list[labels.Requirement], owned: dict[str, str]) -> None:
    selector = labels.Selector(tuple(sorted(found, key=lambda r: r.key)))
    again = labels.parse(str(selector))
    assert again == selector
    assert again.matches(owned) is selector.matches(owned)
    assert again.predicate()(owned) is selector.matches(owned)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_labels_select_themselves(owned: dict[str, str]) -> None:
    assert labels.from_map(owned).matches(owned)


def test_a_selector_in_an_object() -> None:
    selector = LabelSelector(
        matchLabels={"tier": "front"},
        matchExpressions=[LabelSelectorRequirement(key="app", operator="In", values=["web", "api"])],
    )
    assert str(labels.from_label_selector(selector)) == "app in (api,web),tier=front"
    assert labels.from_label_selector(LabelSelector()).empty
    assert not labels.from_label_selector(None).matches({})
    with pytest.raises(labels.SelectorError, match='"Near" is not a valid label selector operator'):
        labels.from_label_selector(LabelSelector(matchExpressions=[LabelSelectorRequirement(key="a", operator="Near")]))
