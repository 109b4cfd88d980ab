"""Quantities: the canonical form, and arithmetic that does not lose what was given."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api import quantity

CANONICAL = {
    "a whole number stays": ("1", "1"),
    "zero, however written": ("0m", "0"),
    "half a CPU is in milli": ("0.5", "500m"),
    "a fraction of one suffix goes to the next": ("0.1Gi", "107374182400m"),
    "binary suffixes grow": ("1024Ki", "1Mi"),
    "binary below 1024 has no suffix": ("1023", "1023"),
    "binary that stays binary": ("1536Ki", "1536Ki"),
    "milli that make a whole": ("1000m", "1"),
    "milli that do not": ("1500m", "1500m"),
    "thousands become k": ("12000", "12k"),
    "millions become M": ("5000k", "5M"),
    "an exponent stays one": ("12e3", "12e3"),
    "exponents come in threes": ("1e4", "10e3"),
    "an upper-case exponent that goes up": ("10E2", "1e3"),
    "an upper-case exponent that fits is kept": ("1E3", "1E3"),
    "E alone is exa": ("1E", "1E"),
    "leading zeros and plus": ("+001.50", "1500m"),
    "three digits behind the point are kept": ("1.123", "1.123"),
    "unless nothing is before it": ("0.123", "123m"),
    "no digit before the point": (".5", "500m"),
    "no digit after the point is kept": ("5.", "5."),
    "no digit at all": ("m", "0"),
    "negative": ("-0.5", "-500m"),
    "finer than nano is rounded up": ("0.1n", "1n"),
    "and away from zero": ("-0.1n", "-1n"),
    "half a Ki has no binary form": ("0.5Ki", "512"),
    "too large in binary is the largest": ("16Ei", "9223372036854775807"),
    "but not in decimal": ("9223372036854775808", "9223372036854775808"),
}


@pytest.mark.parametrize(("text", "expected"), CANONICAL.values(), ids=CANONICAL)
def test_canonical_form(text: str, expected: str) -> None:
    assert quantity.canonical(text) == expected


MALFORMED = {
    "nothing": ("", quantity.FORMAT_ERROR),
    "two signs": ("--1", quantity.SUFFIX_ERROR),
    "a word": ("lots", quantity.FORMAT_ERROR),
    "space inside": ("1 Gi", quantity.FORMAT_ERROR),
    "two points": ("1.2.3", quantity.FORMAT_ERROR),
    "a suffix that is none": ("1Kik", quantity.SUFFIX_ERROR),
    "bytes are no suffix": ("1MB", quantity.FORMAT_ERROR),
}


@pytest.mark.parametrize(("text", "problem"), MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_quantity_is_refused_in_upstreams_words(text: str, problem: str) -> None:
    with pytest.raises(quantity.QuantityError) as caught:
        quantity.canonical(text)
    assert str(caught.value) == problem


# So many that five of the largest are below what a quantity holds: more than 2^63 - 1 is cut off, as upstream does.
QUANTITIES = st.builds(
    "{}{}".format,
    st.decimals(min_value=-(10**8), max_value=10**8, places=3).map(lambda d: format(d, "f")),
    st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi", "u", "e3"]),
)


@given(QUANTITIES)
def test_the_canonical_form_is_a_fixed_point_of_the_same_value(text: str) -> None:
    canonical = quantity.canonical(text)
    assert quantity.canonical(canonical) == canonical
    assert quantity.parse(canonical) == quantity.parse(text)


@given(st.lists(QUANTITIES, min_size=1, max_size=5))
def test_a_sum_is_the_sum(texts: list[str]) -> None:
    with localcontext(prec=100):  # the usual 28 digits round what a quantity holds exactly
        exact = sum((quantity.parse(text) for text in texts), Decimal(0))
    assert quantity.parse(quantity.add(texts)) == exact


def test_a_sum_is_written_like_its_first_part() -> None:
    assert quantity.add(["128Mi", "128Mi"]) == "256Mi"
    assert quantity.add(["100m", "900m"]) == "1"
    assert quantity.add(["0", "64Mi"]) == "64Mi"
    assert quantity.add([]) == "0"


def test_lists_add_up_name_by_name() -> None:
    assert quantity.add_lists({"cpu": "500m"}, {"cpu": "500m", "memory": "1Gi"}) == {"cpu": "1", "memory": "1Gi"}


COMPARED = {
    "equal in value": ("1000m", "1", 0),
    "binary and decimal": ("1Ki", "1k", 1),
    "less": ("999m", "1", -1),
}


@pytest.mark.parametrize(("left", "right", "order"), COMPARED.values(), ids=COMPARED)
def test_comparison_is_by_value(left: str, right: str, order: int) -> None:
    assert quantity.compare(left, right) == order


def test_counting_rounds_up() -> None:
    assert quantity.milli("0.1m") == 1
    assert quantity.milli("2") == 2000
    assert quantity.integer("1500m") == 2
    assert quantity.integer("1Ki") == 1024


FROM_JSON = {
    "text": ("0.5", "500m"),
    "a whole number": (2, "2"),
    "a fraction": (0.25, "250m"),
    "something else is left to the model": (True, True),
}


@pytest.mark.parametrize(("value", "expected"), FROM_JSON.values(), ids=FROM_JSON)
def test_numbers_are_taken_too(value: object, expected: object) -> None:
    assert quantity.from_json(value) == expected


def test_a_number_of_hundreds_of_digits_is_none() -> None:
    assert quantity.canonical("9" * 80) == "9" * 80
    with pytest.raises(quantity.QuantityError):
        quantity.canonical("9" * 400)
