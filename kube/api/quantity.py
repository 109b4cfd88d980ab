"""Quantities: `500m` of a CPU, `128Mi` of memory. Fixed-point numbers with a suffix, as apimachinery's Quantity.

On the wire a quantity is a string (a bare number is taken too), and it is always written in *canonical* form: no
fraction, the largest suffix that keeps it whole, and the family of suffix that it was given in (binary `Ki`, decimal
`k`, or exponent `e3`). So `0.5` becomes `500m`, `1024Ki` becomes `1Mi` and `1000m` becomes `1`. What is finer than a
nano (`n`) is rounded up, away from zero. Upstream keeps some texts that it takes for canonical although they are not
(`1.123`, `5.`); clients see them, so they are kept here too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import lru_cache

FORMAT_ERROR = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX_ERROR = "unable to parse quantity's suffix"

_FORM = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")
_EXPONENT = re.compile(r"[eE]([-+]?[0-9]+)")
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {power: suffix for suffix, power in _DECIMAL.items()}
_BINARY_SUFFIX = {power: suffix for suffix, power in _BINARY.items()}
_EXACT = Context(prec=200)
_DIGITS = 80
"""More than any quantity needs, and few enough for the context to be exact, whatever the exponent."""
_NANO = Decimal(1).scaleb(-9)
_LARGEST = Decimal(2**63 - 1)


class QuantityError(ValueError):
    """The text is no quantity; the message is upstream's."""


@lru_cache(maxsize=8192)
def _split(text: str) -> tuple[Decimal, str, bool]:
    """The value, the family of suffix (`binary`, `decimal` or `exponent`), and whether upstream keeps the text."""
    match = _FORM.fullmatch(text)
    if match is None or not text:
        raise QuantityError(FORMAT_ERROR)
    sign, whole, fraction, suffix = match[1], match[2].lstrip("0") or "0", match[3] or "", match[4]
    if len(whole) + len(fraction) > _DIGITS:
        raise QuantityError(FORMAT_ERROR)
    number = Decimal(f"{sign}{whole}.{fraction or 0}")
    if suffix in _BINARY:
        power = 10 * _BINARY[suffix]
        value = _nano_up(_EXACT.multiply(number, Decimal(2**power)))
        # Upstream's rules of thumb for what fits 64 bits and cannot take a larger suffix.
        kept = not fraction and 14 - len(whole) - power * 3 // 10 >= 0 and int(whole) % 8 != 0
        return max(-_LARGEST, min(value, _LARGEST)), "binary", kept
    if suffix in _DECIMAL:
        family, power = "decimal", _DECIMAL[suffix]
    elif (exponent := _EXPONENT.fullmatch(suffix)) and abs(int(exponent[1])) <= 100:
        family, power = "exponent", int(exponent[1])
    else:
        raise QuantityError(SUFFIX_ERROR)
    digits, scale = whole + fraction, power - len(fraction)
    kept = len(digits) <= 18 and scale >= -9 and scale % 3 == 0 and digits[0] != "0" and not digits.endswith("000")
    return _nano_up(number.scaleb(power, _EXACT)), family, kept


def _nano_up(value: Decimal) -> Decimal:
    return value.quantize(_NANO, rounding=ROUND_FLOOR if value < 0 else ROUND_CEILING, context=_EXACT)


def parse(text: str) -> Decimal:
    """The exact value of a quantity. Raises QuantityError."""
    return _split(text)[0]


@lru_cache(maxsize=8192)
def canonical(text: str) -> str:
    """The one way to write this quantity in its family of suffixes. Raises QuantityError."""
    value, family, kept = _split(text)
    return text if kept else _render(value, family)


def _render(value: Decimal, family: str) -> str:
    if family == "binary":
        # Below 1024 there is no binary suffix to use, and a fraction cannot be written with one: both turn decimal.
        if value == value.to_integral_value() and abs(value) >= 1024:
            number, power = int(value), 0
            while number % 1024 == 0 and power < 6:
                number, power = number // 1024, power + 1
            return f"{number}{_BINARY_SUFFIX.get(power, '')}"
        family = "decimal"
    number, power = int(value.scaleb(9, _EXACT)), -9
    if number == 0:
        return "0"
    while number % 1000 == 0 and power < 18:
        number, power = number // 1000, power + 3
    if family == "exponent":
        return f"{number}e{power}" if power else str(number)
    return f"{number}{_DECIMAL_SUFFIX[power]}"


def from_json(value: object) -> object:
    """What a JSON value means as a quantity: canonical text; anything but text and numbers is handed back as it is."""
    if isinstance(value, str):
        return canonical(value.strip())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return canonical(repr(value))
    return value


def milli(text: str) -> int:
    """Thousandths, rounded up: how CPU is counted."""
    return int((parse(text).scaleb(3, _EXACT)).to_integral_value(rounding=ROUND_CEILING))


def integer(text: str) -> int:
    """The whole value, rounded up: how memory, pods and the like are counted."""
    return int(parse(text).to_integral_value(rounding=ROUND_CEILING))


def compare(left: str, right: str) -> int:
    """-1, 0 or 1, by value: `1000m` equals `1`."""
    a, b = parse(left), parse(right)
    return (a > b) - (a < b)


def text(value: Decimal | int, like: str = "") -> str:
    """A value as a canonical quantity, with the suffixes of the family that `like` is written in."""
    return _render(Decimal(value), _split(like)[1] if like else "decimal")


def add(quantities: Iterable[str]) -> str:
    """The sum, written like the first that is not zero."""
    total, like = Decimal(0), ""
    for quantity in quantities:
        value = parse(quantity)
        if not like and value:
            like = quantity
        total = _EXACT.add(total, value)
    return text(total, like)


def add_lists(*lists: Mapping[str, str]) -> dict[str, str]:
    """Resource lists (`cpu`, `memory`, …) added up name by name."""
    names = dict.fromkeys(name for resources in lists for name in resources)
    return {name: add(resources[name] for resources in lists if name in resources) for name in names}
